//! Accounts, and transfers between them that happen completely or not at all.

use bindings::exports::stockade_example::ledger::ledger::{Account, Error, Guest, Shortage};
use stockade_sdk::lifecycle::{self, Lifecycle};
use stockade_sdk::migrations::Migrations;
use stockade_sdk::{Connection, ConstraintKind, Error as SqlError, OptionalRow};

stockade_alloc::install!();

/// `STRICT` refuses a sum that no longer fits an integer, `CHECK` a balance below zero.
const SCHEMA: Migrations<'_> = Migrations::new(&[
    "CREATE TABLE account (
         name TEXT PRIMARY KEY,
         balance INTEGER NOT NULL DEFAULT 0 CHECK (balance >= 0)
     ) STRICT",
    "CREATE TABLE deposit (id INTEGER PRIMARY KEY, account TEXT NOT NULL, amount INTEGER NOT NULL) STRICT",
]);

struct Ledger;

impl Guest for Ledger {
    fn open(name: String) -> Result<(), Error> {
        match Connection::open()?.execute("INSERT INTO account (name) VALUES (?)", [&name]) {
            Err(error) if error.is_constraint() => Err(Error::AccountExists(name)),
            result => Ok(result.map(drop)?),
        }
    }

    fn deposit(name: String, amount: i64) -> Result<i64, Error> {
        let mut connection = Connection::open()?;
        let transaction = connection.transaction()?;
        let balance = pay_in(&transaction, &name, amount)?;
        transaction
            .execute("INSERT INTO deposit (account, amount) VALUES (?, ?)", (&name, amount))?;
        transaction.commit()?;
        Ok(balance)
    }

    fn transfer(source: String, target: String, amount: i64) -> Result<i64, Error> {
        let mut connection = Connection::open()?;
        let transaction = connection.transaction()?;
        let balance = balance(&transaction, &source)?;
        if balance < amount {
            return Err(Error::InsufficientFunds(Shortage { balance, needed: amount }));
        }
        pay_in(&transaction, &target, amount)?;
        // A failure above or here drops the transaction, and with it the payment.
        let left = transaction.query_row(
            "UPDATE account SET balance = balance - ?2 WHERE name = ?1 RETURNING balance",
            (&source, amount),
            |row| row.get(0),
        )?;
        transaction.commit()?;
        Ok(left)
    }

    fn balance(name: String) -> Result<i64, Error> {
        balance(&Connection::open()?, &name)
    }

    fn accounts() -> Result<Vec<Account>, Error> {
        let connection = Connection::open()?;
        let mut select = connection.prepare("SELECT name, balance FROM account ORDER BY name")?;
        let accounts =
            select.query_map([], |row| Ok(Account { name: row.get(0)?, balance: row.get(1)? }))?;
        Ok(accounts.collect::<stockade_sdk::Result<_>>()?)
    }

    fn total() -> Result<(i64, i64), Error> {
        Ok(Connection::open()?.query_row(
            "SELECT (SELECT coalesce(sum(balance), 0) FROM account),
                    (SELECT coalesce(sum(amount), 0) FROM deposit)",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?)
    }
}

fn balance(connection: &Connection, name: &str) -> Result<i64, Error> {
    connection
        .query_row("SELECT balance FROM account WHERE name = ?", [name], |row| row.get(0))
        .optional()?
        .ok_or_else(|| Error::UnknownAccount(name.to_owned()))
}

/// Adds to a balance, in the transaction that is open.
fn pay_in(connection: &Connection, name: &str, amount: i64) -> Result<i64, Error> {
    if amount <= 0 {
        return Err(Error::InvalidAmount(amount));
    }
    let result = connection.query_row(
        "UPDATE account SET balance = balance + ?2 WHERE name = ?1 RETURNING balance",
        (name, amount),
        |row| row.get(0),
    );
    match result {
        Err(error) if error.is_no_row() => Err(Error::UnknownAccount(name.to_owned())),
        Err(error) if error.constraint().is_some_and(|c| c.kind == ConstraintKind::Datatype) => {
            Err(Error::BalanceTooLarge(name.to_owned()))
        }
        result => Ok(result?),
    }
}

impl Lifecycle for Ledger {
    fn start() -> lifecycle::Result {
        SCHEMA.apply(&mut Connection::open()?)?;
        Ok(())
    }
}

/// So that `?` turns an error of the database into the actor's own error.
impl From<SqlError> for Error {
    fn from(error: SqlError) -> Self {
        Self::Failed(error.to_string())
    }
}

mod bindings {
    //! Generated from `world.wit`.
    stockade_sdk::world!("world.wit");
}

bindings::export!(Ledger with_types_in bindings);
stockade_sdk::export_lifecycle!(Ledger);
