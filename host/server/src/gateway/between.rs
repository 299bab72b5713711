//! Calls and messages of actors that may run in another process, and questions about what waits there.
//!
//! ```text
//!  a guest of this host ──> forward::call ──> here, or another process ──> its JSON
//!  a parcel of messages ──> forward::parcel ──> likewise ──> what is said
//!  a probe of this host ──> /peers/waits      for whom does an actor of that process wait?
//!                       ├─> /peers/arrivals   is a call there queued or begun?
//!                       └─> /peers/refusals   a call there gives way
//! ```
//! Invariant: questions have the room of orders: calls that wait for each other never fill it.

use std::sync::Weak;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, header};
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use http_body_util::BodyExt;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use stockade::error::{Body as ErrorBody, Code};
use stockade::host::{Far, FarCall, FarReply, OutcomeReply};
use stockade::internal::{Allowance, CallId, Edge, Parcel, Said, WaitRefusal};
use stockade::limits::{
    CALLS_IN_FLIGHT_MAX, OUTCOME_BYTES_MAX, PROBE_BYTES_MAX, PROBE_WITHIN, REFUSAL_BYTES_MAX,
};
use stockade::{CallKey, Cycle, Generation, Txid};
use stockade_depot::ActorId;
use tokio::time::{Instant, timeout_at};

use super::forward::{self, Asked, Given};
use super::orders::Order;
use super::outcomes::{self, Asking};
use super::reply::Refusal;
use super::{BILL_HEADER, GENERATION_HEADER, Gateway, RESULT_HEADER, TXID_HEADER};
use crate::peers::{Lane, Protocol, TIMEOUT_HEADER, Way, read_age, read_call, write_call};

/// What carries calls of a host's actors to other processes. It does not keep the gateway.
pub(super) struct Between(pub(super) Weak<Gateway>);

/// For whom an actor waits, as one process says it to another.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Told {
    waits: Vec<ToldEdge>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct ToldEdge {
    call: String,
    age: String,
    to: Name,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Name {
    kind: String,
    key: String,
}

/// The question whether a call is queued or begun.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Sought {
    call: String,
}

/// The answer.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Found {
    open: bool,
}

/// The wish that a call gives way.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Wish {
    call: String,
    chain: Vec<Name>,
}

/// What became of it.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Granted {
    begun: bool,
}

impl Name {
    fn of(actor: &ActorId) -> Self {
        Self { kind: actor.kind().to_owned(), key: actor.key().to_owned() }
    }

    fn read(&self) -> Option<ActorId> {
        ActorId::existing(&self.kind, &self.key).ok()
    }
}

impl Told {
    /// The waits of an actor of this process.
    pub(super) fn of(edges: Vec<Edge>) -> Self {
        let told = |edge: Edge| ToldEdge {
            call: write_call(edge.id),
            age: edge.age.to_string(),
            to: Name::of(&edge.to),
            at: edge.at.map(|at| at.to_string()),
        };
        Self { waits: edges.into_iter().take(CALLS_IN_FLIGHT_MAX).map(told).collect() }
    }

    /// The waits of `from`. `None`: they do not read.
    fn read(self, from: &ActorId) -> Option<Vec<Edge>> {
        let edge = |told: ToldEdge| {
            Some(Edge {
                id: read_call(&told.call)?,
                from: from.clone(),
                to: told.to.read()?,
                age: read_age(&told.age)?,
                at: told.at.map(Into::into),
            })
        };
        self.waits.into_iter().take(CALLS_IN_FLIGHT_MAX).map(edge).collect()
    }
}

impl Sought {
    /// The call. `None`: it does not read.
    pub(super) fn read(&self) -> Option<CallId> {
        read_call(&self.call)
    }
}

impl Found {
    pub(super) fn of(open: bool) -> Self {
        Self { open }
    }
}

impl Wish {
    /// The call and the circle. `None`: they do not read.
    pub(super) fn read(&self) -> Option<(CallId, Cycle)> {
        let actors: Option<Vec<ActorId>> = self.chain.iter().map(Name::read).collect();
        Some((read_call(&self.call)?, Cycle { actors: actors?, crosses: true }))
    }
}

impl Granted {
    pub(super) fn of(refusal: WaitRefusal) -> Self {
        Self { begun: refusal == WaitRefusal::Begun }
    }
}

impl Far for Between {
    fn call<'a>(&'a self, call: FarCall<'a>) -> BoxFuture<'a, Result<FarReply, ErrorBody>> {
        Box::pin(self.carried(call))
    }

