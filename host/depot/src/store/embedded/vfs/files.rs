//! What stands over the files of a store: pages and logs. Decides nothing.
//!
//! Every other file is opened as by the VFS behind.

use std::collections::HashMap;
use std::ffi::{CStr, c_int};
use std::sync::LazyLock;

use parking_lot::Mutex;
use rusqlite::{Connection, ffi};
use stockade_sqlite::Code;
use stockade_sqlite::vfs::{self, Below, Layer, LayerFile, Question};

use super::Behind;
use super::combine::{Combined, ZEROS};
use super::damage::{self, Damage};
use super::frames::Frames;
use super::pages::Pages;
use super::stamp::Key;

/// Asks a file with pages for its key; 0 for none.
const KEY_GET: Question = Question(1);
/// Offers a key to a file without pages.
const KEY_OFFER: Question = Question(2);
/// Proves the page of a number.
const PAGE_CHECK: Question = Question(3);

/// Names of registered VFSs by the names of those behind: one each, however many stores are opened.
static REGISTERED: LazyLock<Mutex<HashMap<Option<String>, String>>> = LazyLock::new(Mutex::default);

/// The VFS over `behind`, or over the default one.
///
/// # Errors
/// SQLite's code if there is no such VFS.
pub(in super::super) fn over(behind: Option<&str>) -> Result<String, Code> {
    let mut registered = REGISTERED.lock();
    let key = behind.map(str::to_owned);
    if let Some(name) = registered.get(&key) {
        return Ok(name.clone());
    }
    let name = format!("stockade-store-{}", registered.len());
    vfs::register_over(&name, behind, Store)?;
    registered.insert(key, name.clone());
    Ok(name)
}

/// The layer over a store's files.
struct Store;

/// An open file with something of ours over it.
enum StoreFile {
    Pages(Pages),
    Log(Log),
}

/// What a log needs.
struct Log {
    combined: Combined,
    frames: Frames,
}

impl Layer for Store {
    type File = StoreFile;

    fn open(&self, path: &CStr, flags: c_int) -> Option<StoreFile> {
        let name = || path.to_string_lossy().into_owned();
        if flags & ffi::SQLITE_OPEN_WAL != 0 {
            let log = Log { combined: Combined::default(), frames: Frames::new(name()) };
            Some(StoreFile::Log(log))
        } else if flags & ffi::SQLITE_OPEN_MAIN_DB != 0 {
            Some(StoreFile::Pages(Pages::new(name())))
        } else {
            None
        }
    }
}

impl Behind for Below<'_> {
    fn read(&mut self, at: u64, into: &mut [u8]) -> i32 {
        match Below::read(self, into, at) {
            // SQLite would take a read that the system refuses for damage.
            ffi::SQLITE_IOERR_CORRUPTFS => ffi::SQLITE_IOERR_READ,
            code => code,
        }
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> i32 {
        Below::write(self, bytes, at)
    }
}

impl Log {
    /// Writes what waits.
    fn flush(&mut self, below: &mut Below<'_>) -> Code {
        let written = self.combined.flush(|at, bytes| match below.write(bytes, at) {
            ffi::SQLITE_OK => Ok(()),
            code => Err(code),
        });
        written.err().unwrap_or(ffi::SQLITE_OK)
    }

    fn read(&mut self, into: &mut [u8], at: u64, below: &mut Below<'_>) -> Code {
        match self.flush(below) {
            ffi::SQLITE_OK => self.frames.read(at, into, below),
            code => code,
        }
    }

    fn write(&mut self, bytes: &[u8], at: u64, below: &mut Below<'_>) -> Code {
        if !self.combined.push(at, bytes) {
            let code = self.flush(below);
            if code != ffi::SQLITE_OK {
                return code;
            }
            self.combined.push(at, bytes);
        }
        ffi::SQLITE_OK
    }

    fn truncate(&mut self, size: i64, below: &mut Below<'_>) -> Code {
        let code = self.flush(below);
        self.combined.forget_size();
        if code == ffi::SQLITE_OK { below.truncate(size) } else { code }
    }

    fn sync(&mut self, flags: c_int, below: &mut Below<'_>) -> Code {
        let code = self.flush(below);
        if code != ffi::SQLITE_OK {
            return code;
        }
        let growth = self.combined.growth(|| below.size().ok());
        for at in growth.into_iter().flat_map(|growth| growth.step_by(ZEROS.len())) {
            // Without room the log is none the worse: what was written is there.
            let _ = below.write(&ZEROS, at);
        }
        below.sync(flags)
    }
}

