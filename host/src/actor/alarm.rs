//! Runs of alarms: a try is counted, the handler runs, its outcome is recorded together with the try of
//! the next alarm that is due.
//!
//! ```text
//!        ┌────────── the next one that is due, while nothing else waits ──────────┐
//!        v                                                                        │
//!  begin: attempts + 1, next try ──> durable ──> on-alarm ──> end: removed, next time, next try,
//!                                       │           │              or parked
//!                        not durable:   v           v  trap, budget: the next try stands already
//!                        no handler runs; the actor is about to end: the try is given back
//!                                                └──────── one step ────────┘
//! ```
//! Invariants:
//! - The handler begins only once its try is durable, so what ends it counts, whatever that is.
//! - A try that was counted begins next, or is given back, or its generation dies: no call, and no other
//!   alarm, comes in between.
//! - What the handler commits is held back until it ends, unless it waits for anything: then its end goes
//!   along in the same step.
//! - What is recorded of the outcome is a commit like any other: a generation that has lost its fence
//!   records nothing. That the work has ended is reported through the gate, as an answer is.
//! - The host's own statements have a budget of their own, before and after the handler's.

use std::sync::Arc;
use std::time::Duration;

use stockade_depot::gate::Gate;
use tokio::time::Instant;
use wasmtime::component::{ComponentType, Lower};

use super::answer::Answer;
use super::bill::{Bill, micros};
use super::call::{CallEnd, Running};
use super::generation::Generation;
use super::hooks::HookEnd;
use crate::error::Crash;
use crate::sqlite::{BegunAlarm, Connection, CrashedAlarm, Earliest, SqlError};

/// `record due-alarm`.
#[derive(Clone, Debug, ComponentType, Lower)]
#[component(record)]
struct DueAlarm {
    name: String,
    payload: Vec<u8>,
    due: u64,
    attempt: u32,
    missed: u64,
}

/// Alarms that run one behind the other until the slot looks for anything else. 32: the look costs the
/// last of them one commit more.
const IN_A_ROW_MAX: u32 = 32;
/// The error of an alarm whose component has no handler (any more).
const NO_HANDLER: &str = "the component exports no `alarm-handler`";

/// Whether another alarm may follow, asked right before its try is counted: nothing else waits.
pub type MayFollow = Box<dyn Fn() -> bool + Send + Sync>;

/// Why no alarm follows.
enum Over {
    /// It is recorded how the last one ended, or could not be recorded.
    Ended(Result<(), SqlError>),
    /// The instance died.
    Crashed(Arc<Crash>),
    /// The session died.
    Lost,
}

impl Generation {
    /// Begins to run alarms that are due, if any are: the first one, and others behind it. The run owns
    /// the generation until it has ended, as a call does. `crashed`: how the last run ended, if that was
    /// a crash.
    pub fn alarming(
        mut self,
        crashed: Option<CrashedAlarm>,
        may_follow: MayFollow,
        gate: Gate,
    ) -> Running {
        Box::pin(async move {
            let since = Instant::now();
            let end = match self.alarms(crashed.as_ref(), &may_follow).await {
                Over::Ended(ended) => self.host_ended(ended, since, gate),
                Over::Crashed(crash) => {
                    let (reason, error) = self.death(&crash);
                    let outcome = Err(error);
                    let answer = Answer { outcome, waiting: gate.leave(), bill: bill(since) };
                    // The row counts its tries and parks: the actor's calls are not held up for it.
                    CallEnd::Crashed { answer, reason, crash, counts: false }
                }
                Over::Lost => CallEnd::Fatal(gate.leave()),
            };
            (self, end)
        })
    }

    /// When the actor has something to do, as of the newest commit.
    pub fn earliest_due(&mut self) -> Earliest {
        self.body.sqlite().map(Connection::earliest_due).unwrap_or_default()
    }

    /// The alarm whose handler has not ended.
    #[must_use]
    pub fn running_alarm(&self) -> Option<(String, i64)> {
        self.running_alarm.clone()
    }

