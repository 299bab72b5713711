//! Records of calls that have an id: rows of a table of the host in the actor's own database.
//!
//! ```text
//!            ┌── of the same call: what was recorded, and nothing runs
//!  begin ────┼── of another method or other arguments: reused
//!            └── none: the call may run ──> end: ok, or err, with the answer if it is small
//!                 │ apart: `begun`, a commit before the method      │
//!  settle ── none: `never`: whatever comes later with the id is refused
//! ```
//! Invariants:
//! - A row counts for one actor's name and one caller: those of a copy under another name, and of
//!   another caller, are as if absent.
//! - What ends a call is in the transaction that is open, so that a frame commits it with what the
//!   method has written.
//! - A row goes only when it is too old, and the newest [`CALL_RECORDS_KEPT`] do not go at all; when
//!   there is no room for another one, a new id is refused.
//! - The commit that makes the table raises the head's format as one of due work does: programs that
//!   know no records open no actor that has some.

use stockade_depot::broken::{self, Variant};

use super::connection::Connection;
use super::error::SqlError;
use super::keeper::{integer, text};
use super::operator::OperatorRows;
use super::run::Runner;
use super::value::Value;
use crate::limits::{CALL_RECORDS_KEPT, CALL_RECORDS_MAX, CALL_RECORDS_PURGED};

/// The table, in the words that a file to be imported must have as well. `state`: `begun`, `ok`, `err`
/// or `never`. `answer`: as JSON; NULL: none yet, or not kept. `until`: when the row may go.
pub(super) const TABLE: &str = "CREATE TABLE _stockade_call(seq INTEGER PRIMARY KEY, \
    name TEXT NOT NULL, principal TEXT NOT NULL, id TEXT NOT NULL, method TEXT NOT NULL, \
    arguments BLOB NOT NULL, until INTEGER NOT NULL, state TEXT NOT NULL, answer TEXT) STRICT";
/// The index that finds a call, likewise.
pub(super) const INDEX: &str =
    "CREATE UNIQUE INDEX _stockade_call_id ON _stockade_call(name, principal, id)";

const EXISTS: &str =
    "SELECT 1 FROM main.sqlite_schema WHERE type = 'table' AND name = '_stockade_call'";
const FIND: &str = "SELECT method, arguments, state, answer FROM main._stockade_call
    WHERE name = ?1 AND principal = ?2 AND id = ?3";
const ENDS: &str = "SELECT (SELECT min(seq) FROM main._stockade_call),
    (SELECT max(seq) FROM main._stockade_call)";
const PURGE: &str = "DELETE FROM main._stockade_call WHERE seq IN (
    SELECT seq FROM main._stockade_call WHERE seq <= ?1 ORDER BY seq LIMIT ?2) AND until < ?3";
const PUT: &str = "INSERT INTO main._stockade_call
    (name, principal, id, method, arguments, until, state, answer)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
    ON CONFLICT(name, principal, id) DO UPDATE SET state = excluded.state, answer = excluded.answer";

/// Whose call is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallName {
    /// The actor's name.
    pub name: String,
    /// The caller. Caller-controlled, bounded.
    pub principal: String,
    /// The id. Caller-controlled, bounded.
    pub id: String,
}

/// A call that is about to run, or has.
#[derive(Clone, Debug)]
pub struct RecordedCall {
    /// Whose it is.
    pub of: CallName,
    /// The method's full name.
    pub method: String,
    /// The digest of its arguments.
    pub arguments: [u8; 32],
    /// Until when its record is kept, in milliseconds since 1970.
    pub until: i64,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// There is none.
    Absent,
    /// The call has begun, and has not ended in this life of the actor or an earlier one.
    Begun,
    /// The call has been done.
    Done {
        /// Whether it answered the error case of a `result`.
        is_error: bool,
        /// Its answer as JSON; `None`: it was not kept.
        answer: Option<String>,
    },
    /// The call was refused before it came.
    Never,
}

