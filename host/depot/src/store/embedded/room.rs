//! Room on the disk: a reserve for what keeps a store going, and the steps that are refused without
//! it.
//!
//! ```text
//! room      reserve held      guests' steps run if the disk can take them, and a checkpoint after
//! tight     reserve held      the log is copied and starts over first; then as above
//! full      reserve given up  guests' steps are refused, but for those that need no room;
//!                             takeovers, seals, trims, destroys and checkpoints use the reserve
//! ```
//! The reserve is a file in the store's directory, so its being there tells every process on the
//! directory the same. It is made again when there is room for it.
//!
//! Invariant: what a guest's step adds to log and database fits on the disk beside all that logs
//! still owe to their databases. So a store that fills its disk by itself can always be
//! checkpointed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Instant;

use parking_lot::Mutex;
use rusqlite::Connection;
use rustix::fs::{FallocateFlags, fallocate, statvfs};

use super::config::EmbeddedConfig;
use super::wal::Wal;
use crate::error::StoreFull;
use crate::store::limits::{FULL_TOLD_EVERY, RESERVE_PART, RESERVE_TRIED_EVERY, ROOM_BYTES_MIN};

/// Name of the reserve in the store's directory.
const RESERVE: &str = "reserve";
/// What a step changes beside the rows it writes: inner pages of trees, index pages. 64 KiB.
const STEP_EXTRA_BYTES: u64 = 64 << 10;

/// The room of one store's disk.
pub(super) struct Room {
    directory: PathBuf,
    reserve: PathBuf,
    reserve_bytes: u64,
    /// [`State::held`], for a look without the lock.
    held: AtomicBool,
    /// Whether [`State::full`] is there.
    is_full: AtomicBool,
    state: Mutex<State>,
    logs: Mutex<Vec<Weak<Wal>>>,
}

#[derive(Default)]
struct State {
    held: bool,
    /// What was last refused, until something is accepted or the reserve is back.
    full: Option<StoreFull>,
    /// When that was logged.
    logged: Option<Instant>,
    /// When the reserve was last tried.
    tried: Option<Instant>,
}

impl Room {
    /// The room of a store that is about to be opened. On a full disk the reserve is given up
    /// before the first file is opened, which may need room.
    pub(super) fn before_open(config: &EmbeddedConfig) -> Arc<Self> {
        let directory = config.directory.clone();
        let reserve = directory.join(RESERVE);
        let room = Self {
            reserve_bytes: config.reserve_bytes,
            held: AtomicBool::new(false),
            is_full: AtomicBool::new(false),
            state: Mutex::default(),
            logs: Mutex::default(),
            directory,
            reserve,
        };
        if room.free() < ROOM_BYTES_MIN {
            room.give_up(&mut room.state.lock());
        }
        Arc::new(room)
    }

    /// Counts what a log owes to its database from now on.
    pub(super) fn share(&self, log: &Arc<Wal>) {
        self.logs.lock().push(Arc::downgrade(log));
    }

