//! What went wrong below SQLite, as facts. SQLite's codes are integers: the typed cause waits
//! here until the statement returns, and replaces SQLite's code there.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use stockade_depot::{Cause, PrepareError, ReadError, StoreError};

/// Why a file operation failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The session is dead: nothing will work again.
    #[error("session is dead: {0}")]
    Dead(Cause),
    /// The transaction is over `commit_bytes_max`. It was rolled back; a smaller one will do.
    #[error("commit of {bytes} bytes is over the limit of {max}")]
    CommitTooLarge {
        /// Bytes of changed pages when it was refused. The whole transaction may be larger.
        bytes: u64,
        /// What is allowed.
        max: u64,
    },
    /// The database is over `database_pages_max`. The transaction was rolled back.
    #[error("database of {pages} pages is over the limit of {max}")]
    DatabaseFull {
        /// Pages that it would have.
        pages: u32,
        /// What is allowed.
        max: u32,
    },
    /// Journals, temporary tables and sorts of this session are over `scratch_bytes_max`.
    #[error("{bytes} bytes of temporary data are over the limit of {max}")]
    ScratchFull {
        /// Bytes that there would be.
        bytes: u64,
        /// What is allowed.
        max: u64,
    },
    /// The host's scratch directory failed.
    #[error("scratch file: {0}")]
    ScratchFailed(String),
    /// The store did not answer a read in time. The session lives; trying again may succeed.
    #[error("read: {0}")]
    Unavailable(StoreError),
    /// The commit pipeline stayed full until the deadline. The transaction was rolled back.
    #[error("the commit pipeline stayed full")]
    PipelineFull,
    /// Too many threads of the process wait for the store already. Trying again may succeed.
    #[error("too many waits for the store")]
    Overloaded,
    /// The wait for the store was interrupted.
    #[error("interrupted")]
    Interrupted,
}

impl From<ReadError> for Fault {
    /// `PastEnd` does not come here: the callers ask only within the page count, and the session
    /// has the same count. If it comes all the same, the two disagree.
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Dead(cause) => Self::Dead(cause),
            ReadError::PastEnd => {
                Self::Dead(Cause::Corrupt("page within the count is past the end".into()))
            }
            ReadError::Unavailable(error) => Self::Unavailable(error),
            ReadError::Overloaded => Self::Overloaded,
            ReadError::Interrupted => Self::Interrupted,
        }
    }
}

impl From<PrepareError> for Fault {
    fn from(error: PrepareError) -> Self {
        match error {
            PrepareError::Dead(cause) => Self::Dead(cause),
            PrepareError::CommitTooLarge { bytes, max } => Self::CommitTooLarge { bytes, max },
            PrepareError::DatabaseFull { page_count, max } => {
                Self::DatabaseFull { pages: page_count.0, max }
            }
            PrepareError::Unavailable => Self::PipelineFull,
            PrepareError::Overloaded => Self::Overloaded,
            PrepareError::Interrupted => Self::Interrupted,
        }
    }
}

/// Holds the first fault since it was last taken. Those that follow (SQLite's tries to roll back)
/// say nothing new, except that the session died.
#[derive(Default)]
pub(crate) struct FaultSlot {
    any: AtomicBool,
    fault: Mutex<Option<Fault>>,
}

impl FaultSlot {
    pub(crate) fn record(&self, fault: Fault) {
        let mut slot = self.fault.lock();
        let died = matches!(fault, Fault::Dead(_)) && !matches!(*slot, Some(Fault::Dead(_)));
        if slot.is_none() || died {
            *slot = Some(fault);
        }
        self.any.store(true, Ordering::Release);
    }

    pub(crate) fn take(&self) -> Option<Fault> {
        if !self.any.swap(false, Ordering::AcqRel) {
            return None;
        }
        self.fault.lock().take()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use stockade_depot::Reason;

    #[test]
    fn the_first_fault_is_kept_but_death_replaces_it() {
        let slot = FaultSlot::default();
        assert_eq!(slot.take(), None);
        slot.record(Fault::PipelineFull);
        slot.record(Fault::Interrupted);
        assert_eq!(slot.take(), Some(Fault::PipelineFull));
        assert_eq!(slot.take(), None);
        slot.record(Fault::Interrupted);
        let first = Fault::Dead(Cause::Closed(Reason::Slept));
        slot.record(first.clone());
        slot.record(Fault::Dead(Cause::Closed(Reason::Shutdown)));
        assert_eq!(slot.take(), Some(first));
    }
}
