//! The host's own threads: it must not depend on how its embedder drives a runtime.

use tokio::runtime::{Builder, Handle};

use crate::error::HostError;
use crate::limits::{LONG_STATEMENTS_MAX, SQL_STACK_BYTES};
use crate::runtime::{OwnRuntime, cores};

/// Threads for what else blocks: reads of missing pages. As tokio has by itself.
const READS_MAX: usize = 512;

/// The host's runtimes.
pub(super) struct Runtimes {
    /// Runs guests, and commits.
    guests: OwnRuntime,
    /// Shows that this process lives, whatever the guests do.
    keeper: OwnRuntime,
}

impl Runtimes {
    /// Starts the threads.
    ///
    /// # Errors
    /// The system has no threads to give.
    pub(super) fn start() -> Result<Self, HostError> {
        let start = |name, threads| {
            let mut builder = Builder::new_multi_thread();
            builder.worker_threads(threads).thread_name(name).thread_stack_size(SQL_STACK_BYTES);
            builder.max_blocking_threads(LONG_STATEMENTS_MAX + READS_MAX);
            OwnRuntime::start(builder.enable_time())
                .map_err(|error| HostError::Internal(format!("start threads: {error}")))
        };
        Ok(Self {
            // SQL occupies a worker for its first slice: so there are more workers than cores.
            guests: start("guest", (2 * cores()).max(4))?,
            keeper: start("keeper", 1)?,
        })
    }

    /// Of the guests, of the keeper.
    pub(super) fn handles(&self) -> (Handle, Handle) {
        (self.guests.handle().clone(), self.keeper.handle().clone())
    }
}
