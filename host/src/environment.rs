//! The environment of a host: its own threads, or those that a simulation supplies.

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use stockade_depot::{Parker, Random, Session, TokioParker};
use tokio::runtime::Handle;

use crate::clock::Clock;

/// Runs a host on one thread that a simulation steers. A host that serves callers has `None`
/// instead, and threads of its own.
#[derive(Clone)]
pub struct Ground {
    /// Runs guests, commits, and the host's own tasks.
    pub runtime: Handle,
    /// Runs calls with megabytes of values, on threads that give way. `None`: they run as all others.
    pub heavy: Option<Handle>,
    /// How SQL waits for what is not available immediately.
    pub parker: Arc<dyn Parker>,
    /// Tokens, ids of databases, and this process's session.
    pub random: Random,
    /// Wraps the task of each actor. The wrapper must poll the task, or drop it: then the actor's
    /// generation ends as in a killed process.
    pub around: Option<Arc<Around>>,
    /// Runs the methods of all actors in place of wasm instances, for simulations of more actors than
    /// one process can have instances of. `None`: guests are wasm.
    pub native: Option<Arc<dyn Native>>,
    /// When alarms are due.
    pub clock: Clock,
}

/// A guest in Rust. It has no SQL and no hooks: its state is in the pages of the session.
pub trait Native: Send + Sync {
    /// Runs a method with one number, and returns a number. What it publishes in the session is what
    /// the call has written. It must not wait.
    ///
    /// # Errors
    /// A page is not here: the call ends as one whose SQL could not read, and the actor lives on.
    fn run(&self, session: &Session, method: &str, number: u64) -> Result<u64, PageAway>;
}

/// A page that a guest in Rust needs is not cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageAway;

/// Wraps a task in another one.
pub type Around = dyn Fn(BoxFuture<'static, ()>) -> BoxFuture<'static, ()> + Send + Sync;

impl Ground {
    /// The environment of a machine: its threads and its randomness.
    pub(crate) fn of(runtime: Handle, heavy: Handle) -> Self {
        let parker = Arc::new(TokioParker(runtime.clone()));
        let (random, clock) = (Random::system(), Clock::system());
        Self { runtime, heavy: Some(heavy), parker, random, around: None, native: None, clock }
    }

    /// Wraps an actor's task for where it runs.
    pub(crate) fn place(
        &self,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> BoxFuture<'static, ()> {
        match &self.around {
            Some(around) => around(Box::pin(task)),
            None => Box::pin(task),
        }
    }
}

impl fmt::Debug for Ground {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ground")
            .field("around", &self.around.is_some())
            .field("native", &self.native.is_some())
            .finish_non_exhaustive()
    }
}
