//! The body of a call that may be sent to several processes, one after the other.
//!
//! ```text
//!  caller ──> rest ──> Sending (first attempt) ──> a process that refuses the route
//!               │ kept, up to FORWARD_KEPT_BYTES_MAX
//!               └────> Sending (next attempt): what is kept, then the rest
//! ```
//! Invariants:
//! - One attempt sends: the newest. What an attempt has taken and not all kept cannot be sent again.
//! - An attempt is *whole* once it has given its end away. Before that, no process can have begun
//!   the call.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;

use super::body::Room;
use stockade::limits::FORWARD_KEPT_BYTES_MAX;

/// A call's body.
pub(super) struct Content(Arc<Mutex<Kept>>);

struct Kept {
    /// What has not come yet. `None`: all has come.
    rest: Option<Body>,
    parts: Vec<Bytes>,
    bytes: usize,
    /// What is kept holds this much of the memory of all bodies.
    room: Room,
    /// Attempts so far.
    attempts: usize,
    /// The attempt that has sent something that was not kept.
    torn_by: Option<usize>,
}

/// One attempt to send a body.
pub(super) struct Sending {
    kept: Arc<Mutex<Kept>>,
    attempt: usize,
    next: usize,
    whole: Arc<AtomicBool>,
}

impl Content {
    /// A body that has not been read.
    pub(super) fn new(body: Body, room: Room) -> Self {
        let (parts, bytes, attempts, torn_by) = (Vec::new(), 0, 0, None);
        let kept = Kept { rest: Some(body), parts, bytes, room, attempts, torn_by };
        Self(Arc::new(Mutex::new(kept)))
    }

    /// One more attempt, and whether it has given its end away. An earlier attempt fails from now
    /// on.
    pub(super) fn sending(&self) -> (Sending, Arc<AtomicBool>) {
        let whole = Arc::<AtomicBool>::default();
        let attempt = {
            let mut kept = self.0.lock();
            kept.attempts += 1;
            kept.attempts
        };
        let (kept, next) = (Arc::clone(&self.0), 0);
        (Sending { kept, attempt, next, whole: Arc::clone(&whole) }, whole)
    }

    /// Whether all of the body has come.
    pub(super) fn is_read(&self) -> bool {
        self.0.lock().rest.as_ref().is_none_or(|rest| rest.is_end_stream())
    }

    /// Whether all that was sent can be sent again.
    pub(super) fn can_be_sent_again(&self) -> bool {
        self.0.lock().torn_by.is_none()
    }
}

impl Kept {
    fn keep(&mut self, part: &Bytes) {
        let bytes = self.bytes.saturating_add(part.len());
        if self.torn_by.is_some() {
            return;
        }
        if bytes > FORWARD_KEPT_BYTES_MAX || self.room.take(part.len()).is_err() {
            self.torn_by = Some(self.attempts);
            return;
        }
        self.bytes = bytes;
        self.parts.push(part.clone());
    }
}

