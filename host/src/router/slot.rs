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
//! An operator's statements for an actor that is asleep do not wake it (`actor::visit`).
//! A generation that is ended during a call begins its end at once: its mailbox is closed, and the
//! call has what time the ending leaves it (`actor::ending`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use stockade_depot::{ActorId, Cause, Reason, Session, StoreError, StoreFailure};
use stockade_vfs::memory::Share;
use tokio::sync::mpsc;

use super::awake::Place;
use super::ownership::{Beginning, Purpose};
use super::request::{Control, Ending, Reply, Request, Work};
use super::{Router, ownership};
use crate::actor::answer::Called;
use crate::actor::answers::{Answers, Pending};
use crate::actor::bill::micros;
use crate::actor::call::CallEnd;
use crate::actor::ending::{self, Doing};
use crate::actor::crash::CRASHED_ON_PURPOSE;
use crate::actor::exit::{Ended, Exit, SnapshotOutcome};
use crate::actor::gate::Gate;
use crate::actor::generation::{Generation, Program, StartedFrom};
use crate::actor::start::start;
use crate::actor::statements::Statements;
use crate::actor::trace::{EndStep, Trace};
use crate::actor::visit::Visit;
use crate::capability::StartReason;
use crate::error::{CallError, Crash, HostError, Retry, damage};
use crate::grip::Grip;
use crate::sqlite::{Meter, OperatorRows};
use crate::typed::{Arguments, Method};
use wasmtime::component::Val;

/// How others reach a slot.
pub struct SlotHandle {
    /// Boxed: the queue of an awake actor has room for 32 from the first one on.
    pub(super) requests: mpsc::Sender<Box<Request>>,
    pub(super) control: mpsc::Sender<Control>,
    view: Mutex<View>,
}

/// What others may know of a slot.
#[derive(Default)]
struct View {
    live: Option<LiveView>,
    /// Of the newest generation, while it ends as well.
    grips: Option<[Grip; 2]>,
    /// From before it starts until its end begins.
    session: Option<Session>,
    /// Of what runs now: a call, or an operator's statements.
    running: Option<Meter>,
    idle_since: Option<Instant>,
    /// What it holds of the memory of all guests.
    memory: Option<Arc<Share>>,
}

/// What others may know of a generation.
#[derive(Clone, Copy)]
pub struct LiveView {
    /// Which one.
    pub fence: stockade_depot::Fence,
    /// The snapshot it was started from.
    pub started_from: Option<StartedFrom>,
}

impl SlotHandle {
    pub(super) fn new(
        requests: mpsc::Sender<Box<Request>>,
        control: mpsc::Sender<Control>,
    ) -> Self {
        Self { requests, control, view: Mutex::default() }
    }

    /// The generation that is awake here.
    #[must_use]
    pub fn live(&self) -> Option<LiveView> {
        self.view.lock().live
    }

    /// Its fence.
    #[must_use]
    pub fn fence(&self) -> Option<stockade_depot::Fence> {
        self.view.lock().live.as_ref().map(|live| live.fence)
    }

    /// Since when the generation that is awake here has had nothing to do.
    #[must_use]
    pub fn idle_since(&self) -> Option<Instant> {
        self.view.lock().idle_since
    }

    /// Bytes of memory that it holds, if it is idle.
    pub(super) fn idle_bytes(&self) -> Option<u64> {
        let view = self.view.lock();
        view.idle_since.and(view.memory.as_ref()).map(|share| share.held())
    }

    /// It was chosen to make room: it is not offered again until it has worked and is idle anew.
    pub(super) fn choose(&self) {
        self.view.lock().idle_since = None;
    }

    /// Shortens what runs now, if anything does.
    pub(super) fn hurry(&self, grace: Option<Duration>) {
        if let (Some(grace), Some(meter)) = (grace, &self.view.lock().running) {
            meter.shorten(Instant::now() + grace);
        }
    }

    /// Kills the handles of the generation that is awake or ends here, whatever it does.
    pub(super) fn revoke(&self, reason: Reason) {
        for grip in self.view.lock().grips.iter().flatten() {
            grip.revoke(reason);
        }
    }

    /// Ends the generation that starts, is awake or ends here fatally, whatever it does.
    pub(super) fn fail(&self, failure: &StoreFailure) {
        if let Some(session) = &self.view.lock().session {
            session.fail(failure.clone());
        }
    }

