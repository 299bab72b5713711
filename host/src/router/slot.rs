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
//! Answers wait in front of the gate in tasks of their own, so the next call can run meanwhile;
//! the tasks belong to the slot and are joined before a generation's end is reported.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use stockade_depot::{ActorId, Cause, Reason};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::task::JoinSet;

use super::request::{Called, Control, Ending, Heard, Request, Work};
use super::{Router, ownership};
use crate::actor::bill::micros;
use crate::actor::call::{Answer, CallEnd};
use crate::actor::cause::{error_of, with_verdict};
use crate::actor::ending;
use crate::actor::exit::{Exit, SnapshotOutcome};
use crate::actor::gate::Waiting;
use crate::actor::generation::{CRASHED_ON_PURPOSE, Generation, Program};
use crate::error::HostError;
use crate::grip::Grip;
use crate::sqlite::Meter;
use crate::typed::{Arguments, Method};
use wasmtime::component::Val;

/// How others reach a slot.
pub struct SlotHandle {
    pub(super) requests: mpsc::Sender<Request>,
    pub(super) control: mpsc::Sender<Control>,
    view: Mutex<View>,
}

/// What others may know of a slot.
#[derive(Default)]
struct View {
    meter: Option<Meter>,
    fence: Option<stockade_depot::Fence>,
    idle_since: Option<Instant>,
    grips: Option<[Grip; 2]>,
}

impl SlotHandle {
    pub(super) fn new(requests: mpsc::Sender<Request>, control: mpsc::Sender<Control>) -> Self {
        Self { requests, control, view: Mutex::default() }
    }

    /// The generation that is awake here.
    #[must_use]
    pub fn fence(&self) -> Option<stockade_depot::Fence> {
        self.view.lock().fence
    }

    /// Stops the guest of this life as a trap would.
    pub(super) fn crash(&self, fence: stockade_depot::Fence) {
        let view = self.view.lock();
        if view.fence == Some(fence) {
            for grip in view.grips.iter().flatten() {
                grip.revoke(Reason::Trapped);
            }
        }
    }

    pub(super) fn idle_since(&self) -> Option<Instant> {
        self.view.lock().idle_since
    }

    /// It was chosen to make room: it is not offered again until it has worked and is idle anew.
    pub(super) fn choose(&self) {
        self.view.lock().idle_since = None;
    }

    /// Shortens the call in progress, if any.
    pub(super) fn hurry(&self, grace: Option<Duration>) {
        if let (Some(grace), Some(meter)) = (grace, &self.view.lock().meter) {
            meter.shorten(Instant::now() + grace);
        }
    }
}

pub(super) struct Slot {
    router: Router,
    actor: ActorId,
    handle: Arc<SlotHandle>,
    queue: mpsc::Receiver<Request>,
    endings: mpsc::Receiver<Control>,
    live: Option<Live>,
}

struct Live {
    generation: Generation,
    /// Answers in front of the gate.
    gated: JoinSet<()>,
    _awake: OwnedSemaphorePermit,
}

/// What woke the slot.
enum Event {
    Request(Request),
    Control(Control),
    Died(Cause),
    Idle,
}

impl Slot {
    pub(super) fn new(
        router: Router,
        actor: ActorId,
        handle: Arc<SlotHandle>,
        queue: mpsc::Receiver<Request>,
        endings: mpsc::Receiver<Control>,
    ) -> Self {
        Self { router, actor, handle, queue, endings, live: None }
    }

