//! Runs one statement: compile, bind, step, count, and translate errors.
//!
//! ```text
//!  prepare ──> bind ──> start ──> step* ──> finish
//!                         │          └─ failed: typed error, statement reset
//!                         └─ not ours any more, out of budget, or not now: nothing runs
//! ```
//! `start` and every batch check that the generation still owns the database, because SQLite's
//! cache answers without asking the file layer.
//!
//! A write that returns rows has done all its work when SQLite hands out the first one, but commits
//! only at its end, and holds back other commits until then. So a write that commits by itself is
//! run to its end and its rows are kept: no commit is pending between two calls of a guest, and
//! none can fail where no caller gets the error.

use std::cell::Cell;
use std::ffi::c_int;
use std::rc::Rc;

use rusqlite::ffi::{SQLITE_AUTH, SQLITE_ERROR, SQLITE_NOMEM, SQLITE_OK};
use stockade_vfs::heap::{Heap, Refusal};

use super::alarms::Alarms;
use super::authorizer::{Asker, Judge, mentions_reserved};
use super::due::Book;
use super::error::{SqlError, SqlLimit};
use super::keeper::Kept;
use super::meter::Meter;
use super::outbox::Outbox;
use super::owner::Owner;
use super::packed::{self, Packed};
use super::statement::{Compiled, Rest, Run};
use super::transaction::Within;
use super::value::Value;
use crate::limits::Limits;
use stockade_sqlite::{Code, Column, Database, Step};

/// Rows in one piece, and whether more follow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The rows, packed.
    pub rows: Vec<u8>,
    /// Number of rows.
    pub count: u32,
    /// Number of values in each row.
    pub columns: u32,
    /// Whether the statement has no more rows.
    pub done: bool,
}

/// The changes that a statement has made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Rows that the statement inserted, updated or deleted, triggers and foreign keys not counted.
    pub rows: u64,
    /// Rowid of the last insert on this connection; 0 if there was none.
    pub last_insert_rowid: i64,
}

/// A statement compiled from the front of a text.
pub(super) struct Front {
    /// `None`: only white space and comments.
    pub(super) compiled: Option<Compiled>,
    /// Where the rest begins.
    pub(super) tail: usize,
    /// Whether the statement makes or alters an object of the schema.
    makes: bool,
}

/// Bounds of this connection, from the limits of its kind.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) row_bytes_max: usize,
    pub(super) batch_bytes_max: usize,
    pub(super) statement_bytes_max: usize,
    pub(super) packed_bytes_max: usize,
}

impl Bounds {
    pub(super) fn new(limits: &Limits) -> Self {
        let bounded = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        Self {
            row_bytes_max: bounded(limits.value_bytes_max),
            batch_bytes_max: bounded(limits.batch_bytes_max),
            statement_bytes_max: bounded(limits.statement_bytes_max),
            packed_bytes_max: bounded(limits.packed_bytes_max),
        }
    }
}

/// What running a statement needs, apart from the statement.
pub(super) struct Runner {
    pub(super) database: Rc<Database>,
    pub(super) judge: Judge,
    pub(super) owner: Owner,
    pub(super) meter: Meter,
    pub(super) heap: Heap,
    /// Counts possible changes of the schema: writes, and statements that control transactions.
    pub(super) changes: Cell<u64>,
    pub(super) bounds: Bounds,
    /// When the actor has something to do.
    pub(super) due: Book,
    /// What this connection knows of the actor's alarms.
    pub(super) alarms: Alarms,
    /// What this connection knows of the actor's outbox.
    pub(super) outbox: Outbox,
    /// The host's own statements.
    pub(super) kept: Kept,
}

impl Runner {
    // --- compile -------------------------------------------------------------------------------

