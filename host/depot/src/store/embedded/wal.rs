//! Keeps a file's write-ahead log bounded, from a thread and a connection of its own.
//!
//! ```text
//! committer                         checkpointer
//!   group, group, group ...
//!   wal_checkpoint_bytes written ─► passive checkpoint, beside the next groups
//!   wal_bytes_max reached ────────► restart checkpoint: everything copied, log starts over
//!   waits between two groups ◄───── done (or not: then the next steps are `Unavailable`)
//! ```
//!
//! Passive checkpoints alone never catch a writer that does not pause: the log was seen to grow
//! without end. So the log's size is checked before each group, and the bound holds whatever other
//! process reads or writes the file.
//!
//! Between checkpoints the same thread looks whether the paths of the file still name it, and
//! whether its disk has room (`watch`, `room`). If the log alone was removed, what it holds is
//! copied into the database first: the log is open here still, and no other process has it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rusqlite::Connection;

use super::failure;
use super::health::Health;
use super::room::Room;
use super::watch::Watched;
use crate::error::{FailureCause, StoreError};
use crate::store::limits::WATCH_EVERY;

/// Bytes of a frame's header in the log.
const FRAME_HEADER_BYTES: u64 = 24;
/// How often a restart is tried before the waiting steps are refused. Each try waits for readers.
const RESTART_TRIES: u32 = 3;
/// How long one try waits for readers and for other processes' writers.
const RESTART_WAIT: Duration = Duration::from_secs(1);

/// What committer and checkpointer of one file share.
pub(super) struct Wal {
    bytes_max: u64,
    checkpoint_bytes: u64,
    frame_bytes: u64,
    /// Frames in the log, reported by the hook after each commit.
    frames: AtomicU64,
    /// Frames that a checkpoint has copied already.
    copied: AtomicU64,
    /// The committer waits for the log to start over, which every reader holds up.
    room_wanted: AtomicBool,
    orders: Mutex<Orders>,
    changed: Condvar,
    health: Arc<Health>,
    room: Arc<Room>,
}

#[derive(Default)]
struct Orders {
    passive: bool,
    restart: bool,
    stop: Option<Stop>,
    /// How the last restart ended.
    restarted: Option<Result<(), StoreError>>,
}

/// How the checkpointer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Everything is copied and the log cut to nothing.
    Truncate,
    /// Immediately: the next start finds the log.
    Leave,
}

impl Wal {
    /// `health` is the file's: a failed checkpoint gives it up.
    pub(super) fn new(
        bytes_max: u64,
        checkpoint_bytes: u64,
        page_bytes: u64,
        health: Arc<Health>,
        room: Arc<Room>,
    ) -> Self {
        Self {
            bytes_max,
            checkpoint_bytes,
            frame_bytes: page_bytes + FRAME_HEADER_BYTES,
            frames: AtomicU64::new(0),
            copied: AtomicU64::new(0),
            room_wanted: AtomicBool::new(false),
            orders: Mutex::default(),
            changed: Condvar::new(),
            health,
            room,
        }
    }

    /// Bytes in the log, and those of them that no checkpoint has copied.
    pub(super) fn held(&self) -> (u64, u64) {
        let frames = self.frames.load(Ordering::Relaxed);
        let copied = self.copied.load(Ordering::Relaxed).min(frames);
        (frames * self.frame_bytes, (frames - copied) * self.frame_bytes)
    }

    /// Called by the committer's connection after each commit with the frames in the log.
    pub(super) fn committed(&self, frames: u64) {
        self.frames.store(frames, Ordering::Relaxed);
        let mut copied = self.copied.load(Ordering::Relaxed);
        if copied > frames {
            // The log has started over.
            copied = 0;
            self.copied.store(0, Ordering::Relaxed);
        }
        if (frames - copied) * self.frame_bytes >= self.checkpoint_bytes {
            let mut orders = self.orders.lock();
            if !orders.passive {
                orders.passive = true;
                self.changed.notify_all();
            }
        }
    }

    /// Has what can be copied be copied soon, if there is any.
    pub(super) fn ask(&self) {
        if self.held().1 > 0 {
            self.orders.lock().passive = true;
            self.changed.notify_all();
        }
    }

    /// Waits until the log has room for another group.
    ///
    /// # Errors
    /// `Unavailable` if readers or other processes keep the log from starting over, `Full` if the
    /// disk has no room for what the log holds.
    pub(super) fn make_room(&self) -> Result<(), StoreError> {
        if self.frames.load(Ordering::Relaxed) * self.frame_bytes < self.bytes_max {
            return Ok(());
        }
        self.start_over()
    }

    /// Whether long reads should give way.
    pub(super) fn is_room_wanted(&self) -> bool {
        self.room_wanted.load(Ordering::Relaxed)
    }

    /// Has everything copied and the log start over. Waits for it.
    ///
    /// # Errors
    /// As [`Wal::make_room`].
    pub(super) fn start_over(&self) -> Result<(), StoreError> {
        self.room_wanted.store(true, Ordering::Relaxed);
        let done = self.wait_for_room();
        self.room_wanted.store(false, Ordering::Relaxed);
        done
    }

    fn wait_for_room(&self) -> Result<(), StoreError> {
        let mut orders = self.orders.lock();
        orders.restart = true;
        orders.restarted = None;
        self.changed.notify_all();
        loop {
            if let Some(result) = orders.restarted.take() {
                return result;
            }
            if orders.stop.is_some() {
                return self.health.check().and(Err(StoreError::Closed));
            }
            self.changed.wait(&mut orders);
        }
    }

