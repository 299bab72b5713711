//! Reminders: each is a row and an alarm, both kept or neither. Actors of several people ask each other.

use bindings::exports::stockade_example::reminders::reminders::Guest;
use stockade_sdk::actors::{self, Pending};
use stockade_sdk::alarms::{self, AlarmHandler, DueAlarm, Schedule};
use stockade_sdk::lifecycle::{self, Lifecycle};
use stockade_sdk::{Connection, Result, context};

stockade_alloc::install!();

struct Reminders;

impl Guest for Reminders {
    fn remind(text: String, in_seconds: u32) -> Result<i64, String> {
        let schedule = Schedule::After(u64::from(in_seconds) * 1000);
        add(&text, &schedule).map_err(|error| error.to_string())
    }

    fn repeat(text: String, cron: String, zone: String) -> Result<i64, String> {
        let schedule = Schedule::Cron { expression: cron, zone };
        add(&text, &schedule).map_err(|error| error.to_string())
    }

    fn forget(number: i64) -> Result<bool, String> {
        alarms::cancel(&number.to_string()).map_err(|error| error.to_string())
    }

    fn take() -> Result<Vec<String>, String> {
        take().map_err(|error| error.to_string())
    }

    fn count() -> Result<u32, String> {
        count().map_err(|error| error.to_string())
    }

    fn count_of(people: Vec<String>) -> Result<u32, String> {
        count_of(&people).map_err(|error| error.to_string())
    }
}

impl Lifecycle for Reminders {
    fn start() -> lifecycle::Result {
        Ok(Connection::open()?.execute_script(
            "CREATE TABLE IF NOT EXISTS reminder (number INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT;
             CREATE TABLE IF NOT EXISTS due (at INTEGER, number INTEGER, text TEXT NOT NULL,
               PRIMARY KEY (at, number)) STRICT",
        )?)
    }
}

impl AlarmHandler for Reminders {
    /// An alarm may run twice for one time: the key of the row makes that one.
    fn on_alarm(alarm: DueAlarm) -> alarms::Handled {
        let (at, number) = (i64::try_from(alarm.due)?, alarm.name.parse::<i64>()?);
        Connection::open()?.execute(
            "INSERT OR IGNORE INTO due SELECT ?, number, text FROM reminder WHERE number = ?",
            (at, number),
        )?;
        Ok(())
    }
}

fn add(text: &str, schedule: &Schedule) -> alarms::Result<i64> {
    let mut connection = Connection::open()?;
    let transaction = connection.transaction()?;
    let number = transaction.insert("INSERT INTO reminder (text) VALUES (?)", [text])?;
    alarms::set(&number.to_string(), schedule, &[])?;
    transaction.commit()?;
    Ok(number)
}

fn take() -> Result<Vec<String>> {
    let connection = Connection::open()?;
    let mut delete = connection.prepare("DELETE FROM due RETURNING text")?;
    delete.query_map([], |row| row.get(0))?.collect()
}

fn count() -> Result<u32> {
    Connection::open()?.query_row("SELECT count(*) FROM due", [], |row| row.get(0))
}

/// All calls are under way before the first answer is waited for.
fn count_of(people: &[String]) -> actors::Result<u32> {
    let kind = context::identity().map_err(|error| actors::Error::Other(error.to_string()))?.kind;
    let start = |person: &String| actors::start(&kind, person, "count", "");
    let calls: Vec<Pending> = people.iter().map(start).collect::<actors::Result<_>>()?;
    calls.into_iter().map(|call| call.wait().and_then(|reply| number(reply.text))).sum()
}

/// The number in an answer, which is JSON: `{"ok":2}`.
fn number(answer: String) -> actors::Result<u32> {
    let number = answer.strip_prefix("{\"ok\":").and_then(|text| text.strip_suffix('}'));
    number.and_then(|number| number.parse().ok()).ok_or(actors::Error::Other(answer))
}

mod bindings {
    //! Generated from `world.wit`.
    stockade_sdk::world!("world.wit");
}

bindings::export!(Reminders with_types_in bindings);
stockade_sdk::export_lifecycle!(Reminders);
stockade_sdk::export_alarms!(Reminders);
