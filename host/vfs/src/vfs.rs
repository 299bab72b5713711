//! What SQLite asks of our VFS, translated to [`OsFile`] and back. Decides nothing.
//!
//! A panic kills the session and becomes an I/O error.

use std::ffi::{CStr, c_int};

use rusqlite::ffi;
use stockade_sqlite::Code;
use stockade_sqlite::heap::uncharged;
use stockade_sqlite::vfs::{File, Operation, Vfs};

use crate::file::{FileError, OsFile, code};
use crate::registry;
use crate::scratch::ScratchFile;
use crate::seat::SeatFile;

/// The VFS of all databases.
pub(crate) struct Databases;

/// A file that SQLite has open.
pub(crate) enum OpenFile {
    Main(SeatFile),
    Scratch(ScratchFile),
}

impl Vfs for Databases {
    const NAME: &'static CStr = c"stockade";
    const NAME_BYTES_MAX: c_int = 128;
    type File = OpenFile;

    /// `None`: not ours, as an attached file, a write-ahead log, the journal over several databases.
    fn open(name: Option<&CStr>, flags: c_int) -> Option<OpenFile> {
        let Some(name) = name else {
            return registry::open_nameless().map(OpenFile::Scratch);
        };
        let name = name.to_str().ok()?;
        if flags & ffi::SQLITE_OPEN_MAIN_DB != 0 {
            registry::open_main(name).map(OpenFile::Main)
        } else if flags & ffi::SQLITE_OPEN_MAIN_JOURNAL != 0 {
            registry::open_journal(name).map(OpenFile::Scratch)
        } else {
            None
        }
    }
}

/// Runs a file operation: its fault is kept for the statement's caller.
#[inline]
fn run<F: OsFile, T>(
    file: &mut F,
    during: Operation,
    operation: impl FnOnce(&mut F) -> Result<T, FileError>,
) -> Result<T, Code> {
    let error = match uncharged(|| operation(file)) {
        Ok(done) => return Ok(done),
        Err(error) => error,
    };
    let code = code(&error, during);
    if let (FileError::Fault(fault), Some(context)) = (error, file.context()) {
        context.faults.record(fault);
    }
    Err(code)
}

/// Runs an operation of whichever file it is.
macro_rules! on {
    ($file:expr, $during:ident, $operation:expr) => {
        match $file {
            OpenFile::Main(file) => run(file, Operation::$during, $operation),
            OpenFile::Scratch(file) => run(file, Operation::$during, $operation),
        }
    };
}

impl OpenFile {
    fn context(&self) -> Option<&crate::context::Context> {
        match self {
            Self::Main(file) => file.context(),
            Self::Scratch(file) => file.context(),
        }
    }
}

impl File for OpenFile {
    fn characteristics(&self) -> c_int {
        match self {
            Self::Main(_) => SeatFile::CHARACTERISTICS,
            Self::Scratch(_) => ScratchFile::CHARACTERISTICS,
        }
    }

    fn read(&mut self, out: &mut [u8], offset: u64) -> Result<(), Code> {
        on!(self, Read, |file| file.read(out, offset))
    }

    fn write(&mut self, data: &[u8], offset: u64) -> Result<(), Code> {
        on!(self, Write, |file| file.write(data, offset))
    }

    fn truncate(&mut self, size: u64) -> Result<(), Code> {
        on!(self, Truncate, |file| file.truncate(size))
    }

    fn size(&mut self) -> Result<u64, Code> {
        on!(self, Size, OsFile::size)
    }

    fn prepare(&mut self) -> Result<(), Code> {
        on!(self, Sync, OsFile::prepare)
    }

    fn publish(&mut self) -> Result<(), Code> {
        on!(self, Sync, OsFile::publish)
    }

    fn pragma(&mut self, name: &str, value: Option<&str>) -> Result<(), String> {
        self.context().map_or(Ok(()), |context| context.settings.check(name, value))
    }

    fn panicked(&mut self, during: Operation) {
        let Some(context) = self.context() else { return };
        let what = match during {
            Operation::Pragma => "a panic in a pragma",
            _ => "a panic in a file operation",
        };
        context.faults.record(context.kill(what));
    }
}
