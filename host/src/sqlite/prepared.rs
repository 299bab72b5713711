//! Statements that a guest holds: bind, run, read in batches, cursors.
//!
//! A statement is idle, or a query over it is in progress. Starting another run, resetting it, an
//! error, a rollback or the end of the call ends the query; its cursor then answers `NotOpen`.

use std::ffi::{CString, c_int};

use super::connection::{Connection, Core};
use super::error::{SqlError, SqlLimit};
use super::run::{Batch, Changes};
use super::statement::{CursorId, Run, Slot, StatementId};
use super::value::Value;

/// Values bound one by one stay in memory: together they may take this many packed arguments.
const BOUND_PER_PACKED: u64 = 4;

/// A column of a statement's result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnInfo {
    /// The column's name, or the text of its expression.
    pub name: String,
    /// The declared type, if it is a column of a table.
    pub declared_type: Option<String>,
}

impl Connection {
    /// Compiles one statement, or takes a kept one of the same text.
    ///
    /// # Errors
    /// As the WIT says; `LimitExceeded(Handles)` also if compiled statements use too much memory.
    pub fn prepare(&mut self, sql: &str) -> Result<StatementId, SqlError> {
        self.guarded(|core| {
            let compiled = core.compile(sql)?;
            Ok(core.slots.insert(compiled))
        })
    }

    /// Ends the query of a dropped handle and keeps the compiled statement.
    pub fn drop_statement(&mut self, id: StatementId) {
        self.with_core(|core| {
            // A drop cannot report an error.
            let _ = core.end_run(id);
            let Some(slot) = core.slots.remove(id) else { return };
            core.bound_bytes -= slot.bound.values().sum::<u64>();
            core.keep(slot.compiled);
        });
    }

    /// Binds a value by position, from 1. The value stays until changed.
    ///
    /// # Errors
    /// `InvalidArgument` without such a parameter, `Busy` while a query is in progress,
    /// `LimitExceeded(PackedBytes)` if all bound values together are too large.
    pub fn bind(&mut self, id: StatementId, position: u32, value: &Value) -> Result<(), SqlError> {
        self.guarded(|core| {
            let slot = idle(core, id)?;
            let position = c_int::try_from(position)
                .ok()
                .filter(|position| (1..=slot.compiled.parameters).contains(position))
                .ok_or_else(|| {
                    SqlError::InvalidArgument(format!("there is no parameter {position}"))
                })?;
            core.bind_one(id, position, value)
        })
    }

    /// Binds a value by name, with or without its prefix.
    ///
    /// # Errors
    /// As [`Self::bind`].
    pub fn bind_name(
        &mut self,
        id: StatementId,
        name: &str,
        value: &Value,
    ) -> Result<(), SqlError> {
        self.guarded(|core| {
            let slot = idle(core, id)?;
            let position = parameter_named(slot, name).ok_or_else(|| {
                let name: String = name.chars().take(80).collect();
                SqlError::InvalidArgument(format!("there is no parameter {name:?}"))
            })?;
            core.bind_one(id, position, value)
        })
    }

    /// Sets all parameters to NULL.
    ///
    /// # Errors
    /// `Busy` while a query is in progress.
    pub fn clear_bindings(&mut self, id: StatementId) -> Result<(), SqlError> {
        self.guarded(|core| {
            idle(core, id)?;
            core.forget_bound(id);
            core.slot(id)?.compiled.raw.clear_bindings();
            Ok(())
        })
    }

    /// Names of the parameters in order, with their prefix; empty for one without a name.
    ///
    /// # Errors
    /// `Revoked`.
    pub fn parameters(&mut self, id: StatementId) -> Result<Vec<String>, SqlError> {
        self.guarded(|core| {
            let compiled = &core.slot(id)?.compiled;
            let name = |position| compiled.raw.parameter_name(position).unwrap_or_default();
            Ok((1..=compiled.parameters).map(name).collect())
        })
    }

