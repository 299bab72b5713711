//! The routes for other processes on the store: calls of actors that run here, and orders of
//! operators for them.
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
use axum::response::Response;
use axum::routing::post;
use stockade_depot::{ActorId, NodeSession};

use super::orders::{self, Order};
use super::reply::Refusal;
use super::{Gateway, Side, public};
use crate::peers::{ROUTE_HEADER, read_route};
use stockade::error::{Code, HostError};
use stockade::host::Route;

type Named = Result<Path<(String, String, String)>, PathRejection>;

pub(super) fn calls() -> Router<Arc<Gateway>> {
    Router::new().route("/peers/actors/{kind}/{key}/{method}", post(call))
}

pub(super) fn orders() -> Router<Arc<Gateway>> {
    Router::new().route("/peers/operators/{kind}/{key}/{order}", post(order))
}

/// A call that another process passes on.
async fn call(
    State(gateway): State<Arc<Gateway>>,
    path: Named,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let (actor, method) = public::named(path).map_err(Refusal::closing)?;
    let (to, route) = route_of(&headers)?;
    let checked = gateway.host.check_route(&actor, to, route);
    checked.map_err(|error| Refusal::from(error).closing())?;
    let callable = gateway.host.callable(actor.kind()).await;
    let kind = callable.as_ref().map_or("", |_| actor.kind());
    let _room = gateway.admission.call(Side::Peer, kind).map_err(Refusal::closing)?;
    let held = gateway.bodies.read(body).await?;
    let run = public::here(&gateway, &actor, &method, &headers, callable, held);
    public::within(&headers, run).await
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

fn route_of(headers: &HeaderMap) -> Result<(NodeSession, Route), Refusal> {
    read_route(headers).ok_or_else(|| {
        let field = HeaderName::from_static(ROUTE_HEADER);
        Refusal::of_field(Code::Malformed, &field, "it does not read").closing()
    })
}
