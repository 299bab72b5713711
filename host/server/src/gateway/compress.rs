//! Large answers as gzip, for clients that ask for it.
//!
//! Only gzip: every client knows it, and its encoder needs no C. Only text answers that are whole
//! in memory: compression would hold back a stream of lines, and an export is a file.

use std::io::{self, Write};
use std::sync::Arc;

use axum::body::{Body, HttpBody as _, to_bytes};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::sync::Semaphore;

use super::WAVE_CONTENT_TYPE;
use stockade::internal::cores;
use stockade::limits::HostLimits;

/// Types of answers that are text.
const TEXT: [&[u8]; 2] = [b"application/json", WAVE_CONTENT_TYPE.as_bytes()];

/// Compresses a bounded number of answers at the same time, each on a thread that serves no
/// connection.
pub(super) struct Compressor {
    bytes_min: u64,
    /// One for each core. An answer that finds none free is sent uncompressed.
    room: Arc<Semaphore>,
}

impl Compressor {
    pub(super) fn new(limits: &HostLimits) -> Self {
        let bytes_min = u64::try_from(limits.compress_bytes_min).unwrap_or(u64::MAX);
        Self { bytes_min, room: Arc::new(Semaphore::new(cores())) }
    }

    /// Compresses the answer if it is a large text, the client accepts gzip, and the result is
    /// smaller.
    pub(super) async fn answer(&self, mut answer: Response, takes_gzip: bool) -> Response {
        let bytes = answer.body().size_hint().exact();
        let is_large = bytes.is_some_and(|bytes| bytes >= self.bytes_min);
        let content_type = answer.headers().get(header::CONTENT_TYPE);
        if !is_large || !content_type.is_some_and(|found| TEXT.contains(&found.as_bytes())) {
            return answer;
        }
        answer.headers_mut().append(header::VARY, HeaderValue::from_static("accept-encoding"));
        if !takes_gzip {
            return answer;
        }
        let Ok(room) = Arc::clone(&self.room).try_acquire_owned() else { return answer };
        let (mut head, body) = answer.into_parts();
        // The body is in memory already.
        let Ok(plain) = to_bytes(body, usize::MAX).await else {
            return Response::from_parts(head, Body::empty());
        };
        let source = plain.clone();
        let packed = tokio::task::spawn_blocking(move || {
            let _room = room;
            gzip(&source)
        });
        let body = match packed.await {
            Ok(Ok(packed)) if packed.len() < plain.len() => {
                let gzip = HeaderValue::from_static("gzip");
                head.headers.insert(header::CONTENT_ENCODING, gzip);
                head.headers.remove(header::CONTENT_LENGTH);
                packed
            }
            _ => plain,
        };
        Response::from_parts(head, Body::from(body))
    }
}

/// Whether the client accepts gzip, by `accept-encoding`.
pub(super) fn takes_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT_ENCODING).iter();
    let accepted = accepted.filter_map(|field| field.to_str().ok());
    let mut weights = accepted.flat_map(|field| field.split(',')).filter_map(|item| {
        let (coding, weight) = item.split_once(';').unwrap_or((item, "q=1"));
        let weight = weight.trim().strip_prefix("q=").and_then(|weight| weight.parse::<f32>().ok());
        coding.trim().eq_ignore_ascii_case("gzip").then_some(weight.unwrap_or(0.0))
    });
    weights.any(|weight| weight > 0.0)
}

/// Fast rather than small: the caller waits for the result.
fn gzip(bytes: &[u8]) -> io::Result<Bytes> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(bytes)?;
    packed.finish().map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_taken_by_those_who_say_so() {
        for (text, expected) in [
            ("gzip", true),
            ("GZIP", true),
            ("br, gzip;q=0.5, *;q=0", true),
            ("gzip; q=1.0", true),
            ("gzip;q=0", false),
            ("gzip;q=x", false),
            ("deflate, br", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, text.parse().expect("a field"));
            assert_eq!(takes_gzip(&headers), expected, "{text}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }
}
