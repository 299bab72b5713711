//! What carries calls and messages of actors to other processes on the store, where something does.
//!
//! Invariant: a host knows no network. The package above hands this in.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use stockade_depot::{ActorId, Generation, Txid};
use tokio::time::Instant;

use super::Host;
use super::call::ByActor;
use super::outcomes::OutcomeReply;
use crate::calls::{Allowance, CallId, CallKey, Cycle, Edge, Making, Refusal};
use crate::error::Body;
use crate::messages::{Parcel, Said};

/// Calls of actors in other processes, and questions about what waits there.
#[doc(hidden)]
pub trait Far: Send + Sync {
    /// Calls a method where its actor is, in this process or in another one. Once for each call of an
    /// actor; a call is sent again only if nothing of it was done.
    ///
    /// # Errors
    /// The error of the table, as its caller gets it.
    fn call<'a>(&'a self, call: FarCall<'a>) -> BoxFuture<'a, Result<FarReply, Body>>;

    /// What became of a call, asked where its callee is.
    ///
    /// # Errors
    /// The error of the table, as its caller gets it.
    fn outcome<'a>(
        &'a self,
        to: &'a ActorId,
        key: &'a CallKey,
        settle: bool,
        late: Instant,
    ) -> BoxFuture<'a, Result<OutcomeReply, Body>>;

    /// Takes a parcel of messages to its receiver, in this process or in another one. It may come
    /// again.
    ///
    /// # Errors
    /// The error of the table.
    fn deliver<'a>(
        &'a self,
        to: &'a ActorId,
        parcel: &'a Parcel,
        until: Instant,
    ) -> BoxFuture<'a, Result<Said, Body>>;

    /// For whom an actor waits in the process at `address`. `None`: it does not say.
    fn waits_of<'a>(
        &'a self,
        actor: &'a ActorId,
        address: &'a str,
    ) -> BoxFuture<'a, Option<Vec<Edge>>>;

    /// Whether a call is queued or begun in the process at `address`. `true` if that cannot say so: it
    /// speaks a former version. `false` if it does not answer.
    fn is_open<'a>(&'a self, call: CallId, address: &'a str) -> BoxFuture<'a, bool>;

    /// Refuses a call that has arrived in the process at `address`. `None`: it does not say.
    fn refuse<'a>(
        &'a self,
        call: CallId,
        cycle: &'a Cycle,
        address: &'a str,
    ) -> BoxFuture<'a, Option<Refusal>>;
}

/// A call of an actor.
#[doc(hidden)]
pub struct FarCall<'c> {
    /// The actor to call.
    pub to: &'c ActorId,
    /// The method.
    pub method: &'c str,
    /// The arguments as JSON.
    pub arguments: Bytes,
    /// The id, if the call has one.
    pub key: Option<&'c CallKey>,
    /// The actor that makes the call.
    pub by: &'c ByActor,
    /// When its caller waits no longer for the callee, which has ended by then.
    pub late: Instant,
    /// The note of the wait, which says where the call is.
    pub making: &'c Making,
    /// Takes memory for so many bytes of an answer. `false`: there is none.
    pub take: &'c (dyn Fn(usize) -> bool + Send + Sync),
}

/// The answer to it.
#[doc(hidden)]
#[derive(Debug)]
pub struct FarReply {
    /// The result as JSON.
    pub text: Bytes,
    /// Whether it is the error case of a `result`.
    pub is_error: bool,
    /// The generation that answered.
    pub generation: Generation,
    /// The newest durable commit when the answer left.
    pub txid: Txid,
    /// What it has cost.
    pub used: Allowance,
}

impl Host {
    /// Sets what carries calls to other processes. The first one stays.
    #[doc(hidden)]
    pub fn carry_calls(&self, far: Arc<dyn Far>) {
        // A second one would be another server in front of the same host.
        let _ = self.inner.far.set(far);
    }

    /// Where other processes reach this one.
    #[doc(hidden)]
    #[must_use]
    pub fn peers_address(&self) -> Option<String> {
        self.inner.config.peers.clone()
    }

    /// For whom an actor in this process waits, for another one that asks.
    #[doc(hidden)]
    #[must_use]
    pub fn waits_here(&self, actor: &ActorId) -> Vec<Edge> {
        self.shared().waits.of(actor)
    }

    /// Whether a call is queued or begun in this process, for another one that asks.
    #[doc(hidden)]
    #[must_use]
    pub fn has_call(&self, call: CallId) -> bool {
        self.shared().waits.is_open(call)
    }

    /// Refuses a call that has arrived in this process, for another one that asks.
    #[doc(hidden)]
    #[must_use]
    pub fn refuse_call(&self, call: CallId, cycle: &Cycle) -> Refusal {
        self.shared().waits.refuse(call, cycle)
    }
}
