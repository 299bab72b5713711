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
//! - An owner that lives and is out of reach is waited for no longer than until that is known.
//! - Every wait ends with the caller's time.

use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::Response;
use stockade_depot::ActorId;
use tokio::time::{Instant, timeout_at};

use super::super::content::Content;
use super::super::public::{self, Whose};
use super::super::reply::Refusal;
use super::super::{Gateway, TXID_HEADER, floor};
use super::answers::txid_of;
use super::attempt::{Ended, Target, unanswered};
use super::time_of;
use super::tries::{Tries, found};
use crate::peers::{
    CHAIN_HEADER, KEY_HEADER, Lane, Lines, PRINCIPAL_HEADER, Protocol, write_chain,
};
use stockade::CallKey;
use stockade::error::Code;
use stockade::host::{ByActor, Place, Route};
use stockade::internal::{Callable, Making};
use stockade::limits::FORWARD_SLACK;

/// Fields of a call that its arguments and its answer depend on.
static OF_CALL: [HeaderName; 3] =
    [header::CONTENT_TYPE, header::ACCEPT, HeaderName::from_static(TXID_HEADER)];

/// A call, as it was asked for.
pub(in super::super) struct Asked<'a> {
    pub(in super::super) actor: &'a ActorId,
    pub(in super::super) method: &'a str,
    pub(in super::super) headers: &'a HeaderMap,
    pub(in super::super) callable: &'a Callable,
    /// The actor that calls, if one does, and the note of its wait.
    pub(in super::super) by: Option<(&'a ByActor, &'a Making)>,
    /// The id of the call, if it has one.
    pub(in super::super) key: Option<&'a CallKey>,
}

/// Calls a method where its actor is.
pub(in super::super) async fn call(
    gateway: &Gateway,
    lines: &Lines,
    asked: &Asked<'_>,
    body: Body,
) -> Result<Response, Refusal> {
    let read = time_of(asked.headers).and_then(|time| floor::of(asked.headers).map(|_| time));
    let time = match read {
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
    let mut tries = Tries::of(asked.actor, "call", until);
    loop {
        let ended = match found(gateway.host.place(asked.actor, &tries.made), until).await? {
            Place::Here => here(gateway, asked, content, until).await,
            Place::There { peer, route } => {
                let target = Target { actor: asked.actor, peer: &peer, route };
                let ended = there(gateway, lines, asked, content, target, until).await;
                if let (Route::Start { .. }, Ended::NotDone { .. }) = (route, &ended) {
                    tries.made.refused.push(peer.session);
                }
                ended
            }
        };
        let ended = match ended {
            Ended::NotDone { refusal, .. } if !content.can_be_sent_again() => {
                Ended::Refused(refusal)
            }
            ended => ended,
        };
        if let Some(answer) = tries.after(ended).await? {
            return Ok(answer);
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
    let by = asked.by.map(|(by, making)| {
        making.is_here();
        by.clone()
    });
    let whose = Whose { by, key: asked.key.cloned() };
    let run =
        public::here(gateway, asked.actor, asked.method, asked.headers, callable, held, whose);
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
        Err(refusal) => Ended::here(refusal),
    }
}

/// One attempt in another process.
async fn there(
    gateway: &Gateway,
    lines: &Lines,
    asked: &Asked<'_>,
    content: &Content,
    target: Target<'_>,
    until: Instant,
) -> Ended {
    // A caller may ask the owner itself; an actor has no other way, and waits for its owner's return.
    let lives_since =
        |since| asked.by.is_none() && gateway.host.lives_since(target.peer.session, since);
    let way = match lines.way(&target.peer.address, Lane::Calls, until, lives_since).await {
        Ok(way) => way,
        Err(failure) => return target.failed(gateway, failure, false),
    };
    let protocol = way.protocol();
    if asked.by.is_some() && protocol < Protocol::Chains {
        return Ended::Refused(target.too_old("calls of actors"));
    }
    if asked.by.is_some_and(|(by, _)| by.types.is_some()) && protocol < Protocol::Records {
        return Ended::Refused(target.too_old("typed calls"));
    }
    if asked.key.is_some() && protocol < Protocol::Records {
        return Ended::Refused(target.too_old("calls with an id"));
    }
    let (sending, whole) = content.sending();
    let mut request = target.head("actors", asked.method, until);
    for field in &OF_CALL {
        if let Some(value) = asked.headers.get(field) {
            request = request.header(field, value);
        }
    }
    if let Some((by, making)) = asked.by {
        making.is_there(&target.peer.address);
        request = request.header(CHAIN_HEADER, write_chain(by));
    }
    if let Some(key) = asked.key {
        request = request.header(KEY_HEADER, key.id());
        if asked.by.is_none() {
            request = request.header(PRINCIPAL_HEADER, key.principal());
        }
    }
    let request = match request.body(Body::new(sending)) {
        Ok(request) => request,
        Err(error) => return Ended::Refused(target.no_address(&error)),
    };
    let whole = || whole.load(Ordering::Acquire);
    let ended = target.send(gateway, way, request, whole, until).await;
    match ended {
        // A process of a former version does not look at the floor.
        Ended::Answered(answer) if protocol < Protocol::Orders => {
            checked(asked.headers, &target.peer.address, answer)
        }
        ended => ended,
    }
}

/// An answer of a process that does not know the commit which its caller asks for.
fn checked(headers: &HeaderMap, address: &str, answer: Response) -> Ended {
    let floor = floor::of(headers).unwrap_or_default();
    match txid_of(&answer) {
        Some(txid) if txid < floor => {
            let why = format!("its answer is as of commit {txid}, before {floor}");
            Ended::Refused(unanswered(address, &why))
        }
        Some(_) | None => Ended::Answered(answer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the answer of a process that does not know the field is given, and with which error
    /// if not.
    fn given(asked: Option<&'static str>, answered: Option<&'static str>) -> Result<(), Code> {
        let fields = |txid: Option<&'static str>| {
            let field = HeaderName::from_static(TXID_HEADER);
            txid.map(|txid| (field, HeaderValue::from_static(txid))).into_iter().collect()
        };
        let mut answer = Response::new(Body::empty());
        *answer.headers_mut() = fields(answered);
        match checked(&fields(asked), "10.0.0.1:90", answer) {
            Ended::Answered(_) => Ok(()),
            Ended::Refused(refusal) | Ended::NotDone { refusal, .. } => Err(refusal.code()),
        }
    }

    #[test]
    fn an_older_answer_of_a_former_version_is_not_given() {
        assert_eq!(given(Some("7"), Some("7")), Ok(()));
        assert_eq!(given(Some("7"), Some("8")), Ok(()));
        assert_eq!(given(Some("7"), Some("6")), Err(Code::Unanswered), "what it did is done");
        assert_eq!(given(None, Some("6")), Ok(()));
        assert_eq!(given(Some("7"), None), Ok(()), "an answer that is as of no commit");
    }
}
