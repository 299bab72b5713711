//! The one translation from SQLite's errors to the store's.
//!
//! It holds for everything but COMMIT: until then a failed statement has surely changed nothing.
//! What a failed COMMIT means is decided in `group`.

use rusqlite::{Error, ErrorCode};

use crate::error::{Limit, StoreError};

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        match code(&error) {
            Some(ErrorCode::DiskFull | ErrorCode::TooBig) => full(),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Corrupt(error.to_string())
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
