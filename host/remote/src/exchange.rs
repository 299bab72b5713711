//! One step from its value to its answer: over the line that is open, within its deadline.
//!
//! ```text
//! ask ──> line open? ── no: one caller opens it, the others wait for the same outcome
//!          │ message in parts, answer in parts, deadline
//!          ├─ an answer ──────────────> the value, or the store's error as it is
//!          ├─ certainly not sent ─────> Unavailable
//!          └─ anything else ──────────> Unavailable for a read, Unknown for a write
//! ```
//! Invariants:
//! - Nothing is sent twice from here: whether a step may be sent again is for the depot (D3).
//! - What is unknown is never called lost or applied.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use parking_lot::Mutex;
use prost::Message;
use stockade_depot::{StoreError, StoreFull};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout_at};

use crate::handshake::{Refusal, RefusalCode};
use crate::line::{Answer, Line, NotOpen, Unanswered};
use crate::proto::{self, Step};
use crate::steps::{About, about};
use crate::store::RemoteConfig;
use crate::wire::{Malformed, Wire};

/// How a line is opened.
pub(crate) enum Dial {
    /// A connection, on this runtime.
    Wire(Box<RemoteConfig>, Handle),
    /// A simulation, whose store has so many shards.
    #[cfg(feature = "simulated")]
    Carried(Arc<dyn crate::carried::Carrier>, u16),
}

impl Dial {
    async fn open(&self) -> Result<Line, NotOpen> {
        match self {
            Self::Wire(config, home) => connect(config, home).await,
            #[cfg(feature = "simulated")]
            Self::Carried(carrier, shards) => Ok(crate::carried::line(carrier, *shards)),
        }
    }

    /// Where the store is, for the log.
    fn address(&self) -> String {
        match self {
            Self::Wire(config, _) => config.address.to_string(),
            #[cfg(feature = "simulated")]
            Self::Carried(..) => "a simulation".to_owned(),
        }
    }
}

/// The way to a server.
pub(crate) struct Exchange {
    dial: Dial,
    shards: u16,
    closed: AtomicBool,
    /// What was agreed on for the newest line.
    version: AtomicU32,
    full: Mutex<Option<StoreFull>>,
    /// Held while a line is opened, so that one caller does it: the others wait for the outcome.
    line: tokio::sync::Mutex<Lines>,
}

#[derive(Default)]
struct Lines {
    open: Option<Arc<Line>>,
    /// The last attempt that failed: when it ended, and why.
    failed: Option<(Instant, NotOpen)>,
}

impl Exchange {
    /// With the first line, which knows how many shards there are.
    pub(crate) fn new(dial: Dial, first: Line) -> Self {
        let (shards, version) = (first.shards, AtomicU32::new(first.version));
        let lines = Lines { open: Some(Arc::new(first)), failed: None };
        Self {
            dial,
            shards,
            closed: AtomicBool::new(false),
            version,
            full: Mutex::default(),
            line: tokio::sync::Mutex::new(lines),
        }
    }

    /// Sends a step to a server that speaks at least the version `since`; resolves with what the
    /// store answers.
    ///
    /// # Errors
    /// Those of the store; `Unavailable` if the step was certainly not applied, `Unknown` if it may
    /// have been.
    pub(crate) async fn ask<M, T>(
        &self,
        step: Step,
        since: u32,
        message: impl Message,
    ) -> Result<T, StoreError>
    where
        M: Message + Default,
        T: Wire<M>,
    {
        let known =
            about(step).ok_or_else(|| StoreError::Unavailable("no such step".to_owned()))?;
        let bytes = u64::try_from(message.encoded_len()).unwrap_or(u64::MAX);
        if bytes > known.bytes_max() {
            let max = known.bytes_max();
            let what = format!("a step of {bytes} bytes is over the limit of {max}");
            return Err(StoreError::Unavailable(what));
        }
        let line = self.line().await?;
        if line.version < since {
            // Sent, it would be read without what it cannot do without.
            let what = format!(
                "the node with the store runs program {}, which is too old for this step",
                line.program
            );
            return Err(StoreError::Unavailable(what));
        }
        let deadline = Instant::now() + known.deadline();
        let message = message.encode_to_vec().into();
        let answered = timeout_at(deadline, line.send(step, known, message, deadline)).await;
        match answered {
            Ok(Ok(answer)) => self.read(known, answer),
            Ok(Err(Unanswered::NotSent(why))) => Err(StoreError::Unavailable(why)),
            Ok(Err(Unanswered::Lost(why))) => Err(known.unanswered(why)),
            Err(_) => {
                self.doubt(&line).await;
                Err(known.unanswered(format!("no answer within {:?}", known.deadline())))
            }
        }
    }

