//! Calls of actors that may run in another process: found, passed on, and tried again where nothing
//! has happened.
//!
//! ```text
//!  place? ── here ──> run ────────────────────────────┬─> an answer, or an error that stays one
//!    ^  └── there ──> route, time left, body ─────────┤
//!    │                                                ├─> may have run: `host.unanswered`
//!    └── pause <── nothing was done: moved, starting, ┘
//!                  drains, not reached
//! ```
//! Invariants:
//! - A call is sent again only if nothing of it can have reached the actor: by the advice of the
//!   error table, or because the whole request had not left.
//! - A call that was passed on is not passed on again.
//! - Every wait ends with the caller's time.

use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, Response as Answer, header};
use axum::response::Response;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value as Json, json};
use stockade_depot::{ActorId, DbId, Generation};
use tokio::time::{Instant, sleep, timeout_at};

use super::content::{Content, Sending};
use super::reply::Refusal;
use super::{BILL_HEADER, GENERATION_HEADER, Gateway, RESULT_HEADER, TXID_HEADER, public};
use crate::peers::{Failure, Lines, ROUTE_HEADER, TIMEOUT_HEADER, read_timeout, write_route};
use stockade::error::{Body as ErrorBody, Code, Retry};
use stockade::host::{Attempts, Peer, Place, Route};
use stockade::internal::Callable;
use stockade::limits::{FORWARD_PAUSE, FORWARD_PAUSE_MAX, FORWARD_SLACK, REFUSAL_BYTES_MAX};

/// Fields of a call that its arguments and its answer depend on.
static OF_CALL: [HeaderName; 2] = [header::CONTENT_TYPE, header::ACCEPT];

/// Fields of an answer that its caller gets.
static OF_ANSWER: [HeaderName; 7] = [
    header::CONTENT_TYPE,
    header::CONTENT_LENGTH,
    header::RETRY_AFTER,
    HeaderName::from_static(GENERATION_HEADER),
    HeaderName::from_static(TXID_HEADER),
    HeaderName::from_static(BILL_HEADER),
    HeaderName::from_static(RESULT_HEADER),
];

/// A call, as it was asked for.
pub(super) struct Asked<'a> {
    pub(super) actor: &'a ActorId,
    pub(super) method: &'a str,
    pub(super) headers: &'a HeaderMap,
    pub(super) callable: &'a Callable,
}

/// How an attempt ended.
enum Ended {
    /// With an answer, which its caller gets.
    Answered(Response),
    /// With an error that is not tried again.
    Refused(Refusal),
    /// Nothing was done. `now`: where to ask next is known.
    NotDone { refusal: Refusal, now: bool },
}

impl Ended {
    fn not_done(refusal: Refusal) -> Self {
        Self::NotDone { refusal, now: false }
    }
}

/// How long a caller waits, if it says so.
pub(super) fn time_of(headers: &HeaderMap) -> Result<Option<Duration>, Refusal> {
    read_timeout(headers).map_err(|()| {
        let field = HeaderName::from_static(TIMEOUT_HEADER);
        Refusal::of_field(Code::Malformed, &field, "it is one number of milliseconds")
    })
}

/// The refusal of a call that may have run.
pub(super) fn unanswered(address: &str, why: &str) -> Refusal {
    let words = format!("{address} was sent the call and has not answered: {why}");
    let details = json!({ "address": address, "verdict": "indeterminate" });
    Refusal::new(Code::Unanswered, words).with(details)
}

/// Calls a method where its actor is.
pub(super) async fn call(
    gateway: &Gateway,
    lines: &Lines,
    asked: &Asked<'_>,
    body: Body,
) -> Result<Response, Refusal> {
    let time = match time_of(asked.headers) {
        Ok(time) => time.unwrap_or_else(|| asked.callable.time_max() + FORWARD_SLACK),
        Err(refusal) => return Ok(gateway.bodies.refuse(refusal, asked.headers, body).await),
    };
    let content = Content::new(body, gateway.bodies.room());
    let answered = attempted(gateway, lines, asked, &content, Instant::now() + time).await;
    // A connection whose request was not read to its end cannot be used again.
    match answered {
        answered if content.is_read() => answered,
        Err(refusal) => Err(refusal.closing()),
        Ok(mut answer) => {
            answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            Ok(answer)
        }
    }
}