    fn outcome<'a>(
        &'a self,
        to: &'a ActorId,
        key: &'a CallKey,
        settle: bool,
        late: Instant,
    ) -> BoxFuture<'a, Result<OutcomeReply, ErrorBody>> {
        Box::pin(self.asked(to, key, settle, late))
    }

    fn deliver<'a>(
        &'a self,
        to: &'a ActorId,
        parcel: &'a Parcel,
        until: Instant,
    ) -> BoxFuture<'a, Result<Said, ErrorBody>> {
        Box::pin(async move {
            let Some(gateway) = self.0.upgrade() else { return Err(no_gateway()) };
            let Some(lines) = &gateway.lines else { return Err(no_gateway()) };
            let said = forward::parcel(&gateway, lines, to, parcel, until).await;
            said.map_err(Refusal::into_body)
        })
    }

    fn waits_of<'a>(
        &'a self,
        actor: &'a ActorId,
        address: &'a str,
    ) -> BoxFuture<'a, Option<Vec<Edge>>> {
        Box::pin(self.waits_there(actor, address))
    }

    fn is_open<'a>(&'a self, call: CallId, address: &'a str) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            let sought = serde_json::to_vec(&Sought { call: write_call(call) }).unwrap_or_default();
            match self.ask(Protocol::Arrivals, address, "arrivals", sought.into()).await {
                Ok(Found { open }) => open,
                Err(Unanswered::Former) => true,
                Err(Unanswered::Silent) => false,
            }
        })
    }

    fn refuse<'a>(
        &'a self,
        call: CallId,
        cycle: &'a Cycle,
        address: &'a str,
    ) -> BoxFuture<'a, Option<WaitRefusal>> {
        Box::pin(async move {
            let chain = cycle.actors.iter().map(Name::of).collect();
            let wish = serde_json::to_vec(&Wish { call: write_call(call), chain }).ok()?;
            let granted = self.ask(Protocol::Chains, address, "refusals", wish.into()).await;
            let Granted { begun } = granted.ok()?;
            Some(if begun { WaitRefusal::Begun } else { WaitRefusal::Done })
        })
    }
}

impl Between {
    async fn carried(&self, call: FarCall<'_>) -> Result<FarReply, ErrorBody> {
        let Some(gateway) = self.0.upgrade() else { return Err(no_gateway()) };
        let Some(lines) = &gateway.lines else { return Err(no_gateway()) };
        let callable = match gateway.host.callable(call.to.kind()).await {
            Ok(callable) => callable,
            Err(error) => return Err(error.body()),
        };
        let headers = fields(call.late, call.arguments.is_empty());
        let asked = Asked {
            actor: call.to,
            method: call.method,
            headers: &headers,
            callable: &callable,
            by: Some((call.by, call.making)),
            key: call.key,
        };
        let body = Body::from(call.arguments.clone());
        match forward::call(&gateway, lines, &asked, body).await {
            Ok(answer) => read_answer(answer, call.take).await,
            Err(refusal) => Err(refusal.into_body()),
        }
    }

    async fn asked(
        &self,
        to: &ActorId,
        key: &CallKey,
        settle: bool,
        late: Instant,
    ) -> Result<OutcomeReply, ErrorBody> {
        let Some(gateway) = self.0.upgrade() else { return Err(no_gateway()) };
        let (headers, body) = (fields(late, false), Asking::of(key, settle).to_bytes());
        let given = Given { order: Order::Outcome, actor: to, headers: &headers, body: &body };
        let answer = match forward::order(&gateway, &given).await {
            Ok(answer) => answer,
            Err(refusal) => return Err(refusal.into_body()),
        };
        let (parts, body) = answer.into_parts();
        let body = http_body_util::Limited::new(body, OUTCOME_BYTES_MAX).collect().await;
        let body = body.map_err(|_| unread("its answer broke off"))?.to_bytes();
        if !parts.status.is_success() {
            let read = serde_json::from_slice(&body).ok();
            return Err(read.unwrap_or_else(|| unread("its refusal does not read")));
        }
        outcomes::read(&parts.headers, &body).ok_or_else(|| unread("its answer does not read"))
    }

    async fn waits_there(&self, actor: &ActorId, address: &str) -> Option<Vec<Edge>> {
        let segment = |name| utf8_percent_encode(name, NON_ALPHANUMERIC);
        let path = format!("waits/{}/{}", segment(actor.kind()), segment(actor.key()));
        let told = self.ask(Protocol::Chains, address, &path, Bytes::new()).await;
        let mut edges = told.ok().and_then(|told: Told| told.read(actor))?;
        // What that process has sent to this one is here.
        let own = self.0.upgrade()?.host.peers_address();
        for edge in &mut edges {
            let at = edge.at.take().unwrap_or_else(|| address.into());
            edge.at = (own.as_deref() != Some(&*at)).then_some(at);
        }
        Some(edges)
    }

