//! One connection to a server: TLS, HTTP/2, and the greeting that comes first.
//!
//! ```text
//!  connect within CONNECT_DEADLINE ──> greet within GREETING_DEADLINE ──> steps ──> closed
//! ```
//! Invariants:
//! - A line exists only once both sides have agreed.
//! - A failure says whether the step can have reached the server.
//! - The tasks of a connection end with it.

use std::error::Error as _;
use std::fmt;
use std::io;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream;
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper::{Request, Response, Uri};
use hyper_util::rt::{TokioIo, TokioTimer};
use stockade_depot::StoreFull;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service;

use crate::body::{self, Broken, cut, join};
use crate::handshake::{FULL_SINCE, Refusal, RefusalCode, Terms, WAIT_SINCE, shown};
use crate::keys::{STORE_NAME, is_protocol, store_name};
use crate::limits::{
    CONNECT_DEADLINE, CONNECTION_WINDOW_BYTES, FRAME_BYTES_MAX, GREETING_BYTES_MAX,
    GREETING_DEADLINE, PART_BYTES_MAX, PART_HEAD_BYTES_MAX, PING_EVERY, PING_MAX, SHARDS_MAX,
    STREAM_WINDOW_BYTES, STREAMS_MAX,
};
use crate::proto::store_client::StoreClient;
use crate::proto::{self, Step, welcome};
use crate::steps::About;
use crate::store::RemoteConfig;
use crate::tasks::{Starter, Tasks};
use crate::wire::Wire as _;

/// Why there is no line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotOpen {
    /// The server cannot be reached, or TLS does not come about.
    Away(String),
    /// One of both sides does not speak with the other.
    Refused(Refusal),
}

impl fmt::Display for NotOpen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Away(why) => f.write_str(why),
            Self::Refused(refusal) => refusal.fmt(f),
        }
    }
}

/// What became of a step that has no answer.
#[derive(Debug)]
pub(crate) enum Unanswered {
    /// The server has certainly not seen it.
    NotSent(String),
    /// The server may have applied it.
    Lost(String),
}

/// The answer to a step.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Whether the message is an error of the store.
    pub(crate) failed: bool,
    /// The message.
    pub(crate) message: Bytes,
    /// Whether the store has room; `None`: a server that does not say so.
    pub(crate) full: Option<Option<StoreFull>>,
}

/// What carries steps.
enum Way {
    /// A connection.
    Wire { send: SendRequest<Body>, _tasks: Tasks },
    /// A simulation.
    #[cfg(feature = "simulated")]
    Carried(std::sync::Arc<dyn crate::carried::Carrier>),
}

/// A greeted connection.
pub(crate) struct Line {
    way: Way,
    /// Steps that may be on their way.
    streams: Semaphore,
    /// What was agreed on.
    pub(crate) version: u32,
    /// The version of the program that serves.
    pub(crate) program: String,
    /// Shards of the store.
    pub(crate) shards: u16,
}

impl Line {
    /// Connects and greets. To be called on the runtime `home`, where the connection lives.
    ///
    /// # Errors
    /// `NotOpen`.
    pub(crate) async fn open(config: &RemoteConfig, home: Handle) -> Result<Self, NotOpen> {
        let tasks = Tasks::default();
        let connected = timeout(CONNECT_DEADLINE, connect(config, tasks.starter(home))).await;
        let connected = connected.unwrap_or_else(|_| {
            Err(io::Error::other(format!("no connection within {CONNECT_DEADLINE:?}")))
        });
        let send = connected.map_err(|error| NotOpen::Away(error.to_string()))?;
        let greeted = timeout(GREETING_DEADLINE, greet(config, client(&send))).await;
        let Agreed { version, program, shards } = greeted.unwrap_or_else(|_| {
            Err(NotOpen::Away(format!("no greeting within {GREETING_DEADLINE:?}")))
        })?;
        Ok(Self::over(Way::Wire { send, _tasks: tasks }, version, program, shards))
    }

    fn over(way: Way, version: u32, program: String, shards: u16) -> Self {
        let streams = Semaphore::new(usize::try_from(STREAMS_MAX).unwrap_or(usize::MAX));
        Self { way, streams, version, program, shards }
    }

