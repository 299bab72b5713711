//! `stockade:actor/actors`: calls of other actors.
//!
//! ```text
//!  granted? outside a transaction? no chain that comes back? ──> noted as a wait
//!    ──> gate: commits durable, fence confirmed ──> the host's way to the actor ──> answer
//! ```
//! Invariants:
//! - No request leaves before its gate is passed.
//! - What a call of the guest has started and not taken ends with that call.
//! - An answer is given only while the grip of SQL is not revoked.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use stockade_depot::gate::{Gate, Waiting};
use stockade_depot::{ActorId, Mark, Reason};
use stockade_vfs::memory::Share;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use wasmtime::component::Resource;

use super::State;
use super::grants::Grants;
use crate::bindings::stockade::actor::actors as wit;
use crate::bindings::{NotCalled, PendingHandle};
use crate::calls::{Allowance, Chain, Cycle, Making, Waits};
use crate::eager::Eager;
use crate::limits::{
    CALL_MARGIN_MAX, CALL_MARGIN_PART, CALLS_IN_FLIGHT_MAX, CHAIN_ACTORS_MAX, METHOD_BYTES_MAX,
};
use crate::sqlite::SqlError;

/// The host's way to the actors that guests call.
pub trait Outside: Send + Sync {
    /// Calls a method. Each call of a guest asks once, after its gate is passed. Dropping the future
    /// takes the call back, if it has not begun.
    fn call(&self, call: Outgoing) -> BoxFuture<'static, Result<Answered, wit::Error>>;
}

/// An answer, and what it has cost.
pub struct Answered {
    /// The answer.
    pub reply: wit::Reply,
    /// What the callee has used of its caller's budget.
    pub used: Allowance,
}

/// A call of a guest that may leave.
pub struct Outgoing {
    /// The actor to call.
    pub to: ActorId,
    /// The method. Guest-controlled, bounded.
    pub method: String,
    /// The arguments as JSON. Guest-controlled, bounded.
    pub arguments: Bytes,
    /// The actors that wait for the answer.
    pub chain: Chain,
    /// The note of the wait.
    pub making: Making,
    /// When the callee must have ended.
    pub until: Instant,
    /// When its caller no longer waits for that.
    pub late: Instant,
    /// What the callee may use of its caller's budget.
    pub allowed: Allowance,
    /// Holds the memory of arguments and answer.
    pub room: Arc<Share>,
}

/// What a generation's calls of others need.
#[derive(Clone)]
pub struct Way {
    /// `None`: the host has ended, or a simulation runs the guests.
    pub outside: Option<Arc<dyn Outside>>,
    /// The calls under way in this process.
    pub waits: Arc<Waits>,
    /// What the kind may call.
    pub grants: Arc<Grants>,
}

/// The calls of one generation.
pub(super) struct Calls {
    way: Way,
    /// The chain of what the guest works on. `None` until the guest calls, if no actor waits for it.
    chain: Option<Chain>,
    started: HashMap<u64, Started>,
    next: u64,
    /// Handles that the guest has.
    handles: usize,
}

/// What a call came to, and the memory that it takes until the guest has it.
struct Held {
    outcome: Result<Answered, wit::Error>,
    _room: Arc<Share>,
}

/// A call that was started, whose answer was not taken.
struct Started {
    answer: Answer,
    /// Dropped, the work is dropped as well.
    _work: Option<Eager>,
}

enum Answer {
    Awaited(oneshot::Receiver<Held>),
    Here(Held),
    /// The host has ended the call.
    Lost,
}

impl Started {
    /// Whether the answer is here.
    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Answer::Awaited(receiver) = &mut self.answer {
            let Poll::Ready(answered) = receiver.poll_unpin(context) else {
                return Poll::Pending;
            };
            self.answer = answered.map_or(Answer::Lost, Answer::Here);
        }
        Poll::Ready(())
    }
}

impl Calls {
    pub(super) fn new(way: Way) -> Self {
        Self { way, chain: None, started: HashMap::new(), next: 0, handles: 0 }
    }

    /// A call or hook of `actor` begins, for which the actors of `chain` wait.
    pub(super) fn begin(&mut self, actor: &ActorId, chain: Option<&Chain>) {
        self.end();
        self.chain = chain.map(|chain| chain.then(actor));
    }

