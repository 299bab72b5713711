//! The checks that a request must pass before any route sees it.
//!
//! On loopback the danger is the user's own browser: a page of another site can make the browser
//! send requests here, and a name that its owner points at 127.0.0.1 ("DNS rebinding") makes them
//! look same-site. So on loopback the `Host` must name this machine or a listed proxy, and an
//! `Origin` must be that host or be listed. Beyond loopback a token is required, which no browser
//! sends on its own.

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, Uri, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;

use super::auth::{Access, is_loopback};
use super::origin::{Origins, is_preflight, preflight};
use super::reply::Refusal;
use super::wellformed;
use super::{Gateway, Side, compress};
use stockade::error::Code;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// For whom the id of a call counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Principal {
    /// With the token of callers, or without any where none is asked for.
    Caller,
    /// With the token of operators.
    Operator,
}

impl Principal {
    /// Its name, as records of calls have it. Stable.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Operator => "operator",
        }
    }
}

/// The rules of one listener.
pub(super) struct Guard {
    pub(super) side: Side,
    pub(super) access: Access,
    /// The sites whose pages may call. Operators have none.
    pub(super) origins: Origins,
    /// Whether only this machine reaches the listener.
    pub(super) loopback: bool,
    /// What the listener speaks: `http` or `https`.
    pub(super) scheme: &'static str,
    pub(super) gateway: Arc<Gateway>,
}

/// Refuses requests of foreign pages, requests without the right token (probes need none), and
/// requests that can be read in two ways.
pub(super) async fn check(
    State(guard): State<Arc<Guard>>,
    request: Request,
    next: Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    let listed = guard.origins.listed(&parts.headers);
    let checked = guard.check_origin(&parts, listed.is_some()).and_then(|()| {
        if is_preflight(&parts) {
            return Ok(None);
        }
        let principal = guard.check_token(&parts)?;
        wellformed::check(&parts).map(|()| Some(principal))
    });
    let mut response = match checked {
        Ok(None) => preflight(),
        Ok(Some(principal)) => {
            parts.extensions.insert(principal);
            next.run(Request::from_parts(parts, body)).await
        }
        Err(refusal) => guard.gateway.bodies.refuse(refusal, &parts.headers, body).await,
    };
    guard.origins.mark(listed, &mut response);
    response
}

/// Holds room for the request while a route works on it. A panic in a route is answered like any
/// other failure of the host, and the connection stays open.
pub(super) async fn admit(
    State(guard): State<Arc<Guard>>,
    request: Request,
    next: Next,
) -> Response {
    let room = guard.gateway.admission.request(guard.side);
    within(&guard, room, request, next).await
}

/// The same for an operator's order that another process passes on.
pub(super) async fn admit_order(
    State(guard): State<Arc<Guard>>,
    request: Request,
    next: Next,
) -> Response {
    let room = guard.gateway.admission.order();
    within(&guard, room, request, next).await
}

async fn within(
    guard: &Guard,
    room: Result<OwnedSemaphorePermit, Refusal>,
    request: Request,
    next: Next,
) -> Response {
    let takes_gzip = compress::takes_gzip(request.headers());
    match room {
        Ok(_room) => {
            let answered = AssertUnwindSafe(next.run(request)).catch_unwind().await;
            let answered = answered.unwrap_or_else(|_| {
                tracing::error!("a request's handler panicked");
                Refusal::new(Code::Internal, "").closing().into_response()
            });
            guard.gateway.compressor.answer(answered, takes_gzip).await
        }
        Err(refusal) => refusal.into_response(),
    }
}

impl Guard {
    fn check_origin(&self, parts: &Parts, listed: bool) -> Result<(), Refusal> {
        // The listener has checked a certificate that no browser has.
        if self.side == Side::Peer {
            return Ok(());
        }
        let foreign = |message: String| Refusal::new(Code::ForeignOrigin, message);
        let page = || {
            let origin = parts.headers.get(header::ORIGIN);
            let origin = origin.map_or("", |origin| origin.to_str().unwrap_or_default());
            let origin: String = origin.chars().take(80).collect();
            let way = match self.side {
                Side::Public => "; `serve --allow-origin` lists those that may",
                Side::Admin | Side::Peer => "",
            };
            foreign(format!("pages of other sites ({origin}) may not talk to this host{way}"))
        };
        if !self.loopback {
            let refused = is_preflight(parts) && !listed;
            return if refused { Err(page()) } else { Ok(()) };
        }
        let host = named_host(parts)
            .ok_or_else(|| foreign("the request names no host, or not a valid one".to_owned()))?;
        let proxied = self.access.hosts.iter().any(|name| name.is(&host));
        if !proxied && !names_this_machine(&host) {
            let name = host.host();
            return Err(foreign(format!(
                "this listener is for this machine; {name:?} is another name (`serve \
                 --allow-host` lists those of a proxy)"
            )));
        }
        let allowed = listed
            || match parts.headers.get(header::ORIGIN) {
                // Whether the proxy speaks http or https is not known here.
                Some(origin) => is_same_origin(
                    origin.as_bytes(),
                    &host,
                    if proxied { None } else { Some(self.scheme) },
                ),
                None => parts
                    .headers
                    .get(SEC_FETCH_SITE)
                    .is_none_or(|site| matches!(site.as_bytes(), b"same-origin" | b"none")),
            };
        // A page of the host itself sends no preflight.
        if allowed && (listed || !is_preflight(parts)) { Ok(()) } else { Err(page()) }
    }

