//! Bounds the memory that all guests of a host take together: their linear memories, SQLite's
//! heaps, scratch that is not in files.
//!
//! ```text
//!  a guest grows, an actor wakes ──> taken from the pool ──> continues
//!                                        │ too little left
//!                                        ├─> a call can wait: bell ─> idle actors sleep, largest
//!                                        │   first ─> taken after all, or refused after a while
//!                                        └─> SQLite, which cannot wait: refused, bell
//! ```
//! From seven eighths on the bell rings for every growth, so that there is room when a growth comes
//! that cannot wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use stockade_vfs::memory::{Pool, Share};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

/// Memory of every awake actor: its instance, stack, connection and the first part of its memory.
/// 256 KiB: twice what a small one was measured at.
pub const ACTOR_BYTES: u64 = 256 << 10;

/// The first part of a linear memory, which belongs to [`ACTOR_BYTES`], and the grain of all growth
/// beyond it. 2 MiB: a guest of the SDK has 1.1, and touches a tenth of it.
pub const LINEAR_GRAIN_BYTES: u64 = 2 << 20;

/// How long a request for memory waits until idle actors have gone to sleep.
const ROOM_WITHIN: Duration = Duration::from_secs(2);
/// How often such a request tries again.
const TRY_EVERY: Duration = Duration::from_millis(2);

/// The memory of all guests.
#[derive(Debug)]
pub struct GuestMemory {
    pool: Arc<Pool>,
    bell: Arc<Notify>,
    waiting: AtomicUsize,
}

impl GuestMemory {
    /// A pool of `bytes_max` bytes.
    #[must_use]
    pub fn new(bytes_max: u64) -> Arc<Self> {
        let bell = Arc::new(Notify::new());
        let ring = Arc::clone(&bell);
        let pool = Pool::new(bytes_max, Box::new(move || ring.notify_one()));
        Arc::new(Self { pool, bell, waiting: AtomicUsize::new(0) })
    }

    /// The part of an actor, which holds nothing yet.
    #[must_use]
    pub fn part(self: &Arc<Self>) -> Part {
        Part { all: Arc::clone(self), share: Share::of(&self.pool) }
    }

    /// The name and size of the pool, for an error when memory runs out.
    #[must_use]
    pub fn overload(&self) -> (&'static str, u64) {
        ("bytes of the memory of all guests", self.pool.bytes_max())
    }

    /// The shared pool.
    #[must_use]
    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Tries for some seconds until `take` returns `true`. Returns whether it did.
    pub async fn taken(&self, take: impl Fn() -> bool) -> bool {
        if take() {
            return true;
        }
        let _waits = Waits::on(self);
        let until = Instant::now() + ROOM_WITHIN;
        while Instant::now() < until {
            sleep(TRY_EVERY).await;
            if take() {
                return true;
            }
        }
        false
    }

    /// Resolves when room should be made.
    pub async fn rang(&self) {
        self.bell.notified().await;
    }

    /// Whether a request waits for room.
    #[must_use]
    pub fn is_waited_for(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }
}

/// An actor's part of the memory. Given back when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Part {
    /// The memory of all guests.
    pub all: Arc<GuestMemory>,
    /// The memory that the actor holds.
    pub share: Arc<Share>,
}

/// A request that waits as long as this lives.
struct Waits<'a>(&'a GuestMemory);

impl<'a> Waits<'a> {
    fn on(memory: &'a GuestMemory) -> Self {
        memory.waiting.fetch_add(1, Ordering::Relaxed);
        memory.bell.notify_one();
        Self(memory)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_can_wait_gets_what_is_given_back_meanwhile() {
        let memory = GuestMemory::new(100);
        let (a, b) = (memory.part().share, memory.part().share);
        assert!(a.take(90));
        let giving = async {
            memory.rang().await;
            assert!(memory.is_waited_for());
            a.give(50);
        };
        let (taken, ()) = tokio::join!(memory.taken(|| b.take(60)), giving);
        assert!(taken && !memory.is_waited_for());
        assert_eq!(memory.pool().used(), 100);
    }

    #[tokio::test]
    async fn who_waits_in_vain_is_refused() {
        let memory = GuestMemory::new(100);
        let share = memory.part().share;
        assert!(!memory.taken(|| share.take(101)).await);
        assert!(!memory.is_waited_for() && share.held() == 0);
    }
}
