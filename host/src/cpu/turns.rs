//! The turns of a host, and the queue for them.

use std::fmt;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;
use std::time::Instant;

use parking_lot::{Mutex, MutexGuard};

use super::rota::{Begun, Rota, SLICE};

/// The turns of a host. Cloning shares them. The default has no turns: every call runs without one.
#[derive(Clone, Debug, Default)]
pub struct Turns(Option<Arc<Inner>>);

struct Inner {
    /// Number of turns at a time.
    at_once: usize,
    rota: Mutex<Rota<Arc<Place>>>,
    /// Whether any guest waits.
    wanted: AtomicBool,
}

/// A waiting guest, as the rota knows it. Locked after the rota.
struct Place(Mutex<Stage>);

enum Stage {
    Waits(Waker),
    Has(Begun, Instant),
    Left,
}

/// A turn, or the wait for one. Dropping gives either up.
pub(super) struct Ask {
    turns: Arc<Inner>,
    kind: Arc<str>,
    place: Arc<Place>,
    /// When the turn was seen to be granted.
    since: Option<Instant>,
}

impl Turns {
    /// The turns of a machine with so many cores: one core is left to others, where there are more.
    #[must_use]
    pub fn of(cores: usize) -> Self {
        let at_once = cores.saturating_sub(1).max(1);
        let (rota, wanted) = Default::default();
        Self(Some(Arc::new(Inner { at_once, rota, wanted })))
    }

    /// Whether there are turns to wait for.
    pub(super) fn are_shared(&self) -> bool {
        self.0.is_some()
    }

    /// Asks for a turn. `waker` is woken when it is granted.
    pub(super) fn ask(&self, kind: &Arc<str>, weight: u64, waker: &Waker) -> Option<Ask> {
        let turns = Arc::clone(self.0.as_ref()?);
        let place = Arc::new(Place(Mutex::new(Stage::Waits(waker.clone()))));
        let mut rota = turns.rota.lock();
        rota.push(kind, weight, Arc::clone(&place));
        turns.give(rota);
        Some(Ask { turns, kind: Arc::clone(kind), place, since: None })
    }
}

impl Inner {
    /// Grants free turns to the next in the rota.
    fn give(&self, mut rota: MutexGuard<'_, Rota<Arc<Place>>>) {
        let mut woken = Vec::new();
        while rota.running() < self.at_once
            && let Some((place, begun)) = rota.pop()
        {
            let stage = mem::replace(&mut *place.0.lock(), Stage::Has(begun, Instant::now()));
            if let Stage::Waits(waker) = stage {
                woken.push(waker);
            }
        }
        self.wanted.store(rota.waiting() > 0, Ordering::Relaxed);
        drop(rota);
        woken.into_iter().for_each(Waker::wake);
    }
}

impl Ask {
    /// Whether the turn was granted. If not, `waker` is woken when it is.
    pub(super) fn has_turn(&mut self, waker: &Waker) -> bool {
        match &mut *self.place.0.lock() {
            Stage::Waits(before) => before.clone_from(waker),
            Stage::Has(_, since) => self.since = Some(*since),
            Stage::Left => {}
        }
        self.since.is_some()
    }

    /// Whether the turn has taken its slice and others wait.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.turns.wanted.load(Ordering::Relaxed) && !self.has_time(now)
    }

    /// Whether the turn was granted and has not taken its slice.
    pub(super) fn has_time(&self, now: Instant) -> bool {
        self.since.is_some_and(|since| now.saturating_duration_since(since) < SLICE)
    }
}

impl Drop for Ask {
    fn drop(&mut self) {
        let mut rota = self.turns.rota.lock();
        let stage = mem::replace(&mut *self.place.0.lock(), Stage::Left);
        match stage {
            Stage::Has(begun, since) => rota.ended(begun, since.elapsed()),
            Stage::Waits(_) => {
                rota.remove(&self.kind, |other| Arc::ptr_eq(other, &self.place));
            }
            Stage::Left => {}
        }
        self.turns.give(rota);
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turns").field("at_once", &self.at_once).finish_non_exhaustive()
    }
}

impl fmt::Debug for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ask").field("kind", &self.kind).finish_non_exhaustive()
    }
}
