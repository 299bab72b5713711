//! How much of the process's memory SQLite may use for one database.
//!
//! SQLite bounds single values, not their sum: a text of 600 bytes can make it build expressions of
//! gigabytes before anybody is asked, and a row may have 256 columns of 16 MiB. So SQLite allocates
//! through us. What it allocates while a thread is [`Heap::within`] an account is charged to that
//! account until it is freed, wherever that happens; over the limit SQLite gets no memory, rolls
//! back what it did, and reports `SQLITE_NOMEM`. That bounds the time spent in such places as well.
//!
//! Not charged: what SQLite allocates outside of `within` (opening, the host's own databases), the
//! file layer's pages and scratch (they have limits of their own), and 16 bytes per allocation.

mod ffi;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The account of one database. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Heap(Arc<Account>);

/// What is charged, and what may be.
#[derive(Debug)]
struct Account {
    used: AtomicUsize,
    max: usize,
}

impl Heap {
    /// An account that may be charged with `bytes_max` bytes.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self(Arc::new(Account { used: AtomicUsize::new(0), max: bytes_max }))
    }

    /// Bytes charged at the moment.
    #[must_use]
    pub fn used(&self) -> usize {
        self.0.used.load(Ordering::Relaxed)
    }

    /// Charges what SQLite allocates on this thread during `work`. File operations are excepted.
    #[inline]
    pub fn within<T>(&self, work: impl FnOnce() -> T) -> T {
        ffi::charged_to(Some(&self.0), work)
    }
}

impl Account {
    /// `false` if it is too much; nothing is charged then.
    fn charge(&self, bytes: usize) -> bool {
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        let fits = before.saturating_add(bytes) <= self.max;
        if !fits {
            self.release(bytes);
        }
        fits
    }

    fn release(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Makes SQLite allocate through us, for the whole process. To be called before anything uses
/// SQLite; later calls do nothing. `false`: SQLite was in use already, so nothing will be charged.
pub fn install() -> bool {
    ffi::install()
}

/// Charges nobody during `work`: for what a file operation does on SQLite's behalf.
pub(crate) fn uncharged<T>(work: impl FnOnce() -> T) -> T {
    ffi::charged_to(None, work)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_much_charges_nothing() {
        let account = Account { used: AtomicUsize::new(0), max: 100 };
        assert!(account.charge(60));
        assert!(!account.charge(41));
        assert!(account.charge(40));
        account.release(100);
        assert_eq!(account.used.load(Ordering::Relaxed), 0);
    }
}
