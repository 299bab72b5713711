//! Whether a file of the store is sound, and the one place where it is given up.
//!
//! Invariants:
//! - a file that was given up is neither read nor written again in this process: what its disk
//!   holds is not known, and a second sync would tell of success without having written;
//! - the first cause stays, and the store tells it once.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use tokio::sync::Notify;

use crate::error::{FailureCause, StoreError, StoreFailure, StoreFull};

/// The failures of all files of a store.
#[derive(Debug, Default)]
pub(super) struct Failures {
    first: OnceLock<StoreFailure>,
    told: Notify,
}

impl Failures {
    /// Resolves with the first failure.
    pub(super) async fn first(&self) -> StoreFailure {
        loop {
            let told = self.told.notified();
            tokio::pin!(told);
            told.as_mut().enable();
            if let Some(failure) = self.first.get() {
                return failure.clone();
            }
            told.await;
        }
    }
}

/// The state of one file.
#[derive(Debug)]
pub(super) struct Health {
    file: PathBuf,
    failure: OnceLock<StoreFailure>,
    failures: Arc<Failures>,
}

impl Health {
    /// A sound file. `failures` are those of its store.
    pub(super) fn new(file: &Path, failures: &Arc<Failures>) -> Self {
        let failures = Arc::clone(failures);
        Self { file: file.to_owned(), failure: OnceLock::new(), failures }
    }

    /// Whether the file was given up.
    pub(super) fn has_failed(&self) -> bool {
        self.failure.get().is_some()
    }

    /// Refuses if the file was given up.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        self.failure.get().map_or(Ok(()), |failure| Err(StoreError::Failed(failure.clone())))
    }

    /// Gives the file up. Returns the first cause, which stays.
    pub(super) fn fail(&self, cause: FailureCause) -> StoreFailure {
        let failure = StoreFailure { file: self.file.clone(), cause };
        if self.failure.set(failure.clone()).is_ok() {
            let StoreFailure { file, cause } = &failure;
            tracing::error!(file = %file.display(), %cause, "store file has failed: closed");
            if self.failures.first.set(failure).is_ok() {
                self.failures.told.notify_waiters();
            }
        }
        self.failure.get().expect("BUG: a failure was set").clone()
    }

    /// An error of this file, with its name. One that says that the file is not sound gives it up.
    pub(super) fn place(&self, error: StoreError) -> StoreError {
        match error {
            StoreError::Failed(failure) if failure.file.as_os_str().is_empty() => {
                StoreError::Failed(self.fail(failure.cause))
            }
            StoreError::Full(full) if full.path.as_os_str().is_empty() => {
                StoreError::Full(StoreFull { path: self.file.clone(), ..full })
            }
            error => error,
        }
    }
}
