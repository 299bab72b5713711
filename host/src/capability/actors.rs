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
//! - An id that is made here is made once: its number belongs to the generation.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use stockade_depot::gate::{Gate, Waiting};
use stockade_depot::{ActorId, Mark, Reason};
use stockade_vfs::memory::Share;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::Instant;
use wasmtime::component::{Resource, Val};

use super::State;
use super::grants::Grants;
use crate::bindings::stockade::actor::actors as wit;
use crate::bindings::{NotCalled, PendingHandle};
use crate::calls::{Allowance, CallKey, Chain, Cycle, Making, Waits};
use crate::eager::Eager;
use crate::limits::{
    CALL_MARGIN_MAX, CALL_MARGIN_PART, CALLS_IN_FLIGHT_MAX, CHAIN_ACTORS_MAX, METHOD_BYTES_MAX,
};
use crate::messages::{Parcel, Said, Undelivered};
use crate::sqlite::SqlError;
use crate::typed::{Signature, Size};

/// What a call of an actor comes to.
pub type CallResult<R> = Result<Answered<R>, wit::Error>;

/// The host's way to the actors that guests call.
pub trait Outside: Send + Sync {
    /// Calls a method by its name, with arguments as JSON. Each call of a guest asks once, after its gate
    /// is passed. Dropping the future takes the call back, if it has not begun.
    fn call(
        &self,
        call: Outgoing,
        method: String,
        arguments: Bytes,
    ) -> BoxFuture<'static, CallResult<wit::Reply>>;

    /// The same for a method of these types, with values of them.
    fn call_typed(
        &self,
        call: Outgoing,
        signature: Arc<Signature>,
        values: Vec<Val>,
    ) -> BoxFuture<'static, CallResult<Option<Val>>>;

    /// Asks what became of a call. Each question of a guest asks once, after its gate is passed.
    fn outcome(&self, asking: Asking) -> BoxFuture<'static, Result<wit::Outcome, wit::Error>>;

    /// Takes messages to an actor and returns what it says to them. The host asks again and again,
    /// with the same messages until it knows what became of them, each time after a gate of its own is
    /// passed.
    fn deliver(&self, to: ActorId, parcel: Parcel)
    -> BoxFuture<'static, Result<Said, Undelivered>>;
}

/// A question of a guest that may leave.
pub struct Asking {
    /// The actor to ask.
    pub to: ActorId,
    /// The call.
    pub key: CallKey,
    /// Whether the answer is for good.
    pub settle: bool,
    /// When its caller waits no longer.
    pub late: Instant,
}

/// An answer, and what it has cost.
pub struct Answered<R> {
    /// The answer.
    pub reply: R,
    /// What the callee has used of its caller's budget.
    pub used: Allowance,
}

/// A call of a guest that may leave.
pub struct Outgoing {
    /// The actor to call.
    pub to: ActorId,
    /// The id, if the call has one. Guest-controlled, bounded.
    pub key: Option<CallKey>,
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
    /// Ids that were made in this generation.
    ids: u64,
}

/// What a call came to, and the memory that it takes until the guest has it.
struct Held {
    outcome: CallResult<wit::Reply>,
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
        Self { way, chain: None, started: HashMap::new(), next: 0, handles: 0, ids: 0 }
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

    /// What the kind may call, and send to.
    pub(super) fn grants(&self) -> &Grants {
        &self.way.grants
    }

    fn chain_of(&mut self, actor: &ActorId) -> &Chain {
        let waits = &self.way.waits;
        self.chain.get_or_insert_with(|| Chain::begun(waits.age(), actor))
    }
}

