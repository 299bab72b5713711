//! Calls and messages of actors, and questions about what waits, from one simulated host to another:
//! what `gateway/between.rs` of `stockade-server` does over HTTP.
//!
//! The way is that of `forward.rs`. A call without an id is sent once, and ends with its sender. Parcels,
//! questions and calls with an id may be done again: copies of them come late, and what was sent
//! arrives although its sender has died. The answer to a parcel that is lost is missed soon, as by a
//! connection that breaks.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde_json::Value as Json;
use stockade::error::{Body, Code};
use stockade::host::{ByActor, Far, FarCall, FarReply, OutcomeReply, Reply};
use stockade::internal::{Allowance, CallId, Edge, Parcel, Room, Said, WaitRefusal};
use stockade::limits::PROBE_WITHIN;
use stockade::{ActorId, Arguments, CallError, CallKey, Cycle};
use stockade_sim_depot::network::Life;
use tokio::time::{Instant, sleep, timeout};

use crate::forward::{Errand, Lines, Node, Refusal};

/// How long the sender of a parcel waits for an answer that does not come.
const PARCEL_PATIENCE: Duration = Duration::from_secs(3);

/// What carries calls and messages of the actors of one host. It does not keep the host.
pub struct Carrier {
    lines: Arc<Lines>,
    address: String,
    life: Arc<Life>,
}

/// A call of an actor.
#[derive(Clone)]
struct Calling {
    to: ActorId,
    method: String,
    arguments: Bytes,
    key: Option<CallKey>,
    by: ByActor,
}

/// A parcel of messages.
#[derive(Clone)]
struct Posting {
    to: ActorId,
    parcel: Parcel,
}

/// A question for the outcome of a call.
#[derive(Clone)]
struct Asking {
    to: ActorId,
    key: CallKey,
    settle: bool,
}

impl Errand for Calling {
    type Answer = Reply;

    fn run<'a>(&'a self, node: &'a Node) -> BoxFuture<'a, Result<Reply, CallError>> {
        Box::pin(async move {
            let callable = node.host.callable(self.to.kind()).await?;
            let arguments = match self.arguments.is_empty() {
                true => Arguments::None,
                false => Arguments::JsonText(self.arguments.clone()),
            };
            let ready = callable.with(&self.method, arguments, Room::default())?;
            let ready = ready.by(Some(self.by.clone())).identified(self.key.clone());
            node.host.call_ready(&self.to, ready).await
        })
    }

    fn may_repeat(&self) -> bool {
        self.key.is_some()
    }
}

impl Errand for Posting {
    type Answer = Said;

    fn run<'a>(&'a self, node: &'a Node) -> BoxFuture<'a, Result<Said, CallError>> {
        Box::pin(node.host.deliver_here(&self.to, self.parcel.clone()))
    }

    fn may_repeat(&self) -> bool {
        true
    }

    fn patience(&self) -> Option<Duration> {
        Some(PARCEL_PATIENCE)
    }
}

impl Errand for Asking {
    type Answer = OutcomeReply;

    fn run<'a>(&'a self, node: &'a Node) -> BoxFuture<'a, Result<OutcomeReply, CallError>> {
        Box::pin(node.host.outcome(&self.to, &self.key, self.settle))
    }

    fn may_repeat(&self) -> bool {
        true
    }

    fn is_order(&self) -> bool {
        true
    }
}

impl Carrier {
    /// What carries for the host at an address, as long as its process lives.
    #[must_use]
    pub fn new(lines: &Arc<Lines>, address: String, life: &Arc<Life>) -> Self {
        Self { lines: Arc::clone(lines), address, life: Arc::clone(life) }
    }

    /// The host for which this carries.
    #[allow(clippy::result_large_err, reason = "errors of calls have this type")]
    fn own(&self) -> Result<Node, Body> {
        let own = self.lines.node(&self.address).filter(|it| Arc::ptr_eq(&it.life, &self.life));
        let gone = || Code::ShuttingDown.body("this host has ended".to_owned(), Json::Null);
        own.ok_or_else(gone)
    }

