//! The actor's alarms: rows of a table of the host in the actor's own database.
//!
//! ```text
//!  set, cancel   in the transaction that is open, else in one of their own
//!  get, list     as the rows are
//!  runs          `alarm_runs.rs`
//! ```
//! Invariants:
//! - Each set gives the row another number, and whatever follows a run names the number: an alarm that
//!   was set again, or cancelled, by its own handler stays as the handler left it.
//! - Rows of another database, of which this one is a copy, are neither due nor begun.

use std::cell::{Cell, RefCell};

use super::connection::Connection;
#[cfg(test)]
use super::connection::Core;
use super::error::SqlError;
use super::keeper::{integer, text};
use super::run::Runner;
use super::value::Value;
use crate::limits::ALARMS_MAX;
use crate::schedule::Schedule;

/// The table, in the words that a file to be imported must have as well. `db`: the database that the
/// row was set in. `due`: the time that the next run is for. `next`: when it is tried; NULL: parked.
pub(super) const TABLE: &str = "CREATE TABLE _stockade_alarm(name TEXT NOT NULL PRIMARY KEY, \
    number INTEGER NOT NULL, db BLOB NOT NULL, every INTEGER, cron TEXT, zone TEXT, \
    due INTEGER NOT NULL, next INTEGER, attempts INTEGER NOT NULL, error TEXT, \
    payload BLOB NOT NULL) STRICT, WITHOUT ROWID";
/// The index that finds the earliest row, likewise.
pub(super) const INDEX: &str = "CREATE INDEX _stockade_alarm_next ON _stockade_alarm(db, next)";

const EXISTS: &str =
    "SELECT 1 FROM main.sqlite_schema WHERE type = 'table' AND name = '_stockade_alarm'";
const COUNT: &str = "SELECT count(*) FROM main._stockade_alarm WHERE name <> ?1";
const SET: &str = "INSERT INTO main._stockade_alarm
    (name, number, db, every, cron, zone, due, next, attempts, payload)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7, ?8, ?9)
    ON CONFLICT(name) DO UPDATE SET number = excluded.number, db = excluded.db,
    every = excluded.every, cron = excluded.cron, zone = excluded.zone, due = excluded.due,
    next = excluded.next, attempts = excluded.attempts, error = NULL, payload = excluded.payload";
const CANCEL: &str = "DELETE FROM main._stockade_alarm WHERE name = ?1 RETURNING 1";
const GET: &str = "SELECT name, number, db, every, cron, zone, due, next, attempts, error,
    length(payload), payload FROM main._stockade_alarm WHERE name = ?1";
const LIST: &str = "SELECT name, number, db, every, cron, zone, due, next, attempts, error,
    length(payload) FROM main._stockade_alarm WHERE name > ?1 ORDER BY name LIMIT ?2";
pub(super) const SWITCH_ON: &str = "UPDATE main._stockade_alarm
    SET number = ?2, db = ?3, attempts = 0, error = NULL, next = max(due, ?4)
    WHERE name = ?1 AND (next IS NULL OR attempts > 0 OR db <> ?3) RETURNING 1";

/// What a connection knows of its actor's alarms beside the rows.
#[derive(Default)]
pub(super) struct Alarms {
    /// Numbers given by this connection.
    sets: Cell<i64>,
    /// The alarm whose handler runs, and its tries.
    pub(super) running: RefCell<Option<(String, u32)>>,
}

/// An alarm as it is set.
pub struct NewAlarm<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its schedule.
    pub schedule: &'a Schedule,
    /// Its first time.
    pub due: i64,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// An alarm as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// Its name.
    pub name: String,
    /// Changes with each set.
    pub number: i64,
    /// Whether it was set in this database.
    pub on: bool,
    /// Its schedule.
    pub schedule: Schedule,
    /// The time that its next run is for.
    pub due: i64,
    /// When it is tried next; `None`: it is parked.
    pub next: Option<i64>,
    /// Tries of that run.
    pub attempts: u32,
    /// Its last error.
    pub error: Option<String>,
    /// Bytes of its payload.
    pub payload_bytes: u64,
}

/// An actor has as many alarms as it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyAlarms;

impl Connection {
    /// Sets an alarm, or replaces the one of its name. The caller has checked name and payload.
    ///
    /// # Errors
    /// As for a statement. The inner one: there are too many.
    pub fn set_alarm(&mut self, new: NewAlarm<'_>) -> Result<Result<(), TooManyAlarms>, SqlError> {
        self.guarded(|core| {
            core.in_transaction(|core| {
                let runner = &core.runner;
                runner.make_alarms()?;
                let name = Value::Text(new.name.to_owned());
                let others = integer(&runner.keep(COUNT, std::slice::from_ref(&name))?, 0);
                if others.is_some_and(|others| others.unsigned_abs() >= ALARMS_MAX) {
                    return Ok(Err(TooManyAlarms));
                }
                let attempts = match &*runner.alarms.running.borrow() {
                    Some((running, attempts)) if running == new.name => *attempts,
                    _ => 0,
                };
                let [every, cron, zone] = columns(new.schedule);
                let values = [
                    name,
                    Value::Integer(runner.next_number()),
                    runner.own_db(),
                    every,
                    cron,
                    zone,
                    Value::Integer(new.due),
                    Value::Integer(attempts.into()),
                    Value::Blob(new.payload),
                ];
                runner.change_due(SET, &values).map(|_| Ok(()))
            })
        })
    }

