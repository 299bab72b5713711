//! In-memory state that survives sleep by a snapshot, and hooks that misbehave on request.

#![allow(unsafe_code, missing_docs, reason = "the component ABI is written by wit-bindgen")]

mod bindings {
    wit_bindgen::generate!({
        path: ["../../../wit", "world.wit"],
        world: "tests:lifecycle-snapshot/guest",
        generate_all,
    });
}

use std::cell::RefCell;

use bindings::exports::stockade::actor::lifecycle::{Error, Guest as Lifecycle, HandedOver};
use bindings::exports::tests::lifecycle_snapshot::life::Guest as Life;
use bindings::stockade::actor::context;
use bindings::stockade::actor::sqlite::{self, Connection, Value};

#[derive(Default)]
struct State {
    count: u64,
    hooks: Vec<String>,
    snapshot_as: String,
    stop_as: String,
}

thread_local! {
    static STATE: RefCell<State> = RefCell::default();
}

fn state<T>(work: impl FnOnce(&mut State) -> T) -> T {
    STATE.with_borrow_mut(work)
}

struct Actor;

impl Life for Actor {
    fn add(n: u64) -> Result<(u64, u64), String> {
        state(|state| state.count += n);
        let n = i64::try_from(n).map_err(|error| error.to_string())?;
        open()?.execute("UPDATE counter SET n = n + ?1", &[Value::Integer(n)]).map_err(words)?;
        Self::read()
    }

    fn read() -> Result<(u64, u64), String> {
        let stored = integer(&open()?, "SELECT n FROM counter")?;
        Ok((state(|state| state.count), stored))
    }

    fn hooks() -> Vec<String> {
        state(|state| state.hooks.clone())
    }

    fn diary() -> Result<Vec<String>, String> {
        let rows = open()?.query("SELECT hook FROM diary ORDER BY rowid", &[]).map_err(words)?;
        Ok(rows.rows.into_iter().flatten().map(|value| format!("{value:?}")).collect())
    }

    fn snapshot_as(what: String) {
        state(|state| state.snapshot_as = what);
    }

    fn stop_as(what: String) {
        state(|state| state.stop_as = what);
    }

    fn start_as(what: String) -> Result<(), String> {
        let made = open()?.execute("UPDATE counter SET start_as = ?1", &[Value::Text(what)]);
        made.map(drop).map_err(words)
    }

    fn why() -> Result<String, String> {
        context::get_start_reason().map(|why| format!("{why:?}")).map_err(|e| format!("{e:?}"))
    }

    fn generation() -> Result<u64, String> {
        context::get_identity().map(|who| who.generation).map_err(|e| format!("{e:?}"))
    }

    fn linger(ms: u64) -> Result<(), String> {
        let left = || context::get_budget().map(|b| b.time_ms).map_err(|e| format!("{e:?}"));
        let from = left()?;
        while from.saturating_sub(left()?) < ms {
            std::hint::spin_loop();
        }
        Ok(())
    }
}

impl Lifecycle for Actor {
    fn restore(snapshot: HandedOver) -> Result<(), Error> {
        let bytes = snapshot.state.try_into().map_err(|_| Error::Other("not 8 bytes".into()))?;
        state(|state| {
            state.count = u64::from_le_bytes(bytes);
            state
                .hooks
                .push(format!("restore from {} current {}", snapshot.generation, snapshot.current));
        });
        Ok(())
    }

    fn start() -> Result<(), Error> {
        state(|state| state.hooks.push("start".into()));
        let start_as = begin_life().map_err(Error::Other)?;
        let unborn = unborn().map_err(Error::Other)?;
        match unborn.unwrap_or(start_as).as_str() {
            "error" => Err(Error::Other("told to fail".into())),
            "trap" => panic!("told to trap"),
            _ => Ok(()),
        }
    }

    fn stop() -> Result<(), Error> {
        note("stop").map_err(Error::Other)?;
        match state(|state| state.stop_as.clone()).as_str() {
            "error" => Err(Error::Other("told to fail".into())),
            "trap" => panic!("told to trap"),
            "spin" => spin(),
            _ => Ok(()),
        }
    }

    fn snapshot() -> Result<Option<Vec<u8>>, Error> {
        // SQL is revoked before `snapshot`: the seal would not contain a write of this hook.
        let late = match note("snapshot") {
            Ok(()) => return Err(Error::Other("SQL still works in snapshot".into())),
            Err(late) => late,
        };
        match state(|state| state.snapshot_as.clone()).as_str() {
            "late-sql" => Err(Error::Other(late)),
            "none" => Ok(None),
            "error" => Err(Error::Other("told to fail".into())),
            "trap" => panic!("told to trap"),
            "huge" => Ok(Some(vec![7; 2 * 1024 * 1024])),
            "spin" => spin(),
            _ => Ok(Some(state(|state| state.count.to_le_bytes().to_vec()))),
        }
    }
}

fn spin() -> ! {
    loop {
        std::hint::spin_loop();
    }
}

/// Makes the tables and records the start in the diary. Returns what `start` has to do.
fn begin_life() -> Result<String, String> {
    let db = open()?;
    db.execute_script(
        "CREATE TABLE IF NOT EXISTS diary(hook);
         CREATE TABLE IF NOT EXISTS counter(n, start_as);
         INSERT INTO counter SELECT 0, 'work' WHERE NOT EXISTS (SELECT 1 FROM counter)",
    )
    .map_err(words)?;
    note("start")?;
    let rows = db.query("SELECT start_as FROM counter", &[]).map_err(words)?.rows;
    match rows.into_iter().flatten().next() {
        Some(Value::Text(text)) => Ok(text),
        other => Err(format!("{other:?}")),
    }
}

/// What `start` has to do in an actor's first generation: the end of a key such as `unborn-trap`.
fn unborn() -> Result<Option<String>, String> {
    let why = context::get_start_reason().map_err(|error| format!("{error:?}"))?;
    let key = context::get_identity().map_err(|error| format!("{error:?}"))?.key;
    let is_first = matches!(why, context::StartReason::Created);
    Ok(key.strip_prefix("unborn-").filter(|_| is_first).map(str::to_owned))
}

fn note(hook: &str) -> Result<(), String> {
    let generation = Actor::generation()?;
    open()?
        .execute("INSERT INTO diary VALUES (?1)", &[Value::Text(format!("{hook} {generation}"))])
        .map(drop)
        .map_err(words)
}

fn open() -> Result<Connection, String> {
    sqlite::open().map_err(words)
}

fn integer(db: &Connection, sql: &str) -> Result<u64, String> {
    match db.query(sql, &[]).map_err(words)?.rows.into_iter().flatten().next() {
        Some(Value::Integer(n)) => u64::try_from(n).map_err(|error| error.to_string()),
        other => Err(format!("{other:?}")),
    }
}

fn words(error: sqlite::Error) -> String {
    format!("{error:?}")
}

bindings::export!(Actor with_types_in bindings);
