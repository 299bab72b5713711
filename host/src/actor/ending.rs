//! The three ways a generation ends. Each is one function, its steps in the order that matters;
//! an observer gets the order step by step (see `actor::trace`).
//!
//! ```text
//!  orderly   mailbox closed ─> call finished or interrupted ─> answers joined ─> `stop` hook
//!            ─> SQL revoked ─> `snapshot` hook ─> seal ─> the rest revoked ─> instance dropped
//!  fatal     everything revoked ─> answers joined ─> instance dropped            no hook
//!  crashed   everything revoked ─> answers joined, commits settled ─> instance dropped   no hook
//! ```
//! Invariants:
//! - Nothing runs beside the hooks and the seal: the call has ended and the answers are joined.
//! - SQL is revoked before the snapshot is taken, and the snapshot is stored by the seal itself.
//! - After a fatal end or a crash no hook runs.
//! - The exit carries the state that the seal left: its owner may begin the next generation.
//! - The exit is recorded once, by the caller, from the returned value.

use std::sync::Arc;
use std::time::Duration;

use stockade_depot::store::ActorState;
use stockade_depot::{Cause, Reason, SealError};
use tokio::time::Instant;

use super::answer::Answer;
use super::answers::{Answers, Pending};
use super::call::{CallEnd, Running};
use super::exit::{Ended, Exit, SnapshotOutcome};
use super::generation::Generation;
use super::hooks::HookEnd;
use super::seal::seal;
use super::start::NotStarted;
use super::trace::{EndStep, Trace};
use crate::error::{Crash, HostError, Retry};
use crate::sqlite::Meter;

/// The work of a generation when its end begins.
pub enum Doing {
    /// Idle.
    Nothing(Generation),
    /// A call in progress.
    Call {
        /// The call, with the generation.
        running: Running,
        /// The call's budget.
        meter: Meter,
        /// Where the call's answer goes.
        pending: Pending,
    },
}

/// Ends a generation in order. The caller has stopped taking calls from its mailbox: the router
/// holds what arrives until this returns. `grace`: how long a call in progress may still run;
/// `None`: as long as its own budget lasts.
///
/// If the session turns out to be dead, or the call in progress crashes by itself, the end is the
/// fatal one or a crash.
pub async fn orderly(
    doing: Doing,
    mut answers: Answers,
    reason: Reason,
    grace: Option<Duration>,
) -> Ended {
    doing.mailbox_closed();
    let (generation, call) = doing.finish(&mut answers, reason, grace).await;
    let (alive, notes) = match call {
        LastCall::None => (true, Vec::new()),
        LastCall::Interrupted => (false, vec![INTERRUPTED.to_owned()]),
        LastCall::Crashed { reason, crash } => {
            return crashed(generation, answers, reason, crash).await.into();
        }
    };
    let proven = join(&mut answers, &generation.trace).await;
    if let Some(cause) = generation.session.cause() {
        return fatal(generation, answers, &cause).await.into();
    }
    let mut departure = Departure { generation, reason, alive, notes, crash: None };
    departure.stop_hook().await;
    departure.revoke_sql().await;
    let taken = departure.snapshot().await;
    let (snapshot, left) = departure.seal(taken).await;
    departure.revoke_rest();
    Ended { exit: departure.end(snapshot, left.is_some(), proven), left }
}

/// Ends a generation whose session died. No hook runs and no answer is delivered: every waiting
/// caller gets the cause.
pub async fn fatal(generation: Generation, mut answers: Answers, cause: &Cause) -> Exit {
    let departure = Departure::of_dead(generation, cause.reason(), cause.to_string());
    departure.revoke_rest();
    let proven = join(&mut answers, &departure.generation.trace).await;
    let departure = departure.close_sql().await;
    let snapshot = departure.lost_snapshot("the generation ended fatally");
    departure.end(snapshot, false, proven)
}

/// Ends a generation whose instance died. The data is fine: commits already handed over run to
/// their verdict and the answers behind them follow it, then the session is closed, its head
/// unsealed for the next takeover.
pub async fn crashed(
    generation: Generation,
    mut answers: Answers,
    reason: Reason,
    crash: Arc<Crash>,
) -> Exit {
    let mut departure = Departure::of_dead(generation, reason, crash.cause.clone());
    departure.crash = Some(crash);
    departure.revoke_rest();
    let mut departure = departure.close_sql().await;
    let proven = join(&mut answers, &departure.generation.trace).await;
    departure.settle_commits().await;
    let snapshot = departure.lost_snapshot("the instance died");
    departure.end(snapshot, false, proven)
}

