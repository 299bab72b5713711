//! The admin routes: operators of kinds and actors.

mod check;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::{Value as Json, json};
use stockade_depot::ActorId;
use tokio::sync::OwnedSemaphorePermit;

use super::forward::{self, Given};
use super::orders::Order;
use super::public::segments;
use super::reply::Refusal;
use super::{Gateway, SQLITE_CONTENT_TYPE, TXID_HEADER, arguments, floor, json as told, manifest};
use stockade::error::{Code, HostError};
use stockade::host::{ActorOrder, ActorQuery, ActorStatus, Export, Manifest};

/// How many kinds one answer lists unless the request asks for fewer or more.
const LIST_KINDS: usize = 100;
/// The most kinds that one answer lists: each entry has the kind's methods and their types.
const LIST_KINDS_MAX: usize = 1000;
/// How many actors one answer lists unless the request asks for fewer or more.
const LIST_ACTORS: usize = 100;
/// The most actors that one answer lists; the next page starts after the last one.
const LIST_ACTORS_MAX: usize = 1000;

type Answer = Result<Response, Refusal>;
type Shared = State<Arc<Gateway>>;
type ActorPath = Result<Path<(String, String)>, PathRejection>;

// Handlers that need no body read the body all the same: unread bytes end the connection, and with
// it the next request that the client has already sent on it.

pub(super) fn routes() -> Router<Arc<Gateway>> {
    Router::new()
        .route("/admin/kinds", get(kinds))
        .route("/admin/kinds/{kind}", get(kind).put(deploy).delete(remove_kind))
        .route("/admin/kinds/{kind}/component", get(component))
        .route("/admin/actors", get(actors))
        .route("/admin/verify", post(check::verify_all))
        .route("/admin/actors/{kind}/{key}", get(order(Order::Info)).delete(destroy))
        .route("/admin/actors/{kind}/{key}/stop", post(order(Order::Stop)))
        .route("/admin/actors/{kind}/{key}/reset", post(order(Order::Reset)))
        .route("/admin/actors/{kind}/{key}/sql", post(order(Order::Sql)))
        .route("/admin/actors/{kind}/{key}/alarms", get(order(Order::Alarms)))
        .route("/admin/actors/{kind}/{key}/alarms/retry", post(order(Order::RetryAlarms)))
        .route("/admin/actors/{kind}/{key}/alarms/drop", post(order(Order::DropAlarm)))
        .route("/admin/actors/{kind}/{key}/messages", get(order(Order::Messages)))
        .route("/admin/actors/{kind}/{key}/messages/retry", post(order(Order::RetryMessages)))
        .route("/admin/actors/{kind}/{key}/messages/drop", post(order(Order::DropMessage)))
        .route("/admin/actors/{kind}/{key}/export", get(export))
        .route("/admin/actors/{kind}/{key}/import", post(import))
        .route("/admin/actors/{kind}/{key}/verify", post(verify))
        .route(
            "/admin/actors/{kind}/{key}/fault",
            post(order(Order::Fault)).delete(order(Order::ClearFaults)),
        )
}

/// Which kinds to list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KindsQuery {
    /// Only the kinds after this one: the `next` of the page before.
    after: Option<String>,
    /// At most this many kinds.
    limit: Option<usize>,
}

async fn kinds(State(gateway): Shared, query: Result<Query<KindsQuery>, QueryRejection>) -> Answer {
    let KindsQuery { after, limit } = asked(query)?;
    let max = limit.unwrap_or(LIST_KINDS).clamp(1, LIST_KINDS_MAX);
    let kinds = gateway.host.kinds(after.as_deref(), max).await?;
    let next = (kinds.len() == max).then(|| kinds.last().map(|info| info.kind.clone())).flatten();
    let kinds: Vec<Json> = kinds.iter().map(told::kind).collect();
    Ok(axum::Json(json!({ "kinds": kinds, "next": next })).into_response())
}

async fn kind(State(gateway): Shared, path: Result<Path<String>, PathRejection>) -> Answer {
    let kind: String = segments(path)?;
    let mut document = told::kind(&gateway.host.kind(&kind).await?);
    document["usage"] = gateway.host.usage(&kind).await?.as_ref().map(told::usage).into();
    Ok(axum::Json(document).into_response())
}

/// The bytes of a kind's component.
async fn component(State(gateway): Shared, path: Result<Path<String>, PathRejection>) -> Answer {
    let kind: String = segments(path)?;
    let wasm = gateway.host.component(&kind).await?;
    let content_type = HeaderValue::from_static("application/wasm");
    Ok(([(header::CONTENT_TYPE, content_type)], wasm).into_response())
}

/// What happens to the actors of a removed kind.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RemoveQuery {
    /// Whether the actors are destroyed. Without this, a kind that has actors is not removed.
    #[serde(default)]
    with_actors: bool,
}

