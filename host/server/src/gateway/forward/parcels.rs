//! Parcels of messages: taken to the process that owns their receiver.
//!
//! ```text
//!  place? ── here ──> the slot of the receiver ───────┬─> what it says, or an error that stays one
//!    ^  └── there ──> route, parcel ──────────────────┤
//!    └── pause, for a moment <── nothing was done ────┘
//! ```
//! Invariants:
//! - A parcel may be sent again: its receiver knows what it has run. The pauses of the sender decide
//!   how often; here it is tried again only where the actor is about to be elsewhere.
//! - A parcel that was passed on is not passed on again.

use axum::body::Body;
use axum::http::header;
use axum::response::Response;
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use stockade_depot::ActorId;
use tokio::time::{Instant, sleep, timeout_at};

use super::super::Gateway;
use super::super::reply::Refusal;
use super::attempt::{Ended, Target, unanswered};
use crate::peers::{Lane, Lines, Protocol};
use stockade::error::Code;
use stockade::host::{Attempts, Place};
use stockade::internal::{Parcel, Said, is_moved};
use stockade::limits::{FORWARD_SLACK, REFUSAL_BYTES_MAX};

/// The last segment of the route.
pub(in super::super) const PARCEL: &str = "parcel";

/// Takes a parcel to its receiver.
pub(in super::super) async fn parcel(
    gateway: &Gateway,
    lines: &Lines,
    to: &ActorId,
    parcel: &Parcel,
    until: Instant,
) -> Result<Said, Refusal> {
    let text = Bytes::from(parcel.to_json());
    let tried_until = until.min(Instant::now() + FORWARD_SLACK);
    let mut attempts = Attempts::default();
    loop {
        let place = timeout_at(until, gateway.host.place(to, &attempts)).await;
        let place =
            place.map_err(|_| Refusal::new(Code::DeadlinePassed, "no time left to look"))?;
        let ended = match place? {
            Place::Here => match gateway.host.deliver_here(to, parcel.clone()).await {
                Ok(said) => return Ok(said),
                Err(error) => {
                    let refusal = Refusal::from(error);
                    if is_moved(refusal.code(), refusal.advice()) {
                        Ended::not_done(refusal)
                    } else {
                        Ended::Refused(refusal)
                    }
                }
            },
            Place::There { peer, route } => {
                let target = Target { actor: to, peer: &peer, route };
                let ended = there(gateway, lines, text.clone(), target, until).await;
                if let Ended::NotDone { .. } = &ended {
                    attempts.refused.push(peer.session);
                }
                ended
            }
        };
        let (refusal, now) = match ended {
            Ended::Answered(answer) => return said(answer, until).await,
            Ended::Refused(refusal) => return Err(refusal),
            Ended::NotDone { refusal, now } => (refusal, now),
        };
        if !now {
            let pause = attempts.next_pause();
            if Instant::now() + pause >= tried_until {
                return Err(refusal);
            }
            sleep(pause).await;
        }
    }
}

/// One attempt in another process.
async fn there(
    gateway: &Gateway,
    lines: &Lines,
    text: Bytes,
    target: Target<'_>,
    until: Instant,
) -> Ended {
    let way = match lines.way(&target.peer.address, Lane::Calls, until, |_| false).await {
        Ok(way) => way,
        Err(failure) => return target.failed(gateway, failure, false),
    };
    if way.protocol() < Protocol::Messages {
        return Ended::Refused(target.too_old("messages of actors"));
    }
    let request = target
        .head("messages", PARCEL, until)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(text));
    match request {
        Ok(request) => target.send(gateway, way, request, || true, until).await,
        Err(error) => Ended::Refused(target.no_address(&error)),
    }
}

/// What another process has answered.
async fn said(answer: Response, until: Instant) -> Result<Said, Refusal> {
    let body = Limited::new(answer.into_body(), REFUSAL_BYTES_MAX).collect();
    let read = timeout_at(until, body).await.ok().and_then(Result::ok);
    let said = read.and_then(|read| serde_json::from_slice(&read.to_bytes()).ok());
    said.ok_or_else(|| unanswered("the receiver's process", "its answer does not read"))
}
