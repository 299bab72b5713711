//! The main file of a connection that is not anybody's yet: no statement can read or write it.
//!
//! SQLite looks at the first bytes of a file when it opens it, and of an empty one takes its own
//! defaults: for the page size, which is ours, and for what it looks at again when it first reads
//! (bytes reserved on a page, auto-vacuum). Whatever begins to read asks for the size first, and is
//! refused: what SQLite would remember of an empty database must not meet the real one.

use crate::context::Context;
use crate::file::{FileError, OsFile};
use crate::main_file::MainFile;

/// What stands where a [`MainFile`] will stand.
pub(crate) struct Vacant;

impl OsFile for Vacant {
    /// SQLite asks when it opens, and not again.
    const CHARACTERISTICS: i32 = MainFile::CHARACTERISTICS;

    fn context(&self) -> Option<&Context> {
        None
    }

    fn read(&mut self, out: &mut [u8], _offset: u64) -> Result<(), FileError> {
        out.fill(0);
        Err(FileError::ShortRead)
    }

    fn write(&mut self, _data: &[u8], _offset: u64) -> Result<(), FileError> {
        Err(FileError::OutOfRange)
    }

    fn truncate(&mut self, _size: u64) -> Result<(), FileError> {
        Err(FileError::OutOfRange)
    }

    fn size(&mut self) -> Result<u64, FileError> {
        Err(FileError::OutOfRange)
    }

    fn prepare(&mut self) -> Result<(), FileError> {
        Err(FileError::OutOfRange)
    }

    fn publish(&mut self) -> Result<(), FileError> {
        Err(FileError::OutOfRange)
    }
}
