//! Moves the engine's epoch at a steady pace: the grain of every guest's deadline.
//!
//! A thread of the system, not a task: a guest that never yields can hold every thread of a
//! runtime, but not this one.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::engine::error::EngineError;

/// The running ticker. Dropping it ends the thread and waits for it.
#[derive(Debug)]
pub(super) struct Ticker {
    /// Dropped to end the thread; nothing is ever sent.
    alive: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    /// Starts to move the epoch of `engine` by one every `tick`.
    pub(super) fn start(engine: wasmtime::Engine, tick: Duration) -> Result<Self, EngineError> {
        // A tick of zero would be a busy loop.
        let tick = tick.max(Duration::from_millis(1));
        let (alive, ended) = mpsc::channel::<()>();
        let thread = thread::Builder::new()
            .name("epoch-ticker".to_owned())
            .spawn(move || {
                while ended.recv_timeout(tick) == Err(RecvTimeoutError::Timeout) {
                    engine.increment_epoch();
                }
            })
            .map_err(|source| EngineError::Ticker { source })?;
        Ok(Self { alive: Some(alive), thread: Some(thread) })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.alive.take();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the epoch ticker ended by panic");
        }
    }
}
