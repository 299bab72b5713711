//! One connection to a peer: TLS, HTTP/2, and the tasks that drive it.
//!
//! ```text
//!  connect within PEER_CONNECT_MAX ──> open ──> closed: the peer has gone, or answers no ping
//!                                       ├ silent for PEER_SILENT_MAX ──> avoided until bytes come
//!                                       └ unused for PEER_IDLE_MAX ──> left, before the peer does
//! ```
//! Invariant: the tasks of a connection end with this value.

use std::error::Error as _;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use axum::body::Body;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use super::failure::Failure;
use super::heard::{Heard, Noted};
use super::keys::{PeerKeys, peer_name};
use super::protocol::Protocol;
use stockade::limits::{
    FRAME_BYTES_MAX, PEER_CONNECT_MAX, PEER_IDLE_MAX, PEER_PING_EVERY, PEER_PING_MAX,
    PEER_SILENT_MAX, WINDOW_BYTES,
};

/// An open connection.
pub(super) struct Line {
    send: SendRequest<Body>,
    protocol: Protocol,
    /// Requests on their way.
    busy: Arc<AtomicUsize>,
    used: Mutex<Instant>,
    heard: Heard,
    /// Ends the tasks of the connection.
    _tasks: Arc<Mutex<JoinSet<()>>>,
}

/// Counts a request as long as it lives.
struct Busy(Arc<AtomicUsize>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Line {
    /// Connects to `host:port`. The connection belongs to the runtime `home`.
    ///
    /// # Errors
    /// Why there is no connection, in words.
    pub(super) async fn open(
        address: &str,
        keys: &PeerKeys,
        home: &Handle,
    ) -> Result<Self, String> {
        let tasks = Arc::<Mutex<JoinSet<()>>>::default();
        let (opened, open) = oneshot::channel();
        let (address, connector) = (address.to_owned(), TlsConnector::from(keys.client()));
        let streams = Streams { tasks: Arc::downgrade(&tasks), home: home.clone() };
        let connection = async move {
            let connected = timeout(PEER_CONNECT_MAX, connect(&address, connector, streams)).await;
            let why = match connected {
                Ok(Ok((send, connection, protocol, heard))) => {
                    if opened.send(Ok((send, protocol, heard))).is_ok()
                        && let Err(error) = connection.await
                    {
                        tracing::debug!(%address, %error, "connection to a peer ended");
                    }
                    return;
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("no connection within {PEER_CONNECT_MAX:?}"),
            };
            drop(opened.send(Err(why)));
        };
        tasks.lock().spawn_on(connection, home);
        let open = open.await.unwrap_or_else(|_| Err("the host ends".to_owned()));
        let (send, protocol, heard) = open?;
        let used = Mutex::new(Instant::now());
        Ok(Self { send, protocol, busy: Arc::default(), used, heard, _tasks: tasks })
    }

    /// The version of the protocol that both sides speak.
    pub(super) fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Whether requests may be sent. A connection that was not used for a while is not: the other
    /// side may be about to close it.
    pub(super) fn is_open(&self) -> bool {
        let busy = self.busy() > 0;
        !self.send.is_closed() && (busy || self.used.lock().elapsed() < PEER_IDLE_MAX)
    }

    /// When bytes of the other side came last.
    pub(super) fn heard(&self) -> Instant {
        self.heard.last()
    }

    /// Since when the other side is silent, if that is longer than it should be: it is asked for a sign
    /// of life all the time.
    pub(super) fn silent_since(&self) -> Option<Instant> {
        Some(self.heard()).filter(|heard| heard.elapsed() >= PEER_SILENT_MAX)
    }

    /// Requests on their way.
    pub(super) fn busy(&self) -> usize {
        self.busy.load(Ordering::Relaxed)
    }

    /// Sends a request; resolves with the head of its answer.
    ///
    /// # Errors
    /// `Lost`, or `NotSent` if the peer has surely not read the request.
    pub(super) fn send(
        &self,
        request: Request<Body>,
    ) -> impl Future<Output = Result<Response<Incoming>, Failure>> + Send + use<> {
        self.busy.fetch_add(1, Ordering::Relaxed);
        let busy = Busy(Arc::clone(&self.busy));
        *self.used.lock() = Instant::now();
        let mut send = self.send.clone();
        async move {
            let _busy = busy;
            let answered = send.try_send_request(request).await;
            answered.map_err(|mut error| {
                let unsent = error.take_message().is_some();
                let error = error.into_error();
                let why =
                    error.source().map_or_else(|| error.to_string(), |source| source.to_string());
                if unsent || is_unread(&error) { Failure::NotSent(why) } else { Failure::Lost(why) }
            })
        }
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

type Connected = (
    SendRequest<Body>,
    hyper::client::conn::http2::Connection<
        TokioIo<Noted<tokio_rustls::client::TlsStream<TcpStream>>>,
        Body,
        Streams,
    >,
    Protocol,
    Heard,
);

async fn connect(
    address: &str,
    connector: TlsConnector,
    streams: Streams,
) -> io::Result<Connected> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let stream = connector.connect(peer_name(), stream).await?;
    let protocol = Protocol::agreed(stream.get_ref().1.alpn_protocol());
    let protocol = protocol.ok_or_else(|| {
        io::Error::other("the other side speaks no version of the protocol between peers")
    })?;
    let heard = Heard::now();
    let (send, connection) = Builder::new(streams)
        .timer(TokioTimer::new())
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .keep_alive_interval(PEER_PING_EVERY)
        .keep_alive_timeout(PEER_PING_MAX)
        // Callers that have given up leave no request behind, and the next one needs to know.
        .keep_alive_while_idle(true)
        .handshake(TokioIo::new(heard.on(stream)))
        .await
        .map_err(io::Error::other)?;
    Ok((send, connection, protocol, heard))
}

/// Spawns the tasks of a connection where it lives. They end with the connection's value, which
/// owns the `JoinSet`.
#[derive(Clone)]
struct Streams {
    tasks: Weak<Mutex<JoinSet<()>>>,
    home: Handle,
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, task: F) {
        if let Some(tasks) = self.tasks.upgrade() {
            let mut tasks = tasks.lock();
            while tasks.try_join_next().is_some() {}
            tasks.spawn_on(task, &self.home);
        }
    }
}