    /// Asks the process at an address. `None`: it does not say.
    async fn ask<T>(&self, address: &str, ask: impl FnOnce(&Node) -> T) -> Option<T> {
        let passage = self.lines.passage();
        let asked = async {
            sleep(passage.delay).await;
            let node = self.lines.node(address).filter(|_| !passage.not_sent && !passage.lost);
            let node = node.filter(|node| !node.life.is_dead())?;
            let said = ask(&node);
            sleep(passage.delay).await;
            Some(said)
        };
        timeout(PROBE_WITHIN, asked).await.ok().flatten()
    }
}

impl Far for Carrier {
    fn call<'a>(&'a self, call: FarCall<'a>) -> BoxFuture<'a, Result<FarReply, Body>> {
        let FarCall { to, method, arguments, key, by, late, making, take } = call;
        Box::pin(async move {
            let own = self.own()?;
            let (method, key) = (method.to_owned(), key.cloned());
            let calling = Calling { to: to.clone(), method, arguments, key, by: by.clone() };
            let leaves = |there: Option<&str>| match there {
                Some(address) => making.is_there(address),
                None => making.is_here(),
            };
            let carried = self.lines.carry(&own, to, late, &calling, &leaves).await;
            let reply = carried.map_err(|refusal| refusal.body())?.reply;
            let (is_error, generation, txid) = (reply.is_err(), reply.generation, reply.txid);
            let bill = &reply.bill;
            let used = Allowance {
                sql_steps: bill.sql_steps,
                rows: bill.rows_read,
                row_bytes: bill.row_bytes,
                pages: bill.pages_read,
            };
            let text = reply.to_json().to_string();
            if !take(text.len()) {
                return Err(Refusal::Unanswered.body());
            }
            Ok(FarReply { text: text.into(), is_error, generation, txid, used })
        })
    }

    fn outcome<'a>(
        &'a self,
        to: &'a ActorId,
        key: &'a CallKey,
        settle: bool,
        late: Instant,
    ) -> BoxFuture<'a, Result<OutcomeReply, Body>> {
        Box::pin(async move {
            let own = self.own()?;
            let asking = Asking { to: to.clone(), key: key.clone(), settle };
            let carried = self.lines.carry(&own, to, late, &asking, &|_| {}).await;
            carried.map(|answered| answered.reply).map_err(|refusal| refusal.body())
        })
    }

    fn deliver<'a>(
        &'a self,
        to: &'a ActorId,
        parcel: &'a Parcel,
        until: Instant,
    ) -> BoxFuture<'a, Result<Said, Body>> {
        Box::pin(async move {
            let own = self.own()?;
            self.lines.keep(to, parcel);
            let posting = Posting { to: to.clone(), parcel: parcel.clone() };
            let carried = self.lines.carry(&own, to, until, &posting, &|_| {}).await;
            carried.map(|answered| answered.reply).map_err(|refusal| refusal.body())
        })
    }

    fn waits_of<'a>(
        &'a self,
        actor: &'a ActorId,
        address: &'a str,
    ) -> BoxFuture<'a, Option<Vec<Edge>>> {
        Box::pin(async move {
            let mut edges = self.ask(address, |node| node.host.waits_here(actor)).await?;
            // What that process has sent to this one is here.
            for edge in &mut edges {
                let at = edge.at.take().unwrap_or_else(|| address.into());
                edge.at = (*self.address != *at).then_some(at);
            }
            Some(edges)
        })
    }

    fn is_open<'a>(&'a self, call: CallId, address: &'a str) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            self.ask(address, |node| node.host.has_call(call)).await.unwrap_or(false)
        })
    }

    fn refuse<'a>(
        &'a self,
        call: CallId,
        cycle: &'a Cycle,
        address: &'a str,
    ) -> BoxFuture<'a, Option<WaitRefusal>> {
        Box::pin(async move { self.ask(address, |node| node.host.refuse_call(call, cycle)).await })
    }
}
