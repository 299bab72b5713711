//! Requests that can be read in two ways are refused before any route sees them: which way a client
//! meant is a guess, and a guess may name another actor or other arguments.

use std::fmt;

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, header};
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::MANIFEST_HEADER;
use super::line::Flaw;
use super::reply::Refusal;
use crate::error::Code;
use crate::limits::{HEAD_BYTES_MAX, URI_BYTES_MAX};
use crate::typed::bounds;

/// Fields that mean one thing: of two nobody knows which counts.
static SINGLE: [HeaderName; 7] = [
    header::AUTHORIZATION,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::HOST,
    header::ORIGIN,
    header::TRANSFER_ENCODING,
    HeaderName::from_static(MANIFEST_HEADER),
];

/// Whether path and headers mean one thing.
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

/// Where a body ends must be the same for everybody on the way; if not, nothing that follows is read.
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

/// Bytes of memory that one value takes as JSON and as what is made of it.
const VALUE_BYTES: usize = size_of::<Value>() + bounds::VALUE_BYTES;

/// Takes room for so many bytes.
type Take<'a> = dyn FnMut(usize) -> Result<(), Refusal> + 'a;

/// JSON whose objects have each name once. The last of several would count, and nobody would learn
/// that the others did not. Room is taken for each value before it is made.
///
/// # Errors
/// What is no JSON, or has a name twice, with its place; what `take` says.
pub(super) fn json(bytes: &[u8], take: &mut Take<'_>) -> Result<Value, Refusal> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let mut reading = Reading { take, refusal: None };
    let value = Once(&mut reading).deserialize(&mut reader);
    let value = value.and_then(|value| reader.end().map(|()| value));
    let Reading { refusal, .. } = reading;
    value.map_err(|error| {
        let not_json = || Refusal::new(Code::InvalidBody, format!("not JSON: {error}"));
        refusal.unwrap_or_else(not_json)
    })
}

struct Reading<'a> {
    take: &'a mut Take<'a>,
    /// Why there is no room.
    refusal: Option<Refusal>,
}

impl Reading<'_> {
    fn room<E: Error>(&mut self, bytes: usize) -> Result<(), E> {
        (self.take)(bytes).map_err(|refusal| {
            self.refusal = Some(refusal);
            E::custom("no room")
        })
    }
}

/// Reads a value, and the values in it the same way.
struct Once<'r, 'a>(&'r mut Reading<'a>);

impl<'de> DeserializeSeed<'de> for Once<'_, '_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        self.0.room(VALUE_BYTES)?;
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Once<'_, '_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, truth: bool) -> Result<Value, E> {
        Ok(truth.into())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Value, E> {
        Ok(Number::from_f64(number).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        self.0.room(text.len().saturating_mul(2))?;
        Ok(text.into())
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Value, E> {
        self.visit_str(&text)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(item) = items.next_element_seed(Once(&mut *self.0))? {
            all.push(item);
        }
        Ok(Value::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut all = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            self.0.room(2 * (size_of::<String>() + name.len()))?;
            let value = fields.next_value_seed(Once(&mut *self.0))?;
            if all.contains_key(&name) {
                let name: String = name.chars().take(80).collect();
                return Err(A::Error::custom(format!(
                    "the name {name:?} stands twice in an object"
                )));
            }
            all.insert(name, value);
        }
        Ok(Value::Object(all))
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;
    use axum::response::IntoResponse;
    use serde_json::json;

    use super::*;

    fn read(bytes: &[u8]) -> Result<Value, u16> {
        let read = json(bytes, &mut |_| Ok(()));
        read.map_err(|refusal| refusal.into_response().status().as_u16())
    }

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

    #[test]
    fn a_name_stands_once_in_an_object_and_the_rest_is_read_as_ever() {
        for text in [
            r#"{"by": 1, "at": [null, true, -7, 1.5, 18446744073709551615, "ü\u0000"], "o": {}}"#,
            "[[], {\"a\": {\"a\": 1}}, 1e300, 0.1, -0.0]",
        ] {
            let usual: Value = serde_json::from_str(text).expect("JSON");
            assert_eq!(read(text.as_bytes()), Ok(usual), "{text}");
        }
        for text in [r#"{"a":1,"a":1}"#, r#"[{"b":{"a":1,"c":2,"\u0061":3}}]"#, "{} 1", "1e999"] {
            assert_eq!(read(text.as_bytes()), Err(400), "{text}");
        }
        assert_eq!(read("[".repeat(100_000).as_bytes()), Err(400));
        assert_eq!(read(b" 1 "), Ok(json!(1)));
    }

    #[test]
    fn values_take_room_before_they_are_made() {
        let mut left = 150_000_usize;
        let mut take = |bytes| {
            let full = || Refusal::new(Code::HostOverloaded, "full");
            left = left.checked_sub(bytes).ok_or_else(full)?;
            Ok(())
        };
        let ones = |count| format!("[{}1]", "1,".repeat(count));
        let status = |refusal: Refusal| refusal.into_response().status().as_u16();
        assert!(json(ones(900).as_bytes(), &mut take).is_ok());
        let refused = json(ones(900).as_bytes(), &mut take).map_err(status);
        assert_eq!(refused, Err(503), "and not that it is no JSON");
    }
}
