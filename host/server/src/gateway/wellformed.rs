//! Requests that can be read in two ways are refused before any route sees them: the host would
//! have to guess the meaning, and a guess may name another actor or other arguments.

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, header};

use super::MANIFEST_HEADER;
use super::line::Flaw;
use super::reply::Refusal;
use stockade::error::Code;
use stockade::limits::{HEAD_BYTES_MAX, URI_BYTES_MAX};

/// Fields that have one meaning: with two values, which one counts is undefined.
static SINGLE: [HeaderName; 7] = [
    header::AUTHORIZATION,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::HOST,
    header::ORIGIN,
    header::TRANSFER_ENCODING,
    HeaderName::from_static(MANIFEST_HEADER),
];

/// Whether path and headers have one meaning.
pub(super) fn check(parts: &Parts) -> Result<(), Refusal> {
    let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
    if target.len() > URI_BYTES_MAX {
        let words = format!("path and query have {} bytes, over {URI_BYTES_MAX}", target.len());
        return Err(Refusal::new(Code::UriTooLong, words));
    }
    if !is_percent_encoded(target.as_bytes()) {
        let words = "the path has a % without two hexadecimal digits; % itself is written %25";
        return Err(Refusal::new(Code::Malformed, words));
    }
    check_lengths(parts)?;
    check_body_headers(&parts.headers)
}

fn is_percent_encoded(target: &[u8]) -> bool {
    let mut rest = target.iter();
    while let Some(byte) = rest.next() {
        let encoded = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_hexdigit);
        if *byte == b'%' && !(encoded(rest.next()) && encoded(rest.next())) {
            return false;
        }
    }
    true
}

/// All servers on the way must agree where a body ends; if the request allows two answers, the
/// connection is read no further.
fn check_lengths(parts: &Parts) -> Result<(), Refusal> {
    match parts.extensions.get::<Flaw>() {
        Some(Flaw::BothLengths) => {
            let words = "a request has this or `transfer-encoding`, not both";
            let refusal = Refusal::of_field(Code::Malformed, &header::CONTENT_LENGTH, words);
            return Err(refusal.closing());
        }
        Some(Flaw::TooLarge) => {
            let words = format!("the head of the request has more than {HEAD_BYTES_MAX} bytes");
            return Err(Refusal::new(Code::HeadTooLarge, words));
        }
        None => {}
    }
    let coding = parts.headers.get(header::TRANSFER_ENCODING);
    if coding.is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"chunked")) {
        let words = "only `chunked` is taken";
        let refusal = Refusal::of_field(Code::Malformed, &header::TRANSFER_ENCODING, words);
        return Err(refusal.closing());
    }
    Ok(())
}

fn check_body_headers(headers: &HeaderMap) -> Result<(), Refusal> {
    if headers.len() != headers.keys_len()
        && let Some(twice) =
            SINGLE.iter().find(|name| headers.get_all(*name).iter().nth(1).is_some())
    {
        return Err(Refusal::of_field(Code::Malformed, twice, "the request has several"));
    }
    let encodings = headers.get_all(header::CONTENT_ENCODING);
    if encodings.iter().any(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        let words = "bodies are taken as they are; leave it out";
        return Err(Refusal::of_field(Code::ContentType, &header::CONTENT_ENCODING, words));
    }
    let content_type = headers.get(header::CONTENT_TYPE);
    let Some(content_type) = content_type else { return Ok(()) };
    let content_type = content_type.to_str().unwrap_or_default();
    let foreign = content_type.split(';').skip(1).any(|parameter| {
        let Some((name, value)) = parameter.split_once('=') else { return false };
        let value = value.trim().trim_matches('"');
        name.trim().eq_ignore_ascii_case("charset") && !value.eq_ignore_ascii_case("utf-8")
    });
    if foreign {
        let words = "text is taken as UTF-8; set the charset to utf-8 or leave it out";
        return Err(Refusal::of_field(Code::ContentType, &header::CONTENT_TYPE, words));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use axum::http::Request;
    use axum::response::IntoResponse;

    use super::*;

    fn status(path: &str, headers: &[(&str, &str)]) -> u16 {
        let mut request = Request::builder().uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).expect("a request").into_parts();
        check(&parts).map_or_else(|refusal| refusal.into_response().status().as_u16(), |()| 200)
    }

    #[test]
    fn a_path_is_encoded_or_refused() {
        for (path, expected) in [
            ("/actors/counter/a/get", 200),
            ("/actors/counter/%25/get", 200),
            ("/actors/counter/a%2Fb%c3%A4/get", 200),
            ("/actors/counter/%/get", 400),
            ("/actors/counter/%zz/get", 400),
            ("/actors/counter/%2/get", 400),
            ("/actors/counter/a/get%", 400),
            ("/admin/actors?kind=%41", 200),
            ("/admin/actors?kind=%zz", 400),
        ] {
            assert_eq!(status(path, &[]), expected, "{path}");
        }
        assert_eq!(status(&format!("/{}", "a".repeat(URI_BYTES_MAX)), &[]), 414);
    }

    #[test]
    fn a_body_says_once_and_plainly_what_it_is() {
        for (headers, expected) in [
            (&[("content-type", "application/json; charset=UTF-8")][..], 200),
            (&[("content-type", "application/json; charset=\"utf-8\"")], 200),
            (&[("content-encoding", "identity")], 200),
            (&[("transfer-encoding", "Chunked")], 200),
            (&[("accept", "a/b"), ("accept", "c/d")], 200),
            (&[("transfer-encoding", "gzip, chunked")], 400),
            (&[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")], 400),
            (&[("authorization", "a"), ("authorization", "b")], 400),
            (&[("stockade-manifest", "{}"), ("stockade-manifest", "{}")], 400),
            (&[("content-type", "application/json; charset=utf-16")], 415),
            (&[("content-encoding", "gzip")], 415),
            (&[("content-encoding", "identity"), ("content-encoding", "br")], 415),
            (&[("content-type", "application/json"), ("content-type", "application/json")], 400),
        ] {
            assert_eq!(status("/", headers), expected, "{headers:?}");
        }
    }
}
