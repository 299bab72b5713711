//! Holds a cursor open and waits on a clock while its host shuts down.

#![allow(unsafe_code, missing_docs, reason = "the component ABI is written by wit-bindgen")]

mod bindings {
    wit_bindgen::generate!({
        path: ["../../../wit", "world.wit"],
        world: "tests:lifecycle-storm/guest",
        generate_all,
    });
}

use std::time::Duration;

use bindings::exports::stockade::actor::lifecycle::{Error, Guest as Lifecycle, HandedOver};
use bindings::exports::tests::lifecycle_storm::storm::Guest as Storm;
use bindings::stockade::actor::sqlite::{self, Connection, Value};

struct Actor;

impl Storm for Actor {
    fn write() -> Result<u64, String> {
        let db = open()?;
        insert(&db)?;
        count(&db)
    }

    fn count() -> Result<u64, String> {
        count(&open()?)
    }

    fn hold(ms: u64) -> Result<u64, String> {
        let db = open()?;
        db.execute("INSERT INTO t VALUES (1), (2), (3)", &[]).map_err(words)?;
        let statement = db.prepare("SELECT a FROM t").map_err(words)?;
        let cursor = statement.open_cursor(&[]).map_err(words)?;
        // One row, so that the cursor stays open.
        let mut batch = cursor.next(1).map_err(words)?;
        let mut rows = u64::from(batch.count);
        std::thread::sleep(Duration::from_millis(ms));
        while !batch.done {
            batch = cursor.next(1).map_err(words)?;
            rows += u64::from(batch.count);
        }
        Ok(rows)
    }
}

impl Lifecycle for Actor {
    fn restore(_: HandedOver) -> Result<(), Error> {
        Ok(())
    }

    fn start() -> Result<(), Error> {
        open().map(drop).map_err(Error::Other)
    }

    fn stop() -> Result<(), Error> {
        Ok(())
    }

    fn snapshot() -> Result<Option<Vec<u8>>, Error> {
        Ok(Some(b"memory".to_vec()))
    }
}

fn open() -> Result<Connection, String> {
    let db = sqlite::open().map_err(words)?;
    db.execute("CREATE TABLE IF NOT EXISTS t(a)", &[]).map_err(words)?;
    Ok(db)
}

fn insert(db: &Connection) -> Result<(), String> {
    db.execute("INSERT INTO t VALUES (1)", &[]).map(drop).map_err(words)
}

fn count(db: &Connection) -> Result<u64, String> {
    match db.query("SELECT count(*) FROM t", &[]).map_err(words)?.rows[0][0] {
        Value::Integer(n) => u64::try_from(n).map_err(|error| error.to_string()),
        ref other => Err(format!("{other:?}")),
    }
}

fn words(error: sqlite::Error) -> String {
    format!("{error:?}")
}

bindings::export!(Actor with_types_in bindings);
