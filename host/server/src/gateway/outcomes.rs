//! Calls that have an id, and the question what became of one.
//!
//! ```text
//!  POST /actors/{kind}/{key}/{method}        idempotency-key: ID      runs once at most
//!  GET  /actors/{kind}/{key}/calls/{id}      what became of it
//!  POST /actors/{kind}/{key}/calls/{id}      the same, for good: what has not come will not run
//! ```
//! Invariant: a question is asked for the caller that the guard has found, never for one that the
//! request names.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use stockade::error::{Code, HostError};
use stockade::host::{KeptAnswer, Outcome, OutcomeReply};
use stockade::{CallKey, Generation, Txid};
use stockade_depot::ActorId;

use super::forward::{self, Given};
use super::guard::Principal;
use super::orders::Order;
use super::reply::{Refusal, with_commit};
use super::{GENERATION_HEADER, Gateway, Side, json, public};
use crate::peers::{KEY_HEADER, read_key};

type Named = Result<Path<(String, String, String)>, PathRejection>;

/// A question about a call, as one process passes it on to another.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asking {
    principal: String,
    id: String,
    settle: bool,
}

impl Asking {
    pub(super) fn of(key: &CallKey, settle: bool) -> Self {
        Self { principal: key.principal().to_owned(), id: key.id().to_owned(), settle }
    }

    pub(super) fn to_bytes(&self) -> Bytes {
        serde_json::to_vec(self).expect("BUG: texts are JSON").into()
    }

    /// The call, and whether it is settled.
    pub(super) fn read(bytes: &[u8]) -> Result<(CallKey, bool), Refusal> {
        let Self { principal, id, settle } = serde_json::from_slice(bytes)
            .map_err(|error| Refusal::new(Code::InvalidBody, error.to_string()))?;
        let key = CallKey::of(&principal, &id).map_err(HostError::from)?;
        Ok((key, settle))
    }
}

/// The id of a call, if it has one.
///
/// # Errors
/// The field does not read, or comes several times.
pub(super) fn key_of(headers: &HeaderMap, principal: &str) -> Result<Option<CallKey>, Refusal> {
    read_key(headers, principal).map_err(|words| {
        Refusal::of_field(Code::Malformed, &HeaderName::from_static(KEY_HEADER), &words)
    })
}

/// What became of a call.
pub(super) async fn ask(
    state: State<Arc<Gateway>>,
    principal: Extension<Principal>,
    path: Named,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    answer(state, principal, path, &headers, body, false).await
}

/// The same, for good.
pub(super) async fn settle(
    state: State<Arc<Gateway>>,
    principal: Extension<Principal>,
    path: Named,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    answer(state, principal, path, &headers, body, true).await
}

async fn answer(
    State(gateway): State<Arc<Gateway>>,
    Extension(principal): Extension<Principal>,
    path: Named,
    headers: &HeaderMap,
    body: Body,
    settle: bool,
) -> Result<Response, Refusal> {
    // What waits here waits in the actor's queue, as a call does.
    let kind = path.as_ref().map_or("", |Path((kind, _, _))| kind.as_str());
    let callable = gateway.host.callable(kind).await;
    let room = gateway.admission.call(Side::Public, callable.as_ref().map_or("", |_| kind));
    let _room = room.map_err(Refusal::closing)?;
    gateway.bodies.read(body).await?;
    let (kind, key, id) = public::segments(path)?;
    let actor = ActorId::existing(&kind, &key).map_err(HostError::from)?;
    let key = CallKey::of(principal.as_str(), &id).map_err(HostError::from)?;
    let body = Asking::of(&key, settle).to_bytes();
    let given =
        Given { order: Order::Outcome, actor: &actor, headers: &json_fields(headers), body: &body };
    forward::order(&gateway, &given).await
}

/// The fields of a question that is passed on: those of its caller, with the type of its body.
fn json_fields(headers: &HeaderMap) -> HeaderMap {
    let mut fields = headers.clone();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    fields
}

/// Answers a question in this process.
pub(super) async fn told(
    gateway: &Gateway,
    actor: &ActorId,
    body: &[u8],
) -> Result<Response, Refusal> {
    let (key, settle) = Asking::read(body)?;
    let reply: OutcomeReply = gateway.host.outcome(actor, &key, settle).await?;
    let mut response = axum::Json(json::outcome(actor, key.id(), &reply)).into_response();
    with_commit(&mut response, reply.generation, reply.txid);
    Ok(response)
}

/// What another process, or this one, has answered.
pub(super) fn read(headers: &HeaderMap, body: &[u8]) -> Option<OutcomeReply> {
    let document: Json = serde_json::from_slice(body).ok()?;
    let outcome = match document["outcome"].as_str()? {
        "committed" => Outcome::Committed {
            answer: document.get("answer").map(|answer| KeptAnswer {
                json: answer.clone(),
                is_err: document["is_error"].as_bool().unwrap_or_default(),
            }),
        },
        "partial" => Outcome::Partial,
        "never" => Outcome::Never,
        "not-seen" => Outcome::NotSeen,
        "expired" => Outcome::Expired,
        _ => return None,
    };
    let generation = headers.get(GENERATION_HEADER)?.to_str().ok()?.parse().ok()?;
    let txid = Txid(document["txid"].as_u64()?);
    Some(OutcomeReply { outcome, generation: Generation(generation), txid })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_reads_as_it_was_given() {
        let actor = ActorId::new("account", "a").expect("a name");
        let kept = |is_err| KeptAnswer { json: serde_json::json!({ "ok": 5 }), is_err };
        for outcome in [
            Outcome::Committed { answer: Some(kept(false)) },
            Outcome::Committed { answer: Some(kept(true)) },
            Outcome::Committed { answer: None },
            Outcome::Partial,
            Outcome::Never,
            Outcome::NotSeen,
            Outcome::Expired,
        ] {
            let told = OutcomeReply { outcome, generation: Generation(3), txid: Txid(7) };
            let mut headers = HeaderMap::new();
            headers.insert(GENERATION_HEADER, HeaderValue::from(3_u64));
            let body = json::outcome(&actor, "order-17", &told).to_string();
            assert_eq!(read(&headers, body.as_bytes()), Some(told));
        }
    }

    #[test]
    fn a_question_reads_as_it_was_asked() {
        let key = CallKey::of("caller", "order-17").expect("an id");
        for settle in [true, false] {
            let bytes = Asking::of(&key, settle).to_bytes();
            assert_eq!(Asking::read(&bytes).expect("reads"), (key.clone(), settle));
        }
        for wrong in ["", "{}", r#"{"principal":"a","id":"a b","settle":true}"#] {
            assert!(Asking::read(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
