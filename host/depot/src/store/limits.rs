//! What one step may carry. The same on every store, so that what works on a laptop works in
//! production.

use std::time::Duration;

use crate::error::{Limit, StoreError};
pub use crate::limits::COMMIT_BYTES_MAX;

/// Most pages in one read step: 2 MiB.
pub const READ_PAGES_MAX: usize = 512;
/// Most rows in one page of a listing: an answer stays well below 1 MiB.
pub const LIST_ROWS_MAX: usize = 1000;
/// Most actors that one look for due work answers: an answer stays well below 1 MiB.
pub const DUE_ROWS_MAX: usize = 1000;
/// Most actors that one look of a count passes: some 10 ms of a reader.
pub const COUNT_ROWS_MAX: usize = 10_000;
/// Most bytes of the system's list of locks that are read: 4 MiB, some 50,000 locks.
pub const LOCKS_BYTES_MAX: u64 = 4 << 20;
/// How often the log says that another process keeps a store's file. A minute.
pub const HELD_TOLD_EVERY: Duration = Duration::from_secs(60);
/// Most bytes of handed-over in-memory state: it is read whole when the actor wakes.
pub const SNAPSHOT_BYTES_MAX: u64 = 64 << 20;
/// Most bytes of a component: one row, read whole when it is compiled.
pub const COMPONENT_BYTES_MAX: u64 = 256 << 20;
/// Most bytes of a kind's settings.
pub const MANIFEST_BYTES_MAX: u64 = 1 << 20;
/// Most pages of one database: 64 GiB. SQLite allows more; a database of one actor should not.
pub const DATABASE_PAGES_MAX: u32 = 1 << 24;
/// Most rows that one step of a destroy deletes: a few milliseconds, so that others get their turn.
pub const DESTROY_ROWS_MAX: u32 = 2000;
/// Most staged rows that one step of their collection deletes, for the same reason.
pub const COLLECT_ROWS_MAX: u32 = 2000;
/// Most page rows that one step of trimming looks at, and most rows that one deletes: a few
/// milliseconds, so that others get their turn.
pub const TRIM_ROWS_MAX: u32 = 1000;
/// Most commits that the floor passes in one step.
pub const FLOOR_COMMITS_MAX: u32 = 1000;
/// The floor never passes a commit younger than this, whatever is asked for, by the time that has
/// passed in the process that raises it: its row is the verdict for a caller that has not got it
/// yet (D3). 30 s: above the longest step deadline.
pub const COMMIT_ROWS_MS_MIN: u64 = 30_000;
/// Most databases of one file whose commits' ages a process keeps. 65,536: some 15 MiB. Others are
/// trimmed when they have been known for as long as their history is kept.
pub const AGED_DATABASES_MAX: usize = 1 << 16;
/// How far a commit's time may be from this machine's clock before that is logged, in milliseconds.
/// A minute: what history is kept for by default.
pub const CLOCK_AWAY_MS: u64 = 60_000;
/// How often that is logged, in milliseconds. A minute.
pub const CLOCK_AWAY_TOLD_EVERY_MS: u64 = 60_000;
/// Most bytes of a pin's name.
pub const PIN_NAME_BYTES_MAX: u64 = 256;
/// Most heirs that one step claims: about a millisecond.
pub const CLAIM_HEIRS_MAX: usize = 256;
/// Most rows that one look of a check reads: about a millisecond, so that others get their turn.
pub const CHECK_ROWS_MAX: usize = 256;
/// Most things that the engine says of one file or table: a damaged inner page says one for each
/// row.
pub const CHECK_FINDINGS_MAX: usize = 100;
/// Steps of SQLite between two looks whether the log needs the room that a check holds: some 10 us.
pub const CHECK_STEPS: std::ffi::c_int = 1000;
/// How often a check of a file gives way to its log before it says that it was not done. 3: a log
/// that needs room so often has no quieter moment now.
pub const CHECK_TRIES_MAX: u32 = 3;
/// Longest chain of bases that a read follows.
pub const BASE_DEPTH_MAX: usize = 16;
/// How often a file that is written raises its high-water mark and tells the others. 1 s: what is
/// put back from before the last second is noticed, and an active file pays two small groups for
/// it.
pub const MARKS_EVERY: Duration = Duration::from_secs(1);
/// The longest wait for another process that is opening the same store. 30 s: it reads logs and
/// recovers them, which takes seconds for many large ones.
pub const OPENING_WAIT: Duration = Duration::from_secs(30);
/// How often the wait looks again. 5 ms: below what opening takes.
pub const OPENING_PAUSE: Duration = Duration::from_millis(5);
/// Most copies of damaged logs that are kept of one file. 8: each is as long as a log may be, and
/// more of them than this are a disk that fails.
pub const DAMAGED_LOGS_MAX: u32 = 8;
/// Most accepted losses that are listed, newest first.
pub const LOSSES_MAX: u32 = 1000;

/// How often it is looked whether the files of an open store are still where they were, and whether
/// its disk has room. 2 s: what goes wrong is known within 5 s, also behind a checkpoint.
pub const WATCH_EVERY: Duration = Duration::from_secs(2);
/// Bytes of the file that keeps room on a store's disk for takeovers, trims, destroys and
/// checkpoints. 16 MiB: what a log holds when its checkpoint begins.
pub const RESERVE_BYTES: u64 = 16 << 20;
/// The part of a disk that the reserve is at most: an eighth, on small disks.
pub const RESERVE_PART: u64 = 8;
/// Bytes that a disk must have left for a guest's step beside all that it needs; below it the
/// reserve is given up. 1 MiB: the log's index and the file system's own needs.
pub const ROOM_BYTES_MIN: u64 = 1 << 20;
/// How often a store without its reserve tries to make it again. 250 ms: each try is two questions
/// to the file system.
pub const RESERVE_TRIED_EVERY: Duration = Duration::from_millis(250);
/// How often a full store says so in the log. A minute.
pub const FULL_TOLD_EVERY: Duration = Duration::from_secs(60);

/// Refuses `actual` over `max`.
///
/// # Errors
/// `Refused` with the limit and both numbers.
pub fn check(limit: Limit, actual: u64, max: u64) -> Result<(), StoreError> {
    if actual > max { Err(StoreError::Refused { limit, actual, max }) } else { Ok(()) }
}

/// A length as a number that a limit compares with.
#[must_use]
pub fn len(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
