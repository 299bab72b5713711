//! Accounts: what leaves one of them arrives at another one, exactly once.

use bindings::exports::stockade_example::bank::account::{Guest, Statement};
use stockade_sdk::lifecycle::{self, Lifecycle};
use stockade_sdk::{Connection, Result, messages};

stockade_alloc::install!();

struct Account;

impl Lifecycle for Account {
    fn start() -> lifecycle::Result {
        Ok(Connection::open()?.execute_script(
            "CREATE TABLE IF NOT EXISTS account (one INTEGER PRIMARY KEY CHECK (one = 1),
               balance INTEGER NOT NULL DEFAULT 0 CHECK (balance >= 0),
               paid_in INTEGER NOT NULL DEFAULT 0, sent INTEGER NOT NULL DEFAULT 0,
               sent_count INTEGER NOT NULL DEFAULT 0, received INTEGER NOT NULL DEFAULT 0,
               received_count INTEGER NOT NULL DEFAULT 0) STRICT;
             INSERT OR IGNORE INTO account (one) VALUES (1)",
        )?)
    }
}

impl Guest for Account {
    fn pay_in(amount: u32) -> Result<i64, String> {
        change("balance = balance + ?1, paid_in = paid_in + ?1", amount).map_err(words)?;
        look().map(|statement| statement.balance).map_err(words)
    }

    fn transfer(to: String, amount: u32) -> Result<(), String> {
        transfer(&to, amount).map_err(words)
    }

    fn transfer_many(to: String, amount: u32, count: u32) -> Result<u32, String> {
        for sent in 0..count {
            match transfer(&to, amount) {
                Ok(()) => {}
                Err(messages::Error::OutboxFull(_)) => return Ok(sent),
                Err(error) => return Err(words(error)),
            }
        }
        Ok(count)
    }

    /// The host runs this in one transaction with the note that it has run.
    fn deposit(amount: u32) -> Result<(), String> {
        messages::current()
            .map_err(words)?
            .filter(|message| message.kind == "bank")
            .ok_or("not from an account")?;
        let set = "balance = balance + ?1, received = received + ?1,
                   received_count = received_count + 1";
        change(set, amount).map_err(words)
    }

    fn look() -> Result<Statement, String> {
        look().map_err(words)
    }
}

/// What leaves the account and the message that takes it along: both are kept, or neither.
fn transfer(to: &str, amount: u32) -> messages::Result<()> {
    let mut connection = Connection::open()?;
    let transaction = connection.transaction()?;
    change("balance = balance - ?1, sent = sent + ?1, sent_count = sent_count + 1", amount)?;
    messages::send("bank", to, "deposit", &format!("[{amount}]"))?;
    Ok(transaction.commit()?)
}

fn change(set: &str, amount: u32) -> Result<()> {
    let update = format!("UPDATE account SET {set}");
    Connection::open()?.execute(&update, [i64::from(amount)]).map(drop)
}

fn look() -> Result<Statement> {
    Connection::open()?.query_row(
        "SELECT balance, paid_in, sent, sent_count, received, received_count FROM account",
        [],
        |row| {
            Ok(Statement {
                balance: row.get(0)?,
                paid_in: row.get(1)?,
                sent: row.get(2)?,
                sent_count: row.get(3)?,
                received: row.get(4)?,
                received_count: row.get(5)?,
            })
        },
    )
}

fn words(error: impl core::fmt::Display) -> String {
    error.to_string()
}

mod bindings {
    //! Generated from `world.wit`.
    stockade_sdk::world!("world.wit");
}

bindings::export!(Account with_types_in bindings);
stockade_sdk::export_lifecycle!(Account);
