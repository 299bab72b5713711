//! The configuration of an embedded store: its directory, and its limits.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::store::limits;

/// Tells the time twice. Milliseconds since the Unix epoch label commits, for people, and looks for due
/// work: the store decides nothing by them. Milliseconds that only go forward, from any beginning,
/// tell how old history is.
#[derive(Clone)]
pub struct Clock {
    now_ms: Arc<dyn Fn() -> u64 + Send + Sync>,
    steady_ms: Arc<dyn Fn() -> u64 + Send + Sync>,
}

impl Clock {
    /// A clock of your own, which is both: a simulation's.
    pub fn new(now_ms: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        let now_ms: Arc<dyn Fn() -> u64 + Send + Sync> = Arc::new(now_ms);
        Self { steady_ms: Arc::clone(&now_ms), now_ms }
    }

    /// A clock whose label of a moment and whose count of elapsed time differ, as a machine's do
    /// whose clock is wrong or is set.
    pub fn apart(
        now_ms: impl Fn() -> u64 + Send + Sync + 'static,
        steady_ms: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Self {
        Self { now_ms: Arc::new(now_ms), steady_ms: Arc::new(steady_ms) }
    }

    /// The machine's clock.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "the one home of the wall clock")]
    pub fn system() -> Self {
        let begun = Instant::now();
        let ms = |passed: Duration| u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
        Self::apart(
            move || ms(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()),
            move || ms(begun.elapsed()),
        )
    }

    /// What a moment is labelled with: milliseconds since the Unix epoch.
    #[doc(hidden)]
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        (self.now_ms)()
    }

    pub(super) fn steady_ms(&self) -> u64 {
        (self.steady_ms)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// How an embedded store works. Start from [`EmbeddedConfig::new`].
#[derive(Clone, Debug)]
pub struct EmbeddedConfig {
    /// Where the files are. Made if missing, readable by its owner only.
    pub directory: PathBuf,
    /// Shards of a *new* store, 1 to 64. An existing store keeps what it was made with.
    pub shards: u8,
    /// Most bytes that one group of steps writes before its sync. A single larger step is a group
    /// of its own.
    pub group_bytes_max: u64,
    /// Most steps in one group: bounds what one failed sync leaves unknown.
    pub group_members_max: usize,
    /// Most steps that wait for a file's committer.
    pub queue_members_max: usize,
    /// Most bytes of the steps that wait for a file's committer.
    pub queue_bytes_max: u64,
    /// How long a step waits for a place in a full queue before it is `Unavailable`.
    pub queue_wait: Duration,
    /// The write-ahead log of a file never grows past this, one group and 256 KiB: the committer
    /// waits for a checkpoint then.
    pub wal_bytes_max: u64,
    /// A background checkpoint starts when this much was written since the last one.
    pub wal_checkpoint_bytes: u64,
    /// How long to wait for another process that holds a file's lock.
    pub busy_wait: Duration,
    /// Most bytes of one file; `None`: what the disk has. Over it steps are refused: store full.
    pub file_bytes_max: Option<u64>,
    /// Bytes that are kept free on the disk, so that a full store can continue its own work, at
    /// most an eighth of the disk. 0: nothing is kept.
    pub reserve_bytes: u64,
    /// Most connections that read one file at a time.
    pub readers_max: usize,
    /// SQLite's VFS that the files are opened through, by name; `None`: the default one. For tests
    /// that watch what reaches the disk.
    pub vfs: Option<String>,
    /// Labels commits, and tells how old they are.
    pub clock: Clock,
    /// Whether the store opens although something of it is known to be lost. What it was is in
    /// [`EmbeddedStore::losses`](super::EmbeddedStore::losses) from then on.
    pub accept_loss: bool,
    /// How often a file that is written raises its high-water mark and tells the others.
    pub marks_every: Duration,
}

impl EmbeddedConfig {
    /// Two shards by default: on one disk a second file lets one group be written while the other
    /// syncs. Measured with 64 writers on a busy 2-core machine: 3,500 commits/s with one file,
    /// 5,400 with two, 6,600 with four, each of which costs two threads and its caches.
    pub const SHARDS: u8 = 2;
    /// Most shards: each costs two threads and a few connections.
    pub const SHARDS_MAX: u8 = 64;

    /// Defaults for a directory.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            shards: Self::SHARDS,
            group_bytes_max: 8 << 20,
            group_members_max: 256,
            queue_members_max: 1024,
            queue_bytes_max: 256 << 20,
            queue_wait: Duration::from_secs(5),
            wal_bytes_max: 64 << 20,
            wal_checkpoint_bytes: 16 << 20,
            busy_wait: Duration::from_secs(5),
            file_bytes_max: None,
            reserve_bytes: limits::RESERVE_BYTES,
            readers_max: 16,
            vfs: None,
            clock: Clock::system(),
            accept_loss: false,
            marks_every: limits::MARKS_EVERY,
        }
    }
}
