//! Settings of a host for store drivers, simulations and programs.
//!
//! Invariant: a host that sets none of them uses the embedded store, threads of its own and the
//! machine's randomness, and nothing of the faults is in the way of a step.

use std::sync::Arc;

use stockade_depot::Store;

use crate::actor::trace::Observer;
use crate::environment::Ground;

/// Settings that embedders leave alone: see [`HostConfig::advanced`](super::HostConfig::advanced).
#[derive(Clone, Default)]
#[must_use]
pub struct Advanced {
    pub(super) store: Option<Arc<dyn Store>>,
    pub(super) ground: Option<Ground>,
    pub(super) wait_on_callers: bool,
    pub(super) observer: Option<Arc<dyn Observer>>,
    pub(super) allow_faults: bool,
}

impl Advanced {
    /// The store. Default: the embedded one, in the data directory.
    pub fn with_store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// Whether an answer waits on the runtime that its call was made on, if that has several
    /// threads, and so passes through one thread less. Only for callers that never block those
    /// threads, as in the program. Default: `false`; the host depends on no threads but its own.
    pub fn with_answers_on_callers(mut self, wait: bool) -> Self {
        self.wait_on_callers = wait;
        self
    }

    /// Receives the steps of endings, as they are done. Default: none.
    pub fn with_observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Whether [`ActorHandle::fault`](super::ActorHandle::fault) may make actors fail on purpose.
    /// Not for production: every client of the operators' listener can then make actors fail. Default:
    /// `false`.
    pub fn with_faults_allowed(mut self, allow: bool) -> Self {
        self.allow_faults = allow;
        self
    }

    /// A simulation's runtime and randomness. Default: threads of the host's own, and the
    /// machine's randomness.
    #[doc(hidden)]
    pub fn with_ground(mut self, ground: Ground) -> Self {
        self.ground = Some(ground);
        self
    }
}
