//! Which processes hold locks on the files of a store, as the system tells (`/proc/locks`).
//!
//! ```text
//! 7: POSIX  ADVISORY  WRITE 4711 08:01:131077 120 120
//!    kind             mode  pid  device:inode first last byte
//! ```
//! While a process writes a file it locks one byte of the log's index; a frozen process then keeps
//! the lock. A step that waited in vain looks here, and names the process to wake or to kill.
//!
//! Invariants:
//! - nothing of the store is opened, see `watch`;
//! - where the system does not tell, no process is named: a wrong name would be killed for it.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

use super::open::beside;
use crate::error::StoreError;
use crate::store::limits::{HELD_TOLD_EVERY, LOCKS_BYTES_MAX};
use crate::store::{Holder, NodeRow};

const LOCKS_FILE: &str = "/proc/locks";
/// How often the list is read for a lock that it does not show: the system hands it out a page at a
/// time and continues by counting lines, so where others lock and unlock at the same time, one
/// reading may leave a lock out.
const LOCKS_READS: usize = 4;
/// The byte of a log's index that is locked by a process that writes the log.
const WRITE_LOCK: u64 = 120;

/// A lock that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lock {
    pid: u32,
    device: (u32, u32),
    inode: u64,
    exclusive: bool,
    first: u64,
    last: u64,
}

impl Lock {
    /// A line of the system's list. `None`: one that waits, or whose process is not to be seen
    /// here.
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace().skip(3);
        let mode = words.next()?;
        let pid = words.next()?.parse().ok().filter(|pid| *pid != 0)?;
        let mut file = words.next()?.split(':');
        let mut device = || u32::from_str_radix(file.next()?, 16).ok();
        let device = (device()?, device()?);
        let inode = file.next()?.parse().ok()?;
        let first = words.next()?.parse().ok()?;
        let last = match words.next()? {
            "EOF" => u64::MAX,
            last => last.parse().ok()?,
        };
        Some(Self { pid, device, inode, exclusive: mode == "WRITE", first, last })
    }

    fn is_of(&self, path: &Path) -> bool {
        fs::metadata(path).is_ok_and(|found| {
            let device = (rustix::fs::major(found.dev()), rustix::fs::minor(found.dev()));
            (device, found.ino()) == (self.device, self.inode)
        })
    }
}

/// The locks of this machine, of one reading after the other, each read when it is asked for: some
/// locks come more than once.
fn locks() -> impl Iterator<Item = Lock> {
    locks_of(|| {
        let mut text = String::new();
        let file = File::open(LOCKS_FILE).ok()?;
        file.take(LOCKS_BYTES_MAX).read_to_string(&mut text).ok().map(|_| text)
    })
}

fn locks_of(mut read: impl FnMut() -> Option<String>) -> impl Iterator<Item = Lock> {
    let texts = (0..LOCKS_READS).filter_map(move |_| read());
    texts.flat_map(|text| text.lines().filter_map(Lock::parse).collect::<Vec<_>>())
}

/// Another process that keeps the file at `path` from being written.
fn writer(path: &Path) -> Option<u32> {
    let index = beside(path, "-shm");
    let keeps = |lock: &Lock| {
        lock.exclusive && (lock.first..=lock.last).contains(&WRITE_LOCK) && lock.is_of(&index)
    };
    locks().filter(keeps).map(|lock| lock.pid).find(|pid| *pid != std::process::id())
}

/// The processes that have a lock on one of these files, each once. All readings count: there may
/// be several such processes.
pub(super) fn users(paths: &[PathBuf]) -> Vec<u32> {
    let of_these = |lock: &Lock| paths.iter().any(|path| lock.is_of(path));
    let mut users: Vec<u32> = locks().filter(of_these).map(|lock| lock.pid).collect();
    users.sort_unstable();
    users.dedup();
    users
}

/// Where processes are reached, by their numbers, as far as this one has read of them.
#[derive(Debug, Default)]
pub(super) struct Addresses(Mutex<HashMap<u32, String>>);

impl Addresses {
    /// What the store says of its processes.
    pub(super) fn learn(&self, nodes: &[NodeRow]) {
        let known = nodes.iter().filter_map(|node| {
            node.process.as_ref().map(|process| (process.pid, node.address.clone()))
        });
        *self.0.lock() = known.collect();
    }
}

/// The process that keeps one file for itself.
#[derive(Debug)]
pub(super) struct Kept {
    path: PathBuf,
    addresses: Arc<Addresses>,
    is_kept: AtomicBool,
    by: Mutex<Option<Holder>>,
    told: Mutex<Option<Instant>>,
}

