//! Sets alarms, and keeps a row of each run of their handler. The payload says what the handler does:
//! `ok`, `fail`, `trap`, `spin`, `again MS`, `again-trap MS`, `again-fail MS`, `cancel`, `slow MS`.

use bindings::exports::tests::lifecycle_alarms::alarms::Guest;
use stockade_sdk::alarms::{self, AlarmHandler, DueAlarm, HandlerError, Schedule};
use stockade_sdk::lifecycle::{self, Lifecycle};
use stockade_sdk::{Connection, Value, context};

stockade_alloc::install!();

struct Actor;

impl Lifecycle for Actor {
    fn start() -> lifecycle::Result {
        Connection::open()?.execute_script(
            "CREATE TABLE IF NOT EXISTS run (id INTEGER PRIMARY KEY, name TEXT, attempt INTEGER,
               missed INTEGER, due INTEGER, generation INTEGER);
             CREATE TABLE IF NOT EXISTS beside (name TEXT)",
        )?;
        Ok(())
    }
}

impl AlarmHandler for Actor {
    fn on_alarm(alarm: DueAlarm) -> alarms::Handled {
        let connection = Connection::open()?;
        let generation = i64::try_from(context::identity()?.generation)?;
        let (missed, due) = (i64::try_from(alarm.missed)?, i64::try_from(alarm.due)?);
        connection.execute(
            "INSERT INTO run (name, attempt, missed, due, generation) VALUES (?, ?, ?, ?, ?)",
            (&alarm.name, i64::from(alarm.attempt), missed, due, generation),
        )?;
        let payload = String::from_utf8(alarm.payload)?;
        let (what, ms) = payload.split_once(' ').unwrap_or((&payload, "0"));
        let ms: u64 = ms.parse()?;
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
                std::thread::sleep(core::time::Duration::from_millis(ms));
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
