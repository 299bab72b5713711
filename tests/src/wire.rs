//! One caller with one HTTP/1.1 connection that a test holds in its own hand: whether it is still the
//! same connection, how long an answer takes, and what the caller knows where there is none.
//!
//! ```text
//!  open? ── no ──> connect ── refused ──> NotDone: nothing of the call has left
//!    └────────────────┴─> send, with `stockade-timeout-ms`
//!                            ├─ answer ──> Done, or what its advice says
//!                            ├─ the connection ends ──> Unknown
//!                            └─ nothing within time and slack ──> Silent
//! ```

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use crate::program::ADMIN_TOKEN;

/// The longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// What a caller knows after a call.
#[derive(Clone, Debug, PartialEq)]
pub enum Known {
    /// It was done; the method's value.
    Done(Json),
    /// It was not done, for certain; why.
    NotDone(String),
    /// It may have been done; why there is no answer.
    Unknown(String),
    /// The time that the server was given is over, the slack as well, and it has said nothing.
    Silent,
    /// An answer that no caller should get here.
    Wrong(String),
}

impl Known {
    /// Whether the call was answered with a value.
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done(_))
    }
}

/// A call, and what became of it.
#[derive(Clone, Debug)]
pub struct Called {
    /// What the caller knows.
    pub known: Known,
    /// From the begin of the call to its end.
    pub took: Duration,
    /// Whether it went over the connection of the call before.
    pub kept: bool,
    /// The generation that answered, if one did.
    pub generation: Option<u64>,
}

/// A caller.
pub struct Wire {
    address: String,
    stream: Option<BufReader<TcpStream>>,
    slack: Duration,
}

impl Wire {
    /// A caller of the server at `host:port`, without a connection. It waits `slack` longer than it
    /// says to the server.
    #[must_use]
    pub fn to(address: &str, slack: Duration) -> Self {
        Self { address: address.to_owned(), stream: None, slack }
    }

    /// Calls a method, for which the server gets `time`.
    pub fn call(&mut self, actor: &str, method: &str, body: &Json, time: Duration) -> Called {
        let begun = Instant::now();
        let kept = self.is_open();
        let until = begun + time + self.slack;
        let (known, generation) = match self.exchange(actor, method, body, time, until) {
            Ok(answer) => (answer.known(), answer.generation),
            Err(known) => {
                self.stream = None;
                (known, None)
            }
        };
        Called { known, took: begun.elapsed(), kept, generation }
    }

    /// Whether there is a connection that the server has not closed.
    #[must_use]
    pub fn is_open(&self) -> bool {
        let Some(stream) = &self.stream else { return false };
        let stream = stream.get_ref();
        let asked = stream.set_nonblocking(true).and_then(|()| stream.peek(&mut [0]));
        let waits = matches!(&asked, Err(error) if error.kind() == io::ErrorKind::WouldBlock);
        stream.set_nonblocking(false).is_ok() && waits
    }

    fn exchange(
        &mut self,
        actor: &str,
        method: &str,
        body: &Json,
        time: Duration,
        until: Instant,
    ) -> Result<Answer, Known> {
        if !self.is_open() {
            let stream = connect(&self.address, until);
            let stream =
                stream.map_err(|error| Known::NotDone(format!("no connection: {error}")))?;
            self.stream = Some(BufReader::new(stream));
        }
        let stream = self.stream.as_mut().expect("it was made just now");
        let body = body.to_string();
        let (address, length, ms) = (&self.address, body.len(), time.as_millis());
        let request = format!(
            "POST /actors/{actor}/{method} HTTP/1.1\r\nhost: {address}\r\n\
             authorization: Bearer {ADMIN_TOKEN}\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\nstockade-timeout-ms: {ms}\r\n\r\n{body}"
        );
        let lost = |error: io::Error| match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Known::Silent,
            _ => Known::Unknown(format!("the connection ended: {error}")),
        };
        stream.get_mut().write_all(request.as_bytes()).map_err(lost)?;
        let answer = read(stream, until).map_err(lost)?;
        if answer.closes {
            self.stream = None;
        }
        Ok(answer)
    }
}

fn connect(address: &str, until: Instant) -> io::Result<TcpStream> {
    let resolved = address.to_socket_addrs()?.next().ok_or(io::ErrorKind::NotFound)?;
    let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    let stream = TcpStream::connect_timeout(&resolved, left)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

struct Answer {
    status: u16,
    body: Json,
    generation: Option<u64>,
    closes: bool,
}

impl Answer {
    /// What the caller knows, by the advice of the answer.
    fn known(&self) -> Known {
        let Self { status, body, .. } = self;
        if *status == 200 {
            return match body.get("ok") {
                Some(value) => Known::Done(value.clone()),
                // The database refused the guest: its answer has arrived, the write is in doubt.
                None => Known::Unknown(format!("the guest: {body}")),
            };
        }
        let word = |name: &str| body[name].as_str().unwrap_or_default();
        let code = format!("{status} {}.{}", word("group"), word("code"));
        match word("retry") {
            "retry" | "reroute" => Known::NotDone(code),
            "unknown-outcome" => Known::Unknown(code),
            _ => Known::Wrong(format!("{status} {body}")),
        }
    }
}

fn read(stream: &mut BufReader<TcpStream>, until: Instant) -> io::Result<Answer> {
    let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    stream.get_ref().set_read_timeout(Some(left))?;
    let mut line = String::new();
    let mut next = |stream: &mut BufReader<TcpStream>| {
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        Ok(line.trim_end().to_owned())
    };
    let broken = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let status = next(stream)?;
    let status = status.split(' ').nth(1).and_then(|text| text.parse().ok());
    let status = status.ok_or_else(|| broken("no status"))?;
    let (mut length, mut chunked, mut closes, mut generation) = (0_u64, false, false, None);
    loop {
        let field = next(stream)?.to_ascii_lowercase();
        let Some((name, value)) = field.split_once(':') else { break };
        let value = value.trim();
        match name {
            "content-length" => length = value.parse().map_err(|_| broken("content-length"))?,
            "transfer-encoding" => chunked = value == "chunked",
            "connection" => closes = value == "close",
            "stockade-generation" => generation = value.parse().ok(),
            _ => {}
        }
    }
    let mut bytes = Vec::new();
    if chunked {
        loop {
            let size = u64::from_str_radix(&next(stream)?, 16).map_err(|_| broken("a chunk"))?;
            stream.by_ref().take(size.min(ANSWER_BYTES_MAX)).read_to_end(&mut bytes)?;
            next(stream)?;
            if size == 0 {
                break;
            }
        }
    } else {
        stream.by_ref().take(length.min(ANSWER_BYTES_MAX)).read_to_end(&mut bytes)?;
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let body = serde_json::from_str(&text).unwrap_or(Json::String(text));
    Ok(Answer { status, body, generation, closes })
}
