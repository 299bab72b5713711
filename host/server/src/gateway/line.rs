//! What a connection and its requests share: which requests are being answered, which answer waits
//! for its client, and the bytes of a head that are not a request yet.
//!
//! Invariants:
//! - A *turn* lasts from the call of the routes to the last byte of the answer's body.
//! - An answer of HTTP/2 is handed over in pieces: the part that the client has not taken stays
//!   here, where a stall is seen.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Version, header};
use bytes::Bytes;
use hyper::body::{Body as _, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use stockade::limits::{HEAD_BYTES_MAX, PIECE_BYTES};

/// Bytes of a head for which a connection keeps its buffer. More is freed after the request.
const HEAD_BYTES_KEPT: usize = 2 * 1024;

/// One connection, as its requests see it.
pub(super) struct Line {
    /// Turns that have begun.
    begun: AtomicUsize,
    /// Turns that have not ended.
    busy: AtomicUsize,
    /// HTTP/2: requests that the client has cancelled, minus the answers that it has taken.
    given_up: AtomicUsize,
    /// HTTP/1: the bytes that were read after the last answer had left.
    head: Mutex<Vec<u8>>,
    /// HTTP/2: for each answer, since when it waits for the client to take more of it.
    waiting: Mutex<Vec<(usize, Option<Instant>)>>,
    /// Since when no turn runs. `None`: a turn runs, or the connection was asked to end.
    idle_since: Mutex<Option<Instant>>,
    fell_idle: Arc<Notify>,
    /// Notified when another connection needs this one's place.
    end: Notify,
    /// Notified when the client should be asked to leave.
    leave: Notify,
    left: AtomicBool,
}

/// What hyper does not report of a request's head in HTTP/1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// The head had both lengths, of which hyper drops `content-length`. Behind a proxy that drops
    /// the other one, the rest of the body would be another client's request.
    BothLengths,
    /// The head was over the limit: hyper reads a little more when the bytes arrive together.
    TooLarge,
}

/// A request on its way through the routes.
pub(super) struct Turn {
    line: Arc<Line>,
    number: usize,
    /// Whether the answer goes out in pieces, since the client chooses which of its streams it
    /// reads.
    in_pieces: bool,
    /// The last byte of the answer has left. A request that the client cancels may have been
    /// answered.
    over: bool,
}

/// The body of an answer.
pub(super) struct Answer {
    body: Body,
    turn: Turn,
    /// The part that the client has not asked for yet.
    rest: Bytes,
}

impl Line {
    /// A connection that begins. `fell_idle` is notified each time the last running turn ends.
    pub(super) fn new(fell_idle: Arc<Notify>) -> Self {
        let (begun, busy, given_up, head, waiting) = Default::default();
        let (end, leave, left) = Default::default();
        let idle_since = Mutex::new(Some(Instant::now()));
        Self { begun, busy, given_up, head, waiting, idle_since, fell_idle, end, leave, left }
    }

    /// Begins a turn. The bytes that were read up to now are its head.
    pub(super) fn begin<B>(self: &Arc<Self>, request: &mut Request<B>) -> Turn {
        let number = self.begun.fetch_add(1, Ordering::Relaxed);
        {
            let mut idle_since = self.idle_since.lock();
            self.busy.fetch_add(1, Ordering::Relaxed);
            *idle_since = None;
        }
        let in_pieces = request.version() == Version::HTTP_2;
        if !in_pieces {
            let mut head = self.head.lock();
            if let Some(flaw) = flaw(&head, request) {
                request.extensions_mut().insert(flaw);
            }
            head.clear();
            head.shrink_to(HEAD_BYTES_KEPT);
        }
        Turn { line: Arc::clone(self), number, in_pieces, over: false }
    }

    /// How many turns have begun, and whether none runs.
    pub(super) fn standing(&self) -> (usize, bool) {
        (self.begun.load(Ordering::Relaxed), self.busy.load(Ordering::Relaxed) == 0)
    }

    pub(super) fn given_up(&self) -> usize {
        self.given_up.load(Ordering::Relaxed)
    }

