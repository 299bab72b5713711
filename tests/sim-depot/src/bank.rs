//! What the actors of the simulation do to their databases: transfers, and work that makes a
//! database grow, shrink and leave pages out. Each transaction writes its number into a ledger, so
//! the ledger holds the whole history. Two of three say something of the actor's due time as well.

use rusqlite::Connection;
use rusqlite::types::ValueRef;
use stockade_depot::Session;
use stockade_depot::store::Due;

use crate::dice::Dice;

const ACCOUNTS: i64 = 8;
const OPENING_BALANCE: i64 = 100;

/// One transaction.
#[derive(Clone, Debug)]
pub struct Op {
    /// Its number; no two are the same.
    pub number: i64,
    /// What it does.
    pub work: Work,
    /// What it says of the actor's due time.
    pub due: Due,
}

/// What a transaction does.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    /// The schema, and money.
    Setup,
    /// Money from one account to another.
    Transfer {
        /// The account that pays.
        from: i64,
        /// The account that is paid.
        to: i64,
        /// How much.
        amount: i64,
    },
    /// Keeps so many bytes under a name.
    Keep {
        /// The name.
        name: i64,
        /// How many.
        bytes: u64,
    },
    /// Drops what is kept under the names from here on.
    Drop {
        /// The first name.
        from: i64,
    },
    /// Keeps and drops in one transaction: the file grows by pages that SQLite never writes.
    Churn {
        /// How many bytes.
        bytes: u64,
    },
}

impl Op {
    /// Work of a generation.
    #[must_use]
    pub fn new(number: i64, work: Work) -> Self {
        let due = match number % 3 {
            0 => Due::At(number),
            1 => Due::Untouched,
            _ => Due::Nothing,
        };
        Self { number, work, due }
    }

    /// Tells the session what its next transaction says of the due time.
    pub fn says(&self, session: &Session) {
        match self.due {
            Due::Untouched => {}
            Due::Nothing => session.set_due(None),
            Due::At(at) => session.set_due(Some(at)),
        }
    }

    /// Some work.
    pub fn roll(number: i64, dice: &Dice) -> Self {
        let id = |of| i64::try_from(dice.below(of)).unwrap();
        let work = match dice.below(10) {
            0 | 1 => Work::Keep { name: id(6), bytes: dice.between(100, 40_000) },
            3 => Work::Drop { from: id(6) },
            2 => Work::Churn { bytes: dice.between(10_000, 40_000) },
            _ => Work::Transfer {
                from: id(ACCOUNTS.unsigned_abs()),
                to: id(ACCOUNTS.unsigned_abs()),
                amount: 1 + id(20),
            },
        };
        Self::new(number, work)
    }

    /// Runs it as one transaction.
    ///
    /// # Errors
    /// SQLite's; nothing of it is kept then.
    pub fn run(&self, connection: &Connection) -> rusqlite::Result<()> {
        connection.execute_batch("BEGIN IMMEDIATE")?;
        let done = self.write(connection).and_then(|()| connection.execute_batch("COMMIT"));
        if done.is_err() {
            let _ = connection.execute_batch("ROLLBACK");
        }
        done
    }

    /// Runs it and takes it back.
    ///
    /// # Errors
    /// SQLite's.
    pub fn run_and_roll_back(&self, connection: &Connection) -> rusqlite::Result<()> {
        connection.execute_batch("BEGIN IMMEDIATE")?;
        let done = self.write(connection);
        connection.execute_batch("ROLLBACK")?;
        done
    }

    fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
        match self.work {
            Work::Setup => connection.execute_batch(&format!(
                "CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL);
                 CREATE TABLE ledger (version INTEGER PRIMARY KEY, op INTEGER NOT NULL UNIQUE);
                 CREATE TABLE kept (name INTEGER PRIMARY KEY, data TEXT NOT NULL);
                 WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n
                 WHERE i < {} ) INSERT INTO account SELECT i, {OPENING_BALANCE} FROM n",
                ACCOUNTS - 1
            ))?,
            Work::Transfer { from, to, amount } => {
                let move_by = "UPDATE account SET balance = balance + ?2 WHERE id = ?1";
                connection.execute(move_by, (from, -amount))?;
                connection.execute(move_by, (to, amount))?;
            }
            Work::Keep { name, bytes } => {
                let keep = "INSERT OR REPLACE INTO kept VALUES (?1, ?2)";
                connection.execute(keep, (name, text(self.number, bytes)))?;
            }
            Work::Drop { from } => {
                connection.execute("DELETE FROM kept WHERE name >= ?1", [from])?;
            }
            Work::Churn { bytes } => {
                let keep = "INSERT INTO kept VALUES (?1, ?2)";
                connection.execute(keep, (1_000_000, text(self.number, bytes)))?;
                connection.execute("DELETE FROM kept WHERE name = 1000000", [])?;
            }
        }
        connection.execute("INSERT INTO ledger (op) VALUES (?1)", [self.number])?;
        Ok(())
    }
}

fn text(number: i64, bytes: u64) -> String {
    format!("{number} ").repeat(usize::try_from(bytes / 4).unwrap())
}

/// What a database says: the whole of it, read by SQL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Numbers of the transactions in it, in their order.
    pub ledger: Vec<i64>,
    /// Hash over every row.
    pub digest: u64,
    /// Whether no money came or went.
    pub balanced: bool,
}

impl State {
    /// Reads everything.
    ///
    /// # Errors
    /// SQLite's.
    pub fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let mut digest = 0xCBF2_9CE4_8422_2325;
        let mut ledger = Vec::new();
        let exists = "SELECT count(*) FROM sqlite_schema WHERE name = 'ledger'";
        if connection.query_row(exists, [], |row| row.get::<_, i64>(0))? == 0 {
            return Ok(Self { ledger, digest, balanced: true });
        }
        for table in ["account", "kept", "ledger"] {
            let mut rows = connection.prepare(&format!("SELECT * FROM {table} ORDER BY 1"))?;
            let mut rows = rows.query([])?;
            while let Some(row) = rows.next()? {
                for column in 0..2 {
                    hash(&mut digest, row.get_ref(column)?);
                }
                if table == "ledger" {
                    ledger.push(row.get(1)?);
                }
            }
        }
        let sum = "SELECT sum(balance) FROM account";
        let sum: i64 = connection.query_row(sum, [], |row| row.get(0))?;
        let balanced = sum == ACCOUNTS * OPENING_BALANCE;
        Ok(Self { ledger, digest, balanced })
    }
}

/// FNV-1a over a value.
fn hash(digest: &mut u64, value: ValueRef<'_>) {
    let mut add = |bytes: &[u8]| {
        for byte in bytes {
            *digest = (*digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3);
        }
    };
    match value {
        ValueRef::Null => add(&[0]),
        ValueRef::Integer(value) => add(&value.to_le_bytes()),
        ValueRef::Real(value) => add(&value.to_le_bytes()),
        ValueRef::Text(text) | ValueRef::Blob(text) => add(text),
    }
}
