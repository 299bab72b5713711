//! The first cause of a session's end, which never changes, and an atomic flag for the fast path.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::cause::Cause;

/// Alive until the first cause.
#[derive(Debug, Default)]
pub(crate) struct Death {
    cause: OnceLock<(Cause, Instant)>,
    /// Set after `cause`: a thread that sees the flag finds the cause.
    dead: AtomicBool,
    /// A cause after which nothing more is sent. It may come after a first cause that is not fatal
    /// (closed, and then fenced while draining), which stays the first cause nevertheless.
    fatal: AtomicBool,
}

impl Death {
    /// Whether there is a cause: one load.
    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Acquire)
    }

    /// Whether accepted commits are given up.
    pub(crate) fn is_fatal(&self) -> bool {
        self.fatal.load(Ordering::Acquire)
    }

    /// The first cause.
    pub(crate) fn cause(&self) -> Option<Cause> {
        self.is_dead().then(|| self.first())
    }

    /// `Err` with the first cause if there is one.
    pub(crate) fn check(&self) -> Result<(), Cause> {
        if self.is_dead() { Err(self.first()) } else { Ok(()) }
    }

    /// Records a cause. Returns what is to be logged: the first cause, and the first fatal one that
    /// follows a close, each once however many threads find it at the same time. A sealed session's
    /// loss to its successor is no news.
    pub(crate) fn set(&self, cause: Cause) -> Option<Cause> {
        let first = self.cause.set((cause.clone(), Instant::now())).is_ok();
        let news = if cause.is_fatal() { !self.fatal.swap(true, Ordering::AcqRel) } else { first };
        self.dead.store(true, Ordering::Release);
        match self.first() {
            _ if !news => None,
            Cause::Sealed => first.then_some(cause),
            kept if kept.is_fatal() => Some(kept),
            _ => Some(cause),
        }
    }

    /// When the first cause became known.
    pub(crate) fn since(&self) -> Option<Instant> {
        self.cause.get().map(|(_, since)| *since)
    }

    fn first(&self) -> Cause {
        self.cause.get().expect("BUG: dead without a cause").0.clone()
    }
}