impl LayerFile for StoreFile {
    fn shares_memory(&self) -> bool {
        matches!(self, Self::Pages(_))
    }

    fn read(&mut self, into: &mut [u8], at: u64, below: &mut Below<'_>) -> Code {
        match self {
            Self::Pages(pages) => pages.read(at, into, below),
            Self::Log(log) => log.read(into, at, below),
        }
    }

    fn write(&mut self, bytes: &[u8], at: u64, below: &mut Below<'_>) -> Code {
        match self {
            Self::Pages(pages) => pages.write(at, bytes, below),
            Self::Log(log) => log.write(bytes, at, below),
        }
    }

    fn truncate(&mut self, size: i64, below: &mut Below<'_>) -> Code {
        match self {
            Self::Pages(pages) => {
                pages.truncate(u64::try_from(size).unwrap_or(0));
                below.truncate(size)
            }
            Self::Log(log) => log.truncate(size, below),
        }
    }

    fn sync(&mut self, flags: c_int, below: &mut Below<'_>) -> Code {
        match self {
            Self::Pages(_) => below.sync(flags),
            Self::Log(log) => log.sync(flags, below),
        }
    }

    /// What waits of a log is written before anything else happens to it.
    fn before_passing(&mut self, below: &mut Below<'_>) -> Code {
        match self {
            Self::Pages(_) => ffi::SQLITE_OK,
            Self::Log(log) => log.flush(below),
        }
    }

    fn answer(
        &mut self,
        question: Question,
        value: &mut u64,
        below: &mut Below<'_>,
    ) -> Option<Code> {
        let Self::Pages(pages) = self else { return None };
        Some(match question {
            KEY_GET => match pages.key(below) {
                Ok(key) => {
                    *value = key.map_or(0, Key::number);
                    ffi::SQLITE_OK
                }
                Err(code) => code,
            },
            KEY_OFFER => {
                pages.offer(Key::from_bytes(value.to_le_bytes()));
                ffi::SQLITE_OK
            }
            PAGE_CHECK => pages.check(*value, below),
            _ => return None,
        })
    }

    /// Of pages, without reads of parts, which would each be a read of the page to prove it: SQLite's
    /// cache then has it for the next.
    fn characteristics(&self, below: c_int) -> c_int {
        match self {
            Self::Pages(_) => below & !ffi::SQLITE_IOCAP_SUBPAGE_READ,
            Self::Log(_) => below,
        }
    }
}

// --- questions to the file of a connection -------------------------------------------------------

/// The error of an answer that is no answer.
fn refused(code: Code) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)
}

/// The key of the connection's file. `None`: the file has no pages yet.
///
/// # Errors
/// SQLite's, if the file cannot be read or is not opened by this VFS.
pub(in super::super) fn page_key(conn: &Connection) -> rusqlite::Result<Option<Key>> {
    let mut key = 0;
    vfs::ask(conn, KEY_GET, &mut key).map_err(refused)?;
    Ok(Key::from_bytes(key.to_le_bytes()))
}

/// Offers a key to a file that has no pages yet.
///
/// # Errors
/// SQLite's, if the file is not opened by this VFS.
pub(in super::super) fn offer_key(conn: &Connection, key: Key) -> rusqlite::Result<()> {
    vfs::ask(conn, KEY_OFFER, &mut key.number()).map_err(refused)
}

/// Asks SQLite to leave `bytes` at the end of each page, if the file has no pages yet.
///
/// # Errors
/// SQLite's.
pub(in super::super) fn reserve(conn: &Connection, bytes: u8) -> rusqlite::Result<()> {
    vfs::reserve_bytes(conn, bytes).map_err(refused)
}

/// How many bytes SQLite leaves at the end of each page of the connection's file, once it has read
/// it.
///
/// # Errors
/// SQLite's.
pub(in super::super) fn reserved(conn: &Connection) -> rusqlite::Result<c_int> {
    vfs::reserved_bytes(conn).map_err(refused)
}

/// Proves one page of the connection's file, as the file has it: a newer one may be in the log.
/// `Ok(Some)`: it is damaged.
///
/// # Errors
/// SQLite's, if the file cannot be read.
pub(in super::super) fn check_page(
    conn: &Connection,
    mut pgno: u64,
) -> rusqlite::Result<Option<Damage>> {
    match vfs::ask(conn, PAGE_CHECK, &mut pgno).map_err(refused) {
        Ok(()) => Ok(None),
        Err(error) => damage::find(&error).map(Some).ok_or(error),
    }
}