impl Kept {
    /// A file that no process keeps. `addresses` are those of its store.
    pub(super) fn new(path: &Path, addresses: &Arc<Addresses>) -> Self {
        Self {
            path: path.to_owned(),
            addresses: Arc::clone(addresses),
            is_kept: AtomicBool::new(false),
            by: Mutex::default(),
            told: Mutex::default(),
        }
    }

    /// The process that kept the file when a step was refused, if no step was done since.
    pub(super) fn holder(&self) -> Option<Holder> {
        self.by.lock().clone()
    }

    /// A step was done.
    pub(super) fn was_written(&self) {
        if self.is_kept.load(Ordering::Relaxed) {
            self.is_kept.store(false, Ordering::Relaxed);
            self.by.lock().take();
        }
    }

    /// The same error of a step, with the process that is the cause if that is another one.
    pub(super) fn explain(&self, error: StoreError) -> StoreError {
        let StoreError::Unavailable(why) = error else { return error };
        let Some(pid) = writer(&self.path) else { return StoreError::Unavailable(why) };
        let address = self.addresses.0.lock().get(&pid).cloned();
        let holder = Holder { file: self.path.clone(), pid, address };
        self.tell(&holder);
        let told = StoreError::Unavailable(format!("{why}: {holder}"));
        *self.by.lock() = Some(holder);
        self.is_kept.store(true, Ordering::Relaxed);
        told
    }

    fn tell(&self, holder: &Holder) {
        let mut told = self.told.lock();
        if told.is_some_and(|last| last.elapsed() < HELD_TOLD_EVERY) {
            return;
        }
        *told = Some(Instant::now());
        let Holder { file, pid, address } = holder;
        let address = address.as_deref().unwrap_or("not known");
        tracing::warn!(
            file = %file.display(), pid, address,
            "another process keeps a store file locked: nothing is written to it until that one \
             goes on or is killed"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_system_are_read() {
        let line = "7: POSIX  ADVISORY  WRITE 4711 fe:00:131077 120 120";
        let lock = Lock::parse(line).unwrap();
        let expected = Lock {
            pid: 4711,
            device: (0xfe, 0),
            inode: 131_077,
            exclusive: true,
            first: 120,
            last: 120,
        };
        assert_eq!(lock, expected);
        let whole = Lock::parse("1: FLOCK  ADVISORY  READ 12 08:01:9 0 EOF").unwrap();
        assert_eq!((whole.exclusive, whole.last), (false, u64::MAX));
        for none in [
            "7: -> POSIX  ADVISORY  WRITE 4711 fe:00:131077 120 120",
            "7: POSIX  ADVISORY  WRITE 0 fe:00:131077 120 120",
            "7: OFDLCK ADVISORY  READ -1 fe:00:131077 120 120",
            "7: POSIX  ADVISORY  WRITE 4711 fe:00 120",
            "",
        ] {
            assert_eq!(Lock::parse(none), None, "{none}");
        }
    }

    #[test]
    fn who_locks_a_file_is_found_and_nobody_else() {
        let directory = tempfile::tempdir().unwrap();
        let paths = ["locked", "free"].map(|name| directory.path().join(name));
        let file = File::create(&paths[0]).unwrap();
        File::create(&paths[1]).unwrap();
        file.lock_shared().unwrap();
        assert_eq!(users(&paths[..1]), [std::process::id()], "needs {LOCKS_FILE}");
        assert!(users(&paths[1..]).is_empty());
        assert_eq!(writer(&paths[0]), None);
    }

    #[test]
    fn a_lock_that_readings_leave_out_is_found_and_then_nothing_more_is_read() {
        let line = "7: POSIX  ADVISORY  WRITE 4711 fe:00:131077 120 120";
        for shown_from in 1..=4 {
            let mut readings = 0;
            let read = || {
                readings += 1;
                Some(if readings < shown_from { String::new() } else { line.to_owned() })
            };
            assert_eq!(locks_of(read).next(), Lock::parse(line));
            assert_eq!(readings, shown_from);
        }
        // One that no process holds is not looked for without end.
        let mut readings = 0;
        let read = || {
            readings += 1;
            assert!(readings <= LOCKS_READS, "the list is read again and again");
            Some(String::new())
        };
        assert_eq!(locks_of(read).next(), None);
        assert_eq!(readings, LOCKS_READS);
    }
}
