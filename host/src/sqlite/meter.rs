//! The budget and the bill of the call in progress, shared by everything that works for it.
//!
//! Only the thread that runs the call counts; any thread may ask it to stop. An allowance that ran
//! out stays so until the next call begins: a guest that catches the error gets the same error
//! again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::error::{SqlError, SqlLimit};
use crate::calls::Allowance;
use crate::cpu::CpuTime;
use crate::limits::Limits;

/// Instructions of SQLite's virtual machine between two looks at the meter: about 20 us.
pub(super) const STEPS_PER_LOOK: u32 = 1000;

/// Looks that the host's own work may take when a call has ended and its budget is used up. 10,000:
/// a second or two, enough to drop what a call could make.
const GRACE_LOOKS: u64 = 10_000;

/// Statements between two looks at the clock: reading it costs a tenth of a small statement.
const STATEMENTS_PER_CLOCK: u64 = 64;

/// The budget and the bill of the call in progress. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub struct Meter(Arc<Inner>, CpuTime);

/// What a call has used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Statements that were run.
    pub statements: u64,
    /// Steps of SQLite's virtual machine.
    pub sql_steps: u64,
    /// Rows handed out.
    pub rows_read: u64,
    /// Rows inserted, updated or deleted.
    pub rows_written: u64,
    /// Bytes of rows handed out.
    pub row_bytes: u64,
    /// Pages of the database that SQLite read because its own cache lacked them.
    pub pages_read: u64,
    /// Pages that SQLite wrote through the VFS. Complete when the call has ended.
    pub pages_written: u64,
}

/// What a call may still use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remaining {
    /// Wall time.
    pub time: Duration,
    /// Steps of SQLite's virtual machine.
    pub sql_steps: u64,
    /// Rows that the call may still read.
    pub rows: u64,
    /// Bytes of rows that the call may still read.
    pub row_bytes: u64,
    /// Pages of the database that the call may still read.
    pub pages: u64,
}

/// The allowance that ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exhausted {
    /// The deadline has passed.
    Time,
    /// Steps of SQLite's virtual machine.
    SqlSteps,
    /// Rows read.
    Rows,
    /// Bytes of rows read.
    RowBytes,
    /// Pages of the database read.
    Pages,
}

impl Remaining {
    /// What of it another actor may use for this call.
    #[must_use]
    pub fn allowance(&self) -> Allowance {
        let Self { sql_steps, rows, row_bytes, pages, .. } = *self;
        Allowance { sql_steps, rows, row_bytes, pages }
    }
}

impl Exhausted {
    /// Whether the caller of a call had less of it than the call's own limits allow.
    #[must_use]
    pub fn is_of_caller(self, allowed: &Allowance, limits: &Limits) -> bool {
        match self {
            Self::Time => false,
            Self::SqlSteps => allowed.sql_steps < limits.sql_steps_max,
            Self::Rows => allowed.rows < limits.rows_max,
            Self::RowBytes => allowed.row_bytes < limits.row_bytes_max,
            Self::Pages => allowed.pages < limits.pages_max,
        }
    }

    /// The word for the allowance.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::SqlSteps => "sql-steps",
            Self::Rows => "rows",
            Self::RowBytes => "row-bytes",
            Self::Pages => "pages",
        }
    }

    fn error(self) -> SqlError {
        match self {
            Self::Time => SqlError::Interrupted,
            Self::SqlSteps => SqlError::LimitExceeded(SqlLimit::SqlSteps),
            Self::Rows => SqlError::LimitExceeded(SqlLimit::Rows),
            Self::RowBytes => SqlError::LimitExceeded(SqlLimit::RowBytes),
            Self::Pages => SqlError::LimitExceeded(SqlLimit::Pages),
        }
    }
}

