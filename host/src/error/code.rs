//! The row of the table for each error, and when to try again.

use std::time::Duration;

use stockade_depot::StoreError;

use super::{Code, HostError, Retry};
use crate::import::PlainError;
use crate::sqlite::SqlError;

impl HostError {
    /// The error's row in the table.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::InvalidActor(_) => Code::InvalidActor,
            Self::KindMissing { .. } => Code::KindMissing,
            Self::ActorMissing { .. } => Code::ActorMissing,
            Self::MethodMissing(_) => Code::MethodMissing,
            Self::Arguments(error) if error.malformed => Code::InvalidBody,
            Self::Arguments(_) => Code::Arguments,
            Self::Signature(_) => Code::Signature,
            Self::PayloadTooLarge { .. } => Code::PayloadTooLarge,
            Self::ReplyTooLarge { .. } => Code::ReplyTooLarge,
            Self::Manifest(_) => Code::Manifest,
            Self::Component(_) => Code::Component,
            Self::FaultsNotAllowed => Code::FaultsNotAllowed,
            Self::InvalidFault(_) => Code::InvalidFault,
            Self::ActorAsleep { .. } => Code::ActorAsleep,
            Self::Overloaded { .. } => Code::ActorOverloaded,
            Self::Trapped { .. } => Code::Trapped,
            Self::BudgetExhausted { .. } => Code::BudgetExhausted,
            Self::StartFailed { .. } => Code::StartFailed,
            Self::CallCycle { .. } => Code::CallCycle,
            Self::InvalidCallKey(_) => Code::Malformed,
            Self::NotRun { why, .. } => why.code(),
            Self::CallRecordsFull { .. } => Code::CallRecordsFull,
            Self::HasOutbox { .. } => Code::HasOutbox,
            Self::Stopping(_) => Code::Stopping,
            Self::Destroying { .. } => Code::Destroying,
            Self::Importing { .. } => Code::Importing,
            Self::Ended { .. } => Code::Ended,
            Self::CrashLooping { .. } => Code::CrashLooping,
            Self::QuotaReached { .. } => Code::QuotaReached,
            Self::CreatedTooFast { .. } => Code::CreatedTooFast,
            Self::KindInUse { .. } => Code::KindInUse,
            Self::Fenced { .. } => Code::HeadFenceMismatch,
            Self::Superseded { .. } => Code::Superseded,
            Self::Elsewhere { .. } => Code::Elsewhere,
            Self::Behind { .. } => Code::Behind,
            Self::Reroute { .. } => Code::Reroute,
            Self::Starting { .. } => Code::Starting,
            Self::CommitLost { .. } => Code::CommitLost,
            Self::Corrupt { .. } => Code::StoreCorrupt,
            Self::StoreFull { .. } => Code::StoreFull,
            Self::Store(error) => store_code(error),
            Self::Sql { error } => sql_code(error),
            Self::Import(error) => import_code(error),
            Self::ImportExists { .. } => Code::ImportExists,
            Self::ShuttingDown => Code::ShuttingDown,
            Self::Draining => Code::Draining,
            Self::LeaseLost => Code::LeaseLost,
            Self::DeadlinePassed => Code::DeadlinePassed,
            Self::Alone => Code::Alone,
            Self::Directory { .. } => Code::Directory,
            Self::Engine(_) => Code::Engine,
            Self::Internal(_) => Code::Internal,
        }
    }

    /// What the caller should do now, if no commit was handed over: the table's advice, or that of
    /// this particular failure.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::Trapped { crash } => crash.retry,
            Self::StartFailed { retry, .. } => *retry,
            Self::CallCycle { cycle } if cycle.crosses => Retry::Retry,
            _ => self.code().retry(),
        }
    }

    /// How long to wait before trying again, where that is known.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::CrashLooping { retry_after_ms, .. }
            | Self::CreatedTooFast { retry_after_ms, .. } => {
                Some(Duration::from_millis(*retry_after_ms))
            }
            _ => self.code().retry_after(),
        }
    }
}

impl Code {
    /// How long to wait before trying again: a second where the host is busy, full or shutting
    /// down.
    #[must_use]
    pub fn retry_after(self) -> Option<Duration> {
        let passes = matches!(
            self,
            Self::ActorOverloaded
                | Self::CallRecordsFull
                | Self::Behind
                | Self::HostOverloaded
                | Self::ShuttingDown
                | Self::Draining
                | Self::LeaseLost
                | Self::PeerUnreachable
                | Self::StoreFull
                | Self::StoreClosed
        );
        passes.then_some(Duration::from_secs(1))
    }
}

fn store_code(error: &StoreError) -> Code {
    match error {
        StoreError::Fenced(_) => Code::HeadFenceMismatch,
        StoreError::DatabaseMissing(_) => Code::DatabaseMissing,
        StoreError::Unavailable(_) => Code::StoreUnavailable,
        StoreError::Unknown(_) => Code::StoreUnknown,
        StoreError::Refused { .. } => Code::StoreRefused,
        StoreError::Corrupt(_) => Code::StoreCorrupt,
        StoreError::HistoryGone { .. } => Code::HistoryGone,
        StoreError::NoCommit { .. } => Code::NoCommit,
        StoreError::HasForks(_) => Code::HasForks,
        StoreError::Elsewhere { .. } => Code::StoreElsewhere,
        StoreError::Full(_) => Code::StoreFull,
        StoreError::Failed(_) | StoreError::Closed => Code::StoreClosed,
    }
}

fn import_code(error: &PlainError) -> Code {
    match error {
        PlainError::Unreadable { .. } => Code::ImportUnreadable,
        PlainError::NotSqlite(_) => Code::ImportNotSqlite,
        PlainError::Damaged(_) => Code::ImportDamaged,
        PlainError::Unsupported(_) => Code::ImportUnsupported,
        PlainError::TooLarge { .. } => Code::ImportTooLarge,
        PlainError::Busy(_) => Code::ImportBusy,
    }
}

pub(super) fn sql_code(error: &SqlError) -> Code {
    match error {
        SqlError::Constraint(_) => Code::SqlConstraint,
        SqlError::Busy => Code::SqlBusy,
        SqlError::Denied(_) => Code::SqlDenied,
        SqlError::Interrupted => Code::SqlInterrupted,
        SqlError::LimitExceeded(_) => Code::SqlLimitExceeded,
        SqlError::Full => Code::SqlFull,
        SqlError::CommitTooLarge(_) => Code::SqlCommitTooLarge,
        SqlError::Revoked(_) => Code::SqlRevoked,
        SqlError::NotOpen => Code::SqlNotOpen,
        SqlError::Statement(_) => Code::SqlStatement,
        SqlError::Unavailable => Code::SqlUnavailable,
        SqlError::InvalidArgument(_) => Code::SqlInvalidArgument,
        SqlError::RowFailed { .. } => Code::SqlRowFailed,
        SqlError::Other(_) => Code::SqlOther,
    }
}
