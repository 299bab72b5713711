//! The host's own threads: it must not depend on how its embedder drives a runtime.

use tokio::runtime::{Builder, Handle, Runtime};

use crate::error::HostError;

/// The host's runtimes. They end by themselves when this is dropped, in whatever context that is.
pub(super) struct Runtimes {
    /// Runs guests, and commits.
    guests: Option<Runtime>,
    /// Shows that this process lives, whatever the guests do.
    keeper: Option<Runtime>,
}

impl Runtimes {
    /// Starts the threads.
    ///
    /// # Errors
    /// The system has no threads to give.
    pub(super) fn start() -> Result<Self, HostError> {
        let failed = |error: std::io::Error| HostError::Internal(format!("start threads: {error}"));
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        // SQL occupies a worker for its first slice, and long SQL that finds no thread of its own
        // until it is done: so there are more workers than cores.
        let guests = Builder::new_multi_thread()
            .worker_threads((2 * cores).max(4))
            .thread_name("guest")
            .enable_time()
            .build()
            .map_err(failed)?;
        let mut runtimes = Self { guests: Some(guests), keeper: None };
        let keeper = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("keeper")
            .enable_time()
            .build()
            .map_err(failed)?;
        runtimes.keeper = Some(keeper);
        Ok(runtimes)
    }

    /// Of the guests, of the keeper.
    pub(super) fn handles(&self) -> (Handle, Handle) {
        let handle = |runtime: &Option<Runtime>| {
            runtime.as_ref().expect("BUG: both run until the drop").handle().clone()
        };
        (handle(&self.guests), handle(&self.keeper))
    }
}

impl Drop for Runtimes {
    fn drop(&mut self) {
        // A runtime must not be dropped where it would block.
        for runtime in [self.guests.take(), self.keeper.take()].into_iter().flatten() {
            runtime.shutdown_background();
        }
    }
}
