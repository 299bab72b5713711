//! A call in two halves: its arguments are checked, which may take long and needs no actor; then
//! the call is made. An operator's statements go the way of the second half.

use std::sync::Arc;
use std::time::{Duration, Instant as Elapsed};

use stockade_depot::{ActorId, Digest, Reason, Txid, Verdict};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::oneshot;
use tokio::time::Instant;
use wasmtime::component::Val;

use super::Host;
use super::info::{Reply, SqlReply, SqlRequest};
use crate::actor::asker::Asker;
use crate::actor::generation::Program;
use crate::actor::statements::{Script, Statements};
use crate::actor::wanted::Wanted;
use crate::calls::{Allowance, CallId, CallKey, Chain};
use crate::error::{CallError, HostError};
use crate::router::request::{self, Called, Heard, Identified, Request, Work};
use crate::sqlite::{AlarmOrder, MessageOrder};
use crate::typed::{Arguments, Expected, Method, Room, Signature, Size, digest};

/// A kind that can be called: its component as it was a moment ago.
#[derive(Clone)]
pub struct Callable(Arc<Program>);

/// A method with arguments that fit it.
pub struct ReadyCall {
    method: Arc<Method>,
    values: Vec<Val>,
    program: Arc<Program>,
    wanted: Wanted,
    txid_min: Txid,
    by: Option<ByActor>,
    identified: Option<Identified>,
}

/// The actor that makes a call.
#[derive(Clone, Debug)]
pub struct ByActor {
    /// The call.
    pub id: CallId,
    /// The actors that wait for it.
    pub chain: Chain,
    /// When the callee must have ended.
    pub until: Instant,
    /// What the callee may use of its caller's budget.
    pub allowed: Allowance,
    /// The digest of the types that the caller expects the method to have, if it expects any and the
    /// call goes through the JSON between processes.
    pub types: Option<Digest>,
}

impl ReadyCall {
    /// The same call, whose answer must not be older than this commit.
    #[must_use]
    pub fn at_least(self, txid_min: Txid) -> Self {
        Self { txid_min, ..self }
    }

    /// The same call, made by an actor.
    #[must_use]
    pub fn by(self, by: Option<ByActor>) -> Self {
        Self { by, ..self }
    }

    /// The same call, with an id. Takes as long as its arguments are large.
    #[must_use]
    pub fn identified(self, key: Option<CallKey>) -> Self {
        let identified = key.map(|key| Identified { key, arguments: digest(&self.values) });
        Self { identified, ..self }
    }
}

impl Callable {
    /// Bytes that a call's arguments may have.
    pub fn payload_bytes_max(&self) -> u64 {
        self.0.limits.payload_bytes_max
    }

    /// How long a call may take, with the start of its actor.
    pub fn time_max(&self) -> Duration {
        let limits = &self.0.limits;
        Duration::from_millis(limits.call_time_ms.saturating_add(limits.start_time_ms))
    }

    /// Checks the arguments against the method's types. Takes as long as they are large, and their
    /// values take `room`.
    ///
    /// # Errors
    /// `MethodMissing`, `Arguments`, `PayloadTooLarge`.
    pub fn with(
        self,
        method: &str,
        arguments: Arguments,
        room: Room<'_>,
    ) -> Result<ReadyCall, HostError> {
        self.with_types(method, arguments, None, room)
    }

    /// The same, for a caller that expects the method to have certain types.
    ///
    /// # Errors
    /// As above; `Signature` if the method has others.
    pub fn with_types(
        self,
        method: &str,
        arguments: Arguments,
        expected: Option<Expected>,
        room: Room<'_>,
    ) -> Result<ReadyCall, HostError> {
        let wanted = Wanted::new(method, arguments, expected);
        let (method, values) = wanted.found_in(&self.0.methods, room)?;
        let (bytes, max) = (Size::of(&values).data, self.payload_bytes_max());
        if bytes > max {
            return Err(HostError::PayloadTooLarge { bytes, max });
        }
        Ok(ReadyCall {
            method,
            values,
            program: self.0,
            wanted,
            txid_min: Txid(0),
            by: None,
            identified: None,
        })
    }

    /// Checks that a method has the types that a client of its kind was built with.
    ///
    /// # Errors
    /// `MethodMissing`, `Signature`.
    pub(super) fn check(&self, signature: &Arc<Signature>) -> Result<(), HostError> {
        let name = &signature.method;
        let found = self.0.methods.find_for_client(name)?;
        Ok(Expected::Types(Arc::clone(signature)).check(name, found)?)
    }
}

impl Host {
    /// The threads for megabytes, which give way to all others. `None`: in a simulation.
    #[doc(hidden)]
    #[must_use]
    pub fn heavy_threads(&self) -> Option<Handle> {
        self.shared().ground.heavy.clone()
    }

    /// The component that a kind has now.
    ///
    /// # Errors
    /// `KindMissing`, and what keeps it from being loaded.
    #[doc(hidden)]
    pub async fn callable(&self, kind: &str) -> Result<Callable, HostError> {
        self.shared().kinds.current(kind).await.map(Callable)
    }

