//! The one translation from SQLite's errors to the store's.
//!
//! It holds for everything but COMMIT: until then a failed statement has surely changed nothing.
//! What a failed COMMIT means is decided in `group`. What our VFS has found damaged is named by it. A
//! translated error knows no file; the file's `health` adds it.

use std::path::PathBuf;

use rusqlite::{Error, ErrorCode, ffi};

use super::open::OpenStoreError;
use super::vfs;
use crate::error::{FailureCause, StoreError, StoreFailure, StoreFull};

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        match code(&error) {
            Some(ErrorCode::DiskFull | ErrorCode::TooBig) => full(),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                let found = vfs::damage_of(&error).map(|damage| damage.to_string());
                Self::Corrupt(found.unwrap_or_else(|| error.to_string()))
            }
            Some(ErrorCode::SystemIoFailure) => match extended(&error) {
                // The index of the log has no room to grow.
                Some(ffi::SQLITE_IOERR_SHMSIZE) => full(),
                // No memory now, which says nothing about the file.
                Some(ffi::SQLITE_IOERR_NOMEM) => Self::Unavailable(error.to_string()),
                _ => failed(FailureCause::Io(error.to_string())),
            },
            Some(_) => Self::Unavailable(error.to_string()),
            None => match error {
                Error::FromSqlConversionFailure(..)
                | Error::IntegralValueOutOfRange(..)
                | Error::Utf8Error(..)
                | Error::InvalidColumnType(..) => Self::Corrupt(error.to_string()),
                _ => Self::Unavailable(error.to_string()),
            },
        }
    }
}

/// Why a connection to an open store could not be made.
impl From<OpenStoreError> for StoreError {
    fn from(error: OpenStoreError) -> Self {
        match error {
            OpenStoreError::Sqlite(error) => error.into(),
            OpenStoreError::Damaged(damage) => Self::Corrupt(damage.to_string()),
            other => Self::Unavailable(other.to_string()),
        }
    }
}

/// SQLite's primary code, if the error comes from SQLite.
pub(super) fn code(error: &Error) -> Option<ErrorCode> {
    match error {
        Error::SqliteFailure(failure, _) => Some(failure.code),
        Error::SqlInputError { error, .. } => Some(error.code),
        _ => None,
    }
}

/// SQLite's extended code, if the error comes from SQLite.
fn extended(error: &Error) -> Option<i32> {
    match error {
        Error::SqliteFailure(failure, _) => Some(failure.extended_code),
        Error::SqlInputError { error, .. } => Some(error.extended_code),
        _ => None,
    }
}

/// There is no room left, in a file that is not known yet.
pub(super) fn full() -> StoreError {
    StoreError::Full(StoreFull { path: PathBuf::new(), free_bytes: 0 })
}

/// A file is given up that is not known yet.
pub(super) fn failed(cause: FailureCause) -> StoreError {
    StoreError::Failed(StoreFailure { file: PathBuf::new(), cause })
}

/// Why the file is given up in which this happened, if it has to be.
pub(super) fn cause_of(error: &StoreError) -> Option<&FailureCause> {
    match error {
        StoreError::Failed(failure) => Some(&failure.cause),
        StoreError::Fenced(_)
        | StoreError::DatabaseMissing(_)
        | StoreError::Unavailable(_)
        | StoreError::Unknown(_)
        | StoreError::Refused { .. }
        | StoreError::Corrupt(_)
        | StoreError::HistoryGone { .. }
        | StoreError::NoCommit { .. }
        | StoreError::HasForks(_)
        | StoreError::Elsewhere { .. }
        | StoreError::Full(_)
        | StoreError::Closed => None,
    }
}