impl State {
    /// A call by name that has passed every check here, noted as a wait.
    fn outgoing(
        &mut self,
        (kind, key): (&str, &str),
        method: String,
        arguments: String,
        id: Option<&str>,
    ) -> Result<BoxFuture<'static, Held>, wit::Error> {
        let bytes = arguments.len() as u64;
        let to = ActorId::new(kind, key).map_err(|error| error.to_string());
        let size = Size { data: bytes, memory: bytes };
        let (gate, outside, call) = self.leaving(to, &method, size, id)?;
        let (arguments, held) = (Bytes::from(arguments), Arc::clone(&call.room));
        Ok(Box::pin(async move {
            let outcome = passed(gate, || outside.call(call, method, arguments)).await;
            Held { outcome, _room: held }
        }))
    }

    /// Calls a method of these types and waits for its answer.
    pub(super) async fn call_typed(
        &mut self,
        to: Result<ActorId, String>,
        signature: Arc<Signature>,
        values: &[Val],
    ) -> Result<Option<Val>, wit::Error> {
        let Size { data, memory } = Size::of(values);
        // The guest's own values, those that wait for the callee, and those that it gets.
        let memory = memory.saturating_mul(3);
        let (gate, outside, call) =
            self.leaving(to, &signature.method, Size { data, memory }, None)?;
        let _held = Arc::clone(&call.room);
        let values = values.to_vec();
        let outcome = passed(gate, || outside.call_typed(call, signature, values)).await;
        self.given(outcome)
    }

    /// A call that has passed every check here, noted as a wait, with the gate before it and the way out.
    fn leaving(
        &mut self,
        to: Result<ActorId, String>,
        method: &str,
        arguments: Size,
        id: Option<&str>,
    ) -> Result<(Waiting, Arc<dyn Outside>, Outgoing), wit::Error> {
        let gate = self.effect()?;
        let to = to.map_err(|words| invalid("request.invalid-actor", words))?;
        let key = id.map(|id| self.key(id)).transpose()?;
        let (bytes, bytes_max) = (arguments.data, self.limits.payload_bytes_max);
        if bytes > bytes_max {
            let words = format!("arguments of {bytes} bytes are over the limit of {bytes_max}");
            return Err(invalid("request.payload-too-large", words));
        }
        if method.len() > METHOD_BYTES_MAX {
            let words = format!("a method's name has at most {METHOD_BYTES_MAX} bytes");
            return Err(invalid("request.malformed", words));
        }
        let (outside, chain) = self.way_to(&to)?;
        if chain.actors().len() > CHAIN_ACTORS_MAX {
            return Err(wit::Error::LimitExceeded(wit::Limit::ChainLength));
        }
        let room = Share::of(self.memory.pool());
        if !room.take(arguments.memory) {
            return Err(wit::Error::LimitExceeded(wit::Limit::Memory));
        }
        let remaining = self.meter.remaining();
        let (left, allowed) = (remaining.time, remaining.allowance());
        let margin = (left / CALL_MARGIN_PART).min(CALL_MARGIN_MAX);
        let until = Instant::now() + left.saturating_sub(margin);
        let late = until + margin / 2;
        let making = self.calls.way.waits.make(&chain, &to);
        let call = Outgoing { to, key, chain, making, until, late, allowed, room };
        Ok((gate, outside, call))
    }

    /// The way to an actor that may be called and is not in the chain that waits for this one; and that
    /// chain.
    fn way_to(&mut self, to: &ActorId) -> Result<(Arc<dyn Outside>, Chain), wit::Error> {
        if !self.calls.way.grants.allow(to) {
            return Err(wit::Error::Denied(Grants::line(to)));
        }
        let Some(outside) = self.calls.way.outside.clone() else {
            return Err(wit::Error::Other("this host calls no actors".to_owned()));
        };
        let chain = self.calls.chain_of(&self.actor).clone();
        match chain.cycle_with(to) {
            Some(cycle) => Err(cycle.into()),
            None => Ok((outside, chain)),
        }
    }

    /// The id of a call of this actor. Guest-controlled.
    fn key(&self, id: &str) -> Result<CallKey, wit::Error> {
        CallKey::of_actor(&self.actor, id)
            .map_err(|error| invalid("request.malformed", error.to_string()))
    }

    /// A question that has passed every check here.
    fn asking(
        &mut self,
        (kind, key): (&str, &str),
        id: &str,
        settle: bool,
    ) -> Result<BoxFuture<'static, Result<wit::Outcome, wit::Error>>, wit::Error> {
        let gate = self.effect()?;
        let to = ActorId::new(kind, key)
            .map_err(|error| invalid("request.invalid-actor", error.to_string()))?;
        let key = self.key(id)?;
        // An actor of the chain answers questions only once its call has ended.
        let (outside, _) = self.way_to(&to)?;
        let left = self.meter.remaining().time;
        let margin = (left / CALL_MARGIN_PART).min(CALL_MARGIN_MAX);
        let late = Instant::now() + left.saturating_sub(margin);
        Ok(Box::pin(async move {
            match gate.pass().await {
                Ok(_) => outside.outcome(Asking { to, key, settle, late }).await,
                Err(cause) => Err(revoked(cause.reason())),
            }
        }))
    }

    async fn called(
        &mut self,
        to: (&str, &str),
        method: String,
        arguments: String,
        id: Option<&str>,
    ) -> Result<wit::Reply, NotCalled> {
        let Held { outcome, _room } = self.outgoing(to, method, arguments, id)?.await;
        Ok(self.given(outcome)?)
    }

    fn started(
        &mut self,
        to: (&str, &str),
        method: String,
        arguments: String,
        id: Option<&str>,
    ) -> Result<Resource<PendingHandle>, NotCalled> {
        if self.calls.handles >= CALLS_IN_FLIGHT_MAX {
            self.calls_live()?;
            return Err(wit::Error::LimitExceeded(wit::Limit::CallsInFlight).into());
        }
        let call = self.outgoing(to, method, arguments, id)?;
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
    fn given<R>(&mut self, outcome: CallResult<R>) -> Result<R, wit::Error> {
        // A guest that was revoked in the meantime gets nothing.
        self.calls_live()?;
        let Answered { reply, used } = outcome?;
        self.meter.charge(&used);
        Ok(reply)
    }

    /// Whether handles still work.
    fn calls_live(&mut self) -> Result<Mark, wit::Error> {
        Ok(self.sql()?.mark()?)
    }
}

