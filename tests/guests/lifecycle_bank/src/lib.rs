//! A bank that keeps the number of every transfer, for a judge that replays the transfers. Its
//! memory is their count: a snapshot that is handed over as current must agree with the database.

use core::cell::Cell;

use bindings::exports::tests::lifecycle_bank::bank::{Books, Guest};
use stockade_sdk::lifecycle::{self, HandedOver, Lifecycle};
use stockade_sdk::{Connection, Error, Result, context};

stockade_alloc::install!();

/// Each transfer fills a page of its own, so databases grow and starts have cache misses.
const PADDING_BYTES: i64 = 3000;
const ACCOUNTS: i64 = 8;
const OPENING_BALANCE: i64 = 100;

thread_local! {
    /// Transfers in the database, as far as this generation knows.
    static COUNT: Cell<i64> = const { Cell::new(0) };
}

struct Bank;

impl Guest for Bank {
    fn transfer(number: i64, source: i64, target: i64, amount: i64) -> Result<Vec<i64>, String> {
        transfer(number, source, target, amount).map_err(words)
    }

    fn look() -> Result<Books, String> {
        look().map_err(words)
    }
}

impl Lifecycle for Bank {
    fn restore(snapshot: HandedOver) -> lifecycle::Result {
        let told = i64::from_le_bytes(snapshot.state.as_slice().try_into()?);
        let count = count(&Connection::open()?)?;
        if snapshot.current && told != count {
            let text =
                format!("SNAPSHOT OF OTHER DATA: {told} transfers, the database has {count}");
            return Err(lifecycle::Error::Other(text));
        }
        Ok(())
    }

    fn start() -> lifecycle::Result {
        let connection = Connection::open()?;
        connection.execute_script(&format!(
            "CREATE TABLE IF NOT EXISTS account (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL);
             CREATE TABLE IF NOT EXISTS ledger
             (version INTEGER PRIMARY KEY, number INTEGER NOT NULL UNIQUE, padding BLOB NOT NULL);
             WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {})
             INSERT OR IGNORE INTO account SELECT i, {OPENING_BALANCE} FROM n",
            ACCOUNTS - 1
        ))?;
        COUNT.set(count(&connection)?);
        Ok(())
    }

    fn stop() -> lifecycle::Result {
        // Half of the ends have a last write. An empty bank stays empty.
        if COUNT.get() % 2 == 1 {
            let generation = i64::try_from(context::identity()?.generation)?;
            enter(&Connection::open()?, -generation)?;
            COUNT.set(COUNT.get() + 1);
        }
        Ok(())
    }

    /// Only some ends have a snapshot: without one, the seal may appoint an heir.
    fn snapshot() -> lifecycle::Result<Option<Vec<u8>>> {
        let count = COUNT.get();
        Ok((count % 4 == 0).then(|| count.to_le_bytes().to_vec()))
    }
}

fn transfer(number: i64, source: i64, target: i64, amount: i64) -> Result<Vec<i64>> {
    let mut connection = Connection::open()?;
    let transaction = connection.transaction()?;
    let move_by = "UPDATE account SET balance = balance + ?2 WHERE id = ?1";
    transaction.execute(move_by, (source, -amount))?;
    transaction.execute(move_by, (target, amount))?;
    enter(&transaction, number)?;
    let ledger = integers(&transaction, "SELECT number FROM ledger ORDER BY version")?;
    transaction.commit()?;
    COUNT.set(COUNT.get() + 1);
    Ok(ledger)
}

fn look() -> Result<Books> {
    let connection = Connection::open()?;
    let ledger = integers(&connection, "SELECT number FROM ledger ORDER BY version")?;
    let balances = integers(&connection, "SELECT balance FROM account ORDER BY id")?;
    Ok(Books { ledger, balances })
}

fn enter(connection: &Connection, number: i64) -> Result<()> {
    let sql = "INSERT INTO ledger (number, padding) VALUES (?1, zeroblob(?2))";
    connection.execute(sql, (number, PADDING_BYTES)).map(drop)
}

fn count(connection: &Connection) -> Result<i64> {
    let there = "SELECT count(*) FROM sqlite_schema WHERE name = 'ledger'";
    if connection.query_row(there, [], |row| row.get::<_, i64>(0))? == 0 {
        return Ok(0);
    }
    connection.query_row("SELECT count(*) FROM ledger", [], |row| row.get(0))
}

fn integers(connection: &Connection, sql: &str) -> Result<Vec<i64>> {
    connection.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
}

fn words(error: Error) -> String {
    error.to_string()
}

mod bindings {
    //! Generated from `world.wit`.
    stockade_sdk::world!("world.wit");
}

bindings::export!(Bank with_types_in bindings);
stockade_sdk::export_lifecycle!(Bank);
