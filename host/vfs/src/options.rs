//! What one open database may use besides its pages.

use std::path::PathBuf;
use std::sync::Arc;

use stockade_sqlite::memory::Share;

/// Limits of one open database. Commit and database size are the session's: see
/// [`stockade_depot::DepotLimits`].
#[derive(Clone, Debug)]
pub struct VfsOptions {
    /// Where temporary data goes that does not fit in memory. Its files have no name: they vanish
    /// with the process, however it ends.
    pub scratch_directory: PathBuf,
    /// Bytes of journals, temporary tables and sorts together, in memory and on disk. Over it the
    /// statement gets `SQLITE_FULL` with [`crate::Fault::ScratchFull`].
    pub scratch_bytes_max: u64,
    /// How many of those bytes may be in memory. A file that would exceed it moves to disk.
    pub scratch_memory_bytes_max: u64,
    /// What that memory is taken from as well; a file that gets none moves to disk.
    pub memory: Option<Arc<Share>>,
    /// Pages that SQLite caches. Pages changed beyond them are handed to us early and count against
    /// `commit_bytes_max` immediately.
    pub cache_pages: u32,
}

impl VfsOptions {
    /// The usual limits: 256 MiB of scratch, 1 MiB of it in memory, 2 MiB of cached pages.
    #[must_use]
    pub fn new(scratch_directory: impl Into<PathBuf>) -> Self {
        Self {
            scratch_directory: scratch_directory.into(),
            scratch_bytes_max: 256 << 20,
            scratch_memory_bytes_max: 1 << 20,
            memory: None,
            cache_pages: 512,
        }
    }
}
