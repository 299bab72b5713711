//! Answers in front of the gate: what runs beside a generation's calls.
//!
//! An answer that cannot leave immediately waits by itself (`crate::eager`), so that the next call
//! runs while the former call's sync is under way. Answers belong to the generation, whatever
//! runtime they end on (`reply.rs`), and are joined before the generation is sealed: after the seal
//! nothing can be confirmed. Answers are not cancelled: each ends with its verdict, at the store's
//! deadlines at the latest.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use stockade_depot::gate::Waiting;
use stockade_depot::{Cause, Generation};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::answer::{Answer, Called};
use super::message::Heard;
use super::reply::Reply;
use super::results::Results;
use super::trace::Trace;
use crate::eager::Eager;
use crate::error::{CallError, HostError};
use crate::messages::Said;
use crate::typed::Method;

/// The answers of one generation that are not delivered yet. Dropping the value drops them.
pub struct Answers {
    generation: Generation,
    waiting: FuturesUnordered<Eager>,
    proven: Arc<AtomicBool>,
}

impl Answers {
    /// No answers.
    #[must_use]
    pub fn new(generation: Generation) -> Self {
        Self { generation, waiting: FuturesUnordered::new(), proven: Arc::default() }
    }

    /// Whether a call of this generation was answered well, and the answer was delivered.
    #[must_use]
    pub fn proven(&self) -> bool {
        self.proven.load(Ordering::Acquire)
    }

    /// Marks the generation as proven: an operator vouches for it.
    pub fn prove(&self) {
        self.proven.store(true, Ordering::Release);
    }

    /// Puts a call's answer in front of the gate. Once delivered, the answer proves the generation.
    pub fn call(&mut self, of: Pending, answer: Answer<Results>) {
        let Pending { queue_us, to, .. } = of;
        let proven = Arc::clone(&self.proven);
        match to {
            ReplyTo::Caller { method, reply } => {
                let shape = move |results| {
                    proven.store(true, Ordering::Release);
                    Called { method, results }
                };
                self.release(queue_us, answer, shape, reply);
            }
            ReplyTo::DueWork { reply } => {
                let shape = move |_: Results| proven.store(true, Ordering::Release);
                self.release(queue_us, answer, shape, reply);
            }
            ReplyTo::Parcel { heard, reply } => {
                let generation = self.generation;
                self.leave(None, async move {
                    let said = said(answer, &heard, generation).await;
                    if said.is_ok() {
                        proven.store(true, Ordering::Release);
                    }
                    drop(reply.send(said));
                });
            }
        }
    }

    /// Puts an answer in front of the gate; the answer leaves when the gate is passed. The gate is
    /// polled once inline: a read of a store that answers immediately costs no task, and a write
    /// costs none before its session has news.
    pub fn release<T: Send + 'static, U: Send + 'static>(
        &mut self,
        queue_us: u64,
        answer: Answer<T>,
        shape: impl FnOnce(T) -> U + Send + 'static,
        reply: Reply<U>,
    ) {
        let (generation, home) = (self.generation, reply.home());
        self.leave(home, async move {
            reply.send(answer.heard(generation, queue_us, shape).await);
        });
    }

    /// Tells a caller whose session died why, and what became of its own writes: a commit that was
    /// on its way may still turn out to be kept.
    pub fn lost(&mut self, cause: Cause, waiting: Waiting, of: Pending) {
        self.leave(None, async move {
            let verdict = waiting.verdict().await;
            of.to.refuse(CallError::of_death(&cause, verdict));
        });
    }

    /// `home`: the runtime to wait on, if that is not this one.
    fn leave(&self, home: Option<Handle>, work: impl Future<Output = ()> + Send + 'static) {
        if let Some(waits) = Eager::begin(home.unwrap_or_else(Handle::current), work) {
            self.waiting.push(waits);
        }
    }

    /// Forgets the answers that were delivered.
    pub fn reap(&mut self) {
        while let Some(Some(())) = self.waiting.next().now_or_never() {}
    }

    /// A store that stalls must not let answers pile up without end.
    pub async fn bounded(&mut self, max: u64) {
        let max = usize::try_from(max).unwrap_or(1).max(1);
        while self.waiting.len() > max {
            self.waiting.next().await;
        }
    }

    /// Waits until every answer is delivered or refused.
    pub async fn join(&mut self) {
        while self.waiting.next().await.is_some() {}
    }
}

/// A call, or due work, whose answer is awaited: what its reply needs.
pub struct Pending {
    /// How long it was queued, in microseconds.
    pub queue_us: u64,
    /// Who asked for it.
    pub to: ReplyTo,
    /// The exit of its generation, should that end during the call.
    pub trace: Trace,
}

/// Who asked for what runs.
pub enum ReplyTo {
    /// A caller.
    Caller {
        /// The method.
        method: Arc<Method>,
        /// Where the answer goes.
        reply: Reply<Called>,
    },
    /// An actor that has sent messages.
    Parcel {
        /// Where it stands what is said.
        heard: Heard,
        /// Where that goes.
        reply: oneshot::Sender<Result<Said, CallError>>,
    },
    /// The time: of an alarm.
    DueWork {
        /// Where it is reported that the work has ended, whatever its outcome.
        reply: Reply<()>,
    },
}

impl ReplyTo {
    /// Answers that there is no result.
    pub fn refuse(self, error: CallError) {
        match self {
            Self::Caller { reply, .. } => reply.send(Err(error)),
            Self::DueWork { reply } => reply.send(Err(error)),
            Self::Parcel { reply, .. } => drop(reply.send(Err(error))),
        }
    }

    /// Waits in front of the gate. Returns what sends the answer then.
    pub async fn heard(
        self,
        answer: Answer<Results>,
        generation: Generation,
        queue_us: u64,
    ) -> Box<dyn FnOnce() + Send> {
        match self {
            Self::Caller { method, reply } => {
                let shape = |results| Called { method, results };
                let heard = answer.heard(generation, queue_us, shape).await;
                Box::new(move || reply.send(heard))
            }
            Self::DueWork { reply } => {
                let heard = answer.heard(generation, queue_us, drop).await;
                Box::new(move || reply.send(heard))
            }
            Self::Parcel { heard, reply } => {
                let said = said(answer, &heard, generation).await;
                Box::new(move || drop(reply.send(said)))
            }
        }
    }
}

/// Waits in front of the gate with what is said to a parcel. The death of a method is among that: the
/// gate was passed, and messages before it are durable.
async fn said(
    answer: Answer<Results>,
    heard: &Heard,
    generation: Generation,
) -> Result<Said, CallError> {
    let answered = answer.heard(generation, 0, drop).await;
    let lost = || CallError::from(HostError::Internal("nothing was said to a parcel".to_owned()));
    match answered {
        Ok(_) => heard.lock().take().ok_or_else(lost),
        Err(error) => match (&error.cause, heard.lock().take()) {
            (HostError::Trapped { .. } | HostError::BudgetExhausted { .. }, Some(said)) => Ok(said),
            _ => Err(error),
        },
    }
}
