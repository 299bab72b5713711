//! The public routes: callers of actors.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use stockade_depot::ActorId;

use super::reply::{self, Refusal};
use super::{Gateway, arguments, json};
use crate::error::{Code, HostError};

pub(super) fn routes() -> Router<Arc<Gateway>> {
    Router::new()
        .route("/actors/{kind}/{key}/{method}", post(call))
        .route("/kinds/{kind}", get(describe))
}

/// Calls a method; the first call of an actor creates it.
async fn call(
    State(gateway): State<Arc<Gateway>>,
    path: Result<Path<(String, String, String)>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    // First, so that the connection goes on whatever is wrong with the rest.
    let held = gateway.bodies.read(body).await?;
    let (kind, key, method) = segments(path)?;
    let actor = ActorId::new(&kind, &key).map_err(HostError::from)?;
    let bytes = u64::try_from(held.bytes.len()).unwrap_or(u64::MAX);
    // Before anything is read of it. A kind that is missing is told by the call.
    if let Ok(limits) = gateway.host.limits(actor.kind()).await
        && bytes > limits.payload_bytes_max
    {
        return Err(HostError::PayloadTooLarge { bytes, max: limits.payload_bytes_max }.into());
    }
    let arguments = arguments::read(&headers, &held.bytes)?;
    let reply = gateway.host.call(&actor, &method, arguments).await?;
    Ok(reply::of_call(&reply, arguments::wanted(&headers)))
}

/// Describes the methods of a kind.
async fn describe(
    State(gateway): State<Arc<Gateway>>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, Refusal> {
    let kind = segments(path)?;
    let info = gateway.host.kind(&kind).await?;
    Ok(axum::Json(json::kind_for_callers(&info)).into_response())
}

/// The decoded segments of a path.
pub(super) fn segments<T>(path: Result<Path<T>, PathRejection>) -> Result<T, Refusal> {
    match path {
        Ok(Path(segments)) => Ok(segments),
        Err(rejection) => Err(Refusal::new(Code::Malformed, rejection.body_text())),
    }
}