    /// Bytes that the disk has left. One that does not tell has enough: its errors tell.
    pub(super) fn free(&self) -> u64 {
        statvfs(&self.directory)
            .map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    /// Looks whether another process has given the reserve up, or whether it can be made again.
    pub(super) fn look(&self) {
        let mut state = self.state.lock();
        let is_there = fs::metadata(&self.reserve).is_ok();
        self.set_held(&mut state, is_there);
        let free = self.free();
        if is_there && free < ROOM_BYTES_MIN {
            self.give_up(&mut state);
        }
        if !state.held {
            self.make(&mut state);
        }
        if !state.held {
            let full = StoreFull { path: self.directory.clone(), free_bytes: free };
            self.tell(&mut state, full);
        }
    }

    /// Why guests' steps are refused now, if they are.
    pub(super) fn full(&self) -> Option<StoreFull> {
        self.is_full.load(Ordering::Relaxed).then(|| self.state.lock().full.clone()).flatten()
    }

    /// A step was refused for want of room.
    pub(super) fn refused(&self, full: &StoreFull) {
        self.tell(&mut self.state.lock(), full.clone());
    }

    /// A guest's step was done.
    pub(super) fn accepted(&self) {
        if self.is_full.load(Ordering::Relaxed) && self.held.load(Ordering::Relaxed) {
            self.clear(&mut self.state.lock());
        }
    }

    /// What all logs owe to their databases, in bytes.
    fn owed(&self) -> u64 {
        self.logs().iter().map(|log| log.held().1).sum()
    }

    fn logs(&self) -> Vec<Arc<Wal>> {
        self.logs.lock().iter().filter_map(Weak::upgrade).collect()
    }

    /// Whether a step may run that takes `growth` bytes of the disk.
    fn grant(&self, growth: u64) -> Result<(), StoreFull> {
        let mut state = self.state.lock();
        if growth == 0 {
            return Ok(());
        }
        if !state.held {
            self.make(&mut state);
        }
        let free = self.free();
        if state.held && free >= growth.saturating_add(ROOM_BYTES_MIN) {
            return Ok(());
        }
        Err(StoreFull { path: self.directory.clone(), free_bytes: free })
    }

    /// Makes the reserve, if there is room for it and some more.
    fn make(&self, state: &mut State) {
        if state.tried.is_some_and(|tried| tried.elapsed() < RESERVE_TRIED_EVERY) {
            return;
        }
        state.tried = Some(Instant::now());
        let bytes = self.reserve_bytes.min(self.disk_bytes() / RESERVE_PART);
        if self.free() < bytes.saturating_add(2 * ROOM_BYTES_MIN) {
            return;
        }
        match allocate(&self.reserve, bytes) {
            Ok(()) => {
                self.set_held(state, true);
                if state.full.is_some() {
                    tracing::info!(directory = %self.directory.display(), "store has room again");
                    self.clear(state);
                }
            }
            Err(error) => {
                drop(fs::remove_file(&self.reserve));
                tracing::debug!(%error, "no room for the reserve of the store");
            }
        }
    }

    fn disk_bytes(&self) -> u64 {
        let disk = statvfs(&self.directory);
        disk.map_or(u64::MAX, |disk| disk.f_blocks.saturating_mul(disk.f_frsize))
    }

    /// Frees the reserve for what keeps the store going.
    fn give_up(&self, state: &mut State) {
        if fs::remove_file(&self.reserve).is_ok() {
            let free_bytes = self.free();
            tracing::warn!(
                directory = %self.directory.display(), free_bytes,
                "disk is full: the reserve of the store is given up"
            );
        }
        state.tried = Some(Instant::now());
        self.set_held(state, false);
    }

    fn set_held(&self, state: &mut State, held: bool) {
        state.held = held;
        self.held.store(held, Ordering::Relaxed);
    }

    fn tell(&self, state: &mut State, full: StoreFull) {
        if state.logged.is_none_or(|at| at.elapsed() >= FULL_TOLD_EVERY) {
            state.logged = Some(Instant::now());
            tracing::error!(
                path = %full.path.display(), free_bytes = full.free_bytes, "store is full"
            );
        }
        state.full = Some(full);
        self.is_full.store(true, Ordering::Relaxed);
    }

    fn clear(&self, state: &mut State) {
        state.full = None;
        self.is_full.store(false, Ordering::Relaxed);
    }
}

/// Makes a file that has its bytes on the disk. One that is there already stays.
fn allocate(path: &Path, bytes: u64) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let file = File::options().create(true).truncate(false).write(true).mode(0o600).open(path)?;
    if file.metadata()?.len() >= bytes {
        return Ok(());
    }
    match fallocate(&file, FallocateFlags::empty(), 0, bytes) {
        Ok(()) => Ok(()),
        // The file system has no such call: zeros take the room as well.
        Err(rustix::io::Errno::OPNOTSUPP) => {
            std::io::copy(&mut std::io::Read::take(std::io::repeat(0), bytes), &mut &file)?;
            file.sync_all()
        }
        Err(error) => Err(error.into()),
    }
}

/// What one file's steps take of the room, as its committer asks before each group.
pub(super) struct Tight {
    log: PathBuf,
    wal: Arc<Wal>,
    room: Arc<Room>,
}

impl Tight {
    /// Of the file at `path`.
    pub(super) fn new(path: &Path, wal: Arc<Wal>, room: Arc<Room>) -> Self {
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        Self { log: log.into(), wal, room }
    }

    /// Gives the reserve up if the disk is full: a step is about to run that needs it.
    pub(super) fn look(&self) {
        if self.room.held.load(Ordering::Relaxed) && self.room.free() < ROOM_BYTES_MIN {
            self.room.give_up(&mut self.room.state.lock());
        }
    }

    /// Whether guests' steps that write `bytes` may run. On a tight disk the log is copied first.
    ///
    /// # Errors
    /// There is no room for them.
    pub(super) fn admit(&self, conn: &Connection, bytes: u64) -> Result<(), StoreFull> {
        let free = self.room.free();
        let most = written(bytes).saturating_mul(2).saturating_add(self.room.owed());
        if self.room.held.load(Ordering::Relaxed) && free >= most.saturating_add(2 * ROOM_BYTES_MIN)
        {
            return Ok(());
        }
        self.look();
        let Err(_) = self.room.grant(self.growth(conn, bytes)) else { return Ok(()) };
        self.room.logs().iter().for_each(|log| log.ask());
        if self.wal.held().0 > 0 {
            // If it does not start over, the second look tells.
            let _ = self.wal.start_over();
        }
        self.room.grant(self.growth(conn, bytes))
    }

    /// Bytes that the disk has to give to a group that writes `bytes`, and to the checkpoints of
    /// all that logs hold then. A database grows by what has no free page in it.
    fn growth(&self, conn: &Connection, bytes: u64) -> u64 {
        let pragma = |name: &str| {
            let found = conn.query_row(name, [], |row| row.get::<_, i64>(0));
            found.ok().and_then(|number| u64::try_from(number).ok()).unwrap_or(0)
        };
        let free_pages = pragma("PRAGMA freelist_count").saturating_mul(pragma("PRAGMA page_size"));
        let log_bytes = fs::metadata(&self.log).map_or(0, |log| log.len());
        let log = (self.wal.held().0 + written(bytes)).saturating_sub(log_bytes);
        let database = (self.room.owed() + written(bytes)).saturating_sub(free_pages);
        log.saturating_add(database)
    }
}

/// Bytes of engine pages that a group with `bytes` of rows changes, roughly.
fn written(bytes: u64) -> u64 {
    bytes.saturating_mul(2).saturating_add(STEP_EXTRA_BYTES)
}