    /// Looks for due work that earlier generations have left: not for alarms, if the component cannot
    /// handle any.
    ///
    /// # Errors
    /// As for a statement.
    pub(super) fn look_for_first_due(&mut self) -> Result<(), SqlError> {
        let alarms = self.program.component.on_alarm().is_some();
        self.body.sqlite().map_or(Ok(()), |sqlite| sqlite.look_for_due(alarms))
    }

    /// Looks for due work again, also for alarms of a component without a handler.
    ///
    /// # Errors
    /// As for a statement.
    pub fn look_for_due(&mut self) -> Result<(), SqlError> {
        self.own(|sqlite, _| sqlite.look_for_due(true))
    }

    async fn alarms(&mut self, crashed: Option<&CrashedAlarm>, may_follow: &MayFollow) -> Over {
        let mut counted = self.own(|sqlite, now| sqlite.begin_alarm(now, crashed));
        for left in (0..IN_A_ROW_MAX).rev() {
            let begun = match counted {
                Ok(Some(begun)) => begun,
                Ok(None) => break,
                Err(error) => return Over::Ended(Err(error)),
            };
            counted = match self.alarm(&begun, || left > 0 && may_follow()).await {
                Ok(next) => Ok(next),
                Err(over) => return over,
            };
        }
        Over::Ended(counted.map(drop))
    }

    /// Runs an alarm whose try was counted. Returns the next one, whose try was counted with its end.
    async fn alarm(
        &mut self,
        begun: &BegunAlarm,
        may_follow: impl Fn() -> bool,
    ) -> Result<Option<BegunAlarm>, Over> {
        if self.session.durable(self.session.mark()).await.is_err() || self.session.is_dead() {
            return Err(Over::Lost);
        }
        if self.meter.is_shortened() {
            // The generation is about to end; the next one tries again.
            let given_back = self.own(|sqlite, _| sqlite.give_back_alarm(begun));
            return Err(Over::Ended(given_back));
        }
        self.running_alarm = Some((begun.alarm.name.clone(), begun.alarm.number));
        let gathering = self.session.gather();
        let ended = gathering.until_it_waits(self.on_alarm(begun)).await;
        if self.session.is_dead() {
            return Err(Over::Lost);
        }
        let failed = match ended {
            HookEnd::Done(()) => None,
            HookEnd::Refused(text) => Some(text),
            HookEnd::Unfinished(error) => Some(error.to_string()),
            HookEnd::Died(crash) => return Err(Over::Crashed(crash)),
        };
        self.running_alarm = None;
        let follow = may_follow();
        let ended = self
            .own(|sqlite, now| sqlite.end_alarm(begun, failed.as_deref(), now, follow))
            .map_err(|error| Over::Ended(Err(error)));
        drop(gathering);
        ended
    }

    async fn on_alarm(&mut self, begun: &BegunAlarm) -> HookEnd<()> {
        let Some(export) = self.program.component.on_alarm() else {
            return HookEnd::Refused(NO_HANDLER.to_owned());
        };
        let BegunAlarm { alarm, payload, at, .. } = begun;
        let argument = DueAlarm {
            name: alarm.name.clone(),
            payload: payload.clone(),
            due: u64::try_from(alarm.due).unwrap_or_default(),
            attempt: alarm.attempts,
            missed: alarm.schedule.missed(alarm.due, *at),
        };
        let time = Duration::from_millis(self.program.limits.call_time_ms);
        self.hook(&export, (argument,), Instant::now() + time).await
    }

    /// Runs statements of the host, with a budget of their own.
    pub(super) fn own<T>(
        &mut self,
        work: impl FnOnce(&mut Connection, i64) -> Result<T, SqlError>,
    ) -> Result<T, SqlError> {
        let limits = Arc::clone(&self.program.limits);
        let deadline = Instant::now() + Duration::from_millis(limits.call_time_ms);
        self.meter.begin(&limits, deadline);
        let now = self.clock.now_ms();
        let done = match self.body.sqlite() {
            Some(sqlite) => work(sqlite, now),
            None => Err(SqlError::NotOpen),
        };
        self.finish().and(done)
    }
}

fn bill(since: Instant) -> Bill {
    Bill { run_us: micros(since.elapsed()), ..Bill::default() }
}
