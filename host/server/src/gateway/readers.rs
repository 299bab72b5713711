//! Large bodies are parsed, and large replies written, on threads of their own: megabytes take tenths
//! of a second, and every connection of a serving thread would wait.
//!
//! The threads have a low priority: where cores are few, calls with small bodies run first.

use std::io;
use std::panic::resume_unwind;

use tokio::runtime::Builder;

use stockade::internal::{OwnRuntime, cores, lower_priority};

/// From this many bytes on a body or a reply is large. 64 KiB: parsed in a millisecond or two.
const LARGE_BYTES: usize = 64 << 10;

/// The threads that parse and write. They end when this is dropped.
pub(super) struct Readers(OwnRuntime);

impl Readers {
    /// Starts a thread for every second core, one at least: the other cores are left for other work.
    ///
    /// # Errors
    /// The system has no resources left for threads.
    pub(super) fn start() -> io::Result<Self> {
        let mut builder = Builder::new_multi_thread();
        let builder = builder
            .worker_threads((cores() / 2).max(1))
            .thread_name("large-bodies")
            .on_thread_start(lower_priority);
        OwnRuntime::start(builder).map(Self)
    }

    /// Runs the work on a body or a reply of this size: here, or on one of the threads.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        if bytes < LARGE_BYTES {
            return work();
        }
        match self.0.handle().spawn(async { work() }).await {
            Ok(done) => done,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                // The threads end, and so does this task.
                Err(_) => std::future::pending().await,
            },
        }
    }
}

#[cfg(test)]
impl Readers {
    /// Keeps all threads busy until the returned values are dropped.
    pub(super) fn all(&self) -> Vec<std::sync::mpsc::Sender<()>> {
        let busy = |_| {
            let (until, end) = std::sync::mpsc::channel::<()>();
            let (started, starts) = std::sync::mpsc::channel();
            self.0.handle().spawn(async move {
                let _ = started.send(());
                let _ = end.recv();
            });
            starts.recv().expect("it runs");
            until
        };
        (0..self.0.handle().metrics().num_workers()).map(busy).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[tokio::test]
    async fn a_large_body_is_read_on_another_thread_and_a_small_one_here() {
        let readers = Readers::start().expect("starts");
        let here = thread::current().id();
        assert_eq!(readers.run(LARGE_BYTES - 1, || thread::current().id()).await, here);
        assert_ne!(readers.run(LARGE_BYTES, || thread::current().id()).await, here);
    }

    #[tokio::test]
    async fn a_large_body_is_read_at_a_low_priority() {
        let readers = Readers::start().expect("starts");
        let nice = || rustix::process::getpriority_process(None).expect("of this thread");
        assert_eq!(readers.run(LARGE_BYTES, nice).await, 10);
        assert!(readers.run(LARGE_BYTES - 1, nice).await < 10, "serving threads stay as they are");
    }
}
