//! Calls other actors: directly, through others, many at a time, and from hooks.

use core::cell::RefCell;
use std::time::{Duration, Instant};

use bindings::exports::tests::calls_relay::relay::{Ends, Guest};
use stockade_sdk::actors::{self, Pending};
use stockade_sdk::lifecycle::{self, Lifecycle};
use stockade_sdk::{Connection, Error, context};

stockade_alloc::install!();

/// Errors that a fan-out returns.
const ERRORS_MAX: usize = 10;

thread_local! {
    static HELD: RefCell<Option<Pending>> = const { RefCell::new(None) };
}

struct Relay;

impl Guest for Relay {
    fn call(
        kind: String,
        key: String,
        method: String,
        arguments: String,
    ) -> Result<String, String> {
        let reply = actors::call(&kind, &key, &method, &arguments).map_err(shown)?;
        Ok(reply.text)
    }

    fn call_after(
        ms: u64,
        kind: String,
        key: String,
        method: String,
        arguments: String,
    ) -> Result<String, String> {
        sleep(ms);
        Self::call(kind, key, method, arguments)
    }

    fn pass(keys: Vec<String>) -> Result<u32, String> {
        let Some((first, rest)) = keys.split_first() else { return Ok(0) };
        let rest: Vec<String> = rest.iter().map(|key| format!("{key:?}")).collect();
        let arguments = format!("[[{}]]", rest.join(","));
        let reply = actors::call(&kind()?, first, "pass", &arguments).map_err(shown)?;
        let further = u32::try_from(number(&reply.text)?);
        further.map(|further| 1 + further).map_err(|error| error.to_string())
    }

    fn write_and_call(
        kind: String,
        key: String,
        method: String,
        arguments: String,
    ) -> Result<String, String> {
        Self::write()?;
        Self::call(kind, key, method, arguments)
    }

    fn call_within(
        kind: String,
        key: String,
        method: String,
        arguments: String,
    ) -> Result<String, String> {
        let mut connection = Connection::open().map_err(words)?;
        let _open = connection.transaction().map_err(words)?;
        Self::call(kind, key, method, arguments)
    }

    fn fan_out(
        prefix: String,
        count: u32,
        method: String,
        arguments: String,
    ) -> Result<Ends, String> {
        let kind = kind()?;
        let start =
            |number| actors::start(&kind, &format!("{prefix}{number}"), &method, &arguments);
        Ok(ends((0..count).map(start).collect()))
    }

    fn flood(key: String, count: u32, method: String, arguments: String) -> Result<Ends, String> {
        let kind = kind()?;
        let start = |_| actors::start(&kind, &key, &method, &arguments);
        Ok(ends((0..count).map(start).collect()))
    }

    fn first_of(keys: Vec<String>, method: String, arguments: String) -> Result<u32, String> {
        let kind = kind()?;
        let calls: Result<Vec<Pending>, actors::Error> =
            keys.iter().map(|key| actors::start(&kind, key, &method, &arguments)).collect();
        let mut calls = calls.map_err(shown)?;
        let first = actors::wait_any(&calls).map_err(shown)?;
        calls.swap_remove(first).wait().map_err(shown)?;
        u32::try_from(first).map_err(|error| error.to_string())
    }

    fn hold(key: String, method: String, arguments: String) -> Result<(), String> {
        let pending = actors::start(&kind()?, &key, &method, &arguments).map_err(shown)?;
        HELD.set(Some(pending));
        Ok(())
    }

    fn take() -> Result<String, String> {
        let pending = HELD.take().ok_or("nothing is held")?;
        pending.wait().map(|reply| reply.text).map_err(shown)
    }

    fn start_and_drop(key: String, ms: u64) -> Result<(), String> {
        let pending = actors::start(&kind()?, &key, "write", "").map_err(shown)?;
        sleep(ms);
        drop(pending);
        Ok(())
    }

    fn prepare(rows: u32) -> Result<(), String> {
        (0..rows).try_for_each(|_| Self::write().map(drop))
    }

    fn ask(calls: u32) -> Result<i64, String> {
        let me = context::identity().map_err(|error| error.to_string())?;
        let callee = format!("{}-callee", me.key);
        let mut sum = 0;
        for _ in 0..calls {
            let reply = actors::call(&me.kind, &callee, "count", "").map_err(shown)?;
            sum += number(&reply.text)?;
        }
        Ok(sum)
    }

