//! HTTP in: up to three listeners that never share a port.
//!
//! ```text
//!  public    POST /actors/{kind}/{key}/{method}      call a method; the first creates the actor
//!            GET  /actors/{kind}/{key}/calls/{id}    what became of a call; POST: for good
//!            GET  /kinds/{kind}                      what methods there are
//!  admin     GET  /admin/kinds        GET /admin/kinds/{kind}       PUT /admin/kinds/{kind}
//!            GET  /admin/actors?kind=&after=&limit=
//!            GET  /admin/actors/{kind}/{key}         DELETE: destroy
//!            POST /admin/actors/{kind}/{key}/stop | reset | sql | verify | import
//!            GET  /admin/actors/{kind}/{key}/alarms | messages       POST ../retry | drop
//!            GET  /admin/actors/{kind}/{key}/export
//!            POST /admin/verify?kind=                the whole store, reported line by line
//!            POST /admin/actors/{kind}/{key}/fault   DELETE: clear   if faults are allowed
//!            GET  /admin/nodes        POST /admin/drain   GET: how far   DELETE: end
//!  peers     POST /peers/actors/{kind}/{key}/{method}    a call that another process passes on
//!            POST /peers/operators/{kind}/{key}/{order}  an operator's order, likewise
//!            POST /peers/messages/{kind}/{key}/parcel    messages of an actor to another one
//!            POST /peers/waits/{kind}/{key}              for whom an actor here waits
//!            POST /peers/arrivals                        whether a call here is queued or begun
//!            POST /peers/refusals                        a call here gives way
//!  all       GET  /health             GET /ready
//! ```
//!
//! Names are percent-encoded path segments; a key may hold an encoded `/`.
//!
//! Invariants:
//! - Every answer that is not a success carries the [`stockade::error::Body`] of one row of the table.
//! - Nothing is read or kept without a bound: heads, bodies, connections, requests, exports.
//! - A body that breaks off is reset, never ended as if it were whole.

mod admin;
mod admission;
mod arguments;
pub(crate) mod auth;
mod between;
mod body;
mod compress;
mod content;
mod floor;
mod forward;
mod guard;
mod idle;
mod json;
mod line;
mod listen;
mod manifest;
mod nodes;
mod orders;
pub(crate) mod origin;
mod outcomes;
mod patience;
mod peer;
mod public;
mod readers;
mod reply;
mod spoken;
mod threads;
pub(crate) mod tls;
mod wellformed;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;

use stockade::error::Code;
use stockade::host::Host;
use stockade::limits::HostLimits;

use admission::Admission;
use auth::Access;
use between::Between;
use body::Bodies;
use compress::Compressor;
use guard::Guard;
use origin::Origins;
use readers::Readers;
use reply::Refusal;

use crate::peers::{Lines, PeerKeys};

pub use arguments::{WAVE_CONTENT_TYPE, WORDS_CONTENT_TYPE};
pub use json::{
    end_of_check as end_of_check_to_json, imported as imported_to_json, news as news_to_json,
    verified as verified_to_json,
};
pub use listen::Listener;
pub use threads::Threads;

/// Type of an answer that is one JSON document a line.
pub const LINES_CONTENT_TYPE: &str = "application/x-ndjson";
/// Request header of a deploy: the manifest as JSON.
pub const MANIFEST_HEADER: &str = "stockade-manifest";
/// Type of an export's or import's body: a plain SQLite file.
pub const SQLITE_CONTENT_TYPE: &str = "application/vnd.sqlite3";
/// Reply header: the generation that answered.
pub const GENERATION_HEADER: &str = "stockade-generation";
/// Reply header: the newest durable commit at the time when the answer left. Request header: the
/// commit that the answer must not be older than.
pub const TXID_HEADER: &str = "stockade-txid";
/// Reply header: the cost of the call, `name=number` pairs with `;` between them.
pub const BILL_HEADER: &str = "stockade-bill";
/// Reply header of a call: `err` if the method answered the error case of a `result`, else `ok`.
pub const RESULT_HEADER: &str = "stockade-result";

/// The users of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Callers of actors only.
    Public,
    /// Operators only.
    Admin,
    /// Other processes on the store only.
    Peer,
}

/// What the gateway needs in addition to the host.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bounds of the process.
    pub limits: HostLimits,
    /// The accepted tokens and names.
    pub access: Access,
    /// The keys with which calls are passed on to other processes. `None`: they are not passed on.
    pub forward: Option<PeerKeys>,
}

/// Shared by all listeners.
pub(crate) struct Gateway {
    host: Host,
    limits: HostLimits,
    bodies: Bodies,
    readers: Readers,
    admission: Admission,
    compressor: Compressor,
    /// Connections to other processes, if calls are passed on.
    lines: Option<Lines>,
}

/// The routes of all sides.
#[derive(Clone)]
pub struct Gateways {
    gateway: Arc<Gateway>,
    access: Access,
}

