//! Actors that this process has handed over because it has more than its share: for a while their next
//! life begins elsewhere, also if it is asked for here.

use parking_lot::Mutex;
use stockade_depot::ActorId;
use tokio::time::Instant;

use super::recent::Recent;
use crate::limits::{HANDED_FOR, PLACES_MAX};

/// When each actor was handed over.
pub struct Handed(Mutex<Recent<Instant>>);

impl Default for Handed {
    fn default() -> Self {
        Self(Mutex::new(Recent::new(PLACES_MAX)))
    }
}

impl Handed {
    /// Records that an actor was handed over now.
    pub fn note(&self, actor: &ActorId) {
        self.0.lock().put(actor, Instant::now());
    }

    /// The actor was not handed over.
    pub fn forget(&self, actor: &ActorId) {
        self.0.lock().forget(actor);
    }

    /// Whether the actor was handed over a while ago at most.
    #[must_use]
    pub fn has(&self, actor: &ActorId) -> bool {
        self.0.lock().get(actor).is_some_and(|at| at.elapsed() < HANDED_FOR)
    }
}
