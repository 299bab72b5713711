//! A number that only this actor can change, and a count of calls that lives in memory.

use core::cell::Cell;

use bindings::exports::stockade_example::counter::counter::Guest;
use stockade_sdk::lifecycle::{self, HandedOver, Lifecycle};
use stockade_sdk::{Connection, Result};

stockade_alloc::install!();

thread_local! {
    /// Calls answered. An instance has one thread and is one actor.
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

struct Counter;

impl Guest for Counter {
    fn increment(by: i64) -> Result<i64, String> {
        CALLS.set(CALLS.get() + 1);
        add(by).map_err(|error| error.to_string())
    }

    fn get() -> Result<i64, String> {
        CALLS.set(CALLS.get() + 1);
        read().map_err(|error| error.to_string())
    }

    fn calls() -> u64 {
        CALLS.set(CALLS.get() + 1);
        CALLS.get()
    }
}

impl Lifecycle for Counter {
    /// Runs before the first call of each generation.
    fn start() -> lifecycle::Result {
        Ok(Connection::open()?.execute_script(
            "CREATE TABLE IF NOT EXISTS counter (id INTEGER PRIMARY KEY CHECK (id = 1), value INTEGER NOT NULL) STRICT;
             INSERT OR IGNORE INTO counter VALUES (1, 0)",
        )?)
    }

    /// The state that `snapshot` of the former generation returned.
    fn restore(snapshot: HandedOver) -> lifecycle::Result {
        CALLS.set(u64::from_le_bytes(snapshot.state.as_slice().try_into()?));
        Ok(())
    }

    fn snapshot() -> lifecycle::Result<Option<Vec<u8>>> {
        Ok(Some(CALLS.get().to_le_bytes().to_vec()))
    }
}

/// One statement, which commits by itself: no other call of this actor runs at the same time.
fn add(by: i64) -> Result<i64> {
    Connection::open()?.query_row(
        "UPDATE counter SET value = value + ? RETURNING value",
        [by],
        |row| row.get(0),
    )
}

fn read() -> Result<i64> {
    Connection::open()?.query_row("SELECT value FROM counter", [], |row| row.get(0))
}

mod bindings {
    //! Generated from `world.wit`.
    stockade_sdk::world!("world.wit");
}

bindings::export!(Counter with_types_in bindings);
stockade_sdk::export_lifecycle!(Counter);