    /// Its generation has come to its end: it is not awake any more.
    fn hide(&self) {
        let mut view = self.view.lock();
        (view.live, view.idle_since, view.session, view.memory) = (None, None, None, None);
    }
}

pub(super) struct Slot {
    router: Router,
    actor: ActorId,
    handle: Arc<SlotHandle>,
    queue: mpsc::Receiver<Box<Request>>,
    endings: mpsc::Receiver<Control>,
    live: Option<Live>,
    /// Whom the newest fatal end concerns as well: whoever was queued when its cause became known.
    lost: Option<(Cause, Instant)>,
}

struct Live {
    generation: Generation,
    answers: Answers,
    /// Given back when the end was reported.
    awake: Place,
}

/// What woke the slot.
enum Event {
    Request(Box<Request>),
    Control(Control),
    Died(Cause),
    Idle,
}

impl Slot {
    pub(super) fn new(
        router: Router,
        actor: ActorId,
        handle: Arc<SlotHandle>,
        queue: mpsc::Receiver<Box<Request>>,
        endings: mpsc::Receiver<Control>,
    ) -> Self {
        Self { router, actor, handle, queue, endings, live: None, lost: None }
    }

    pub(super) async fn run(mut self) {
        loop {
            if self.live.is_none() && self.router.leave(&self.actor, &self.queue, &self.endings) {
                // Whoever asks for an end after this finds the channel closed: it had none.
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
                Event::Idle => drop(self.end(Ending::Sleep).await),
            }
        }
    }

    async fn next(&mut self) -> Event {
        let Some(live) = &mut self.live else {
            // `leave` refused, so something is queued.
            return tokio::select! {
                biased;
                Some(control) = self.endings.recv() => Event::Control(control),
                Some(request) = self.queue.recv() => Event::Request(request),
                else => std::future::pending().await,
            };
        };
        live.answers.reap();
        if let Ok(control) = self.endings.try_recv() {
            return Event::Control(control);
        }
        if let Ok(request) = self.queue.try_recv() {
            return Event::Request(request);
        }
        self.handle.view.lock().idle_since = Some(Instant::now());
        let sleep_after = Duration::from_millis(live.generation.limits().sleep_after_ms);
        let event = tokio::select! {
            biased;
            Some(control) = self.endings.recv() => Event::Control(control),
            cause = live.generation.session().on_death() => Event::Died(cause),
            Some(request) = self.queue.recv() => Event::Request(request),
            () = tokio::time::sleep(sleep_after) => Event::Idle,
        };
        self.handle.view.lock().idle_since = None;
        event
    }

    async fn control(&mut self, control: Control) {
        match control {
            Control::End { ending, done } => {
                // To make room, only an idle actor is ended; it may have got work since it was
                // chosen.
                let busy = ending == Ending::Sleep && !self.queue.is_empty();
                let exit = if busy { None } else { self.end(ending).await };
                drop(done.send(exit));
            }
            Control::Forgive { done } => drop(done.send(self.forgive().await)),
            Control::Crash { fence, done } => drop(done.send(self.crash(fence).await)),
        }
    }

    /// A fault on purpose, while no call runs. A life that has ended meanwhile is not the next one.
    async fn crash(&mut self, fence: stockade_depot::Fence) -> Option<Exit> {
        self.live.as_ref().filter(|live| live.generation.fence() == fence)?;
        let Live { generation, answers, awake } = self.take_live()?;
        let crash = Arc::new(Crash::of(CRASHED_ON_PURPOSE, Retry::Retry));
        let exit = ending::crashed(generation, answers, Reason::Trapped, crash).await;
        let exit = self.record(exit).await;
        drop(awake);
        Some(exit)
    }

    /// Forgets the actor's crashes: durably if it is not awake, else for what is awake.
    async fn forgive(&mut self) -> Result<(), HostError> {
        match &self.live {
            Some(live) => {
                live.answers.prove();
                Ok(())
            }
            None => ownership::forgive(self.router.shared(), &self.actor).await,
        }
    }