    /// The columns of the result, as the schema is now.
    ///
    /// # Errors
    /// `LimitExceeded(RowBytes)` if the names are more than a batch, `Revoked`; those of
    /// [`Self::prepare`] if the statement no longer fits the schema.
    pub fn columns(&mut self, id: StatementId) -> Result<Vec<ColumnInfo>, SqlError> {
        self.guarded(|core| {
            let Core { slots, runner, .. } = core;
            let held = &slots.get_mut(id).ok_or(SqlError::NotOpen)?.compiled;
            let again = runner.as_of_now(held)?;
            let compiled = again.as_ref().unwrap_or(held);
            let mut left = runner.bounds.batch_bytes_max;
            let mut columns = Vec::new();
            for (index, name) in (0..).zip(runner.column_names(compiled)?) {
                let declared_type = compiled.raw.column_declared_type(index);
                left = left
                    .checked_sub(declared_type.as_ref().map_or(0, String::len))
                    .ok_or(SqlError::LimitExceeded(SqlLimit::RowBytes))?;
                columns.push(ColumnInfo { name, declared_type });
            }
            Ok(columns)
        })
    }

    /// Runs the statement to the end and drops its rows. `row` is one packed row for all
    /// parameters, or nothing to use what was bound.
    ///
    /// # Errors
    /// As the WIT says.
    #[inline]
    pub fn execute_statement(
        &mut self,
        id: StatementId,
        row: Vec<u8>,
    ) -> Result<Changes, SqlError> {
        self.guarded(|core| {
            core.end_run(id)?;
            let packed = !row.is_empty();
            core.bind_packed(id, row)?;
            let within = core.stack.within();
            let Core { slots, runner, .. } = core;
            let slot = slots.get_mut(id).ok_or(SqlError::NotOpen)?;
            let result = runner.run(&mut slot.compiled, within);
            if packed {
                slot.compiled.raw.clear_bindings();
            }
            result
        })
    }

    /// Runs the statement once per packed row.
    ///
    /// # Errors
    /// `RowFailed` names the row; rows before it took effect.
    pub fn execute_many(&mut self, id: StatementId, rows: Vec<u8>) -> Result<Changes, SqlError> {
        self.guarded(|core| {
            core.end_run(id)?;
            core.forget_bound(id);
            let within = core.stack.within();
            let Core { slots, runner, .. } = core;
            let compiled = &mut slots.get_mut(id).ok_or(SqlError::NotOpen)?.compiled;
            if compiled.parameters == 0 && !rows.is_empty() {
                let words = "rows for a statement without parameters";
                return Err(SqlError::InvalidArgument(words.to_owned()));
            }
            let length = rows.len();
            runner.hold(compiled, rows)?;
            let (mut at, mut row) = (0, 0);
            let mut all = Changes::default();
            let mut result = Ok(());
            while at < length {
                result = runner.bind_held_row(compiled, &mut at);
                if result.is_err() {
                    break;
                }
                match runner.run(compiled, within) {
                    Ok(changes) => {
                        all.rows += changes.rows;
                        all.last_insert_rowid = changes.last_insert_rowid;
                    }
                    Err(error) => {
                        result = Err(of_row(row, error));
                        break;
                    }
                }
                row += 1;
            }
            compiled.raw.clear_bindings();
            result.map(|()| all)
        })
    }

    /// Runs the statement and returns the first rows. `row` as in [`Self::execute_statement`].
    ///
    /// # Errors
    /// As the WIT says.
    #[inline]
    pub fn query_statement(
        &mut self,
        id: StatementId,
        row: Vec<u8>,
        bytes_max: u32,
    ) -> Result<Batch, SqlError> {
        self.guarded(|core| {
            core.start_run(id, row, false)?;
            core.batch(id, bytes_max)
        })
    }

    /// The next rows of a query that was not done.
    ///
    /// # Errors
    /// `NotOpen` if no query is in progress.
    pub fn next(&mut self, id: StatementId, bytes_max: u32) -> Result<Batch, SqlError> {
        self.guarded(|core| match &core.slot(id)?.run {
            Some(run) if !run.by_cursor => core.batch(id, bytes_max),
            _ => Err(SqlError::NotOpen),
        })
    }

