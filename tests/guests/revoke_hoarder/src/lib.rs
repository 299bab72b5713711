//! Keeps one handle of every type in its memory and uses them after they were revoked.
//!
//! No reply of an ending generation reaches a caller. So its results are handed over in the
//! snapshot, and the next generation returns them.

#![allow(unsafe_code, missing_docs, reason = "the component ABI is written by wit-bindgen")]

mod bindings {
    wit_bindgen::generate!({
        path: ["../../../wit", "world.wit"],
        world: "tests:revoke-hoarder/guest",
        generate_all,
    });
}

use std::cell::RefCell;
use std::fmt::Debug;

use bindings::exports::stockade::actor::lifecycle::{Error, Guest as Lifecycle, HandedOver};
use bindings::exports::tests::revoke_hoarder::hoard::Guest as Hoard;
use bindings::stockade::actor::context;
use bindings::stockade::actor::sqlite::{
    self, Blob, Connection, Cursor, Statement, Transaction, TransactionMode, Value,
};

/// One handle of every type, and statements for each use.
struct Handles {
    db: Connection,
    idle: Statement,
    stepping: Statement,
    _owner: Statement,
    named: Statement,
    cursor: Cursor,
    transaction: Transaction,
    blob: Blob,
}

#[derive(Default)]
struct State {
    handles: Option<Handles>,
    report: Vec<String>,
}

thread_local! {
    static STATE: RefCell<State> = RefCell::default();
}

struct Actor;

impl Hoard for Actor {
    fn hoard() -> Result<(), String> {
        let handles = Handles::open().map_err(words)?;
        STATE.with_borrow_mut(|state| state.handles = Some(handles));
        Ok(())
    }

    fn use_all() -> Vec<String> {
        STATE.with_borrow(|state| state.handles.as_ref().map(Handles::use_all)).unwrap_or_default()
    }

    fn report() -> Vec<String> {
        STATE.with_borrow(|state| state.report.clone())
    }

    fn write_slowly(rows: u32) -> Result<u32, String> {
        let db = table()?;
        for row in 0..rows {
            db.execute("INSERT INTO t(v) VALUES (?1)", &[Value::Integer(i64::from(row))])
                .map_err(words)?;
            db.flush().map_err(words)?;
        }
        Ok(rows)
    }

    fn put(v: i64) -> Result<(), String> {
        table()?
            .execute("INSERT OR REPLACE INTO t VALUES (1, ?1)", &[Value::Integer(v)])
            .map(drop)
            .map_err(words)
    }

    fn get() -> Result<i64, String> {
        let rows = table()?.query("SELECT v FROM t WHERE id = 1", &[]).map_err(words)?.rows;
        match rows.into_iter().flatten().next() {
            Some(Value::Integer(v)) => Ok(v),
            other => Err(format!("{other:?}")),
        }
    }

    fn open_again() -> Result<(), String> {
        sqlite::open().map(drop).map_err(words)
    }

    fn read_for(ms: u64) -> Result<(u64, Option<String>), String> {
        Self::put(1)?;
        let db = table()?;
        db.flush().map_err(words)?;
        let left = || context::get_budget().map(|b| b.time_ms).map_err(|e| format!("{e:?}"));
        let from = left()?;
        let mut reads = 0;
        while from.saturating_sub(left()?) < ms {
            match db.query("SELECT v FROM t WHERE id = 1", &[]) {
                Ok(_) => reads += 1,
                Err(error) => return Ok((reads, Some(words(error)))),
            }
        }
        Ok((reads, None))
    }
}

