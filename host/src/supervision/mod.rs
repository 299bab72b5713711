//! What is known of the actors' lives beside the one that runs: who may begin the next, how the
//! last one ended, and what follows from that.
//!
//! ```text
//!  ownership      wins the next fence ── reservations   what seals here have left
//!                                     ├─ crashes        when a crashed actor may start
//!                                     └─ damaged        that nothing can be read of it
//!  exits          how the last life ended               recent   the bounded memory of all of them
//! ```

pub mod crashes;
pub mod damaged;
pub mod exits;
pub mod ownership;
mod recent;
pub mod reservations;

use std::sync::Arc;

use stockade_depot::store::ActorState;
use stockade_depot::{Depot, Head, StoreError};

use crate::actor::trace::Observer;
use crate::capability::Rate;
use crate::cpu::Turns;
use crate::environment::Ground;
use crate::fault::FaultingStore;
use crate::kinds::Kinds;
use crate::kinds::quotas::Quotas;
use crate::membership::Nodes;
use crate::sqlite::Spares;
use crashes::Crashes;
use damaged::Damaged;
use exits::Exits;
use reservations::Reservations;

/// What every slot works with.
pub struct Shared {
    /// The authority over databases.
    pub depot: Arc<Depot>,
    /// Deployed kinds.
    pub kinds: Kinds,
    /// What the actors of each may have together.
    pub quotas: Quotas,
    /// Processes that share the store.
    pub nodes: Nodes,
    /// How former generations ended.
    pub exits: Exits,
    /// What those that were sealed have left, and the next generations that they have reserved.
    pub reservations: Reservations,
    /// Which of them were crashes, and what follows from that.
    pub crashes: Crashes,
    /// Actors that cannot be read.
    pub damaged: Damaged,
    /// Who watches endings.
    pub observer: Option<Arc<dyn Observer>>,
    /// Connections of SQLite that the next wakes find open.
    pub spares: Arc<Spares>,
    /// What all guests may log in a second.
    pub log_rate: Arc<Rate>,
    /// Turns of long calls.
    pub turns: Turns,
    /// Where scratch files go.
    pub scratch_dir: std::path::PathBuf,
    /// Where guests run.
    pub ground: Ground,
    /// Faults on purpose; only on a host that allows them.
    pub faulting: Option<Arc<FaultingStore>>,
}

impl Shared {
    /// Whether the life before the next one ended in order, as far as the head and this process
    /// know. A reserved generation that is not claimed may never have begun.
    #[must_use]
    pub fn ended_in_order(&self, state: &ActorState) -> bool {
        let ActorState { row, head, .. } = state;
        head.sealed || (head.is_heir() && !self.exits.has_ended(&row.actor, &head.fence))
    }

    /// Looks after the process that runs this head, if one does, before it may be taken for dead.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn meet_owner(&self, head: &Head) -> Result<(), StoreError> {
        if head.is_free() { Ok(()) } else { self.nodes.meet(head.owner).await }
    }

    /// Whether no process but this one can run the head's generation.
    #[must_use]
    pub fn is_ours_or_nobodys(&self, head: &Head) -> bool {
        head.owner == self.depot.node() || head.is_heir()
    }

    /// The address of another live process that owns this head, if one does.
    #[must_use]
    pub fn elsewhere(&self, head: &Head) -> Option<String> {
        if head.is_free() || head.owner == self.depot.node() {
            return None;
        }
        self.nodes.address_if_alive(head.owner)
    }
}
