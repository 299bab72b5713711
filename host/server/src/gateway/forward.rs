//! Requests for actors that may run in another process: calls, messages, and orders of operators.
//!
//! ```text
//!  calls ───┐                           ┌── attempt   one request to another process
//!  parcels ─┼── place? here, or there ──┼── answers   what its answer says
//!  orders ──┘                           └── tries     whether there is another attempt
//! ```
//! Invariants:
//! - A request is sent again only if nothing of it can have reached the actor: by the advice of the
//!   error table, or because the whole request had not left.
//! - A request that was passed on is not passed on again.
//! - Every wait ends with the caller's time.

mod answers;
mod attempt;
mod calls;
mod orders;
mod parcels;
mod tries;

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName};

use super::reply::Refusal;
use crate::peers::{TIMEOUT_HEADER, read_timeout};
use stockade::error::Code;

pub(super) use attempt::unanswered;
pub(super) use calls::{Asked, call};
pub(super) use orders::{Given, order};
pub(super) use parcels::{PARCEL, parcel};

/// How long a caller waits, if it says so.
pub(super) fn time_of(headers: &HeaderMap) -> Result<Option<Duration>, Refusal> {
    read_timeout(headers).map_err(|()| {
        let field = HeaderName::from_static(TIMEOUT_HEADER);
        Refusal::of_field(Code::Malformed, &field, "it is one number of milliseconds")
    })
}
