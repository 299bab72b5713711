//! One run of an alarm: its try is counted, the handler runs, its outcome is recorded.
//!
//! ```text
//!  begin: attempts + 1, next try ──> durable ──> on-alarm ──> end: removed, next time, next try,
//!                                       │           │              or parked
//!                        not durable:   v           v  trap, budget: the next try stands already
//!                        no handler runs
//! ```
//! Invariants:
//! - The handler begins only once its try is durable, so what ends it counts, whatever that is.
//! - What is recorded of the outcome is a commit like any other: a generation that has lost its fence
//!   records nothing. That the work has ended is reported through the gate, as an answer is.
//! - The host's own statements have a budget of their own, before and after the handler's.

use std::sync::Arc;
use std::time::{Duration, Instant};

use stockade_depot::gate::Gate;
use wasmtime::component::{ComponentType, Lower};

use super::answer::Answer;
use super::bill::{Bill, micros};
use super::call::{CallEnd, Running};
use super::generation::Generation;
use super::hooks::HookEnd;
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

/// The error of an alarm whose component has no handler (any more).
const NO_HANDLER: &str = "the component exports no `alarm-handler`";

impl Generation {
    /// Begins a run of the first alarm that is due, if one is. The run owns the generation until it
    /// has ended, as a call does. `crashed`: how the last run ended, if that was a crash.
    pub fn alarming(mut self, crashed: Option<CrashedAlarm>, gate: Gate) -> Running {
        Box::pin(async move {
            let end = self.alarm(crashed.as_ref(), gate).await;
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

    async fn alarm(&mut self, crashed: Option<&CrashedAlarm>, gate: Gate) -> CallEnd {
        let since = Instant::now();
        let begun = self.own(|sqlite, now| sqlite.begin_alarm(now, crashed));
        let begun = match begun {
            Ok(Some(begun)) => begun,
            Ok(None) => return self.host_ended(Ok(()), since, gate),
            Err(error) => return self.host_ended(Err(error), since, gate),
        };
        if self.session.durable(self.session.mark()).await.is_err() || self.session.is_dead() {
            return CallEnd::Fatal(gate.leave());
        }
        if self.meter.is_shortened() {
            // The generation is about to end; the next one tries again.
            return self.host_ended(Ok(()), since, gate);
        }
        self.running_alarm = Some((begun.alarm.name.clone(), begun.alarm.number));
        let ended = self.on_alarm(&begun).await;
        if self.session.is_dead() {
            return CallEnd::Fatal(gate.leave());
        }
        let failed = match ended {
            HookEnd::Done(()) => None,
            HookEnd::Refused(text) => Some(text),
            HookEnd::Unfinished(error) => Some(error.to_string()),
            HookEnd::Died(crash) => {
                let (reason, error) = self.death(&crash);
                let answer =
                    Answer { outcome: Err(error), waiting: gate.leave(), bill: bill(since) };
                // The row counts its tries and parks: the actor's calls are not held up for it.
                return CallEnd::Crashed { answer, reason, crash, counts: false };
            }
        };
        self.running_alarm = None;
        let recorded = self.own(|sqlite, now| sqlite.end_alarm(&begun, failed.as_deref(), now));
        self.host_ended(recorded, since, gate)
    }

    async fn on_alarm(&mut self, begun: &BegunAlarm) -> HookEnd<()> {
        let Some(export) = self.program.component.on_alarm() else {
            return HookEnd::Refused(NO_HANDLER.to_owned());
        };
        let BegunAlarm { alarm, payload, at } = begun;
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
