//! The newest exit of each actor that ended here, bounded.

use parking_lot::Mutex;
use stockade_depot::{ActorId, Fence};

use super::recent::Recent;
use crate::actor::exit::Exit;

/// Actors whose last exit is remembered. 10,000: a few MiB.
const ACTORS_MAX: usize = 10_000;

/// The newest exit of each actor.
pub struct Exits {
    newest: Mutex<Recent<Exit>>,
}

impl Default for Exits {
    fn default() -> Self {
        Self { newest: Mutex::new(Recent::new(ACTORS_MAX)) }
    }
}

impl Exits {
    /// Records an exit in place of the actor's older one.
    pub fn record(&self, actor: &ActorId, exit: Exit) {
        self.newest.lock().put(actor, exit);
    }

    /// Whether this generation has ended here.
    #[must_use]
    pub fn has_ended(&self, actor: &ActorId, fence: &Fence) -> bool {
        self.newest.lock().get(actor).is_some_and(|exit| exit.is_of(fence))
    }

    /// The newest exit of an actor since this host started.
    #[must_use]
    pub fn of(&self, actor: &ActorId) -> Option<Exit> {
        self.newest.lock().get(actor).cloned()
    }
}
