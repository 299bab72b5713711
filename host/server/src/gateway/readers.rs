//! Large bodies are read, and large replies written, beside the threads that serve connections: a body
//! of megabytes takes tenths of a second, and every connection of its thread would wait.

use std::panic::resume_unwind;

use tokio::sync::Semaphore;

use stockade::internal::cores;

/// From so many bytes on a body is large. 64 KiB: read in a millisecond or two, written in less.
const LARGE_BYTES: usize = 64 << 10;

/// Turns to read or write.
pub(super) struct Readers(Semaphore);

impl Readers {
    /// As many as leave a core to others.
    pub(super) fn new() -> Self {
        Self(Semaphore::new((cores() / 2).max(1)))
    }

    /// Does what a body or a reply of so many bytes needs: here, or in its turn on a thread of its own.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        if bytes < LARGE_BYTES {
            return work();
        }
        let _turn = self.0.acquire().await.expect("BUG: it is never closed");
        match tokio::task::spawn_blocking(work).await {
            Ok(done) => done,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                // The runtime ends, and so does this task.
                Err(_) => std::future::pending().await,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[tokio::test]
    async fn a_large_body_is_read_on_another_thread_and_a_small_one_here() {
        let readers = Readers::new();
        let here = thread::current().id();
        assert_eq!(readers.run(LARGE_BYTES - 1, || thread::current().id()).await, here);
        assert_ne!(readers.run(LARGE_BYTES, || thread::current().id()).await, here);
    }
}