impl Handles {
    fn open() -> Result<Self, sqlite::Error> {
        let db = sqlite::open()?;
        db.execute_script(
            "CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, v);
             INSERT OR REPLACE INTO t VALUES (1, 10), (2, 20), (3, zeroblob(100))",
        )?;
        let idle = db.prepare("SELECT v FROM t WHERE id = 1")?;
        let stepping = db.prepare("SELECT id FROM t ORDER BY id")?;
        stepping.query(&[], 1)?;
        let owner = db.prepare("SELECT v FROM t")?;
        let cursor = owner.open_cursor(&[])?;
        cursor.next(1)?;
        let named = db.prepare("SELECT v FROM t WHERE id = :id")?;
        let blob = db.open_blob("t", "v", 3, true)?;
        let transaction = db.begin(TransactionMode::Deferred)?;
        Ok(Self { db, idle, stepping, _owner: owner, named, cursor, transaction, blob })
    }

    /// Calls every function of the interface that a kept handle can reach.
    fn use_all(&self) -> Vec<String> {
        let Self { db, idle, stepping, named, cursor, transaction, blob, .. } = self;
        vec![
            line("connection.query", db.query("SELECT v FROM t WHERE id = 1", &[])),
            line("connection.execute", db.execute("UPDATE t SET v = v WHERE id = 1", &[])),
            line("connection.prepare", db.prepare("SELECT v FROM t WHERE id = 1")),
            line("connection.begin", db.begin(TransactionMode::Deferred)),
            line("connection.run-batch", db.run_batch(&[])),
            line("connection.execute-script", db.execute_script("SELECT 1")),
            line("connection.flush", db.flush()),
            line("connection.bookmark", db.bookmark()),
            line("connection.changes", db.changes()),
            line("connection.open-blob", db.open_blob("t", "v", 3, false)),
            line("statement.parameters", idle.parameters()),
            line("statement.columns", idle.columns()),
            line("statement.query", idle.query(&[], 100)),
            line("statement.execute", idle.execute(&[])),
            line("statement.execute-many", idle.execute_many(&[])),
            line("statement.clear-bindings", idle.clear_bindings()),
            line("statement.next", stepping.next(1)),
            line("statement.reset", stepping.reset()),
            line("statement.bind", named.bind(1, &Value::Integer(1))),
            line("statement.bind-name", named.bind_name(":id", &Value::Integer(1))),
            line("statement.open-cursor", named.open_cursor(&[])),
            line("cursor.next", cursor.next(1)),
            line("transaction.commit", transaction.commit()),
            line("transaction.rollback", transaction.rollback()),
            line("blob.size", blob.size()),
            line("blob.read", blob.read(0, 1)),
            line("blob.write", blob.write(0, &[1])),
            line("open", sqlite::open()),
        ]
    }
}

impl Lifecycle for Actor {
    fn restore(snapshot: HandedOver) -> Result<(), Error> {
        let text = String::from_utf8_lossy(&snapshot.state).into_owned();
        STATE.with_borrow_mut(|state| state.report = text.lines().map(str::to_owned).collect());
        Ok(())
    }

    fn start() -> Result<(), Error> {
        Ok(())
    }

    fn stop() -> Result<(), Error> {
        let lines = Self::use_all();
        STATE.with_borrow_mut(|state| {
            state.report = lines.into_iter().map(|line| format!("stop {line}")).collect();
        });
        Ok(())
    }

    fn snapshot() -> Result<Option<Vec<u8>>, Error> {
        let lines = Self::use_all();
        let report = STATE.with_borrow(|state| state.report.clone());
        let dead = lines.into_iter().map(|line| format!("snapshot {line}"));
        let text: Vec<String> = report.into_iter().chain(dead).collect();
        Ok(Some(text.join("\n").into_bytes()))
    }
}

fn table() -> Result<Connection, String> {
    let db = sqlite::open().map_err(words)?;
    db.execute("CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, v)", &[]).map_err(words)?;
    Ok(db)
}

fn line<T: Debug>(name: &str, answer: Result<T, sqlite::Error>) -> String {
    match answer {
        Ok(_) => format!("{name}: ok"),
        Err(error) => format!("{name}: {}", words(error)),
    }
}

fn words(error: sqlite::Error) -> String {
    format!("{error:?}")
}

bindings::export!(Actor with_types_in bindings);
