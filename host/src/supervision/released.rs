//! Generations of which their owner has said that it does not run them, although it lives and their
//! heads name it: they crashed there, or the owner drains. This process may take such an actor over
//! without waiting for a lease.
//!
//! Invariants:
//! - What is released is one generation of one database: a head that names another generation, or
//!   another owner's, is judged as ever.
//! - A wrong release costs that generation, never data: the store decides who owns what.

use parking_lot::Mutex;
use stockade_depot::{ActorId, DbId, Fence, Generation};

use super::recent::Recent;

/// Releases that are remembered. 10,000: a few MiB; a forgotten one is asked for again.
const ACTORS_MAX: usize = 10_000;

/// The newest release of each actor.
pub struct Released(Mutex<Recent<(DbId, Generation)>>);

impl Default for Released {
    fn default() -> Self {
        Self(Mutex::new(Recent::new(ACTORS_MAX)))
    }
}

impl Released {
    /// Records that the owner of this generation does not run it.
    pub fn note(&self, actor: &ActorId, db: DbId, generation: Generation) {
        self.0.lock().put(actor, (db, generation));
    }

    /// Whether the owner of this head has said that it does not run it.
    #[must_use]
    pub fn has(&self, actor: &ActorId, head: &Fence) -> bool {
        self.0.lock().get(actor) == Some(&(head.db, head.generation))
    }
}

#[cfg(test)]
mod tests {
    use stockade_depot::Token;

    use super::*;

    #[test]
    fn a_release_is_of_one_generation() {
        let (released, actor) = (Released::default(), ActorId::new("kind", "key").expect("a name"));
        let fence = |db, generation| Fence {
            db: DbId([db; 16]),
            generation: Generation(generation),
            token: Token([0; 16]),
        };
        released.note(&actor, DbId([1; 16]), Generation(5));
        assert!(released.has(&actor, &fence(1, 5)));
        assert!(!released.has(&actor, &fence(1, 6)), "a later life");
        assert!(!released.has(&actor, &fence(2, 5)), "another line");
    }
}