    /// Keeps the bytes that were read between two turns.
    pub(super) fn read(&self, bytes: &[u8]) {
        let mut head = self.head.lock();
        let room = HEAD_BYTES_MAX.saturating_sub(head.len());
        head.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// Passes the bytes of a head that is not a request yet to `look`.
    pub(super) fn with_head<T>(&self, look: impl FnOnce(&[u8]) -> T) -> T {
        look(&self.head.lock())
    }

    /// Whether the client has not taken an answer for this long.
    pub(super) fn is_stalled(&self, stall_max: Duration) -> bool {
        let waiting = self.waiting.lock();
        waiting.iter().any(|(_, since)| since.is_some_and(|since| since.elapsed() >= stall_max))
    }

    /// Since when no turn runs. `None` also after the connection was asked to end.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        *self.idle_since.lock()
    }

    /// Asks the connection to end now, unless a turn runs by then.
    pub(super) fn end(&self) {
        *self.idle_since.lock() = None;
        self.end.notify_one();
    }

    /// Resolves when the connection is asked to end and no turn runs. Await this on the task that
    /// begins the connection's requests, so that no request begins in between.
    pub(super) async fn ended(&self) {
        loop {
            self.end.notified().await;
            if self.standing().1 {
                return;
            }
        }
    }

    /// Asks the client to leave. Returns whether it had been asked before.
    pub(super) fn tell_to_leave(&self) -> bool {
        self.leave.notify_one();
        self.left.swap(true, Ordering::Relaxed)
    }

    /// Resolves when the client has to be asked to leave.
    pub(super) async fn leaving(&self) {
        self.leave.notified().await;
    }

    fn waits(&self, number: usize, since: Option<Instant>) {
        let mut waiting = self.waiting.lock();
        match waiting.iter_mut().find(|(of, _)| *of == number) {
            Some((_, known)) => *known = since,
            None => waiting.push((number, since)),
        }
    }
}

impl Turn {
    /// The routes have answered; the turn lasts until the body has left.
    pub(super) fn answer(mut self, body: Body) -> Answer {
        self.over = body.is_end_stream();
        Answer { body, turn: self, rest: Bytes::new() }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        {
            let mut idle_since = self.line.idle_since.lock();
            if self.line.busy.fetch_sub(1, Ordering::Relaxed) == 1 {
                *idle_since = Some(Instant::now());
                self.line.fell_idle.notify_waiters();
            }
        }
        if self.in_pieces {
            self.line.waiting.lock().retain(|(of, _)| *of != self.number);
            let counted = |count: usize| {
                if self.over { count.checked_sub(1) } else { count.checked_add(1) }
            };
            let order = Ordering::Relaxed;
            // Nothing is taken from zero.
            let _ = self.line.given_up.fetch_update(order, order, counted);
        }
    }
}

impl Answer {
    /// The next piece: the client has taken the ones before.
    fn piece(&mut self) -> Frame<Bytes> {
        let len = self.rest.len().min(PIECE_BYTES);
        Frame::data(self.rest.split_to(len))
    }
}

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if !self.turn.in_pieces {
            return Pin::new(&mut self.body).poll_frame(cx);
        }
        if self.rest.is_empty() {
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                other => {
                    // The answer waits for the host, not for its client.
                    self.turn.line.waits(self.turn.number, None);
                    self.turn.over = matches!(other, Poll::Ready(None));
                    return other;
                }
            }
        }
        self.turn.line.waits(self.turn.number, Some(Instant::now()));
        let piece = self.piece();
        self.turn.over = self.is_end_stream();
        Poll::Ready(Some(Ok(piece)))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.body.size_hint();
        let rest = u64::try_from(self.rest.len()).unwrap_or(u64::MAX);
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint.set_lower(hint.lower().saturating_add(rest));
        hint
    }
}

/// The flaw of a head, if it has one. The bytes are searched for a length only if the request is
/// chunked.
fn flaw<B>(head: &[u8], request: &Request<B>) -> Option<Flaw> {
    if head.len() >= HEAD_BYTES_MAX && memchr::memmem::find(head, b"\r\n\r\n").is_none() {
        return Some(Flaw::TooLarge);
    }
    let chunked = request.headers().contains_key(header::TRANSFER_ENCODING);
    (chunked && fields(head, "content-length").next().is_some()).then_some(Flaw::BothLengths)
}