    /// Ends a query in progress, if there is one.
    ///
    /// # Errors
    /// `Revoked`.
    pub fn reset(&mut self, id: StatementId) -> Result<(), SqlError> {
        self.guarded(|core| core.end_run(id))
    }

    /// Runs the statement; rows are read through the cursor.
    ///
    /// # Errors
    /// As the WIT says.
    pub fn open_cursor(&mut self, id: StatementId, row: Vec<u8>) -> Result<CursorId, SqlError> {
        self.guarded(|core| {
            let run = core.start_run(id, row, true)?;
            Ok(CursorId { statement: id, run })
        })
    }

    /// The next rows of a cursor.
    ///
    /// # Errors
    /// `NotOpen` when the cursor has ended.
    pub fn cursor_next(&mut self, cursor: CursorId, bytes_max: u32) -> Result<Batch, SqlError> {
        self.guarded(|core| {
            if !core.is_running(cursor) {
                return Err(SqlError::NotOpen);
            }
            core.batch(cursor.statement, bytes_max)
        })
    }

    /// Ends the query of a dropped handle if it is still in progress.
    pub fn drop_cursor(&mut self, cursor: CursorId) {
        self.with_core(|core| {
            if core.is_running(cursor) {
                // A drop cannot report an error.
                let _ = core.end_run(cursor.statement);
            }
        });
    }
}

impl Core {
    fn slot(&mut self, id: StatementId) -> Result<&mut Slot, SqlError> {
        self.slots.get_mut(id).ok_or(SqlError::NotOpen)
    }

    fn is_running(&mut self, cursor: CursorId) -> bool {
        let slot = self.slots.get_mut(cursor.statement);
        slot.and_then(|slot| slot.run.as_ref()).is_some_and(|run| run.serial == cursor.run)
    }

    #[inline]
    fn end_run(&mut self, id: StatementId) -> Result<(), SqlError> {
        match self.slots.take_run(id) {
            Some((slot, run)) => self.runner.end(&mut slot.compiled, &run),
            None => Ok(()),
        }
    }

    #[inline]
    fn start_run(
        &mut self,
        id: StatementId,
        row: Vec<u8>,
        by_cursor: bool,
    ) -> Result<u64, SqlError> {
        self.end_run(id)?;
        let packed = !row.is_empty();
        self.bind_packed(id, row)?;
        self.runs += 1;
        let run = Run { serial: self.runs, by_cursor, packed, spilled: Vec::new(), rest: None };
        let within = self.stack.within();
        let slot = self.slots.get_mut(id).ok_or(SqlError::NotOpen)?;
        let mut started = self.runner.start(&slot.compiled, within);
        if started.is_ok() && !self.slots.begin_run(id, run) {
            started = Err(SqlError::LimitExceeded(SqlLimit::Handles));
        }
        if let Err(error) = started {
            if packed {
                self.slot(id)?.compiled.raw.clear_bindings();
            }
            return Err(error);
        }
        Ok(self.runs)
    }

    /// The next rows of the run in progress. The run is over after the last rows, and after an
    /// error.
    #[inline]
    fn batch(&mut self, id: StatementId, bytes_max: u32) -> Result<Batch, SqlError> {
        let Self { slots, runner, .. } = self;
        let slot = slots.get_mut(id).ok_or(SqlError::NotOpen)?;
        let run = slot.run.as_mut().ok_or(SqlError::NotOpen)?;
        runner.meter.check()?;
        let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        let batch = if slot.compiled.readonly {
            runner.batch(&mut slot.compiled, run, bytes_max)
        } else {
            self.batch_of_write(id, bytes_max)
        };
        let slots = &mut self.slots;
        if !batch.as_ref().is_ok_and(|batch| !batch.done)
            && let Some((slot, run)) = slots.take_run(id)
            && run.packed
        {
            slot.compiled.raw.clear_bindings();
        }
        batch
    }