    /// Asks another process what it can be asked since a version.
    async fn ask<T: for<'a> Deserialize<'a>>(
        &self,
        since: Protocol,
        address: &str,
        path: &str,
        body: Bytes,
    ) -> Result<T, Unanswered> {
        let gateway = self.0.upgrade().ok_or(Unanswered::Silent)?;
        let lines = gateway.lines.as_ref().ok_or(Unanswered::Silent)?;
        let until = Instant::now() + PROBE_WITHIN;
        let way = lines.way(address, Lane::Orders, until, |_| false).await;
        let way = way.map_err(|_| Unanswered::Silent)?;
        if way.protocol() < since {
            return Err(Unanswered::Former);
        }
        answer_of(way, address, path, body, until).await.ok_or(Unanswered::Silent)
    }
}

/// Why a process does not say what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unanswered {
    /// It speaks a former version, and was not asked.
    Former,
    /// It does not answer in time, or not with what was asked for.
    Silent,
}

/// The answer of another process. `None`: it does not come in time, or is another one.
async fn answer_of<T: for<'a> Deserialize<'a>>(
    way: Way,
    address: &str,
    path: &str,
    body: Bytes,
    until: Instant,
) -> Option<T> {
    let request = Request::post(format!("https://{address}/peers/{path}"))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(body))
        .ok()?;
    let answer = way.send(request, until).await.ok()?;
    if !answer.status().is_success() {
        return None;
    }
    let body = http_body_util::Limited::new(answer.into_body(), PROBE_BYTES_MAX).collect();
    let bytes = timeout_at(until, body).await.ok()?.ok()?.to_bytes();
    serde_json::from_slice(&bytes).ok()
}

/// The fields of a call's head, as a caller over HTTP would send them.
fn fields(late: Instant, is_empty: bool) -> HeaderMap {
    let left = late.saturating_duration_since(Instant::now());
    let left = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
    let mut fields = HeaderMap::new();
    fields.insert(HeaderName::from_static(TIMEOUT_HEADER), HeaderValue::from(left));
    if !is_empty {
        let json = HeaderValue::from_static("application/json");
        fields.insert(header::CONTENT_TYPE, json);
    }
    fields
}

/// What an answer comes to. `take` takes memory for its bytes.
async fn read_answer(
    answer: Response,
    take: &(dyn Fn(usize) -> bool + Send + Sync),
) -> Result<FarReply, ErrorBody> {
    let (parts, body) = answer.into_parts();
    if !parts.status.is_success() {
        let body = http_body_util::Limited::new(body, REFUSAL_BYTES_MAX).collect().await;
        let read = body.ok().and_then(|read| serde_json::from_slice(&read.to_bytes()).ok());
        return Err(read.unwrap_or_else(|| unread("its refusal does not read")));
    }
    let number =
        |name: &str| -> Option<u64> { parts.headers.get(name)?.to_str().ok()?.parse().ok() };
    let (generation, txid) = (number(GENERATION_HEADER), number(TXID_HEADER));
    let (Some(generation), Some(txid)) = (generation, txid) else {
        return Err(unread("its answer has no commit"));
    };
    let is_error = parts.headers.get(RESULT_HEADER).is_some_and(|result| result == "err");
    let bill = parts.headers.get(BILL_HEADER).and_then(|bill| bill.to_str().ok());
    let used = used_of(bill.unwrap_or_default());
    let text = read_text(body, take).await.map_err(unread)?;
    let (generation, txid) = (Generation(generation), Txid(txid));
    Ok(FarReply { text, is_error, generation, txid, used })
}

/// What a bill charges an actor for. What it does not name is nothing.
fn used_of(bill: &str) -> Allowance {
    let amount = |name: &str| {
        let mut pairs = bill.split(';').filter_map(|pair| pair.split_once('='));
        pairs.find(|(named, _)| *named == name).and_then(|(_, number)| number.parse().ok())
    };
    Allowance {
        sql_steps: amount("sql_steps").unwrap_or(0),
        rows: amount("rows_read").unwrap_or(0),
        row_bytes: amount("row_bytes").unwrap_or(0),
        pages: amount("pages_read").unwrap_or(0),
    }
}