/// Attempts, one after the other, until one ends with something for the caller.
async fn attempted(
    gateway: &Gateway,
    lines: &Lines,
    asked: &Asked<'_>,
    content: &Content,
    until: Instant,
) -> Result<Response, Refusal> {
    let (mut attempts, mut pause) = (Attempts::default(), FORWARD_PAUSE);
    loop {
        let place = timeout_at(until, gateway.host.place(asked.actor, &attempts)).await;
        let place =
            place.map_err(|_| Refusal::new(Code::DeadlinePassed, "no time left to look"))?;
        let ended = match place? {
            Place::Here => here(gateway, asked, content, until).await,
            Place::There { peer, route } => {
                let ended = there(gateway, lines, asked, content, &peer, route, until).await;
                if let (Route::Start { .. }, Ended::NotDone { .. }) = (route, &ended) {
                    attempts.refused.push(peer.session);
                }
                ended
            }
        };
        let (refusal, now) = match ended {
            Ended::Answered(answer) => return Ok(answer),
            Ended::Refused(refusal) => return Err(refusal),
            Ended::NotDone { refusal, now } => (refusal, now),
        };
        if !content.can_be_sent_again() {
            return Err(refusal);
        }
        if !now {
            if Instant::now() + pause >= until {
                return Err(refusal);
            }
            tracing::debug!(actor = %asked.actor, ?refusal, "trying again");
            sleep(pause).await;
            pause = (pause * 2).min(FORWARD_PAUSE_MAX);
            if pause == FORWARD_PAUSE_MAX {
                // A process that refused a start a while ago may take one now.
                attempts.refused.clear();
            }
        }
    }
}

/// One attempt in this process.
async fn here(gateway: &Gateway, asked: &Asked<'_>, content: &Content, until: Instant) -> Ended {
    let (sending, _) = content.sending();
    let held = match timeout_at(until, gateway.bodies.read(Body::new(sending))).await {
        Ok(Ok(held)) => held,
        Ok(Err(refusal)) => return Ended::Refused(refusal),
        Err(_) => {
            let words = "the caller's time was over before its body had come";
            return Ended::Refused(Refusal::new(Code::DeadlinePassed, words));
        }
    };
    let callable = Ok(asked.callable.clone());
    let run = public::here(gateway, asked.actor, asked.method, asked.headers, callable, held);
    // A call in this process ends by its own limits; a caller may be in more of a hurry.
    let is_hasty = matches!(time_of(asked.headers), Ok(Some(_)));
    let too_late = |_| Err(unanswered("this host", "the caller's time is over"));
    let run = async {
        if is_hasty { timeout_at(until, run).await.unwrap_or_else(too_late) } else { run.await }
    };
    match run.await {
        Ok(answer) => Ended::Answered(answer),
        // No other process would begin the actor.
        Err(refusal)
            if refusal.code() == Code::Draining && gateway.host.drain_status().takers == 0 =>
        {
            Ended::Refused(refusal)
        }
        Err(refusal) if is_moved(refusal.code(), refusal.advice()) => Ended::not_done(refusal),
        Err(refusal) => Ended::Refused(refusal),
    }
}

/// One attempt in another process.
async fn there(
    gateway: &Gateway,
    lines: &Lines,
    asked: &Asked<'_>,
    content: &Content,
    peer: &Peer,
    route: Route,
    until: Instant,
) -> Ended {
    let (actor, address) = (asked.actor, peer.address.as_str());
    let (sending, whole) = content.sending();
    let request = match request(asked, peer, route, sending, until) {
        Ok(request) => request,
        Err(refusal) => return Ended::Refused(refusal),
    };
    let failure = match lines.send(address, request, until).await {
        Ok(answer) if answer.status().is_success() => {
            return Ended::Answered(passed_on(answer.map(Body::new)));
        }
        Ok(answer) => return refused(gateway, actor, peer, route, answer, until).await,
        Err(failure) => failure,
    };
    match failure {
        Failure::Lost(why) if whole.load(Ordering::Acquire) => {
            gateway.host.forget_place(actor);
            Ended::Refused(unanswered(address, &why))
        }
        // The other side reads a body to its end before it begins a call.
        Failure::NotSent(why) | Failure::Lost(why) => {
            gateway.host.forget_place(actor);
            let words = format!("{address}, where the actor is, was not reached: {why}");
            let refusal = Refusal::new(Code::PeerUnreachable, words);
            Ended::not_done(refusal.with(json!({ "address": address })))
        }
    }
}

fn request(
    asked: &Asked<'_>,
    peer: &Peer,
    route: Route,
    body: Sending,
    until: Instant,
) -> Result<Request<Body>, Refusal> {
    // The other side decodes the names again.
    let segment = |name| utf8_percent_encode(name, NON_ALPHANUMERIC);
    let (kind, key) = (segment(asked.actor.kind()), segment(asked.actor.key()));
    let method = segment(asked.method);
    let left = until.saturating_duration_since(Instant::now()).as_millis();
    let mut request =
        Request::post(format!("https://{}/peers/actors/{kind}/{key}/{method}", peer.address))
            .header(ROUTE_HEADER, write_route(peer.session, &route))
            .header(TIMEOUT_HEADER, u64::try_from(left).unwrap_or(u64::MAX));
    for field in &OF_CALL {
        if let Some(value) = asked.headers.get(field) {
            request = request.header(field, value);
        }
    }
    request.body(Body::new(body)).map_err(|error| {
        let words = format!("the process that owns the actor has no valid address: {error}");
        Refusal::new(Code::PeerUnreachable, words).with(json!({ "address": peer.address }))
    })
}