/// Whether a call may run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MayRun {
    /// It may: nothing is recorded of it.
    Yes,
    /// There is no room for another record.
    Full,
    /// The id was used for another method, or other arguments.
    Reused,
    /// It has a record.
    Recorded(Recorded),
}

/// What is done for a call of which nothing is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unrecorded {
    /// Nothing: it is too late for it.
    Look,
    /// Room is made for the record that its end writes.
    Run,
    /// That it has begun is recorded.
    Begin,
}

/// A caller's question about a call.
#[derive(Clone, Debug)]
pub struct Question {
    /// The call.
    pub of: CallName,
    /// If nothing is recorded: refuse the call from now on, with a row that is kept until then.
    pub settle_until: Option<i64>,
}

/// The columns of the answer to a question.
const COLUMNS: [&str; 3] = ["state", "answer", "full"];

impl Connection {
    /// Looks whether a call may run.
    ///
    /// # Errors
    /// As for a statement.
    pub fn begin_call(
        &mut self,
        call: &RecordedCall,
        now: i64,
        unrecorded: Unrecorded,
    ) -> Result<MayRun, SqlError> {
        self.guarded(|core| {
            core.in_transaction(|core| {
                let runner = &core.runner;
                if let Some((method, arguments, recorded)) = runner.find_call(&call.of)? {
                    let is_never = recorded == Recorded::Never;
                    let rule = if is_never { Variant::CallSettled } else { Variant::CallRecord };
                    if broken::is_off(rule) {
                        return Ok(MayRun::Yes);
                    }
                    let same = is_never || (method == call.method && arguments == call.arguments);
                    return Ok(if same { MayRun::Recorded(recorded) } else { MayRun::Reused });
                }
                if unrecorded != Unrecorded::Look && !runner.makes_room(now)? {
                    return Ok(MayRun::Full);
                }
                if unrecorded == Unrecorded::Begin {
                    runner.put_call(call, "begun", None)?;
                }
                Ok(MayRun::Yes)
            })
        })
    }

    /// Records how a call has ended. `answer` is guest-controlled, bounded.
    ///
    /// # Errors
    /// As for a statement.
    pub fn end_call(
        &mut self,
        call: &RecordedCall,
        is_error: bool,
        answer: Option<String>,
    ) -> Result<(), SqlError> {
        self.guarded(|core| {
            core.in_transaction(|core| {
                core.runner.put_call(call, if is_error { "err" } else { "ok" }, answer)
            })
        })
    }

    /// Answers a question about a call.
    ///
    /// # Errors
    /// As for a statement.
    pub fn ask_call(&mut self, question: &Question, now: i64) -> Result<OperatorRows, SqlError> {
        let (recorded, full) = self.guarded(|core| {
            core.in_transaction(|core| {
                let runner = &core.runner;
                let found = runner.find_call(&question.of)?;
                let found = found.map_or(Recorded::Absent, |(_, _, recorded)| recorded);
                let Some(until) = question.settle_until.filter(|_| found == Recorded::Absent)
                else {
                    return Ok((found, false));
                };
                if !runner.makes_room(now)? {
                    return Ok((found, true));
                }
                let never = RecordedCall {
                    of: question.of.clone(),
                    method: String::new(),
                    arguments: [0; 32],
                    until,
                };
                runner.put_call(&never, "never", None)?;
                Ok((Recorded::Never, false))
            })
        })?;
        Ok(told(recorded, full))
    }

    #[cfg(test)]
    /// Adds so many records of calls that have ended, of another actor's name.
    pub fn fill_calls(&mut self, count: i64, until: i64) {
        const FILL: &str =
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
            INSERT INTO main._stockade_call(name, principal, id, method, arguments, until, state)
            SELECT 'kind/other', 'caller', i, 'm', x'00', ?2, 'ok' FROM n";
        let values = [count, until].map(Value::Integer);
        self.guarded(|core| core.in_transaction(|core| core.runner.keep(FILL, &values)))
            .expect("the rows can be written");
    }
}

