//! Orders of operators: carried out by the process that owns the actor.
//!
//! ```text
//!  owner? ── here, or none ──> carried out here ──┬─> an answer, or an error that stays one
//!    ^  └── there ──> route, order, body ─────────┤
//!    │                                            ├─> may have been carried out: `host.unanswered`
//!    └── pause <── nothing was done: moved, ──────┘
//!                  starting, not reached
//! ```
//! Invariants:
//! - An order is given again only if nothing of it can have been carried out.
//! - An order that only looks never waits for long: without its owner it is answered as this process
//!   sees the actor.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, header};
use axum::response::Response;
use bytes::Bytes;
use stockade_depot::ActorId;
use tokio::time::Instant;

use super::super::orders::{Order, carry_out};
use super::super::reply::Refusal;
use super::super::{Gateway, TXID_HEADER};
use super::attempt::{Ended, Target};
use super::time_of;
use super::tries::{Tries, found};
use crate::peers::{Lane, Lines};
use stockade::error::Code;
use stockade::host::Place;
use stockade::internal::is_moved;
use stockade::limits::{FORWARD_SLACK, LOOK_FORWARDED_WITHIN, ORDER_FORWARDED_WITHIN};

/// Fields of an order that its answer depends on.
static OF_ORDER: [HeaderName; 2] = [header::CONTENT_TYPE, HeaderName::from_static(TXID_HEADER)];

/// How often this process may find that the actor runs in a process which takes no orders from
/// others. Twice: it may have moved in between.
const ELSEWHERE_MAX: usize = 2;

/// An order, as it was given.
pub(in super::super) struct Given<'a> {
    pub(in super::super) order: Order,
    pub(in super::super) actor: &'a ActorId,
    pub(in super::super) headers: &'a HeaderMap,
    pub(in super::super) body: &'a Bytes,
}

/// Has an order carried out where its actor is.
pub(in super::super) async fn order(
    gateway: &Gateway,
    given: &Given<'_>,
) -> Result<Response, Refusal> {
    let Some(lines) = &gateway.lines else { return here(gateway, given).await };
    let (begun, looks) = (Instant::now(), given.order.only_looks());
    let most = if looks { LOOK_FORWARDED_WITHIN } else { ORDER_FORWARDED_WITHIN };
    let until = begun + time_of(given.headers)?.unwrap_or(most);
    let tried_until = until.min(begun + FORWARD_SLACK);
    let (mut tries, mut elsewhere) = (Tries::of(given.actor, given.order.name(), tried_until), 0);
    loop {
        let looked = gateway.host.place_of_order(given.actor);
        let ended = match found(looked, tried_until).await? {
            Place::Here => match here(gateway, given).await {
                Err(refusal) if is_moved(refusal.code(), refusal.advice()) => {
                    elsewhere += usize::from(refusal.code() == Code::Elsewhere);
                    if elsewhere > ELSEWHERE_MAX {
                        return Err(refusal);
                    }
                    Ended::not_done(refusal)
                }
                answered => return answered,
            },
            Place::There { peer, route } => {
                let target = Target { actor: given.actor, peer: &peer, route };
                there(gateway, lines, given, target, until).await
            }
        };
        if looks && !matches!(ended, Ended::Answered(_)) {
            return here(gateway, given).await;
        }
        if let Some(answer) = tries.after(ended).await? {
            return Ok(answer);
        }
    }
}

async fn here(gateway: &Gateway, given: &Given<'_>) -> Result<Response, Refusal> {
    let Given { order, actor, headers, body } = given;
    carry_out(gateway, *order, actor, headers, body).await
}

/// One attempt in another process.
async fn there(
    gateway: &Gateway,
    lines: &Lines,
    given: &Given<'_>,
    target: Target<'_>,
    until: Instant,
) -> Ended {
    // As for calls: an actor that asks for an outcome has no other way.
    let lives_since = |since| {
        !given.order.waits_for_its_owner() && gateway.host.lives_since(target.peer.session, since)
    };
    let way = match lines.way(&target.peer.address, Lane::Orders, until, lives_since).await {
        Ok(way) => way,
        Err(failure) => return target.failed(gateway, failure, false),
    };
    if way.protocol() < given.order.since() {
        // A process of a former version takes none: the order ends with its address, as ever.
        return match here(gateway, given).await {
            Ok(answer) => Ended::Answered(answer),
            Err(refusal) => Ended::Refused(refusal),
        };
    }
    let mut request = target.head("operators", given.order.name(), until);
    for field in &OF_ORDER {
        if let Some(value) = given.headers.get(field) {
            request = request.header(field, value);
        }
    }
    let request = match request.body(Body::from(given.body.clone())) {
        Ok(request) => request,
        Err(error) => return Ended::Refused(target.no_address(&error)),
    };
    // A small body leaves with its head.
    target.send(gateway, way, request, || true, until).await
}
