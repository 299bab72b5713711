//! The routes for other processes on the store: calls of actors that run here, messages and orders of
//! operators for them, and questions about what waits here.
//!
//! Invariants:
//! - A route is checked before any of the body is read.
//! - What comes here ends here: it is never passed on.
//! - An order has the right of an operator: the process that passes it on has checked the token, and
//!   this listener has checked that process's certificate. No call becomes an order: the names of a
//!   call are segments of another path.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use stockade_depot::{ActorId, NodeSession};

use super::between::{self, Found, Granted, Sought, Told, Wish};
use super::forward;
use super::orders::{self, Order};
use super::public::Whose;
use super::reply::Refusal;
use super::{Gateway, Side, admission, outcomes, public};
use crate::peers::{CHAIN_HEADER, ROUTE_HEADER, read_chain, read_principal, read_route};
use stockade::CallKey;
use stockade::error::{Code, HostError};
use stockade::host::{ByActor, Route};
use stockade::internal::{Callable, Parcel};

type Named = Result<Path<(String, String, String)>, PathRejection>;

pub(super) fn calls() -> Router<Arc<Gateway>> {
    Router::new()
        .route("/peers/actors/{kind}/{key}/{method}", post(call))
        .route("/peers/messages/{kind}/{key}/{name}", post(parcel))
}

pub(super) fn orders() -> Router<Arc<Gateway>> {
    Router::new().route("/peers/operators/{kind}/{key}/{order}", post(order))
}

pub(super) fn probes() -> Router<Arc<Gateway>> {
    Router::new()
        .route("/peers/waits/{kind}/{key}", post(waits))
        .route("/peers/arrivals", post(seek))
        .route("/peers/refusals", post(refuse))
}

/// A call that another process passes on.
async fn call(
    State(gateway): State<Arc<Gateway>>,
    path: Named,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let (actor, method) = public::named(path).map_err(Refusal::closing)?;
    let route = route_of(&headers)?;
    let whose = whose(&headers)?;
    let key = whose.key.clone();
    let (callable, _room) = admitted(&gateway, &actor, route).await?;
    let held = gateway.bodies.read(body).await?;
    let run = public::here(&gateway, &actor, &method, &headers, callable, held, whose);
    let answered = public::within(&headers, run).await;
    answered.map_err(|refusal| refusal.identified(&actor, key.as_ref()))
}

/// Room for what runs here, once its route is checked, and the kind as it is deployed.
async fn admitted(
    gateway: &Gateway,
    actor: &ActorId,
    (to, route): (NodeSession, Route),
) -> Result<(Result<Callable, HostError>, admission::Call), Refusal> {
    let checked = gateway.host.check_route(actor, to, route);
    checked.map_err(|error| Refusal::from(error).closing())?;
    let callable = gateway.host.callable(actor.kind()).await;
    let kind = callable.as_ref().map_or("", |_| actor.kind());
    let room = gateway.admission.call(Side::Peer, kind).map_err(Refusal::closing)?;
    Ok((callable, room))
}

/// A parcel of messages that another process passes on.
async fn parcel(
    State(gateway): State<Arc<Gateway>>,
    path: Named,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let (kind, key, name) = public::segments(path).map_err(Refusal::closing)?;
    let actor = ActorId::existing(&kind, &key).map_err(HostError::from)?;
    if name != forward::PARCEL {
        return Err(Refusal::new(Code::NoRoute, format!("no parcel {name:?}")).closing());
    }
    let route = route_of(&headers)?;
    let _admitted = admitted(&gateway, &actor, route).await?;
    let held = gateway.bodies.read(body).await?;
    let parcel = Parcel::from_json(&held.bytes).ok_or_else(|| between::malformed("the parcel"))?;
    let run = async {
        let said = gateway.host.deliver_here(&actor, parcel).await?;
        Ok(axum::Json(said).into_response())
    };
    public::within(&headers, run).await
}

/// For whom an actor in this process waits.
async fn waits(
    State(gateway): State<Arc<Gateway>>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<axum::Json<Told>, Refusal> {
    let (kind, key) = public::segments(path).map_err(Refusal::closing)?;
    let actor = ActorId::existing(&kind, &key).map_err(HostError::from)?;
    Ok(axum::Json(Told::of(gateway.host.waits_here(&actor))))
}

/// Whether a call that another process names is queued or begun here.
async fn seek(
    State(gateway): State<Arc<Gateway>>,
    body: Body,
) -> Result<axum::Json<Found>, Refusal> {
    let held = gateway.bodies.read(body).await?;
    let sought: Option<Sought> = serde_json::from_slice(&held.bytes).ok();
    let call = sought.and_then(|sought| sought.read());
    let call = call.ok_or_else(|| between::malformed("the question"))?;
    Ok(axum::Json(Found::of(gateway.host.has_call(call))))
}

/// The wish of another process that a call which waits here gives way.
async fn refuse(
    State(gateway): State<Arc<Gateway>>,
    body: Body,
) -> Result<axum::Json<Granted>, Refusal> {
    let held = gateway.bodies.read(body).await?;
    let wish: Option<Wish> = serde_json::from_slice(&held.bytes).ok();
    let (call, cycle) =
        wish.and_then(|wish| wish.read()).ok_or_else(|| between::malformed("the wish"))?;
    Ok(axum::Json(Granted::of(gateway.host.refuse_call(call, &cycle))))
}

/// An operator's order that another process passes on.
async fn order(
    State(gateway): State<Arc<Gateway>>,
    path: Named,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let (kind, key, name) = public::segments(path).map_err(Refusal::closing)?;
    let actor = ActorId::existing(&kind, &key).map_err(HostError::from)?;
    let order = Order::named(&name)
        .ok_or_else(|| Refusal::new(Code::NoRoute, format!("no order {name:?}")).closing())?;
    let (to, _) = route_of(&headers)?;
    let checked = gateway.host.check_order(&actor, to);
    checked.map_err(|error| Refusal::from(error).closing())?;
    let held = gateway.bodies.read(body).await?;
    tracing::debug!(%actor, order = order.name(), "an operator's order, by way of another process");
    orders::carry_out(&gateway, order, &actor, &headers, &held.bytes).await
}

fn chain_of(headers: &HeaderMap) -> Result<Option<ByActor>, Refusal> {
    read_chain(headers).map_err(|()| {
        let field = HeaderName::from_static(CHAIN_HEADER);
        Refusal::of_field(Code::Malformed, &field, "it does not read").closing()
    })
}

/// Whose call it is: an actor's, or that of the caller which the other process names.
fn whose(headers: &HeaderMap) -> Result<Whose, Refusal> {
    let by = chain_of(headers)?;
    let principal = by.as_ref().map(|by| CallKey::principal_of(by.chain.caller()));
    let principal = principal.as_deref().or_else(|| read_principal(headers));
    // An id without a caller is nobody's, and does not read.
    let key = outcomes::key_of(headers, principal.unwrap_or_default());
    Ok(Whose { by, key: key.map_err(Refusal::closing)? })
}

fn route_of(headers: &HeaderMap) -> Result<(NodeSession, Route), Refusal> {
    read_route(headers).ok_or_else(|| {
        let field = HeaderName::from_static(ROUTE_HEADER);
        Refusal::of_field(Code::Malformed, &field, "it does not read").closing()
    })
}
