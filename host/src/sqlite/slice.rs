//! Gives the thread back to the runtime when SQL runs longer than its first slice.
//!
//! SQL runs inline, on the worker that polls the actor's task. A worker that is busy for long is one
//! that other actors do without, so after the first slice the worker is handed over to another
//! thread, and the statement goes on here on a thread of its own until the poll ends.
//!
//! ```text
//!  look ── first slice ── hand over ─────────── the statement goes on ── end
//!                           │  worker's core ──> thread of the blocking pool: other actors run
//!                           └─ no place left, or not on a worker: goes on, asks again later
//! ```
//! `tokio::task::block_in_place` puts the core where a new thread finds it and takes it back when
//! its closure returns, if nobody has: so the closure waits for a job of the same queue, which
//! starts no earlier than that thread. Should the core come back all the same, the next look tries
//! again. Without a core the rest of the poll runs as after any long `block_in_place`.
//!
//! Short SQL pays nothing: only the progress handler, the authorizer and every 64th statement look.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::runtime::{Handle, RuntimeFlavor};

/// How long SQL may keep a worker: a hundred point queries, and little beside a network.
const FIRST_SLICE: Duration = Duration::from_millis(2);

/// How often a statement that has left makes sure that the core did not come back to it.
const LOOKS_AGAIN: Duration = Duration::from_millis(20);

/// How long a hand-over may take. It waits for a thread of the pool to start, nothing else.
const HAND_OVER_MAX: Duration = Duration::from_millis(20);

/// Statements of the process that may have a thread of their own. Far below the 512 threads of
/// tokio's pool, since page misses need some as well; the rest shares the workers.
const PLACES: usize = 128;

/// Free places. One for the process, as threads are.
static FREE: AtomicUsize = AtomicUsize::new(PLACES);

/// The slice of the SQL that a connection runs now. Cloning shares it.
#[derive(Clone, Default)]
pub(super) struct Slice(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// Whether `state` is anything but idle.
    begun: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
enum State {
    #[default]
    Idle,
    /// On the worker since then.
    First(Instant),
    /// On a thread of its own, as of then.
    Away(Place, Instant),
}

/// One of the places. Free again when dropped.
struct Place;

impl Place {
    fn take() -> Option<Self> {
        FREE.fetch_update(Ordering::AcqRel, Ordering::Acquire, |free| free.checked_sub(1))
            .ok()
            .map(|_| Self)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        FREE.fetch_add(1, Ordering::AcqRel);
    }
}

impl Slice {
    /// From within SQL that may be long, about every 20 us.
    pub(super) fn look(&self) {
        let mut state = self.0.state.lock();
        let now = Instant::now();
        match &mut *state {
            State::Idle => {
                *state = State::First(now);
                self.0.begun.store(true, Ordering::Relaxed);
            }
            State::First(since) => {
                if now.duration_since(*since) < FIRST_SLICE {
                    return;
                }
                *since = now;
                if let Some(runtime) = multi_threaded()
                    && let Some(place) = Place::take()
                    && hand_over(&runtime)
                {
                    *state = State::Away(place, now);
                }
            }
            State::Away(_, checked) => {
                if now.duration_since(*checked) >= LOOKS_AGAIN
                    && let Some(runtime) = multi_threaded()
                {
                    *checked = now;
                    hand_over(&runtime);
                }
            }
        }
    }

    /// The host call is over.
    #[inline]
    pub(super) fn end(&self) {
        if self.0.begun.load(Ordering::Relaxed) {
            self.ended();
        }
    }

    #[cold]
    fn ended(&self) {
        *self.0.state.lock() = State::Idle;
        self.0.begun.store(false, Ordering::Relaxed);
    }
}

/// The runtime, if it is one whose workers can be handed over. A `LocalSet` on such a runtime is not
/// told apart; generations are spawned, and never run in one.
fn multi_threaded() -> Option<Handle> {
    Handle::try_current()
        .ok()
        .filter(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread)
}

/// Hands this worker's core to another thread. `false`: no thread was there to take it in time.
fn hand_over(runtime: &Handle) -> bool {
    let (started, starts) = mpsc::sync_channel(1);
    tokio::task::block_in_place(|| {
        runtime.spawn_blocking(move || {
            // Nobody listens any more if it starts too late.
            let _ = started.send(());
        });
        starts.recv_timeout(HAND_OVER_MAX).is_ok()
    })
}
