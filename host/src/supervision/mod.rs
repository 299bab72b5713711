//! What is known of actors beside the generation that runs: who may begin the next generation, how
//! the last one ended, and what follows from that.
//!
//! ```text
//!  ownership      wins the next fence ── reservations   what seals here have left
//!                                     ├─ crashes        when a crashed actor may start
//!                                     ├─ damaged        that nothing can be read of it
//!                                     ├─ released       what a living owner does not run
//!                                     ├─ handed         what begins elsewhere for a while
//!                                     └─ rescues        how fast dead processes' actors are taken
//!  due            which sleeping actors are woken for due work
//!  balance        how many actors are handed over
//!  exits          how the last generation ended         recent   the bounded memory of all of them
//! ```

pub mod balance;
pub mod crashes;
pub mod damaged;
pub mod due;
pub mod exits;
pub mod handed;
pub mod ownership;
pub mod recent;
pub mod released;
pub mod rescues;
pub mod reservations;

use std::sync::{Arc, OnceLock};

use stockade_depot::store::ActorState;
use stockade_depot::{ActorId, Depot, Head, StoreError};

use crate::actor::trace::Observer;
use crate::calls::Waits;
use crate::capability::{Outside, Rate};
use crate::cpu::Turns;
use crate::environment::Ground;
use crate::fault::FaultingStore;
use crate::kinds::Kinds;
use crate::kinds::quotas::Quotas;
use crate::membership::Nodes;
use crate::sqlite::Spares;
use crashes::Crashes;
use damaged::Damaged;
use due::DueBook;
use exits::Exits;
use handed::Handed;
use released::Released;
use rescues::Rescues;
use reservations::Reservations;

/// The parts that every slot works with.
pub struct Shared {
    /// The authority over databases.
    pub depot: Arc<Depot>,
    /// Deployed kinds.
    pub kinds: Kinds,
    /// The quotas of the kinds.
    pub quotas: Quotas,
    /// Processes that share the store.
    pub nodes: Nodes,
    /// The exits of former generations.
    pub exits: Exits,
    /// The states that sealed generations have left, and the next generations that they have
    /// reserved.
    pub reservations: Reservations,
    /// The crashes among the exits, and the policy for them.
    pub crashes: Crashes,
    /// Actors that cannot be read.
    pub damaged: Damaged,
    /// Generations that their owner does not run although it lives.
    pub released: Released,
    /// Actors that were handed over to others.
    pub handed: Handed,
    /// Takeovers from processes that have died.
    pub rescues: Rescues,
    /// Due work, as far as this process plans to wake actors for it.
    pub due: Arc<DueBook>,
    /// The observer of endings.
    pub observer: Option<Arc<dyn Observer>>,
    /// SQLite connections opened ahead, for the next wakes.
    pub spares: Arc<Spares>,
    /// The rate at which all guests together may log.
    pub log_rate: Arc<Rate>,
    /// Turns of long calls.
    pub turns: Turns,
    /// Where scratch files go.
    pub scratch_dir: std::path::PathBuf,
    /// The environment in which guests run.
    pub ground: Ground,
    /// Faults on purpose; only on a host that allows them.
    pub faulting: Option<Arc<FaultingStore>>,
    /// Calls between actors that are under way.
    pub waits: Arc<Waits>,
    /// The way from actors to actors. Set once the host is there.
    pub outside: OnceLock<Arc<dyn Outside>>,
}

impl Shared {
    /// Whether the generation before the next one ended in order, as far as the head and this
    /// process know. A reserved generation that is not claimed may never have begun.
    #[must_use]
    pub fn ended_in_order(&self, state: &ActorState) -> bool {
        let ActorState { row, head, .. } = state;
        head.sealed || (head.is_heir() && !self.exits.has_ended(&row.actor, &head.fence))
    }

    /// Refreshes what is known of the process that owns this head, before it may be judged dead.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn meet_owner(&self, head: &Head) -> Result<(), StoreError> {
        if head.is_free() { Ok(()) } else { self.nodes.meet(head.owner).await }
    }

    /// Whether the head names another process, whatever has become of it.
    #[must_use]
    pub fn is_anothers(&self, head: &Head) -> bool {
        !head.is_free() && head.owner != self.depot.node()
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

    /// The same, unless that process has said that it does not run the generation.
    #[must_use]
    pub fn runs_elsewhere(&self, actor: &ActorId, head: &Head) -> Option<String> {
        self.elsewhere(head).filter(|_| !self.released.has(actor, &head.fence))
    }
}