impl Gateways {
    /// Puts the gateway in front of a host.
    ///
    /// # Panics
    /// With keys of peers, outside a tokio runtime: connections to peers belong to it.
    #[must_use]
    pub fn start(host: Host, settings: Settings) -> Self {
        let Settings { limits, access, forward } = settings;
        let bodies = Bodies::new(&limits);
        let admission = Admission::new(&limits);
        let compressor = Compressor::new(&limits);
        let readers = Readers::of(&host);
        let lines = forward.map(Lines::new);
        let gateway = Gateway { host, limits, bodies, readers, admission, compressor, lines };
        let gateway = Arc::new(gateway);
        if gateway.lines.is_some() {
            gateway.host.carry_calls(Arc::new(Between(Arc::downgrade(&gateway))));
        }
        Self { gateway, access }
    }

    /// The routes of one side, for a listener at `address`, with or without TLS. Admin routes
    /// require the operators' token. Public routes require one of both tokens if there is a token
    /// for callers. Routes of peers require nothing: their listener has checked a certificate.
    pub fn router(&self, side: Side, address: SocketAddr, tls: bool) -> Router {
        let gateway = Arc::clone(&self.gateway);
        let access = self.access.clone();
        let origins = if side == Side::Public { access.origins.clone() } else { Vec::new() };
        let (loopback, scheme) =
            (auth::is_loopback(address.ip()), if tls { "https" } else { "http" });
        let origins = Origins(origins);
        let guard = Arc::new(Guard { side, access, origins, loopback, scheme, gateway });
        let (routes, elsewhere) = match side {
            Side::Public => (public::routes(), ["/admin", "/peers"].as_slice()),
            Side::Admin => {
                let routes = admin::routes().merge(nodes::routes());
                (routes, ["/actors", "/kinds", "/peers"].as_slice())
            }
            Side::Peer => (peer::calls(), ["/admin", "/actors", "/kinds"].as_slice()),
        };
        let routes = routes.route_layer(from_fn_with_state(Arc::clone(&guard), guard::admit));
        let routes = if side == Side::Peer {
            let admit = from_fn_with_state(Arc::clone(&guard), guard::admit_order);
            routes.merge(peer::orders().merge(peer::probes()).route_layer(admit))
        } else {
            routes
        };
        routes
            .fallback(async move |State(gateway): State<Arc<Gateway>>, request: Request| {
                let refusal = no_route(side, elsewhere, request.uri().path());
                refuse(&gateway, refusal, request).await
            })
            // Probes are answered however busy the host is.
            .route("/health", get(health))
            .route("/ready", get(ready))
            .method_not_allowed_fallback(
                async |State(gateway): State<Arc<Gateway>>, request: Request| {
                    let words = format!(
                        "this route does not take {}; the field `allow` of this answer has what \
                         it takes",
                        request.method()
                    );
                    refuse(&gateway, Refusal::new(Code::HttpMethod, words), request).await
                },
            )
            .layer(from_fn_with_state(guard, guard::check))
            .with_state(Arc::clone(&self.gateway))
    }
}

async fn refuse(gateway: &Gateway, refusal: Refusal, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    gateway.bodies.refuse(refusal, &parts.headers, body).await
}

fn no_route(side: Side, elsewhere: &[&str], path: &str) -> Refusal {
    let is_elsewhere = elsewhere.iter().any(|prefix| {
        path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    });
    match (is_elsewhere, side) {
        (true, Side::Public) => Refusal::new(
            Code::WrongListener,
            "this listener serves actors only; /admin is on the operators' listener",
        ),
        (true, Side::Peer) => Refusal::new(
            Code::WrongListener,
            "this listener serves other processes only; calls go to the public listener",
        ),
        (true, Side::Admin) => Refusal::new(
            Code::WrongListener,
            "this listener serves operators only; calls go to the public listener",
        ),
        (false, Side::Public) if path.starts_with("/actors/") => Refusal::new(
            Code::NoRoute,
            "calls go to /actors/{kind}/{key}/{method}; a '/' in a key is written %2F",
        ),
        (false, _) => Refusal::new(Code::NoRoute, format!("no route {path:?}")),
    }
}

/// The process answers.
async fn health() -> Response {
    axum::Json(json!({ "status": "ok" })).into_response()
}

/// The host takes calls. So does a host whose store is full, since it still reads; its answer says
/// that it does not write.
async fn ready(State(gateway): State<Arc<Gateway>>) -> Response {
    let host = &gateway.host;
    let (ready, full) = (host.ready(), host.full());
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut body = json!({
        "ready": ready,
        "writes": ready && full.is_none(),
        "faults_allowed": host.allows_faults(),
    });
    if let Some(failure) = host.failure() {
        let (why, cause) = (failure.cause.as_str(), failure.cause.to_string());
        body["failed"] = json!({ "file": failure.file, "why": why, "cause": cause });
    }
    if let Some(full) = full {
        body["full"] = json!({ "path": full.path, "free_bytes": full.free_bytes });
    }
    (status, axum::Json(body)).into_response()
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
