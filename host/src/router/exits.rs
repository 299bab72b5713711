//! How generations ended here: the newest exit of each actor, bounded.

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;
use stockade_depot::ActorId;
use stockade_depot::store::ActorState;

use crate::actor::exit::Exit;

/// Actors whose last exit is remembered. 10,000: a few MiB.
const ACTORS_MAX: usize = 10_000;

/// The newest exit of each actor.
#[derive(Default)]
pub struct Exits {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    newest: HashMap<ActorId, Exit>,
    order: VecDeque<ActorId>,
}

impl Exits {
    /// Remembers an exit; an older one of the same actor is forgotten.
    pub fn record(&self, actor: &ActorId, exit: Exit) {
        let mut inner = self.inner.lock();
        if inner.newest.insert(actor.clone(), exit).is_none() {
            inner.order.push_back(actor.clone());
        }
        if inner.order.len() > ACTORS_MAX
            && let Some(oldest) = inner.order.pop_front()
        {
            inner.newest.remove(&oldest);
        }
    }

    /// The actor as its newest life left it, if that was sealed here. Others may have changed it
    /// since: a takeover of what it names then fails.
    #[must_use]
    pub fn left(&self, actor: &ActorId) -> Option<ActorState> {
        let inner = self.inner.lock();
        inner.newest.get(actor)?.sealed.as_deref().cloned()
    }

    /// The newest exit of an actor since this host started.
    #[must_use]
    pub fn of(&self, actor: &ActorId) -> Option<Exit> {
        self.inner.lock().newest.get(actor).cloned()
    }
}
