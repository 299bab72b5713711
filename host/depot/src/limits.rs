//! Every number that bounds a session, with its unit and its reason, passed down as a value.

use std::sync::Arc;
use std::time::Duration;

use crate::page::PAGE_SIZE;
use crate::tally::Tally;

/// The longest that the first pause before a step is sent again may be; each further one may be
/// twice as long. 2 ms: a store that was only busy is asked again immediately.
pub(crate) const RETRY_PAUSE_MIN: Duration = Duration::from_millis(2);
/// The longest pause. 100 ms: a store that is back is noticed soon, and one that stays away is
/// asked about one or two hundred times within `step_deadline`.
pub(crate) const RETRY_PAUSE_MAX: Duration = Duration::from_millis(100);

/// Most bytes of pages in one commit step: one step stays a short transaction of the engine, and a
/// group of them bounded memory. Larger transactions are staged.
pub const COMMIT_BYTES_MAX: u64 = 128 << 20;

/// Misses in ascending order before a scan is believed. 4: a wake looks at fewer.
pub(crate) const SCAN_MISSES_MIN: u32 = 4;
/// Pages of the first question of a scan, the wanted one included. 4: little is lost if it was
/// none.
pub(crate) const SCAN_PAGES_MIN: u32 = 4;
/// How far after the page before the next page of a scan may lie, before anything is read ahead. 4
/// pages: leaves of one table, with pages of its indexes and inner pages between them.
pub(crate) const SCAN_GAP_MAX: u32 = 4;
/// Misses elsewhere, without a page that was read ahead between them, that a scan lives through. 2:
/// an inner page and one of another table.
pub(crate) const SCAN_STRAYS_MAX: u32 = 2;
/// How many times as much a question reads ahead that goes over a network: 2 MiB by default, so that a
/// scan of 50 MiB waits for the network less than 40 times.
pub(crate) const REMOTE_AHEAD: usize = 8;
/// The part of the cache that one question may fill, and that one scan leaves pages in: an eighth,
/// so that reading a large database once does not push out what others need.
pub(crate) const SCAN_CACHE_PART: usize = 8;
/// The part of the cache that a fork begins with at most, of its base's pages: an eighth, since
/// they push out what others have used.
pub(crate) const FORK_CACHE_PART: usize = 8;

/// What a depot allows its sessions.
#[derive(Clone, Debug)]
pub struct DepotLimits {
    /// Bytes of one commit. It bounds time and disk, not memory: see `step_bytes_max`.
    pub commit_bytes_max: u64,
    /// Bytes of pages in one step of the store. A larger transaction is staged in steps of this
    /// size, and held in a file until it is durable. It bounds a session's memory, and how long
    /// others wait for one step.
    pub step_bytes_max: u64,
    /// Bytes that a session collects while a commit is in flight, before `prepare` waits.
    pub pipeline_bytes_max: u64,
    /// Bytes of cached pages, over all sessions of the process.
    pub cache_bytes_max: u64,
    /// How long a step is sent and asked about. After it, the outcome is indeterminate. At most
    /// [`DepotLimits::STEP_DEADLINE_MAX`]: commit rows, which tell verdicts, must outlive it.
    pub step_deadline: Duration,
    /// How long one page miss may take, retries included.
    pub read_deadline: Duration,
    /// Pages that a takeover reads ahead, from page 1 on, in one answer of a store that is remote.
    /// 32 (128 KiB): a schema and its roots, since a table made early has its root early.
    pub preload_pages_max: u32,
    /// How long reading ahead may hold up a wake: as long as the first page would be waited for on
    /// a healthy network. 100 ms.
    pub preload_deadline: Duration,
    /// Most pages of one question to the store when pages are read in ascending order, the wanted
    /// one included; also bounded by the store's longest answer and by an eighth of the cache. 64
    /// (256 KiB): a scan waits for a network a 64th as often, and the store's reader is lent for a
    /// fraction of a millisecond. A store on a network is asked for eight times as many. 0 or 1:
    /// nothing is read ahead.
    pub read_ahead_pages_max: u32,
    /// Threads of the process that may wait inside SQLite at the same time: each is a blocked OS
    /// thread, and the runtime has only so many.
    pub parked_reads_max: usize,
    /// Bytes of in-memory state that a seal may hand over.
    pub snapshot_bytes_max: u64,
    /// Pages of one database: 16 GiB by default.
    pub database_pages_max: u32,
}

impl DepotLimits {
    /// The longest step deadline: below the age under which no commit row is trimmed.
    pub const STEP_DEADLINE_MAX: Duration = Duration::from_secs(20);
}

impl Default for DepotLimits {
    fn default() -> Self {
        Self {
            commit_bytes_max: 1 << 30,
            step_bytes_max: 4 << 20,
            pipeline_bytes_max: 64 << 20,
            cache_bytes_max: 64 << 20,
            step_deadline: Duration::from_secs(10),
            read_deadline: Duration::from_secs(5),
            preload_pages_max: 32,
            preload_deadline: Duration::from_millis(100),
            read_ahead_pages_max: 64,
            parked_reads_max: 128,
            snapshot_bytes_max: 16 << 20,
            database_pages_max: 1 << 22,
        }
    }
}

/// Pages that many databases may have together.
#[derive(Clone, Debug)]
pub struct PageShare {
    /// The pages that they have, as far as this process knows.
    pub pages: Arc<Tally>,
    /// The pages that they may have. Transactions that are committed at the same moment may exceed
    /// it together.
    pub pages_max: u64,
}

impl PageShare {
    /// Whether `grown` more pages would be too many.
    pub(crate) fn is_over(&self, grown: u32) -> bool {
        self.pages.value().saturating_add(u64::from(grown)) > self.pages_max
    }
}

/// Limits of one session that its kind may set below the depot's.
#[derive(Clone, Debug)]
pub struct SessionLimits {
    /// Bytes of one commit.
    pub commit_bytes_max: u64,
    /// Bytes of the database; rounded down to whole pages, at least one.
    pub database_bytes_max: u64,
    /// Bytes of in-memory state that its seal may hand over.
    pub snapshot_bytes_max: u64,
    /// What it shares with other databases; `None`: nothing.
    pub share: Option<PageShare>,
}

impl SessionLimits {
    /// The depot's limits with the lower ones of the session.
    pub(crate) fn within(&self, depot: &DepotLimits) -> DepotLimits {
        let pages = u32::try_from(self.database_bytes_max / PAGE_SIZE as u64).unwrap_or(u32::MAX);
        DepotLimits {
            commit_bytes_max: self.commit_bytes_max.min(depot.commit_bytes_max),
            database_pages_max: pages.clamp(1, depot.database_pages_max),
            snapshot_bytes_max: self.snapshot_bytes_max.min(depot.snapshot_bytes_max),
            ..depot.clone()
        }
    }
}

impl DepotLimits {
    /// Pages of one step, at least one and at most what a store takes.
    #[must_use]
    pub fn step_pages_max(&self) -> usize {
        let bytes = self.step_bytes_max.min(COMMIT_BYTES_MAX);
        usize::try_from(bytes / PAGE_SIZE as u64).unwrap_or(usize::MAX).max(1)
    }
}

/// Bytes of `pages` whole pages.
#[must_use]
pub(crate) fn bytes_of_pages(pages: u64) -> u64 {
    pages.saturating_mul(PAGE_SIZE as u64)
}