/// Values of a field in the bytes of a head, exactly as written.
pub(super) fn fields<'h>(head: &'h [u8], name: &'static str) -> impl Iterator<Item = &'h [u8]> {
    let name = name.as_bytes();
    let of_the_head = |line: &&[u8]| !matches!(line, [] | [b'\r']);
    head.split(|byte| *byte == b'\n').skip(1).take_while(of_the_head).filter_map(move |line| {
        let (found, value) = line.split_at_checked(name.len())?;
        let value = value.strip_prefix(b":")?;
        found.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use http_body_util::BodyExt;

    fn turn(line: &Arc<Line>, version: Version) -> Turn {
        let mut request = Request::builder().version(version).body(()).expect("a request");
        line.begin(&mut request)
    }

    #[test]
    fn fields_of_a_head_are_found_and_those_of_a_body_are_not() {
        let head = b"POST /content-length: 1 HTTP/1.1\r\nContent-LENGTH: 5 \r\nx:y\r\n\r\ncontent-length:6";
        let found: Vec<&[u8]> = fields(head, "content-length").collect();
        assert_eq!(found, [b"5"]);
        assert_eq!(fields(b"GET / HT", "host").count(), 0);
    }

    #[test]
    fn what_hyper_does_not_tell_of_a_head_is_told() {
        let line = Arc::new(Line::new(Arc::default()));
        let told = |head: &str| {
            line.read(head.as_bytes());
            let request = Request::post("/").header("transfer-encoding", "chunked");
            let mut request = request.body(()).expect("a request");
            drop(line.begin(&mut request));
            request.extensions().get::<Flaw>().copied()
        };
        let both = "POST / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n";
        assert_eq!(told(both), Some(Flaw::BothLengths));
        assert_eq!(told("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n"), None);
        assert_eq!(told(&"x".repeat(HEAD_BYTES_MAX + 1)), Some(Flaw::TooLarge));
        assert_eq!(told(""), None, "nothing is kept of an earlier head");
    }

    #[test]
    fn a_connection_that_is_told_to_end_ends_unless_a_turn_began_meanwhile() {
        let line = Arc::new(Line::new(Arc::default()));
        line.end();
        let during = turn(&line, Version::HTTP_11);
        assert!(line.ended().now_or_never().is_none());
        drop(during);
        line.end();
        assert!(line.ended().now_or_never().is_some());
    }

    #[tokio::test]
    async fn an_answer_leaves_in_pieces_and_its_turn_lasts_as_long() {
        let line = Arc::new(Line::new(Arc::default()));
        let bytes = vec![7; PIECE_BYTES + 1];
        let mut answer = turn(&line, Version::HTTP_2).answer(Body::from(bytes));
        let first = answer.frame().await.expect("a frame").expect("bytes").into_data();
        assert_eq!(first.expect("data").len(), PIECE_BYTES);
        assert!(line.is_stalled(Duration::ZERO) && !line.is_stalled(Duration::from_secs(60)));
        assert_eq!(line.standing(), (1, false));
        assert_eq!(answer.size_hint().exact(), Some(1));
        assert_eq!(answer.collect().await.expect("the rest").to_bytes().len(), 1);
        assert_eq!(line.standing(), (1, true));
        assert!(!line.is_stalled(Duration::ZERO));
        assert_eq!(line.given_up(), 0);
    }

    #[test]
    fn requests_that_are_taken_back_count_and_answers_make_up_for_them() {
        let line = Arc::new(Line::new(Arc::default()));
        for _ in 0..3 {
            drop(turn(&line, Version::HTTP_2));
        }
        drop(turn(&line, Version::HTTP_11));
        assert_eq!(line.given_up(), 3);
        drop(turn(&line, Version::HTTP_2).answer(Body::empty()));
        assert_eq!(line.given_up(), 2);
        drop(turn(&line, Version::HTTP_2).answer(Body::from("nobody takes it")));
        assert_eq!(line.given_up(), 3);
    }
}