impl Recorded {
    /// What the answer to a question says; the second part: there was no room to settle it. `None`: it
    /// does not read.
    #[must_use]
    pub fn read(rows: &[Vec<Value>]) -> Option<(Self, bool)> {
        let [row] = rows else { return None };
        let [Value::Text(state), answer, Value::Integer(full)] = row.as_slice() else {
            return None;
        };
        let answer = if let Value::Text(answer) = answer { Some(answer.clone()) } else { None };
        Some((Self::of(state, answer)?, *full != 0))
    }

    fn of(state: &str, answer: Option<String>) -> Option<Self> {
        Some(match state {
            "absent" => Self::Absent,
            "begun" => Self::Begun,
            "ok" => Self::Done { is_error: false, answer },
            "err" => Self::Done { is_error: true, answer },
            "never" => Self::Never,
            _ => return None,
        })
    }

    fn state(&self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Begun => "begun",
            Self::Done { is_error: false, .. } => "ok",
            Self::Done { is_error: true, .. } => "err",
            Self::Never => "never",
        }
    }
}

fn told(recorded: Recorded, full: bool) -> OperatorRows {
    let state = text(recorded.state());
    let answer = match recorded {
        Recorded::Done { answer: Some(answer), .. } => Value::Text(answer),
        _ => Value::Null,
    };
    OperatorRows {
        columns: COLUMNS.map(str::to_owned).to_vec(),
        rows: vec![vec![state, answer, Value::Integer(full.into())]],
        changes: 0,
        more: false,
    }
}

impl Runner {
    fn has_calls(&self) -> Result<bool, SqlError> {
        Ok(!self.keep(EXISTS, &[])?.is_empty())
    }

    /// The record of a call: its method, the digest of its arguments, and what it says.
    fn find_call(&self, of: &CallName) -> Result<Option<(String, Vec<u8>, Recorded)>, SqlError> {
        if !self.has_calls()? {
            return Ok(None);
        }
        let rows = self.keep(FIND, &[text(&of.name), text(&of.principal), text(&of.id)])?;
        let Some(row) = rows.into_iter().next() else { return Ok(None) };
        let mut row = row.into_iter();
        let mut next = || row.next().unwrap_or(Value::Null);
        let malformed = || SqlError::Other("a malformed record of a call".to_owned());
        let Value::Text(method) = next() else { return Err(malformed()) };
        let Value::Blob(arguments) = next() else { return Err(malformed()) };
        let Value::Text(state) = next() else { return Err(malformed()) };
        let answer = if let Value::Text(answer) = next() { Some(answer) } else { None };
        let recorded = Recorded::of(&state, answer).ok_or_else(malformed)?;
        Ok(Some((method, arguments, recorded)))
    }

    /// Removes rows that are too old, and returns whether there is room for another one.
    fn makes_room(&self, now: i64) -> Result<bool, SqlError> {
        if !self.has_calls()? {
            return Ok(true);
        }
        let newest = integer(&self.keep(ENDS, &[])?, 1).unwrap_or(0);
        let old = newest.saturating_sub(CALL_RECORDS_KEPT);
        if old > 0 {
            let values = [old, CALL_RECORDS_PURGED, now].map(Value::Integer);
            self.keep(PURGE, &values)?;
        }
        let rows = self.keep(ENDS, &[])?;
        let (first, last) = (integer(&rows, 0).unwrap_or(0), integer(&rows, 1).unwrap_or(0));
        Ok(last.saturating_sub(first) < CALL_RECORDS_MAX - 1)
    }

    fn put_call(
        &self,
        call: &RecordedCall,
        state: &str,
        answer: Option<String>,
    ) -> Result<(), SqlError> {
        if !self.has_calls()? {
            // The commit says of due work what is true, and so raises the format.
            self.touch();
            self.keep(TABLE, &[])?;
            self.keep(INDEX, &[])?;
        }
        let CallName { name, principal, id } = &call.of;
        let values = [
            text(name),
            text(principal),
            text(id),
            text(&call.method),
            Value::Blob(call.arguments.to_vec()),
            Value::Integer(call.until),
            text(state),
            answer.map_or(Value::Null, Value::Text),
        ];
        self.keep(PUT, &values).map(drop)
    }
}