    async fn serve(&mut self, request: Box<Request>) {
        let Request { queued, work, .. } = *request;
        if let Some(cause) = self.live.as_ref().and_then(|live| live.generation.session().cause()) {
            self.fatal(&cause).await;
        }
        // Who asks after the loss was known is served by the next generation.
        if let Some((cause, since)) = &self.lost
            && queued <= *since
        {
            return work.refuse(HostError::from(cause));
        }
        if self.live.is_none()
            && let Some(refusal) = self.router.refusal()
        {
            return work.refuse(refusal);
        }
        let mut is_first = false;
        loop {
            // An operator's statements wake nobody.
            if let Work::Call { program, .. } = &work {
                match self.awaken(program).await {
                    Ok(began) => is_first |= began,
                    Err(error) => return work.refuse(error),
                }
            }
            // An ending that came while it started does not wait for the call as well.
            let Ok(control) = self.endings.try_recv() else { break };
            self.control(control).await;
            if let Some(refusal) = self.router.refusal() {
                return work.refuse(refusal);
            }
        }
        match work {
            Work::Call { method, values, program, original, reply } => {
                match self.checked(method, values, &program, original) {
                    Ok((method, values)) => {
                        let queue_us = micros(queued.elapsed());
                        self.call(method, values, is_first, queue_us, reply).await;
                    }
                    Err(error) => reply.send(Err(error.into())),
                }
            }
            Work::Sql { statements, reply } => {
                let queue_us = micros(queued.elapsed());
                let Some(live) = &mut self.live else {
                    return self.visit(&statements, queued, reply).await;
                };
                self.handle.view.lock().running = Some(live.generation.meter().clone());
                let answer = live.generation.operator_sql(&statements);
                self.handle.view.lock().running = None;
                live.answers.release(queue_us, answer, |rows| rows, reply);
            }
        }
    }

    /// Runs an operator's statements on the database of an actor that is asleep, which stays so.
    async fn visit(
        &mut self,
        statements: &Statements,
        queued: Instant,
        reply: Reply<OperatorRows>,
    ) {
        let (visit, awake) = match self.open_visit().await {
            Ok(opened) => opened,
            Err(error) => return reply.send(Err(error.into())),
        };
        let queue_us = micros(queued.elapsed());
        {
            let mut view = self.handle.view.lock();
            view.running = Some(visit.meter().clone());
            view.grips = Some([visit.grip().clone(), Grip::default()]);
        }
        let (found, answer) = visit.run(statements);
        self.handle.view.lock().running = None;
        let heard = answer.heard(found.fence().generation, queue_us, |rows| rows).await;
        if let Err(CallError { cause: HostError::Corrupt { what, .. }, .. }) = &heard {
            self.router.shared().damaged.note(&self.actor, what);
        }
        if let Some(ended) = found.end().await {
            self.record(ended).await;
        }
        drop(awake);
        reply.send(heard);
    }

    async fn open_visit(&mut self) -> Result<(Visit, Place), HostError> {
        let shared = Arc::clone(self.router.shared());
        let program = shared.kinds.current(self.actor.kind()).await?;
        let awake = shared.awake.admit(&self.router).await?;
        let memory = awake.memory().clone();
        match ownership::begin(&shared, &self.actor, program, Purpose::Visit, memory).await? {
            Beginning::Won(origin) => Ok((Visit::open(*origin)?, awake)),
            Beginning::NotBefore(_) => unreachable!("BUG: a visit waits for no crash"),
        }
    }

