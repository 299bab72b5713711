//! One request to another process, and what follows from its end.
//!
//! Invariant: "not done" is said only if nothing of the request can have been acted on: the other
//! process says so, or the whole request had not left.

use axum::body::Body;
use axum::http::{Request, Response as Answer};
use axum::response::Response;
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;
use stockade_depot::ActorId;
use tokio::time::{Instant, timeout_at};

use super::super::Gateway;
use super::super::reply::Refusal;
use super::answers::{error_of, passed_on, runs_of};
use crate::peers::{Failure, ROUTE_HEADER, TIMEOUT_HEADER, Way, write_route};
use stockade::error::Code;
use stockade::host::{Peer, Route};
use stockade::internal::{AfterRefusal, is_moved};
use stockade::limits::REFUSAL_BYTES_MAX;

/// How an attempt ended.
pub(super) enum Ended {
    /// With an answer, which its caller gets.
    Answered(Response),
    /// With an error that is not tried again.
    Refused(Refusal),
    /// Nothing was done. `now`: where to ask next is known.
    NotDone { refusal: Refusal, now: bool },
}

impl Ended {
    pub(super) fn not_done(refusal: Refusal) -> Self {
        Self::NotDone { refusal, now: false }
    }

    /// With a refusal of this process: not done if the actor is about to be elsewhere.
    pub(super) fn here(refusal: Refusal) -> Self {
        if is_moved(refusal.code(), refusal.advice()) {
            Self::not_done(refusal)
        } else {
            Self::Refused(refusal)
        }
    }
}

/// Who is asked for what.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) actor: &'a ActorId,
    pub(super) peer: &'a Peer,
    pub(super) route: Route,
}

/// The refusal of a request that may have been acted on.
pub(in super::super) fn unanswered(address: &str, why: &str) -> Refusal {
    let words = format!("{address} was sent the request and has not answered: {why}");
    let details = json!({ "address": address, "verdict": "indeterminate" });
    Refusal::new(Code::Unanswered, words).with(details)
}

impl Target<'_> {
    /// The head of a request to the other process, at `room` of its listener.
    pub(super) fn head(
        &self,
        room: &str,
        name: &str,
        until: Instant,
    ) -> axum::http::request::Builder {
        // The other side decodes the names again.
        let segment = |name| utf8_percent_encode(name, NON_ALPHANUMERIC);
        let (kind, key) = (segment(self.actor.kind()), segment(self.actor.key()));
        let left = until.saturating_duration_since(Instant::now()).as_millis();
        let address = &self.peer.address;
        Request::post(format!("https://{address}/peers/{room}/{kind}/{key}/{}", segment(name)))
            .header(ROUTE_HEADER, write_route(self.peer.session, &self.route))
            .header(TIMEOUT_HEADER, u64::try_from(left).unwrap_or(u64::MAX))
    }

    /// The refusal of a request that cannot be written.
    pub(super) fn no_address(&self, error: &axum::http::Error) -> Refusal {
        let words = format!("the process that owns the actor has no valid address: {error}");
        Refusal::new(Code::PeerUnreachable, words).with(json!({ "address": self.peer.address }))
    }

    /// The refusal of calls that the other process does not know, since it is of an earlier version.
    pub(super) fn too_old(&self, what: &str) -> Refusal {
        let address = &self.peer.address;
        let words = format!("{address}, where the actor is, takes no {what}: upgrade it");
        Refusal::new(Code::PeerUnreachable, words).with(json!({ "address": address }))
    }

    /// Sends a request. `whole`: whether all of it may have left.
    pub(super) async fn send(
        &self,
        gateway: &Gateway,
        way: Way,
        request: Request<Body>,
        whole: impl FnOnce() -> bool,
        until: Instant,
    ) -> Ended {
        match way.send(request, until).await {
            Ok(answer) if answer.status().is_success() => {
                Ended::Answered(passed_on(answer.map(Body::new)))
            }
            Ok(answer) => self.refused(gateway, answer, until).await,
            Err(failure) => self.failed(gateway, failure, whole()),
        }
    }

    /// What follows from a request without an answer.
    pub(super) fn failed(&self, gateway: &Gateway, failure: Failure, whole: bool) -> Ended {
        let address = self.peer.address.as_str();
        gateway.host.forget_place(self.actor);
        match failure {
            Failure::Lost(why) if whole => Ended::Refused(unanswered(address, &why)),
            // The other side reads a body to its end before it begins.
            Failure::NotSent(why) | Failure::Lost(why) => Ended::not_done(self.not_reached(&why)),
            Failure::OutOfReach(why) => match self.route {
                Route::Run { .. } => Ended::Refused(self.not_reached(&why)),
                // Another one may begin it.
                Route::Start { .. } => {
                    Ended::NotDone { refusal: self.not_reached(&why), now: true }
                }
            },
        }
    }

    fn not_reached(&self, why: &str) -> Refusal {
        let address = self.peer.address.as_str();
        let words = format!("{address}, where the actor is, was not reached: {why}");
        Refusal::new(Code::PeerUnreachable, words).with(json!({ "address": address }))
    }

    /// What follows from a refusal of another process.
    async fn refused(&self, gateway: &Gateway, answer: Answer<Incoming>, until: Instant) -> Ended {
        let (actor, address) = (self.actor, self.peer.address.as_str());
        let (parts, body) = answer.into_parts();
        let bytes = match refusal_of(Body::new(body), until).await {
            Ok(bytes) => bytes,
            Err(why) => return Ended::Refused(unanswered(address, &why)),
        };
        let Some((code, error)) = error_of(&bytes) else {
            return Ended::Refused(unanswered(address, "its refusal does not read"));
        };
        let (runs, asked) = (runs_of(&error.details), (self.peer, self.route));
        match gateway.host.was_refused(actor, asked, (code, error.retry), runs) {
            AfterRefusal::Told => {
                Ended::Answered(passed_on(Answer::from_parts(parts, Body::from(bytes))))
            }
            AfterRefusal::Again { now } => {
                let refusal = Refusal::new(code, error.message).with(error.details);
                Ended::NotDone { refusal, now }
            }
        }
    }
}

/// The whole body of a refusal. The error: it is too long, or has not come in time.
async fn refusal_of(body: Body, until: Instant) -> Result<Bytes, String> {
    match timeout_at(until, Limited::new(body, REFUSAL_BYTES_MAX).collect()).await {
        Ok(Ok(read)) => Ok(read.to_bytes()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("its refusal came too slowly".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::time::Duration;

    use futures_util::stream;
    use tokio::time::timeout;

    use super::*;

    async fn read(body: Body, ms: u64) -> Result<Bytes, String> {
        let read = refusal_of(body, Instant::now() + Duration::from_millis(ms));
        timeout(Duration::from_secs(20), read).await.expect("it ends with the caller's time")
    }

    #[tokio::test]
    async fn a_refusal_is_read_within_the_callers_time_and_a_bound() {
        assert_eq!(read(Body::from("{}"), 20_000).await, Ok(Bytes::from("{}")));
        let longest = vec![b' '; REFUSAL_BYTES_MAX];
        assert!(read(Body::from(longest.clone()), 20_000).await.is_ok());
        assert!(read(Body::from([longest, vec![b' ']].concat()), 20_000).await.is_err());
        let silent = stream::pending::<Result<Bytes, Infallible>>();
        assert!(read(Body::from_stream(silent), 50).await.is_err());
    }
}
