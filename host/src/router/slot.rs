//! The task of one actor: it owns the actor's generations, one after the other.
//!
//! ```text
//!            request                      call, gate
//!  no generation ──> start ──> awake ─────────┐
//!        ^                      │ ^───────────┘
//!        │   ended, nothing     ├─ idle for sleep_after ──> orderly end
//!        │   queued: leave      ├─ control                ──> orderly end
//!        │                      ├─ session died           ──> fatal end
//!        └──────────────────────┴─ trap, budget           ──> crashed end
//! ```
//! Due work runs between calls (`alarms.rs`): one alarm, then one call, while there are both. So do
//! parcels of others (`mailbox.rs`), and work on what was sent (`outbox.rs`), whose parcels are under
//! way beside the calls.
//! An operator's statements for an actor that is asleep do not wake it (`actor::visit`). A
//! generation that is ended during a call begins its end immediately: its mailbox is closed, and
//! the call has the time that the ending leaves it (`actor::ending`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use stockade_depot::{ActorId, Cause, Fence, Reason, Txid};
use tokio::sync::mpsc;

use super::admission::Place;
use super::due::DueState;
use super::handle::SlotHandle;
use super::mailbox::Mailbox;
use super::outbox::Parcels;
use super::request::{Control, Ending, Reply, Request, Work};
use super::slots::Slots;
use crate::actor::answers::Answers;
use crate::actor::bill::micros;
use crate::actor::crash::CRASHED_ON_PURPOSE;
use crate::actor::ending::{self, Doing};
use crate::actor::exit::{Ended, Exit};
use crate::actor::floor::reached;
use crate::actor::generation::Generation;
use crate::actor::statements::Statements;
use crate::actor::trace::{EndStep, Trace};
use crate::error::{CallError, Crash, HostError, Retry, damage};
use crate::sqlite::OperatorRows;
use crate::supervision::ownership::{self, Purpose};

pub(super) struct Slot {
    pub(super) slots: Arc<Slots>,
    pub(super) actor: ActorId,
    pub(super) handle: Arc<SlotHandle>,
    queue: Mailbox,
    pub(super) endings: mpsc::Receiver<Control>,
    pub(super) live: Option<Live>,
    /// The actor's due work, as this slot knows it.
    pub(super) due: DueState,
    /// The newest fatal cause concerns every request that was queued when the cause became known.
    lost: Option<(Cause, Instant)>,
}

/// The generation that is awake.
pub(super) struct Live {
    pub(super) generation: Generation,
    pub(super) answers: Answers,
    pub(super) parcels: Parcels,
    /// Released when the end was reported.
    pub(super) awake: Place,
}

/// The event that woke the slot.
enum Event {
    Request(Box<Request>),
    Control(Control),
    Died(Cause),
    /// An alarm or a parked message of the generation that is awake is due.
    Due,
    /// There is something to do for what was sent.
    Post,
    Idle,
}

impl Slot {
    pub(super) fn new(
        slots: Arc<Slots>,
        actor: ActorId,
        handle: Arc<SlotHandle>,
        queue: Mailbox,
        endings: mpsc::Receiver<Control>,
    ) -> Self {
        Self {
            slots,
            actor,
            handle,
            queue,
            endings,
            live: None,
            due: DueState::default(),
            lost: None,
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            if self.live.is_none() && self.slots.leave(&self.actor, &self.queue, &self.endings) {
                // A later order to end finds the channel closed: there is no generation.
                self.endings.close();
                while let Ok(control) = self.endings.try_recv() {
                    control.refuse();
                }
                return;
            }
            match self.next().await {
                Event::Request(request) => self.serve(request).await,
                Event::Control(control) => self.control(control).await,
                Event::Died(cause) => self.fatal(&cause).await,
                Event::Due => self.run_alarm(false).await,
                Event::Post => self.post(),
                Event::Idle => drop(self.end(Ending::Sleep).await),
            }
        }
    }

    async fn next(&mut self) -> Event {
        let Some(live) = &mut self.live else {
            // `leave` refused, so a request is queued.
            return tokio::select! {
                biased;
                Some(control) = self.endings.recv() => Event::Control(control),
                request = self.queue.next() => Event::Request(request),
            };
        };
        live.answers.reap();
        if let Ok(control) = self.endings.try_recv() {
            return Event::Control(control);
        }
        let due = self.slots.shared().due.timer(self.due.at(), self.due.rests_until());
        if due.is_over() && self.due.takes_turn() {
            return Event::Due;
        }
        let clock = &self.slots.shared().ground.clock;
        let Live { generation, parcels, .. } = live;
        if parcels.take_turn(generation, self.due.has_sent(), clock.now_ms()) {
            return Event::Post;
        }
        if let Some(request) = self.queue.try_next() {
            return Event::Request(request);
        }
        self.handle.idles(Some(Instant::now()));
        let sleep_after = Duration::from_millis(generation.limits().sleep_after_ms);
        let is_sending = parcels.are_under_way();
        let event = tokio::select! {
            biased;
            Some(control) = self.endings.recv() => Event::Control(control),
            cause = generation.session().on_death() => Event::Died(cause),
            request = self.queue.next() => Event::Request(request),
            () = due.over() => Event::Due,
            () = parcels.news(clock) => Event::Post,
            () = tokio::time::sleep(sleep_after), if !is_sending => Event::Idle,
        };
        self.handle.idles(None);
        event
    }

