//! Large bodies are parsed, and large replies written, on the host's threads for megabytes: that takes
//! tenths of a second, and every connection of a serving thread would wait.
//!
//! These threads give way to all others: where cores are few, calls with small bodies run first.

use std::panic::resume_unwind;

use stockade::Host;
use tokio::runtime::Handle;

/// From this many bytes on a body or a reply is large. 64 KiB: parsed in a millisecond or two.
const LARGE_BYTES: usize = 64 << 10;

/// The threads that parse and write: those of the host.
pub(super) struct Readers(Option<Handle>);

impl Readers {
    /// The threads of `host`; a host without such threads parses on the serving ones.
    pub(super) fn of(host: &Host) -> Self {
        Self(host.heavy_threads())
    }

    /// Runs the work on a body or a reply of this size: here, or on one of the threads.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        let Some(threads) = self.0.as_ref().filter(|_| bytes >= LARGE_BYTES) else {
            return work();
        };
        match threads.spawn(async { work() }).await {
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
        let threads = self.0.as_ref().expect("a host of its own threads");
        let busy = |_| {
            let (until, end) = std::sync::mpsc::channel::<()>();
            let (started, starts) = std::sync::mpsc::channel();
            threads.spawn(async move {
                let _ = started.send(());
                let _ = end.recv();
            });
            starts.recv().expect("it runs");
            until
        };
        (0..threads.metrics().num_workers()).map(busy).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use stockade::internal::{OwnRuntime, start_yielding};

    use super::*;

    fn threads() -> (OwnRuntime, Readers) {
        let threads = start_yielding("heavy", 1).expect("starts");
        let readers = Readers(Some(threads.handle().clone()));
        (threads, readers)
    }

    #[tokio::test]
    async fn a_large_body_is_read_on_another_thread_and_a_small_one_here() {
        let (_threads, readers) = threads();
        let here = thread::current().id();
        assert_eq!(readers.run(LARGE_BYTES - 1, || thread::current().id()).await, here);
        assert_ne!(readers.run(LARGE_BYTES, || thread::current().id()).await, here);
    }

    #[tokio::test]
    async fn a_large_body_is_read_at_a_low_priority() {
        let (_threads, readers) = threads();
        let nice = || rustix::process::getpriority_process(None).expect("of this thread");
        assert_eq!(readers.run(LARGE_BYTES, nice).await, 10);
        assert!(readers.run(LARGE_BYTES - 1, nice).await < 10, "serving threads stay as they are");
    }
}
