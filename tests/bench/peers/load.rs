//! The client of all sides: HTTP/1.1 on one thread, over connections that stay open.
//!
//! The client shares the machine's cores with the measured server, so it does little: the bytes of
//! a request are made beforehand, and only the head of an answer is parsed.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use futures_util::future::try_join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Most bytes and most headers of an answer.
const ANSWER_BYTES_MAX: usize = 16 * 1024;
const HEADERS_MAX: usize = 32;

/// How long one answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// A connection that stays open.
pub struct Connection {
    address: SocketAddr,
    stream: TcpStream,
    bytes: Vec<u8>,
}

/// An answer of the server.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    headers: Vec<(String, String)>,
    /// The whole body.
    pub body: String,
}

impl Answer {
    /// The header with this name, in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(found, _)| found == name);
        found.map(|(_, value)| value.as_str())
    }
}

impl Connection {
    pub async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { address, stream, bytes: Vec::with_capacity(ANSWER_BYTES_MAX) })
    }

    /// Calls a method with one argument.
    pub async fn call(&mut self, path: &str, argument: u32) -> anyhow::Result<Answer> {
        let request = request(self.address, path, argument);
        let (status, body_at, end) = self.exchange(&request).await?;
        let mut room = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut head = httparse::Response::new(&mut room);
        head.parse(&self.bytes)?;
        let headers = head.headers.iter().map(|header| {
            let value = String::from_utf8_lossy(header.value).into_owned();
            (header.name.to_ascii_lowercase(), value)
        });
        let headers = headers.collect();
        let body = String::from_utf8_lossy(&self.bytes[body_at..end]).into_owned();
        Ok(Answer { status, headers, body })
    }

    /// Sends a request and reads the whole answer. Returns its status, and where its body begins
    /// and ends.
    async fn exchange(&mut self, request: &[u8]) -> anyhow::Result<(u16, usize, usize)> {
        self.stream.write_all(request).await?;
        self.bytes.clear();
        loop {
            let read = self.stream.read_buf(&mut self.bytes).await?;
            ensure!(read > 0, "the server closed the connection");
            let mut room = [httparse::EMPTY_HEADER; HEADERS_MAX];
            let mut head = httparse::Response::new(&mut room);
            if let httparse::Status::Complete(body_at) = head.parse(&self.bytes)? {
                let len =
                    head.headers.iter().find(|h| h.name.eq_ignore_ascii_case("content-length"));
                let len = len.context("an answer without a length")?.value;
                let end = body_at + std::str::from_utf8(len)?.trim().parse::<usize>()?;
                if self.bytes.len() >= end {
                    return Ok((head.code.context("a status")?, body_at, end));
                }
            }
            ensure!(self.bytes.len() < ANSWER_BYTES_MAX, "an answer that does not end");
        }
    }
}

/// The bytes of a call. Between the sides only the path differs.
fn request(address: SocketAddr, path: &str, argument: u32) -> Vec<u8> {
    let body = format!("[{argument}]");
    format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// The measurements of a load.
pub struct Measured {
    /// Answers per second.
    pub per_s: f64,
    /// Milliseconds of each call, from the request's first byte to the answer's last.
    pub ms: Vec<f64>,
}

/// Opens one connection for each path and calls on each, one call after the other with one argument,
/// for the given time. Fails unless every answer is `{"ok":<a number>}`.
pub async fn run(
    address: SocketAddr,
    paths: &[String],
    argument: u32,
    lasting: Duration,
) -> anyhow::Result<Measured> {
    let mut connections = Vec::new();
    for path in paths {
        connections.push((Connection::open(address).await?, request(address, path, argument)));
    }
    let begun = Instant::now();
    let callers = connections.into_iter().map(|(mut connection, request)| async move {
        let mut ms = Vec::new();
        while begun.elapsed() < lasting {
            let sent = Instant::now();
            let answered = tokio::time::timeout(ANSWER_WITHIN, connection.exchange(&request));
            let (status, body_at, end) = answered.await.context("no answer")??;
            ms.push(sent.elapsed().as_secs_f64() * 1e3);
            let body = &connection.bytes[body_at..end];
            if status != 200 || !body.starts_with(b"{\"ok\":") {
                bail!("answered {status}: {}", String::from_utf8_lossy(body));
            }
        }
        Ok(ms)
    });
    let ms = try_join_all(callers).await?.concat();
    let per_s = ms.len() as f64 / begun.elapsed().as_secs_f64();
    Ok(Measured { per_s, ms })
}
