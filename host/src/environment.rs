//! The environment of a host: its own threads, or those that a simulation supplies.

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use stockade_depot::{Parker, Random, TokioParker};
use tokio::runtime::Handle;

/// Runs a host on one thread that a simulation steers. A host that serves callers has `None`
/// instead, and threads of its own.
#[derive(Clone)]
pub struct Ground {
    /// Runs guests, commits, and the host's own tasks.
    pub runtime: Handle,
    /// How SQL waits for what is not available immediately.
    pub parker: Arc<dyn Parker>,
    /// Tokens, ids of databases, and this process's session.
    pub random: Random,
    /// Wraps the task of each actor. The wrapper must poll the task, or drop it: then the actor's
    /// generation ends as in a killed process.
    pub around: Option<Arc<Around>>,
}

/// Wraps a task in another one.
pub type Around = dyn Fn(BoxFuture<'static, ()>) -> BoxFuture<'static, ()> + Send + Sync;

impl Ground {
    /// The environment of a machine: its threads and its randomness.
    pub(crate) fn of(runtime: Handle) -> Self {
        let parker = Arc::new(TokioParker(runtime.clone()));
        Self { runtime, parker, random: Random::system(), around: None }
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
        f.debug_struct("Ground").field("around", &self.around.is_some()).finish_non_exhaustive()
    }
}