#[derive(Debug, Default)]
struct Inner {
    stop: AtomicBool,
    /// Whether the call cannot wait for its turn: too many statements wait already.
    crowded: AtomicBool,
    /// Whether the deadline was brought forward since `begin`.
    shortened: AtomicBool,
    /// Looks for which a used-up budget does not count.
    grace: AtomicU64,
    exhausted: AtomicU8,
    /// Written by `begin` alone.
    deadline: Mutex<Option<Instant>>,
    sql_steps_max: AtomicU64,
    rows_max: AtomicU64,
    row_bytes_max: AtomicU64,
    pages_max: AtomicU64,
    statements: AtomicU64,
    sql_steps: AtomicU64,
    /// Steps of the statement that runs now, not yet in `sql_steps`.
    steps_in_run: AtomicU64,
    rows_read: AtomicU64,
    rows_written: AtomicU64,
    row_bytes: AtomicU64,
    pages_read: AtomicU64,
    pages_written: AtomicU64,
}

impl Meter {
    /// A meter that allows nothing until the first `begin`, except time.
    #[must_use]
    pub fn new(cpu: CpuTime) -> Self {
        Self(Arc::default(), cpu)
    }

    /// The processor time of the same calls.
    #[must_use]
    pub fn cpu(&self) -> &CpuTime {
        &self.1
    }

    /// A new call: counters to zero, allowances set, an earlier `stop` forgotten.
    pub fn begin(&self, limits: &Limits, deadline: Instant) {
        let inner = &*self.0;
        *inner.deadline.lock() = Some(deadline);
        inner.sql_steps_max.store(limits.sql_steps_max, Ordering::Relaxed);
        inner.rows_max.store(limits.rows_max, Ordering::Relaxed);
        inner.row_bytes_max.store(limits.row_bytes_max, Ordering::Relaxed);
        inner.pages_max.store(limits.pages_max, Ordering::Relaxed);
        for counter in inner.counters() {
            counter.store(0, Ordering::Relaxed);
        }
        inner.exhausted.store(0, Ordering::Relaxed);
        inner.grace.store(0, Ordering::Relaxed);
        inner.shortened.store(false, Ordering::Relaxed);
        inner.crowded.store(false, Ordering::Relaxed);
        inner.stop.store(false, Ordering::Release);
        self.1.begin(limits.cpu_weight);
    }

    /// Lowers the allowances of the call that has begun to what its caller has left.
    pub fn lower(&self, to: &Allowance) {
        let inner = &*self.0;
        for (max, allowed) in [
            (&inner.sql_steps_max, to.sql_steps),
            (&inner.rows_max, to.rows),
            (&inner.row_bytes_max, to.row_bytes),
            (&inner.pages_max, to.pages),
        ] {
            max.fetch_min(allowed, Ordering::Relaxed);
        }
    }

    /// Counts what another actor has used for this call. Checked like the call's own work: an allowance
    /// that is used up by it ends the next statement.
    pub fn charge(&self, used: &Allowance) {
        let inner = &*self.0;
        add(&inner.sql_steps, used.sql_steps);
        add(&inner.rows_read, used.rows);
        add(&inner.row_bytes, used.row_bytes);
        self.pages_read(used.pages);
    }

    /// Brings the deadline of the call in progress forward; never moves it back.
    pub fn shorten(&self, deadline: Instant) {
        let mut current = self.0.deadline.lock();
        if current.is_none_or(|current| deadline < current) {
            *current = Some(deadline);
            self.0.shortened.store(true, Ordering::Relaxed);
        }
    }

    /// Whether the deadline of the call in progress was brought forward.
    #[must_use]
    pub fn is_shortened(&self) -> bool {
        self.0.shortened.load(Ordering::Relaxed)
    }

    /// Whether the call ran out of time because its deadline was brought forward: not the call's
    /// fault.
    #[must_use]
    pub fn was_cut_short(&self) -> bool {
        self.exhausted() == Some(Exhausted::Time) && self.0.shortened.load(Ordering::Relaxed)
    }

    /// Whether the call is past its deadline; it has then used up its time. Asked at every epoch
    /// tick.
    #[must_use]
    pub fn past_deadline(&self) -> bool {
        let past = self.is_past_deadline();
        if past {
            self.exhaust(Exhausted::Time);
        }
        past
    }