    pub(super) async fn control(&mut self, control: Control) {
        match control {
            Control::End { ending, done } => {
                // To make room or to hand over, only an idle actor is ended; the actor may have got work since it
                // was chosen.
                let busy = ending.spares_the_busy() && !self.queue.is_empty();
                let exit = if busy { None } else { self.end(ending).await };
                drop(done.send(exit));
            }
            Control::Forgive { done } => drop(done.send(self.forgive().await)),
            Control::Crash { fence, done } => drop(done.send(self.crash(fence).await)),
        }
    }

    /// A fault on purpose, while no call runs. Other generations than `fence` are left alone.
    pub(super) async fn crash(&mut self, fence: Fence) -> Option<Exit> {
        self.live.as_ref().filter(|live| live.generation.fence() == fence)?;
        let Live { generation, answers, awake, .. } = self.take_live()?;
        let crash = Arc::new(Crash::of(CRASHED_ON_PURPOSE, Retry::Retry));
        let exit = ending::crashed(generation, answers, Reason::Trapped, crash).await;
        let exit = self.record(exit).await;
        drop(awake);
        Some(exit)
    }

    /// Forgets the actor's crashes: durably if the actor is not awake, else for the generation that
    /// is awake.
    async fn forgive(&mut self) -> Result<(), HostError> {
        match &self.live {
            Some(live) => {
                live.answers.prove();
                Ok(())
            }
            None => ownership::forgive(self.slots.shared(), &self.actor).await,
        }
    }

    async fn serve(&mut self, request: Box<Request>) {
        let Request { queued, txid_min, work } = *request;
        let Some(work) = work.begin() else { return };
        if let Some(cause) = self.live.as_ref().and_then(|live| live.generation.session().cause()) {
            self.fatal(&cause).await;
        }
        // A request that came after the loss was known is served by the next generation.
        if let Some((cause, since)) = &self.lost
            && queued <= *since
        {
            return work.refuse(HostError::from(cause));
        }
        if self.live.is_none()
            && let Some(refusal) = self.slots.refusal()
        {
            return work.refuse(refusal);
        }
        let mut is_first = false;
        loop {
            // An operator's statements do not wake the actor.
            let wakes = match &work {
                Work::Call { program, .. } => Some((program, Purpose::Life { txid_min })),
                Work::Due { program, db, .. } => Some((program, Purpose::Due { db: *db })),
                Work::Parcel { program, parcel, .. } => Some((
                    program,
                    match parcel.asks.to() {
                        Some(db) => Purpose::Due { db },
                        None => Purpose::Life { txid_min },
                    },
                )),
                Work::Sql { .. } => None,
            };
            if let Some((program, purpose)) = wakes {
                match self.awaken(program, purpose, work.chain()).await {
                    Ok(began) => is_first |= began,
                    Err(error) => return work.refuse(error),
                }
            }
            // An order to end that came during the start does not wait for the call as well.
            let Ok(control) = self.endings.try_recv() else { break };
            self.control(control).await;
            if let Some(refusal) = self.slots.refusal() {
                return work.refuse(refusal);
            }
        }
        // The start has taken all the time that its caller had.
        if work.is_late() {
            return work.refuse(HostError::DeadlinePassed);
        }
        if let Some(live) = &self.live
            && let Err(error) = reached(live.generation.session(), &self.actor, txid_min).await
        {
            return work.refuse(error);
        }
        match work {
            Work::Call { method, values, program, wanted, by, identified, reply } => {
                match self.checked(method, values, &program, &wanted) {
                    Ok((method, values)) => {
                        let queue_us = micros(queued.elapsed());
                        self.call((method, values), is_first, queue_us, by, identified, reply)
                            .await;
                    }
                    Err(error) => reply.send(Err(error.into())),
                }
            }
            Work::Due { db, reply, .. } => self.run_due(db, is_first, reply).await,
            Work::Parcel { parcel, reply, .. } => self.receive(parcel, is_first, reply).await,
            Work::Sql { statements, reply } => {
                let queue_us = micros(queued.elapsed());
                let Some(live) = &mut self.live else {
                    return self.visit(&statements, txid_min, queued, reply).await;
                };
                self.handle.runs(Some(live.generation.meter().clone()));
                let answer = live.generation.operator_sql(&statements);
                if statements.order_messages() {
                    live.parcels.end_pauses(self.slots.shared().ground.clock.now_ms());
                }
                self.due.follow(&mut live.generation);
                self.handle.runs(None);
                live.answers.release(queue_us, answer, |rows| rows, reply);
            }
        }
    }