    /// What was agreed on for the newest connection.
    pub(crate) fn version(&self) -> u32 {
        self.version.load(Ordering::SeqCst)
    }

    /// Why the store takes no writes of guests, as far as its answers say.
    pub(crate) fn full(&self) -> Option<StoreFull> {
        self.full.lock().clone()
    }

    /// Refuses everything after.
    pub(crate) async fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        // Steps that are on their way keep their line.
        self.line.lock().await.open = None;
    }

    fn read<M, T>(&self, known: About, answer: Answer) -> Result<T, StoreError>
    where
        M: Message + Default,
        T: Wire<M>,
    {
        let Answer { failed, message, full } = answer;
        let malformed = |malformed: Malformed| known.unanswered(malformed.to_string());
        let read = if failed {
            let error = proto::StoreError::decode(message).map_err(|_| Malformed::Message);
            let error: StoreError = error.and_then(Wire::take).map_err(malformed)?;
            Err(match error {
                // The server's process ends, not this one: its store will be there again.
                StoreError::Closed => {
                    StoreError::Unavailable("the node with the store shuts down".to_owned())
                }
                error => error,
            })
        } else {
            let message = M::decode(message).map_err(|_| Malformed::Message);
            Ok(message.and_then(Wire::take).map_err(malformed)?)
        };
        match (full, &read) {
            (Some(full), _) => *self.full.lock() = full,
            (None, Err(StoreError::Full(full))) => *self.full.lock() = Some(full.clone()),
            (None, Ok(_)) if known.makes_room_certain() => *self.full.lock() = None,
            (None, _) => {}
        }
        read
    }

    /// Takes a line that was silent for too long out of use: the next step gets another one, without
    /// waiting for the signs of life. Steps that are on their way keep it.
    async fn doubt(&self, line: &Arc<Line>) {
        let mut lines = self.line.lock().await;
        if lines.open.as_ref().is_some_and(|open| Arc::ptr_eq(open, line)) {
            lines.open = None;
        }
    }

    /// The line that is open, or a new one.
    async fn line(&self) -> Result<Arc<Line>, StoreError> {
        let begun = Instant::now();
        self.check_open()?;
        let mut lines = self.line.lock().await;
        self.check_open()?;
        if let Some(line) = lines.open.as_ref().filter(|line| line.is_open()) {
            return Ok(Arc::clone(line));
        }
        // The attempt that this caller has waited for.
        if let Some((_, why)) = lines.failed.as_ref().filter(|(ended, _)| *ended > begun) {
            return Err(away(why));
        }
        lines.open = None;
        match self.open().await {
            Ok(line) => {
                if lines.failed.take().is_some() {
                    tracing::info!(store = %self.dial.address(), "the store is back");
                }
                let line = Arc::new(line);
                lines.open = Some(Arc::clone(&line));
                Ok(line)
            }
            Err(why) => {
                // Once for each cause, not for each step.
                if lines.failed.as_ref().is_none_or(|(_, before)| *before != why) {
                    tracing::warn!(store = %self.dial.address(), why = %why, "no store");
                }
                let error = away(&why);
                lines.failed = Some((Instant::now(), why));
                Err(error)
            }
        }
    }

    async fn open(&self) -> Result<Line, NotOpen> {
        let line = self.dial.open().await?;
        if line.shards != self.shards {
            let what = format!(
                "the store has {} shards now and had {}: it is another store",
                line.shards, self.shards
            );
            let refusal = Refusal::new(RefusalCode::Shards, &what);
            line.leave(&refusal).await;
            return Err(NotOpen::Refused(refusal));
        }
        self.version.store(line.version, Ordering::SeqCst);
        Ok(line)
    }

    fn check_open(&self) -> Result<(), StoreError> {
        if self.closed.load(Ordering::SeqCst) { Err(StoreError::Closed) } else { Ok(()) }
    }
}

/// Opens a line on the runtime where it lives, whatever runtime asks.
pub(crate) async fn connect(config: &RemoteConfig, home: &Handle) -> Result<Line, NotOpen> {
    let (config, at) = (config.clone(), home.clone());
    // Dropped with its caller: the attempt ends by its deadlines.
    let opened = home.spawn(async move { Line::open(&config, at).await }).await;
    opened.unwrap_or_else(|_| Err(NotOpen::Away("the host ends".to_owned())))
}

fn away(why: &NotOpen) -> StoreError {
    StoreError::Unavailable(why.to_string())
}