    /// A line that a simulation carries.
    #[cfg(feature = "simulated")]
    pub(crate) fn carried(
        carrier: std::sync::Arc<dyn crate::carried::Carrier>,
        version: u32,
        program: String,
        shards: u16,
    ) -> Self {
        Self::over(Way::Carried(carrier), version, program, shards)
    }

    /// Whether steps may be sent.
    pub(crate) fn is_open(&self) -> bool {
        match &self.way {
            Way::Wire { send, .. } => !send.is_closed(),
            #[cfg(feature = "simulated")]
            Way::Carried(_) => true,
        }
    }

    /// Tells the server why this line is not used. Whether it gets this changes nothing.
    pub(crate) async fn leave(&self, refusal: &Refusal) {
        match &self.way {
            Way::Wire { send, .. } => {
                drop(timeout(GREETING_DEADLINE, client(send).leave(refusal.put())).await);
            }
            #[cfg(feature = "simulated")]
            Way::Carried(_) => {}
        }
    }

    /// Sends the message of a step, and waits for the answer until `deadline`.
    ///
    /// # Errors
    /// `Unanswered`, which says whether the step can have been applied.
    pub(crate) async fn send(
        &self,
        step: Step,
        about: About,
        message: Bytes,
        deadline: Instant,
    ) -> Result<Answer, Unanswered> {
        let ends = |_| Unanswered::NotSent("the connection ends".to_owned());
        let _stream = self.streams.acquire().await.map_err(ends)?;
        let waits = deadline.saturating_duration_since(Instant::now());
        let send = match &self.way {
            Way::Wire { send, .. } => send,
            #[cfg(feature = "simulated")]
            Way::Carried(carrier) => {
                let request = crate::carried::Request::new(step, waits, message);
                return crate::carried::send(carrier, request).await;
            }
        };
        let wait_ms = u64::try_from(waits.as_millis()).unwrap_or(u64::MAX);
        let head = proto::RequestHead {
            version: Some(self.version),
            step: step.into(),
            bytes: Some(u64::try_from(message.len()).unwrap_or(u64::MAX)),
            wait_ms: (self.version >= WAIT_SINCE).then_some(wait_ms),
        };
        let mut parts = cut(message).into_iter();
        let first = proto::RequestPart { head: Some(head), data: parts.next().unwrap_or_default() };
        let rest = parts.map(|data| proto::RequestPart { head: None, data });
        let request = stream::iter(std::iter::once(first).chain(rest));
        let replies = client(send).step(request).await.map_err(|status| unanswered(&status))?;
        let lost = |broken: Broken| Unanswered::Lost(broken.to_string());
        let mut replies = replies.into_inner().boxed();
        let first = replies.next().await.ok_or_else(|| lost(Broken::Length))?;
        let first = first.map_err(|status| lost(Broken::Stream(status)))?;
        let nothing = || Unanswered::Lost("an answer without its head".to_owned());
        let proto::ReplyHead { bytes, failed, full } = first.head.ok_or_else(nothing)?;
        let (bytes, failed) = (bytes.ok_or_else(nothing)?, failed.ok_or_else(nothing)?);
        let bytes = body::check(bytes, about.bytes_max()).map_err(lost)?;
        let rest = replies.map(|part| part.map(|part| part.data));
        let message = join(bytes, first.data, rest).await.map_err(lost)?;
        let full = (self.version >= FULL_SINCE)
            .then(|| full.map(StoreFull::take).transpose())
            .transpose()
            .map_err(|malformed| Unanswered::Lost(malformed.to_string()))?;
        Ok(Answer { failed, message, full })
    }
}

fn unanswered(status: &Status) -> Unanswered {
    let mut source = status.source();
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<SendError>() {
            let why = error.why.clone();
            return if error.sent { Unanswered::Lost(why) } else { Unanswered::NotSent(why) };
        }
        source = error.source();
    }
    Unanswered::Lost(body::status(status))
}

fn client(send: &SendRequest<Body>) -> StoreClient<Sender> {
    let origin = Uri::builder().scheme("https").authority(STORE_NAME).path_and_query("/").build();
    let origin = origin.expect("BUG: the name is an authority");
    let bytes_max = PART_BYTES_MAX + PART_HEAD_BYTES_MAX;
    StoreClient::with_origin(Sender(send.clone()), origin)
        .max_decoding_message_size(bytes_max.max(GREETING_BYTES_MAX))
        .max_encoding_message_size(bytes_max)
}

