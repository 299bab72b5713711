//! Stores ids, by which a test finds acknowledged writes again, and waits between two reads.

use std::time::Duration;

use bindings::exports::tests::lifecycle_witness::witness::Guest;
use stockade_sdk::lifecycle::{self, Lifecycle};
use stockade_sdk::{Connection, Error, OptionalRow, Result};

stockade_alloc::install!();

struct Witness;

impl Guest for Witness {
    fn note(id: u64) -> Result<u64, String> {
        note(id).map_err(words)
    }

    fn knows(id: u64) -> Result<bool, String> {
        knows(id).map_err(words)
    }

    fn newest_after(ms: u64) -> Result<Option<u64>, String> {
        newest().map_err(words)?;
        std::thread::sleep(Duration::from_millis(ms));
        newest().map_err(words)
    }

    fn ids() -> Result<Vec<u64>, String> {
        ids().map_err(words)
    }
}

impl Lifecycle for Witness {
    fn start() -> lifecycle::Result {
        Ok(Connection::open()?.execute_script(
            "CREATE TABLE IF NOT EXISTS note (row INTEGER PRIMARY KEY, id INTEGER NOT NULL) STRICT",
        )?)
    }
}

fn note(id: u64) -> Result<u64> {
    let connection = Connection::open()?;
    connection.query_row("INSERT INTO note (id) VALUES (?) RETURNING row", [id], |row| row.get(0))
}

fn knows(id: u64) -> Result<bool> {
    let connection = Connection::open()?;
    let found: u64 =
        connection.query_row("SELECT count(*) FROM note WHERE id = ?", [id], |row| row.get(0))?;
    Ok(found > 0)
}

fn newest() -> Result<Option<u64>> {
    let connection = Connection::open()?;
    connection
        .query_row("SELECT id FROM note ORDER BY row DESC LIMIT 1", [], |row| row.get(0))
        .optional()
}

fn ids() -> Result<Vec<u64>> {
    let connection = Connection::open()?;
    let mut select = connection.prepare("SELECT id FROM note ORDER BY row")?;
    let ids = select.query_map([], |row| row.get(0))?;
    ids.collect()
}

fn words(error: Error) -> String {
    error.to_string()
}

mod bindings {
    //! Generated from `world.wit`.
    stockade_sdk::world!("world.wit");
}

bindings::export!(Witness with_types_in bindings);
stockade_sdk::export_lifecycle!(Witness);
