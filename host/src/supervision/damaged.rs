//! Actors whose stored bytes were found damaged. Their calls are answered from here for a while:
//! each further read would be a takeover, which is a durable step, and would find the same damage.
//!
//! ```text
//!  read finds damage ──> note ──> calls: `depot.corrupt`, no step ── rest over ──> one takeover
//!                                   └─ reset, import, destroy: forget ──> one takeover
//! ```

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use stockade_depot::ActorId;

use super::recent::Recent;
use crate::error::HostError;
use crate::limits::DAMAGED_ACTORS_MAX;

/// The newest damage of each actor.
pub struct Damaged {
    /// How long a damaged actor is not read again.
    rest: Duration,
    found: Mutex<Recent<Found>>,
}

struct Found {
    what: String,
    until: Instant,
}

impl Damaged {
    /// No damage is known. An actor rests for `rest` after each finding.
    #[must_use]
    pub fn new(rest: Duration) -> Self {
        Self { rest, found: Mutex::new(Recent::new(DAMAGED_ACTORS_MAX)) }
    }

    /// Notes damage of an actor. The oldest finding is forgotten where there are too many.
    pub fn note(&self, actor: &ActorId, what: &str) {
        let Some(until) = Instant::now().checked_add(self.rest) else { return };
        tracing::error!(%actor, what, "stored bytes are damaged");
        self.found.lock().put(actor, Found { what: what.to_owned(), until });
    }

    /// The answer for a call of the actor without a read of the store; `None`: read the store.
    #[must_use]
    pub fn standing(&self, actor: &ActorId) -> Option<HostError> {
        let found = self.found.lock();
        let found = found.get(actor).filter(|found| found.until > Instant::now())?;
        Some(HostError::corrupt(found.what.clone()).of(actor))
    }

    /// Forgets the damage of an actor: an operator has acted on it.
    pub fn forget(&self, actor: &ActorId) {
        self.found.lock().forget(actor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn actor(number: usize) -> ActorId {
        ActorId::new("kind", &number.to_string()).expect("a name")
    }

    #[test]
    fn an_actor_rests_until_its_time_is_over_or_something_was_done() {
        let damaged = Damaged::new(Duration::from_secs(60));
        damaged.note(&actor(1), "page 2");
        let error = damaged.standing(&actor(1)).expect("it rests");
        assert_eq!(error.to_string(), "stored bytes of kind/1 are damaged: page 2");
        assert!(damaged.standing(&actor(2)).is_none());
        damaged.forget(&actor(1));
        assert!(damaged.standing(&actor(1)).is_none());
        let soon_over = Damaged::new(Duration::ZERO);
        soon_over.note(&actor(1), "page 2");
        assert!(soon_over.standing(&actor(1)).is_none());
    }

    #[test]
    fn the_memory_is_bounded() {
        let damaged = Damaged::new(Duration::from_secs(60));
        for number in 0..=DAMAGED_ACTORS_MAX {
            damaged.note(&actor(number), "page 2");
        }
        assert!(damaged.standing(&actor(0)).is_none(), "the oldest is forgotten");
        assert!(damaged.standing(&actor(1)).is_some());
        assert_eq!(damaged.found.lock().len(), DAMAGED_ACTORS_MAX);
    }
}