/// Removes a kind.
async fn remove_kind(
    State(gateway): Shared,
    path: Result<Path<String>, PathRejection>,
    query: Result<Query<RemoveQuery>, QueryRejection>,
    body: Body,
) -> Answer {
    gateway.bodies.read(body).await?;
    let RemoveQuery { with_actors } = asked(query)?;
    let removed = gateway.host.remove_kind(&segments::<String>(path)?, with_actors).await?;
    Ok(axum::Json(told::removed_kind(&removed)).into_response())
}

/// Deploys a component: the body is the wasm, the manifest is a header.
async fn deploy(
    State(gateway): Shared,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let begun = || -> Result<(String, Manifest), Refusal> {
        let kind = segments(path)?;
        if !arguments::is_of_type(&headers, "application/wasm") {
            return Err(arguments::not_of_type("a component is sent as application/wasm"));
        }
        let manifest = manifest::read(&headers, gateway.host.manifest(), &gateway.limits)?;
        Ok((kind, manifest))
    };
    let (kind, manifest) = match begun() {
        Ok(begun) => begun,
        Err(refusal) => return Ok(gateway.bodies.refuse(refusal, &headers, body).await),
    };
    let held = gateway.bodies.read(body).await?;
    let deployed = gateway.host.deploy(&kind, held.bytes.to_vec(), manifest).await?;
    Ok(axum::Json(told::deployed(&deployed)).into_response())
}

/// Which actors to list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    /// Only the actors of this kind.
    kind: Option<String>,
    /// Only the actors whose key begins with this text; needs a kind.
    prefix: Option<String>,
    /// Only the actors in this state.
    state: Option<String>,
    /// The sort order; without it the actors are sorted by kind and key.
    sort: Option<String>,
    /// Only the number of actors.
    #[serde(default)]
    count: bool,
    /// Only the actors after this one, `kind/key`: the `next` of the page before.
    after: Option<String>,
    /// At most this many actors.
    limit: Option<usize>,
}

impl ListQuery {
    fn filter(&self) -> Result<ActorQuery, Refusal> {
        if self.prefix.is_some() && self.kind.is_none() {
            return Err(Refusal::new(Code::Malformed, "prefix needs a kind"));
        }
        if self.after.is_some() && (self.sort.is_some() || self.count) {
            let message = "after is for lists in the order of kind and key";
            return Err(Refusal::new(Code::Malformed, message));
        }
        let status = self.state.as_deref().map(|word| {
            one_of("state", word, &ActorStatus::ALL.map(|status| (status.as_str(), status)))
        });
        // An empty text restricts nothing.
        let prefix = self.prefix.clone().filter(|prefix| !prefix.is_empty());
        Ok(ActorQuery { kind: self.kind.clone(), prefix, status: status.transpose()? })
    }
}

const ORDERS: [(&str, ActorOrder); 3] =
    [("size", ActorOrder::Size), ("restarts", ActorOrder::Restarts), ("txid", ActorOrder::Txid)];

/// The meaning of a word in a query.
fn one_of<T: Copy>(name: &str, given: &str, known: &[(&str, T)]) -> Result<T, Refusal> {
    known.iter().find(|(word, _)| *word == given).map(|(_, value)| *value).ok_or_else(|| {
        let words: Vec<&str> = known.iter().map(|(word, _)| *word).collect();
        let message = format!("{name} is {given:?}; possible are {}", words.join(", "));
        Refusal::new(Code::Malformed, message)
    })
}

async fn actors(State(gateway): Shared, query: Result<Query<ListQuery>, QueryRejection>) -> Answer {
    let query = asked(query)?;
    let filter = query.filter()?;
    let max = query.limit.unwrap_or(LIST_ACTORS).clamp(1, LIST_ACTORS_MAX);
    if query.count {
        let _room = gateway.admission.look_at_all()?;
        let tally = gateway.host.tally(&filter).await?;
        return Ok(axum::Json(told::tally(&tally)).into_response());
    }
    if let Some(order) = &query.sort {
        let order = one_of("sort", order, &ORDERS)?;
        let _room = gateway.admission.look_at_all()?;
        let sorted = gateway.host.sorted(&filter, order, max).await?;
        let actors: Vec<Json> = sorted.actors.iter().map(told::actor).collect();
        let mut document = told::tally(&sorted.tally);
        document["actors"] = actors.into();
        document["next"] = Json::Null;
        return Ok(axum::Json(document).into_response());
    }
    let after = query.after.as_deref().map(named).transpose()?;
    let page = gateway.host.list(&filter, after.as_ref(), max).await?;
    let actors: Vec<Json> = page.actors.iter().map(told::actor).collect();
    let next = page.next.map(|next| next.to_string());
    Ok(axum::Json(json!({ "actors": actors, "next": next })).into_response())
}

fn asked<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, Refusal> {
    let Query(query) =
        query.map_err(|rejection| Refusal::new(Code::Malformed, rejection.body_text()))?;
    Ok(query)
}