    /// Ends what was started and not taken.
    pub(super) fn end(&mut self) {
        self.started.clear();
        self.chain = None;
    }

    fn chain_of(&mut self, actor: &ActorId) -> &Chain {
        let waits = &self.way.waits;
        self.chain.get_or_insert_with(|| Chain::begun(waits.age(), actor))
    }
}

impl State {
    /// A call that has passed every check here, noted as a wait.
    fn outgoing(
        &mut self,
        (kind, key): (&str, &str),
        method: String,
        arguments: String,
    ) -> Result<BoxFuture<'static, Held>, wit::Error> {
        let gate = self.effect()?;
        let to = ActorId::new(kind, key)
            .map_err(|error| invalid("request.invalid-actor", error.to_string()))?;
        let (bytes, bytes_max) = (arguments.len() as u64, self.limits.payload_bytes_max);
        if bytes > bytes_max {
            let words = format!("arguments of {bytes} bytes are over the limit of {bytes_max}");
            return Err(invalid("request.payload-too-large", words));
        }
        if method.len() > METHOD_BYTES_MAX {
            let words = format!("a method's name has at most {METHOD_BYTES_MAX} bytes");
            return Err(invalid("request.malformed", words));
        }
        if !self.calls.way.grants.allow(&to) {
            return Err(wit::Error::Denied(Grants::line(&to)));
        }
        let Some(outside) = self.calls.way.outside.clone() else {
            return Err(wit::Error::Other("this host calls no actors".to_owned()));
        };
        let chain = self.calls.chain_of(&self.actor).clone();
        if let Some(cycle) = chain.cycle_with(&to) {
            return Err(cycle.into());
        }
        if chain.actors().len() > CHAIN_ACTORS_MAX {
            return Err(wit::Error::LimitExceeded(wit::Limit::ChainLength));
        }
        let room = Share::of(self.memory.pool());
        if !room.take(bytes) {
            return Err(wit::Error::LimitExceeded(wit::Limit::Memory));
        }
        let remaining = self.meter.remaining();
        let (left, allowed) = (remaining.time, remaining.allowance());
        let margin = (left / CALL_MARGIN_PART).min(CALL_MARGIN_MAX);
        let until = Instant::now() + left.saturating_sub(margin);
        let late = until + margin / 2;
        let making = self.calls.way.waits.make(&chain, &to);
        let arguments = Bytes::from(arguments);
        let held = Arc::clone(&room);
        let call = Outgoing { to, method, arguments, chain, making, until, late, allowed, room };
        Ok(Box::pin(async move {
            let outcome = match gate.pass().await {
                Ok(_) => outside.call(call).await,
                Err(cause) => Err(revoked(cause.reason())),
            };
            Held { outcome, _room: held }
        }))
    }

    /// The gate of an effect that the guest makes now.
    fn effect(&mut self) -> Result<Waiting, wit::Error> {
        let connection = self.sql()?;
        let session = connection.session().clone();
        connection.mark_outside_transaction().map_err(|error| match error {
            SqlError::Busy | SqlError::NotOpen => wit::Error::OpenTransaction,
            error => error.into(),
        })?;
        Ok(Gate::effect(&session))
    }

    /// Gives the guest what a call came to, and charges the call in progress for it.
    fn given(&mut self, held: Held) -> Result<wit::Reply, wit::Error> {
        // A guest that was revoked in the meantime gets nothing.
        self.calls_live()?;
        let Answered { reply, used } = held.outcome?;
        self.meter.charge(&used);
        Ok(reply)
    }

    /// Whether handles still work.
    fn calls_live(&mut self) -> Result<Mark, wit::Error> {
        Ok(self.sql()?.mark()?)
    }
}

impl wit::Host for State {
    async fn call(
        &mut self,
        kind: String,
        key: String,
        method: String,
        arguments: String,
    ) -> Result<wit::Reply, NotCalled> {
        let held = self.outgoing((&kind, &key), method, arguments)?.await;
        Ok(self.given(held)?)
    }

