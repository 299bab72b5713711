//! How generations ended here, and what they left: of the newest of each actor, bounded.

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;
use stockade_depot::ActorId;
use stockade_depot::store::ActorState;

use crate::actor::exit::{Ended, Exit};

/// Actors whose last exit is remembered. 10,000: a few MiB.
const ACTORS_MAX: usize = 10_000;

/// The newest exit of each actor.
#[derive(Default)]
pub struct Exits {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    newest: HashMap<ActorId, Ended>,
    order: VecDeque<ActorId>,
}

impl Exits {
    /// Remembers how a generation has ended; an older one of the same actor is forgotten.
    pub fn record(&self, actor: &ActorId, ended: Ended) {
        let mut inner = self.inner.lock();
        if inner.newest.insert(actor.clone(), ended).is_none() {
            inner.order.push_back(actor.clone());
        }
        if inner.order.len() > ACTORS_MAX
            && let Some(oldest) = inner.order.pop_front()
        {
            inner.newest.remove(&oldest);
        }
    }

    /// Gives away the actor as its newest life left it, if that was sealed here: a second caller
    /// gets nothing. Others may have changed it since: beginning from what it names then fails.
    #[must_use]
    pub fn take_left(&self, actor: &ActorId) -> Option<ActorState> {
        self.inner.lock().newest.get_mut(actor)?.left.take().map(|left| *left)
    }

    /// The newest exit of an actor since this host started.
    #[must_use]
    pub fn of(&self, actor: &ActorId) -> Option<Exit> {
        self.inner.lock().newest.get(actor).map(|ended| ended.exit.clone())
    }
}