    /// Makes sure that a generation of the deployed component is awake. Returns whether it began
    /// one.
    async fn awaken(&mut self, wanted: &Arc<Program>) -> Result<bool, HostError> {
        let shared = Arc::clone(self.router.shared());
        if let Some(live) = &self.live {
            let running = live.generation.component().digest();
            if wanted.component.digest() == running {
                return Ok(false);
            }
            if shared.kinds.current(self.actor.kind()).await?.component.digest() == running {
                return Ok(false);
            }
            self.end(Ending::Upgrade).await;
        }
        let (origin, awake) = loop {
            let program = shared.kinds.current(self.actor.kind()).await?;
            let awake = shared.awake.admit(&self.router).await?;
            let memory = awake.memory().clone();
            let begun = ownership::begin(&shared, &self.actor, program, Purpose::Life, memory);
            let at = match begun.await? {
                Beginning::Won(origin) => break (*origin, awake),
                Beginning::NotBefore(at) => at,
            };
            // Its place is for others meanwhile.
            drop(awake);
            self.pause(at).await?;
        };
        let (fence, session) = (origin.session.fence(), origin.session.clone());
        let is_created = origin.start_reason == StartReason::Created;
        self.handle.view.lock().session = Some(session.clone());
        if let Some(HostError::Store(StoreError::Failed(failure))) = self.router.refusal() {
            // It was won while the host was ending, which has not seen it.
            session.fail(failure);
        }
        match start(origin).await {
            Ok(generation) => {
                let mut view = self.handle.view.lock();
                view.live = Some(LiveView { fence, started_from: generation.started_from() });
                view.grips = Some(generation.grips());
                view.memory = Some(Arc::clone(&awake.memory().share));
                drop(view);
                let answers = Answers::new(fence.generation);
                self.live = Some(Live { generation, answers, awake });
                Ok(true)
            }
            Err(failed) => {
                let error = ending::not_started(failed).await;
                self.note_damage(session.cause().as_ref());
                self.handle.hide();
                let reason = session.cause().map_or(Reason::Storage, |cause| cause.reason());
                // Of a store that has failed nothing more is asked.
                let is_clear =
                    matches!(error, HostError::StartFailed { .. } | HostError::StoreFull { .. });
                let is_gone = is_created
                    && is_clear
                    && ownership::take_back(&shared, &self.actor, fence).await;
                self.record(Exit {
                    db: fence.db,
                    generation: fence.generation,
                    reason,
                    snapshot: SnapshotOutcome::None,
                    sealed: false,
                    proven: false,
                    message: Some(error.to_string()),
                    crash: error.crash().cloned(),
                })
                .await;
                if is_gone {
                    shared.crashes.forget(&self.actor);
                }
                Err(error)
            }
        }
    }

    /// Waits until a crashed actor may start again. What is asked of the slot meanwhile is done,
    /// and may end the wait: a reset, or the host's shutdown.
    async fn pause(&mut self, until: Instant) -> Result<(), HostError> {
        tokio::select! {
            () = tokio::time::sleep_until(until.into()) => Ok(()),
            Some(control) = self.endings.recv() => {
                self.control(control).await;
                self.router.refusal().map_or(Ok(()), Err)
            }
        }
    }

    /// The call's method and arguments for the component that runs now. It may be newer than the
    /// one they were checked against.
    fn checked(
        &self,
        method: Arc<Method>,
        values: Vec<Val>,
        program: &Arc<Program>,
        (name, arguments): (String, Arc<Arguments>),
    ) -> Result<(Arc<Method>, Vec<Val>), HostError> {
        let Some(live) = &self.live else { return Ok((method, values)) };
        let component = live.generation.component();
        if component.digest() == program.component.digest() {
            return Ok((method, values));
        }
        let method = Arc::clone(live.generation.methods().find(&name)?);
        let values = method.arguments(&arguments)?;
        Ok((method, values))
    }

    async fn call(
        &mut self,
        method: Arc<Method>,
        values: Vec<Val>,
        is_first: bool,
        queue_us: u64,
        reply: Reply<Called>,
    ) {
        let Some(live) = self.live.take() else { return };
        let Live { generation, mut answers, awake } = live;
        let (meter, trace) = (generation.meter().clone(), generation.trace().clone());
        let pending = Pending { queue_us, method: Arc::clone(&method), reply, trace };
        self.handle.view.lock().running = Some(meter.clone());
        let mut crash = None;
        let fence = generation.fence();
        let session = generation.session();
        let gate = if is_first { Gate::enter_first(session) } else { Gate::enter(session) };
        let mut running = generation.calling(method, values, gate);
        let (generation, end) = loop {
            let control = tokio::select! {
                biased;
                // SQL keeps its thread until it is interrupted: the order that has cut it short may
                // not have been heard yet, and it is what ends the call.
                done = &mut running => match self.cut_short_by(&meter) {
                    Some(control) => {
                        running = Box::pin(std::future::ready(done));
                        control
                    }
                    None => break done,
                },
                Some(control) = self.endings.recv() => control,
            };
            match control {
                // It is not idle.
                Control::End { ending: Ending::Sleep, done } => drop(done.send(None)),
                Control::Forgive { done } => {
                    answers.prove();
                    drop(done.send(Ok(())));
                }
                // Its guest stops at the next tick, as by a trap. The first to ask is answered.
                Control::Crash { fence: of, done } if of == fence && crash.is_none() => {
                    self.handle.revoke(Reason::Trapped);
                    crash = Some(done);
                }
                Control::Crash { done, .. } => drop(done.send(None)),
                Control::End { ending, done } => {
                    self.handle.hide();
                    let doing = Doing::Call { running, meter, pending };
                    let (reason, grace) = (ending.reason(), ending.grace());
                    let ended = ending::orderly(doing, answers, reason, grace).await;
                    self.handle.view.lock().running = None;
                    let exit = self.record(ended).await;
                    drop(awake);
                    drop(crash.map(|crash| crash.send(Some(exit.clone()))));
                    drop(done.send(Some(exit)));
                    return;
                }
            }
        };
        self.handle.view.lock().running = None;
        match end {
            CallEnd::Answered(answer) => {
                answers.call(pending, answer);
                let max = generation.limits().mailbox_calls_max;
                let live = self.live.insert(Live { generation, answers, awake });
                live.answers.bounded(max).await;
                if let Some(done) = crash {
                    // It was answered before the guest could be stopped.
                    drop(done.send(self.crash(fence).await));
                }
            }
            CallEnd::Crashed { answer, reason, crash: how } => {
                self.handle.hide();
                let life = generation.fence().generation;
                let exit = ending::crashed(generation, answers, reason, how).await;
                // It passes the gate before anything takes the actor over, and is told after the
                // crash was counted: whoever hears of it sees it.
                let Pending { queue_us, method, reply, .. } = pending;
                let shape = |results| Called { method, results };
                let heard = answer.heard(life, queue_us, shape).await;
                let exit = self.record(exit).await;
                drop(awake);
                drop(crash.map(|crash| crash.send(Some(exit))));
                reply.send(heard);
            }
            CallEnd::Fatal(waiting) => {
                let cause = generation.session().cause();
                let cause = cause.expect("BUG: a dead session has a cause");
                answers.lost(cause.clone(), waiting, pending.reply);
                self.live = Some(Live { generation, answers, awake });
                self.fatal(&cause).await;
            }
        }
    }