    /// Asks running SQL, and all later SQL of this call, to end immediately. From any thread.
    pub fn stop(&self) {
        self.0.stop.store(true, Ordering::Release);
    }

    /// Whether this call was asked to stop.
    #[must_use]
    pub fn stopped(&self) -> bool {
        self.0.stop.load(Ordering::Acquire)
    }

    /// What the call has used so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let inner = &*self.0;
        Counts {
            statements: get(&inner.statements),
            sql_steps: get(&inner.sql_steps) + get(&inner.steps_in_run),
            rows_read: get(&inner.rows_read),
            rows_written: get(&inner.rows_written),
            row_bytes: get(&inner.row_bytes),
            pages_read: get(&inner.pages_read),
            pages_written: get(&inner.pages_written),
        }
    }

    /// What the call may still use.
    #[must_use]
    pub fn remaining(&self) -> Remaining {
        let counts = self.counts();
        let deadline = *self.0.deadline.lock();
        Remaining {
            time: deadline.map_or(Duration::ZERO, |deadline| {
                deadline.saturating_duration_since(Instant::now())
            }),
            sql_steps: get(&self.0.sql_steps_max).saturating_sub(counts.sql_steps),
            rows: get(&self.0.rows_max).saturating_sub(counts.rows_read),
            row_bytes: get(&self.0.row_bytes_max).saturating_sub(counts.row_bytes),
            pages: get(&self.0.pages_max).saturating_sub(counts.pages_read),
        }
    }

    /// The allowance that ran out in this call; sticky until `begin`.
    #[must_use]
    pub fn exhausted(&self) -> Option<Exhausted> {
        match self.0.exhausted.load(Ordering::Relaxed) {
            1 => Some(Exhausted::Time),
            2 => Some(Exhausted::SqlSteps),
            3 => Some(Exhausted::Rows),
            4 => Some(Exhausted::RowBytes),
            5 => Some(Exhausted::Pages),
            _ => None,
        }
    }

    /// Must be called before a statement runs. `true` once in many statements: time to check the
    /// clock.
    #[inline]
    pub(super) fn start_statement(&self) -> Result<bool, SqlError> {
        let inner = &*self.0;
        let clock = add(&inner.statements, 1).is_multiple_of(STATEMENTS_PER_CLOCK);
        if clock && self.is_past_deadline() {
            self.exhaust(Exhausted::Time);
        }
        if get(&inner.sql_steps) >= get(&inner.sql_steps_max) {
            self.exhaust(Exhausted::SqlSteps);
        }
        self.check().map(|()| clock)
    }

    /// Whether the call may continue: neither stopped nor out of an allowance.
    #[inline]
    pub(super) fn check(&self) -> Result<(), SqlError> {
        let over = match self.exhausted() {
            Some(exhausted) => exhausted.error(),
            None if self.stopped() => SqlError::Interrupted,
            None if self.0.crowded.load(Ordering::Relaxed) => SqlError::Unavailable,
            None => return Ok(()),
        };
        if get(&self.0.grace) > 0 { Ok(()) } else { Err(over) }
    }

    /// Runs work of the host itself after the call has ended, with a bound of its own.
    pub(super) fn with_grace<T>(&self, work: impl FnOnce() -> T) -> T {
        self.0.grace.store(GRACE_LOOKS, Ordering::Relaxed);
        let done = work();
        self.0.grace.store(0, Ordering::Relaxed);
        done
    }

    /// From within SQL that may be long: waits while other long calls have their turns.
    pub(super) fn take_turn(&self, is_alive: impl Fn() -> bool) {
        let goes_on = || is_alive() && !self.past_deadline() && self.check().is_ok();
        if !self.1.look(goes_on) {
            self.0.crowded.store(true, Ordering::Relaxed);
        }
    }

    /// From the progress handler: counts, checks the clock, and returns whether to continue.
    pub(super) fn look(&self) -> bool {
        let inner = &*self.0;
        let in_run = add(&inner.steps_in_run, u64::from(STEPS_PER_LOOK));
        if get(&inner.sql_steps).saturating_add(in_run) > get(&inner.sql_steps_max) {
            self.exhaust(Exhausted::SqlSteps);
        }
        if self.is_past_deadline() {
            self.exhaust(Exhausted::Time);
        }
        let grace = get(&inner.grace);
        inner.grace.store(grace.saturating_sub(1), Ordering::Relaxed);
        self.check().is_ok()
    }

    /// Counts the steps of a statement that paused or ended. Inner work that the statement does not
    /// count (`VACUUM`) was seen by `look` alone.
    #[inline]
    pub(super) fn ran(&self, steps: u64) {
        let inner = &*self.0;
        let looked = inner.steps_in_run.load(Ordering::Relaxed);
        inner.steps_in_run.store(0, Ordering::Relaxed);
        add(&inner.sql_steps, steps.max(looked));
    }

    /// Counts a row that was read.
    #[inline]
    pub(super) fn row(&self, bytes: usize) -> Result<(), SqlError> {
        let inner = &*self.0;
        if add(&inner.rows_read, 1) > get(&inner.rows_max) {
            self.exhaust(Exhausted::Rows);
            return Err(Exhausted::Rows.error());
        }
        if add(&inner.row_bytes, bytes as u64) > get(&inner.row_bytes_max) {
            self.exhaust(Exhausted::RowBytes);
            return Err(Exhausted::RowBytes.error());
        }
        Ok(())
    }

    /// Counts rows that were written.
    #[inline]
    pub(super) fn wrote(&self, rows: u64) {
        add(&self.0.rows_written, rows);
    }

    /// Counts pages that were read from the database. Checked at the next look: the statement that
    /// read them continues until then.
    #[inline]
    pub(super) fn pages_read(&self, pages: u64) {
        if pages > 0 && add(&self.0.pages_read, pages) > get(&self.0.pages_max) {
            self.exhaust(Exhausted::Pages);
        }
    }

    /// Counts pages that were handed over for commit.
    pub(super) fn pages_written(&self, pages: u64) {
        add(&self.0.pages_written, pages);
    }

    fn is_past_deadline(&self) -> bool {
        let deadline = *self.0.deadline.lock();
        deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    #[cold]
    fn exhaust(&self, what: Exhausted) {
        let code = match what {
            Exhausted::Time => 1,
            Exhausted::SqlSteps => 2,
            Exhausted::Rows => 3,
            Exhausted::RowBytes => 4,
            Exhausted::Pages => 5,
        };
        // The first one is the cause of the call's end.
        let _ = self.0.exhausted.compare_exchange(0, code, Ordering::Relaxed, Ordering::Relaxed);
    }
}

