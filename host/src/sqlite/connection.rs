//! The one connection of a generation, used by its handles.
//!
//! Invariants:
//! - N1: every call enters the grip and asks the session first, and asks both again before it
//!   reports success. After a revocation nothing succeeds.
//! - N2: whenever SQLite is in autocommit mode, the stack of transactions is empty or lost.
//! - N3: dropping handles always works, also after a revocation, and runs nothing but rollbacks.
//! - N4: when a call of the guest has ended, no statement steps, no transaction is open, and the
//!   connection is as it was when the call began (`state.rs`).
//! - N5: between two calls on a handle no write that commits by itself is in progress, so no
//!   accepted write waits for a commit, and no commit fails unreported.

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use stockade_depot::{Mark, Session};
use stockade_sqlite::{Database, Whole};
use stockade_vfs::heap::Heap;
use stockade_vfs::memory::Share;
use stockade_vfs::{ConnectionId, Handle, VfsOptions};

use super::alarms::Alarms;
use super::authorizer::{Asker, Judge};
use super::due::Book;
use super::error::{SqlError, SqlLimit};
use super::hardening;
use super::keeper::Kept;
use super::meter::{Meter, STEPS_PER_LOOK};
use super::outbox::Outbox;
use super::owner::Owner;
use super::run::{Bounds, Changes, Runner};
use super::spares::Spares;
use super::state::Made;
use super::statement::{Cache, Compiled, Slots};
use super::transaction::{Ending, Stack, TransactionId, TransactionMode, Within};
use super::value::Value;
use crate::grip::Grip;
use crate::limits::Limits;

/// The one connection of a generation. Used by one thread at a time.
pub struct Connection {
    core: Whole<Core>,
    owner: Owner,
    meter: Meter,
    heap: Heap,
    id: ConnectionId,
}

/// All parts that share the database, together (F3).
pub(super) struct Core {
    pub(super) slots: Slots,
    pub(super) cache: Cache,
    pub(super) stack: Stack,
    /// The objects that the component began with in the temporary database, if any.
    pub(super) made: Option<Made>,
    pub(super) runner: Runner,
    /// Counts runs of statements, so that a cursor knows its own run.
    pub(super) runs: u64,
    /// Bytes of values that are bound one by one.
    pub(super) bound_bytes: u64,
}

/// Ends running SQL from any thread.
#[derive(Clone)]
pub struct Interrupter {
    handle: Arc<Handle>,
    meter: Meter,
}

/// What a call left open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// A transaction was open and has been rolled back.
    pub rolled_back: bool,
    /// Queries that were in progress and have been ended.
    pub queries: u32,
}

impl Interrupter {
    /// Ends the statement that runs now, and every later one of the call in progress.
    pub fn interrupt(&self) {
        self.meter.stop();
        // Fails only if nothing is open: then nothing runs.
        let _ = self.handle.interrupt();
    }
}

