//! A call, from its gate to its end: orders that reach the slot during the call are carried out
//! or refused, and an end of the generation ends the call as well.

use std::sync::Arc;

use stockade_depot::{Fence, Reason};
use tokio::sync::oneshot;
use wasmtime::component::Val;

use super::request::{ByActor, Control, Ending, Identified, Reply};
use super::slot::{Live, Slot};
use crate::actor::answer::Called;
use crate::actor::answers::{Answers, Pending, ReplyTo};
use crate::actor::call::{CallEnd, Running};
use crate::actor::ending::{self, Doing};
use crate::actor::exit::Exit;
use crate::actor::generation::Generation;
use crate::calls::Working;
use crate::sqlite::Meter;
use crate::typed::Method;
use crate::yielding;
use stockade_depot::gate::Gate;

/// Receives the exit of a generation that was asked to end.
type Done = oneshot::Sender<Option<Exit>>;

impl Slot {
    /// Runs a call of the generation that is awake. `is_first`: the generation was begun for this
    /// call.
    pub(super) async fn call(
        &mut self,
        (method, values): (Arc<Method>, Vec<Val>),
        is_first: bool,
        queue_us: u64,
        by: Option<ByActor>,
        identified: Option<Identified>,
        reply: Reply<Called>,
    ) {
        let to = ReplyTo::Caller { method: Arc::clone(&method), reply };
        let heavy = self.slots.shared().ground.heavy.clone();
        let begin = |generation: Generation, gate| {
            let is_heavy = generation.is_heavy_with(&values);
            let (by, working) = by.map(|by| (by.runs, by.working)).unzip();
            let running = generation.calling_with(method, values, gate, by, is_heavy, identified);
            let running = match heavy {
                Some(on) if is_heavy => Box::pin(yielding::run(on, running)) as Running,
                _ => running,
            };
            match working {
                Some(working) => until_ended(running, working),
                None => running,
            }
        };
        self.carry_out((queue_us, to), is_first, begin).await;
    }

    /// Runs work of the generation that is awake: a call, or due work.
    pub(super) async fn carry_out(
        &mut self,
        (queue_us, to): (u64, ReplyTo),
        is_first: bool,
        begin: impl FnOnce(Generation, Gate) -> Running,
    ) {
        let Some(live) = self.live.take() else { return };
        let Live { generation, mut answers, parcels, awake } = live;
        let (meter, trace) = (generation.meter().clone(), generation.trace().clone());
        let pending = Pending { queue_us, to, trace };
        self.handle.runs(Some(meter.clone()));
        let fence = generation.fence();
        let session = generation.session();
        let gate = if is_first { Gate::enter_first(session) } else { Gate::enter(session) };
        let mut running = begin(generation, gate);
        // Requesters of a crash during the call.
        let mut crash = None;
        let (mut generation, end) = loop {
            let control = tokio::select! {
                biased;
                // SQL keeps its thread until it is interrupted: the order that cut the call short
                // may not have arrived yet, and that order is what ends the call.
                done = &mut running => match self.cut_short_by(&meter) {
                    Some(control) => {
                        running = Box::pin(std::future::ready(done));
                        control
                    }
                    None => break done,
                },
                Some(control) = self.endings.recv() => control,
            };
            let Some((ending, done)) = self.order(control, &answers, fence, &mut crash) else {
                continue;
            };
            self.handle.hide();
            drop(parcels);
            let doing = Doing::Call { running, meter, pending };
            let (reason, grace) = (ending.reason(), ending.grace());
            let ended = ending::orderly(doing, answers, reason, grace).await;
            self.handle.runs(None);
            let exit = self.record(ended).await;
            drop(awake);
            drop(crash.map(|crash| crash.send(Some(exit.clone()))));
            drop(done.send(Some(exit)));
            return;
        };
        self.handle.runs(None);
        self.note_alarms(&mut generation, &end);
        match end {
            CallEnd::Answered(answer) => {
                answers.call(pending, answer);
                let max = generation.limits().mailbox_calls_max;
                let live = self.live.insert(Live { generation, answers, parcels, awake });
                live.answers.bounded(max).await;
                if let Some(done) = crash {
                    // The call was answered before the guest could be stopped.
                    drop(done.send(self.crash(fence).await));
                }
            }
            CallEnd::Crashed { answer, reason, crash: how, counts } => {
                self.handle.hide();
                let exit = ending::crashed(generation, answers, reason, how).await;
                // The answer passes the gate before the actor is taken over, and is sent after the
                // crash was counted: a caller that has the answer sees the crash.
                let Pending { queue_us, to, .. } = pending;
                let answer = to.heard(answer, fence.generation, queue_us).await;
                let exit = self.record_as(exit, counts).await;
                drop(awake);
                drop(crash.map(|crash| crash.send(Some(exit))));
                answer();
            }
            CallEnd::Fatal(waiting) => {
                let cause = generation.session().cause();
                let cause = cause.expect("BUG: a dead session has a cause");
                answers.lost(cause.clone(), waiting, pending);
                self.live = Some(Live { generation, answers, parcels, awake });
                self.fatal(&cause).await;
            }
        }
    }

    /// Handles an order while a call runs. An order to end is returned: the call ends with it.
    fn order(
        &self,
        control: Control,
        answers: &Answers,
        fence: Fence,
        crash: &mut Option<Done>,
    ) -> Option<(Ending, Done)> {
        match control {
            // The actor is not idle.
            Control::End { ending, done } if ending.spares_the_busy() => drop(done.send(None)),
            Control::End { ending, done } => return Some((ending, done)),
            Control::Forgive { done } => {
                answers.prove();
                drop(done.send(Ok(())));
            }
            // The guest stops at the next tick, as by a trap. The first requester is answered.
            Control::Crash { fence: of, done } if of == fence && crash.is_none() => {
                self.handle.revoke(Reason::Trapped);
                *crash = Some(done);
            }
            Control::Crash { done, .. } => drop(done.send(None)),
        }
        None
    }

    /// The next order, if an order has brought forward the deadline of the call that has just
    /// ended: it was sent before that.
    fn cut_short_by(&mut self, meter: &Meter) -> Option<Control> {
        meter.was_cut_short().then(|| self.endings.try_recv().ok()).flatten()
    }
}

/// A call that an actor has made: it has ended when it is worked on no longer. Its answer may wait for the
/// gate and be on its way for long after that.
fn until_ended(running: Running, working: Working) -> Running {
    Box::pin(async move {
        let ended = running.await;
        drop(working);
        ended
    })
}
