//! The one translation from SQLite's errors to the store's.
//!
//! It holds for everything but COMMIT: until then a failed statement has surely changed nothing.
//! What a failed COMMIT means is decided in `group`. What our VFS has found damaged is named by it.

use rusqlite::{Error, ErrorCode};

use super::open::OpenStoreError;
use super::vfs;
use crate::error::{Limit, StoreError};

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        match code(&error) {
            Some(ErrorCode::DiskFull | ErrorCode::TooBig) => full(),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                let found = vfs::damage_of(&error).map(|damage| damage.to_string());
                Self::Corrupt(found.unwrap_or_else(|| error.to_string()))
            }
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

/// The store has no room left. SQLite does not say how much there was.
pub(super) fn full() -> StoreError {
    StoreError::Refused { limit: Limit::StoreFull, actual: 0, max: 0 }
}
