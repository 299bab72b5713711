//! The actor's alarms: rows of a table of the host in the actor's own database.
//!
//! ```text
//!  set, cancel   in the transaction that is open, else in one of their own
//!  begin         counts a try and sets the time of the next one: durable before the handler
//!  end           removed, next time, next try or parked: only the row that was begun
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
use crate::limits::{
    ALARM_BACKOFF_MS, ALARM_BACKOFF_MS_MAX, ALARM_ERROR_BYTES_MAX, ALARM_TRIES_MAX, ALARMS_MAX,
};
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
const FIRST: &str = "SELECT name, number, db, every, cron, zone, due, next, attempts, error,
    length(payload), payload FROM main._stockade_alarm
    WHERE db = ?1 AND next <= ?2 ORDER BY next, name LIMIT 1";
const TRY: &str = "UPDATE main._stockade_alarm SET attempts = ?3, next = ?4
    WHERE name = ?1 AND number = ?2";
const NOTE: &str = "UPDATE main._stockade_alarm SET error = ?3 WHERE name = ?1 AND number = ?2";
const PARK: &str = "UPDATE main._stockade_alarm SET next = NULL, error = coalesce(?3, error, ?4)
    WHERE name = ?1 AND number = ?2";
const AGAIN: &str = "UPDATE main._stockade_alarm SET next = ?3, error = ?4
    WHERE name = ?1 AND number = ?2";
const NEXT: &str = "UPDATE main._stockade_alarm SET due = ?3, next = ?3, attempts = 0, error = NULL
    WHERE name = ?1 AND number = ?2";
const DONE: &str = "DELETE FROM main._stockade_alarm WHERE name = ?1 AND number = ?2";
const RESET: &str = "UPDATE main._stockade_alarm SET attempts = 0
    WHERE name = ?1 AND number > ?2 AND db = ?3 AND attempts > 0";
const RESET_FAILED: &str = "UPDATE main._stockade_alarm
    SET error = ?4, next = CASE WHEN attempts >= ?5 THEN NULL ELSE next END
    WHERE name = ?1 AND number > ?2 AND db = ?3 AND attempts > 0";
pub(super) const SWITCH_ON: &str = "UPDATE main._stockade_alarm
    SET number = ?2, db = ?3, attempts = 0, error = NULL, next = max(due, ?4)
    WHERE name = ?1 AND (next IS NULL OR attempts > 0 OR db <> ?3) RETURNING 1";

/// Why a parked row has no other error.
const NO_ANSWER: &str = "the run ended without an answer: its host or its actor died";
/// Why a repeating alarm is parked that ended well.
const NO_NEXT_TIME: &str = "the schedule has no next time";

/// What a connection knows of its actor's alarms beside the rows.
#[derive(Default)]
pub(super) struct Alarms {
    /// Numbers given by this connection.
    sets: Cell<i64>,
    /// The alarm whose handler runs, and its tries.
    running: RefCell<Option<(String, u32)>>,
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

/// An alarm whose handler may run: the try is counted.
#[derive(Clone, Debug)]
pub struct BegunAlarm {
    /// The alarm, with this try counted.
    pub alarm: Alarm,
    /// Its payload.
    pub payload: Vec<u8>,
    /// When it was begun, in milliseconds since 1970.
    pub at: i64,
}

/// The crash that an alarm's last run ended with, for the row.
#[derive(Clone, Debug)]
pub struct CrashedAlarm {
    /// Its name.
    pub name: String,
    /// Its number.
    pub number: i64,
    /// What happened.
    pub error: String,
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

    /// Counts a try of the first alarm that is due, and sets the time of the next try. The handler
    /// may run once that is durable. Alarms that were tried too often are parked on the way.
    /// `crashed`: how the last run here ended.
    ///
    /// # Errors
    /// As for a statement.
    pub fn begin_alarm(
        &mut self,
        now: i64,
        crashed: Option<&CrashedAlarm>,
    ) -> Result<Option<BegunAlarm>, SqlError> {
        self.guarded(|core| {
            core.runner.alarms.running.take();
            if !core.runner.has_alarms()? {
                core.runner.due.set(core.runner.read_earliest()?);
                return Ok(None);
            }
            let begun = core.in_transaction(|core| {
                if let Some(CrashedAlarm { name, number, error }) = crashed {
                    let values = [text(name), Value::Integer(*number), text(bounded(error))];
                    core.runner.change_due(NOTE, &values)?;
                }
                core.runner.begin_first(now)
            })?;
            if begun.is_none() {
                let earliest = core.runner.read_earliest()?;
                core.runner.due.set(earliest);
            }
            if let Some(BegunAlarm { alarm, .. }) = &begun {
                let running = (alarm.name.clone(), alarm.attempts);
                core.runner.alarms.running.replace(Some(running));
            }
            Ok(begun)
        })
    }

