//! The threads that serve callers: one for each core, each with its connections to itself.
//!
//! ```text
//!  accept ──> the thread with the fewest connections ──> all of a connection's requests
//! ```
//! A runtime of several threads wakes a second one whenever the first has found work, in case there
//! is more of it. For a server whose requests take some ten microseconds that is most of a request.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::{Builder, Handle, Runtime};

/// The threads. They end by themselves when this is dropped, in whatever context that is.
pub struct Threads(Vec<Thread>);

struct Thread {
    /// Of one thread; there until the drop.
    runtime: Option<Runtime>,
    connections: Arc<AtomicUsize>,
}

/// Where a connection is served. Its place is free again when this is dropped.
pub(super) struct Seat {
    handle: Handle,
    connections: Arc<AtomicUsize>,
}

impl Threads {
    /// Starts one for each core.
    ///
    /// # Errors
    /// The system has nothing left to watch sockets with.
    pub fn start() -> io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        let mut threads = Self(Vec::with_capacity(cores));
        for _ in 0..cores {
            let mut builder = Builder::new_multi_thread();
            let runtime = builder.worker_threads(1).thread_name("gateway").enable_all().build()?;
            threads.0.push(Thread { runtime: Some(runtime), connections: Arc::default() });
        }
        Ok(threads)
    }

    /// A place for one more connection.
    pub(super) fn seat(&self) -> Seat {
        let connections = |thread: &&Thread| thread.connections.load(Ordering::Relaxed);
        let thread = self.0.iter().min_by_key(connections).expect("BUG: one for each core");
        thread.connections.fetch_add(1, Ordering::Relaxed);
        let runtime = thread.runtime.as_ref().expect("BUG: it runs until the drop");
        let connections = Arc::clone(&thread.connections);
        Seat { handle: runtime.handle().clone(), connections }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // A runtime must not be dropped where it would block.
        for runtime in self.0.iter_mut().filter_map(|thread| thread.runtime.take()) {
            runtime.shutdown_background();
        }
    }
}

impl Seat {
    pub(super) fn handle(&self) -> Handle {
        self.handle.clone()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_go_where_the_fewest_are() {
        let threads = Threads::start().expect("starts");
        let on = |seat: &Seat| seat.handle.id();
        let mut seats: Vec<Seat> = threads.0.iter().map(|_| threads.seat()).collect();
        let ids: std::collections::HashSet<_> =
            seats.iter().map(|seat| on(seat).to_string()).collect();
        assert_eq!(ids.len(), threads.0.len(), "each thread has one");
        let left = seats.pop().map(|seat| on(&seat));
        assert_eq!(Some(on(&threads.seat())), left, "the place that was left is taken first");
    }
}