/// An answer with the fields that its caller gets.
fn passed_on(answer: Answer<Body>) -> Response {
    let (mut parts, body) = answer.into_parts();
    let mut fields = HeaderMap::new();
    for field in &OF_ANSWER {
        if let Some(value) = parts.headers.remove(field) {
            fields.insert(field.clone(), value);
        }
    }
    let mut response = Response::new(body);
    (*response.status_mut(), *response.headers_mut()) = (parts.status, fields);
    response
}

/// What follows from a refusal of another process.
async fn refused(
    gateway: &Gateway,
    actor: &ActorId,
    peer: &Peer,
    route: Route,
    answer: Answer<Incoming>,
    until: Instant,
) -> Ended {
    let (parts, body) = answer.into_parts();
    let read = timeout_at(until, Limited::new(body, REFUSAL_BYTES_MAX).collect()).await;
    let bytes = match read {
        Ok(Ok(read)) => read.to_bytes(),
        Ok(Err(error)) => return Ended::Refused(unanswered(&peer.address, &error.to_string())),
        Err(_) => return Ended::Refused(unanswered(&peer.address, "its refusal came too slowly")),
    };
    let Some((code, error)) = error_of(&bytes) else {
        return Ended::Refused(unanswered(&peer.address, "its refusal does not read"));
    };
    let starts = matches!(route, Route::Start { .. });
    let runs = runs_of(&error.details);
    let moved = is_moved(code, error.retry);
    let no_room = starts && code == Code::ActorOverloaded && error.retry == Retry::Retry;
    if !moved && !no_room {
        return Ended::Answered(passed_on(Answer::from_parts(parts, Body::from(bytes))));
    }
    if code == Code::Reroute {
        gateway.host.was_rerouted(actor, peer, route, runs);
    } else {
        gateway.host.forget_place(actor);
    }
    let refusal = Refusal::new(code, error.message).with(error.details);
    Ended::NotDone { refusal, now: code == Code::Reroute || no_room }
}

/// Whether nothing was done, and another process, or this one in a moment, may do it.
fn is_moved(code: Code, advice: Retry) -> bool {
    let passes = matches!(
        code,
        Code::Starting | Code::Stopping | Code::ShuttingDown | Code::StoreClosed | Code::LeaseLost
    );
    advice == Retry::Reroute || (passes && advice == Retry::Retry)
}

fn error_of(bytes: &[u8]) -> Option<(Code, ErrorBody)> {
    let body: ErrorBody = serde_json::from_slice(bytes).ok()?;
    let named = |code: &&Code| code.group() == body.group && code.name() == body.code;
    let code = *Code::ALL.iter().find(named)?;
    Some((code, body))
}

/// The generation that the other process says it runs.
fn runs_of(details: &Json) -> Option<(DbId, Generation)> {
    let mut db = [0; 16];
    hex::decode_to_slice(details["db"].as_str()?, &mut db).ok()?;
    Some((DbId(db), Generation(details["generation"].as_u64()?)))
}

#[cfg(test)]
mod tests {
    use stockade::error::HostError;

    use super::*;

    #[test]
    fn only_what_has_surely_not_run_is_tried_again() {
        for code in [
            Code::Elsewhere,
            Code::Reroute,
            Code::Superseded,
            Code::HeadFenceMismatch,
            Code::Draining,
            Code::Starting,
            Code::Stopping,
            Code::ShuttingDown,
            Code::LeaseLost,
        ] {
            assert!(is_moved(code, code.retry()), "{code:?}");
            assert!(!is_moved(code, Retry::UnknownOutcome), "{code:?} with a verdict");
        }
        for code in [
            Code::Ended,
            Code::CommitLost,
            Code::Unanswered,
            Code::DeadlinePassed,
            Code::ActorOverloaded,
            Code::Trapped,
            Code::StoreUnknown,
            Code::Internal,
        ] {
            assert!(!is_moved(code, code.retry()), "{code:?}");
        }
    }

    #[test]
    fn what_another_process_runs_is_read_from_its_refusal() {
        let actor = ActorId::new("kind", "key").expect("a name");
        let runs = Some((DbId([7; 16]), Generation(3)));
        for runs in [runs, None] {
            let error = HostError::Reroute { actor: actor.clone(), runs, address: None };
            let bytes = serde_json::to_vec(&error.body()).expect("JSON");
            let (code, body) = error_of(&bytes).expect("reads");
            assert_eq!((code, runs_of(&body.details)), (Code::Reroute, runs));
        }
        assert!(error_of(b"{}").is_none() && error_of(b"<html>").is_none());
    }

    #[test]
    fn an_answer_has_its_own_fields_and_no_others() {
        let answer = Answer::builder()
            .status(503)
            .header("retry-after", "1")
            .header("stockade-txid", "7")
            .header("connection", "close")
            .header("x-other", "1")
            .body(Body::empty())
            .expect("an answer");
        let passed = passed_on(answer);
        let names: Vec<&str> = passed.headers().keys().map(HeaderName::as_str).collect();
        assert_eq!((passed.status().as_u16(), names), (503, vec!["retry-after", "stockade-txid"]));
        assert_eq!(passed.headers()["retry-after"], "1");
    }
}
