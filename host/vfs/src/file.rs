//! What a file of SQLite can be asked, in our terms; `vfs.rs` translates to it and back.

use rusqlite::ffi;
use stockade_sqlite::Code;
use stockade_sqlite::vfs::Operation;

use crate::context::Context;
use crate::fault::Fault;

/// A file as SQLite sees it. One thread at a time calls it: the one that runs the connection.
pub(crate) trait OsFile: Sized {
    /// The database that the file belongs to; `None` while there is none.
    fn context(&self) -> Option<&Context>;
    /// Fills `out` from `offset`; what lies past the end is zeros and `ShortRead`.
    fn read(&mut self, out: &mut [u8], offset: u64) -> Result<(), FileError>;
    /// Writes all of `data` at `offset`.
    fn write(&mut self, data: &[u8], offset: u64) -> Result<(), FileError>;
    /// Sets the size in bytes.
    fn truncate(&mut self, size: u64) -> Result<(), FileError>;
    /// The size in bytes.
    fn size(&mut self) -> Result<u64, FileError>;
    /// The first half of a commit; also the last step of a rollback.
    fn prepare(&mut self) -> Result<(), FileError>;
    /// The second half of a commit.
    fn publish(&mut self) -> Result<(), FileError>;
    /// What SQLite may rely on (`SQLITE_IOCAP_*`).
    const CHARACTERISTICS: i32;
}

/// Why a file operation failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FileError {
    /// Read past the end. Not a failure: SQLite wants zeros and this report.
    ShortRead,
    /// A size or an offset that no file of ours can have.
    OutOfRange,
    /// The rest.
    Fault(Fault),
}

impl<F: Into<Fault>> From<F> for FileError {
    fn from(fault: F) -> Self {
        Self::Fault(fault.into())
    }
}

/// The code that SQLite gets. The one translation from the depot's errors to SQLite's.
pub(crate) fn code(error: &FileError, during: Operation) -> Code {
    match error {
        FileError::ShortRead => ffi::SQLITE_IOERR_SHORT_READ,
        FileError::OutOfRange => during.io_error(),
        FileError::Fault(fault) => match fault {
            Fault::CommitTooLarge { .. }
            | Fault::DatabaseFull { .. }
            | Fault::ScratchFull { .. } => ffi::SQLITE_FULL,
            Fault::Dead(_)
            | Fault::ScratchFailed(_)
            | Fault::Unavailable(_)
            | Fault::PipelineFull
            | Fault::Overloaded
            | Fault::Interrupted => during.io_error(),
        },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use stockade_depot::{Cause, PageCount, PrepareError, ReadError, Reason, StoreError};

    #[test]
    fn codes_are_pinned() {
        let dead = Cause::Closed(Reason::Fenced);
        let away = StoreError::Unavailable("away".into());
        for (error, during, code) in [
            (FileError::ShortRead, Operation::Read, 522),
            (FileError::OutOfRange, Operation::Write, 778),
            (ReadError::Dead(dead.clone()).into(), Operation::Read, 266),
            (ReadError::Unavailable(away).into(), Operation::Read, 266),
            (ReadError::Overloaded.into(), Operation::Read, 266),
            (ReadError::Interrupted.into(), Operation::Read, 266),
            (PrepareError::Dead(dead).into(), Operation::Sync, 1034),
            (PrepareError::CommitTooLarge { bytes: 2, max: 1 }.into(), Operation::Sync, 13),
            (
                PrepareError::DatabaseFull { page_count: PageCount(2), max: 1 }.into(),
                Operation::Sync,
                13,
            ),
            (PrepareError::Unavailable.into(), Operation::Sync, 1034),
            (PrepareError::Overloaded.into(), Operation::Sync, 1034),
            (PrepareError::Interrupted.into(), Operation::Sync, 1034),
            (Fault::ScratchFull { bytes: 2, max: 1 }.into(), Operation::Write, 13),
            (Fault::ScratchFailed("gone".into()).into(), Operation::Truncate, 1546),
            (Fault::ScratchFailed("gone".into()).into(), Operation::Size, 1802),
        ] {
            assert_eq!(super::code(&error, during), code, "{error:?} during {during:?}");
        }
    }
}
