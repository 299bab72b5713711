//! A generation: made from a won fence, runs calls one at a time until its end.

use std::path::PathBuf;
use std::sync::Arc;

use stockade_depot::{ActorId, Digest, Fence, HandedOver, Reason, Session};
use tokio::time::Instant;
use wasmtime::component::{InstancePre, Val};

use super::body::Body;
use super::framed::Framed;
use super::trace::{Observer, Trace};
use super::watch::Watch;
use crate::calls::{Allowance, Chain};
use crate::capability::{Grants, Rate, StartReason, State, Way};
use crate::clock::Clock;
use crate::cpu::Turns;
use crate::engine::{Component, Lifecycle, Pace};
use crate::environment::Native;
use crate::error::{Crash, HostError};
use crate::grip::Grip;
use crate::limits::Limits;
use crate::memory::{GuestMemory, Part};
use crate::sqlite::{Meter, Spares, SqlError};
use crate::typed::{Method, MethodTable, Size};

/// From this much memory on, values keep the thread that hands them over. 1 MiB: a few
/// milliseconds.
pub(super) const HEAVY_BYTES: u64 = 1 << 20;

/// A deployed component, ready to make instances of.
#[derive(Clone)]
pub struct Program {
    /// The compiled component.
    pub component: Component,
    /// The component's methods, as its kind names them.
    pub methods: Arc<MethodTable>,
    /// Imports resolved once.
    pub pre: InstancePre<State>,
    /// Moves the epoch while guests run.
    pub pace: Pace,
    /// The limits of the kind.
    pub limits: Arc<Limits>,
    /// What the kind's actors may call.
    pub grants: Arc<Grants>,
    /// Methods that run in a transaction of the host, by their full names.
    pub transactional: Arc<[String]>,
    /// Whether later messages of a sender wait for those that are parked.
    pub waits: bool,
}

impl Program {
    /// Whether a method runs in a transaction of the host.
    #[must_use]
    pub fn is_transactional(&self, method: &Method) -> bool {
        !self.transactional.is_empty() && self.transactional.contains(&method.full_name())
    }
}

/// The inputs of a generation.
pub struct Origin {
    /// The actor.
    pub actor: ActorId,
    /// The won database.
    pub session: Session,
    /// The program to run.
    pub program: Arc<Program>,
    /// The component that the takeover has recorded; for a visit, the one that ran last.
    pub component: Digest,
    /// The reason of the start.
    pub start_reason: StartReason,
    /// In-memory state of an earlier generation.
    pub snapshot: Option<HandedOver>,
    /// The restart counter as the takeover has written it; zero for a reserved generation.
    pub restarts: u32,
    /// Whether the previous generation ended in order.
    pub ended_in_order: bool,
    /// The pool that the database connection comes from.
    pub spares: Arc<Spares>,
    /// The rate at which all guests together may log.
    pub log_rate: Arc<Rate>,
    /// Turns of long calls.
    pub turns: Turns,
    /// Where scratch files go.
    pub scratch_dir: PathBuf,
    /// The actor's part of the memory of all guests.
    pub memory: Part,
    /// The observer of the generation's end.
    pub observer: Option<Arc<dyn Observer>>,
    /// A simulation's guest, in place of an instance.
    pub native: Option<Arc<dyn Native>>,
    /// When alarms are due.
    pub clock: Clock,
    /// Whether the actor may have some.
    pub has_due_work: bool,
    /// Whether the store keeps when they are due.
    pub keeps_due_work: bool,
    /// The way to other actors.
    pub way: Way,
    /// The actors that wait for the start.
    pub chain: Option<Chain>,
}

/// The snapshot that a generation was started from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartedFrom {
    /// The generation that made the snapshot.
    pub generation: stockade_depot::Generation,
    /// Whether the snapshot belongs to the data as they were: if not, the memory may be older than
    /// the database.
    pub current: bool,
}

/// One generation of an actor. Owned by one task.
pub struct Generation {
    pub(super) actor: ActorId,
    pub(super) session: Session,
    pub(super) program: Arc<Program>,
    pub(super) body: Body,
    /// The memory of all guests.
    pub(super) memory: Arc<GuestMemory>,
    pub(super) meter: Meter,
    /// Covers SQL: revoked before the snapshot is taken.
    pub(super) sql_grip: Grip,
    /// Covers everything else.
    pub(super) grip: Grip,
    /// Reports the steps of the end.
    pub(super) trace: Trace,
    /// The restart counter as the takeover has written it; zero for a reserved generation.
    pub(super) restarts: u32,
    pub(super) started_from: Option<StartedFrom>,
    /// The newest call returned [`HEAVY_BYTES`]; the next one may as well.
    pub(super) is_heavy: bool,
    /// When alarms are due.
    pub(super) clock: Clock,
    /// The alarm whose handler has not ended: its name and number.
    pub(super) running_alarm: Option<(String, i64)>,
    /// The actors that wait for the call in progress, or for the start.
    pub(super) chain: Option<Chain>,
}

impl Generation {
    /// The actor.
    #[must_use]
    pub fn actor(&self) -> &ActorId {
        &self.actor
    }

    /// Whether later messages of a sender wait for those that are parked.
    #[must_use]
    pub fn waits_for_parked(&self) -> bool {
        self.program.waits
    }