    fn timed(key: String, calls: u32) -> Result<Vec<u64>, String> {
        let kind = kind()?;
        let one = |_| {
            let begun = Instant::now();
            let reply = actors::call(&kind, &key, "count", "").map_err(shown)?;
            number(&reply.text)?;
            u64::try_from(begun.elapsed().as_nanos()).map_err(|error| error.to_string())
        };
        (0..calls).map(one).collect()
    }

    fn write() -> Result<i64, String> {
        let connection = Connection::open().map_err(words)?;
        connection.execute("INSERT INTO t VALUES (1)", []).map_err(words)?;
        Self::count()
    }

    fn count() -> Result<i64, String> {
        let connection = Connection::open().map_err(words)?;
        connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).map_err(words)
    }

    fn nap(ms: u64) -> Result<i64, String> {
        sleep(ms);
        Self::count()
    }

    fn write_nap_write(ms: u64) -> Result<i64, String> {
        Self::write()?;
        sleep(ms);
        Self::write()
    }

    fn write_and_refuse() -> Result<i64, String> {
        Self::write()?;
        Err("refused".to_owned())
    }

    fn new_id() -> Result<String, String> {
        actors::new_call_id().map_err(shown)
    }

    fn call_once(
        key: String,
        method: String,
        arguments: String,
        id: String,
    ) -> Result<String, String> {
        let reply = actors::call_with_id(&kind()?, &key, &method, &arguments, &id);
        reply.map(|reply| reply.text).map_err(shown)
    }

    fn start_once(
        key: String,
        method: String,
        arguments: String,
        id: String,
    ) -> Result<String, String> {
        let pending = actors::start_with_id(&kind()?, &key, &method, &arguments, &id);
        pending.and_then(Pending::wait).map(|reply| reply.text).map_err(shown)
    }

    fn outcome(key: String, id: String, settle: bool) -> Result<String, String> {
        let kind = kind()?;
        let outcome = if settle {
            actors::settle(&kind, &key, &id)
        } else {
            actors::outcome(&kind, &key, &id)
        };
        outcome.map(|outcome| format!("{outcome:?}")).map_err(shown)
    }

    fn write_and_trap() -> Result<(), String> {
        Self::write()?;
        panic!("asked to trap")
    }

    fn large(bytes: u32) -> String {
        "x".repeat(usize::try_from(bytes).unwrap_or(0))
    }
}

impl Lifecycle for Relay {
    fn start() -> lifecycle::Result {
        Connection::open()?.execute_script("CREATE TABLE IF NOT EXISTS t(a)")?;
        call_in("start")
    }

    fn stop() -> lifecycle::Result {
        call_in("stop")
    }

    fn snapshot() -> lifecycle::Result<Option<Vec<u8>>> {
        call_in("snapshot").map(|()| None)
    }
}

/// Calls the actor that the own key names for this hook, if it names one.
fn call_in(hook: &str) -> lifecycle::Result {
    let me = context::identity()?;
    if let Some((named, key)) = me.key.split_once('>')
        && named == hook
    {
        let called = actors::call(&me.kind, key, "count", "");
        return called.map(drop).map_err(|error| lifecycle::Error::Other(shown(error)));
    }
    Ok(())
}

fn ends(calls: Vec<actors::Result<Pending>>) -> Ends {
    let mut ends = Ends { answered: 0, errors: Vec::new() };
    for call in calls {
        match call.and_then(Pending::wait) {
            Ok(_) => ends.answered += 1,
            Err(error) if ends.errors.len() < ERRORS_MAX => ends.errors.push(shown(error)),
            Err(_) => {}
        }
    }
    ends
}

fn kind() -> Result<String, String> {
    context::identity().map(|me| me.kind).map_err(|error| error.to_string())
}

/// The number in an answer.
fn number(answer: &str) -> Result<i64, String> {
    let number = answer.strip_prefix("{\"ok\":").and_then(|text| text.strip_suffix('}'));
    number.and_then(|number| number.parse().ok()).ok_or_else(|| answer.to_owned())
}

fn sleep(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

fn shown(error: actors::Error) -> String {
    format!("{error:?}")
}

fn words(error: Error) -> String {
    error.to_string()
}

mod bindings {
    //! Generated from `world.wit`.
    stockade_sdk::world!("world.wit");
}

bindings::export!(Relay with_types_in bindings);
stockade_sdk::export_lifecycle!(Relay);
