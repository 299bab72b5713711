//! Gives a thread back to its runtime while a long SQL statement runs on it.
//!
//! SQL runs inline, on the worker that polls the actor's task. Other actors cannot use a worker
//! that is busy for long, so after a first slice its core is handed over to another thread, and the
//! statement continues here on a thread of its own until the poll ends.
//!
//! ```text
//!  look ── first slice ── hand over ───────── the statement continues ── end
//!                           │  worker's core ──> thread of the blocking pool: other actors run
//!                           └─ not on a worker, or no thread in time: stays, asks again
//! ```
//! `tokio::task::block_in_place` puts the core where a new thread finds it and takes it back when
//! its closure returns, unless a thread has taken it: so the closure waits for a job of the same
//! queue, which starts no earlier than that thread. Should the core come back all the same, the
//! next look tries again. Without a core the rest of the poll runs as after any long
//! `block_in_place`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::runtime::{Handle, RuntimeFlavor};

use crate::limits::LONG_STATEMENTS_MAX;

/// How often a statement that has left checks that the core did not come back to it.
const LOOKS_AGAIN: Duration = Duration::from_millis(20);

/// How long a hand-over may take. It waits only for a thread of the pool to start.
const HAND_OVER_MAX: Duration = Duration::from_millis(20);

/// The places in use, by kind. One table for the process, as threads are.
static PLACES: Mutex<Option<HashMap<Arc<str>, usize>>> = Mutex::new(None);

/// A thread that has left its runtime.
#[derive(Debug)]
pub(super) struct Away {
    _place: Place,
    checked: Instant,
}

/// One of the places. Free again when dropped.
#[derive(Debug)]
struct Place(Arc<str>);

/// No place is left for a kind.
pub(super) struct NoPlace;

impl Away {
    /// Leaves the runtime. `None`: the runtime is not one of several threads, or no thread took
    /// over in time.
    pub(super) fn go(kind: &Arc<str>, now: Instant) -> Result<Option<Self>, NoPlace> {
        let Some(runtime) = multi_threaded() else { return Ok(None) };
        let place = Place::take(kind).ok_or(NoPlace)?;
        Ok(hand_over(&runtime).then_some(Self { _place: place, checked: now }))
    }

    /// Checks now and then that the core did not come back.
    pub(super) fn check(&mut self, now: Instant) {
        if now.duration_since(self.checked) >= LOOKS_AGAIN
            && let Some(runtime) = multi_threaded()
        {
            self.checked = now;
            hand_over(&runtime);
        }
    }
}

/// Waits on a thread that is away. Should the core have come back to the thread, others can use it
/// during the wait.
pub(super) fn blocking<T>(wait: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(wait)
}

impl Place {
    /// Takes a place for a long statement of `kind`. A kind may have as many places as are free: so
    /// others always find some.
    fn take(kind: &Arc<str>) -> Option<Self> {
        let mut places = PLACES.lock();
        let places = places.get_or_insert_default();
        let free = LONG_STATEMENTS_MAX - places.values().sum::<usize>();
        if places.get(kind).is_some_and(|held| *held >= free) || free == 0 {
            return None;
        }
        *places.entry(Arc::clone(kind)).or_default() += 1;
        Some(Self(Arc::clone(kind)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = PLACES.lock();
        let places = places.get_or_insert_default();
        if let Some(held) = places.get_mut(&self.0) {
            *held -= 1;
            if *held == 0 {
                places.remove(&self.0);
            }
        }
    }
}

/// The runtime, if its workers can be handed over. A `LocalSet` on such a runtime looks the same;
/// generations are spawned, and never run in one.
fn multi_threaded() -> Option<Handle> {
    Handle::try_current()
        .ok()
        .filter(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread)
}

/// Hands this worker's core to another thread. `false`: no thread took the core in time.
fn hand_over(runtime: &Handle) -> bool {
    let (started, starts) = mpsc::sync_channel(1);
    tokio::task::block_in_place(|| {
        runtime.spawn_blocking(move || {
            // A start that comes too late has no receiver any more.
            let _ = started.send(());
        });
        starts.recv_timeout(HAND_OVER_MAX).is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A kind gets as many as are free, so the first kind has half, and there is always one left.
    #[test]
    fn a_kind_may_hold_as_many_places_as_are_free() {
        let [a, b]: [Arc<str>; 2] = ["places-a", "places-b"].map(Arc::from);
        let all_of = |kind| std::iter::from_fn(|| Place::take(kind)).collect::<Vec<_>>();
        let of_a = all_of(&a);
        // Other tests of this process may hold some.
        assert!((200..=LONG_STATEMENTS_MAX / 2).contains(&of_a.len()), "{}", of_a.len());
        let of_b = all_of(&b);
        assert!((100..=LONG_STATEMENTS_MAX / 4).contains(&of_b.len()), "{}", of_b.len());
        drop(of_a);
        assert!(Place::take(&b).is_some());
    }
}
