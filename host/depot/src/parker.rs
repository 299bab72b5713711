//! Waiting for a future from a place that cannot suspend: SQLite's C frames.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::BoxFuture;
use tokio::runtime::Handle;

/// Waits for a future on the calling thread. Called by a session's `read` and `prepare`, only when
/// the answer is not there immediately; implementations must run `work` to its end before they
/// return, with timers that work.
pub trait Parker: Send + Sync + 'static {
    /// Returns when `work` is done.
    fn park(&self, work: BoxFuture<'_, ()>);
}

/// Gives the runtime's other tasks to another thread and blocks this one. Needs a multi-threaded
/// runtime, or a thread outside of it.
#[derive(Clone, Debug)]
pub struct TokioParker(pub Handle);

impl Parker for TokioParker {
    fn park(&self, work: BoxFuture<'_, ()>) {
        tokio::task::block_in_place(|| self.0.block_on(work));
    }
}

/// How many threads may wait at the same time: each is an OS thread that the runtime does without.
#[derive(Debug)]
pub(crate) struct Parking {
    places: AtomicUsize,
}

/// One waiting thread's place. Free again when dropped.
#[derive(Debug)]
pub(crate) struct Place<'a>(&'a Parking);

impl Parking {
    /// A parking of `places`.
    pub(crate) fn new(places: usize) -> Self {
        Self { places: AtomicUsize::new(places) }
    }

    /// A place, if one is free.
    pub(crate) fn enter(&self) -> Option<Place<'_>> {
        self.places
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |free| free.checked_sub(1))
            .ok()
            .map(|_| Place(self))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.places.fetch_add(1, Ordering::AcqRel);
    }
}