impl HttpBody for Sending {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        let kept = &mut *this.kept.lock();
        let torn_before = kept.torn_by.is_some_and(|attempt| attempt != this.attempt);
        if kept.attempts != this.attempt || torn_before {
            let error = std::io::Error::other("another attempt sends the body");
            return Poll::Ready(Some(Err(axum::Error::new(error))));
        }
        if let Some(part) = kept.parts.get(this.next) {
            this.next += 1;
            return Poll::Ready(Some(Ok(Frame::data(part.clone()))));
        }
        loop {
            let Some(rest) = &mut kept.rest else {
                this.whole.store(true, Ordering::Release);
                return Poll::Ready(None);
            };
            match ready!(Pin::new(rest).poll_frame(cx)) {
                None => kept.rest = None,
                Some(Err(error)) => {
                    // What has come is not the caller's whole body, and never will be.
                    kept.torn_by = Some(this.attempt);
                    return Poll::Ready(Some(Err(error)));
                }
                Some(Ok(frame)) => {
                    // A call has no use for trailers.
                    let Ok(part) = frame.into_data() else { continue };
                    kept.keep(&part);
                    if kept.torn_by.is_none() {
                        this.next += 1;
                    }
                    return Poll::Ready(Some(Ok(Frame::data(part))));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let kept = self.kept.lock();
        let ended = self.next >= kept.parts.len()
            && kept.rest.as_ref().is_none_or(|rest| rest.is_end_stream());
        if ended {
            self.whole.store(true, Ordering::Release);
        }
        ended
    }

    fn size_hint(&self) -> SizeHint {
        let kept = self.kept.lock();
        let waiting: usize = kept.parts.iter().skip(self.next).map(Bytes::len).sum();
        let waiting = u64::try_from(waiting).unwrap_or(u64::MAX);
        let rest =
            kept.rest.as_ref().map_or_else(|| SizeHint::with_exact(0), |rest| rest.size_hint());
        let mut hint = SizeHint::new();
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(waiting));
        }
        hint.set_lower(rest.lower().saturating_add(waiting));
        hint
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body_util::BodyExt;

    use super::*;
    use crate::gateway::body::Bodies;
    use stockade::limits::HostLimits;

    fn content(body: Body) -> Content {
        Content::new(body, Bodies::new(&HostLimits::default()).room())
    }

    async fn all(sending: Sending) -> usize {
        sending.collect().await.expect("whole").to_bytes().len()
    }

    #[tokio::test]
    async fn a_small_body_is_sent_as_often_as_it_takes() {
        let parts = ["abc", "de"].map(|part| Ok::<_, std::io::Error>(Bytes::from(part)));
        let content = content(Body::from_stream(stream::iter(parts)));
        let (mut first, whole) = content.sending();
        let frame = first.frame().await.expect("one").expect("a part");
        assert_eq!(frame.into_data().expect("data"), "abc");
        assert!(!whole.load(Ordering::Acquire), "its end was not given away");
        drop(first);
        for _ in 0..2 {
            assert!(content.can_be_sent_again());
            let (next, whole) = content.sending();
            assert_eq!(next.collect().await.expect("whole").to_bytes(), "abcde");
            assert!(whole.load(Ordering::Acquire));
        }
    }

    #[tokio::test]
    async fn an_empty_body_ends_where_it_begins() {
        let content = content(Body::empty());
        let (sending, whole) = content.sending();
        assert!(sending.is_end_stream() && whole.load(Ordering::Acquire));
        assert!(content.can_be_sent_again());
    }

    #[tokio::test]
    async fn what_is_kept_is_bounded() {
        let part = Bytes::from(vec![7; FORWARD_KEPT_BYTES_MAX / 2 + 1]);
        let parts = [part.clone(), part.clone()].map(Ok::<_, std::io::Error>);
        let content = content(Body::from_stream(stream::iter(parts)));
        let (mut first, _) = content.sending();
        assert!(first.frame().await.is_some());
        assert!(content.can_be_sent_again(), "one part fits");
        assert_eq!(all(first).await, part.len(), "the rest is passed on all the same");
        assert!(!content.can_be_sent_again());
        let (next, whole) = content.sending();
        assert!(next.collect().await.is_err() && !whole.load(Ordering::Acquire), "a part is gone");
    }

    #[tokio::test]
    async fn the_newest_attempt_sends_alone() {
        let parts = ["abc", "de"].map(|part| Ok::<_, std::io::Error>(Bytes::from(part)));
        let content = content(Body::from_stream(stream::iter(parts)));
        let (mut first, _) = content.sending();
        assert!(first.frame().await.is_some());
        let (second, _) = content.sending();
        assert!(first.collect().await.is_err());
        assert!(!content.is_read());
        assert_eq!(all(second).await, 5);
        assert!(content.is_read());
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_never_whole() {
        let parts = [Ok(Bytes::from("abc")), Err(std::io::Error::other("gone"))];
        let content = content(Body::from_stream(stream::iter(parts)));
        let (sending, whole) = content.sending();
        assert!(sending.collect().await.is_err());
        assert!(!whole.load(Ordering::Acquire) && !content.can_be_sent_again());
    }
}
