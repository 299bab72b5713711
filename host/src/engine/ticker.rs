//! Moves the engine's epoch at a steady pace while any guest runs: the grain of every guest's
//! deadline, and of how long one guest keeps a core from the others.
//!
//! A thread of the system, not a task: a guest that never yields can hold every thread of a
//! runtime, but not this one. While no guest runs, the thread rests: an idle host is left alone.
//!
//! ```text
//!  guest    running += 1 ─► resting? ── yes ─► wake the ticker
//!  ticker   resting = true ─► running is still 0? ── yes ─► sleep until woken
//! ```
//! Each side writes first and reads the other's flag second, so one of them sees the other.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle, Thread};
use std::time::Duration;

use crate::engine::error::EngineError;

/// Ticks without a guest after which the ticker rests. 200: a busy host is not woken for each call.
const REST_AFTER: u32 = 200;

/// The running ticker. Dropping it ends the thread and waits for its end.
#[derive(Debug)]
pub(super) struct Ticker {
    pace: Pace,
    thread: Option<JoinHandle<()>>,
}

/// The guests' side of the ticker: the epoch moves while one of them runs. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub struct Pace(Arc<Shared>);

/// A guest that runs, until this is dropped.
#[derive(Debug)]
#[must_use]
pub struct Running(Pace);

#[derive(Debug, Default)]
struct Shared {
    running: AtomicUsize,
    resting: AtomicBool,
    ended: AtomicBool,
    /// Set by the ticker before it first rests.
    ticker: OnceLock<Thread>,
}

impl Pace {
    /// The lease to hold while guest code may run.
    pub fn run(&self) -> Running {
        self.0.running.fetch_add(1, Ordering::SeqCst);
        if self.0.resting.load(Ordering::SeqCst) {
            self.wake();
        }
        Running(self.clone())
    }

    /// Whether the ticker sleeps until a guest runs.
    #[cfg(test)]
    pub(super) fn is_at_rest(&self) -> bool {
        self.0.resting.load(Ordering::SeqCst)
    }

    fn wake(&self) {
        if let Some(ticker) = self.0.ticker.get() {
            ticker.unpark();
        }
    }

    fn ended(&self) -> bool {
        self.0.ended.load(Ordering::SeqCst)
    }

    fn nobody_runs(&self) -> bool {
        self.0.running.load(Ordering::SeqCst) == 0
    }

    /// Returns when a guest runs, or the ticker has to end.
    fn rest(&self) {
        self.0.resting.store(true, Ordering::SeqCst);
        while self.nobody_runs() && !self.ended() {
            thread::park();
        }
        self.0.resting.store(false, Ordering::SeqCst);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Ticker {
    /// Starts to move the epoch of `engine` by one every `tick`, while a guest runs.
    pub(super) fn start(engine: wasmtime::Engine, tick: Duration) -> Result<Self, EngineError> {
        // A tick of zero would be a busy loop.
        let tick = tick.max(Duration::from_micros(100));
        let pace = Pace::default();
        let shared = pace.clone();
        let thread = thread::Builder::new()
            .name("epoch-ticker".to_owned())
            .spawn(move || {
                shared.0.ticker.get_or_init(thread::current);
                let mut idle = 0;
                while !shared.ended() {
                    idle = if shared.nobody_runs() { idle + 1 } else { 0 };
                    if idle > REST_AFTER {
                        shared.rest();
                        idle = 0;
                    }
                    // Woken early, the epoch moves early: a guest yields once more.
                    thread::park_timeout(tick);
                    engine.increment_epoch();
                }
            })
            .map_err(|source| EngineError::Ticker { source })?;
        Ok(Self { pace, thread: Some(thread) })
    }

    /// The handle of guests.
    pub(super) fn pace(&self) -> &Pace {
        &self.pace
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.pace.0.ended.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            if thread.join().is_err() {
                tracing::error!("the epoch ticker ended by panic");
            }
        }
    }
}
