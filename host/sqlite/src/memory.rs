//! Memory that many databases share, and the share that each of them holds.
//!
//! ```text
//!  Pool: max | used        Share of a: 3 MiB     Share of b: 0     Share of c: 128 MiB
//!                            Grains of linear memory, of SQLite's heap, of scratch in memory
//! ```
//! The first grain of each use is not taken from the pool: it belongs to the fixed cost of an
//! actor, which is taken in one piece when the actor is opened. So small actors never touch the
//! pool's counter.
//!
//! Invariants:
//! - No more is held than the pool has, even when many threads take at the same time.
//! - A share gives back all that it holds when it is dropped; grains give back what they cover.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Called when little is left, on the thread that takes: the callback must not block.
pub type OnScarce = Box<dyn Fn() + Send + Sync>;

/// A bound over the memory of all holders of a [`Share`].
pub struct Pool {
    bytes_max: u64,
    /// Bytes held from which on `on_scarce` is called.
    scarce_from: u64,
    used: AtomicU64,
    closed: AtomicBool,
    on_scarce: OnScarce,
}

impl Pool {
    /// A pool of `bytes_max` bytes. `on_scarce` is called when more than seven eighths are held,
    /// and at every refusal.
    #[must_use]
    pub fn new(bytes_max: u64, on_scarce: OnScarce) -> Arc<Self> {
        let scarce_from = bytes_max / 8 * 7;
        let (used, closed) = (AtomicU64::new(0), AtomicBool::new(false));
        Arc::new(Self { bytes_max, scarce_from, used, closed, on_scarce })
    }

    /// A pool without a bound.
    #[must_use]
    pub fn unbounded() -> Arc<Self> {
        Self::new(u64::MAX, Box::new(|| {}))
    }

    /// Bytes that may be held.
    #[must_use]
    pub fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    /// Bytes held now.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether more is held than the pool should hold for long.
    #[must_use]
    pub fn is_scarce(&self) -> bool {
        self.is_closed() || self.used() > self.scarce_from
    }

    /// Opens or closes the pool: a closed pool gives no memory, whatever is left.
    pub fn set_closed(&self, closed: bool) {
        self.closed.store(closed, Ordering::Relaxed);
    }

    /// Reports that memory is wanted.
    pub fn ring(&self) {
        (self.on_scarce)();
    }

    /// Whether the pool is closed at the moment.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: u64) -> bool {
        let more = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.bytes_max);
        let taken = !self.is_closed()
            && self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok();
        if !taken || self.used() > self.scarce_from {
            (self.on_scarce)();
        }
        taken
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bytes_max, used, closed, .. } = self;
        f.debug_struct("Pool")
            .field("bytes_max", bytes_max)
            .field("used", used)
            .field("closed", closed)
            .finish_non_exhaustive()
    }
}

/// The memory of one database and its guest.
#[derive(Debug)]
pub struct Share {
    pool: Arc<Pool>,
    held: AtomicU64,
}

impl Share {
    /// A share that holds nothing yet.
    #[must_use]
    pub fn of(pool: &Arc<Pool>) -> Arc<Self> {
        Arc::new(Self { pool: Arc::clone(pool), held: AtomicU64::new(0) })
    }

    /// Takes bytes, all or none. Returns whether they were taken.
    #[must_use]
    pub fn take(&self, bytes: u64) -> bool {
        let taken = bytes == 0 || self.pool.take(bytes);
        if taken {
            self.held.fetch_add(bytes, Ordering::Relaxed);
        }
        taken
    }

    /// Gives back bytes that were taken.
    pub fn give(&self, bytes: u64) {
        let held = self.held.fetch_sub(bytes, Ordering::Relaxed);
        debug_assert!(held >= bytes, "{bytes} bytes are given back of {held}");
        self.pool.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Bytes that the share holds.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// The pool of this share.
    #[must_use]
    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.give(self.held());
    }
}

