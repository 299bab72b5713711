//! The actor of `guest-sdk/README.md`, word for word.

use bindings::exports::example::guestbook::guestbook::Guest;
use stockade_sdk::Connection;
use stockade_sdk::lifecycle::{self, Lifecycle};

struct Guestbook;

impl Guest for Guestbook {
    fn sign(name: String) -> Result<i64, String> {
        let connection = Connection::open().map_err(|e| e.to_string())?;
        connection.insert("INSERT INTO entry (name) VALUES (?)", [name]).map_err(|e| e.to_string())
    }
}

impl Lifecycle for Guestbook {
    /// Runs before the first call of each generation.
    fn start() -> lifecycle::Result {
        Ok(Connection::open()?.execute_script(
            "CREATE TABLE IF NOT EXISTS entry (id INTEGER PRIMARY KEY, name TEXT NOT NULL)",
        )?)
    }
}

mod bindings {
    stockade_sdk::world!("world.wit");
}
bindings::export!(Guestbook with_types_in bindings);
stockade_sdk::export_lifecycle!(Guestbook);
