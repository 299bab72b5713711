//! A number that is counted in the store now and then, and kept in between: what all databases of a
//! kind have together, say.
//!
//! ```text
//! value = what was counted last + what has changed here since that count began
//! ```
//! Changes by other processes between two counts are missing, and so are changes in flight at the
//! count.

use std::sync::atomic::{AtomicI64, Ordering};

/// See the module.
#[derive(Debug, Default)]
pub struct Tally {
    /// The sum of all changes made here.
    changed: AtomicI64,
    /// The last count, without the changes made here before that count.
    counted: AtomicI64,
}

/// Where a tally stood when a count began.
#[derive(Clone, Copy, Debug)]
pub struct Mark(i64);

impl Tally {
    /// Adds a change; returns the new value.
    pub fn add(&self, change: i64) -> u64 {
        let changed = self.changed.fetch_add(change, Ordering::Relaxed).saturating_add(change);
        self.with(changed)
    }

    /// The present value.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.with(self.changed.load(Ordering::Relaxed))
    }

    fn with(&self, changed: i64) -> u64 {
        let value = self.counted.load(Ordering::Relaxed).saturating_add(changed);
        // Below nothing: what was destroyed here was destroyed before it was counted, too.
        u64::try_from(value).unwrap_or(0)
    }

    /// Begins a count.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark(self.changed.load(Ordering::Relaxed))
    }

    /// Ends the count that began at `mark`, with the result `value`.
    pub fn set(&self, mark: Mark, value: u64) {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        self.counted.store(value.saturating_sub(mark.0), Ordering::Relaxed);
    }
}

/// The change from one number of things to another.
#[must_use]
pub fn change(from: u64, to: u64) -> i64 {
    let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    signed(to).saturating_sub(signed(from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_while_it_is_counted_is_kept() {
        let tally = Tally::default();
        assert_eq!((tally.add(3), tally.value()), (3, 3));
        let mark = tally.mark();
        tally.add(2);
        tally.set(mark, 100);
        assert_eq!(tally.value(), 102);
        assert_eq!(tally.add(change(50, 10)), 62);
        assert_eq!(tally.add(-100), 0);
    }
}