/// One use of a share, taken in grains of a fixed size, so that most growth touches no pool.
#[derive(Debug)]
pub struct Grains {
    share: Arc<Share>,
    grain: u64,
    /// The size that the use may reach before more is taken: a multiple of the grain.
    covered: AtomicU64,
}

impl Grains {
    /// Covers one grain, which is free.
    #[must_use]
    pub fn of(share: &Arc<Share>, grain: u64) -> Self {
        Self { share: Arc::clone(share), grain, covered: AtomicU64::new(grain) }
    }

    /// Makes sure that a use of `bytes` is covered. Returns whether it is; if not, nothing was
    /// taken.
    #[must_use]
    pub fn cover(&self, bytes: u64) -> bool {
        bytes <= self.covered.load(Ordering::Relaxed) || self.take(bytes)
    }

    #[cold]
    fn take(&self, bytes: u64) -> bool {
        let wanted = bytes.div_ceil(self.grain).saturating_mul(self.grain);
        loop {
            let covered = self.covered.load(Ordering::Relaxed);
            if wanted <= covered {
                return true;
            }
            if !self.share.take(wanted - covered) {
                return false;
            }
            if self.exchange(covered, wanted) {
                return true;
            }
            self.share.give(wanted - covered);
        }
    }

    /// Gives back the grains beyond the bytes in use.
    pub fn settle(&self, used: u64) {
        let needed = used.div_ceil(self.grain).max(1).saturating_mul(self.grain);
        let covered = self.covered.load(Ordering::Relaxed);
        if needed < covered && self.exchange(covered, needed) {
            self.share.give(covered - needed);
        }
    }

    fn exchange(&self, covered: u64, next: u64) -> bool {
        let order = Ordering::Relaxed;
        self.covered.compare_exchange(covered, next, order, order).is_ok()
    }
}

impl Drop for Grains {
    fn drop(&mut self) {
        self.settle(0);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn no_more_is_held_than_there_is_and_a_dropped_share_gives_it_back() {
        let told = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&told);
        let on_scarce = move || {
            count.fetch_add(1, Ordering::Relaxed);
        };
        let pool = Pool::new(800, Box::new(on_scarce));
        let (a, b) = (Share::of(&pool), Share::of(&pool));
        assert!(a.take(400) && b.take(300));
        assert_eq!((pool.is_scarce(), told.load(Ordering::Relaxed)), (false, 0));
        assert!(!b.take(101) && !b.take(u64::MAX), "nothing is taken");
        assert_eq!((pool.used(), told.load(Ordering::Relaxed)), (700, 2));
        assert!(b.take(100) && pool.is_scarce());
        b.give(50);
        drop(a);
        assert_eq!((pool.used(), b.held(), pool.is_scarce()), (350, 350, false));
        pool.set_closed(true);
        assert!(!b.take(1) && b.take(0) && pool.is_scarce());
        pool.set_closed(false);
        assert!(b.take(1));
    }

    #[test]
    fn grains_cover_a_use_and_the_first_is_free() {
        let pool = Pool::new(100, Box::new(|| {}));
        let share = Share::of(&pool);
        let grains = Grains::of(&share, 10);
        assert!(grains.cover(10));
        assert_eq!(pool.used(), 0);
        assert!(grains.cover(11) && grains.cover(20));
        assert_eq!(pool.used(), 10);
        assert!(!grains.cover(111) && !grains.cover(u64::MAX));
        assert!(grains.cover(110));
        assert_eq!((pool.used(), share.held()), (100, 100));
        grains.settle(25);
        assert_eq!(pool.used(), 20);
        drop(grains);
        assert_eq!(pool.used(), 0);
    }

    #[test]
    fn many_who_take_at_once_stay_within_it() {
        let pool = Pool::new(10_000, Box::new(|| {}));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for bytes in 1..3_000 {
                        let share = Share::of(&pool);
                        let taken = share.take(bytes) && share.take(bytes);
                        assert!(pool.used() <= 10_000, "{taken}");
                    }
                });
            }
        });
        assert_eq!(pool.used(), 0);
    }
}