async fn connect(config: &RemoteConfig, starter: Starter) -> io::Result<SendRequest<Body>> {
    let stream = TcpStream::connect(config.address.target()).await?;
    stream.set_nodelay(true)?;
    let connector = TlsConnector::from(config.keys.config());
    let stream = connector.connect(store_name(), stream).await?;
    if !is_protocol(stream.get_ref().1.alpn_protocol()) {
        return Err(io::Error::other("the other side serves no store"));
    }
    let (send, connection) = Builder::new(starter.clone())
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| io::Error::other(SendError::of(&error, true).why))?;
    starter.start(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection to the store ended");
        }
    });
    Ok(send)
}

/// Agrees with the server: the version, and the shards of its store.
async fn greet(config: &RemoteConfig, mut client: StoreClient<Sender>) -> Result<Agreed, NotOpen> {
    let hello = proto::Hello {
        terms: Some(config.terms.put()),
        token: config.token.as_ref().map(|token| token.text().to_owned()),
    };
    let answer = client.greet(hello).await.map_err(|status| match unanswered(&status) {
        Unanswered::NotSent(why) | Unanswered::Lost(why) => NotOpen::Away(why),
    })?;
    let refusal = match answer.into_inner().answer {
        Some(welcome::Answer::Accepted(accepted)) => match agreed(config, accepted) {
            Ok(agreed) => return Ok(agreed),
            Err(refusal) => refusal,
        },
        Some(welcome::Answer::Refusal(refusal)) => {
            return Err(NotOpen::Refused(Refusal::take(&refusal)));
        }
        None => Refusal::new(RefusalCode::Malformed, "the answer to the greeting cannot be read"),
    };
    // The server logs why; whether it gets this changes nothing.
    drop(client.leave(refusal.put()).await);
    Err(NotOpen::Refused(refusal))
}

/// What a greeting has brought.
struct Agreed {
    version: u32,
    program: String,
    shards: u16,
}

fn agreed(config: &RemoteConfig, accepted: proto::Accepted) -> Result<Agreed, Refusal> {
    let malformed =
        || Refusal::new(RefusalCode::Malformed, "the answer to the greeting cannot be read");
    let proto::Accepted { version, terms, shards } = accepted;
    let theirs = Terms::take(terms).ok_or_else(malformed)?;
    let agreed = config.terms.agree(&theirs)?;
    let program = shown(&theirs.program);
    if version != Some(agreed) {
        let what = format!("program {program} speaks another version than was agreed on");
        return Err(Refusal::new(RefusalCode::Version, &what));
    }
    let shards = shards.and_then(|shards| u16::try_from(shards).ok());
    let shards = shards.filter(|shards| (1..=SHARDS_MAX).contains(shards));
    Ok(Agreed { version: agreed, program, shards: shards.ok_or_else(malformed)? })
}

/// What sends requests on a connection.
#[derive(Clone)]
struct Sender(SendRequest<Body>);

/// Why a request has no response, and whether it was sent.
#[derive(Debug)]
struct SendError {
    sent: bool,
    why: String,
}

impl SendError {
    fn of(error: &hyper::Error, sent: bool) -> Self {
        let why = error.source().map_or_else(|| error.to_string(), ToString::to_string);
        Self { sent, why }
    }
}

/// Whether the protocol says that the other side has not looked at the request: it refused the
/// stream, or is going away and names this one as not taken (RFC 9113, 8.7).
fn is_unread(error: &hyper::Error) -> bool {
    let Some(error) = error.source().and_then(|source| source.downcast_ref::<h2::Error>()) else {
        return false;
    };
    let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
    error.is_remote() && (refused || error.is_go_away())
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl std::error::Error for SendError {}

impl Service<Request<Body>> for Sender {
    type Response = Response<Incoming>;
    type Error = SendError;
    type Future = BoxFuture<'static, Result<Response<Incoming>, SendError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        self.0.poll_ready(context).map_err(|error| SendError::of(&error, false))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let sending = self.0.try_send_request(request);
        Box::pin(async move {
            sending.await.map_err(|mut error| {
                let unsent = error.take_message().is_some();
                let error = error.into_error();
                SendError::of(&error, !unsent && !is_unread(&error))
            })
        })
    }
}
