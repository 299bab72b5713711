//! The actor of `README.md`, word for word.

use bindings::exports::example::counter::counter::Guest;
use stockade_sdk::{Connection, Result, lifecycle};

struct Counter;

impl Guest for Counter {
    fn increment(by: i64) -> Result<i64, String> {
        add(by).map_err(|error| error.to_string())
    }
}

fn add(by: i64) -> Result<i64> {
    let sql = "UPDATE counter SET value = value + ? RETURNING value";
    Connection::open()?.query_row(sql, [by], |row| row.get(0))
}

impl lifecycle::Lifecycle for Counter {
    fn start() -> lifecycle::Result {
        Ok(Connection::open()?.execute_script(
            "CREATE TABLE IF NOT EXISTS counter (id INTEGER PRIMARY KEY, value INTEGER) STRICT;
             INSERT OR IGNORE INTO counter VALUES (1, 0)",
        )?)
    }
}

mod bindings {
    stockade_sdk::world!("world.wit");
}
bindings::export!(Counter with_types_in bindings);
stockade_sdk::export_lifecycle!(Counter);
