//! Lets an embedder observe endings: every step is reported when done, in order.
//!
//! The order of the steps is a promise (see `actor::ending` and `Host::shutdown`), so the order is
//! visible from outside: tests assert it here.

use std::sync::Arc;

use stockade_depot::{ActorId, Generation};

/// A step of a generation's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndStep {
    /// The generation takes no more calls; what is queued and what arrives waits in the router.
    MailboxClosed,
    /// The call in progress has ended by itself.
    CallFinished,
    /// The call in progress was ended at the deadline that its generation's end gave it.
    CallInterrupted,
    /// The answers that waited in front of the gate are delivered or refused; nothing runs beside
    /// it.
    AnswersJoined,
    /// The guest's `stop` hook has run, or there is none.
    StopHook,
    /// SQL answers `revoked` on every handle, and the database is closed.
    SqlRevoked,
    /// The guest's `snapshot` hook has run, or there is none.
    Snapshot,
    /// The store has answered the seal.
    Sealed,
    /// Commits that were accepted have their verdict: in place of a seal after a crash.
    CommitsSettled,
    /// Every other handle is revoked.
    Revoked,
    /// The instance is gone, with its memory.
    InstanceDropped,
    /// The router knows the exit.
    Reported,
}

/// A step of a host's shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ShutdownStep {
    /// No call is taken.
    IntakeClosed,
    /// Every generation has ended, or was given up at the deadline.
    GenerationsEnded,
    /// Background tasks are aborted and joined.
    BackgroundJoined,
    /// Other processes know that this one is gone.
    NodeRetired,
    /// The store has written what it accepted and takes nothing more.
    StoreClosed,
}

/// Observes endings. Called inside the end that it observes: must return immediately.
pub trait Observer: Send + Sync + 'static {
    /// A step of this generation's end is done. Steps of one generation come in order; generations
    /// of several actors may end at the same time.
    fn ending(&self, actor: &ActorId, generation: Generation, step: EndStep) {
        let _ = (actor, generation, step);
    }

    /// A step of the host's shutdown is done.
    fn shutdown(&self, step: ShutdownStep) {
        let _ = step;
    }
}

/// Reports the steps of one generation.
#[derive(Clone)]
pub struct Trace {
    observer: Option<Arc<dyn Observer>>,
    actor: ActorId,
    generation: Generation,
}

impl Trace {
    /// The trace of a generation, for `observer` if there is one.
    #[must_use]
    pub fn new(
        observer: Option<Arc<dyn Observer>>,
        actor: &ActorId,
        generation: Generation,
    ) -> Self {
        Self { observer, actor: actor.clone(), generation }
    }

    /// A step is done.
    pub fn step(&self, step: EndStep) {
        tracing::trace!(actor = %self.actor, generation = %self.generation, ?step, "ending");
        if let Some(observer) = &self.observer {
            observer.ending(&self.actor, self.generation, step);
        }
    }
}