    fn start(
        &mut self,
        kind: String,
        key: String,
        method: String,
        arguments: String,
    ) -> Result<Resource<PendingHandle>, NotCalled> {
        if self.calls.handles >= CALLS_IN_FLIGHT_MAX {
            self.calls_live()?;
            return Err(wit::Error::LimitExceeded(wit::Limit::CallsInFlight).into());
        }
        let call = self.outgoing((&kind, &key), method, arguments)?;
        let number = self.calls.next;
        let handle = self.table.push(PendingHandle(number))?;
        self.calls.next += 1;
        self.calls.handles += 1;
        let (tell, answer) = oneshot::channel();
        let work = Eager::begin(Handle::current(), async move {
            // The guest may have dropped its handle.
            drop(tell.send(call.await));
        });
        let started = Started { answer: Answer::Awaited(answer), _work: work };
        self.calls.started.insert(number, started);
        Ok(handle)
    }

    async fn wait_any(&mut self, calls: Vec<Resource<PendingHandle>>) -> Result<u32, NotCalled> {
        self.calls_live()?;
        // Guest-controlled: a list may name a call several times.
        if calls.len() > CALLS_IN_FLIGHT_MAX {
            return Err(wit::Error::LimitExceeded(wit::Limit::CallsInFlight).into());
        }
        let numbers = calls.iter().map(|call| self.table.get(call).map(|handle| handle.0));
        let numbers: Vec<u64> = numbers.collect::<Result<_, _>>()?;
        let started = &mut self.calls.started;
        if !numbers.iter().any(|number| started.contains_key(number)) {
            return Err(wit::Error::NotOpen.into());
        }
        let first = std::future::poll_fn(|context| {
            for (at, number) in (0..).zip(&numbers) {
                let started = started.get_mut(number);
                if started.is_some_and(|started| started.poll_ready(context).is_ready()) {
                    return Poll::Ready(at);
                }
            }
            Poll::Pending
        });
        let first = first.await;
        self.calls_live()?;
        Ok(first)
    }

    fn convert_error(&mut self, refusal: NotCalled) -> wasmtime::Result<wit::Error> {
        match refusal {
            NotCalled::Error(error) => Ok(error),
            NotCalled::Trap(trap) => Err(trap),
        }
    }
}

impl wit::HostPending for State {
    async fn wait(&mut self, this: Resource<PendingHandle>) -> Result<wit::Reply, NotCalled> {
        let number = self.table.get(&this)?.0;
        self.calls_live()?;
        let Some(started) = self.calls.started.get_mut(&number) else {
            return Err(wit::Error::NotOpen.into());
        };
        std::future::poll_fn(|context| started.poll_ready(context)).await;
        let started = self.calls.started.remove(&number);
        match started.map(|started| started.answer) {
            Some(Answer::Here(held)) => Ok(self.given(held)?),
            Some(Answer::Lost) => {
                self.calls_live()?;
                Err(wit::Error::Other("the host ended the call".to_owned()).into())
            }
            Some(Answer::Awaited(_)) | None => unreachable!("BUG: the answer was here"),
        }
    }

    fn drop(&mut self, this: Resource<PendingHandle>) -> wasmtime::Result<()> {
        let PendingHandle(number) = self.table.delete(this)?;
        self.calls.handles -= 1;
        self.calls.started.remove(&number);
        Ok(())
    }
}

// --- errors, out ----------------------------------------------------------------------------------

fn invalid(code: &str, message: String) -> wit::Error {
    let (advice, details) = (wit::Advice::Fix, "{}".to_owned());
    wit::Error::Invalid(wit::Failure {
        code: code.to_owned(),
        message,
        advice,
        verdict: None,
        details,
    })
}

fn revoked(reason: Reason) -> wit::Error {
    wit::Error::Revoked(reason.into())
}

impl From<SqlError> for wit::Error {
    fn from(error: SqlError) -> Self {
        match error {
            SqlError::Revoked(reason) => revoked(reason),
            error => Self::Other(error.to_string()),
        }
    }
}

impl From<SqlError> for NotCalled {
    fn from(error: SqlError) -> Self {
        Self::Error(error.into())
    }
}

impl From<Cycle> for wit::Error {
    fn from(cycle: Cycle) -> Self {
        let Cycle { actors, crosses } = cycle;
        let name = |actor: ActorId| wit::ActorName {
            kind: actor.kind().to_owned(),
            key: actor.key().to_owned(),
        };
        Self::CallCycle(wit::Cycle { chain: actors.into_iter().map(name).collect(), crosses })
    }
}
