//! What a host runs on: threads of its own, or what a simulation puts in their place.

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use stockade_depot::{Parker, Random, TokioParker};
use tokio::runtime::Handle;

/// Runs a host on one thread that somebody else steers: for simulations. A host that serves anybody
/// has `None` of it, and threads of its own.
#[derive(Clone)]
pub struct Ground {
    /// Runs guests, commits, and the host's own tasks.
    pub runtime: Handle,
    /// How SQL waits for what is not there at once.
    pub parker: Arc<dyn Parker>,
    /// Tokens, ids of databases, and this process's session.
    pub random: Random,
    /// What the task of each actor is put into. It must poll it, or drop it: then the actor's
    /// generation ends as in a killed process.
    pub around: Option<Arc<Around>>,
}

/// Puts a task into another one.
pub type Around = dyn Fn(BoxFuture<'static, ()>) -> BoxFuture<'static, ()> + Send + Sync;

impl Ground {
    /// Threads of the machine's, and its chance.
    pub(crate) fn of(runtime: Handle) -> Self {
        let parker = Arc::new(TokioParker(runtime.clone()));
        Self { runtime, parker, random: Random::system(), around: None }
    }

    /// Puts an actor's task where it runs.
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
