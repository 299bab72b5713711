//! WASI 0.2 with nothing granted: no files, no environment, no arguments, no sockets, no input.
//! Clocks and randomness work. Lines of stdout and stderr become log lines.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};
use wasmtime_wasi::{I32Exit, WasiCtx, WasiCtxBuilder};

use super::log::Lines;
use crate::bindings::stockade::actor::log::Level;

/// Bytes that a guest may write in one call.
const WRITE_BYTES_MAX: usize = 64 * 1024;

/// Random bytes that a guest may ask for in one call. 64 KiB: they are made in one piece.
const RANDOM_BYTES_MAX: u64 = 64 * 1024;

/// The code that a guest has exited with, if that is why it died.
#[must_use]
pub fn exit_code(error: &wasmtime::Error) -> Option<i32> {
    error.downcast_ref::<I32Exit>().map(|exit| exit.0)
}

/// The context of a generation.
pub(super) fn nothing_granted(lines: &Arc<Lines>) -> WasiCtx {
    WasiCtxBuilder::new()
        .stdout(Stream { lines: Arc::clone(lines), kind: Kind::Stdout })
        .stderr(Stream { lines: Arc::clone(lines), kind: Kind::Stderr })
        .max_random_size(RANDOM_BYTES_MAX)
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .build()
}

/// The unfinished line. All streams of one kind share it.
#[derive(Default)]
pub(super) struct Output {
    partial: Mutex<Vec<u8>>,
}

impl Output {
    /// Adds bytes and passes on each line that is ended by them or has reached `line_bytes_max`.
    pub(super) fn write(
        &self,
        mut bytes: &[u8],
        line_bytes_max: usize,
        mut line: impl FnMut(&[u8]),
    ) {
        let line_bytes_max = line_bytes_max.max(1);
        let mut partial = self.partial.lock();
        while !bytes.is_empty() {
            let room = line_bytes_max - partial.len();
            let end = memchr::memchr(b'\n', &bytes[..bytes.len().min(room)]);
            let taken = end.unwrap_or(bytes.len().min(room));
            partial.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken + usize::from(end.is_some())..];
            let is_full = partial.len() >= line_bytes_max;
            if is_full && end.is_none() {
                // The line feed right behind a full line ends that line.
                bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
            }
            if end.is_some() || is_full {
                line(partial.strip_suffix(b"\r").unwrap_or(&partial));
                partial.clear();
            }
        }
    }

    /// Passes on what is left.
    pub(super) fn end(&self, line: impl FnOnce(&[u8])) {
        let partial = std::mem::take(&mut *self.partial.lock());
        if !partial.is_empty() {
            line(&partial);
        }
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Stdout,
    Stderr,
}

/// One of the two outputs, and every stream of it that a guest opens.
#[derive(Clone)]
struct Stream {
    lines: Arc<Lines>,
    kind: Kind,
}

impl Stream {
    fn put(&self, bytes: &[u8]) {
        let (lines, max) = (&self.lines, self.lines.line_bytes_max());
        match self.kind {
            Kind::Stdout => lines.stdout.write(bytes, max, |it| lines.output(Level::Info, it)),
            Kind::Stderr => lines.stderr.write(bytes, max, |it| lines.hold(it)),
        }
    }
}

impl IsTerminal for Stream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait::async_trait]
impl Pollable for Stream {
    async fn ready(&mut self) {}
}

impl OutputStream for Stream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.put(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES_MAX)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.put(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(writes: &[&str], line_bytes_max: usize, expected: &[&str]) {
        let output = Output::default();
        let mut lines = Vec::new();
        let mut line = |line: &[u8]| lines.push(String::from_utf8_lossy(line).into_owned());
        for write in writes {
            output.write(write.as_bytes(), line_bytes_max, &mut line);
        }
        output.end(&mut line);
        assert_eq!(lines, expected, "{writes:?}");
    }

    #[test]
    fn output_becomes_bounded_lines() {
        check(&["a\nb"], 80, &["a", "b"]);
        check(&["a", "b\r\n", "\n", "c\n"], 80, &["ab", "", "c"]);
        check(&["abcdefg\n"], 3, &["abc", "def", "g"]);
        check(&["abc\ndef\n"], 3, &["abc", "def"]);
        check(&[], 3, &[]);
    }
}