    /// The next order, if one has brought the deadline of the call forward that has just ended: it
    /// was sent before that.
    fn cut_short_by(&mut self, meter: &Meter) -> Option<Control> {
        meter.was_cut_short().then(|| self.endings.try_recv().ok()).flatten()
    }

    /// The orderly end of a generation that runs no call.
    async fn end(&mut self, ending: Ending) -> Option<Exit> {
        let Live { generation, answers, awake } = self.take_live()?;
        let doing = Doing::Nothing(generation);
        let ended = ending::orderly(doing, answers, ending.reason(), ending.grace()).await;
        let exit = self.record(ended).await;
        drop(awake);
        Some(exit)
    }

    /// The session died. Whoever waits for an answer is told the cause, and so is whoever was
    /// queued when it became known (see `serve`).
    async fn fatal(&mut self, cause: &Cause) {
        let Some(Live { generation, answers, awake }) = self.take_live() else { return };
        let since = generation.session().dead_since().unwrap_or_else(Instant::now);
        self.lost = Some((cause.clone(), since));
        self.note_damage(Some(cause));
        let exit = ending::fatal(generation, answers, cause).await;
        self.record(exit).await;
        drop(awake);
    }

    /// The next life would meet it as well.
    fn note_damage(&self, cause: Option<&Cause>) {
        if let Some(what) = cause.and_then(damage) {
            self.router.shared().damaged.note(&self.actor, what);
        }
    }

    fn take_live(&mut self) -> Option<Live> {
        self.handle.hide();
        self.live.take()
    }

    /// Makes an exit known: to operators, and to the crash policy if it was one.
    async fn record(&mut self, ended: impl Into<Ended>) -> Exit {
        let shared = Arc::clone(self.router.shared());
        let Ended { exit, left } = ended.into();
        exit.log(&self.actor);
        if let Some(left) = left {
            shared.reservations.keep(left);
        }
        shared.exits.record(&self.actor, exit.clone());
        if matches!(exit.reason, Reason::Trapped | Reason::Budget) {
            shared.crashes.note(&self.actor, exit.db, exit.generation, exit.proven);
            ownership::write_open_breaker(&shared, &self.actor).await;
        }
        let observer = shared.observer.clone();
        Trace::new(observer, &self.actor, exit.generation).step(EndStep::Reported);
        exit
    }
}

impl Drop for Slot {
    /// Only a task that was ended by force, or panicked, still has something queued: it was not
    /// begun.
    fn drop(&mut self) {
        self.queue.close();
        while let Ok(request) = self.queue.try_recv() {
            let stopping = HostError::Stopping(Reason::Trapped);
            request.work.refuse(self.router.refusal().unwrap_or(stopping));
        }
    }
}
