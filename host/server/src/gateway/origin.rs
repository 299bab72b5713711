//! Pages of other sites: which of them may call, and what a browser has to be told for that.
//!
//! Invariants:
//! - A preflight is answered before the token is looked at, which no browser sends with it, and only
//!   to an origin that is listed.
//! - Every other answer to a listed origin says so, refusals as well: a page may read why.

use std::str::FromStr;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

use super::{BILL_HEADER, GENERATION_HEADER, RESULT_HEADER, TXID_HEADER};
use stockade::limits::PREFLIGHT_AGE_S;

/// An origin as browsers send it: `https://app.example`, with a port unless it is the usual one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(HeaderValue);

/// A name by which a proxy calls this host: `chat.example.org`, or with the only port that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostName(Authority);

/// A text is no origin, or no name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// It has to be compared with what browsers send.
    #[error(
        "{0:?} is no origin: write it as browsers do, https://app.example or \
         http://localhost:5173, each of its own, without a path"
    )]
    Origin(String),
    /// It has to be compared with `Host`.
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
        // Browsers leave out the usual port, and write everything small.
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
    /// Whether `Host` names it.
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

    /// Adds to an answer what the browser of a page needs; `listed` is what was found in its request.
    pub(super) fn mark(&self, listed: Option<&HeaderValue>, response: &mut Response) {
        if self.0.is_empty() {
            return;
        }
        let headers = response.headers_mut();
        // Also without an origin: a cache must not hand that answer to a page.
        headers.append(header::VARY, HeaderValue::from_static("origin"));
        let Some(origin) = listed else { return };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        let readable = [GENERATION_HEADER, TXID_HEADER, RESULT_HEADER, BILL_HEADER, "retry-after"];
        let readable = HeaderValue::try_from(readable.join(", "));
        let readable = readable.expect("BUG: names of fields are a field's value");
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, readable);
    }
}

/// Whether a browser asks what a page may send.
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
        (header::ACCESS_CONTROL_ALLOW_HEADERS, fixed("authorization, content-type, accept")),
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
