//! The public routes: callers of actors.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use stockade_depot::ActorId;

use super::body::Held;
use super::forward::{self, Asked};
use super::guard::Principal;
use super::reply::{self, Refusal};
use super::{Gateway, Side, arguments, floor, json, outcomes};
use stockade::CallKey;
use stockade::error::{Code, HostError};
use stockade::host::ByActor;
use stockade::internal::{Callable, Expected, Room};

pub(super) fn routes() -> Router<Arc<Gateway>> {
    Router::new()
        .route("/actors/{kind}/{key}/{method}", post(call))
        .route("/actors/{kind}/{key}/calls/{id}", get(outcomes::ask).post(outcomes::settle))
        .route("/kinds/{kind}", get(describe))
}

/// Calls a method; the first call of an actor creates it. Where several processes share the store,
/// the call goes to the one that owns the actor.
async fn call(
    State(gateway): State<Arc<Gateway>>,
    Extension(principal): Extension<Principal>,
    path: Result<Path<(String, String, String)>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let named = named(path);
    let kind = named.as_ref().map_or("", |(actor, _)| actor.kind());
    let callable = gateway.host.callable(kind).await;
    // All calls to missing kinds share one room, whatever the names are.
    let room = gateway.admission.call(Side::Public, callable.as_ref().map_or("", |_| kind));
    let _room = room.map_err(Refusal::closing)?;
    let key = match outcomes::key_of(&headers, principal.as_str()) {
        Ok(key) => key,
        Err(refusal) => return Ok(gateway.bodies.refuse(refusal, &headers, body).await),
    };
    if let (Some(lines), Ok((actor, method)), Ok(callable)) = (&gateway.lines, &named, &callable) {
        let key = key.as_ref();
        let asked = Asked { actor, method, headers: &headers, callable, by: None, key };
        let answered = forward::call(&gateway, lines, &asked, body).await;
        return answered.map_err(|refusal| refusal.identified(actor, key));
    }
    // The body is read whole, so that the connection stays usable whatever else is wrong.
    let held = gateway.bodies.read(body).await?;
    let (actor, method) = named?;
    let whose = Whose { by: None, key: key.clone() };
    let run = here(&gateway, &actor, &method, &headers, callable, held, whose);
    within(&headers, run).await.map_err(|refusal| refusal.identified(&actor, key.as_ref()))
}

/// Whose call it is.
pub(super) struct Whose {
    /// The actor that calls, if one does.
    pub(super) by: Option<ByActor>,
    /// The id of the call, if it has one.
    pub(super) key: Option<CallKey>,
}

/// Waits for an answer as long as the caller does, if it says how long.
pub(super) async fn within(
    headers: &HeaderMap,
    answer: impl Future<Output = Result<Response, Refusal>>,
) -> Result<Response, Refusal> {
    match forward::time_of(headers)? {
        None => answer.await,
        Some(time) => tokio::time::timeout(time, answer)
            .await
            .unwrap_or_else(|_| Err(forward::unanswered("this host", "the caller's time is over"))),
    }
}

/// Calls a method of an actor in this process.
pub(super) async fn here(
    gateway: &Gateway,
    actor: &ActorId,
    method: &str,
    headers: &HeaderMap,
    callable: Result<Callable, HostError>,
    held: Held,
    Whose { by, key }: Whose,
) -> Result<Response, Refusal> {
    let bytes = u64::try_from(held.bytes.len()).unwrap_or(u64::MAX);
    // Checked before any of the body is parsed. The call itself reports a missing kind.
    if let Some(max) = callable.as_ref().ok().map(Callable::payload_bytes_max)
        && bytes > max
    {
        return Err(HostError::PayloadTooLarge { bytes, max }.into());
    }
    let (wanted, floor) = (arguments::wanted(headers), floor::of(headers)?);
    let (headers, method) = (headers.clone(), method.to_owned());
    let expected = by.as_ref().and_then(|by| by.types).map(Expected::Digest);
    let read = move || {
        let mut held = held;
        let arguments = arguments::read(&headers, &mut held)?;
        let mut refusal = None;
        let mut take = |bytes| held.take(bytes).map_err(|full| refusal = Some(full)).is_ok();
        let room = Room::within(&mut take);
        let ready = callable?.with_types(&method, arguments, expected, room);
        let ready = ready.map_err(|error| refusal.unwrap_or_else(|| error.into()))?;
        Ok::<_, Refusal>((ready.identified(key), held))
    };
    // The memory of the body is held until the call has ended.
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    let (ready, _held) = gateway.readers.run(bytes, read).await?;
    let reply = gateway.host.call_ready(actor, ready.at_least(floor).by(by)).await;
    let reply =
        reply.map_err(|error| Refusal::of_call(error, gateway.host.is_for_development()))?;
    let bytes = usize::try_from(reply.large_bytes()).unwrap_or(usize::MAX);
    Ok(gateway.readers.run(bytes, move || reply::of_call(&reply, wanted)).await)
}

/// The actor and the method that a path names.
pub(super) fn named(
    path: Result<Path<(String, String, String)>, PathRejection>,
) -> Result<(ActorId, String), Refusal> {
    let (kind, key, method) = segments(path)?;
    let actor = ActorId::new(&kind, &key).map_err(HostError::from)?;
    Ok((actor, method))
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