    /// [`ActorHandle::call`](super::ActorHandle::call).
    pub(super) async fn call(
        &self,
        actor: &ActorId,
        method: &str,
        arguments: Arguments,
        txid_min: Txid,
        key: Option<CallKey>,
    ) -> Result<Reply, CallError> {
        let ready = self.callable(actor.kind()).await?.with(method, arguments, Room::default())?;
        self.call_ready(actor, ready.at_least(txid_min).identified(key)).await
    }

    /// The second half of [`ActorHandle::call`](super::ActorHandle::call).
    #[doc(hidden)]
    pub async fn call_ready(&self, actor: &ActorId, ready: ReadyCall) -> Result<Reply, CallError> {
        let ReadyCall { method, values, program, wanted, txid_min, by, identified } = ready;
        if identified.is_some() {
            self.keeps_records()?;
        }
        let limits = Arc::clone(&program.limits);
        let (reply, heard) = request::Reply::new(self.callers());
        let until = by.as_ref().map_or_else(Instant::now, |by| by.until);
        let (arrived, by) = match by {
            Some(by) => self.arrive(actor, by).map(|(arrived, by)| (Some(arrived), Some(by)))?,
            None => (None, None),
        };
        let work = Work::Call { method, values, program, wanted, by, identified, reply };
        let heard = self.hear(&limits, actor, txid_min, work, heard);
        let Heard { value, generation, txid, bill } = match arrived {
            Some(arrived) => self.unless_refused(&arrived, until, heard).await?,
            None => heard.await?,
        };
        let Called { method, results } = value;
        let (values, room) = results.into_parts();
        Ok(Reply { method, values, generation, txid, bill, room })
    }

    /// [`ActorHandle::sql`](super::ActorHandle::sql).
    pub(super) async fn sql(
        &self,
        actor: &ActorId,
        request: SqlRequest,
        txid_min: Txid,
    ) -> Result<SqlReply, CallError> {
        let max = self.inner.config.limits.admin_rows_max;
        let SqlRequest { sql, parameters, write, rows_max } = request;
        let rows_max = rows_max.unwrap_or(max).min(max);
        self.operate(actor, Script::Sql { sql, parameters, write, rows_max }, txid_min).await
    }

    /// [`ActorHandle::order_alarms`](super::ActorHandle::order_alarms).
    pub(super) async fn order_alarms(
        &self,
        actor: &ActorId,
        order: AlarmOrder,
    ) -> Result<SqlReply, CallError> {
        let clock = self.shared().ground.clock.clone();
        self.operate(actor, Script::Alarms { order, clock }, Txid(0)).await
    }

    /// [`ActorHandle::order_messages`](super::ActorHandle::order_messages).
    pub(super) async fn order_messages(
        &self,
        actor: &ActorId,
        order: MessageOrder,
    ) -> Result<SqlReply, CallError> {
        let clock = self.shared().ground.clock.clone();
        self.operate(actor, Script::Messages { order, clock }, Txid(0)).await
    }

    /// Runs an operator's script, or a caller's question.
    pub(super) async fn operate(
        &self,
        actor: &ActorId,
        script: Script,
        txid_min: Txid,
    ) -> Result<SqlReply, CallError> {
        let limits = Arc::clone(&self.shared().kinds.current(actor.kind()).await?.limits);
        let (reply, heard) = request::Reply::new(self.callers());
        let asker = Asker::default();
        // If this future is dropped, its statements end.
        let _present = asker.present();
        let statements = Statements { script, asker };
        let work = Work::Sql { statements, reply };
        let heard = self.hear(&limits, actor, txid_min, work, heard).await?;
        Ok(SqlReply::of(heard))
    }

    /// Puts work into the queue of its actor and waits for what comes of it.
    pub(super) async fn hear<T>(
        &self,
        limits: &crate::limits::Limits,
        actor: &ActorId,
        txid_min: Txid,
        work: Work,
        heard: oneshot::Receiver<Result<T, CallError>>,
    ) -> Result<T, CallError> {
        if !self.shared().nodes.holds_lease().await {
            return Err(HostError::LeaseLost.into());
        }
        let request = Request { queued: Elapsed::now(), txid_min, work };
        self.inner.router.dispatch(limits, actor, request)?;
        // The slot answers every request it takes, and refuses those it never began when it is
        // dropped: what is left was cut off in the middle, with an unknown outcome.
        heard.await.unwrap_or_else(|_| Err(self.cut_off())).map_err(|error| error.of(actor))
    }

    /// The runtime that a call's answer waits on, if that is not the host's.
    fn callers(&self) -> Option<Handle> {
        let wait_here = self.inner.config.advanced.wait_on_callers;
        let here = wait_here.then(Handle::try_current)?.ok();
        // A runtime of one thread runs only while a caller waits on it, and the caller may stop.
        here.filter(|here| here.runtime_flavor() == RuntimeFlavor::MultiThread)
    }

    fn cut_off(&self) -> CallError {
        let (reason, cause) = if let Some(failure) = self.failure() {
            (Reason::Storage, failure.to_string())
        } else if self.ready() {
            return HostError::Internal("the task of an actor panicked".to_owned()).into();
        } else {
            (Reason::Shutdown, "the host shut down without waiting any longer".to_owned())
        };
        CallError::new(HostError::Ended { reason, cause }, Some(Verdict::Indeterminate))
    }
}
