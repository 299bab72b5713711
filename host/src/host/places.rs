//! Where calls go when several processes share the store.
//!
//! ```text
//!  an actor ──> awake, or left asleep, here     ──────────────────────────────> here
//!           ├─> owned by a process that lives   ── Run (database, generation) ──> there
//!           └─> owned by none                   ── here, or Start ────────────> the less loaded of
//!               if this process drains or is over its share                     two others
//! ```
//! Invariant: a route is a hint. The process that gets it checks it, and the store decides who owns
//! what.

use std::time::Duration;

use parking_lot::Mutex;
use stockade_depot::{ActorId, DbId, Generation, NodeSession};

use crate::error::{Code, Retry};
use crate::limits::{FORWARD_PAUSE, FORWARD_PAUSE_MAX, PLACES_MAX};
use crate::membership::Peer;
use crate::supervision::recent::Recent;

/// Where a call goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// To this process.
    Here,
    /// To another one.
    There {
        /// The process.
        peer: Peer,
        /// What it is asked for.
        route: Route,
    },
}

/// What a process is asked for by another one that passes a call on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// The generation that it runs.
    Run {
        /// The actor's database.
        db: DbId,
        /// The generation.
        generation: Generation,
    },
    /// A start: no process owns the actor.
    Start {
        /// What the head still names, although its owner has said that it does not run that.
        released: Option<(DbId, Generation)>,
    },
}

/// What became of the attempts at one call.
#[derive(Clone, Debug, Default)]
pub struct Attempts {
    /// Processes that were asked for a start and refused.
    pub refused: Vec<NodeSession>,
    /// The last pause.
    paused: Option<Duration>,
}

impl Attempts {
    /// The pause before the next attempt: each is twice as long as the one before, up to
    /// [`FORWARD_PAUSE_MAX`].
    #[doc(hidden)]
    pub fn next_pause(&mut self) -> Duration {
        let pause = self.paused.map_or(FORWARD_PAUSE, |last| (last * 2).min(FORWARD_PAUSE_MAX));
        if pause == FORWARD_PAUSE_MAX {
            // A process that refused a start a while ago may take one now.
            self.refused.clear();
        }
        self.paused = Some(pause);
        pause
    }
}

/// How a call continues that another process has refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterRefusal {
    /// Its caller gets the refusal.
    Told,
    /// Nothing was done: it is tried again.
    Again {
        /// Whether it is known where to ask, so that there is no pause.
        now: bool,
    },
}

/// Whether nothing was done, and another process, or this one in a moment, may do it.
#[must_use]
pub fn is_moved(code: Code, advice: Retry) -> bool {
    let passes = matches!(
        code,
        Code::Starting | Code::Stopping | Code::ShuttingDown | Code::StoreClosed | Code::LeaseLost
    );
    advice == Retry::Reroute || (passes && advice == Retry::Retry)
}

/// The places of actors that run in other processes, as far as they were asked for here.
pub(super) struct Places(Mutex<Recent<(NodeSession, DbId, Generation)>>);

impl Default for Places {
    fn default() -> Self {
        Self(Mutex::new(Recent::new(PLACES_MAX)))
    }
}

impl Places {
    pub(super) fn get(&self, actor: &ActorId) -> Option<(NodeSession, Route)> {
        let places = self.0.lock();
        let (session, db, generation) = *places.get(actor)?;
        Some((session, Route::Run { db, generation }))
    }

    pub(super) fn put(&self, actor: &ActorId, session: NodeSession, route: Route) {
        if let Route::Run { db, generation } = route {
            self.0.lock().put(actor, (session, db, generation));
        }
    }

    pub(super) fn forget(&self, actor: &ActorId) {
        self.0.lock().forget(actor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_place_of_an_actor_counts() {
        let (places, actor) = (Places::default(), ActorId::new("kind", "key").expect("a name"));
        let run = |generation| Route::Run { db: DbId([1; 16]), generation: Generation(generation) };
        let (one, two) = (NodeSession([1; 16]), NodeSession([2; 16]));
        places.put(&actor, one, run(3));
        places.put(&actor, two, run(4));
        places.put(&actor, one, Route::Start { released: None });
        assert_eq!(places.get(&actor), Some((two, run(4))), "a start is no place");
        places.forget(&actor);
        assert_eq!(places.get(&actor), None);
    }

    #[test]
    fn pauses_grow_to_their_bound_and_then_all_are_asked_again() {
        let mut attempts = Attempts { refused: vec![NodeSession([1; 16])], ..Attempts::default() };
        let pauses: Vec<Duration> = (0..6).map(|_| attempts.next_pause()).collect();
        assert_eq!(pauses[..3], [FORWARD_PAUSE, FORWARD_PAUSE * 2, FORWARD_PAUSE * 4]);
        assert!(!attempts.refused.is_empty() && pauses[5] < FORWARD_PAUSE_MAX);
        assert_eq!(
            (attempts.next_pause(), attempts.next_pause()),
            (FORWARD_PAUSE_MAX, FORWARD_PAUSE_MAX)
        );
        assert!(attempts.refused.is_empty());
    }
}
