//! Sets alarms, and keeps a row of each run of their handler. The payload says what the handler does:
//! `ok`, `fail`, `trap`, `spin`, `again MS`, `again-trap MS`, `again-fail MS`, `cancel`, `slow MS`,
//! `say` (a line of the log), `call MS` (another actor, after a while).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bindings::exports::tests::lifecycle_alarms::alarms::Guest;
use stockade_sdk::actors;
use stockade_sdk::alarms::{self, AlarmHandler, DueAlarm, HandlerError, Schedule};
use stockade_sdk::lifecycle::{self, Lifecycle};
use stockade_sdk::log::{self, Level};
use stockade_sdk::{Connection, Value, context};

stockade_alloc::install!();

struct Actor;

impl Lifecycle for Actor {
    fn start() -> lifecycle::Result {
        Connection::open()?.execute_script(
            "CREATE TABLE IF NOT EXISTS run (id INTEGER PRIMARY KEY, name TEXT, attempt INTEGER,
               missed INTEGER, due INTEGER, late_us INTEGER, generation INTEGER);
             CREATE TABLE IF NOT EXISTS beside (name TEXT)",
        )?;
        Ok(())
    }
}

impl AlarmHandler for Actor {
    fn on_alarm(alarm: DueAlarm) -> alarms::Handled {
        let now_us = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros())?;
        let connection = Connection::open()?;
        let me = context::identity()?;
        let generation = i64::try_from(me.generation)?;
        let (missed, due) = (i64::try_from(alarm.missed)?, i64::try_from(alarm.due)?);
        let late_us = now_us - due * 1000;
        connection.execute(
            "INSERT INTO run (name, attempt, missed, due, late_us, generation)
             VALUES (?, ?, ?, ?, ?, ?)",
            (&alarm.name, i64::from(alarm.attempt), missed, due, late_us, generation),
        )?;
        let payload = String::from_utf8(alarm.payload)?;
        let (what, ms) = payload.split_once(' ').unwrap_or((&payload, "0"));
        let ms: u64 = ms.parse()?;
        let pause = Duration::from_millis(ms);
        if what.starts_with("again") {
            alarms::set(&alarm.name, &Schedule::After(ms), payload.as_bytes())?;
        }
        match what {
            "fail" | "again-fail" => Err(HandlerError::Other(format!("no {}", alarm.name))),
            "trap" | "again-trap" => panic!("told to trap"),
            "cancel" => {
                alarms::cancel(&alarm.name)?;
                Ok(())
            }
            "spin" => loop {
                core::hint::black_box(0);
            },
            "slow" => {
                std::thread::sleep(pause);
                Ok(())
            }
            "say" => {
                log::write(Level::Info, &format!("{}: {} begins", me.key, alarm.name), &[])?;
                Ok(())
            }
            "call" => {
                std::thread::sleep(pause);
                actors::call(&me.kind, "called", "runs", "")?;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl Guest for Actor {
    fn after(name: String, ms: u64, payload: String) -> Result<(), String> {
        alarms::set(&name, &Schedule::After(ms), payload.as_bytes()).map_err(words)
    }

    fn at(name: String, ms: u64, payload: String) -> Result<(), String> {
        alarms::set(&name, &Schedule::At(ms), payload.as_bytes()).map_err(words)
    }

    fn every(name: String, ms: u64, payload: String) -> Result<(), String> {
        alarms::set(&name, &Schedule::Every(ms), payload.as_bytes()).map_err(words)
    }

    fn cron(name: String, expression: String, zone: String) -> Result<(), String> {
        alarms::set(&name, &Schedule::Cron { expression, zone }, b"ok").map_err(words)
    }

    fn arm(count: u32, at: u64) -> Result<(), String> {
        arm(count, at).map_err(words)
    }

    fn tick(ms: u32) -> Result<(), String> {
        alarms::set("tick", &Schedule::After(ms.into()), b"again 0").map_err(words)
    }

    fn sized(name: String, bytes: u64) -> Result<(), String> {
        let payload = vec![b'x'; usize::try_from(bytes).map_err(|error| error.to_string())?];
        alarms::set(&name, &Schedule::After(3_600_000), &payload).map_err(words)
    }

    fn replace(name: String, times: u32) -> Result<(), String> {
        let mut connection = Connection::open().map_err(|error| error.to_string())?;
        let mut left = times;
        while left > 0 {
            let transaction = connection.transaction().map_err(|error| error.to_string())?;
            for _ in 0..left.min(1_000) {
                alarms::set(&name, &Schedule::After(3_600_000), b"ok").map_err(words)?;
            }
            transaction.commit().map_err(|error| error.to_string())?;
            left = left.saturating_sub(1_000);
        }
        Ok(())
    }

    fn cancel(name: String) -> Result<bool, String> {
        alarms::cancel(&name).map_err(words)
    }

    fn look(name: String) -> Result<Option<String>, String> {
        let found = alarms::get(&name).map_err(words)?;
        Ok(found.map(|(alarm, payload)| {
            let status = match alarm.status {
                alarms::Status::Waits(_) => "waits".to_owned(),
                alarms::Status::Parked(error) => format!("parked: {error}"),
                alarms::Status::Off => "off".to_owned(),
            };
            format!("{status}, {} tries, {} bytes", alarm.attempts, payload.len())
        }))
    }

    fn all() -> Result<Vec<String>, String> {
        let mut names = Vec::new();
        loop {
            let page = alarms::list(names.last().map(String::as_str), 7).map_err(words)?;
            if page.is_empty() {
                return Ok(names);
            }
            names.extend(page.into_iter().map(|alarm| alarm.name));
        }
    }

    fn together(name: String, ms: u64, how: String) -> Result<(), String> {
        together(&name, ms, &how).map_err(words)
    }

    fn runs() -> Result<Vec<String>, String> {
        let read = || {
            let connection = Connection::open()?;
            let mut select = connection
                .prepare("SELECT name || ' ' || attempt || ' ' || missed FROM run ORDER BY id")?;
            select.query_map([], |row| row.get(0))?.collect::<stockade_sdk::Result<Vec<String>>>()
        };
        read().map_err(|error: stockade_sdk::Error| error.to_string())
    }

    fn ran(_: u32) -> Result<i64, String> {
        let read =
            || Connection::open()?.query_row("SELECT count(*) FROM run", [], |row| row.get(0));
        read().map_err(|error: stockade_sdk::Error| error.to_string())
    }

    fn late() -> Result<Vec<i64>, String> {
        let read = || {
            let connection = Connection::open()?;
            let mut select = connection.prepare("SELECT late_us FROM run ORDER BY id")?;
            select.query_map([], |row| row.get(0))?.collect::<stockade_sdk::Result<Vec<i64>>>()
        };
        read().map_err(|error: stockade_sdk::Error| error.to_string())
    }

    fn sql(name: String, statements: Vec<String>) -> Result<String, String> {
        let run = || {
            let connection = Connection::open()?;
            let mut last = String::new();
            for (index, sql) in statements.iter().enumerate() {
                if index == 1 && !name.is_empty() {
                    alarms::set(&name, &Schedule::After(3_600_000), b"ok")?;
                }
                let mut statement = connection.prepare(sql)?;
                let mut values = statement.query_map([], |row| row.get::<_, Value>(0))?;
                if let Some(value) = values.next() {
                    last = format!("{:?}", value?);
                }
                for value in values {
                    value?;
                }
            }
            Ok(last)
        };
        run().map_err(words)
    }

    fn blob(table: String, column: String, rowid: i64) -> Result<u64, String> {
        let connection = Connection::open().map_err(|error| error.to_string())?;
        let blob = connection.blob_open(&table, &column, rowid, true);
        blob.map(|blob| blob.size()).map_err(|error| error.to_string())
    }

    fn trap() {
        panic!("told to trap");
    }
}

fn arm(count: u32, at: u64) -> alarms::Result<()> {
    let mut connection = Connection::open()?;
    let transaction = connection.transaction()?;
    for number in 0..count {
        alarms::set(&format!("n{number}"), &Schedule::At(at), b"ok")?;
    }
    transaction.commit()?;
    Ok(())
}

fn together(name: &str, ms: u64, how: &str) -> alarms::Result<()> {
    let mut connection = Connection::open()?;
    let mut transaction = connection.transaction()?;
    transaction.execute("INSERT INTO beside VALUES (?)", (name,))?;
    if how == "savepoint" {
        let savepoint = transaction.savepoint()?;
        alarms::set(name, &Schedule::After(ms), b"ok")?;
        savepoint.rollback()?;
        transaction.commit()?;
        return Ok(());
    }
    alarms::set(name, &Schedule::After(ms), b"ok")?;
    match how {
        "commit" => transaction.commit()?,
        "rollback" => transaction.rollback()?,
        "trap" => panic!("told to trap"),
        // Left open: the host rolls it back.
        _ => core::mem::forget(transaction),
    }
    Ok(())
}

fn words(error: alarms::Error) -> String {
    error.to_string()
}

mod bindings {
    //! Generated from `world.wit`.
    stockade_sdk::world!("world.wit");
}

bindings::export!(Actor with_types_in bindings);
stockade_sdk::export_lifecycle!(Actor);
stockade_sdk::export_alarms!(Actor);