async fn read_text(
    mut body: Body,
    take: &(dyn Fn(usize) -> bool + Send + Sync),
) -> Result<Bytes, &'static str> {
    let mut text = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| "its answer broke off")?;
        let Ok(part) = frame.into_data() else { continue };
        if !take(part.len()) {
            return Err("there is no memory for its answer");
        }
        text.extend_from_slice(&part);
    }
    Ok(text.freeze())
}

/// An answer that came and cannot be given: the call has run.
fn unread(why: &str) -> ErrorBody {
    Code::Unanswered.body(format!("the actor has answered, but {why}"), Json::default())
}

/// The server in front of the host has ended.
fn no_gateway() -> ErrorBody {
    let words = "this host passes no calls on any more".to_owned();
    Code::ShuttingDown.body(words, Json::default())
}

/// A refusal of what does not read.
pub(super) fn malformed(what: &str) -> Refusal {
    Refusal::new(Code::Malformed, format!("{what} does not read")).closing()
}

#[cfg(test)]
mod tests {
    use stockade::internal::Age;
    use stockade_depot::NodeSession;

    use super::*;

    fn actor(key: &str) -> ActorId {
        ActorId::new("kind", key).expect("a name")
    }

    #[test]
    fn waits_read_as_they_were_told() {
        let node = NodeSession([7; 16]);
        let edge = |to: &str, at: Option<&str>| Edge {
            id: CallId { node, number: 3 },
            from: actor("a"),
            to: actor(to),
            age: Age { began_ms: 1, node, number: 2 },
            at: at.map(Into::into),
        };
        let edges = vec![edge("b", None), edge("c/d", Some("10.0.0.1:90"))];
        let text = serde_json::to_vec(&Told::of(edges.clone())).expect("JSON");
        let told: Told = serde_json::from_slice(&text).expect("reads");
        assert_eq!(told.read(&actor("a")), Some(edges));
        let wrong = ToldEdge {
            call: "x".to_owned(),
            age: "1".to_owned(),
            to: Name::of(&actor("b")),
            at: None,
        };
        assert_eq!(Told { waits: vec![wrong] }.read(&actor("a")), None);
    }

    #[test]
    fn a_call_that_is_sought_reads_as_it_was_named() {
        let call = CallId { node: NodeSession([7; 16]), number: u64::MAX };
        let text = serde_json::to_vec(&Sought { call: write_call(call) }).expect("JSON");
        let sought: Sought = serde_json::from_slice(&text).expect("reads");
        assert_eq!(sought.read(), Some(call));
        assert_eq!(Sought { call: "x".to_owned() }.read(), None);
    }

    /// As many as a fan-out has, with the longest names and numbers, of characters that JSON doubles.
    #[test]
    fn the_longest_answer_to_a_probe_is_read_whole() {
        let node = NodeSession([0xff; 16]);
        let kind = "k".repeat(ActorId::KIND_BYTES_MAX);
        let to = ActorId::new(&kind, &"\"".repeat(ActorId::KEY_BYTES_MAX)).expect("a name");
        let edge = |number| Edge {
            id: CallId { node, number: u64::MAX - number },
            from: actor("a"),
            to: to.clone(),
            age: Age { began_ms: u64::MAX, node, number: u64::MAX },
            at: Some(format!("{}:65535", "n".repeat(200)).into()),
        };
        let edges: Vec<Edge> = (0..CALLS_IN_FLIGHT_MAX as u64).map(edge).collect();
        let text = serde_json::to_vec(&Told::of(edges.clone())).expect("JSON");
        assert!(text.len() <= PROBE_BYTES_MAX, "{}", text.len());
        let told: Told = serde_json::from_slice(&text).expect("reads");
        assert_eq!(told.read(&actor("a")), Some(edges));
    }

    #[test]
    fn a_bill_is_charged_by_its_names() {
        let used = used_of("queue_us=9;sql_steps=4;rows_read=3;row_bytes=20;pages_read=x;new=1");
        assert_eq!(used, Allowance { sql_steps: 4, rows: 3, row_bytes: 20, pages: 0 });
        assert_eq!(used_of(""), Allowance::default());
    }

    #[tokio::test]
    async fn an_answer_takes_memory_or_is_not_given() {
        let read = |bytes: usize| async move {
            let take = move |taken: usize| taken <= bytes;
            read_text(Body::from("12345"), &take).await
        };
        assert_eq!(read(5).await, Ok(Bytes::from("12345")));
        assert!(read(4).await.is_err());
    }
}
