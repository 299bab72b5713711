//! Which processes have a store open: files that are read raw must not be in use by SQLite.
//!
//! ```text
//! opening.lock   exclusive while a process opens; the others wait in line
//! store.lock     shared as long as the store is open; its text: the boot of the machine
//!
//! begin:  opening.lock ─► store.lock exclusive?  yes: alone   no: others have it open
//! done:   store.lock shared ─► opening.lock is given back
//! ```
//!
//! Invariants:
//! - files are read past SQLite only by a process that is alone, and before SQLite opens them:
//!   closing any descriptor of a file drops the locks that SQLite of the same process holds on it;
//! - turning the exclusive lock into a shared one is not one step, but no other process asks for
//!   the exclusive one in between, since that takes `opening.lock`.
//!
//! The locks belong to open files, not to processes: two stores of one process see each other.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::holder;
use super::open::OpenStoreError;
use super::private;
use crate::store::limits::{OPENING_PAUSE, OPENING_WAIT};

/// The file that is locked by a process that opens the store.
const OPENING_LOCK: &str = "opening.lock";
/// The file that is locked by every process that has the store open.
pub(super) const STORE_LOCK: &str = "store.lock";
/// Names the boot of a Linux machine; another one after each start of the kernel.
const BOOT_FILE: &str = "/proc/sys/kernel/random/boot_id";
/// Most bytes of a boot's name that are looked at.
const BOOT_BYTES_MAX: u64 = 64;

/// A store on its way to be open.
pub(super) struct Opening {
    /// Held until the end of the opening.
    _line: File,
    store: File,
    alone: bool,
    same_boot: bool,
}

/// A store that is open. Others know as long as it is there and not released.
pub(super) struct Held(Mutex<Option<File>>);

/// Takes the place in the line, and finds out whether others have the store of a directory open.
///
/// # Errors
/// `Opening` if another process does not get done, or an I/O error.
pub(super) fn begin(directory: &Path) -> Result<Opening, OpenStoreError> {
    let line = private::file(&directory.join(OPENING_LOCK))?;
    let begun = Instant::now();
    loop {
        match line.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if begun.elapsed() < OPENING_WAIT => pause(OPENING_PAUSE),
            Err(TryLockError::WouldBlock) => {
                let users = holder::users(&[directory.join(OPENING_LOCK)]);
                return Err(OpenStoreError::Opening { directory: directory.to_owned(), users });
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
    }
    let mut store = private::file(&directory.join(STORE_LOCK))?;
    let alone = match store.try_lock() {
        Ok(()) => true,
        Err(TryLockError::WouldBlock) => {
            store.lock_shared()?;
            false
        }
        Err(TryLockError::Error(error)) => return Err(error.into()),
    };
    let ours = boot();
    let same_boot = is_of_boot(ours.as_deref(), &mut store)?;
    if alone && !same_boot {
        store.set_len(0)?;
        store.rewind()?;
        store.write_all(ours.unwrap_or_default().as_bytes())?;
    }
    Ok(Opening { _line: line, store, alone, same_boot })
}

#[allow(clippy::disallowed_methods, reason = "a lock of a file tells nobody that it is free")]
fn pause(pause: Duration) {
    std::thread::sleep(pause);
}

fn is_of_boot(boot: Option<&str>, store: &mut File) -> std::io::Result<bool> {
    let found = text(store)?;
    Ok(boot.is_some_and(|boot| boot == found))
}

/// Whether the store of a directory was opened since the machine has started. Takes no lock.
pub(super) fn was_opened_since_boot(directory: &Path) -> bool {
    let store = File::open(directory.join(STORE_LOCK));
    store.is_ok_and(|mut store| is_of_boot(boot().as_deref(), &mut store).unwrap_or(false))
}

fn boot() -> Option<String> {
    let text = text(&mut File::open(BOOT_FILE).ok()?).ok()?;
    Some(text).filter(|text| !text.is_empty())
}

fn text(file: &mut File) -> std::io::Result<String> {
    let mut text = Vec::new();
    file.take(BOOT_BYTES_MAX).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).trim().to_owned())
}

impl Opening {
    /// Whether no other process has the store open.
    pub(super) fn is_alone(&self) -> bool {
        self.alone
    }

    /// The machine has not stopped since the store was opened the last time: what processes have
    /// left in its files is there, synced or not.
    pub(super) fn is_same_boot(&self) -> bool {
        self.same_boot
    }

    /// The store is open.
    ///
    /// # Errors
    /// If the lock is lost.
    pub(super) fn done(self) -> std::io::Result<Held> {
        self.store.lock_shared()?;
        Ok(Held(Mutex::new(Some(self.store))))
    }
}

impl Held {
    /// A store that has no files.
    pub(super) fn nothing() -> Self {
        Self(Mutex::new(None))
    }

    /// Every file is closed: the next process that opens is alone.
    pub(super) fn release(&self) {
        self.0.lock().take();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_alone_and_the_second_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let first = begin(directory.path()).unwrap();
        assert!(first.is_alone());
        assert!(!first.is_same_boot(), "nobody has opened it before");
        let first = first.done().unwrap();
        let second = begin(directory.path()).unwrap();
        assert!(!second.is_alone());
        let second = second.done().unwrap();
        first.release();
        assert!(!begin(directory.path()).unwrap().is_alone(), "the second has it open");
        second.release();
        let third = begin(directory.path()).unwrap();
        assert!(third.is_alone());
        assert!(third.is_same_boot(), "needs {BOOT_FILE}");
    }

    #[test]
    fn two_do_not_open_at_the_same_time() {
        let directory = tempfile::tempdir().unwrap();
        let first = begin(directory.path()).unwrap();
        let path = directory.path().to_owned();
        let second =
            std::thread::Builder::new().spawn(move || begin(&path).unwrap().is_alone()).unwrap();
        pause(OPENING_PAUSE * 4);
        assert!(!second.is_finished());
        drop(first.done().unwrap());
        assert!(second.join().unwrap());
    }

    #[test]
    fn a_store_of_another_boot_is_known() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("store.lock"), "another").unwrap();
        drop(begin(directory.path()).unwrap().done().unwrap());
        assert!(begin(directory.path()).unwrap().is_same_boot());
    }
}
