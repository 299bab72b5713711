//! Large bodies are parsed, and large replies written, beside the threads that serve connections:
//! megabytes take tenths of a second, and every connection of the thread would wait.

use std::panic::resume_unwind;

use tokio::sync::Semaphore;

use stockade::internal::cores;

/// From this many bytes on a body or a reply is large. 64 KiB: parsed in a millisecond or two.
const LARGE_BYTES: usize = 64 << 10;

/// Permits to parse or write.
pub(super) struct Readers(Semaphore);

impl Readers {
    /// One permit per core but one, which is left for other work.
    pub(super) fn new() -> Self {
        Self(Semaphore::new((cores() / 2).max(1)))
    }

    /// Runs the work on a body or a reply of this size: here, or with a permit on another thread.
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
impl Readers {
    /// All permits: nothing large is parsed or written while they are held.
    pub(super) fn all(&self) -> tokio::sync::SemaphorePermit<'_> {
        let count = u32::try_from(self.0.available_permits()).expect("few");
        self.0.try_acquire_many(count).expect("none is taken")
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
