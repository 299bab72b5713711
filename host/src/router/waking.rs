//! How a slot gets a generation: the slot wins one, waiting as long as the actor's crashes demand,
//! and starts it; or it opens the database alone, for an operator.

use std::sync::Arc;

use stockade_depot::broken::{self, Variant};
use stockade_depot::{Reason, Session, StoreError};
use tokio::time::Instant;
use wasmtime::component::Val;

use super::admission::Place;
use super::handle::LiveView;
use super::outbox::Parcels;
use super::request::Ending;
use super::slot::{Live, Slot};
use crate::actor::answers::Answers;
use crate::actor::ending;
use crate::actor::exit::{Exit, SnapshotOutcome};
use crate::actor::generation::{Origin, Program};
use crate::actor::start::{NotStarted, start};
use crate::actor::visit::Visit;
use crate::actor::wanted::Wanted;
use crate::calls::Chain;
use crate::capability::StartReason;
use crate::error::HostError;
use crate::supervision::ownership::{self, Beginning, Purpose};
use crate::typed::{Method, Room};

impl Slot {
    pub(super) async fn open_visit(&mut self) -> Result<(Visit, Place), HostError> {
        let shared = Arc::clone(self.slots.shared());
        let program = shared.kinds.current(self.actor.kind()).await?;
        let awake = self.slots.admit().await?;
        let memory = awake.memory().clone();
        match ownership::begin(&shared, &self.actor, program, Purpose::Visit, memory).await? {
            Beginning::Won(origin) => Ok((Visit::open(*origin)?, awake)),
            Beginning::NotBefore(_) => unreachable!("BUG: a visit waits for no crash"),
        }
    }

    /// Makes sure that a generation of the deployed component is awake. Returns whether one was
    /// begun. The actors of `chain` wait for it.
    pub(super) async fn awaken(
        &mut self,
        wanted: &Arc<Program>,
        purpose: Purpose,
        chain: Option<&Chain>,
    ) -> Result<bool, HostError> {
        let shared = Arc::clone(self.slots.shared());
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
        let (origin, awake) = self.win(purpose).await?;
        let origin = Origin { chain: chain.cloned(), ..origin };
        self.begin(origin, awake).await.map(|()| true)
    }

    /// Wins the next generation of the deployed component, once the actor's crashes let it start.
    async fn win(&mut self, purpose: Purpose) -> Result<(Origin, Place), HostError> {
        let shared = Arc::clone(self.slots.shared());
        loop {
            // The requester may ask another process.
            if shared.nodes.is_draining() && !broken::is_off(Variant::DrainRefuses) {
                return Err(HostError::Draining);
            }
            let program = shared.kinds.current(self.actor.kind()).await?;
            let awake = self.slots.admit().await?;
            let memory = awake.memory().clone();
            let begun = ownership::begin(&shared, &self.actor, program, purpose, memory);
            let at = match begun.await? {
                Beginning::Won(origin) => return Ok((*origin, awake)),
                Beginning::NotBefore(at) => at,
            };
            // The place is free for others in the meantime.
            drop(awake);
            self.pause(at).await?;
        }
    }

    /// Starts the generation that was won.
    async fn begin(&mut self, origin: Origin, awake: Place) -> Result<(), HostError> {
        let (fence, session) = (origin.session.fence(), origin.session.clone());
        let is_created = origin.start_reason == StartReason::Created;
        self.handle.starts(session.clone());
        if let Some(HostError::Store(StoreError::Failed(failure))) = self.slots.refusal() {
            // The generation was won while the host was ending, which has not seen it.
            session.fail(failure);
        }
        match start(origin).await {
            Ok(mut generation) => {
                self.due.follow(&mut generation);
                let live = LiveView { fence, started_from: generation.started_from() };
                self.handle.shows(live, generation.grips(), Arc::clone(&awake.memory().share));
                let answers = Answers::new(fence.generation);
                let parcels = Parcels::new();
                self.live = Some(Live { generation, answers, parcels, awake });
                Ok(())
            }
            Err(failed) => Err(self.not_started(failed, &session, is_created).await),
        }
    }

    /// Handles a generation that was won and failed to start. Returns why, for the caller.
    async fn not_started(
        &mut self,
        failed: NotStarted,
        session: &Session,
        is_created: bool,
    ) -> HostError {
        let (shared, fence) = (Arc::clone(self.slots.shared()), session.fence());
        let error = ending::not_started(failed).await;
        self.note_damage(session.cause().as_ref());
        self.handle.hide();
        let reason = session.cause().map_or(Reason::Storage, |cause| cause.reason());
        // A store that has failed is not asked again.
        let is_clear = matches!(error, HostError::StartFailed { .. } | HostError::StoreFull { .. });
        let is_gone =
            is_created && is_clear && ownership::take_back(&shared, &self.actor, fence).await;
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
        error
    }

    /// Waits until a crashed actor may start again. Orders to the slot are carried out during the
    /// wait, and may end it: a reset, or the host's shutdown.
    async fn pause(&mut self, until: Instant) -> Result<(), HostError> {
        tokio::select! {
            () = tokio::time::sleep_until(until) => Ok(()),
            Some(control) = self.endings.recv() => {
                self.control(control).await;
                self.slots.refusal().map_or(Ok(()), Err)
            }
        }
    }

    /// The call's method and arguments for the component that runs now. That component may be newer
    /// than the one they were checked against.
    pub(super) fn checked(
        &self,
        method: Arc<Method>,
        values: Vec<Val>,
        program: &Arc<Program>,
        wanted: &Wanted,
    ) -> Result<(Arc<Method>, Vec<Val>), HostError> {
        let Some(live) = &self.live else { return Ok((method, values)) };
        let component = live.generation.component();
        if component.digest() == program.component.digest() {
            return Ok((method, values));
        }
        wanted.found_in(live.generation.methods(), Room::default())
    }
}
