//! The runs of alarms: a try is counted, the handler runs, its end is recorded.
//!
//! ```text
//!  begin ── durable ──> handler ──> end: removed, next time, next try or parked
//!    │ ^                              next alarm: begin, in the same transaction
//!    │ └───────────────────────────────────┘
//!    └─> given back: the handler will not begin
//! ```
//! Invariants:
//! - A handler may begin once the transaction is durable that has counted its try.
//! - What follows a run names the number of the row that was begun, so that it changes no other.
//! - The end of a run does not depend on what follows it.

use super::alarms::{Alarm, Alarms};
use super::connection::{Connection, Core};
use super::error::SqlError;
use super::keeper::text;
use super::run::Runner;
use super::value::Value;
use crate::limits::{
    ALARM_BACKOFF_MS, ALARM_BACKOFF_MS_MAX, ALARM_ERROR_BYTES_MAX, ALARM_TRIES_MAX,
};
use crate::schedule::Schedule;

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

/// Why a parked row has no other error.
const NO_ANSWER: &str = "the run ended without an answer: its host or its actor died";
/// Why a repeating alarm is parked that ended well.
const NO_NEXT_TIME: &str = "the schedule has no next time";

/// An alarm whose handler may run: the try is counted.
#[derive(Clone, Debug)]
pub struct BegunAlarm {
    /// The alarm, with this try counted.
    pub alarm: Alarm,
    /// Its payload.
    pub payload: Vec<u8>,
    /// When it was begun, in milliseconds since 1970.
    pub at: i64,
    /// When it was to be tried, before this try was counted.
    planned: Option<i64>,
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

impl Connection {
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
            core.runner.alarms.run(begun.as_ref());
            Ok(begun)
        })
    }

    /// Records how a run ended: `failed` has the words of its error, which are guest-controlled. With
    /// `next` the transaction also begins the next alarm that is due, as `begin_alarm` does, and that is
    /// returned.
    ///
    /// # Errors
    /// As for a statement: then the try counts as one that failed.
    pub fn end_alarm(
        &mut self,
        begun: &BegunAlarm,
        failed: Option<&str>,
        now: i64,
        next: bool,
    ) -> Result<Option<BegunAlarm>, SqlError> {
        self.guarded(|core| {
            core.runner.alarms.running.take();
            let end = |core: &mut Core| match failed {
                None => core.runner.ended_well(begun),
                Some(words) => core.runner.ended_badly(begun, bounded(words), now),
            };
            if next && core.runner.due.alarms_alone(now) {
                let both = core.in_transaction(|core| {
                    end(core)?;
                    core.runner.begin_first(now)
                });
                match both {
                    Ok(next) => {
                        core.runner.alarms.run(next.as_ref());
                        return Ok(next);
                    }
                    // Whatever is wrong with the next one, this one has run.
                    Err(error) => tracing::debug!(%error, "the next alarm is not begun"),
                }
            }
            core.in_transaction(end).map(|()| None)
        })
    }

    /// Takes a try back whose handler has not begun and will not: the row is as before the try.
    ///
    /// # Errors
    /// As for a statement: then the try counts.
    pub fn give_back_alarm(&mut self, begun: &BegunAlarm) -> Result<(), SqlError> {
        let BegunAlarm { alarm, planned, .. } = begun;
        let [name, number] = key(alarm);
        let attempts = Value::Integer(alarm.attempts.saturating_sub(1).into());
        let values = [name, number, attempts, planned.map_or(Value::Null, Value::Integer)];
        self.guarded(|core| {
            core.runner.alarms.running.take();
            core.in_transaction(|core| core.runner.change_due(TRY, &values).map(drop))
        })
    }
}

impl Alarms {
    fn run(&self, begun: Option<&BegunAlarm>) {
        self.running.replace(begun.map(|it| (it.alarm.name.clone(), it.alarm.attempts)));
    }
}

impl Runner {
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
            let planned = alarm.next.replace(next);
            let [name, number] = key(&alarm);
            let attempts = Value::Integer(alarm.attempts.into());
            self.change_due(TRY, &[name, number, attempts, Value::Integer(next)])?;
            return Ok(Some(BegunAlarm { alarm, payload, at: now, planned }));
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
}

/// The wait after the try of this number, in milliseconds.
fn backoff(attempts: u32) -> i64 {
    let factor = 1_i64.checked_shl(attempts.saturating_sub(1)).filter(|factor| *factor > 0);
    ALARM_BACKOFF_MS.saturating_mul(factor.unwrap_or(i64::MAX)).min(ALARM_BACKOFF_MS_MAX)
}

fn key(alarm: &Alarm) -> [Value; 2] {
    [text(&alarm.name), Value::Integer(alarm.number)]
}

/// As much of an error as is kept.
fn bounded(words: &str) -> &str {
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
