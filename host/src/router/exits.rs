//! How generations ended here, and what they left: of the newest of each actor, bounded.

use parking_lot::Mutex;
use stockade_depot::store::ActorState;
use stockade_depot::{ActorId, Fence};

use super::recent::Recent;
use crate::actor::exit::{Ended, Exit};

/// Actors whose last exit is remembered. 10,000: a few MiB.
const ACTORS_MAX: usize = 10_000;

/// The newest exit of each actor.
pub struct Exits {
    newest: Mutex<Recent<Ended>>,
}

impl Default for Exits {
    fn default() -> Self {
        Self { newest: Mutex::new(Recent::new(ACTORS_MAX)) }
    }
}

impl Exits {
    /// Remembers how a generation has ended; an older one of the same actor is forgotten.
    pub fn record(&self, actor: &ActorId, ended: Ended) {
        self.newest.lock().put(actor, ended);
    }

    /// Gives away the actor as its newest life left it, if that was sealed here: a second caller
    /// gets nothing. Others may have changed it since: beginning from what it names then fails.
    #[must_use]
    pub fn take_left(&self, actor: &ActorId) -> Option<ActorState> {
        self.newest.lock().get_mut(actor)?.left.take().map(|left| *left)
    }

    /// Whether this very life has ended here.
    #[must_use]
    pub fn has_ended(&self, actor: &ActorId, fence: &Fence) -> bool {
        self.newest.lock().get(actor).is_some_and(|ended| ended.exit.is_of(fence))
    }

    /// Whether this heir has begun here, as far as its predecessor's exit or its own tells.
    #[must_use]
    pub fn has_begun(&self, actor: &ActorId, heir: &Fence) -> bool {
        let predecessor = Fence { generation: heir.generation.previous(), ..*heir };
        self.newest.lock().get(actor).is_some_and(|Ended { exit, left }| {
            exit.is_of(heir) || (left.is_none() && exit.is_of(&predecessor))
        })
    }

    /// The newest exit of an actor since this host started.
    #[must_use]
    pub fn of(&self, actor: &ActorId) -> Option<Exit> {
        self.newest.lock().get(actor).map(|ended| ended.exit.clone())
    }
}

#[cfg(test)]
mod tests {
    use stockade_depot::chain::Start;
    use stockade_depot::store::{ActorRow, Wanted};
    use stockade_depot::{
        DbId, Digest, Fence, Generation, Head, NameHash, NodeSession, Origin, PageCount, Reason,
        Token, Txid,
    };

    use super::*;
    use crate::actor::exit::SnapshotOutcome;

    fn asleep(actor: &ActorId) -> Ended {
        let (db, generation) = (DbId([1; 16]), Generation(2));
        let row = ActorRow {
            actor: actor.clone(),
            db,
            component: Digest([2; 32]),
            wanted: Wanted::Present,
            restarts: 0,
        };
        let head = Head {
            fence: Fence { db, generation, token: Token([3; 16]) },
            owner: NodeSession::NOBODY,
            txid: Txid(1),
            page_count: PageCount(1),
            chain: [4; 32],
            sealed: false,
            origin: Origin::Native,
            floor: Txid(0),
            base: None,
            name: NameHash([0; 16]),
            start: Start::Name,
        };
        let exit = Exit {
            db,
            generation: Generation(1),
            reason: Reason::Slept,
            snapshot: SnapshotOutcome::None,
            sealed: true,
            proven: true,
            message: None,
            crash: None,
        };
        Ended { exit, left: Some(Box::new(ActorState { row, head, handed_over: None })) }
    }

    /// Whoever asks after a life has begun from it gets nothing, also if the end of that life was
    /// never recorded.
    #[test]
    fn what_a_life_left_is_given_away_once() {
        let (exits, actor) = (Exits::default(), ActorId::new("kind", "key").expect("a name"));
        exits.record(&actor, asleep(&actor));
        assert!(exits.take_left(&actor).is_some_and(|state| state.head.is_heir()));
        assert_eq!(exits.take_left(&actor), None);
        assert!(exits.of(&actor).is_some_and(|exit| exit.sealed), "it is told all the same");
        exits.record(&actor, asleep(&actor));
        assert!(exits.take_left(&actor).is_some());
    }
}