impl Connection {
    /// Opens the database of a session on a connection of `spares`. Writes nothing.
    ///
    /// # Errors
    /// `Revoked` if the session is dead, `Unavailable` if its first page could not be read.
    pub fn open(
        spares: &Spares,
        session: Session,
        scratch_dir: &Path,
        memory: &Arc<Share>,
        limits: &Limits,
        grip: Grip,
        meter: Meter,
    ) -> Result<Self, SqlError> {
        let mut options = VfsOptions::new(scratch_dir);
        options.scratch_bytes_max = limits.scratch_bytes_max;
        options.memory = Some(Arc::clone(memory));
        let handle = Handle::new(session.clone(), &options);
        let owner = Owner::new(&handle, grip);
        let look = || {
            let (owner, meter) = (owner.clone(), meter.clone());
            move || {
                meter.take_turn(|| owner.is_alive());
                meter.pages_read(owner.handle().take_pages_read());
                meter.look() && owner.is_alive()
            }
        };
        // The schema is charged as if SQLite read it again. No call is in progress yet that could
        // be charged.
        let is_open = Arc::new(AtomicBool::new(false));
        let asks = (Arc::clone(&is_open), look());
        let ask = Box::new(move || !asks.0.load(Ordering::Relaxed) || asks.1());
        let heap = Heap::asking(hardening::HEAP_BYTES_MAX, memory, ask);
        let spare = spares.take()?;
        let settled = heap.within(|| spare.settle(&handle));
        let mut open = settled.map_err(|error| open_error(&session, &error))?;
        let id = open.id();
        let judge = Judge::new(meter.clone(), owner.clone());
        let other = |error: rusqlite::Error| SqlError::Other(format!("open: {error}"));
        let connection = open.connection_mut();
        let value_bytes_max =
            heap.within(|| id.within(|| hardening::value_bytes_max(connection, limits)));
        hardening::harden(connection, value_bytes_max.map_err(other)?).map_err(other)?;
        judge.install(connection).map_err(other)?;
        // Without the owner: the session keeps this closure, and must not keep itself. The session
        // checks by itself whether it is dead.
        let (waits_on, grip) = (meter.clone(), owner.grip().clone());
        session.wait_while(move || !waits_on.past_deadline() && grip.reason().is_none());
        let interrupts = look();
        let steps = i32::try_from(STEPS_PER_LOOK).unwrap_or(i32::MAX);
        connection.progress_handler(steps, Some(move || !interrupts())).map_err(other)?;
        let noting = owner.clone();
        connection.rollback_hook(Some(move || noting.note_rollback())).map_err(other)?;
        let core = Whole::build(|| {
            let (connection, seat) = open.into_parts();
            let database = Database::new(connection, seat);
            database
                .set_look(Box::new(look()))
                .and_then(|()| database.share_counts())
                .map_err(|code| SqlError::Other(format!("open: look: code {code}")))?;
            Ok::<_, SqlError>(Core {
                slots: Slots::default(),
                cache: Cache::default(),
                stack: Stack::default(),
                made: None,
                runner: Runner {
                    database,
                    judge,
                    owner: owner.clone(),
                    meter: meter.clone(),
                    heap: heap.clone(),
                    changes: Cell::new(0),
                    bounds: Bounds::new(limits),
                    due: Book::default(),
                    alarms: Alarms::default(),
                    outbox: Outbox::default(),
                    kept: Kept::default(),
                },
                runs: 0,
                bound_bytes: 0,
            })
        })?;
        is_open.store(true, Ordering::Relaxed);
        Ok(Self { core, owner, meter, heap, id })
    }

    /// Ends running SQL from any thread.
    #[must_use]
    pub fn interrupter(&self) -> Interrupter {
        Interrupter { handle: Arc::clone(self.owner.handle()), meter: self.meter.clone() }
    }

    /// The session underneath, to wait for durability.
    #[must_use]
    pub fn session(&self) -> &Session {
        self.owner.session()
    }

    /// Closes the connection: rolls back open transactions and frees SQLite's memory. Dropping does
    /// the same.
    pub fn close(self) {}

    /// The component has begun: what it has set and made in the connection so far stays as long as
    /// the generation. From here on a call leaves nothing but rows.
    ///
    /// # Errors
    /// `Revoked`, `LimitExceeded(Memory)`.
    pub fn serve(&mut self) -> Result<(), SqlError> {
        let served = self.guarded(Core::serve);
        self.meter.cpu().pause();
        served
    }

    /// Ends a call of the guest, or an operator's text: ends queries in progress, rolls an open
    /// transaction back and undoes what was set and made in the connection, so that the answer
    /// rests on commits alone. Works after a revocation too.
    ///
    /// # Errors
    /// `Revoked` if something cannot be undone: the generation has ended then.
    pub fn end_of_call(&mut self) -> Result<Leftovers, SqlError> {
        let heap = self.heap.clone();
        let left = heap.within(|| self.with_core(Core::end_of_call));
        self.meter.cpu().pause();
        heap.settle();
        left
    }

    #[cfg(test)]
    /// Whether a transaction is open, by a handle or by SQL text.
    #[must_use]
    pub fn in_transaction(&mut self) -> bool {
        !self.core.with(|core| core.runner.database.is_autocommit())
    }

    // --- statements by text ----------------------------------------------------------------------

    /// Runs one statement; rows that it returns are dropped.
    ///
    /// # Errors
    /// As the WIT says.
    pub fn execute(&mut self, sql: &str, parameters: &[Value]) -> Result<Changes, SqlError> {
        self.guarded(|core| core.execute(sql, parameters))
    }

    /// Runs one statement and returns its rows, bounded by the limits of a batch.
    ///
    /// # Errors
    /// As the WIT says; `LimitExceeded(RowBytes)` if the rows are too many for one answer.
    pub fn query(&mut self, sql: &str, parameters: &[Value]) -> Result<RowSet, SqlError> {
        self.guarded(|core| core.query(sql, parameters))
    }

