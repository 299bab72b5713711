//! What an error of the server says: whether the statement was applied, and what to do.
//!
//! By SQLSTATE and severity, never by text. 08006 and 40003 are rare: what arrives when a server goes
//! down is a closed connection without a code, or 57P01.
//!
//! ```text
//! 40001, 40P01                 rolled back because of another: tried again in here
//! 40003, FATAL, closed, I/O    may have been applied
//! 53100                        the server's disk is full
//! 25006, 53xxx, 55P03, 57014, 57P01..3   surely not applied, later perhaps
//! 23505                        a key is taken
//! XX001, XX002                 the server found damage
//! anything else                the server refuses the statement
//! ```

use std::error::Error as _;
use std::path::PathBuf;

use stockade_depot::{StoreError, StoreFull};
use tokio_postgres::error::{Severity, SqlState};

/// What is known of a statement's fate before its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// It writes nothing, or its transaction was surely not asked to commit.
    Harmless,
    /// It has written nothing, and what it read does not count yet: the whole is done again.
    Look,
    /// It writes.
    Write,
}

/// What an error says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Rolled back because of another transaction: sending it again helps.
    Conflict(String),
    /// The connection is gone, or the server does not know: it may have been applied.
    Lost(String),
    /// Rolled back: no room.
    Full(String),
    /// Rolled back: the server does not write, is going down, or has no connection or memory left.
    Busy(String),
    /// Rolled back: a key is taken.
    Taken(String),
    /// Rolled back: the server found damage.
    Damaged(String),
    /// Rolled back: the statement cannot be run there.
    Refused(String),
}

/// Why a step ended.
#[derive(Clone, Debug)]
pub(crate) enum Stop {
    /// It was refused, for a reason that the depot gets.
    Told(StoreError),
    /// The server, or the way there.
    Failed(Failure, Sent),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Told(error)
    }
}

/// An error with its causes, which tokio-postgres leaves out.
pub(crate) fn text(error: &tokio_postgres::Error) -> String {
    if let Some(db) = error.as_db_error() {
        return format!("{} {}", db.code().code(), db.message());
    }
    error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

impl Failure {
    /// What `error` says.
    pub(crate) fn of(error: &tokio_postgres::Error) -> Self {
        let told = text(error);
        let Some(db) = error.as_db_error() else {
            return Self::Lost(told);
        };
        let code = db.code();
        if [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED].contains(code) {
            return Self::Conflict(told);
        }
        let is_final = matches!(db.parsed_severity(), Some(Severity::Fatal | Severity::Panic));
        if is_final || *code == SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN {
            return Self::Lost(told);
        }
        match code.code() {
            "53100" => Self::Full(told),
            "23505" => Self::Taken(told),
            "XX001" | "XX002" => Self::Damaged(told),
            "25006" | "55P03" | "57014" => Self::Busy(told),
            other if other.starts_with("53") || other.starts_with("57P") => Self::Busy(told),
            other if other.starts_with("08") => Self::Lost(told),
            _ => Self::Refused(told),
        }
    }

    /// The error that the depot gets. `server` names where it happened.
    pub(crate) fn told(self, sent: Sent, server: &str) -> StoreError {
        match (self, sent) {
            (Self::Lost(what), Sent::Write) => StoreError::Unknown(what),
            (Self::Full(_), _) => {
                StoreError::Full(StoreFull { path: PathBuf::from(server), free_bytes: 0 })
            }
            (Self::Damaged(what), _) => StoreError::Corrupt(what),
            (
                Self::Conflict(what)
                | Self::Lost(what)
                | Self::Busy(what)
                | Self::Taken(what)
                | Self::Refused(what),
                _,
            ) => StoreError::Unavailable(what),
        }
    }
}