impl Inner {
    fn counters(&self) -> [&AtomicU64; 8] {
        [
            &self.statements,
            &self.sql_steps,
            &self.steps_in_run,
            &self.rows_read,
            &self.rows_written,
            &self.row_bytes,
            &self.pages_read,
            &self.pages_written,
        ]
    }
}

#[inline]
fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// Adds and returns the sum. Only one thread counts at a time, so no locked instruction is needed.
#[inline]
fn add(counter: &AtomicU64, amount: u64) -> u64 {
    let sum = counter.load(Ordering::Relaxed).saturating_add(amount);
    counter.store(sum, Ordering::Relaxed);
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(limits: &Limits) -> Meter {
        let meter = Meter::default();
        meter.begin(limits, Instant::now() + Duration::from_secs(60));
        meter
    }

    #[test]
    fn an_allowance_that_ran_out_stays_so_until_the_next_call() {
        let limits = Limits { rows_max: 2, ..Limits::default() };
        let meter = meter(&limits);
        assert_eq!(meter.row(1), Ok(()));
        assert_eq!(meter.row(1), Ok(()));
        assert_eq!(meter.row(1), Err(SqlError::LimitExceeded(SqlLimit::Rows)));
        let again = meter.start_statement();
        assert_eq!(again, Err(SqlError::LimitExceeded(SqlLimit::Rows)));
        assert_eq!(meter.exhausted(), Some(Exhausted::Rows));
        meter.begin(&limits, Instant::now() + Duration::from_secs(60));
        assert_eq!((meter.exhausted(), meter.start_statement()), (None, Ok(false)));
        assert_eq!(meter.counts(), Counts { statements: 1, ..Counts::default() });
    }

    #[test]
    fn a_call_for_an_actor_has_what_its_caller_has_left_and_is_charged_to_it() {
        let limits = Limits { rows_max: 3, pages_max: 5, ..Limits::default() };
        let caller = meter(&limits);
        assert_eq!(caller.row(10), Ok(()));
        let left = caller.remaining().allowance();
        assert_eq!((left.rows, left.pages), (2, 5));
        let callee = meter(&Limits::default());
        callee.lower(&left);
        assert_eq!((callee.row(1), callee.row(1)), (Ok(()), Ok(())));
        assert_eq!(callee.row(1), Err(SqlError::LimitExceeded(SqlLimit::Rows)));
        let exhausted = callee.exhausted().expect("rows");
        assert!(exhausted.is_of_caller(&left, &Limits::default()));
        assert!(!exhausted.is_of_caller(&left, &Limits { rows_max: 2, ..limits.clone() }));
        caller.charge(&Allowance { rows: 2, pages: 1, ..Allowance::default() });
        assert_eq!(caller.remaining().allowance(), Allowance { rows: 0, pages: 4, ..left });
        assert!(caller.row(1).is_err());
        caller.charge(&Allowance { pages: 5, ..Allowance::default() });
        assert!(caller.start_statement().is_err());
    }

    #[test]
    fn steps_are_bounded_while_a_statement_runs_and_between_statements() {
        let limits = Limits { sql_steps_max: 2500, ..Limits::default() };
        let meter = meter(&limits);
        assert!(meter.look() && meter.look());
        assert!(!meter.look());
        meter.ran(3000);
        assert_eq!(meter.exhausted(), Some(Exhausted::SqlSteps));
        assert_eq!(meter.counts().sql_steps, 3000);
    }

    #[test]
    fn the_deadline_and_a_stop_interrupt() {
        let meter = Meter::default();
        meter.begin(&Limits::default(), Instant::now());
        assert!(!meter.look());
        assert_eq!(meter.check(), Err(SqlError::Interrupted));
        assert_eq!(meter.exhausted(), Some(Exhausted::Time));
        meter.begin(&Limits::default(), Instant::now() + Duration::from_secs(60));
        meter.stop();
        assert_eq!(meter.start_statement(), Err(SqlError::Interrupted));
        assert_eq!(meter.exhausted(), None);
    }

    #[test]
    fn the_hosts_own_work_goes_on_for_a_while() {
        let meter = meter(&Limits::default());
        meter.stop();
        assert_eq!(meter.check(), Err(SqlError::Interrupted));
        let looks = meter.with_grace(|| (0..).take_while(|_| meter.look()).count());
        assert_eq!(looks as u64, GRACE_LOOKS - 1);
        assert_eq!(meter.with_grace(|| meter.check()), Ok(()));
        assert_eq!(meter.check(), Err(SqlError::Interrupted));
    }

    #[test]
    fn a_deadline_that_was_brought_forward_is_told_from_one_that_passed() {
        let meter = Meter::default();
        meter.begin(&Limits::default(), Instant::now());
        meter.shorten(Instant::now() + Duration::from_secs(1));
        assert!(meter.past_deadline() && !meter.was_cut_short(), "it was late by itself");
        meter.begin(&Limits::default(), Instant::now() + Duration::from_secs(60));
        meter.shorten(Instant::now());
        assert!(!meter.was_cut_short(), "not yet noticed");
        assert!(meter.past_deadline() && meter.was_cut_short());
        meter.begin(&Limits::default(), Instant::now());
        assert!(meter.past_deadline() && !meter.was_cut_short(), "forgotten by the next call");
    }
}
