//! How much of the process's memory SQLite may use for one database.
//!
//! SQLite bounds single values, not their sum: a text of 600 bytes can make SQLite build
//! expressions of gigabytes before any limit is checked, and a row may have 256 columns of 16 MiB.
//! So SQLite allocates through us. Each allocation made while a thread is [`Heap::within`] an
//! account is charged to that account until the allocation is freed, on any thread; over the limit
//! SQLite gets no memory, rolls back its work, and reports `SQLITE_NOMEM`. That bounds the time
//! spent in such places as well.
//!
//! No other code looks at the clock while SQLite works on one large value, so the owner of the
//! account is asked before each allocation of [`LARGE_BYTES`] and more whether the work may
//! continue; if not, SQLite gets no memory and ends the statement.
//!
//! SQLite bounds the depth of one expression, not that of expressions that it puts into each other:
//! subqueries, views and generated columns of a few KiB need megabytes of stack. It allocates on
//! the way down, so an allocation from too deep a stack is refused as well: see
//! [`STACK_BYTES_MAX`].
//!
//! An account may take what it uses from a [`Share`] as well, in grains of [`GRAIN_BYTES`].
//!
//! Not charged: what SQLite allocates outside of `within` (opening, the host's own databases), the
//! file layer's pages and scratch (they have limits of their own), and 16 bytes per allocation.

mod allocator;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use crate::memory::{Grains, Share};

/// Before an allocation of so many bytes the owner is asked. 64 KiB: far above rows and pages of a
/// usual actor, and worked on in tens of microseconds.
pub const LARGE_BYTES: usize = 64 << 10;

/// How deep the stack may be below [`Heap::within`] when SQLite allocates. 1 MiB: every statement
/// at SQLite's own bounds on one expression, one compound SELECT or one chain of views or triggers
/// takes less (1,000 levels of `IN` take 640 KiB, the most).
pub const STACK_BYTES_MAX: usize = 1 << 20;

/// How much stack SQLite may use below [`Heap::within`] in total. An expression that was put
/// together within [`STACK_BYTES_MAX`], a small frame for each level, is then translated with
/// frames up to 3.2 times as large (measured over twelve forms of expressions: 3.3 MiB at most). A
/// thread that runs SQL must have 5 MiB left.
pub const STACK_BYTES_NEEDED: usize = 5 << 20;

/// The bytes that an account takes of its share at a time. 128 KiB: the connection of a usual actor
/// has less.
pub const GRAIN_BYTES: u64 = 128 << 10;

/// Why an allocation was refused, if not for the account's own bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Refusal {
    /// The stack is deeper than [`STACK_BYTES_MAX`].
    Depth = 1,
    /// The pool that the account takes from has no more.
    Share = 2,
}

/// No [`Refusal`].
const NOT_REFUSED: u8 = 0;

/// Whether the work of an account may continue. Asked on the thread that works, inside of SQLite:
/// the callback must not use the database.
pub type Ask = Box<dyn Fn() -> bool + Send + Sync>;

/// The account of one database. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Heap(Arc<Account>);

/// The bytes charged, and the bytes that may be.
struct Account {
    used: AtomicUsize,
    max: usize,
    ask: Option<Ask>,
    /// The share that `used` is taken from as well.
    grains: Option<Grains>,
    /// Why an allocation was refused last since `within` began, if it was not `max`.
    refusal: AtomicU8,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { used, max, .. } = self;
        f.debug_struct("Account").field("used", used).field("max", max).finish_non_exhaustive()
    }
}