    /// Compiles the first statement of `sql`, which is guest-controlled.
    pub(super) fn front(&self, sql: &str, asker: Asker, keep: bool) -> Result<Front, SqlError> {
        if sql.len() > self.bounds.statement_bytes_max {
            return Err(SqlError::LimitExceeded(SqlLimit::StatementBytes));
        }
        if let Some(at) = memchr::memchr(0, sql.as_bytes()) {
            return Err(SqlError::wrong_statement("U+0000 in a statement", Some(at)));
        }
        self.meter.check()?;
        let front = self.compile(sql, asker, keep)?;
        if front.makes && mentions_reserved(&sql[..front.tail]) {
            return Err(SqlError::Denied("a name of the host in the schema".to_owned()));
        }
        Ok(front)
    }

    pub(super) fn compile(&self, sql: &str, asker: Asker, keep: bool) -> Result<Front, SqlError> {
        self.owner.forget_fault();
        self.judge.prepare(asker);
        let mut prepared = self.database.prepare(sql, keep);
        let mut notes = self.judge.take_notes();
        if prepared.is_err()
            && let Some(setting) = notes.unknown
        {
            self.learn(setting)?;
            self.judge.prepare(asker);
            prepared = self.database.prepare(sql, keep);
            notes = self.judge.take_notes();
        }
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err(code) => return Err(self.compile_error(code, notes.denial, sql, asker)),
        };
        if asker != Asker::Host && is_vacuum_into(&sql[..prepared.tail]) {
            return Err(SqlError::Denied("VACUUM INTO".to_owned()));
        }
        // The progress handler has seen the cost of compiling; that cost belongs to no statement.
        self.meter.ran(0);
        let tail = prepared.tail;
        let compiled = prepared.statement.map(|mut raw| Compiled {
            sql: sql[..tail].into(),
            parameters: raw.parameter_count(),
            readonly: raw.is_readonly(),
            controls_transactions: notes.controls_transactions,
            commits: notes.commits,
            memory_bytes: if keep { raw.memory_bytes() } else { 0 },
            batch_bytes: 0,
            as_of: self.changes.get(),
            raw,
        });
        Ok(Front { compiled, tail, makes: notes.makes })
    }

    /// The error of a failed compilation. SQLite has no code for a text with too many columns: the
    /// error is that if SQLite reports anything else where more columns are allowed.
    #[cold]
    fn compile_error(
        &self,
        code: Code,
        denial: Option<String>,
        sql: &str,
        asker: Asker,
    ) -> SqlError {
        let error = self.error_of(code, denial);
        let SqlError::Statement(failure) = &error else { return error };
        if code != SQLITE_ERROR {
            return error;
        }
        self.judge.prepare(asker);
        let usual = self.database.set_columns_max(c_int::MAX);
        let differs = match self.database.prepare(sql, false) {
            Ok(_) => true,
            Err(again) => again == code && self.database.message() != failure.message,
        };
        self.database.set_columns_max(usual);
        // The notes of the second attempt are not needed.
        self.judge.take_notes();
        if differs { SqlError::LimitExceeded(SqlLimit::Columns) } else { error }
    }

    /// Compiles a text that must be one statement.
    pub(super) fn one(&self, sql: &str, asker: Asker, keep: bool) -> Result<Compiled, SqlError> {
        let Front { compiled, tail, .. } = self.front(sql, asker, keep)?;
        let mut compiled =
            compiled.ok_or_else(|| SqlError::wrong_statement("not a statement", None))?;
        let mut from = tail;
        while from < sql.len() {
            let rest = self.front(&sql[from..], asker, false);
            match rest {
                Ok(Front { compiled: None, tail, .. }) if tail > 0 => from += tail,
                Ok(Front { compiled: None, .. }) => break,
                Ok(_) | Err(_) => {
                    return Err(SqlError::wrong_statement("more than one statement", Some(tail)));
                }
            }
        }
        compiled.sql = sql.into();
        Ok(compiled)
    }

    // --- bind ----------------------------------------------------------------------------------

    /// Binds one value by position, from 1. A copy.
    pub(super) fn bind(
        &self,
        compiled: &mut Compiled,
        position: c_int,
        value: &Value,
    ) -> Result<(), SqlError> {
        let raw = &mut compiled.raw;
        self.bound(match value {
            Value::Null => raw.bind_null(position),
            Value::Integer(value) => raw.bind_integer(position, *value),
            Value::Real(value) => raw.bind_real(position, *value),
            Value::Text(text) => raw.bind_text(position, text),
            Value::Blob(bytes) => raw.bind_blob(position, bytes),
        })
    }

    /// Binds all parameters.
    pub(super) fn bind_all(
        &self,
        compiled: &mut Compiled,
        values: &[Value],
    ) -> Result<(), SqlError> {
        if usize::try_from(compiled.parameters) != Ok(values.len()) {
            return Err(SqlError::InvalidArgument(format!(
                "the statement has {} parameters, {} values were given",
                compiled.parameters,
                values.len()
            )));
        }
        for (position, value) in (1..).zip(values) {
            self.bind(compiled, position, value)?;
        }
        Ok(())
    }

    /// Takes packed rows whose values will be bound without a copy.
    pub(super) fn hold(&self, compiled: &mut Compiled, rows: Vec<u8>) -> Result<(), SqlError> {
        if rows.len() > self.bounds.packed_bytes_max {
            return Err(SqlError::LimitExceeded(SqlLimit::PackedBytes));
        }
        compiled.raw.hold(rows);
        Ok(())
    }

    /// Binds all parameters to the packed row at `*at` of what the statement holds.
    #[inline]
    pub(super) fn bind_held_row(
        &self,
        compiled: &mut Compiled,
        at: &mut usize,
    ) -> Result<(), SqlError> {
        let raw = &mut compiled.raw;
        for position in 1..=compiled.parameters {
            let code = match packed::read_value(raw.held(), at)? {
                Packed::Null => raw.bind_null(position),
                Packed::Integer(value) => raw.bind_integer(position, value),
                Packed::Real(value) => raw.bind_real(position, value),
                Packed::Text(range) => raw.bind_held_text(position, range),
                Packed::Blob(range) => raw.bind_held_blob(position, range),
            };
            self.bound(code)?;
        }
        Ok(())
    }

    /// Binds all parameters to one packed row; no bytes at all keep what is bound.
    pub(super) fn bind_row(&self, compiled: &mut Compiled, row: Vec<u8>) -> Result<(), SqlError> {
        if row.is_empty() {
            return Ok(());
        }
        self.hold(compiled, row)?;
        let mut at = 0;
        let bound = self.bind_held_row(compiled, &mut at);
        let bound = bound.and_then(|()| match compiled.raw.held().len() {
            length if length == at => Ok(()),
            _ => Err(SqlError::InvalidArgument(format!(
                "packed row: bytes after the {} parameters",
                compiled.parameters
            ))),
        });
        if bound.is_err() {
            compiled.raw.clear_bindings();
        }
        bound
    }

    fn bound(&self, code: Code) -> Result<(), SqlError> {
        if code == SQLITE_OK { Ok(()) } else { Err(self.error(code)) }
    }

    // --- run -----------------------------------------------------------------------------------

    /// Whether a statement may run now. `within`: the effect of open transaction handles on it.
    #[inline]
    pub(super) fn start(&self, compiled: &Compiled, within: Within) -> Result<(), SqlError> {
        self.owner.alive()?;
        if within == Within::Lost {
            return Err(SqlError::NotOpen);
        }
        self.meter.pages_read(self.owner.handle().take_pages_read());
        if self.meter.start_statement()? {
            self.meter.take_turn(|| self.owner.is_alive());
            self.meter.check()?;
        }
        if within == Within::Open && compiled.controls_transactions {
            return Err(SqlError::Denied(
                "transaction control while a transaction handle is open".to_owned(),
            ));
        }
        self.owner.forget_fault();
        if !compiled.readonly || compiled.controls_transactions {
            self.note_change();
        }
        Ok(())
    }

    /// Notes that the schema may have changed.
    pub(super) fn note_change(&self) {
        self.changes.set(self.changes.get() + 1);
    }

    /// `true`: there is a row. After `false` or an error the run is over.
    #[inline]
    pub(super) fn step(&self, compiled: &mut Compiled) -> Result<bool, SqlError> {
        if compiled.commits && self.due.is_touched() {
            return self.commit_with_due(compiled);
        }
        self.step_alone(compiled)
    }

    /// [`Self::step`] of a statement that does not commit due work.
    #[inline]
    pub(super) fn step_alone(&self, compiled: &mut Compiled) -> Result<bool, SqlError> {
        self.judge.step_begins();
        let step = compiled.raw.step();
        self.judge.step_ends();
        match step {
            Step::Row => Ok(true),
            Step::Done => {
                compiled.raw.reset();
                self.meter.ran(compiled.raw.take_steps());
                Ok(false)
            }
            Step::Failed(code) => {
                let error = self.error(code);
                compiled.raw.reset();
                self.meter.ran(compiled.raw.take_steps());
                if compiled.controls_transactions {
                    self.leave_dropped_transaction();
                }
                Err(error)
            }
        }
    }

    /// When the RELEASE that commits is refused, SQLite rolls everything back but stays inside an
    /// empty transaction, in which no later write would be kept.
    #[cold]
    fn leave_dropped_transaction(&self) {
        let dropped = self.owner.has_rolled_back()
            && !self.database.is_autocommit()
            && !self.database.is_in_use();
        if dropped && let Ok(mut rollback) = self.own("ROLLBACK") {
            // This step has nothing left to fail; a dead session is reported at the next call.
            rollback.raw.step();
        }
    }

    /// Whether a statement is a write that commits by itself: it is run to its end before its first
    /// rows are handed out.
    #[inline]
    pub(super) fn commits_by_itself(&self, compiled: &Compiled) -> bool {
        !compiled.readonly && self.database.is_autocommit()
    }

    /// Ends a run whose rows cannot be handed out. Of a write that commits by itself nothing is
    /// kept: SQLite rolls an interrupted write back. That ends other runs in progress; the caller
    /// must end them as well if the answer is `true`.
    #[must_use]
    pub(super) fn abandon(&self, compiled: &mut Compiled) -> bool {
        let writes = compiled.raw.is_running() && self.commits_by_itself(compiled);
        if writes {
            self.database.interrupt();
            let _ = compiled.raw.step();
        }
        // An error at the end cannot be worse than the cause of abandoning the run.
        let _ = self.finish(compiled);
        writes
    }

    /// Ends a run that may have more rows: of a read, or in a transaction. Commits nothing.
    pub(super) fn finish(&self, compiled: &mut Compiled) -> Result<(), SqlError> {
        let ended = match compiled.raw.reset() {
            SQLITE_OK => Ok(()),
            code => Err(self.error(code)),
        };
        self.meter.ran(compiled.raw.take_steps());
        ended
    }

    /// Ends a query in progress.
    pub(super) fn end(&self, compiled: &mut Compiled, run: &Run) -> Result<(), SqlError> {
        let ended = self.finish(compiled);
        if run.packed {
            compiled.raw.clear_bindings();
        }
        ended
    }

    /// Runs to the end and drops the rows.
    #[inline]
    pub(super) fn run(&self, compiled: &mut Compiled, within: Within) -> Result<Changes, SqlError> {
        self.start(compiled, within)?;
        if compiled.readonly {
            while self.step(compiled)? {}
            return Ok(Changes { rows: 0, last_insert_rowid: self.database.last_insert_rowid() });
        }
        let before = self.database.total_changes();
        while self.step(compiled)? {}
        Ok(self.changes_since(before))
    }

    /// The changes of a write, given the total before it. SQLite's own count stays at the last
    /// write that changed rows, so it is used only if the total moved.
    #[inline]
    pub(super) fn changes_since(&self, before: u64) -> Changes {
        let rows =
            if self.database.total_changes() == before { 0 } else { self.database.changes() };
        self.meter.wrote(rows);
        Changes { rows, last_insert_rowid: self.database.last_insert_rowid() }
    }

    /// The next rows of a run, at most `bytes_max` bytes of them, but at least one. After `done` or
    /// an error the run is over.
    #[inline]
    pub(super) fn batch(
        &self,
        compiled: &mut Compiled,
        run: &mut Run,
        bytes_max: usize,
    ) -> Result<Batch, SqlError> {
        let bytes_max = bytes_max.min(self.bounds.batch_bytes_max);
        if !compiled.raw.is_running() {
            // The first step checks whether the statement must be compiled again.
            compiled.as_of = self.changes.get();
        }
        let mut rows = std::mem::take(&mut run.spilled);
        let mut count = u32::from(!rows.is_empty());
        if rows.capacity() == 0 {
            rows.reserve(compiled.batch_bytes.min(bytes_max).max(SMALL_BATCH));
        }
        let mut columns = compiled.raw.column_count();
        while count == 0 || rows.len() < bytes_max {
            if !self.step(compiled)? {
                compiled.batch_bytes = rows.len();
                return Ok(Batch { rows, count, columns: columns.unsigned_abs(), done: true });
            }
            if count == 0 {
                // A first step may have compiled the statement again, for another schema.
                columns = compiled.raw.column_count();
            }
            let start = rows.len();
            if let Err(error) = self.push_row(compiled, columns, &mut rows) {
                // An error at the end cannot be worse than this error.
                let _ = self.finish(compiled);
                return Err(error);
            }
            if count > 0 && rows.len() > bytes_max {
                run.spilled = rows.split_off(start);
                break;
            }
            // A row without columns is no row; a batch is bounded to 4 GiB by `bytes_max`.
            count += 1;
        }
        compiled.batch_bytes = rows.len();
        self.meter.ran(compiled.raw.take_steps());
        Ok(Batch { rows, count, columns: columns.unsigned_abs(), done: false })
    }

    /// Runs a write to its end, which commits it, and keeps its rows: at most `bytes_max` bytes.
    /// After an error the caller abandons the run.
    pub(super) fn run_write(
        &self,
        compiled: &mut Compiled,
        bytes_max: usize,
    ) -> Result<Rest, SqlError> {
        let mut rest = Rest::default();
        while self.step(compiled)? {
            self.push_row(compiled, compiled.raw.column_count(), &mut rest.rows)?;
            if rest.rows.len() > bytes_max {
                return Err(SqlError::LimitExceeded(SqlLimit::RowBytes));
            }
            rest.ends.push_back(rest.rows.len());
        }
        rest.columns = compiled.raw.column_count().unsigned_abs();
        Ok(rest)
    }

    #[inline]
    fn push_row(
        &self,
        compiled: &Compiled,
        columns: c_int,
        rows: &mut Vec<u8>,
    ) -> Result<(), SqlError> {
        let start = rows.len();
        for index in 0..columns {
            let column = compiled.raw.column(index);
            packed::push_column(rows, &column, start, self.bounds.row_bytes_max)?;
        }
        self.meter.row(rows.len() - start)
    }

    /// The present row as values, at most `bytes_max` bytes, and its bytes.
    pub(super) fn row_values(
        &self,
        compiled: &Compiled,
        bytes_max: usize,
    ) -> Result<(Vec<Value>, usize), SqlError> {
        let mut bytes = 0;
        let mut values = Vec::new();
        for index in 0..compiled.raw.column_count() {
            let column = compiled.raw.column(index);
            bytes += match &column {
                Column::Null => 1,
                Column::Integer(_) | Column::Real(_) => 9,
                Column::Text(text) => 5 + text.len(),
                Column::Blob(blob) => 5 + blob.len(),
                Column::NoMemory => 0,
            };
            if bytes > bytes_max {
                return Err(SqlError::LimitExceeded(SqlLimit::RowBytes));
            }
            values.push(value_of(&column)?);
        }
        self.meter.row(bytes)?;
        Ok((values, bytes))
    }

    /// The same statement compiled for the present schema, if the schema may have changed.
    pub(super) fn as_of_now(&self, compiled: &Compiled) -> Result<Option<Compiled>, SqlError> {
        // A running statement has the columns of its rows.
        if compiled.raw.is_running() || compiled.as_of == self.changes.get() {
            return Ok(None);
        }
        // Without the meter: naming columns runs nothing, and works in a call that was stopped. If
        // SQLite itself was interrupted it compiles nothing: the known columns hold.
        match self.compile(&compiled.sql, Asker::Guest, false) {
            Ok(now) => Ok(now.compiled),
            Err(SqlError::Interrupted) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Names of the result's columns. Guest-controlled: together no more than a batch.
    pub(super) fn column_names(&self, compiled: &Compiled) -> Result<Vec<String>, SqlError> {
        let mut left = self.bounds.batch_bytes_max;
        let mut names = Vec::new();
        for index in 0..compiled.raw.column_count() {
            let name = compiled.raw.column_name(index);
            left =
                left.checked_sub(name.len()).ok_or(SqlError::LimitExceeded(SqlLimit::RowBytes))?;
            names.push(name);
        }
        Ok(names)
    }

    // --- what went wrong -----------------------------------------------------------------------

    /// The error of SQLite's last call. Must be called before the next one.
    #[cold]
    pub(super) fn error(&self, code: Code) -> SqlError {
        self.error_of(code, self.judge.take_notes().denial)
    }

    #[cold]
    fn error_of(&self, code: Code, denial: Option<String>) -> SqlError {
        let message = self.database.message();
        let offset = self.database.error_offset();
        let in_transaction = !self.database.is_autocommit();
        if let Some(fault) = self.owner.fault(&self.meter, in_transaction) {
            return fault;
        }
        if code & 0xff == SQLITE_NOMEM {
            match self.heap.take_refusal() {
                Some(Refusal::Depth) => return SqlError::LimitExceeded(SqlLimit::Depth),
                Some(Refusal::Share) => return SqlError::Unavailable,
                None => {}
            }
        }
        if code & 0xff == SQLITE_AUTH && denial.is_none() {
            // The authorizer names what it denies, unless it has interrupted.
            return self.meter.check().err().unwrap_or(SqlError::Denied(message));
        }
        match SqlError::of_code(code, message, offset, denial) {
            // A large allocation is refused when the call is over: see `heap`.
            error @ (SqlError::Interrupted | SqlError::LimitExceeded(SqlLimit::Memory)) => {
                self.meter.check().err().unwrap_or(error)
            }
            error => error,
        }
    }
}

/// Bytes that a first batch has room for: a point query's row.
const SMALL_BATCH: usize = 128;

pub(super) fn value_of(column: &Column<'_>) -> Result<Value, SqlError> {
    Ok(match *column {
        Column::Null => Value::Null,
        Column::Integer(value) => Value::Integer(value),
        Column::Real(value) => Value::Real(value),
        Column::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Value::Text(text.to_owned()),
            Err(_) => Value::Blob(bytes.to_vec()),
        },
        Column::Blob(bytes) => Value::Blob(bytes.to_vec()),
        Column::NoMemory => return Err(SqlError::LimitExceeded(SqlLimit::Memory)),
    })
}

/// Whether a text is `VACUUM .. INTO`, for which SQLite does not ask the authorizer before it
/// steps. `INTO ''` would be allowed then, and do all its work for a file without a name.
fn is_vacuum_into(sql: &str) -> bool {
    let mut rest = sql;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == ';');
        let after = if let Some(comment) = rest.strip_prefix("--") {
            comment.split_once('\n')
        } else if let Some(comment) = rest.strip_prefix("/*") {
            comment.split_once("*/")
        } else {
            break;
        };
        rest = after.map_or("", |(_, after)| after);
    }
    let mut words = rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.next().is_some_and(|word| word.eq_ignore_ascii_case("vacuum"))
        && words.any(|word| word.eq_ignore_ascii_case("into"))
}
