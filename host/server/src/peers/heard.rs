//! A stream that notes when bytes of its other side came last.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// When bytes came last.
#[derive(Clone, Debug)]
pub(super) struct Heard(Arc<Mutex<Instant>>);

impl Heard {
    /// Now: a connection is made.
    pub(super) fn now() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    /// The last time.
    pub(super) fn last(&self) -> Instant {
        *self.0.lock()
    }

    /// The stream, from now on noted.
    pub(super) fn on<S>(&self, stream: S) -> Noted<S> {
        Noted { stream, heard: self.clone() }
    }
}

/// A stream of which is noted when it is read.
pub(super) struct Noted<S> {
    stream: S,
    heard: Heard,
}

impl<S: AsyncRead + Unpin> AsyncRead for Noted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            *self.heard.0.lock() = Instant::now();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Noted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn only_what_comes_counts() {
        let heard = Heard::now();
        let begun = heard.last();
        let (ours, mut theirs) = tokio::io::duplex(64);
        let mut ours = heard.on(ours);
        ours.write_all(b"a question").await.expect("room");
        assert_eq!(heard.last(), begun, "what was sent");
        theirs.write_all(b"an answer").await.expect("room");
        assert!(ours.read(&mut [0; 16]).await.expect("bytes") > 0);
        let answered = heard.last();
        assert!(answered > begun);
        drop(theirs);
        assert_eq!(ours.read(&mut [0; 16]).await.expect("the end"), 0);
        assert_eq!(heard.last(), answered, "the end is no bytes");
    }
}
