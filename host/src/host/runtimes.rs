//! The host's own threads: it must not depend on how its embedder drives a runtime.

use tokio::runtime::{Builder, Handle};

use crate::error::HostError;
use crate::limits::{LONG_STATEMENTS_MAX, READS_MAX, SQL_STACK_BYTES};
use crate::runtime::{OwnRuntime, cores};
use crate::yielding;

/// The host's runtimes.
pub(super) struct Runtimes {
    /// Runs guests, and commits.
    guests: OwnRuntime,
    /// Runs calls with megabytes of values.
    heavy: OwnRuntime,
    /// Shows that this process lives, whatever the guests do.
    keeper: OwnRuntime,
}

impl Runtimes {
    /// Starts the threads.
    ///
    /// # Errors
    /// The system has no threads to give.
    pub(super) fn start() -> Result<Self, HostError> {
        let no_threads = |error| HostError::Internal(format!("start threads: {error}"));
        let start = |name, threads| {
            let mut builder = Builder::new_multi_thread();
            builder.worker_threads(threads).thread_name(name).thread_stack_size(SQL_STACK_BYTES);
            builder.max_blocking_threads(LONG_STATEMENTS_MAX + READS_MAX);
            OwnRuntime::start(builder.enable_time()).map_err(no_threads)
        };
        Ok(Self {
            // SQL occupies a worker for its first slice: so there are more workers than cores.
            guests: start("guest", (2 * cores()).max(4))?,
            // As many as there are turns: a call that is polled there has one.
            heavy: yielding::start("heavy", (cores() - 1).max(1)).map_err(no_threads)?,
            keeper: start("keeper", 1)?,
        })
    }

    /// Of the guests, of calls with megabytes, of the keeper.
    pub(super) fn handles(&self) -> (Handle, Handle, Handle) {
        let handle = |runtime: &OwnRuntime| runtime.handle().clone();
        (handle(&self.guests), handle(&self.heavy), handle(&self.keeper))
    }
}
