//! Faults on purpose, for operators and for tests of actors.

use std::sync::Arc;

use stockade_depot::{ActorId, Generation};

use super::Host;
use super::info::ExitInfo;
use crate::error::HostError;
use crate::fault::{Fault, FaultingStore};
use crate::limits::FAULTS_ARMED_MAX;

/// What a fault did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultReport {
    /// It is armed for the actor's next steps.
    Armed,
    /// The generation has ended.
    Crashed(ExitInfo),
    /// Another owner has the database; the generation does not know yet.
    Fenced {
        /// The generation that lost it.
        lost: Generation,
        /// The generation of the one who has it.
        winner: Generation,
    },
}

impl Host {
    /// Whether this host was started with
    /// [`with_faults_allowed`](super::Advanced::with_faults_allowed).
    #[must_use]
    pub fn allows_faults(&self) -> bool {
        self.inner.config.allows_faults()
    }

    /// [`ActorHandle::fault`](super::ActorHandle::fault).
    pub(super) async fn fault(
        &self,
        actor: &ActorId,
        fault: Fault,
    ) -> Result<FaultReport, HostError> {
        let store = self.faulting()?;
        fault.check().map_err(HostError::InvalidFault)?;
        let state = self.state(actor).await?;
        if let Some(address) = self.shared().runs_elsewhere(actor, &state.head) {
            return Err(HostError::Elsewhere { actor: actor.clone(), address });
        }
        let asleep = || HostError::ActorAsleep { actor: actor.clone() };
        let report = match fault {
            Fault::Crash => {
                let exit = self.inner.router.crash(actor).await?.ok_or_else(asleep)?;
                FaultReport::Crashed(exit.into())
            }
            Fault::Fence => {
                let slot = self.inner.router.slot(actor);
                let live = slot.and_then(|slot| slot.fence());
                let lost = live.filter(|fence| *fence == state.head.fence).ok_or_else(asleep)?;
                let head = store.usurp(&state).await?;
                let head = head.ok_or_else(|| HostError::Superseded { actor: actor.clone() })?;
                FaultReport::Fenced { lost: lost.generation, winner: head.fence.generation }
            }
            Fault::LostReply { .. }
            | Fault::SlowStore { .. }
            | Fault::StoreFull { .. }
            | Fault::Freeze { .. } => {
                if !store.arm(state.row.db, fault) {
                    let max = FAULTS_ARMED_MAX as u64;
                    return Err(HostError::Overloaded { what: "actors with armed faults", max });
                }
                FaultReport::Armed
            }
        };
        tracing::warn!(%actor, ?fault, class = fault.class().as_str(), "fault on purpose");
        Ok(report)
    }

    /// [`ActorHandle::clear_faults`](super::ActorHandle::clear_faults).
    pub(super) async fn clear_faults(&self, actor: &ActorId) -> Result<Vec<Fault>, HostError> {
        let store = self.faulting()?;
        let db = self.state(actor).await?.row.db;
        Ok(store.faults().clear(db))
    }

    fn faulting(&self) -> Result<&Arc<FaultingStore>, HostError> {
        self.shared().faulting.as_ref().ok_or(HostError::FaultsNotAllowed)
    }
}