    /// Runs statements in one transaction, or savepoint if one is open.
    ///
    /// # Errors
    /// Those of `execute`; nothing was kept.
    pub fn run_batch(
        &mut self,
        statements: &[(String, Vec<Value>)],
    ) -> Result<Vec<Changes>, SqlError> {
        self.guarded(|core| core.run_batch(statements))
    }

    /// Runs a text of any number of statements.
    ///
    /// # Errors
    /// Those of `execute`; statements before the failing one took effect. `Statement` if it left a
    /// transaction open, which is rolled back.
    pub fn execute_script(&mut self, sql: &str) -> Result<(), SqlError> {
        self.guarded(|core| core.execute_script(sql))
    }

    /// What the last statement that changes rows has done.
    ///
    /// # Errors
    /// `Revoked`.
    pub fn changes(&mut self) -> Result<Changes, SqlError> {
        self.guarded(|core| {
            let database = &core.runner.database;
            Ok(Changes {
                rows: database.changes(),
                last_insert_rowid: database.last_insert_rowid(),
            })
        })
    }

    // --- transactions ----------------------------------------------------------------------------

    /// Begins a transaction, or a savepoint inside one.
    ///
    /// # Errors
    /// `Revoked`, `Interrupted`.
    pub fn begin(&mut self, mode: TransactionMode) -> Result<TransactionId, SqlError> {
        self.guarded(|core| core.begin(mode))
    }

    /// Keeps the changes of a transaction.
    ///
    /// # Errors
    /// As the WIT says. The transaction is still open after a deferred foreign key failed, and
    /// after `Busy`.
    pub fn commit(&mut self, id: TransactionId) -> Result<(), SqlError> {
        self.guarded(|core| core.commit(id))
    }

    /// Drops the changes of a transaction. Ends all queries in progress.
    ///
    /// # Errors
    /// `NotOpen`, `Revoked`.
    pub fn rollback(&mut self, id: TransactionId) -> Result<(), SqlError> {
        self.guarded(|core| core.rollback(id))
    }

    /// Rolls the transaction of a dropped handle back, if it is still open.
    pub fn drop_transaction(&mut self, id: TransactionId) {
        // The transaction has ended already, or SQLite fails below a dead session: nothing is kept
        // either way.
        let _ = self.with_core(|core| core.rollback(id));
    }

    // --- durability ------------------------------------------------------------------------------

    /// The newest accepted write, to wait for on the session.
    ///
    /// # Errors
    /// `Revoked`.
    pub fn mark(&mut self) -> Result<Mark, SqlError> {
        let session = self.owner.session().clone();
        self.guarded(|_| Ok(session.mark()))
    }

    /// As `mark`, but refuses inside a transaction, whose changes have no name yet.
    ///
    /// # Errors
    /// `Busy`, `Revoked`; `NotOpen` if SQLite has rolled the transaction back.
    pub fn mark_outside_transaction(&mut self) -> Result<Mark, SqlError> {
        let session = self.owner.session().clone();
        self.guarded(|core| match core.stack.within() {
            Within::Lost => Err(SqlError::NotOpen),
            Within::Open => Err(SqlError::Busy),
            Within::Nothing if core.runner.database.is_autocommit() => Ok(session.mark()),
            Within::Nothing => Err(SqlError::Busy),
        })
    }

    /// One call: in through the grip and the session, out through both.
    #[inline]
    pub(super) fn guarded<T: Send>(
        &mut self,
        work: impl FnOnce(&mut Core) -> Result<T, SqlError> + Send,
    ) -> Result<T, SqlError> {
        let guard = self.owner.grip().enter()?;
        self.owner.alive()?;
        let (heap, id) = (&self.heap, self.id);
        let answer = self.core.with(|core| {
            let answer = heap.within(|| id.within(|| work(core)));
            core.follow_sqlite();
            answer
        });
        guard.check()?;
        self.owner.alive()?;
        answer
    }

    /// Works for the host itself, with a bound of its own in place of the call's budget.
    pub fn in_grace<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        let meter = self.meter.clone();
        meter.with_grace(|| work(self))
    }

    /// Works on the parts without a grip: for drops, and the end of a call.
    pub(super) fn with_core<T: Send>(&mut self, work: impl FnOnce(&mut Core) -> T + Send) -> T {
        let id = self.id;
        self.core.with(|core| id.within(|| work(core)))
    }
}

/// Rows as values.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RowSet {
    /// Names of the columns.
    pub columns: Vec<String>,
    /// The rows.
    pub rows: Vec<Vec<Value>>,
}

