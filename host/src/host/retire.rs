//! The end of a host whose store has failed.
//!
//! ```text
//! store: a file is given up
//!   ─► calls are refused, `ready` is false          `depot.closed`, with the file and the cause
//!   ─► every life ends fatally                      in-flight calls hear the verdict of their writes
//!   ─► lock file released, no more signs of life    other processes take the actors over
//!   ─► `Host::failed` resolves                      the program, or the embedder, shuts down
//! ```
//! Invariant: a host that has failed never serves again. What its disk holds is not known in
//! this process; the next start reads it.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use stockade_depot::{Store, StoreFailure};
use tokio::sync::Notify;

use crate::router::Router;

/// How long removing this process's row may take. 1 s: where it fails, the free lock tells the same.
const LEAVES_WITHIN: Duration = Duration::from_secs(1);

/// Whether the store has failed, and why.
#[derive(Debug, Default)]
pub(super) struct Retired {
    failure: OnceLock<StoreFailure>,
    /// Notified when the host has retired.
    done: Notify,
    is_done: OnceLock<()>,
}

impl Retired {
    /// Why, from the moment on at which it became known.
    pub(super) fn failure(&self) -> Option<&StoreFailure> {
        self.failure.get()
    }

    /// Resolves when the host has retired.
    pub(super) async fn done(&self) -> StoreFailure {
        loop {
            let done = self.done.notified();
            tokio::pin!(done);
            done.as_mut().enable();
            if let (Some(()), Some(failure)) = (self.is_done.get(), self.failure.get()) {
                return failure.clone();
            }
            done.await;
        }
    }
}

/// Waits for a failure of the store, and retires the host then.
pub(super) async fn on_failure(router: Router, store: Arc<dyn Store>, retired: Arc<Retired>) {
    let failure = store.failed().await;
    // Set once: this is the only one who sets it.
    let _ = retired.failure.set(failure.clone());
    let (file, cause) = (failure.file.display(), &failure.cause);
    tracing::error!(%file, %cause, "store has failed: this host takes no more calls");
    router.fail(&failure);
    let nodes = &router.shared().nodes;
    nodes.resign();
    // Where the file of this row is sound, processes that do not see the lock hear of it as well.
    if tokio::time::timeout(LEAVES_WITHIN, nodes.forget_own()).await.is_err() {
        tracing::debug!("the row of this process is left to others");
    }
    let _ = retired.is_done.set(());
    retired.done.notify_waiters();
}