/// What a call comes to that leaves once its gate is passed.
async fn passed<R>(
    gate: Waiting,
    call: impl FnOnce() -> BoxFuture<'static, CallResult<R>>,
) -> CallResult<R> {
    match gate.pass().await {
        Ok(_) => call().await,
        Err(cause) => Err(revoked(cause.reason())),
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
        self.called((&kind, &key), method, arguments, None).await
    }

    async fn call_with_id(
        &mut self,
        kind: String,
        key: String,
        method: String,
        arguments: String,
        call_id: String,
    ) -> Result<wit::Reply, NotCalled> {
        self.called((&kind, &key), method, arguments, Some(&call_id)).await
    }

    fn new_call_id(&mut self) -> Result<String, NotCalled> {
        self.calls_live()?;
        let fence = self.sql()?.session().fence();
        self.calls.ids += 1;
        Ok(CallKey::made(self.clock.now_ms(), &fence, self.calls.ids))
    }

    async fn outcome_of(
        &mut self,
        kind: String,
        key: String,
        call_id: String,
        settle: bool,
    ) -> Result<wit::Outcome, NotCalled> {
        let outcome = self.asking((&kind, &key), &call_id, settle)?.await;
        self.calls_live()?;
        Ok(outcome?)
    }

    fn start(
        &mut self,
        kind: String,
        key: String,
        method: String,
        arguments: String,
    ) -> Result<Resource<PendingHandle>, NotCalled> {
        self.started((&kind, &key), method, arguments, None)
    }

    fn start_with_id(
        &mut self,
        kind: String,
        key: String,
        method: String,
        arguments: String,
        call_id: String,
    ) -> Result<Resource<PendingHandle>, NotCalled> {
        self.started((&kind, &key), method, arguments, Some(&call_id))
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
            Some(Answer::Here(Held { outcome, _room })) => Ok(self.given(outcome)?),
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
