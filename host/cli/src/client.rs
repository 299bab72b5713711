//! Talks to a host over HTTP.

use std::io::Read;
use std::net::ToSocketAddrs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value as Json;
use ureq::Agent;
use ureq::http::{self, HeaderMap, Method, Request, Response};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

use super::failure::Failure;
use stockade::error::Body;
use stockade_server::is_loopback;

/// The longest time for a connection to be made. 5 s: after that no server is there.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// The most bytes of an answer that are kept in memory. A host's own limit on replies is far below.
const ANSWER_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// One listener of a host.
pub(super) struct Client {
    agent: Agent,
    scheme: &'static str,
    address: String,
    token: Option<String>,
}

/// A complete answer.
pub(super) struct Answer {
    headers: HeaderMap,
    bytes: Vec<u8>,
    address: String,
}

impl Client {
    /// A client of `host:port`, which may have `http://` or `https://` in front. With `ca_file`,
    /// the client trusts the authorities in that file instead of the usual ones.
    pub(super) fn new(
        address: &str,
        token: Option<String>,
        ca_file: Option<&Path>,
    ) -> Result<Self, Failure> {
        let (scheme, authority) = parts(address);
        let parsed = authority.parse::<http::uri::Authority>();
        if parsed.is_err() || parsed.is_ok_and(|parsed| parsed.port_u16().is_none()) {
            return Err(Failure::usage(format!("{address:?} is no address: write host:port")));
        }
        let roots = match ca_file {
            Some(path) => roots(path)?,
            None => RootCerts::WebPki,
        };
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            // A proxy must not stand between an operator and a host.
            .proxy(None)
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .timeout_connect(Some(CONNECT_MAX))
            .user_agent(concat!("stockade/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Self { agent: config.new_agent(), scheme, address: authority.to_owned(), token })
    }

    pub(super) fn get(&self, path: &str) -> Result<Answer, Failure> {
        self.answer(self.stream(Method::GET, path, &[], None)?)
    }

    pub(super) fn delete(&self, path: &str) -> Result<Answer, Failure> {
        self.answer(self.stream(Method::DELETE, path, &[], None)?)
    }

    pub(super) fn post(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer, Failure> {
        self.answer(self.stream(Method::POST, path, headers, Some(body))?)
    }

    pub(super) fn put(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer, Failure> {
        self.answer(self.stream(Method::PUT, path, headers, Some(body))?)
    }

    /// Sends JSON and reads JSON.
    pub(super) fn post_json(&self, path: &str, document: &Json) -> Result<Answer, Failure> {
        let body = document.to_string();
        self.post(path, &[("content-type", "application/json")], body.as_bytes())
    }

    /// An answer of any length, read as it arrives. Errors of the host are `Err`.
    pub(super) fn download(&self, path: &str) -> Result<Response<ureq::Body>, Failure> {
        self.stream(Method::GET, path, &[], None)
    }

    /// Like `download`, for a request that changes something.
    pub(super) fn lines(&self, path: &str) -> Result<Response<ureq::Body>, Failure> {
        self.stream(Method::POST, path, &[], Some(&[]))
    }

    /// Sends a body of known length while it is read. A refusal that needs no body arrives before
    /// the body is sent.
    pub(super) fn upload(
        &self,
        path: &str,
        content_type: &str,
        length: u64,
        body: &mut (dyn Read + Send),
    ) -> Result<Answer, Failure> {
        let length = length.to_string();
        let headers = [
            ("content-type", content_type),
            ("content-length", length.as_str()),
            ("expect", "100-continue"),
        ];
        let mut body = body;
        let request = self.request(Method::POST, path, &headers);
        let request = request.body(ureq::SendBody::from_reader(&mut body)).map_err(wrong)?;
        self.answer(self.checked(self.agent.run(request))?)
    }

    /// The address, for errors about answers that came from it.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    fn stream(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Result<Response<ureq::Body>, Failure> {
        let request = self.request(method, path, headers);
        let response = match body {
            Some(body) => self.agent.run(request.body(body).map_err(wrong)?),
            None => self.agent.run(request.body(()).map_err(wrong)?),
        };
        self.checked(response)
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
    ) -> http::request::Builder {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}://{}{path}", self.scheme, self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        request
    }

    /// Errors of the host are `Err`.
    fn checked(
        &self,
        response: Result<Response<ureq::Body>, ureq::Error>,
    ) -> Result<Response<ureq::Body>, Failure> {
        let mut response = response.map_err(|error| self.failure(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let bytes = self.read(&mut response)?;
        match serde_json::from_slice::<Body>(&bytes) {
            Ok(body) => Err(Failure::answered(with_hint(body))),
            Err(_) => Err(Failure::strange_answer(&self.address, &status)),
        }
    }

    fn answer(&self, mut response: Response<ureq::Body>) -> Result<Answer, Failure> {
        let bytes = self.read(&mut response)?;
        let headers = std::mem::take(response.headers_mut());
        Ok(Answer { headers, bytes, address: self.address.clone() })
    }

    fn read(&self, response: &mut Response<ureq::Body>) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        let reader = response.body_mut().as_reader();
        reader
            .take(ANSWER_BYTES_MAX)
            .read_to_end(&mut bytes)
            .map_err(|error| Failure::broke_off(&self.address, &error))?;
        Ok(bytes)
    }

    fn failure(&self, error: &ureq::Error) -> Failure {
        use std::io::ErrorKind;
        match error {
            ureq::Error::HostNotFound
            | ureq::Error::ConnectionFailed
            | ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => {
                Failure::unreachable(&self.address, error)
            }
            ureq::Error::Io(io)
                if matches!(
                    io.kind(),
                    ErrorKind::ConnectionRefused
                        | ErrorKind::NotFound
                        | ErrorKind::AddrNotAvailable
                        | ErrorKind::HostUnreachable
                        | ErrorKind::NetworkUnreachable
                ) =>
            {
                Failure::unreachable(&self.address, io)
            }
            ureq::Error::Protocol(_) if self.scheme == "http" => {
                let words = format!("{error}; if it speaks TLS, write https://{}", self.address);
                Failure::strange_answer(&self.address, &words)
            }
            // Nothing had been sent yet.
            ureq::Error::Io(io) if untrusted(io).is_some() => {
                Failure::untrusted(&self.address, &untrusted(io).unwrap_or_default())
            }
            other => match self.unknown_name() {
                Some(why) => Failure::unreachable(&self.address, &why),
                None => Failure::broke_off(&self.address, other),
            },
        }
    }

    /// Why the address names no machine, if that is the cause. The system's resolver has no error
    /// kind for this case, so the name is resolved once more.
    fn unknown_name(&self) -> Option<std::io::Error> {
        self.address.to_socket_addrs().err()
    }
}

/// Scheme and authority of an address.
fn parts(address: &str) -> (&'static str, &str) {
    let (scheme, authority) = match address.strip_prefix("https://") {
        Some(authority) => ("https", authority),
        None => ("http", address.strip_prefix("http://").unwrap_or(address)),
    };
    (scheme, authority.trim_end_matches('/'))
}

/// Whether an address is on this machine, judged by its text.
pub(super) fn is_here(address: &str) -> bool {
    let Ok(authority) = parts(address).1.parse::<http::uri::Authority>() else { return false };
    let host = authority.host();
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost") || bare.parse().is_ok_and(is_loopback)
}

/// The certificates in a file.
fn roots(path: &Path) -> Result<RootCerts, Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::file("read certificates from", path, &error.to_string())
    };
    let pem = std::fs::read(path).map_err(|error| failed(&error))?;
    let mut found = Vec::new();
    for item in parse_pem(&pem) {
        if let PemItem::Certificate(certificate) = item.map_err(|error| failed(&error))? {
            found.push(certificate);
        }
    }
    if found.is_empty() {
        return Err(failed(&"there is none in it"));
    }
    Ok(RootCerts::new_with_certs(&found))
}

/// Why the server's certificate is not trusted, if that is the cause.
fn untrusted(error: &std::io::Error) -> Option<String> {
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::InvalidCertificate(error) => Some(error.to_string()),
        _ => None,
    }
}