impl Core {
    /// Ends what the call has left open, and undoes what it has set and made.
    fn end_of_call(&mut self) -> Result<Leftovers, SqlError> {
        let mut left = Leftovers::default();
        let ended = self.end_runs(&mut left.queries);
        if !self.runner.database.is_autocommit() {
            left.rolled_back = true;
            self.control("ROLLBACK")?;
        }
        self.stack.clear();
        let taken_back = self.take_back();
        let Runner { meter, owner, database, .. } = &self.runner;
        meter.pages_read(owner.handle().take_pages_read());
        meter.pages_written(database.take_pages_written());
        ended.and(taken_back).map(|()| left)
    }

    /// Compiles a statement of the guest, or takes a kept one.
    #[inline]
    pub(super) fn compile(&mut self, sql: &str) -> Result<Compiled, SqlError> {
        if let Some(compiled) = self.cache.take(sql) {
            return Ok(compiled);
        }
        let compiled = self.runner.one(sql, Asker::Guest, true)?;
        if self.cache.admit(&compiled) {
            Ok(compiled)
        } else {
            Err(SqlError::LimitExceeded(SqlLimit::Handles))
        }
    }

    /// Keeps a statement that is idle again.
    #[inline]
    pub(super) fn keep(&mut self, mut compiled: Compiled) {
        compiled.raw.clear_bindings();
        self.cache.give(compiled);
    }

    pub(super) fn execute(&mut self, sql: &str, parameters: &[Value]) -> Result<Changes, SqlError> {
        let mut compiled = self.compile(sql)?;
        let within = self.stack.within();
        let result = self
            .runner
            .bind_all(&mut compiled, parameters)
            .and_then(|()| self.runner.run(&mut compiled, within));
        self.keep(compiled);
        self.follow_sqlite();
        result
    }

    pub(super) fn query(&mut self, sql: &str, parameters: &[Value]) -> Result<RowSet, SqlError> {
        let mut compiled = self.compile(sql)?;
        let result =
            self.runner.bind_all(&mut compiled, parameters).and_then(|()| self.rows(&mut compiled));
        self.keep(compiled);
        result
    }

    fn rows(&mut self, compiled: &mut Compiled) -> Result<RowSet, SqlError> {
        let runner = &self.runner;
        runner.start(compiled, self.stack.within())?;
        let before = runner.database.total_changes();
        let mut left = runner.bounds.batch_bytes_max;
        let mut set = RowSet::default();
        while runner.step(compiled)? {
            match runner.row_values(compiled, left) {
                Ok((row, bytes)) => {
                    left -= bytes;
                    set.rows.push(row);
                }
                Err(error) => {
                    if runner.abandon(compiled) {
                        let _ = self.end_runs(&mut 0);
                    }
                    return Err(error);
                }
            }
        }
        if !compiled.readonly {
            runner.changes_since(before);
        }
        set.columns = runner.column_names(compiled)?;
        Ok(set)
    }

