//! The threads that serve callers: one for each core; each connection stays on one of them.
//!
//! ```text
//!  accept ──> the thread with the fewest connections ──> all of a connection's requests
//! ```
//! A runtime with several threads wakes a second one whenever the first has found work, in case
//! there is more. Where a request takes some ten microseconds, that shows.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::{Builder, Handle};

use stockade::internal::{OwnRuntime, cores};

/// The threads. They end when this is dropped.
pub struct Threads(Vec<Thread>);

struct Thread {
    /// One serving thread.
    runtime: OwnRuntime,
    connections: Arc<AtomicUsize>,
}

/// The thread of one connection. The place is free again when this value is dropped.
pub(super) struct Seat {
    handle: Handle,
    connections: Arc<AtomicUsize>,
}

impl Threads {
    /// Starts one thread for each core.
    ///
    /// # Errors
    /// The system has no descriptors left to watch sockets with.
    pub fn start() -> io::Result<Self> {
        let threads = (0..cores()).map(|_| {
            let mut builder = Builder::new_multi_thread();
            let builder = builder.worker_threads(1).thread_name("gateway").enable_all();
            Ok(Thread { runtime: OwnRuntime::start(builder)?, connections: Arc::default() })
        });
        threads.collect::<io::Result<_>>().map(Self)
    }

    /// Takes a place for one more connection.
    pub(super) fn seat(&self) -> Seat {
        let connections = |thread: &&Thread| thread.connections.load(Ordering::Relaxed);
        let thread = self.0.iter().min_by_key(connections).expect("BUG: one for each core");
        thread.connections.fetch_add(1, Ordering::Relaxed);
        let connections = Arc::clone(&thread.connections);
        Seat { handle: thread.runtime.handle().clone(), connections }
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
