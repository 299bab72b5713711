//! Pages of other sites: which of them may call actors, and what the answer has to tell the
//! browser.
//!
//! Invariants:
//! - A preflight is answered before the token is checked, because no browser sends a token with a
//!   preflight, and only for a listed origin.
//! - Every other answer to a listed origin, a refusal as well, allows the page to read it.

use std::str::FromStr;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

use super::{BILL_HEADER, GENERATION_HEADER, RESULT_HEADER, TXID_HEADER};
use stockade::limits::PREFLIGHT_AGE_S;

/// An origin as browsers send it: `https://app.example`, with a port unless it is the scheme's
/// default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(HeaderValue);

/// A name by which a proxy calls this host: `chat.example.org`, or with the one port that is
/// accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostName(Authority);

/// The text is no origin, or no name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// An origin is compared with the texts that browsers send.
    #[error(
        "{0:?} is no origin: write it as browsers do, https://app.example or \
         http://localhost:5173, each of its own, without a path"
    )]
    Origin(String),
    /// A name is compared with `Host`.
    #[error("{0:?} is no name of a host: write chat.example.org or chat.example.org:8443")]
    Host(String),
}

impl FromStr for Origin {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let invalid = || InvalidName::Origin(text.to_owned());
        let uri: Uri = text.parse().map_err(|_| invalid())?;
        let (Some(scheme @ ("http" | "https")), Some(authority)) =
            (uri.scheme_str(), uri.authority())
        else {
            return Err(invalid());
        };
        let usual = if scheme == "https" { 443 } else { 80 };
        // Browsers leave out the default port, and write lower case.
        let port = authority.port_u16().filter(|port| *port != usual);
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        let spelled = format!("{scheme}://{}{port}", authority.host().to_ascii_lowercase());
        let has_more = uri.path_and_query().is_some_and(|rest| rest.as_str() != "/");
        if has_more || authority.as_str().contains(['@', '*']) {
            return Err(invalid());
        }
        HeaderValue::try_from(spelled).map(Self).map_err(|_| invalid())
    }
}

impl FromStr for HostName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let name: Result<Authority, _> = text.parse();
        match name {
            Ok(name) if !text.contains(['@', '*']) => Ok(Self(name)),
            _ => Err(InvalidName::Host(text.to_owned())),
        }
    }
}

impl HostName {
    /// Whether `Host` is this name.
    pub(super) fn is(&self, host: &Authority) -> bool {
        let same = self.0.host().eq_ignore_ascii_case(host.host());
        same && self.0.port_u16().is_none_or(|port| host.port_u16() == Some(port))
    }
}

/// Which origins may call a listener.
pub(super) struct Origins(pub(super) Vec<Origin>);

impl Origins {
    /// The request's origin, if it is listed.
    pub(super) fn listed(&self, headers: &HeaderMap) -> Option<&HeaderValue> {
        let origin = headers.get(header::ORIGIN)?;
        self.0.iter().map(|Origin(listed)| listed).find(|listed| *listed == origin)
    }

    /// Adds to an answer what the browser of a page needs; `listed` is the request's listed origin.
    pub(super) fn mark(&self, listed: Option<&HeaderValue>, response: &mut Response) {
        if self.0.is_empty() {
            return;
        }
        let headers = response.headers_mut();
        // Also without an origin: a cache must not give that answer to a page.
        headers.append(header::VARY, HeaderValue::from_static("origin"));
        let Some(origin) = listed else { return };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        let readable = [GENERATION_HEADER, TXID_HEADER, RESULT_HEADER, BILL_HEADER, "retry-after"];
        let readable = HeaderValue::try_from(readable.join(", "));
        let readable = readable.expect("BUG: names of fields are a field's value");
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, readable);
    }
}

/// Whether this is a preflight: the browser asks what a page may send.
pub(super) fn is_preflight(parts: &Parts) -> bool {
    parts.method == Method::OPTIONS
        && parts.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
        && parts.headers.contains_key(header::ORIGIN)
}

/// What a listed page may send.
pub(super) fn preflight() -> Response {
    let fixed = |text| HeaderValue::from_static(text);
    let headers: [(HeaderName, HeaderValue); 4] = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, fixed("GET, POST")),
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            fixed(
                "authorization, content-type, accept, idempotency-key, stockade-txid, \
                 stockade-timeout-ms",
            ),
        ),
        (header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from(PREFLIGHT_AGE_S)),
        (header::VARY, fixed("access-control-request-method, access-control-request-headers")),
    ];
    (StatusCode::NO_CONTENT, headers, Body::empty()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_spelled_as_browsers_do() {
        for (text, spelled) in [
            ("https://app.example", "https://app.example"),
            ("HTTPS://App.Example:443/", "https://app.example"),
            ("http://localhost:5173", "http://localhost:5173"),
            ("http://[::1]:80", "http://[::1]"),
        ] {
            assert_eq!(text.parse::<Origin>().expect(text).0, spelled, "{text}");
        }
        for text in [
            "*",
            "null",
            "",
            "app.example",
            "https://*.example",
            "https://a/b",
            "https://a/?b",
            "ftp://a",
            "https://u@a",
            "https://",
        ] {
            assert!(text.parse::<Origin>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_name_of_a_proxy_has_any_port_unless_it_says_one() {
        let is = |listed: &str, host: &str| {
            let listed: HostName = listed.parse().expect("a name");
            listed.is(&host.parse().expect("an authority"))
        };
        assert!(is("chat.example", "Chat.Example") && is("chat.example", "chat.example:8443"));
        assert!(is("chat.example:8443", "chat.example:8443"));
        assert!(!is("chat.example:8443", "chat.example"));
        assert!(
            !is("chat.example", "evil.chat.example") && !is("chat.example", "chat.example.evil")
        );
        for text in ["", "*.example", "https://a", "a/b", "u@a"] {
            assert!(text.parse::<HostName>().is_err(), "{text}");
        }
    }
}
