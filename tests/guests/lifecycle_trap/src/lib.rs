//! Writes, and traps at chosen places.

#![allow(unsafe_code, missing_docs, reason = "the component ABI is written by wit-bindgen")]

mod bindings {
    wit_bindgen::generate!({
        path: ["../../../wit", "world.wit"],
        world: "tests:lifecycle-trap/guest",
        generate_all,
    });
}

use std::sync::atomic::{AtomicU64, Ordering};

use bindings::exports::tests::lifecycle_trap::trap::Guest;
use bindings::stockade::actor::sqlite::{self, Connection, TransactionMode, Value};
use bindings::stockade::actor::{context, log};

static RUNS: AtomicU64 = AtomicU64::new(0);

struct Actor;

impl Guest for Actor {
    fn write() -> Result<u64, String> {
        let db = open()?;
        insert(&db)?;
        count(&db)
    }

    fn read() -> Result<u64, String> {
        count(&open()?)
    }

    fn write_then_trap() {
        insert(&open().unwrap_or_else(|error| panic!("{error}")))
            .unwrap_or_else(|error| panic!("{error}"));
        panic!("told to trap after a write");
    }

    fn trap_in_transaction() {
        let db = open().unwrap_or_else(|error| panic!("{error}"));
        let transaction = db.begin(TransactionMode::Immediate);
        insert(&db).unwrap_or_else(|error| panic!("{error}"));
        panic!("told to trap inside {transaction:?}");
    }

    fn trap_now() {
        panic!("told to trap");
    }

    fn unreachable_code() {
        core::arch::wasm32::unreachable()
    }

    fn say_and_trap(text: String) {
        eprint!("{text}");
        core::arch::wasm32::unreachable()
    }

    fn log(message: String, fields: Vec<(String, String)>) -> Result<(), String> {
        log::write(log::Level::Info, &message, &fields).map_err(|error| format!("{error:?}"))?;
        eprintln!("said after {message}");
        Ok(())
    }

    fn exit() {
        std::process::exit(3)
    }

    fn runs() -> u64 {
        RUNS.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn why() -> Result<String, String> {
        context::get_start_reason().map(|why| format!("{why:?}")).map_err(|e| format!("{e:?}"))
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