    /// Ends the checkpointer.
    pub(super) fn stop(&self, how: Stop) {
        self.orders.lock().stop = Some(how);
        self.changed.notify_all();
    }

    fn next(&self) -> Next {
        let mut orders = self.orders.lock();
        loop {
            if let Some(stop) = orders.stop {
                return Next::Stop(stop);
            }
            if std::mem::take(&mut orders.restart) {
                return Next::Restart;
            }
            if std::mem::take(&mut orders.passive) {
                return Next::Passive;
            }
            if self.changed.wait_for(&mut orders, WATCH_EVERY).timed_out() {
                return Next::Look;
            }
        }
    }

    /// Copies what can be copied beside running writers.
    fn passive(&self, conn: &Connection) -> rusqlite::Result<()> {
        match checkpoint(conn, "PRAGMA wal_checkpoint(PASSIVE)") {
            Ok(done) => self.copied.store(done.copied, Ordering::Relaxed),
            Err(error) if is_passing(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Copies everything and makes the log start over.
    fn restart(&self, conn: &Connection) -> rusqlite::Result<Result<(), StoreError>> {
        for _ in 0..RESTART_TRIES {
            match checkpoint(conn, "PRAGMA wal_checkpoint(RESTART)") {
                Ok(done) if done.complete => {
                    self.frames.store(0, Ordering::Relaxed);
                    self.copied.store(0, Ordering::Relaxed);
                    return Ok(Ok(()));
                }
                Ok(_) => {}
                Err(error) if is_passing(&error) => return Ok(Err(error.into())),
                Err(error) => return Err(error),
            }
        }
        let held = "the write-ahead log is full and a reader or another process holds it";
        Ok(Err(StoreError::Unavailable(held.into())))
    }
}

enum Next {
    /// Nothing to do for a while.
    Look,
    Passive,
    Restart,
    Stop(Stop),
}

struct Checkpointed {
    /// Did all that it was to do.
    complete: bool,
    /// Frames of the log that are in the database.
    copied: u64,
}

fn checkpoint(conn: &Connection, pragma: &str) -> rusqlite::Result<Checkpointed> {
    conn.query_row(pragma, [], |row| {
        let (busy, copied): (i64, i64) = (row.get(0)?, row.get(2)?);
        Ok(Checkpointed { complete: busy == 0, copied: u64::try_from(copied).unwrap_or(0) })
    })
}

/// Whether the file is as good as before: a lock or a full disk, not a failed sync.
fn is_passing(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseBusy, DatabaseLocked, DiskFull};
    matches!(failure::code(error), Some(DatabaseBusy | DatabaseLocked | DiskFull))
}

/// Starts the checkpointer of a file.
///
/// # Errors
/// If the connection or the thread cannot be made.
pub(super) fn start(
    name: &str,
    conn: Connection,
    wal: Arc<Wal>,
    watched: Watched,
) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(format!("checkpoint {name}")).spawn(move || {
        let mut checkpointer = Checkpointer { conn, wal, watched, log_is_gone: false };
        if let Err(error) = checkpointer.run() {
            let wal = &checkpointer.wal;
            let told = match StoreError::from(error) {
                // Named by our VFS.
                StoreError::Corrupt(what) => what,
                StoreError::Failed(failure) => failure.cause.to_string(),
                error => error.to_string(),
            };
            wal.health.fail(FailureCause::Checkpoint(told));
            wal.orders.lock().stop = Some(Stop::Leave);
            wal.changed.notify_all();
        }
    })
}

struct Checkpointer {
    conn: Connection,
    wal: Arc<Wal>,
    watched: Watched,
    /// The log was removed, and nothing else.
    log_is_gone: bool,
}

impl Checkpointer {
    fn run(&mut self) -> rusqlite::Result<()> {
        self.conn.busy_timeout(RESTART_WAIT)?;
        let wal = Arc::clone(&self.wal);
        loop {
            match wal.next() {
                Next::Look => self.look(),
                Next::Passive => wal.passive(&self.conn)?,
                Next::Restart => {
                    let result = wal.restart(&self.conn)?;
                    wal.orders.lock().restarted = Some(result);
                    wal.changed.notify_all();
                }
                Next::Stop(Stop::Leave) => return Ok(()),
                Next::Stop(Stop::Truncate) => {
                    if !wal.health.has_failed() {
                        match checkpoint(&self.conn, "PRAGMA wal_checkpoint(TRUNCATE)") {
                            Err(error) if !is_passing(&error) => return Err(error),
                            Ok(_) | Err(_) => {}
                        }
                    }
                    self.save_log();
                    return Ok(());
                }
            }
        }
    }

    /// Gives the file up if its paths do not name it any more.
    fn look(&mut self) {
        self.wal.room.look();
        if self.wal.health.has_failed() {
            return;
        }
        if let Some(cause) = self.watched.look() {
            self.log_is_gone =
                matches!(&cause, FailureCause::Removed(path) if path == self.watched.log());
            self.wal.health.fail(cause);
            self.save_log();
        }
    }

    /// Copies what a removed log holds into the database, which is where it was. A group that was
    /// under way is waited for; the same is done once more at the end.
    fn save_log(&self) {
        if !self.log_is_gone || self.watched.log().exists() {
            return;
        }
        match checkpoint(&self.conn, "PRAGMA wal_checkpoint(FULL)") {
            Ok(done) => tracing::warn!(complete = done.complete, "removed log saved"),
            Err(error) => tracing::error!(%error, "cannot save what a removed log holds"),
        }
    }
}