    /// Removes an alarm. Returns whether there was one.
    ///
    /// # Errors
    /// As for a statement.
    pub fn cancel_alarm(&mut self, name: &str) -> Result<bool, SqlError> {
        self.guarded(|core| {
            if !core.runner.has_alarms()? {
                return Ok(false);
            }
            core.in_transaction(|core| {
                let rows = core.runner.change_due(CANCEL, &[Value::Text(name.to_owned())])?;
                Ok(!rows.is_empty())
            })
        })
    }

    /// An alarm with its payload.
    ///
    /// # Errors
    /// As for a statement.
    pub fn alarm(&mut self, name: &str) -> Result<Option<(Alarm, Vec<u8>)>, SqlError> {
        self.guarded(|core| {
            if !core.runner.has_alarms()? {
                return Ok(None);
            }
            let rows = core.runner.keep(GET, &[Value::Text(name.to_owned())])?;
            rows.into_iter().next().map(|row| core.runner.with_payload(row)).transpose()
        })
    }

    /// Alarms in the order of their names.
    ///
    /// # Errors
    /// As for a statement.
    pub fn alarms(&mut self, after: &str, max: u64) -> Result<Vec<Alarm>, SqlError> {
        self.guarded(|core| core.runner.list_alarms(after, max))
    }

    #[cfg(test)]
    /// Makes all rows those of another database, as in a copy.
    pub fn as_of_another_database(&mut self) {
        let copied = "UPDATE main._stockade_alarm SET db = x'00'";
        let copy =
            |core: &mut Core| core.in_transaction(|core| core.runner.change_due(copied, &[]));
        self.guarded(copy).expect("the rows can be written");
    }

    #[cfg(test)]
    /// Makes the name of alarm `b` no text.
    pub fn damage_b(&mut self) {
        let damaged = "UPDATE main._stockade_alarm SET name = CAST(x'ff' AS TEXT) WHERE name = 'b'";
        let damage =
            |core: &mut Core| core.in_transaction(|core| core.runner.change_due(damaged, &[]));
        self.guarded(damage).expect("the rows can be written");
    }
}

impl Runner {
    pub(super) fn has_alarms(&self) -> Result<bool, SqlError> {
        Ok(!self.keep(EXISTS, &[])?.is_empty())
    }

    fn make_alarms(&self) -> Result<(), SqlError> {
        if !self.has_alarms()? {
            self.change_due(TABLE, &[])?;
            self.change_due(INDEX, &[])?;
        }
        Ok(())
    }

    pub(super) fn list_alarms(&self, after: &str, max: u64) -> Result<Vec<Alarm>, SqlError> {
        if !self.has_alarms()? {
            return Ok(Vec::new());
        }
        let max = i64::try_from(max.min(ALARMS_MAX)).unwrap_or(i64::MAX);
        let rows = self.keep(LIST, &[text(after), Value::Integer(max)])?;
        rows.into_iter().map(|row| self.alarm_of(row).map(|(alarm, _)| alarm)).collect()
    }

    /// A number for a row, higher than those of earlier generations.
    pub(super) fn next_number(&self) -> i64 {
        let set = self.alarms.sets.get().wrapping_add(1);
        self.alarms.sets.set(set);
        let generation = self.owner.session().fence().generation.0;
        i64::try_from(generation).unwrap_or(i64::MAX >> 24).wrapping_mul(1 << 24).wrapping_add(set)
    }

    pub(super) fn with_payload(&self, row: Vec<Value>) -> Result<(Alarm, Vec<u8>), SqlError> {
        let (alarm, payload) = self.alarm_of(row)?;
        Ok((alarm, payload.unwrap_or_default()))
    }

    /// A row of [`GET`], of [`LIST`], or of the first one that is due.
    fn alarm_of(&self, row: Vec<Value>) -> Result<(Alarm, Option<Vec<u8>>), SqlError> {
        let own = self.own_db();
        let mut row = row.into_iter();
        let mut next = || row.next().unwrap_or(Value::Null);
        let malformed = || SqlError::Other("a malformed row of an alarm".to_owned());
        let Value::Text(name) = next() else { return Err(malformed()) };
        let Value::Integer(number) = next() else { return Err(malformed()) };
        let on = next() == own;
        let schedule = match (next(), next(), next()) {
            (Value::Integer(period), _, _) => Schedule::Every(period),
            (_, Value::Text(expression), Value::Text(zone)) => Schedule::Cron { expression, zone },
            (_, _, _) => Schedule::Once,
        };
        let Value::Integer(due) = next() else { return Err(malformed()) };
        let at = if let Value::Integer(at) = next() { Some(at) } else { None };
        let Value::Integer(attempts) = next() else { return Err(malformed()) };
        let error = if let Value::Text(error) = next() { Some(error) } else { None };
        let Value::Integer(payload_bytes) = next() else { return Err(malformed()) };
        let payload = if let Value::Blob(payload) = next() { Some(payload) } else { None };
        let alarm = Alarm {
            name,
            number,
            on,
            schedule,
            due,
            next: at,
            attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
            error,
            payload_bytes: payload_bytes.unsigned_abs(),
        };
        Ok((alarm, payload))
    }
}

/// The columns `every`, `cron` and `zone`.
fn columns(schedule: &Schedule) -> [Value; 3] {
    match schedule {
        Schedule::Once => [Value::Null, Value::Null, Value::Null],
        Schedule::Every(period) => [Value::Integer(*period), Value::Null, Value::Null],
        Schedule::Cron { expression, zone } => [Value::Null, text(expression), text(zone)],
    }
}
