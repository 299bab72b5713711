//! A generation: made from a won fence, it runs calls one at a time until it is ended.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use stockade_depot::{ActorId, Cause, Digest, Fence, HandedOver, Reason, Session};
use wasmtime::component::{ComponentExportIndex, Func, Instance, InstancePre, Val};
use wasmtime::{Store, UpdateDeadline};

use super::answers::Answers;
use super::crash::{is_guests_own, start_failed};
use super::hooks::HookFailure;
use super::trace::{Observer, Trace};
use crate::capability::{Birth, Rate, StartReason, State};
use crate::cpu::{CpuTime, Turns};
use crate::engine::{Component, Lifecycle, Pace};
use crate::error::{Crash, HostError, Retry};
use crate::grip::Grip;
use crate::limits::{Limits, TrapLimit};
use crate::memory::Part;
use crate::sqlite::{Meter, Spares, SqlError};
use crate::typed::MethodTable;

/// Bytes that the host may allocate to take over a method's results: values are larger here than in
/// the guest. 128 MiB, as wasmtime's own default.
const LIFTED_BYTES_MAX: usize = 128 << 20;

/// How often a guest that waits, inside the host or for its turn, is looked after. 10 ms: a tenth of
/// what a lost fence may take to end it.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Why an instance died that a fault has ended.
pub const CRASHED_ON_PURPOSE: &str = "crashed on purpose, by a fault";

/// A deployed component, ready to make instances of.
#[derive(Clone)]
pub struct Program {
    /// The compiled component.
    pub component: Component,
    /// Its methods, as its kind names them.
    pub methods: Arc<MethodTable>,
    /// Imports resolved once.
    pub pre: InstancePre<State>,
    /// Moves the epoch while its guests run.
    pub pace: Pace,
    /// The limits of its kind.
    pub limits: Arc<Limits>,
}

/// What a generation is made from.
pub struct Origin {
    /// Whose life.
    pub actor: ActorId,
    /// The won database.
    pub session: Session,
    /// What to run.
    pub program: Arc<Program>,
    /// The component that the takeover has written down: of a visit the one that ran last.
    pub component: Digest,
    /// Why.
    pub start_reason: StartReason,
    /// In-memory state of an earlier generation.
    pub snapshot: Option<HandedOver>,
    /// The restart counter as its takeover has written it; zero of one that was reserved.
    pub restarts: u32,
    /// Whether the life before ended in order.
    pub ended_in_order: bool,
    /// Where its connection to the database comes from.
    pub spares: Arc<Spares>,
    /// What all guests may log in a second.
    pub log_rate: Arc<Rate>,
    /// Turns of long calls.
    pub turns: Turns,
    /// Where scratch files go.
    pub scratch_dir: PathBuf,
    /// Its part of the memory of all guests.
    pub memory: Part,
    /// Who watches its end.
    pub observer: Option<Arc<dyn Observer>>,
}

/// The snapshot that a generation was started from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartedFrom {
    /// The generation that made it.
    pub generation: stockade_depot::Generation,
    /// Whether it belongs to the data as they were: if not, the memory may be older than the
    /// database.
    pub current: bool,
}

/// One life of an actor. Owned by one task.
pub struct Generation {
    pub(super) actor: ActorId,
    pub(super) session: Session,
    pub(super) program: Arc<Program>,
    pub(super) store: Store<State>,
    pub(super) instance: Instance,
    pub(super) meter: Meter,
    /// Revoked before the snapshot is taken.
    pub(super) sql_grip: Grip,
    /// Everything else.
    pub(super) grip: Grip,
    /// Tells the steps of its end.
    pub(super) trace: Trace,
    /// The restart counter as its takeover has written it; zero of one that was reserved.
    pub(super) restarts: u32,
    started_from: Option<StartedFrom>,
}