/// The handler of an order: the process that owns the actor carries it out.
fn order(
    order: Order,
) -> impl Fn(Shared, ActorPath, HeaderMap, Body) -> BoxFuture<'static, Answer> + Clone + Send + 'static
{
    move |State(gateway), path, headers, body| {
        Box::pin(async move {
            let held = gateway.bodies.read(body).await?;
            let (actor, headers) = (addressed(path)?, &headers);
            forward::order(&gateway, &Given { order, actor: &actor, headers, body: &held.bytes })
                .await
        })
    }
}

/// What becomes of the messages of a destroyed actor.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DestroyQuery {
    /// Whether they are lost. Without this, an actor that has sent what is not received is not
    /// destroyed.
    #[serde(default)]
    with_outbox: bool,
}

/// Destroys an actor.
async fn destroy(
    state: Shared,
    path: ActorPath,
    query: Result<Query<DestroyQuery>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let DestroyQuery { with_outbox } = asked(query)?;
    let given = if with_outbox { Order::DestroyWithOutbox } else { Order::Destroy };
    order(given)(state, path, headers, body).await
}

/// Checks the actor's whole history against its hashes.
async fn verify(State(gateway): Shared, path: ActorPath, body: Body) -> Answer {
    gateway.bodies.read(body).await?;
    let report = gateway.host.actor(&addressed(path)?).verify().await?;
    Ok(axum::Json(told::verified(&report)).into_response())
}

/// Streams the actor's database as a plain SQLite file of the announced length. The first bytes are
/// read before the status is sent, so an actor that cannot be read is refused. If the file cannot
/// be read to its end, the connection is reset: a client never takes a part for the whole.
async fn export(State(gateway): Shared, path: ActorPath, headers: HeaderMap) -> Answer {
    let actor = addressed(path)?;
    let floor = floor::of(&headers)?;
    let room = gateway.admission.export()?;
    let mut export = gateway.host.actor(&actor).at_least(floor).export().await?;
    let (bytes, txid) = (export.bytes(), export.txid);
    let first = export.next().await?;
    let rest = futures_util::stream::try_unfold((export, room), next_chunk);
    let stream = futures_util::stream::iter(first.map(Ok)).chain(rest);
    let mut response = Body::from_stream(stream).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes));
    let content_type = HeaderValue::from_static(SQLITE_CONTENT_TYPE);
    headers.insert(header::CONTENT_TYPE, content_type);
    headers.insert(HeaderName::from_static(TXID_HEADER), HeaderValue::from(txid.0));
    Ok(response)
}

/// Makes the actor from the plain SQLite file in the body. A refusal that needs no body is sent
/// before the body is read: a client that waits for `100 Continue` sends no bytes in vain.
async fn import(State(gateway): Shared, path: ActorPath, headers: HeaderMap, body: Body) -> Answer {
    let begun = async || -> Result<_, Refusal> {
        let actor = named_new(path)?;
        if !arguments::is_of_type(&headers, SQLITE_CONTENT_TYPE) {
            let words = format!("a database is sent as {SQLITE_CONTENT_TYPE}");
            return Err(arguments::not_of_type(&words));
        }
        let room = gateway.admission.import()?;
        let intake = gateway.host.actor(&actor).intake().await?;
        let max = gateway.host.actor(&actor).database_bytes_max().await?;
        let file = intake.create().map_err(HostError::from)?;
        Ok((actor, room, intake, max, file))
    };
    let (actor, _room, intake, max, file) = match begun().await {
        Ok(begun) => begun,
        Err(refusal) => return Ok(gateway.bodies.refuse(refusal, &headers, body).await),
    };
    gateway.bodies.spool(body, file, max).await?;
    let imported = gateway.host.actor(&actor).import_intake(intake, &mut |_| {}).await?;
    Ok(axum::Json(told::imported(&actor, &imported)).into_response())
}

type Exporting = (Export, OwnedSemaphorePermit);

async fn next_chunk(
    (mut export, room): Exporting,
) -> Result<Option<(bytes::Bytes, Exporting)>, HostError> {
    match export.next().await {
        Ok(None) => Ok(None),
        Ok(Some(chunk)) => Ok(Some((chunk, (export, room)))),
        Err(error) => {
            // The status has been sent: the log is the only place left for the cause.
            tracing::warn!(db = %export.db, txid = %export.txid, %error, "export broke off");
            Err(error)
        }
    }
}

/// The name of an existing actor: also one whose key no new actor may have.
fn addressed(path: ActorPath) -> Result<ActorId, Refusal> {
    let (kind, key) = segments(path)?;
    Ok(ActorId::existing(&kind, &key).map_err(HostError::from)?)
}

/// The name of an actor to be created.
fn named_new(path: ActorPath) -> Result<ActorId, Refusal> {
    let (kind, key) = segments(path)?;
    Ok(ActorId::new(&kind, &key).map_err(HostError::from)?)
}

/// `kind/key` as listings print it; a key may hold more slashes.
fn named(text: &str) -> Result<ActorId, Refusal> {
    let (kind, key) = text.split_once('/').unwrap_or((text, ""));
    Ok(ActorId::existing(kind, key).map_err(HostError::from)?)
}
