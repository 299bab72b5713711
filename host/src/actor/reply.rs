//! Where an answer goes, and whose threads it waits on until it may.

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::oneshot;

use super::answers::Heard;
use crate::error::HostError;

/// What a caller hears.
pub type Outcome<T> = Result<Heard<T>, HostError>;

/// Where an answer goes.
pub struct Reply<T> {
    caller: oneshot::Sender<Outcome<T>>,
    /// The caller's runtime, if it has threads that run whether or not the caller does.
    home: Option<Handle>,
}

impl<T> Reply<T> {
    /// A reply to whoever calls this, and where to wait for it.
    #[must_use]
    pub fn new() -> (Self, oneshot::Receiver<Outcome<T>>) {
        let (caller, heard) = oneshot::channel();
        let threaded = |home: &Handle| home.runtime_flavor() == RuntimeFlavor::MultiThread;
        (Self { caller, home: Handle::try_current().ok().filter(threaded) }, heard)
    }

    /// Answers. A caller that has gone away needs no answer.
    pub fn send(self, outcome: Outcome<T>) {
        drop(self.caller.send(outcome));
    }

    /// Where the answer may wait: one that waits beside its caller wakes it without a third thread.
    #[must_use]
    pub fn home(&self) -> Option<Handle> {
        self.home.clone()
    }
}
