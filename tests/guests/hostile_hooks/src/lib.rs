//! Hooks that do not end or return snapshots that are too large, and WASI handles that are never
//! dropped.

#![allow(unsafe_code, missing_docs, reason = "the component ABI is written by wit-bindgen")]

mod bindings {
    wit_bindgen::generate!({
        path: ["../../../wit", "world.wit"],
        world: "tests:hostile-hooks/guest",
        generate_all,
    });
}

use std::cell::Cell;

use bindings::exports::stockade::actor::lifecycle::{Error, Guest as Lifecycle, HandedOver};
use bindings::exports::tests::hostile_hooks::system::Guest;
use bindings::stockade::actor::sqlite::{self, Connection, Value};
use bindings::wasi::cli::stdout::get_stdout;
use bindings::wasi::clocks::monotonic_clock::subscribe_duration;

thread_local! {
    static HAND_OVER_BYTES: Cell<usize> = const { Cell::new(0) };
}

struct Actor;

impl Guest for Actor {
    fn hello() -> String {
        "hello".into()
    }

    fn curse(what: String) -> Result<(), String> {
        open()?.execute("INSERT INTO curse VALUES (?1)", &[Value::Text(what)]).map_err(words)?;
        Ok(())
    }

    fn hand_over(bytes: u32) {
        HAND_OVER_BYTES.set(usize::try_from(bytes).unwrap_or(usize::MAX));
    }

    fn leak_pollables() {
        loop {
            std::mem::forget(subscribe_duration(u64::MAX));
        }
    }

    fn leak_streams() {
        loop {
            std::mem::forget(get_stdout());
        }
    }
}

impl Lifecycle for Actor {
    fn restore(_: HandedOver) -> Result<(), Error> {
        Ok(())
    }

    fn start() -> Result<(), Error> {
        start().map_err(Error::Other)
    }

    fn stop() -> Result<(), Error> {
        Ok(())
    }

    fn snapshot() -> Result<Option<Vec<u8>>, Error> {
        Ok(Some(vec![1; HAND_OVER_BYTES.get()]))
    }
}

fn start() -> Result<(), String> {
    let db = open()?;
    let rows = db.query("SELECT what FROM curse", &[]).map_err(words)?.rows;
    let Some(Value::Text(what)) = rows.first().and_then(|row| row.first()) else { return Ok(()) };
    match what.as_str() {
        "spin" => loop {
            std::hint::spin_loop();
        },
        "spin-in-sql" => loop {
            drop(db.query(
                "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c)
                 SELECT count(*) FROM c",
                &[],
            ));
        },
        "grow" => {
            while core::arch::wasm32::memory_grow::<0>(16) != usize::MAX {}
            panic!("no memory left")
        }
        _ => Ok(()),
    }
}

fn open() -> Result<Connection, String> {
    let db = sqlite::open().map_err(words)?;
    db.execute("CREATE TABLE IF NOT EXISTS curse(what)", &[]).map_err(words)?;
    Ok(db)
}

fn words(error: sqlite::Error) -> String {
    format!("{error:?}")
}

bindings::export!(Actor with_types_in bindings);
