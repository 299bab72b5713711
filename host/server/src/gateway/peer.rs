//! The routes for other processes on the store: calls of actors that run here.
//!
//! Invariants:
//! - A route is checked before any of the body is read.
//! - What comes here ends here: it is never passed on.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName};
use axum::response::Response;
use axum::routing::post;

use super::reply::Refusal;
use super::{Gateway, Side, public};
use crate::peers::{ROUTE_HEADER, read_route};
use stockade::error::Code;

pub(super) fn routes() -> Router<Arc<Gateway>> {
    Router::new().route("/peers/actors/{kind}/{key}/{method}", post(call))
}

/// A call that another process passes on.
async fn call(
    State(gateway): State<Arc<Gateway>>,
    path: Result<Path<(String, String, String)>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let (actor, method) = public::named(path).map_err(Refusal::closing)?;
    let Some((to, route)) = read_route(&headers) else {
        let field = HeaderName::from_static(ROUTE_HEADER);
        let refusal = Refusal::of_field(Code::Malformed, &field, "it does not read");
        return Err(refusal.closing());
    };
    let checked = gateway.host.check_route(&actor, to, route);
    checked.map_err(|error| Refusal::from(error).closing())?;
    let callable = gateway.host.callable(actor.kind()).await;
    let kind = callable.as_ref().map_or("", |_| actor.kind());
    let _room = gateway.admission.call(Side::Peer, kind).map_err(Refusal::closing)?;
    let held = gateway.bodies.read(body).await?;
    let run = public::here(&gateway, &actor, &method, &headers, callable, held);
    public::within(&headers, run).await
}