impl Generation {
    /// Makes the instance, hands it the snapshot, runs its `start` hook.
    ///
    /// # Errors
    /// `StartFailed` if the component cannot be instantiated or a hook fails. The session is closed
    /// then, its head unsealed: the next attempt takes it over.
    pub async fn start(origin: Origin) -> Result<Self, HostError> {
        let Origin {
            actor,
            session,
            program,
            start_reason,
            snapshot,
            restarts,
            spares,
            log_rate,
            turns,
            scratch_dir,
            memory,
            observer,
            component: _,
            ended_in_order: _,
        } = origin;
        let trace = Trace::new(observer, &actor, session.fence().generation);
        let meter = Meter::new(CpuTime::new(&turns, actor.kind()));
        let (sql_grip, grip) = (Grip::default(), Grip::default());
        let limits = Arc::clone(&program.limits);
        let deadline = Instant::now() + Duration::from_millis(limits.start_time_ms);
        meter.begin(&limits, deadline);
        let (what, max) = memory.all.overload();
        let state = State::new(Birth {
            actor: actor.clone(),
            generation: session.fence().generation,
            component: program.component.digest(),
            start_reason,
            limits,
            session: session.clone(),
            spares,
            scratch_dir,
            memory,
            log_rate,
            sql_grip: sql_grip.clone(),
            grip: grip.clone(),
            meter: meter.clone(),
        })
        .map_err(|error| end_of_start(&session, Reason::Storage, error.into()))?;
        let mut store = Store::new(program.pre.engine(), state);
        store.limiter_async(State::limiter);
        store.set_hostcall_fuel(store.data().hostcall_bytes_max().max(LIFTED_BYTES_MAX));
        let watch = Watch {
            session: session.clone(),
            grip: grip.clone(),
            meter: meter.clone(),
            pace: program.pace.clone(),
        };
        watch.at_every_tick(&mut store);
        let instance = match watch.over(program.pre.instantiate_async(&mut store)).await {
            Ok(instance) => instance,
            Err(error) => {
                if store.data().refused() == Some(TrapLimit::HostMemory) {
                    drop(store);
                    let error = HostError::Overloaded { what, max };
                    return Err(end_of_start(&session, Reason::Slept, error));
                }
                let words = store.data().last_words();
                let mut crash = watch.crash(&error, store.data(), &words);
                if crash.limit.is_none() && !is_guests_own(&error) {
                    crash.retry = Retry::Retry;
                }
                drop(store);
                let message = format!("cannot be instantiated: {}", crash.cause);
                let error = start_failed(message, Arc::new(crash));
                return Err(end_of_start(&session, Reason::Trapped, error));
            }
        };
        let mut generation = Self {
            actor,
            session,
            program,
            store,
            instance,
            meter,
            sql_grip,
            grip,
            trace,
            restarts,
            started_from: None,
        };
        match generation.run_start_hooks(snapshot, deadline).await {
            Ok(()) => Ok(generation),
            Err(failure) => {
                let session = generation.session.clone();
                let answers = Answers::new(generation.fence().generation);
                // Its exit is made by who hears of the failure.
                let crash = Arc::new(Crash::of(failure.message.as_str(), Retry::Fix));
                super::ending::crashed(generation, answers, Reason::Trapped, crash).await;
                // The message may tell of what `start` had written: it is heard only if that was
                // kept.
                match session.cause() {
                    Some(Cause::Closed(_)) | None => Err(failure.into()),
                    Some(cause) => Err(HostError::from(&cause)),
                }
            }
        }
    }

    /// The fence of this life.
    #[must_use]
    pub fn fence(&self) -> Fence {
        self.session.fence()
    }

    /// The component it runs.
    #[must_use]
    pub fn component(&self) -> &Component {
        &self.program.component
    }

    /// Its open database.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Its budget, to shorten a call in progress from outside.
    #[must_use]
    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    /// What revokes its handles at once: SQL's, and the rest.
    #[must_use]
    pub fn grips(&self) -> [Grip; 2] {
        [self.sql_grip.clone(), self.grip.clone()]
    }

    /// The snapshot it was started from, if one was handed over.
    #[must_use]
    pub fn started_from(&self) -> Option<StartedFrom> {
        self.started_from
    }

    /// Tells the steps of its end.
    #[must_use]
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Its methods.
    #[must_use]
    pub fn methods(&self) -> &MethodTable {
        &self.program.methods
    }

    /// The limits of its kind.
    #[must_use]
    pub fn limits(&self) -> &Arc<Limits> {
        &self.program.limits
    }

    pub(super) fn lifecycle(&self) -> Option<Lifecycle> {
        self.program.component.lifecycle()
    }

    /// Revokes every handle at once.
    pub fn revoke(&self, reason: Reason) {
        self.sql_grip.revoke(reason);
        self.grip.revoke(reason);
    }

    /// Gives the guest a fresh budget: to be called before each of its exports.
    pub(super) fn begin(&mut self, deadline: Instant) {
        self.meter.begin(&self.program.limits, deadline);
        self.store.data_mut().begin_call();
        self.store.set_epoch_deadline(1);
    }

    /// What ends the guest's export that runs next, or now.
    pub(super) fn watch(&self) -> Watch {
        let (session, grip, meter) = (self.session.clone(), self.grip.clone(), self.meter.clone());
        Watch { session, grip, meter, pace: self.program.pace.clone() }
    }

