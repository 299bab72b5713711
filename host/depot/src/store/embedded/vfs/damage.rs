//! What was found damaged, on its way past SQLite, which carries a number only.
//!
//! ```text
//! xRead ─ note ─► this thread's last damage          SQLite: CODE ─► statement fails
//!                                  store: `find(error)` ─► file, page and what is wrong with it
//! ```
//! SQLite reads in the thread that runs the statement, so the last damage of this thread is the one
//! that an error with `CODE` is about.

use std::cell::RefCell;
use std::fmt;

use rusqlite::ffi;

/// What SQLite is answered: its "corrupt", which undoes one statement and not a whole group as an
/// I/O error would, with a second byte that SQLite does not use.
pub(super) const CODE: i32 = ffi::SQLITE_CORRUPT | (0x53 << 8);

thread_local! {
    static LAST: RefCell<Option<Damage>> = const { RefCell::new(None) };
}

/// A damaged place of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file's name.
    pub file: String,
    /// Where.
    pub place: Place,
    /// What is wrong there.
    pub fault: Fault,
}

/// A place of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A page of the engine, counted from 1.
    Page(u64),
    /// A frame of a log, counted from 1.
    Frame(u64),
    /// Not distinguishable from the rest of it.
    File,
}

/// What is wrong with a page or a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Its bytes are not those that were written there.
    Checksum,
    /// It was written for another file or another store.
    AnotherFile,
    /// The file ends before it.
    CutOff,
    /// SQLite asked for something that is no page of this file.
    NoPage,
    /// SQLite finds it malformed.
    Malformed,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Place::Page(pgno) => write!(f, "engine page {pgno} of {}: ", self.file)?,
            Place::Frame(frame) => write!(f, "log frame {frame} of {}: ", self.file)?,
            Place::File => write!(f, "{}: ", self.file)?,
        }
        f.write_str(match self.fault {
            Fault::Checksum => "checksum mismatch",
            Fault::AnotherFile => "belongs to another file",
            Fault::CutOff => "the file ends before it",
            Fault::NoPage => "the file has pages of another size",
            Fault::Malformed => "the file is malformed",
        })
    }
}

/// Remembers what was found; the code that SQLite is answered.
pub(super) fn note(damage: Damage) -> i32 {
    LAST.set(Some(damage));
    CODE
}

/// What an error is about, if it was answered by this VFS, in this thread.
pub(in super::super) fn find(error: &rusqlite::Error) -> Option<Damage> {
    let failure = match error {
        rusqlite::Error::SqliteFailure(failure, _) => failure,
        rusqlite::Error::SqlInputError { error, .. } => error,
        _ => return None,
    };
    if failure.extended_code == CODE { LAST.with_borrow(Clone::clone) } else { None }
}