    pub(super) async fn run(mut self) {
        loop {
            if self.live.is_none() && self.router.leave(&self.actor, &self.queue) {
                while let Ok(control) = self.endings.try_recv() {
                    drop(control.done.send(None));
                }
                return;
            }
            match self.next().await {
                Event::Request(request) => self.serve(request).await,
                Event::Control(control) => self.control(control).await,
                Event::Died(cause) => self.fatal(&cause).await,
                Event::Idle => drop(self.end(Reason::Slept).await),
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
        while live.gated.try_join_next().is_some() {}
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
        // To make room, only an idle actor is ended; it may have got work since it was chosen.
        let busy = control.ending == Ending::Sleep && !self.queue.is_empty();
        let exit = match control.ending {
            Ending::Crash(fence) => self.crash(fence).await,
            _ if busy => None,
            ending => self.end(ending.reason()).await,
        };
        drop(control.done.send(exit));
    }

    async fn serve(&mut self, request: Request) {
        let Request { queued, work, .. } = request;
        if self.live.is_none() && !self.router.is_open() {
            return work.refuse(HostError::ShuttingDown);
        }
        let program = match &work {
            Work::Call { program, .. } => Some(Arc::clone(program)),
            Work::Sql { .. } => None,
        };
        if let Err(error) = self.awaken(program.as_ref(), work.creates()).await {
            return work.refuse(error);
        }
        // An ending that came while it started does not wait for the call as well.
        while let Ok(control) = self.endings.try_recv() {
            self.control(control).await;
            if !self.router.is_open() {
                return work.refuse(HostError::ShuttingDown);
            }
            if let Err(error) = self.awaken(program.as_ref(), work.creates()).await {
                return work.refuse(error);
            }
        }
        match work {
            Work::Call { method, values, program, original, reply } => {
                match self.checked(method, values, &program, original) {
                    Ok((method, values)) => self.call(queued, method, &values, reply).await,
                    Err(error) => drop(reply.send(Err(error))),
                }
            }
            Work::Sql { sql, parameters, write, rows_max, reply } => {
                let queue_us = micros(queued.elapsed());
                if let Some(live) = &mut self.live {
                    let answer = live.generation.operator_sql(&sql, &parameters, write, rows_max);
                    live.release(queue_us, answer, |rows| rows, reply);
                }
            }
        }
    }

    /// Makes sure that a generation of the deployed component is awake.
    async fn awaken(
        &mut self,
        wanted: Option<&Arc<Program>>,
        creates: bool,
    ) -> Result<(), HostError> {
        let shared = Arc::clone(self.router.shared());
        if let Some(live) = &self.live {
            let running = live.generation.component().digest();
            if wanted.is_none_or(|program| program.component.digest() == running) {
                return Ok(());
            }
            if shared.kinds.current(self.actor.kind()).await?.component.digest() == running {
                return Ok(());
            }
            self.end(Reason::Upgraded).await;
        }
        let program = shared.kinds.current(self.actor.kind()).await?;
        let awake = shared.awake.admit(&self.router).await?;
        let origin = ownership::begin(&shared, &self.actor, program, creates).await?;
        let fence = origin.session.fence();
        let session = origin.session.clone();
        match Generation::start(origin).await {
            Ok(generation) => {
                let mut view = self.handle.view.lock();
                view.meter = Some(generation.meter().clone());
                view.fence = Some(fence);
                view.grips = Some(generation.grips());
                drop(view);
                self.live = Some(Live { generation, gated: JoinSet::new(), _awake: awake });
                Ok(())
            }
            Err(error) => {
                let reason = session.cause().map_or(Reason::Storage, |cause| cause.reason());
                self.record(Exit {
                    db: fence.db,
                    generation: fence.generation,
                    reason,
                    snapshot: SnapshotOutcome::None,
                    sealed: false,
                    message: Some(error.to_string()),
                });
                Err(error)
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
        let method = Arc::clone(component.methods().find(&name)?);
        let values = method.arguments(&arguments)?;
        Ok((method, values))
    }

    async fn call(
        &mut self,
        queued: Instant,
        method: Arc<Method>,
        values: &[Val],
        reply: oneshot::Sender<Result<Heard<Called>, HostError>>,
    ) {
        let queue_us = micros(queued.elapsed());
        let Some(live) = &mut self.live else { return };
        let end = live.generation.call(&method, values).await;
        let called = |values| Called { method, values };
        match end {
            CallEnd::Answered(answer) => {
                live.release(queue_us, answer, called, reply);
                live.bound_gated().await;
            }
            CallEnd::Crashed { answer, reason, message } => {
                live.release(queue_us, answer, called, reply);
                self.crashed(reason, message).await;
            }
            CallEnd::Fatal(waiting) => {
                let cause = live.generation.session().cause();
                let cause = cause.expect("BUG: a dead session has a cause");
                live.tell_end(cause.clone(), waiting, reply);
                self.fatal(&cause).await;
            }
        }
    }

    /// The orderly end. Answers leave first: after the seal nothing can be confirmed.
    async fn end(&mut self, reason: Reason) -> Option<Exit> {
        let mut live = self.take_live()?;
        while live.gated.join_next().await.is_some() {}
        let cause = live.generation.session().cause();
        let exit = match &cause {
            None => ending::orderly(live.generation, reason).await,
            Some(cause) => ending::fatal(live.generation, cause).await,
        };
        Some(self.record(exit))
    }

    /// The session died. Whoever waits is told the cause.
    async fn fatal(&mut self, cause: &Cause) {
        let Some(mut live) = self.take_live() else { return };
        live.generation.revoke(cause.reason());
        while live.gated.join_next().await.is_some() {}
        let exit = ending::fatal(live.generation, cause).await;
        self.record(exit);
        while let Ok(request) = self.queue.try_recv() {
            request.work.refuse(error_of(cause, None));
        }
    }

    /// The instance died. Commits and the answers behind them run to their verdict first.
    async fn crashed(&mut self, reason: Reason, message: String) {
        let Some(mut live) = self.take_live() else { return };
        while live.gated.join_next().await.is_some() {}
        let exit = ending::crashed(live.generation, reason, message).await;
        self.record(exit);
    }

    /// A fault on purpose. A life that has ended meanwhile is not the next one.
    async fn crash(&mut self, fence: stockade_depot::Fence) -> Option<Exit> {
        self.live.as_ref().filter(|live| live.generation.fence() == fence)?;
        self.crashed(Reason::Trapped, CRASHED_ON_PURPOSE.to_owned()).await;
        self.router.shared().exits.of(&self.actor)
    }

    fn take_live(&mut self) -> Option<Live> {
        *self.handle.view.lock() = View::default();
        self.live.take()
    }

    fn record(&self, exit: Exit) -> Exit {
        self.router.shared().exits.record(&self.actor, exit.clone());
        exit
    }
}

impl Drop for Slot {
    /// Only a task that was ended by force, or panicked, still has something queued: it was not
    /// begun.
    fn drop(&mut self) {
        self.queue.close();
        while let Ok(request) = self.queue.try_recv() {
            request.work.refuse(if self.router.is_open() {
                HostError::Stopping(Reason::Trapped)
            } else {
                HostError::ShuttingDown
            });
        }
    }
}

impl Live {
    /// Puts an answer in front of the gate; it leaves when it has passed.
    fn release<T: Send + 'static, U: Send + 'static>(
        &mut self,
        queue_us: u64,
        answer: Answer<T>,
        shape: impl FnOnce(T) -> U + Send + 'static,
        reply: oneshot::Sender<Result<Heard<U>, HostError>>,
    ) {
        let generation = self.generation.fence().generation;
        self.gated.spawn(async move {
            let Answer { outcome, waiting, mut bill } = answer;
            let since = Instant::now();
            let passed = waiting.pass().await;
            bill.queue_us = queue_us;
            bill.gate_us = micros(since.elapsed());
            let heard = match (passed, outcome) {
                (Ok(txid), Ok(value)) => Ok(Heard { value: shape(value), generation, txid, bill }),
                (Ok(_), Err(error)) => Err(with_verdict(error, waiting.verdict().await)),
                (Err(cause), _) => Err(error_of(&cause, waiting.verdict().await)),
            };
            // A caller that has gone away needs no answer.
            drop(reply.send(heard));
        });
    }

    /// Tells a caller whose session died why, and what became of its own writes: a commit that was
    /// on its way may still turn out to be kept.
    fn tell_end<T: Send + 'static>(
        &mut self,
        cause: Cause,
        waiting: Waiting,
        reply: oneshot::Sender<Result<T, HostError>>,
    ) {
        self.gated.spawn(async move {
            let verdict = waiting.verdict().await;
            drop(reply.send(Err(error_of(&cause, verdict))));
        });
    }

    /// A store that stalls must not let answers pile up without end.
    async fn bound_gated(&mut self) {
        let max = usize::try_from(self.generation.limits().mailbox_calls_max).unwrap_or(1);
        while self.gated.len() > max.max(1) {
            self.gated.join_next().await;
        }
    }
}
