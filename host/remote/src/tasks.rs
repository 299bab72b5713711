//! The tasks of a connection. They end with the value that owns them.

use std::sync::{Arc, Weak};

use hyper::rt::Executor;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::JoinSet;

/// Owns tasks: they are ended when it is dropped.
#[derive(Default)]
pub(crate) struct Tasks(Arc<Mutex<JoinSet<()>>>);

/// Starts tasks, as long as their owner is there.
#[derive(Clone)]
pub(crate) struct Starter {
    tasks: Weak<Mutex<JoinSet<()>>>,
    home: Handle,
}

impl Tasks {
    /// What starts tasks of this owner on a runtime.
    pub(crate) fn starter(&self, home: Handle) -> Starter {
        Starter { tasks: Arc::downgrade(&self.0), home }
    }
}

impl Starter {
    /// Starts a task.
    pub(crate) fn start(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(tasks) = self.tasks.upgrade() {
            let mut tasks = tasks.lock();
            while tasks.try_join_next().is_some() {}
            tasks.spawn_on(task, &self.home);
        }
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Starter {
    fn execute(&self, task: F) {
        self.start(task);
    }
}