    /// Who asks, if it may.
    fn check_token(&self, parts: &Parts) -> Result<Principal, Refusal> {
        let Access { callers, operators, operators_file, .. } = &self.access;
        let is_open = self.side == Side::Public && callers.is_none() && self.loopback;
        if is_open || self.side == Side::Peer {
            return Ok(Principal::Caller);
        }
        // Probes of load balancers carry no secrets and get none.
        if matches!(parts.uri.path(), "/health" | "/ready") {
            return Ok(Principal::Caller);
        }
        let presented = bearer(&parts.headers);
        if presented.is_some_and(|presented| operators.matches(presented)) {
            return Ok(Principal::Operator);
        }
        let of_caller = presented.is_some_and(|presented| {
            callers.as_ref().is_some_and(|token| token.matches(presented))
        });
        match (self.side, of_caller) {
            (Side::Public | Side::Peer, true) => Ok(Principal::Caller),
            (Side::Admin, true) => Err(Refusal::new(
                Code::Forbidden,
                "this is the token of callers; this listener asks for that of operators",
            )),
            (side, false) => {
                let whose = if side == Side::Admin { "operators" } else { "callers" };
                let found =
                    if presented.is_some() { "the token is another one" } else { "no token" };
                // A local stranger gets the name of a file that it cannot read.
                let place =
                    operators_file.as_ref().filter(|_| side == Side::Admin && self.loopback);
                let place = place.map(|path| format!(", the content of {}", path.display()));
                let place = place.unwrap_or_default();
                let words = format!(
                    "{found}; this listener asks for that of {whose}: send `Authorization: Bearer \
                     ...`{place}"
                );
                Err(Refusal::new(Code::Unauthorized, words).with(json!({ "whose": whose })))
            }
        }
    }
}

/// The host that a request is meant for. In HTTP/2 the target names it.
fn named_host(Parts { uri, headers, version, .. }: &Parts) -> Option<Authority> {
    let mut named = headers.get_all(header::HOST).iter();
    let host = match named.next() {
        Some(host) => Authority::try_from(host.as_bytes()).ok()?,
        None if *version == Version::HTTP_2 => uri.authority()?.clone(),
        None => return None,
    };
    // Two different answers to "which host" are no answer; a target with an authority of its own
    // must agree with the header.
    let agrees = uri.authority().is_none_or(|target| *target == host);
    (named.next().is_none() && agrees && !host.as_str().contains('@')).then_some(host)
}

fn names_this_machine(host: &Authority) -> bool {
    let name = host.host();
    let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok_and(is_loopback)
}

fn is_same_origin(origin: &[u8], host: &Authority, scheme: Option<&str>) -> bool {
    Uri::try_from(origin).is_ok_and(|origin| {
        origin.scheme_str().is_some_and(|found| scheme.is_none_or(|scheme| scheme == found))
            && origin.authority() == Some(host)
    })
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Authority {
        text.parse().expect("authority")
    }

    #[test]
    fn only_names_of_this_machine_are_let_in() {
        for name in ["localhost", "LOCALHOST:7070", "127.0.0.1:7070", "127.1.2.3", "[::1]:7070"] {
            assert!(names_this_machine(&host(name)), "{name}");
        }
        for name in ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "10.0.0.1"]
        {
            assert!(!names_this_machine(&host(name)), "{name}");
        }
    }

    #[test]
    fn an_origin_must_be_the_host_itself() {
        let here = host("127.0.0.1:7070");
        let http = Some("http");
        assert!(is_same_origin(b"http://127.0.0.1:7070", &here, http));
        assert!(is_same_origin(b"https://127.0.0.1:7070", &here, Some("https")));
        assert!(is_same_origin(b"https://127.0.0.1:7070", &here, None));
        for origin in [
            "http://127.0.0.1:8080",
            "https://127.0.0.1:7070",
            "http://localhost:7070",
            "http://evil.example",
            "null",
            "",
        ] {
            assert!(!is_same_origin(origin.as_bytes(), &here, http), "{origin}");
        }
    }

    #[test]
    fn a_bearer_token_is_found_in_any_case() {
        let mut headers = HeaderMap::new();
        assert_eq!(bearer(&headers), None);
        headers.insert(header::AUTHORIZATION, "bEARER  secret ".parse().expect("header"));
        assert_eq!(bearer(&headers), Some(b"secret".as_slice()));
        headers.insert(header::AUTHORIZATION, "Basic c2VjcmV0".parse().expect("header"));
        assert_eq!(bearer(&headers), None);
    }
}
