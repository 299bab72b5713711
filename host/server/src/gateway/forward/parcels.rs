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
use tokio::time::{Instant, timeout_at};

use super::super::Gateway;
use super::super::reply::Refusal;
use super::attempt::{Ended, Target, unanswered};
use super::tries::{Tries, found};
use crate::peers::{Lane, Lines, Protocol};
use stockade::host::Place;
use stockade::internal::{Parcel, Said};
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
    let mut tries = Tries::of(to, PARCEL, until.min(Instant::now() + FORWARD_SLACK));
    loop {
        let ended = match found(gateway.host.place(to, &tries.made), until).await? {
            Place::Here => match gateway.host.deliver_here(to, parcel.clone()).await {
                Ok(said) => return Ok(said),
                Err(error) => Ended::here(error.into()),
            },
            Place::There { peer, route } => {
                let target = Target { actor: to, peer: &peer, route };
                let ended = there(gateway, lines, text.clone(), target, until).await;
                if let Ended::NotDone { .. } = &ended {
                    tries.made.refused.push(peer.session);
                }
                ended
            }
        };
        if let Some(answer) = tries.after(ended).await? {
            return said(answer, until).await;
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