    /// Records how a run ended: `failed` has the words of its error, which are guest-controlled.
    ///
    /// # Errors
    /// As for a statement: then the try counts as one that failed.
    pub fn end_alarm(
        &mut self,
        begun: &BegunAlarm,
        failed: Option<&str>,
        now: i64,
    ) -> Result<(), SqlError> {
        self.guarded(|core| {
            core.runner.alarms.running.take();
            core.in_transaction(|core| match failed {
                None => core.runner.ended_well(begun),
                Some(words) => core.runner.ended_badly(begun, bounded(words), now),
            })
        })
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

    fn begin_first(&self, now: i64) -> Result<Option<BegunAlarm>, SqlError> {
        loop {
            let rows = self.keep(FIRST, &[self.own_db(), Value::Integer(now)])?;
            let Some(row) = rows.into_iter().next() else { return Ok(None) };
            let (mut alarm, payload) = self.with_payload(row)?;
            if alarm.attempts >= ALARM_TRIES_MAX {
                self.park(&alarm, None, NO_ANSWER)?;
                continue;
            }
            alarm.attempts += 1;
            let next = now.saturating_add(backoff(alarm.attempts));
            alarm.next = Some(next);
            let [name, number] = key(&alarm);
            let attempts = Value::Integer(alarm.attempts.into());
            self.change_due(TRY, &[name, number, attempts, Value::Integer(next)])?;
            return Ok(Some(BegunAlarm { alarm, payload, at: now }));
        }
    }

    fn ended_well(&self, begun: &BegunAlarm) -> Result<(), SqlError> {
        let BegunAlarm { alarm, at, .. } = begun;
        let [name, number] = key(alarm);
        match (alarm.schedule.next(alarm.due, *at), &alarm.schedule) {
            (Some(next), _) => {
                let next = Value::Integer(next);
                self.change_due(NEXT, &[name.clone(), number.clone(), next])?;
            }
            (None, Schedule::Once) => {
                self.change_due(DONE, &[name.clone(), number.clone()])?;
            }
            (None, _) => self.park(alarm, Some(NO_NEXT_TIME), "")?,
        }
        self.change_due(RESET, &[name, number, self.own_db()]).map(drop)
    }

    fn ended_badly(&self, begun: &BegunAlarm, words: &str, now: i64) -> Result<(), SqlError> {
        let alarm = &begun.alarm;
        let [name, number] = key(alarm);
        if alarm.attempts >= ALARM_TRIES_MAX {
            self.park(alarm, Some(words), "")?;
        } else {
            let next = Value::Integer(now.saturating_add(backoff(alarm.attempts)));
            self.change_due(AGAIN, &[name.clone(), number.clone(), next, text(words)])?;
        }
        let max = Value::Integer(ALARM_TRIES_MAX.into());
        let values = [name, number, self.own_db(), text(words), max];
        self.change_due(RESET_FAILED, &values).map(drop)
    }

    fn park(&self, alarm: &Alarm, words: Option<&str>, otherwise: &str) -> Result<(), SqlError> {
        tracing::warn!(
            fence = ?self.owner.session().fence(), name = alarm.name, attempts = alarm.attempts,
            error = words.or(alarm.error.as_deref()).unwrap_or(otherwise), "alarm parked"
        );
        let [name, number] = key(alarm);
        let words = words.map_or(Value::Null, text);
        self.change_due(PARK, &[name, number, words, text(otherwise)]).map(drop)
    }

    /// A number for a row, higher than those of earlier generations.
    pub(super) fn next_number(&self) -> i64 {
        let set = self.alarms.sets.get().wrapping_add(1);
        self.alarms.sets.set(set);
        let generation = self.owner.session().fence().generation.0;
        i64::try_from(generation).unwrap_or(i64::MAX >> 24).wrapping_mul(1 << 24).wrapping_add(set)
    }

    fn with_payload(&self, row: Vec<Value>) -> Result<(Alarm, Vec<u8>), SqlError> {
        let (alarm, payload) = self.alarm_of(row)?;
        Ok((alarm, payload.unwrap_or_default()))
    }

    /// A row of [`GET`], [`LIST`] or [`FIRST`].
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

/// The wait after the try of this number, in milliseconds.
pub(super) fn backoff(attempts: u32) -> i64 {
    let factor = 1_i64.checked_shl(attempts.saturating_sub(1)).filter(|factor| *factor > 0);
    ALARM_BACKOFF_MS.saturating_mul(factor.unwrap_or(i64::MAX)).min(ALARM_BACKOFF_MS_MAX)
}

/// The columns `every`, `cron` and `zone`.
fn columns(schedule: &Schedule) -> [Value; 3] {
    match schedule {
        Schedule::Once => [Value::Null, Value::Null, Value::Null],
        Schedule::Every(period) => [Value::Integer(*period), Value::Null, Value::Null],
        Schedule::Cron { expression, zone } => [Value::Null, text(expression), text(zone)],
    }
}

fn key(alarm: &Alarm) -> [Value; 2] {
    [text(&alarm.name), Value::Integer(alarm.number)]
}

/// As much of an error as is kept.
pub(super) fn bounded(words: &str) -> &str {
    let end = words.floor_char_boundary(ALARM_ERROR_BYTES_MAX);
    &words[..end]
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_its_bound() {
        let waits: Vec<i64> = (1..=9).map(|attempts| backoff(attempts) / 1000).collect();
        assert_eq!(waits, [2, 4, 8, 16, 32, 64, 128, 256, 300]);
        assert_eq!(backoff(u32::MAX), ALARM_BACKOFF_MS_MAX);
    }

    #[test]
    fn errors_are_cut_between_characters() {
        assert_eq!(bounded("words"), "words");
        assert_eq!(bounded(&"ü".repeat(600)).len(), 1024);
        assert_eq!(bounded(&format!("x{}", "ü".repeat(600))).len(), 1023);
    }
}
