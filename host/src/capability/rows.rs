//! Rows that the host keeps for a guest, its alarms and its messages: whether the store can have them, and
//! the one translation of their SQL errors to the WIT.
//!
//! Invariant: interfaces with such rows have the same cases for the same errors.

use super::State;
use crate::bindings::stockade::actor::{alarms, messages};
use crate::sqlite::SqlError;

impl State {
    /// Refuses `what` where the store is reached through a program that knows no due work.
    pub(super) fn keeps_due(&self, what: &str) -> Result<(), SqlError> {
        if self.keeps_due_work {
            return Ok(());
        }
        let words = format!("the node that has the store is of a version without {what}");
        Err(SqlError::Other(words))
    }
}

macro_rules! from_sql {
    ($($error:ty),+) => {$(
        impl From<SqlError> for $error {
            fn from(error: SqlError) -> Self {
                match error {
                    SqlError::Full => Self::Full,
                    SqlError::Busy => Self::Busy,
                    SqlError::NotOpen => Self::NotOpen,
                    SqlError::Interrupted => Self::Interrupted,
                    SqlError::LimitExceeded(limit) => Self::LimitExceeded(limit.into()),
                    SqlError::Revoked(reason) => Self::Revoked(reason.into()),
                    SqlError::Unavailable => Self::Unavailable,
                    error @ (SqlError::Constraint(_)
                    | SqlError::Denied(_)
                    | SqlError::CommitTooLarge(_)
                    | SqlError::Statement(_)
                    | SqlError::InvalidArgument(_)
                    | SqlError::RowFailed { .. }
                    | SqlError::Other(_)) => Self::Other(error.to_string()),
                }
            }
        }
    )+};
}

from_sql!(alarms::Error, messages::Error);
