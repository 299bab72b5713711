//! Errors of the store as messages: each crosses with its facts, none becomes a text.

use stockade_depot::{FailureCause, HeadFenceMismatch, Limit, StoreError, StoreFailure, StoreFull};

use super::{Malformed, Wire, mandatory, one_of, records, words};
use crate::proto;
use crate::proto::store_error::Error;
use crate::proto::store_failure::Cause;

records! {
    HeadFenceMismatch { db, expected, expected_txid, actual, actual_txid, sealed }
    StoreFull { path, free_bytes }
}

words! {
    Limit {
        CommitBytes,
        PagesPerRead,
        DatabasePages,
        SnapshotBytes,
        ComponentBytes,
        ManifestBytes,
        PinNameBytes
    }
}

impl Wire<proto::StoreFailure> for StoreFailure {
    fn put(self) -> proto::StoreFailure {
        let cause = match self.cause {
            FailureCause::Commit(why) => Cause::Commit(why),
            FailureCause::Checkpoint(why) => Cause::Checkpoint(why),
            FailureCause::Io(why) => Cause::Io(why),
            FailureCause::Removed(path) => Cause::Removed(path.put()),
            FailureCause::Replaced(path) => Cause::Replaced(path.put()),
        };
        proto::StoreFailure { file: self.file.put(), cause: Some(cause) }
    }

    fn take(sent: proto::StoreFailure) -> Result<Self, Malformed> {
        let cause = match one_of("StoreFailure.cause", sent.cause)? {
            Cause::Commit(why) => FailureCause::Commit(why),
            Cause::Checkpoint(why) => FailureCause::Checkpoint(why),
            Cause::Io(why) => FailureCause::Io(why),
            Cause::Removed(path) => FailureCause::Removed(path.into()),
            Cause::Replaced(path) => FailureCause::Replaced(path.into()),
        };
        Ok(Self { file: sent.file.into(), cause })
    }
}

impl Wire<proto::StoreError> for StoreError {
    fn put(self) -> proto::StoreError {
        let error = match self {
            Self::Fenced(mismatch) => Error::Fenced(mismatch.put()),
            Self::DatabaseMissing(db) => Error::DatabaseMissing(db.put()),
            Self::Unavailable(why) => Error::Unavailable(why),
            Self::Unknown(why) => Error::Unknown(why),
            Self::Refused { limit, actual, max } => Error::Refused(proto::Refused {
                limit: limit.put(),
                actual: actual.put(),
                max: max.put(),
            }),
            Self::Corrupt(what) => Error::Corrupt(what),
            Self::HistoryGone { db, txid, floor } => Error::HistoryGone(proto::HistoryGone {
                db: db.put(),
                txid: txid.put(),
                floor: floor.put(),
            }),
            Self::NoCommit { db, txid } => {
                Error::NoCommit(proto::NoCommit { db: db.put(), txid: txid.put() })
            }
            Self::HasForks(db) => Error::HasForks(db.put()),
            Self::Elsewhere { shard, primary } => {
                Error::Elsewhere(proto::Elsewhere { shard: shard.put(), primary })
            }
            Self::Full(full) => Error::Full(full.put()),
            Self::Failed(failure) => Error::Failed(failure.put()),
            Self::Closed => Error::Closed(proto::Done {}),
        };
        proto::StoreError { error: Some(error) }
    }

    fn take(sent: proto::StoreError) -> Result<Self, Malformed> {
        Ok(match one_of("StoreError", sent.error)? {
            Error::Fenced(mismatch) => Self::Fenced(Wire::take(mismatch)?),
            Error::DatabaseMissing(db) => Self::DatabaseMissing(Wire::take(db)?),
            Error::Unavailable(why) => Self::Unavailable(why),
            Error::Unknown(why) => Self::Unknown(why),
            Error::Refused(proto::Refused { limit, actual, max }) => Self::Refused {
                limit: Wire::take(limit)?,
                actual: Wire::take(actual)?,
                max: Wire::take(max)?,
            },
            Error::Corrupt(what) => Self::Corrupt(what),
            Error::HistoryGone(proto::HistoryGone { db, txid, floor }) => Self::HistoryGone {
                db: Wire::take(db)?,
                txid: Wire::take(txid)?,
                floor: Wire::take(floor)?,
            },
            Error::NoCommit(proto::NoCommit { db, txid }) => {
                Self::NoCommit { db: Wire::take(db)?, txid: Wire::take(txid)? }
            }
            Error::HasForks(db) => Self::HasForks(Wire::take(db)?),
            Error::Elsewhere(proto::Elsewhere { shard, primary }) => {
                Self::Elsewhere { shard: Wire::take(shard)?, primary }
            }
            Error::Full(full) => Self::Full(Wire::take(full)?),
            Error::Failed(failure) => Self::Failed(Wire::take(failure)?),
            Error::Closed(_) => Self::Closed,
        })
    }
}