    /// The next rows of a write. A write that commits by itself has ended when its first rows are
    /// handed out.
    fn batch_of_write(&mut self, id: StatementId, bytes_max: usize) -> Result<Batch, SqlError> {
        let kept = self.slots.rest_bytes();
        let Self { slots, runner, .. } = self;
        let slot = slots.get_mut(id).ok_or(SqlError::NotOpen)?;
        let run = slot.run.as_mut().ok_or(SqlError::NotOpen)?;
        let batch_bytes_max = bytes_max.min(runner.bounds.batch_bytes_max);
        if let Some(rest) = &mut run.rest {
            return Ok(rest.batch(batch_bytes_max));
        }
        let before = runner.database.total_changes();
        if !runner.commits_by_itself(&slot.compiled) {
            let batch = runner.batch(&mut slot.compiled, run, bytes_max);
            runner.changes_since(before);
            return batch;
        }
        let left = runner.bounds.packed_bytes_max.saturating_sub(kept);
        match runner.run_write(&mut slot.compiled, left) {
            Ok(rest) => {
                runner.changes_since(before);
                Ok(run.rest.insert(rest).batch(batch_bytes_max))
            }
            Err(error) => {
                if runner.abandon(&mut slot.compiled) {
                    let _ = self.end_runs(&mut 0);
                }
                Err(error)
            }
        }
    }

    /// Replaces the bound values by one packed row; no bytes at all keep them.
    #[inline]
    fn bind_packed(&mut self, id: StatementId, row: Vec<u8>) -> Result<(), SqlError> {
        if row.is_empty() {
            return Ok(());
        }
        self.forget_bound(id);
        let slot = self.slots.get_mut(id).ok_or(SqlError::NotOpen)?;
        self.runner.bind_row(&mut slot.compiled, row)
    }

    fn bind_one(
        &mut self,
        id: StatementId,
        position: c_int,
        value: &Value,
    ) -> Result<(), SqlError> {
        let bytes_max = BOUND_PER_PACKED.saturating_mul(self.runner.bounds.packed_bytes_max as u64);
        let slot = self.slots.get_mut(id).ok_or(SqlError::NotOpen)?;
        let old = slot.bound.get(&position).copied().unwrap_or(0);
        let new = value.heap_bytes() as u64;
        let sum = self.bound_bytes - old + new;
        if sum > bytes_max {
            return Err(SqlError::LimitExceeded(SqlLimit::PackedBytes));
        }
        self.runner.bind(&mut slot.compiled, position, value)?;
        self.bound_bytes = sum;
        if new == 0 {
            slot.bound.remove(&position)
        } else {
            slot.bound.insert(position, new)
        };
        Ok(())
    }

    /// Prepares for replacing the values that were bound one by one.
    #[inline]
    fn forget_bound(&mut self, id: StatementId) {
        let Some(slot) = self.slots.get_mut(id) else { return };
        if !slot.bound.is_empty() {
            self.bound_bytes -= slot.bound.values().sum::<u64>();
            slot.bound.clear();
        }
    }
}

/// A statement without a query in progress.
fn idle(core: &mut Core, id: StatementId) -> Result<&mut Slot, SqlError> {
    let slot = core.slot(id)?;
    if slot.run.is_some() { Err(SqlError::Busy) } else { Ok(slot) }
}

fn parameter_named(slot: &Slot, name: &str) -> Option<c_int> {
    let exact = CString::new(name).ok()?;
    if let Some(position) = slot.compiled.raw.parameter_index(&exact) {
        return Some(position);
    }
    ['@', ':', '$'].into_iter().find_map(|prefix| {
        let name = CString::new(format!("{prefix}{name}")).ok()?;
        slot.compiled.raw.parameter_index(&name)
    })
}

/// Names the row, in the errors that a row can cause. Other errors do not concern the row.
fn of_row(row: u64, error: SqlError) -> SqlError {
    match error {
        SqlError::Constraint(_)
        | SqlError::Interrupted
        | SqlError::LimitExceeded(_)
        | SqlError::Full
        | SqlError::CommitTooLarge(_)
        | SqlError::Statement(_)
        | SqlError::Other(_) => SqlError::RowFailed { row, cause: Box::new(error) },
        SqlError::Busy
        | SqlError::Denied(_)
        | SqlError::Revoked(_)
        | SqlError::NotOpen
        | SqlError::Unavailable
        | SqlError::InvalidArgument(_)
        | SqlError::RowFailed { .. } => error,
    }
}
