//! Where an answer goes, and which runtime the answer waits on.

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::answer::Heard;
use crate::error::CallError;

/// What a caller gets.
pub type Outcome<T> = Result<Heard<T>, CallError>;

/// Where an answer goes.
pub struct Reply<T> {
    caller: oneshot::Sender<Outcome<T>>,
    /// The runtime that the answer waits on, if that is not the host's own.
    home: Option<Handle>,
}

impl<T> Reply<T> {
    /// A reply, and its receiver. `home`: the callers' runtime, if no caller blocks it. An answer
    /// that waits there wakes its caller without a third thread.
    #[must_use]
    pub fn new(home: Option<Handle>) -> (Self, oneshot::Receiver<Outcome<T>>) {
        let (caller, heard) = oneshot::channel();
        (Self { caller, home }, heard)
    }

    /// Answers. A caller that has gone away needs no answer.
    pub fn send(self, outcome: Outcome<T>) {
        drop(self.caller.send(outcome));
    }

    /// Where the answer waits; `None`: where the guest ran.
    #[must_use]
    pub fn home(&self) -> Option<Handle> {
        self.home.clone()
    }
}