/// Ends a generation that failed to start. Returns why, for its caller; the caller of this function
/// makes the exit.
pub async fn not_started(failed: NotStarted) -> HostError {
    let (generation, failure) = match failed {
        NotStarted::NoInstance(error) => return error,
        NotStarted::Hook(generation, failure) => (generation, failure),
    };
    let session = generation.session.clone();
    let answers = Answers::new(generation.fence().generation);
    let crash = Arc::new(Crash::of(failure.message.as_str(), Retry::Fix));
    crashed(*generation, answers, Reason::Trapped, crash).await;
    // The message may show what `start` had written: it is delivered only if that write was kept.
    match session.cause() {
        Some(Cause::Closed(_)) | None => failure.into(),
        Some(cause) => HostError::from(&cause),
    }
}

/// Why a call was ended before its own budget was used up.
const INTERRUPTED: &str = "the call in progress was interrupted";

/// How the call in progress ended, if there was one.
enum LastCall {
    /// The call was answered, its session died, or there was none.
    None,
    /// The call's time was cut short: the instance is dead, and the component is not at fault.
    Interrupted,
    /// The instance died by itself.
    Crashed { reason: Reason, crash: Arc<Crash> },
}

impl Doing {
    fn mailbox_closed(&self) {
        match self {
            Self::Nothing(generation) => generation.trace.step(EndStep::MailboxClosed),
            Self::Call { pending, .. } => pending.trace.step(EndStep::MailboxClosed),
        }
    }

    /// Waits until the call in progress has ended, and puts its answer in front of the gate.
    async fn finish(
        self,
        answers: &mut Answers,
        ending: Reason,
        grace: Option<Duration>,
    ) -> (Generation, LastCall) {
        let (running, meter, pending) = match self {
            Self::Nothing(generation) => return (generation, LastCall::None),
            Self::Call { running, meter, pending } => (running, meter, pending),
        };
        if let Some(grace) = grace {
            meter.shorten(Instant::now() + grace);
        }
        let (generation, end) = running.await;
        let (last, step) = match end {
            CallEnd::Answered(answer) => {
                answers.call(pending, answer);
                (LastCall::None, EndStep::CallFinished)
            }
            CallEnd::Fatal(waiting) => {
                let cause = generation.session.cause().expect("BUG: a dead session has a cause");
                answers.lost(cause, waiting, pending);
                (LastCall::None, EndStep::CallFinished)
            }
            CallEnd::Crashed { answer, .. } if meter.was_cut_short() => {
                let cause = INTERRUPTED.to_owned();
                let outcome = Err(HostError::Ended { reason: ending, cause });
                answers.call(pending, Answer { outcome, ..answer });
                (LastCall::Interrupted, EndStep::CallInterrupted)
            }
            CallEnd::Crashed { answer, reason, crash, .. } => {
                answers.call(pending, answer);
                (LastCall::Crashed { reason, crash }, EndStep::CallFinished)
            }
        };
        generation.trace.step(step);
        (generation, last)
    }
}

/// Joins the answers in front of the gate. Returns whether one of them has proved the generation.
async fn join(answers: &mut Answers, trace: &Trace) -> bool {
    answers.join().await;
    trace.step(EndStep::AnswersJoined);
    answers.proven()
}

/// The outcome of a snapshot, and the state if there is one.
type Taken = (Option<Vec<u8>>, SnapshotOutcome);

/// A generation on its way out: each step runs once and is reported when done.
struct Departure {
    generation: Generation,
    reason: Reason,
    /// Whether the instance can run hooks.
    alive: bool,
    /// What an operator should know.
    notes: Vec<String>,
    /// How the instance died, if it did.
    crash: Option<Arc<Crash>>,
}

impl Departure {
    fn of_dead(generation: Generation, reason: Reason, message: String) -> Self {
        Self { generation, reason, alive: false, notes: vec![message], crash: None }
    }

    fn told(&self, step: EndStep) {
        self.generation.trace.step(step);
    }

    /// The guest's `stop` hook, SQL still working.
    async fn stop_hook(&mut self) {
        if self.alive {
            let time = Duration::from_millis(self.generation.limits().stop_time_ms);
            let end = self.generation.stop_hook(Instant::now() + time).await;
            if let HookEnd::Died(crash) = &end {
                self.alive = false;
                self.crash = Some(Arc::clone(crash));
            }
            self.notes.extend(end.failure("stop").map(|failure| failure.message));
        }
        self.told(EndStep::StopHook);
    }

    /// From here every SQL call, on any old handle, answers `revoked`.
    async fn revoke_sql(&mut self) {
        self.generation.sql_grip.revoke(self.reason);
        self.generation.sql_grip.released().await;
        self.generation.body.close_sqlite();
        self.told(EndStep::SqlRevoked);
    }