    /// Ends what a call left open in SQLite, and takes back what it set and made in the connection:
    /// to be called after each export, before the mark that its answer waits for is taken.
    ///
    /// # Errors
    /// That was not possible: the session is closed.
    pub(super) fn finish(&mut self) -> Result<(), SqlError> {
        let left = self.store.data_mut().end_call()?;
        if left.rolled_back {
            tracing::warn!(actor = %self.actor, "a transaction left open by a call was rolled back");
        }
        Ok(())
    }

    /// Runs a method's export. The caller decides what a failure means.
    ///
    /// # Errors
    /// The outer one: the instance died. The inner one: see `finish`.
    pub(super) async fn run(
        &mut self,
        export: &ComponentExportIndex,
        results: usize,
        arguments: &[Val],
        deadline: Instant,
    ) -> Result<Result<Vec<Val>, SqlError>, Arc<Crash>> {
        self.begin(deadline);
        let func: Func = self
            .instance
            .get_func(&mut self.store, export)
            .expect("BUG: methods come from this component");
        let mut values = vec![Val::Bool(false); results];
        let watch = self.watch();
        let outcome = watch.over(func.call_async(&mut self.store, arguments, &mut values)).await;
        let ((), finished) = self.ended(&watch, outcome)?;
        Ok(finished.map(|()| values))
    }

    /// An export has ended, however: what it returned, and whether what it left could be ended.
    ///
    /// # Errors
    /// The instance died.
    pub(super) fn ended<T>(
        &mut self,
        watch: &Watch,
        outcome: wasmtime::Result<T>,
    ) -> Result<(T, Result<(), SqlError>), Arc<Crash>> {
        // Taken before they are logged as lines like others.
        let last_words = match &outcome {
            Ok(_) => String::new(),
            Err(_) => self.store.data().last_words(),
        };
        let finished = self.finish();
        match outcome {
            Ok(value) => Ok((value, finished)),
            Err(error) => Err(Arc::new(watch.crash(&error, self.store.data(), &last_words))),
        }
    }

    async fn run_start_hooks(
        &mut self,
        snapshot: Option<HandedOver>,
        deadline: Instant,
    ) -> Result<(), HookFailure> {
        if let Some(handed_over) = snapshot
            && self.has_hooks()
        {
            let (generation, current) = (handed_over.snapshot.generation, handed_over.current);
            self.started_from = Some(StartedFrom { generation, current });
            if !current {
                tracing::warn!(
                    actor = %self.actor, generation = %self.fence().generation,
                    snapshot_of = %generation, "started from an older snapshot: not current"
                );
            }
            if let Some(failure) = self.restore(handed_over, deadline).await.failure("restore") {
                return Err(failure);
            }
        }
        if let Some(failure) = self.start_hook(deadline).await.failure("start") {
            return Err(failure);
        }
        self.store.data_mut().serve().map_err(HookFailure::from)
    }
}

/// Why a generation did not come to run: the session's cause if it had died by itself, and the
/// session is closed in any case.
fn end_of_start(session: &Session, reason: Reason, error: HostError) -> HostError {
    let died = session.cause();
    session.close(reason);
    died.map_or(error, |cause| HostError::from(&cause))
}

/// Whether a guest must not run on: its session is dead, it was revoked, or its time is up.
#[derive(Clone)]
pub(super) struct Watch {
    pub(super) session: Session,
    pub(super) grip: Grip,
    pub(super) meter: Meter,
    pace: Pace,
}

impl Watch {
    fn is_over(&self) -> bool {
        self.session.is_dead() || self.grip.reason().is_some() || self.meter.past_deadline()
    }

    /// At every epoch tick: stop a guest that must not run on, else give the thread back.
    fn at_every_tick(&self, store: &mut Store<State>) {
        let watch = self.clone();
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(move |_| {
            let over = watch.is_over();
            Ok(if over { UpdateDeadline::Interrupt } else { UpdateDeadline::Yield(1) })
        });
    }

    /// Runs the guest, unless it must not begin. No epoch reaches it while it waits, inside the host
    /// (a sleep, a flush) or for its turn, so it is looked after from outside as well: then its
    /// future is dropped, and with it the instance is dead.
    pub(super) async fn over<T>(
        &self,
        guest: impl Future<Output = wasmtime::Result<T>>,
    ) -> wasmtime::Result<T> {
        if self.is_over() {
            return Err(wasmtime::Error::msg("stopped before it ran"));
        }
        let _running = self.pace.run();
        let waits_too_long = async {
            while !self.is_over() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::select! {
            // The guest first: one that never waits costs no timer.
            biased;
            done = self.meter.cpu().paced(guest) => done,
            () = waits_too_long => Err(wasmtime::Error::msg("stopped while it waited")),
        }
    }
}
