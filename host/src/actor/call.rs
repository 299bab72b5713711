//! One call of one method: the guest runs, and its answer is put in front of the gate.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use stockade_depot::Reason;
use stockade_depot::gate::{Gate, Waiting};
use tokio::time::Instant;
use wasmtime::component::Val;

use super::answer::Answer;
use super::bill::{Bill, micros};
use super::framed::Framed;
use super::generation::{Generation, HEAVY_BYTES};
use super::results::Results;
use super::statements::Statements;
use crate::calls::{Allowance, Chain};
use crate::error::{Crash, HostError};
use crate::sqlite::{Exhausted, OperatorRows};
use crate::typed::{Method, Size};

/// How a call left the generation.
pub enum CallEnd {
    /// The generation can take the next call.
    Answered(Answer<Results>),
    /// The instance is dead; the data is fine.
    Crashed {
        /// The error for the caller, once the commits have their verdict.
        answer: Answer<Results>,
        /// `Trapped` or `Budget`.
        reason: Reason,
        /// How the instance died.
        crash: Arc<Crash>,
        /// Whether the component is to blame: not if its caller, an actor, had no more time.
        counts: bool,
    },
    /// The session died: no answer may be delivered.
    Fatal(Waiting),
}

/// For whom a call runs that an actor has made.
#[derive(Clone, Debug)]
pub struct ForActor {
    /// The actors that wait for it.
    pub chain: Chain,
    /// When the call must have ended, for its caller.
    pub until: Instant,
    /// What its caller has left.
    pub allowed: Allowance,
}

/// A call in progress, with the generation that runs it. Dropping it kills the instance.
pub type Running = BoxFuture<'static, (Generation, CallEnd)>;

impl Generation {
    /// Begins a call. The call owns the generation until it has ended, so that the generation's end
    /// can begin before the call's. `is_heavy`: see [`Self::is_heavy_with`]; `frame`: the host's
    /// transaction around the method.
    pub fn calling(
        mut self,
        method: Arc<Method>,
        arguments: Vec<Val>,
        gate: Gate,
        by: Option<ForActor>,
        is_heavy: bool,
        mut frame: Option<Box<dyn Framed>>,
    ) -> Running {
        Box::pin(async move {
            let bounds = by.as_ref().map(|by| (by.until, by.allowed));
            self.chain = by.map(|by| by.chain);
            let frame: Option<&mut dyn Framed> = match &mut frame {
                Some(frame) => Some(&mut **frame),
                None => None,
            };
            let end = self.call(&method, (arguments, is_heavy), gate, bounds, frame).await;
            self.chain = None;
            (self, end)
        })
    }

    /// Whether a call with these arguments is expected to hand megabytes over: then it is run on threads that
    /// give way.
    #[must_use]
    pub fn is_heavy_with(&self, arguments: &[Val]) -> bool {
        self.is_heavy || Size::of(arguments).memory >= HEAVY_BYTES
    }

    /// Runs a method. The answer is delivered only after its gate is passed.
    async fn call(
        &mut self,
        method: &Arc<Method>,
        (arguments, is_heavy): (Vec<Val>, bool),
        gate: Gate,
        bounds: Option<(Instant, Allowance)>,
        frame: Option<&mut dyn Framed>,
    ) -> CallEnd {
        let begun = Instant::now();
        let own = begun + Duration::from_millis(self.program.limits.call_time_ms);
        let deadline = bounds.map_or(own, |(until, _)| until.min(own));
        let allowed = bounds.map(|(_, allowed)| allowed);
        let call = (&**method, &arguments[..]);
        let outcome = self.run(call, is_heavy, deadline, allowed.as_ref(), frame).await;
        // Megabytes take a while to free: before the bill.
        drop(arguments);
        let bill = self.bill(begun);
        let waiting = gate.leave();
        if self.session.is_dead() {
            return CallEnd::Fatal(waiting);
        }
        match outcome {
            Ok(values) => {
                let outcome = values.and_then(|values| self.bounded(values));
                CallEnd::Answered(Answer { outcome, waiting, bill })
            }
            Err(crash) => {
                let (reason, error) = self.death(&crash);
                let answer = Answer { outcome: Err(error), waiting, bill };
                let counts = match (self.meter.exhausted(), allowed) {
                    (Some(Exhausted::Time), _) => deadline == own,
                    (Some(which), Some(allowed)) => {
                        !which.is_of_caller(&allowed, &self.program.limits)
                    }
                    _ => true,
                };
                CallEnd::Crashed { answer, reason, crash, counts }
            }
        }
    }

    /// What the death of the guest in a call, or in the handler of an alarm, is called.
    pub(super) fn death(&self, crash: &Arc<Crash>) -> (Reason, HostError) {
        match self.meter.exhausted() {
            Some(which) => (Reason::Budget, HostError::BudgetExhausted { which }),
            None => (Reason::Trapped, HostError::Trapped { crash: Arc::clone(crash) }),
        }
    }

    /// Runs an operator's statements through the live session, while their client waits.
    pub fn operator_sql(&mut self, statements: &Statements) -> Answer<OperatorRows> {
        let gate = Gate::enter(&self.session);
        let begun = Instant::now();
        let limits = Arc::clone(&self.program.limits);
        self.meter.begin(&limits, begun + Duration::from_millis(limits.call_time_ms));
        let rows = statements.run(self.body.sqlite());
        let rows = self.finish().and(rows);
        let bill = self.bill(begun);
        Answer { outcome: rows.map_err(HostError::from), waiting: gate.leave(), bill }
    }

    fn bounded(&self, (values, size): (Vec<Val>, Size)) -> Result<Results, HostError> {
        Results::bounded(values, size, self.program.limits.reply_bytes_max, &self.memory)
    }

    fn bill(&self, begun: Instant) -> Bill {
        let mut bill = Bill { run_us: micros(begun.elapsed()), ..Bill::default() };
        bill.add_counters(&self.meter.counts());
        bill
    }
}
