//! One actor, and all of them: ended, reset, destroyed, looked at.

use stockade_depot::store::{ActorState, Wanted};
use stockade_depot::{ActorId, OpenError, Txid};

use super::info::{ActorInfo, ExitInfo};
use super::{ActorHandle, Host};
use crate::actor::statements::Script;
use crate::error::HostError;
use crate::router::request::Ending;
use crate::sqlite::Value;

/// How often a destroy starts again because calls have woken the actor in between.
const DESTROY_ATTEMPTS: usize = 20;

impl Host {
    /// [`ActorHandle::stop`].
    pub(super) async fn stop(&self, actor: &ActorId) -> Result<Option<ExitInfo>, HostError> {
        let exit = self.inner.router.end(actor, Ending::Operator).await?;
        if exit.is_none() {
            let head = self.state(actor).await?.head;
            if let Some(address) = self.shared().runs_elsewhere(actor, &head) {
                return Err(HostError::Elsewhere { actor: actor.clone(), address });
            }
        }
        Ok(exit.map(ExitInfo::from))
    }

    /// [`ActorHandle::reset`].
    pub(super) async fn reset(&self, actor: &ActorId) -> Result<(), HostError> {
        self.shared().damaged.forget(actor);
        // Known to exist, so that asking for a wrong name makes no slot.
        self.state(actor).await?;
        let limits = self.limits(actor.kind()).await?;
        self.inner.router.forgive(&limits, actor).await
    }

    /// [`ActorHandle::destroy`]; `forced`: whatever its outbox has.
    pub(super) async fn destroy(&self, actor: &ActorId, forced: bool) -> Result<(), HostError> {
        let router = &self.inner.router;
        let mut attempts = 0;
        let db = loop {
            attempts += 1;
            router.end(actor, Ending::Destroy).await?;
            let mut state = self.state(actor).await?;
            if !forced && state.head.due_work && state.row.wanted == Wanted::Present {
                let as_of = self.refuse_outbox(actor).await?;
                state = self.state(actor).await?;
                // A call that came in between may have sent more.
                if state.head.txid != as_of && attempts < DESTROY_ATTEMPTS {
                    continue;
                }
            }
            match self.shared().depot.destroy(&state).await {
                // A call that came in between has started the next generation.
                Err(OpenError::Superseded { .. }) if attempts < DESTROY_ATTEMPTS => {}
                Err(error) => return Err(HostError::of_open(error, actor).of(actor)),
                Ok(()) => {
                    self.shared().quotas.destroyed(actor.kind(), state.head.page_count.0);
                    break state.row.db;
                }
            }
        };
        self.shared().damaged.forget(actor);
        // A generation that came in between has lost its database: its next caller must not be the
        // one to find out.
        let live = router.slot(actor).and_then(|slot| slot.fence());
        if live.is_some_and(|fence| fence.db == db) {
            router.end(actor, Ending::Destroy).await?;
        }
        Ok(())
    }

    /// Refuses the destroy of an actor that has sent messages which their receivers do not have.
    /// Returns the commit as of which there are none.
    async fn refuse_outbox(&self, actor: &ActorId) -> Result<Txid, HostError> {
        let counted = self.operate(actor, Script::Outbox, Txid(0)).await;
        let counted = counted.map_err(|error| error.cause)?;
        match counted.rows.first().and_then(|row| row.first()) {
            Some(Value::Integer(count)) if *count > 0 => {
                let (actor, messages) = (actor.clone(), count.unsigned_abs());
                Err(HostError::HasOutbox { actor, messages })
            }
            Some(_) | None => Ok(counted.txid),
        }
    }

    /// Actors in (kind, key) order after `after`, at most `max`.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn actors(
        &self,
        kind: Option<&str>,
        after: Option<&ActorId>,
        max: usize,
    ) -> Result<Vec<ActorInfo>, HostError> {
        let states = self.inner.store.actors(kind, after, max).await?;
        let mut infos = Vec::with_capacity(states.len());
        for state in states {
            infos.push(self.info_of(state).await);
        }
        Ok(infos)
    }

    /// One actor, to call it or to work on it. Nothing is asked for that.
    #[must_use]
    pub fn actor(&self, id: &ActorId) -> ActorHandle {
        ActorHandle::new(self.clone(), id.clone())
    }

    /// [`ActorHandle::info`].
    pub(super) async fn info(&self, actor: &ActorId) -> Result<ActorInfo, HostError> {
        Ok(self.info_of(self.state(actor).await?).await)
    }

    pub(super) async fn info_of(&self, state: ActorState) -> ActorInfo {
        let actor = &state.row.actor;
        let slot = self.inner.router.slot(actor);
        // Only who has crashed needs the limits of its kind, which may have to be loaded.
        let crashes = &self.shared().crashes;
        let standing = if state.row.restarts > 0 || crashes.has(actor) {
            let kind = self.shared().kinds.current(actor.kind()).await.ok();
            let ended = self.shared().ended_in_order(&state);
            kind.map(|kind| crashes.standing(&state, ended, kind.component.digest(), &kind.limits))
        } else {
            None
        };
        ActorInfo::of(state, self.shared(), slot.as_deref(), standing)
    }

    pub(super) async fn state(&self, actor: &ActorId) -> Result<ActorState, HostError> {
        let state = self.inner.store.actor(actor).await;
        let state = state.map_err(|error| HostError::from(error).of(actor))?;
        state.ok_or_else(|| HostError::ActorMissing { actor: actor.clone() })
    }
}
