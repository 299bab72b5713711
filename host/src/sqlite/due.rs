//! When the actor has something to do: the earliest time in its tables of due work, and how that time
//! goes along with commits.
//!
//! ```text
//!  a statement that changes due work    touched
//!  its commit                           the earliest time is read once more, and goes along with the
//!                                       pages
//! ```
//! Invariants:
//! - What is read before a commit is what the commit has: savepoints may have taken rows back.
//! - A time that was given to the session for a commit is taken back if that commit fails.
//! - Rows of another database, of which this one is a copy, set no time.

use std::cell::Cell;

use super::connection::Connection;
use super::error::SqlError;
use super::keeper::integer;
use super::run::Runner;
use super::statement::Compiled;
use super::value::Value;

const TABLES: &str = "SELECT name FROM main.sqlite_schema WHERE type = 'table'
    AND name IN ('_stockade_alarm', '_stockade_outbox', '_stockade_parked')";
const ALARM: &str = "SELECT min(next) FROM main._stockade_alarm WHERE db = ?1 AND next IS NOT NULL";
const MESSAGE: &str =
    "SELECT min(next) FROM main._stockade_outbox WHERE db = ?1 AND next IS NOT NULL";
const PARKED: &str =
    "SELECT min(next) FROM main._stockade_parked WHERE own = ?1 AND next IS NOT NULL";

/// The earliest times of what an actor has to do, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Earliest {
    /// Of its alarms.
    pub alarm: Option<i64>,
    /// Of the messages that it has sent, whether or not they are on their way.
    pub message: Option<i64>,
    /// Of parked messages that run again.
    pub parked: Option<i64>,
}

impl Earliest {
    /// The earliest of all.
    #[must_use]
    pub fn any(self) -> Option<i64> {
        [self.alarm, self.message, self.parked].into_iter().flatten().min()
    }
}

/// What a connection knows of its actor's due work beside the rows.
#[derive(Default)]
pub(super) struct Book {
    /// A transaction has changed rows, and its end was not seen yet.
    touched: Cell<bool>,
    /// The earliest times, as of the newest commit that changed rows.
    earliest: Cell<Earliest>,
}

impl Book {
    /// Whether a commit may have to carry another time.
    #[inline]
    pub(super) fn is_touched(&self) -> bool {
        self.touched.get()
    }

    pub(super) fn set(&self, earliest: Earliest) {
        self.earliest.set(earliest);
    }

    /// Whether nothing waits that was sent, and no parked message is due.
    pub(super) fn alarms_alone(&self, now: i64) -> bool {
        let Earliest { message, parked, .. } = self.earliest.get();
        message.is_none() && parked.is_none_or(|at| at > now)
    }
}

impl Connection {
    /// When the actor has something to do, as of the newest commit.
    pub fn earliest_due(&mut self) -> Earliest {
        self.with_core(|core| core.runner.due.earliest.get())
    }

    /// Looks for due work that earlier generations have left; without `alarms` not for those.
    ///
    /// # Errors
    /// As for a statement.
    pub fn look_for_due(&mut self, alarms: bool) -> Result<(), SqlError> {
        self.guarded(|core| {
            let mut earliest = core.runner.read_earliest()?;
            earliest.alarm = earliest.alarm.filter(|_| alarms);
            core.runner.due.set(earliest);
            Ok(())
        })
    }
}

impl Runner {
    /// Steps a statement that commits, with the earliest time of what it commits.
    #[cold]
    pub(super) fn commit_with_due(&self, compiled: &mut Compiled) -> Result<bool, SqlError> {
        let earliest = self.read_earliest()?;
        self.owner.forget_fault();
        let session = self.owner.session();
        session.set_due(earliest.any());
        let stepped = self.step_alone(compiled);
        // Taken by the commit, if there was one.
        session.forget_due();
        if self.database.is_autocommit() {
            self.due.touched.set(false);
            if stepped.is_ok() {
                self.due.set(earliest);
            }
        }
        stepped
    }

    /// A statement that changes rows of due work, in a transaction.
    pub(super) fn change_due(
        &self,
        sql: &'static str,
        values: &[Value],
    ) -> Result<Vec<Vec<Value>>, SqlError> {
        debug_assert!(!self.database.is_autocommit(), "its commit carries the earliest time");
        self.touch();
        self.keep(sql, values)
    }

    /// Notes that the next commit may have another earliest time, or begins to have one.
    pub(super) fn touch(&self) {
        self.due.touched.set(true);
    }

    pub(super) fn read_earliest(&self) -> Result<Earliest, SqlError> {
        let tables = self.keep(TABLES, &[])?;
        let has = |name: &str| {
            tables.iter().any(|row| matches!(&row[..], [Value::Text(table)] if table == name))
        };
        let read = |name: &str, sql: &'static str| -> Result<Option<i64>, SqlError> {
            if !has(name) {
                return Ok(None);
            }
            Ok(integer(&self.keep(sql, &[self.own_db()])?, 0))
        };
        Ok(Earliest {
            alarm: read("_stockade_alarm", ALARM)?,
            message: read("_stockade_outbox", MESSAGE)?,
            parked: read("_stockade_parked", PARKED)?,
        })
    }
}
