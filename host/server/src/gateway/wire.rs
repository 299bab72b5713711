//! A connection as bytes: ends connections that are idle, late or stalled, and puts the error body
//! of this host into the answers that hyper makes by itself.
//!
//! ```text
//!  hyper ──> Wire ──> Patient ──> TLS or TCP
//! ```
//! hyper has no hook for a head that it cannot read: it writes a status without a body and closes.
//! hyper flushes its stream only when it holds nothing back. So after a flush while no turn runs,
//! the next bytes that hyper writes without a new turn are such an answer, whatever guests have
//! sent before.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::http::StatusCode;
use bytes::{Buf, Bytes};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::line::{Line, fields};
use stockade::error::Code;
use stockade::limits::{HEAD_BYTES_MAX, HEAD_FIELDS_MAX, STREAMS_GIVEN_UP_MAX};

/// How an HTTP/2 connection begins.
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n";

/// The stream that hyper reads and writes.
pub(super) struct Wire<S> {
    stream: S,
    line: Arc<Line>,
    idle_max: Duration,
    stall_max: Duration,
    /// How far cancelled requests may outnumber answers.
    given_up_max: usize,
    /// Turns that had begun when hyper had nothing left to write.
    flushed: usize,
    /// Turns that had begun when `clock` was set.
    seen: usize,
    clock: Option<Pin<Box<Sleep>>>,
    http2: bool,
    /// The bytes that are sent in place of hyper's answer.
    own: Option<Bytes>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(super) fn new(stream: S, line: Arc<Line>, idle_max: Duration, stall_max: Duration) -> Self {
        let (clock, own, given_up_max) = (None, None, STREAMS_GIVEN_UP_MAX);
        let (flushed, seen, http2) = (0, 0, false);
        Self { stream, line, idle_max, stall_max, given_up_max, flushed, seen, clock, http2, own }
    }

    /// With another bound on the requests that the client cancels.
    pub(super) fn with_given_up(self, given_up_max: usize) -> Self {
        Self { given_up_max, ..self }
    }

    /// HTTP/1: whether a head is late. The clock restarts with each turn.
    fn is_late(&mut self, cx: &mut Context<'_>, begun: usize) -> bool {
        let until = Instant::now() + self.idle_max;
        match &mut self.clock {
            None => self.clock = Some(Box::pin(sleep(self.idle_max))),
            Some(clock) if self.seen != begun => clock.as_mut().reset(until),
            Some(_) => {}
        }
        self.seen = begun;
        self.clock.as_mut().is_some_and(|clock| clock.as_mut().poll(cx).is_ready())
    }

    /// HTTP/2: checks the connection, about as often as it may be idle. `Ok(true)`: the connection
    /// is over.
    fn look_after(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        if self.line.given_up() > self.given_up_max {
            return Err(io::Error::other("too many requests were taken back"));
        }
        let pause = self.idle_max.min(self.stall_max);
        let clock = self.clock.get_or_insert_with(|| Box::pin(sleep(pause)));
        while clock.as_mut().poll(cx).is_ready() {
            clock.as_mut().reset(Instant::now() + pause);
            if self.line.is_stalled(self.stall_max) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let (begun, idle) = self.line.standing();
            if idle && begun == self.seen && self.line.tell_to_leave() {
                return Ok(true);
            }
            self.seen = begun;
        }
        Ok(false)
    }

    /// Whether these bytes are an answer of hyper's own; then the host's answer replaces them.
    fn replaces(&mut self, bytes: &[u8]) -> bool {
        if self.own.is_some() {
            return true;
        }
        let (begun, idle) = self.line.standing();
        if self.http2 || !idle || begun != self.flushed {
            return false;
        }
        self.own = own_answer(bytes, &self.line);
        self.own.is_some()
    }

    fn poll_own(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(own) = &mut self.own
            && own.has_remaining()
        {
            let sent = ready!(Pin::new(&mut self.stream).poll_write(cx, own))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            own.advance(sent);
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.http2 {
            if self.look_after(cx)? {
                return Poll::Ready(Ok(()));
            }
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let (begun, idle) = self.line.standing();
        if !idle {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if read.is_ready() {
            self.line.read(&buf.filled()[before..]);
            self.http2 = begun == 0 && self.line.with_head(|head| head.starts_with(HTTP2));
            if self.http2 {
                self.clock = None;
            }
            return read;
        }
        if self.own.is_some() || self.is_late(cx, begun) {
            // A head that stopped half way gets an answer; a connection without one just ends.
            if self.own.is_none() && self.line.with_head(|head| !head.is_empty()) {
                let words = format!("the head of the request did not come in {:?}", self.idle_max);
                self.own = Some(answer(Code::HeadTimeout, words, None));
            }
            ready!(self.poll_own(cx))?;
            return Poll::Ready(Ok(()));
        }
        Poll::Pending
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.replaces(bytes) {
            ready!(self.poll_own(cx))?;
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.replaces(slices.first().map_or(&[], |first| first)) {
            ready!(self.poll_own(cx))?;
            return Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()));
        }
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let (begun, true) = self.line.standing() {
            self.flushed = begun;
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Translates hyper's answer about a head into an error of the table.
fn own_answer(bytes: &[u8], line: &Line) -> Option<Bytes> {
    let status = bytes.strip_prefix(b"HTTP/1.")?.get(2..5)?;
    match StatusCode::from_bytes(status).ok()? {
        StatusCode::BAD_REQUEST => {
            let (field, words) = line.with_head(what_is_wrong);
            let words = field.map_or(words.to_owned(), |field| format!("`{field}`: {words}"));
            Some(answer(Code::Malformed, words, field))
        }
        StatusCode::URI_TOO_LONG => {
            Some(answer(Code::UriTooLong, "the path is too long".to_owned(), None))
        }
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
            let words = format!(
                "the head of the request has more than {HEAD_BYTES_MAX} bytes or \
                 {HEAD_FIELDS_MAX} fields"
            );
            Some(answer(Code::HeadTooLarge, words, None))
        }
        _ => None,
    }
}

/// Names the field that hyper refuses, if it is a field that hyper is known to refuse.
fn what_is_wrong(head: &[u8]) -> (Option<&'static str>, &'static str) {
    let (length, coding) = ("content-length", "transfer-encoding");
    let mut lengths = fields(head, length);
    let first = lengths.next();
    let is_odd = |length: &[u8]| !length.iter().all(u8::is_ascii_digit);
    if fields(head, coding).next().is_some() {
        (Some(coding), "only `chunked` is taken, and in HTTP/1.1")
    } else if first.is_some_and(is_odd) || lengths.any(|length| Some(length) != first) {
        (Some(length), "it is one number of bytes")
    } else {
        (None, "the head of the request does not read as HTTP/1.1")
    }
}

/// A whole answer of HTTP/1.1, after which the connection is closed.
fn answer(code: Code, words: String, field: Option<&str>) -> Bytes {
    let status = StatusCode::from_u16(code.status()).expect("BUG: the table has HTTP statuses");
    tracing::debug!(status = status.as_u16(), code = code.name(), message = words, "refused");
    let details = field.map_or(json!({}), |field| json!({ "header": field }));
    let body = serde_json::to_string(&code.body(words, details)).expect("BUG: a body is JSON");
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    );
    head.into()
}