    /// Runs an operator's statements on the database of an actor that is asleep and stays so.
    async fn visit(
        &mut self,
        statements: &Statements,
        txid_min: Txid,
        queued: Instant,
        reply: Reply<OperatorRows>,
    ) {
        let (visit, awake) = match self.open_visit().await {
            Ok(opened) => opened,
            Err(error) => return reply.send(Err(error.into())),
        };
        if let Err(error) = reached(visit.session(), &self.actor, txid_min).await {
            if let Some(ended) = visit.leave().end().await {
                self.record(ended).await;
            }
            drop(awake);
            return reply.send(Err(error.into()));
        }
        let queue_us = micros(queued.elapsed());
        self.handle.is_visited(visit.meter().clone(), visit.grip().clone());
        let (found, answer) = visit.run(statements);
        self.handle.runs(None);
        let heard = answer.heard(found.fence().generation, queue_us, |rows| rows).await;
        if let Err(CallError { cause: HostError::Corrupt { what, .. }, .. }) = &heard {
            self.slots.shared().damaged.note(&self.actor, what);
        }
        if let Some(ended) = found.end().await {
            self.record(ended).await;
        }
        drop(awake);
        reply.send(heard);
    }

    /// Works on what the actor has sent.
    pub(super) fn post(&mut self) {
        let Some(Live { generation, parcels, .. }) = &mut self.live else { return };
        parcels.post(generation, &mut self.due, self.slots.shared());
    }

    /// The orderly end of a generation that runs no call.
    pub(super) async fn end(&mut self, ending: Ending) -> Option<Exit> {
        let Live { generation, answers, awake, .. } = self.take_live()?;
        let doing = Doing::Nothing(generation);
        let ended = ending::orderly(doing, answers, ending.reason(), ending.grace()).await;
        let exit = self.record(ended).await;
        drop(awake);
        Some(exit)
    }

    /// The session died. Every caller that waits for an answer gets the cause, and so does every
    /// request that was queued when the cause became known (see `serve`).
    pub(super) async fn fatal(&mut self, cause: &Cause) {
        let Some(Live { generation, answers, awake, .. }) = self.take_live() else { return };
        let since = generation.session().dead_since().unwrap_or_else(Instant::now);
        self.lost = Some((cause.clone(), since));
        self.note_damage(Some(cause));
        let exit = ending::fatal(generation, answers, cause).await;
        self.record(exit).await;
        drop(awake);
    }

    /// The next generation would meet the damage as well.
    pub(super) fn note_damage(&self, cause: Option<&Cause>) {
        if let Some(what) = cause.and_then(damage) {
            self.slots.shared().damaged.note(&self.actor, what);
        }
    }

    fn take_live(&mut self) -> Option<Live> {
        self.handle.hide();
        self.live.take()
    }

    /// Reports an exit: to operators, and to the crash policy if it was a crash.
    pub(super) async fn record(&mut self, ended: impl Into<Ended>) -> Exit {
        self.record_as(ended, true).await
    }

    /// The same. `counts`: whether a crash counts for the policy.
    pub(super) async fn record_as(&mut self, ended: impl Into<Ended>, counts: bool) -> Exit {
        let shared = Arc::clone(self.slots.shared());
        let Ended { exit, left } = ended.into();
        exit.log(&self.actor);
        if let Some(left) = left {
            shared.reservations.keep(left);
        }
        shared.exits.record(&self.actor, exit.clone());
        self.leave_due(exit.reason);
        if counts && matches!(exit.reason, Reason::Trapped | Reason::Budget) {
            shared.crashes.note(&self.actor, exit.db, exit.generation, exit.proven);
            ownership::write_open_breaker(&shared, &self.actor).await;
        }
        let observer = shared.observer.clone();
        Trace::new(observer, &self.actor, exit.generation).step(EndStep::Reported);
        exit
    }
}

impl Drop for Slot {
    /// Only a task that was ended by force, or panicked, still has requests queued: they were not
    /// begun.
    fn drop(&mut self) {
        self.queue.close();
        while let Some(request) = self.queue.try_next() {
            let stopping = HostError::Stopping(Reason::Trapped);
            request.work.refuse(self.slots.refusal().unwrap_or(stopping));
        }
    }
}