    /// Takes the in-memory state; the guest can no longer touch SQL. Attempts are recorded.
    async fn snapshot(&mut self) -> Taken {
        let limits = self.generation.limits();
        let (time, bytes_max) =
            (Duration::from_millis(limits.snapshot_time_ms), limits.snapshot_bytes_max);
        let taken = self.take_snapshot(Instant::now() + time, bytes_max).await;
        self.told(EndStep::Snapshot);
        taken
    }

    async fn take_snapshot(&mut self, by: Instant, bytes_max: u64) -> Taken {
        let missed = |why: String| (None, SnapshotOutcome::Missed { why });
        if !self.generation.has_hooks() {
            return (None, SnapshotOutcome::None);
        }
        if !self.alive {
            let why = self.notes.last().cloned();
            return missed(why.unwrap_or_else(|| "the instance died".to_owned()));
        }
        let refused_before = self.generation.sql_grip.refused();
        let end = self.generation.snapshot_hook(by).await;
        let late_sql = self.generation.sql_grip.refused() - refused_before;
        let too_late = match late_sql {
            0 => String::new(),
            times => format!("; it called SQL {times} times after SQL was revoked"),
        };
        match end {
            HookEnd::Done(None) => (None, SnapshotOutcome::None),
            // Guest-controlled length: bounded before it is stored.
            HookEnd::Done(Some(state)) if state.len() as u64 > bytes_max => missed(format!(
                "{} bytes are over the limit of {bytes_max} (snapshot_bytes_max)",
                state.len()
            )),
            HookEnd::Done(Some(state)) => {
                let bytes = state.len();
                (Some(state), SnapshotOutcome::Taken { bytes, late_sql })
            }
            HookEnd::Refused(text) => missed(format!("snapshot failed: {text}{too_late}")),
            HookEnd::Unfinished(error) => missed(format!("snapshot failed: {error}{too_late}")),
            HookEnd::Died(crash) => {
                let why = format!("snapshot died: {}{too_late}", crash.cause);
                self.crash = Some(crash);
                missed(why)
            }
        }
    }

    /// One fenced step: the last commits are durable, the state is stored, the epoch is closed.
    async fn seal(
        &mut self,
        (state, mut snapshot): Taken,
    ) -> (SnapshotOutcome, Option<Box<ActorState>>) {
        let Generation { session, actor, restarts, .. } = &self.generation;
        let component = self.generation.component().digest();
        let begins_here = matches!(self.reason, Reason::Slept | Reason::Operator);
        let sealed = seal(session, actor, component, *restarts, state, begins_here).await;
        if let Err(cause) = &sealed {
            // The session was lost at the last step: that is the cause of the end, whatever was
            // meant.
            if let SealError::Dead(cause) = cause
                && cause.reason() == Reason::Fenced
            {
                self.reason = Reason::Fenced;
            }
            if let SnapshotOutcome::Taken { .. } = snapshot {
                snapshot = SnapshotOutcome::Missed { why: format!("the seal failed: {cause}") };
            }
            self.notes.push(format!("seal failed: {cause}"));
        }
        self.told(EndStep::Sealed);
        (snapshot, sealed.ok())
    }

    /// Revokes every handle that is left: all of them, where SQL was not revoked before.
    fn revoke_rest(&self) {
        self.generation.revoke(self.reason);
        self.told(EndStep::Revoked);
    }

    /// After a revocation: frees the database's memory.
    async fn close_sql(mut self) -> Self {
        self.revoke_sql().await;
        self
    }

    /// After a crash: accepted commits run to their verdict, then the session takes nothing more.
    async fn settle_commits(&mut self) {
        let session = &self.generation.session;
        if let Err(cause) = session.durable(session.mark()).await {
            self.notes.push(cause.to_string());
        }
        session.close(self.reason);
        self.told(EndStep::CommitsSettled);
    }

    fn lost_snapshot(&self, why: &str) -> SnapshotOutcome {
        if self.generation.has_hooks() {
            SnapshotOutcome::Missed { why: why.to_owned() }
        } else {
            SnapshotOutcome::None
        }
    }

    /// Drops the instance. Returns the exit, for the router.
    fn end(self, snapshot: SnapshotOutcome, sealed: bool, proven: bool) -> Exit {
        let Self { generation, reason, notes, crash, .. } = self;
        let (fence, trace) = (generation.fence(), generation.trace.clone());
        drop(generation);
        trace.step(EndStep::InstanceDropped);
        Exit {
            db: fence.db,
            generation: fence.generation,
            reason,
            snapshot,
            sealed,
            proven,
            message: (!notes.is_empty()).then(|| notes.join("; ")),
            crash,
        }
    }
}
