//! Messages in parts: cut on one side, put together on the other, bounded on both.
//!
//! ```text
//! part 1   head: length of the whole, what it is    data: at most PART_BYTES_MAX
//! part 2 ..                                         data
//! ```
//! Invariant: a side holds no more of a message than its announced length, which it has compared with
//! the bound before it reads on.

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use tonic::Status;

use crate::limits::PART_BYTES_MAX;

/// Why a message did not come whole.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    /// The stream ended with an error.
    #[error("{}", status(.0))]
    Stream(Status),
    /// It ended early, or has more than it announced.
    #[error("a message has another length than it says")]
    Length,
    /// It would be over the bound.
    #[error("a message of {bytes} bytes is over the limit of {max}")]
    TooLong {
        /// Announced.
        bytes: u64,
        /// Allowed.
        max: u64,
    },
}

/// A status in words, without the parts that only programs read.
pub(crate) fn status(status: &Status) -> String {
    let mut why = status.message().to_owned();
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        let text = error.to_string();
        if !why.contains(&text) {
            why = format!("{why}: {text}");
        }
        source = error.source();
    }
    if why.is_empty() { status.code().to_string() } else { why }
}

/// Cuts a message; there is always a first part.
pub(crate) fn cut(mut message: Bytes) -> Vec<Bytes> {
    let mut parts = Vec::with_capacity(message.len() / PART_BYTES_MAX + 1);
    while message.len() > PART_BYTES_MAX {
        parts.push(message.split_to(PART_BYTES_MAX));
    }
    parts.push(message);
    parts
}

/// Refuses an announced length.
pub(crate) fn check(bytes: u64, max: u64) -> Result<usize, Broken> {
    if bytes > max {
        return Err(Broken::TooLong { bytes, max });
    }
    usize::try_from(bytes).map_err(|_| Broken::TooLong { bytes, max })
}

/// Puts a message of `bytes` bytes together, of which `first` has come, and reads the stream to its
/// end: one that is dropped before is a reset on the connection, and many of them end it.
pub(crate) async fn join(
    bytes: usize,
    first: Bytes,
    mut rest: impl Stream<Item = Result<Bytes, Status>> + Unpin,
) -> Result<Bytes, Broken> {
    let whole = if first.len() == bytes {
        first
    } else {
        // Room is made as it comes, not as it is announced.
        let mut whole = BytesMut::from(first);
        while whole.len() < bytes {
            let part = rest.next().await.ok_or(Broken::Length)?.map_err(Broken::Stream)?;
            if part.is_empty() {
                return Err(Broken::Length);
            }
            whole.extend_from_slice(&part);
        }
        whole.freeze()
    };
    if whole.len() > bytes {
        return Err(Broken::Length);
    }
    match rest.next().await {
        None => Ok(whole),
        Some(Ok(_)) => Err(Broken::Length),
        Some(Err(status)) => Err(Broken::Stream(status)),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    async fn joined(bytes: usize, parts: &[&[u8]]) -> Result<Bytes, Broken> {
        let mut parts = parts.iter().map(|part| Bytes::copy_from_slice(part));
        let first = parts.next().unwrap();
        join(bytes, first, stream::iter(parts.map(Ok))).await
    }

    #[tokio::test]
    async fn what_was_cut_is_put_together() {
        for length in [0, 1, PART_BYTES_MAX, PART_BYTES_MAX + 1, 3 * PART_BYTES_MAX + 7] {
            let message: Bytes = (0..=u8::MAX).cycle().take(length).collect::<Vec<_>>().into();
            let parts = cut(message.clone());
            assert!(parts.iter().all(|part| part.len() <= PART_BYTES_MAX), "{length}");
            let parts: Vec<&[u8]> = parts.iter().map(AsRef::as_ref).collect();
            assert_eq!(joined(length, &parts).await.unwrap(), message);
        }
    }

    #[tokio::test]
    async fn another_length_than_announced_is_refused() {
        for parts in [
            &[&b"abc"[..]][..],
            &[b"a", b"bc", b""],
            &[b"ab", b"c", b"de"],
            &[b"abcde"],
            &[b"abcd", b""],
            &[b"ab", b"cd", b"e"],
        ] {
            assert!(matches!(joined(4, parts).await, Err(Broken::Length)), "{parts:?}");
        }
        assert!(matches!(check(11, 10), Err(Broken::TooLong { bytes: 11, max: 10 })));
        assert_eq!(check(10, 10).unwrap(), 10);
    }
}
