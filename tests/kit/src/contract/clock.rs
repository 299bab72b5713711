//! The clock of the stores under test: the machine's, which a case may let pass.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use stockade_depot::store::embedded::Clock;
use stockade_depot::store::limits::COMMIT_ROWS_MS_MIN;

static AHEAD_MS: AtomicU64 = AtomicU64::new(0);

pub fn clock() -> Clock {
    Clock::new(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        u64::try_from(since.as_millis()).unwrap() + AHEAD_MS.load(Ordering::SeqCst)
    })
}

/// Makes every commit so far old enough to be trimmed, in all cases of the process. Commits that are
/// faster than one in a millisecond run ahead of the clock, hence the second half.
pub fn pass() {
    AHEAD_MS.fetch_add(2 * COMMIT_ROWS_MS_MIN, Ordering::SeqCst);
}