impl Heap {
    /// An account that may be charged with `bytes_max` bytes.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self(Arc::new(Account::new(bytes_max, None, None)))
    }

    /// The same, which takes from a share as well, and whose owner is asked before each large
    /// allocation.
    #[must_use]
    pub fn asking(bytes_max: usize, share: &Arc<Share>, ask: Ask) -> Self {
        let grains = Grains::of(share, GRAIN_BYTES);
        Self(Arc::new(Account::new(bytes_max, Some(grains), Some(ask))))
    }

    /// Bytes charged at the moment.
    #[must_use]
    pub fn used(&self) -> usize {
        self.0.used.load(Ordering::Relaxed)
    }

    /// Charges what SQLite allocates on this thread during `work`, and bounds the depth of its
    /// stack from here. File operations are excepted from the charge.
    ///
    /// The stack has [`STACK_BYTES_NEEDED`] left.
    #[inline]
    pub fn within<T>(&self, work: impl FnOnce() -> T) -> T {
        self.0.refusal.store(NOT_REFUSED, Ordering::Relaxed);
        allocator::charged_to(Some(&self.0), work)
    }

    /// Gives back whole grains that the share covers beyond the bytes in use. The thread that works
    /// within the account calls this between two works.
    pub fn settle(&self) {
        if let Some(grains) = &self.0.grains {
            grains.settle(self.used() as u64);
        }
    }

    /// The reason of the last refused allocation, if not the account's own bound. Forgets it.
    #[must_use]
    pub fn take_refusal(&self) -> Option<Refusal> {
        let refusal = self.0.refusal.swap(NOT_REFUSED, Ordering::Relaxed);
        [Refusal::Depth, Refusal::Share].into_iter().find(|it| *it as u8 == refusal)
    }
}

impl Account {
    fn new(max: usize, grains: Option<Grains>, ask: Option<Ask>) -> Self {
        Self { used: AtomicUsize::new(0), max, ask, grains, refusal: AtomicU8::new(NOT_REFUSED) }
    }

    /// Returns `false` if the bytes are too many, or the owner refuses; then nothing is charged.
    fn charge(&self, bytes: usize) -> bool {
        if bytes >= LARGE_BYTES && self.ask.as_ref().is_some_and(|may_go_on| !may_go_on()) {
            return false;
        }
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        let after = before.saturating_add(bytes);
        let fits = after <= self.max && self.is_covered(after);
        if !fits {
            self.release(bytes);
        }
        fits
    }

    fn release(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn note(&self, refusal: Refusal) {
        self.refusal.store(refusal as u8, Ordering::Relaxed);
    }

    /// Whether the share covers `bytes`.
    #[inline]
    fn is_covered(&self, bytes: usize) -> bool {
        let is_covered = self.grains.as_ref().is_none_or(|grains| grains.cover(bytes as u64));
        if !is_covered {
            self.note(Refusal::Share);
        }
        is_covered
    }
}

/// Makes SQLite allocate through us, for the whole process. To be called before any use of SQLite;
/// later calls do nothing. Returns `false` if SQLite was in use already, so that nothing will be
/// charged.
pub fn install() -> bool {
    allocator::install()
}

/// Charges no account during `work`: for the work of a file operation on SQLite's behalf.
#[inline]
pub fn uncharged<T>(work: impl FnOnce() -> T) -> T {
    allocator::charged_to(None, work)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Pool;

    #[test]
    fn too_much_charges_nothing() {
        let account = Account::new(100, None, None);
        assert!(account.charge(60));
        assert!(!account.charge(41));
        assert!(account.charge(40));
        account.release(100);
        assert_eq!(account.used.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_the_share_does_not_have_is_not_charged() {
        let pool = Pool::new(2 * GRAIN_BYTES, Box::new(|| {}));
        let share = Share::of(&pool);
        let heap = Heap::asking(usize::MAX, &share, Box::new(|| true));
        let grain = usize::try_from(GRAIN_BYTES).expect("fits");
        assert!(heap.0.charge(grain) && pool.used() == 0);
        assert!(heap.0.charge(2 * grain) && pool.used() == 2 * GRAIN_BYTES);
        assert_eq!(heap.take_refusal(), None);
        assert!(!heap.0.charge(1));
        assert_eq!((heap.take_refusal(), heap.take_refusal()), (Some(Refusal::Share), None));
        heap.0.release(2 * grain);
        assert_eq!((heap.used(), pool.used()), (grain, 2 * GRAIN_BYTES), "until it is settled");
        heap.settle();
        assert_eq!(pool.used(), 0);
        assert!(heap.0.charge(1));
        drop(heap);
        assert_eq!(pool.used(), 0);
    }

    #[test]
    fn large_allocations_ask_and_small_ones_do_not() {
        let account = Account::new(usize::MAX, None, Some(Box::new(|| false)));
        assert!(account.charge(LARGE_BYTES - 1));
        assert!(!account.charge(LARGE_BYTES));
        assert_eq!(account.used.load(Ordering::Relaxed), LARGE_BYTES - 1);
    }
}
