//! Waits inside the host, where no epoch interrupts a guest, and misbehaves after a write.

#![allow(unsafe_code, missing_docs, reason = "the component ABI is written by wit-bindgen")]

mod bindings {
    wit_bindgen::generate!({
        path: ["../../../wit", "world.wit"],
        world: "tests:hostile-wait/guest",
        generate_all,
    });
}

use std::cell::RefCell;
use std::time::Duration;

use bindings::exports::stockade::actor::lifecycle::{Error, Guest as Lifecycle, HandedOver};
use bindings::exports::tests::hostile_wait::wait::Guest as Wait;
use bindings::stockade::actor::log::{self, Level};
use bindings::stockade::actor::sqlite::{self, Connection, Value};

const HOUR: Duration = Duration::from_secs(3_600);

thread_local! {
    static NAP_IN: RefCell<String> = RefCell::default();
}

const ENDLESS: &str =
    "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) FROM c";

struct Actor;

impl Wait for Actor {
    fn nap(ms: u64) {
        std::thread::sleep(Duration::from_millis(ms));
    }

    fn nap_in(hook: String) {
        NAP_IN.set(hook);
    }

    fn write(rows: u32) -> Result<(), String> {
        let db = open()?;
        for _ in 0..rows {
            db.execute("INSERT INTO t VALUES (1)", &[]).map_err(words)?;
        }
        Ok(())
    }

    fn write_and_spin(rows: u32) -> Result<(), String> {
        Self::write(rows)?;
        loop {
            std::hint::spin_loop();
        }
    }

    fn write_and_nap(rows: u32, ms: u64) -> Result<(), String> {
        Self::write(rows)?;
        Self::nap(ms);
        Ok(())
    }

    fn write_and_chat(rows: u32) -> Result<(), String> {
        Self::write(rows)?;
        loop {
            beat();
            for n in 0..200_000_u32 {
                std::hint::black_box(n);
            }
            // The guest ignores every error.
            let _swallowed = Self::count();
        }
    }

    fn write_and_query(rows: u32) -> Result<(), String> {
        Self::write(rows)?;
        let db = open()?;
        loop {
            beat();
            let _swallowed = db.query(ENDLESS, &[]);
        }
    }

    fn write_and_trap(rows: u32) -> Result<(), String> {
        Self::write(rows)?;
        panic!("told to trap")
    }

    fn count() -> Result<u64, String> {
        match open()?.query("SELECT count(*) FROM t", &[]).map_err(words)?.rows[0][0] {
            Value::Integer(n) => u64::try_from(n).map_err(|error| error.to_string()),
            ref other => Err(format!("{other:?}")),
        }
    }
}

impl Lifecycle for Actor {
    fn restore(_: HandedOver) -> Result<(), Error> {
        Ok(())
    }

    fn start() -> Result<(), Error> {
        say("hook start");
        open().map(drop).map_err(Error::Other)
    }

    fn stop() -> Result<(), Error> {
        say("hook stop");
        nap_if("stop");
        Ok(())
    }

    fn snapshot() -> Result<Option<Vec<u8>>, Error> {
        say("hook snapshot");
        nap_if("snapshot");
        Ok(Some(Vec::new()))
    }
}

/// Writes a line to the log, from which a test sees that the guest still runs.
fn beat() {
    say("beat");
}

fn say(line: &str) {
    // The host refuses lines over its limit, and all lines after a revoke. The guest continues.
    let _swallowed = log::write(Level::Info, line, &[]);
}

fn nap_if(hook: &str) {
    if NAP_IN.with_borrow(|nap_in| nap_in == hook) {
        std::thread::sleep(HOUR);
    }
}

fn open() -> Result<Connection, String> {
    let db = sqlite::open().map_err(words)?;
    db.execute("CREATE TABLE IF NOT EXISTS t(a)", &[]).map_err(words)?;
    Ok(db)
}

fn words(error: sqlite::Error) -> String {
    format!("{error:?}")
}

bindings::export!(Actor with_types_in bindings);