    fn run_batch(&mut self, statements: &[(String, Vec<Value>)]) -> Result<Vec<Changes>, SqlError> {
        let is_inside = !self.runner.database.is_autocommit();
        let transaction = self.begin(TransactionMode::Deferred)?;
        let mut all = Vec::with_capacity(statements.len().min(1024));
        let mut result = Ok(());
        for (sql, parameters) in statements {
            match self.execute(sql, parameters) {
                Ok(changes) => all.push(changes),
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        match result.and_then(|()| self.commit(transaction)) {
            Ok(()) => Ok(all),
            Err(error) => {
                // `NotOpen` if SQLite has already rolled back.
                let _ = self.rollback(transaction);
                if is_inside && self.runner.database.is_autocommit() {
                    tracing::debug!(%error, "a batch took the transaction around it with it");
                    return Err(SqlError::NotOpen);
                }
                Err(error)
            }
        }
    }

    fn execute_script(&mut self, sql: &str) -> Result<(), SqlError> {
        let was_open = !self.runner.database.is_autocommit();
        let result = self.run_script(sql);
        self.follow_sqlite();
        if was_open || self.runner.database.is_autocommit() {
            return result;
        }
        let mut queries = 0;
        let _ = self.end_runs(&mut queries);
        self.control("ROLLBACK")?;
        result.and(Err(SqlError::wrong_statement("the script left a transaction open", None)))
    }

    fn run_script(&mut self, sql: &str) -> Result<(), SqlError> {
        let mut from = 0;
        while from < sql.len() {
            let front = self.runner.front(&sql[from..], Asker::Guest, false);
            let front = front.map_err(|error| shifted(error, from))?;
            if let Some(mut compiled) = front.compiled {
                self.runner.run(&mut compiled, self.stack.within())?;
            } else if front.tail == 0 {
                break;
            }
            from += front.tail;
        }
        Ok(())
    }

    // --- transactions ----------------------------------------------------------------------------

    pub(super) fn begin(&mut self, mode: TransactionMode) -> Result<TransactionId, SqlError> {
        self.follow_sqlite();
        if self.stack.within() == Within::Lost {
            return Err(SqlError::NotOpen);
        }
        self.runner.meter.check()?;
        let autocommit = self.runner.database.is_autocommit();
        self.control(&self.stack.beginning(mode, autocommit))?;
        Ok(self.stack.push(!autocommit))
    }

    pub(super) fn commit(&mut self, id: TransactionId) -> Result<(), SqlError> {
        self.follow_sqlite();
        self.stack.close_lost(id)?;
        let ending = self.stack.commit(id)?;
        self.runner.meter.check()?;
        for statement in &ending.statements {
            if let Err(error) = self.control(statement) {
                self.ended_by_failure(&ending);
                return Err(error);
            }
        }
        self.stack.ended(&ending);
        Ok(())
    }

    /// Ending a level has failed. If SQLite has rolled back because of that, the caller gets the
    /// error: the level has ended; the levels around it are lost.
    fn ended_by_failure(&mut self, ending: &Ending) {
        if self.runner.database.is_autocommit() {
            self.stack.ended(ending);
            self.follow_sqlite();
        }
    }

    pub(super) fn rollback(&mut self, id: TransactionId) -> Result<(), SqlError> {
        self.follow_sqlite();
        self.stack.close_lost(id)?;
        let ending = self.stack.rollback(id)?;
        let mut queries = 0;
        let _ = self.end_runs(&mut queries);
        let mut result = Ok(());
        for statement in &ending.statements {
            result = result.and(self.control(statement));
        }
        match &result {
            Ok(()) => self.stack.ended(&ending),
            Err(_) => self.ended_by_failure(&ending),
        }
        result
    }

    /// Runs a statement of the host that controls transactions. Such a statement needs no
    /// allowance: a call that has used up its budget can still roll back.
    pub(super) fn control(&mut self, sql: &str) -> Result<(), SqlError> {
        let mut compiled = match self.cache.take(sql) {
            Some(compiled) => compiled,
            None => {
                let compiled = self.runner.own(sql)?;
                if !self.cache.admit(&compiled) {
                    return Err(SqlError::LimitExceeded(SqlLimit::Handles));
                }
                compiled
            }
        };
        self.runner.owner.forget_fault();
        self.runner.note_change();
        let result = self.runner.step(&mut compiled).map(drop);
        self.cache.give(compiled);
        result
    }

    /// N2: SQLite may have rolled back by itself.
    #[inline]
    pub(super) fn follow_sqlite(&mut self) {
        if self.stack.within() == Within::Open && self.runner.database.is_autocommit() {
            self.lost_transaction();
        }
    }

    /// A rollback ends the queries in progress, this one as well.
    #[cold]
    fn lost_transaction(&mut self) {
        self.stack.lose();
        let _ = self.end_runs(&mut 0);
    }

    /// Ends all queries in progress, and counts them. The first error is reported.
    pub(super) fn end_runs(&mut self, queries: &mut u32) -> Result<(), SqlError> {
        let mut result = Ok(());
        while let Some((slot, run)) = self.slots.take_any_run() {
            *queries = queries.saturating_add(1);
            result = result.and(self.runner.end(&mut slot.compiled, &run));
        }
        result
    }
}

/// Moves the offset of a statement's failure to its place in the whole text.
pub(super) fn shifted(error: SqlError, by: usize) -> SqlError {
    match error {
        SqlError::Statement(mut failure) => {
            let by = u32::try_from(by).ok();
            failure.offset = failure.offset.zip(by).map(|(offset, by)| offset.saturating_add(by));
            SqlError::Statement(failure)
        }
        error => error,
    }
}

fn open_error(session: &Session, error: &stockade_vfs::OpenError) -> SqlError {
    match session.cause() {
        Some(cause) => SqlError::Revoked(cause.reason()),
        None => match error {
            stockade_vfs::OpenError::Fault(
                stockade_vfs::Fault::Unavailable(_) | stockade_vfs::Fault::Overloaded,
            ) => SqlError::Unavailable,
            error => SqlError::Other(format!("open: {error}")),
        },
    }
}