    /// The fence of this generation.
    #[must_use]
    pub fn fence(&self) -> Fence {
        self.session.fence()
    }

    /// The component of this generation.
    #[must_use]
    pub fn component(&self) -> &Component {
        &self.program.component
    }

    /// The open database.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The budget, to shorten a call in progress from outside.
    #[must_use]
    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    /// The two grips that revoke all handles: SQL's, and the rest.
    #[must_use]
    pub fn grips(&self) -> [Grip; 2] {
        [self.sql_grip.clone(), self.grip.clone()]
    }

    /// The snapshot that this generation was started from, if one was handed over.
    #[must_use]
    pub fn started_from(&self) -> Option<StartedFrom> {
        self.started_from
    }

    /// The trace that reports the steps of the end.
    #[must_use]
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// The component's methods.
    #[must_use]
    pub fn methods(&self) -> &MethodTable {
        &self.program.methods
    }

    /// The limits of the kind.
    #[must_use]
    pub fn limits(&self) -> &Arc<Limits> {
        &self.program.limits
    }

    pub(super) fn lifecycle(&self) -> Option<Lifecycle> {
        match self.body {
            Body::Wasm { .. } => self.program.component.lifecycle(),
            Body::Native(_) => None,
        }
    }

    /// Revokes every handle immediately.
    pub fn revoke(&self, reason: Reason) {
        self.sql_grip.revoke(reason);
        self.grip.revoke(reason);
    }

    /// Gives the guest a fresh budget. Must be called before each of the guest's exports.
    pub(super) fn begin(&mut self, deadline: Instant) {
        self.meter.begin(&self.program.limits, deadline);
        self.body.begin(self.chain.as_ref());
    }

    /// What ends the guest's export that runs next, or now.
    pub(super) fn watch(&self) -> Watch {
        let (session, grip, meter) = (self.session.clone(), self.grip.clone(), self.meter.clone());
        Watch { session, grip, meter, pace: self.program.pace.clone() }
    }

    /// Ends what a call left open in SQLite, and undoes what the call set and made in the
    /// connection. Must be called after each export, before the mark that its answer waits for is
    /// taken.
    ///
    /// # Errors
    /// The cleanup was not possible: the session is closed.
    pub(super) fn finish(&mut self) -> Result<(), SqlError> {
        let left = self.body.end()?;
        if left.rolled_back {
            tracing::warn!(actor = %self.actor, "a transaction left open by a call was rolled back");
        }
        Ok(())
    }

    /// Runs a method, and returns its values with their size; `is_heavy`: it probably hands over
    /// [`HEAVY_BYTES`] or more; `allowed`: what an actor that calls has left; `frame`: the host's
    /// transaction around it. The caller decides what a failure means.
    ///
    /// # Errors
    /// The outer one: the instance died. The inner one: see `finish` and [`Framed`].
    pub(super) async fn run(
        &mut self,
        (method, arguments): (&Method, &[Val]),
        is_heavy: bool,
        deadline: Instant,
        allowed: Option<&Allowance>,
        mut frame: Option<&mut dyn Framed>,
    ) -> Result<Result<(Vec<Val>, Size), HostError>, Arc<Crash>> {
        self.begin(deadline);
        if let Some(allowed) = allowed {
            self.meter.lower(allowed);
        }
        if is_heavy {
            self.meter.cpu().set_heavy();
        }
        let mut inside = None;
        if let Some(frame) = frame.as_deref_mut() {
            match self.enter(frame).await {
                Ok(entered) => inside = Some(entered),
                Err(outcome) => {
                    let finished = self.finish().map_err(HostError::from);
                    return Ok(finished.and(outcome).map(sized));
                }
            }
        }
        let watch = self.watch();
        let mut outcome = self.body.run((&watch, &self.session), method, arguments).await;
        if let (Some(frame), Some(inside), Ok(Ok(values))) = (frame, inside, &outcome)
            && let Err(error) = self.leave(frame, inside, values)
        {
            outcome = Ok(Err(error));
        }
        let size = match &outcome {
            Ok(Ok(values)) => Size::of(values),
            Ok(Err(_)) | Err(_) => Size::default(),
        };
        self.is_heavy = size.memory >= HEAVY_BYTES;
        let (values, finished) = self.ended(&watch, outcome)?;
        Ok(finished.and(values).map(|values| (values, size)).map_err(HostError::from))
    }

    /// Finishes an export, however it ended. Returns its value, and whether the cleanup succeeded.
    ///
    /// # Errors
    /// The instance died.
    pub(super) fn ended<T>(
        &mut self,
        watch: &Watch,
        outcome: wasmtime::Result<T>,
    ) -> Result<(T, Result<(), SqlError>), Arc<Crash>> {
        // Taken before they are logged as ordinary lines.
        let last_words = match &outcome {
            Ok(_) => String::new(),
            Err(_) => self.body.last_words(),
        };
        let finished = self.finish();
        match outcome {
            Ok(value) => Ok((value, finished)),
            Err(error) => Err(Arc::new(self.body.crash(watch, &error, &last_words))),
        }
    }
}

fn sized(values: Vec<Val>) -> (Vec<Val>, Size) {
    let size = Size::of(&values);
    (values, size)
}
