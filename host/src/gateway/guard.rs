//! What a request must pass before any route sees it.
//!
//! On loopback the danger is the user's own browser: a page of another site can make it send
//! requests here, and a name that its owner points at 127.0.0.1 ("DNS rebinding") makes them look
//! same-site. So there the `Host` must name this machine, and an `Origin` must be that host.
//! Beyond loopback the token stands in the way, which no browser sends by itself.

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;

use super::{Gateway, Side};
use super::auth::{Token, is_loopback};
use super::reply::Refusal;
use super::wellformed;
use crate::error::Code;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The rules of one listener.
pub(super) struct Guard {
    /// Asked of everyone if set.
    pub(super) token: Option<Token>,
    /// Whether only this machine reaches the listener.
    pub(super) loopback: bool,
    /// Whom it serves.
    pub(super) side: Side,
    pub(super) gateway: Arc<Gateway>,
}

/// Refuses what comes from foreign pages, except for probes from strangers, and what may be read in
/// two ways.
pub(super) async fn check(
    State(guard): State<Arc<Guard>>,
    request: Request,
    next: Next,
) -> Response {
    let (parts, body) = request.into_parts();
    let checked = guard
        .check_origin(&parts)
        .and_then(|()| guard.check_token(&parts))
        .and_then(|()| wellformed::check(&parts));
    match checked {
        Ok(()) => next.run(Request::from_parts(parts, body)).await,
        Err(refusal) => refusal.into_response(),
    }
}

/// Holds room for the request while a route works on it. A panic of ours is answered like any other
/// failure of the host, and the connection lives on.
pub(super) async fn admit(
    State(guard): State<Arc<Guard>>,
    request: Request,
    next: Next,
) -> Response {
    match guard.gateway.admission.request(guard.side) {
        Ok(_room) => {
            let answered = AssertUnwindSafe(next.run(request)).catch_unwind().await;
            answered.unwrap_or_else(|_| {
                tracing::error!("a request's handler panicked");
                Refusal::new(Code::Internal, "").into_response()
            })
        }
        Err(refusal) => refusal.into_response(),
    }
}

impl Guard {
    fn check_origin(&self, parts: &Parts) -> Result<(), Refusal> {
        if !self.loopback {
            return Ok(());
        }
        let host = named_host(&parts.uri, &parts.headers).ok_or_else(|| {
            Refusal::new(Code::ForeignOrigin, "the request names no host, or not a valid one")
        })?;
        if !names_this_machine(&host) {
            return Err(Refusal::new(
                Code::ForeignOrigin,
                format!("this listener is for this machine; {:?} is another name", host.host()),
            ));
        }
        let foreign = match parts.headers.get(header::ORIGIN) {
            Some(origin) => !is_same_origin(origin.as_bytes(), &host),
            None => parts
                .headers
                .get(SEC_FETCH_SITE)
                .is_some_and(|site| !matches!(site.as_bytes(), b"same-origin" | b"none")),
        };
        if foreign {
            return Err(Refusal::new(
                Code::ForeignOrigin,
                "pages of other sites may not talk to this host",
            ));
        }
        Ok(())
    }

    fn check_token(&self, parts: &Parts) -> Result<(), Refusal> {
        let Some(token) = &self.token else { return Ok(()) };
        // Probes of load balancers carry no secrets and learn none.
        if matches!(parts.uri.path(), "/health" | "/ready") {
            return Ok(());
        }
        match bearer(&parts.headers) {
            Some(presented) if token.matches(presented) => Ok(()),
            Some(_) => Err(Refusal::new(Code::Unauthorized, "the token is not this host's")),
            None => Err(Refusal::new(
                Code::Unauthorized,
                "this listener asks for a token: send `Authorization: Bearer ...`",
            )),
        }
    }
}

fn named_host(uri: &Uri, headers: &HeaderMap) -> Option<Authority> {
    let mut named = headers.get_all(header::HOST).iter();
    let host = Authority::try_from(named.next()?.as_bytes()).ok()?;
    // Two answers to "which host" are none; a target with its own authority must agree.
    let agrees = uri.authority().is_none_or(|target| *target == host);
    (named.next().is_none() && agrees && !host.as_str().contains('@')).then_some(host)
}

fn names_this_machine(host: &Authority) -> bool {
    let name = host.host();
    let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok_and(is_loopback)
}

fn is_same_origin(origin: &[u8], host: &Authority) -> bool {
    Uri::try_from(origin)
        .is_ok_and(|origin| origin.scheme_str() == Some("http") && origin.authority() == Some(host))
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
        assert!(is_same_origin(b"http://127.0.0.1:7070", &here));
        for origin in [
            "http://127.0.0.1:8080",
            "https://127.0.0.1:7070",
            "http://localhost:7070",
            "http://evil.example",
            "null",
            "",
        ] {
            assert!(!is_same_origin(origin.as_bytes(), &here), "{origin}");
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