fn wrong(error: http::Error) -> Failure {
    Failure::usage(format!("cannot be sent: {error}"))
}

/// Translates the host's message about HTTP into the words of the command line.
fn with_hint(mut body: Body) -> Body {
    let operators = body.details["whose"] == "operators";
    let hint = match (body.group.as_str(), body.code.as_str()) {
        ("request", "unauthorized") if operators => {
            "; give it with --admin-token-file FILE or STOCKADE_ADMIN_TOKEN, or set \
             STOCKADE_DATA_DIR to the data directory of `stockade serve`"
        }
        ("request", "unauthorized") => "; give it with --token-file FILE or STOCKADE_TOKEN",
        ("request", "wrong-listener") => {
            "; --server is the address for calls, --admin the one for everything else"
        }
        _ => return body,
    };
    body.message.push_str(hint);
    body
}

impl Answer {
    /// The body as JSON.
    pub(super) fn json(&self) -> Result<Json, Failure> {
        serde_json::from_slice(&self.bytes)
            .map_err(|error| Failure::strange_answer(&self.address, &error))
    }

    /// The body as text.
    pub(super) fn text(self) -> Result<String, Failure> {
        String::from_utf8(self.bytes)
            .map_err(|error| Failure::strange_answer(&self.address, &error))
    }

    /// The body as it came.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// The text of a header, or an empty text.
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_without_a_server_is_unreachable() {
        let client = Client::new("http://127.0.0.1:1/", None, None).expect("an address");
        let failure = client.get("/health").map(|_| ()).expect_err("nobody there");
        assert_eq!(failure.body.code, "unreachable");
        assert!(failure.body.message.contains("stockade serve"), "{}", failure.body.message);
    }

    #[test]
    fn a_name_that_nobody_has_is_unreachable() {
        let client = Client::new("no-such-host.invalid:7070", None, None).expect("an address");
        let failure = client.get("/health").map(|_| ()).expect_err("nobody there");
        assert_eq!(failure.body.code, "unreachable");
    }

    #[test]
    fn what_is_on_this_machine_is_seen_by_its_address() {
        for address in ["127.0.0.1:7071", "http://localhost:1/", "https://[::1]:7071"] {
            assert!(is_here(address), "{address}");
        }
        for address in ["10.0.0.1:7071", "localhost.example:1", "https://127.0.0.1.example:1", ""] {
            assert!(!is_here(address), "{address}");
        }
    }

    #[test]
    fn a_file_without_certificates_is_told() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("ca.pem");
        for text in [None, Some(""), Some("no PEM")] {
            if let Some(text) = text {
                std::fs::write(&path, text).expect("written");
            }
            let failure = Client::new("https://a:1", None, Some(&path)).map(|_| ());
            assert_eq!(failure.expect_err("no roots").body.code, "file");
        }
    }

    #[test]
    fn addresses_are_checked_before_anything_is_sent() {
        for address in ["", "a b", "host:port/path", "localhost"] {
            let failure = Client::new(address, None, None).map(|_| ()).expect_err(address);
            assert_eq!(failure.body.code, "usage");
        }
    }
}
