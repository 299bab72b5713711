//! The start of a generation: its instance is made, gets the snapshot, and runs the `start` hook.
//!
//! Invariant: when a start fails, the session is closed or the generation is handed back, to be
//! ended by the caller (`ending::not_started`). Its head stays unsealed: the next attempt takes it
//! over.

use std::sync::Arc;
use std::time::Duration;

use stockade_depot::{HandedOver, Reason, Session};
use tokio::time::Instant;
use wasmtime::Store;

use super::body::Body;
use super::crash::{is_guests_own, start_failed};
use super::generation::{Generation, Origin, StartedFrom};
use super::hooks::HookFailure;
use super::trace::Trace;
use super::watch::Watch;
use crate::capability::{Birth, State};
use crate::cpu::CpuTime;
use crate::error::{HostError, Retry};
use crate::grip::Grip;
use crate::limits::TrapLimit;
use crate::memory::GuestMemory;
use crate::sqlite::Meter;

/// Bytes that the host may allocate to take over a method's results: values are larger here than in
/// the guest. 128 MiB, as wasmtime's own default.
const LIFTED_BYTES_MAX: usize = 128 << 20;

/// Why a generation failed to start.
pub enum NotStarted {
    /// There is no instance, and the session is closed.
    NoInstance(HostError),
    /// A hook failed. The generation still has to be ended.
    Hook(Box<Generation>, HookFailure),
}

impl From<HostError> for NotStarted {
    fn from(error: HostError) -> Self {
        Self::NoInstance(error)
    }
}

/// Makes the instance, hands the snapshot over, runs the `start` hook.
///
/// # Errors
/// The component cannot be instantiated, or a hook fails.
pub async fn start(mut origin: Origin) -> Result<Generation, NotStarted> {
    let snapshot = origin.snapshot.take();
    let has_due_work = origin.has_due_work;
    let limits = &origin.program.limits;
    let deadline = Instant::now() + Duration::from_millis(limits.start_time_ms);
    let mut generation = instantiate(origin, deadline).await?;
    match generation.run_start_hooks(snapshot, has_due_work, deadline).await {
        Ok(()) => Ok(generation),
        Err(failure) => Err(NotStarted::Hook(Box::new(generation), failure)),
    }
}

async fn instantiate(mut origin: Origin, deadline: Instant) -> Result<Generation, HostError> {
    let trace =
        Trace::new(origin.observer.clone(), &origin.actor, origin.session.fence().generation);
    let meter = Meter::new(CpuTime::new(&origin.turns, origin.actor.kind()));
    let (sql_grip, grip) = (Grip::default(), Grip::default());
    meter.begin(&origin.program.limits, deadline);
    let memory = Arc::clone(&origin.memory.all);
    let Origin { actor, session, program, restarts, .. } = &origin;
    let (actor, session, restarts) = (actor.clone(), session.clone(), *restarts);
    let clock = origin.clock.clone();
    let chain = origin.chain.clone();
    let program = Arc::clone(program);
    let body = match origin.native.take() {
        Some(native) => Body::Native(native),
        None => instance(origin, (&meter, &sql_grip, &grip)).await?,
    };
    Ok(Generation {
        actor,
        session,
        program,
        body,
        memory,
        meter,
        sql_grip,
        grip,
        trace,
        restarts,
        started_from: None,
        is_heavy: false,
        clock,
        running_alarm: None,
        chain,
    })
}

/// An instance of the component, with a connection to its database.
async fn instance(
    origin: Origin,
    (meter, sql_grip, grip): (&Meter, &Grip, &Grip),
) -> Result<Body, HostError> {
    let Origin { actor, session, program, .. } = origin;
    let memory = Arc::clone(&origin.memory.all);
    let birth = Birth {
        actor,
        generation: session.fence().generation,
        component: program.component.digest(),
        start_reason: origin.start_reason,
        limits: Arc::clone(&program.limits),
        session: session.clone(),
        spares: origin.spares,
        scratch_dir: origin.scratch_dir,
        memory: origin.memory,
        log_rate: origin.log_rate,
        sql_grip: sql_grip.clone(),
        grip: grip.clone(),
        meter: meter.clone(),
        clock: origin.clock,
        has_alarm_handler: program.component.on_alarm().is_some(),
        keeps_due_work: origin.keeps_due_work,
        way: origin.way,
    };
    let state =
        State::new(birth).map_err(|error| end_of_start(&session, Reason::Storage, error.into()))?;
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
    match watch.over(program.pre.instantiate_async(&mut store)).await {
        Ok(instance) => Ok(Body::Wasm { store, instance }),
        Err(error) => {
            let (reason, error) = no_instance(&watch, store, &memory, &error);
            Err(end_of_start(&session, reason, error))
        }
    }
}

/// Closes the session of a start that has no instance. Returns why.
fn no_instance(
    watch: &Watch,
    store: Store<State>,
    memory: &GuestMemory,
    error: &wasmtime::Error,
) -> (Reason, HostError) {
    if store.data().refused() == Some(TrapLimit::HostMemory) {
        let (what, max) = memory.overload();
        return (Reason::Slept, HostError::Overloaded { what, max });
    }
    let words = store.data().last_words();
    let mut crash = watch.crash(error, store.data(), &words);
    if crash.limit.is_none() && !is_guests_own(error) {
        crash.retry = Retry::Retry;
    }
    drop(store);
    let message = format!("cannot be instantiated: {}", crash.cause);
    (Reason::Trapped, start_failed(message, Arc::new(crash)))
}

/// Why a generation failed to start: the session's cause if the session had died by itself. The
/// session is closed in any case.
fn end_of_start(session: &Session, reason: Reason, error: HostError) -> HostError {
    let died = session.cause();
    session.close(reason);
    died.map_or(error, |cause| HostError::from(&cause))
}

impl Generation {
    async fn run_start_hooks(
        &mut self,
        snapshot: Option<HandedOver>,
        has_due_work: bool,
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
        self.chain = None;
        self.body.serve().map_err(HookFailure::from)?;
        if has_due_work { self.look_for_first_due().map_err(HookFailure::from) } else { Ok(()) }
    }
}
