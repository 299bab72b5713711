//! The listener of a store: connections, TLS, and their end.
//!
//! ```text
//! accept ──> at most CONNECTIONS_MAX ──> TLS ──> greeted within GREETING_DEADLINE ──> steps
//! close:  no new connections ─> each finishes its steps ─> at the latest after CLOSE_DEADLINE
//! ```
//! Invariant: what serves a connection ends with the server's value.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use stockade_depot::Store;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::codegen::Service as _;

use crate::handshake::Terms;
use crate::keys::{ServerKeys, is_for_a_store, is_protocol};
use crate::limits::{
    CLOSE_DEADLINE, CONNECTION_WINDOW_BYTES, CONNECTIONS_MAX, FRAME_BYTES_MAX, GREETING_DEADLINE,
    PART_BYTES_MAX, PART_HEAD_BYTES_MAX, PING_EVERY, PING_MAX, SERVER_STREAMS_MAX,
    STREAM_WINDOW_BYTES,
};
use crate::proto::store_server::StoreServer as Routes;
use crate::service::{Peer, Service};
use crate::tasks::{Starter, Tasks};
use crate::token::StoreToken;

/// The pause after a connection that could not be accepted: descriptors may have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How a store is served. Start from [`ServeConfig::new`].
#[derive(Clone, Debug)]
pub struct ServeConfig {
    /// What the server shows, and which clients it asks.
    pub keys: ServerKeys,
    /// The token of clients without a certificate; `None`: there are none.
    pub token: Option<StoreToken>,
    /// What this side can do. Another value than [`Terms::ours`] is for tests of other versions.
    pub terms: Terms,
}

impl ServeConfig {
    /// A server for clients with certificates.
    #[must_use]
    pub fn new(keys: ServerKeys) -> Self {
        Self { keys, token: None, terms: Terms::ours() }
    }
}

/// A store that is served. Ends when it is dropped, in the middle of steps; in order with
/// [`StoreServer::close`].
pub struct StoreServer {
    address: SocketAddr,
    closing: watch::Sender<bool>,
    connections: Arc<Semaphore>,
    _tasks: Tasks,
}

impl std::fmt::Debug for StoreServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreServer").field("address", &self.address).finish_non_exhaustive()
    }
}

impl StoreServer {
    /// Serves `store` on a listener. Everything runs on the runtime that this is called on.
    ///
    /// # Errors
    /// The listener has no address.
    pub fn start(
        listener: TcpListener,
        store: Arc<dyn Store>,
        config: &ServeConfig,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let bytes_max = PART_BYTES_MAX + PART_HEAD_BYTES_MAX;
        let service = Service::new(store, config.token.clone(), config.terms.clone());
        let routes = Routes::new(service)
            .max_decoding_message_size(bytes_max)
            .max_encoding_message_size(bytes_max);
        let (tasks, closing) = (Tasks::default(), watch::Sender::new(false));
        let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let starter = tasks.starter(Handle::current());
        let gate = Gate {
            acceptor: TlsAcceptor::from(config.keys.config()),
            routes,
            connections: Arc::clone(&connections),
            closing: closing.subscribe(),
            starter: starter.clone(),
        };
        starter.start(gate.run(listener));
        Ok(Self { address, closing, connections, _tasks: tasks })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more connections and steps, and finishes those that have begun, for at most
    /// [`CLOSE_DEADLINE`].
    pub async fn close(self) {
        self.closing.send_replace(true);
        let all = u32::try_from(CONNECTIONS_MAX).unwrap_or(u32::MAX);
        if timeout(CLOSE_DEADLINE, self.connections.acquire_many(all)).await.is_err() {
            tracing::warn!("clients of the store had steps that did not end");
        }
    }
}

/// What lets connections in.
struct Gate {
    acceptor: TlsAcceptor,
    routes: Routes<Service>,
    connections: Arc<Semaphore>,
    closing: watch::Receiver<bool>,
    starter: Starter,
}

impl Gate {
    async fn run(mut self, listener: TcpListener) {
        while !*self.closing.borrow() {
            let Ok(permit) = Arc::clone(&self.connections).acquire_owned().await else { return };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = self.closing.changed() => return,
            };
            match accepted {
                Ok((stream, from)) => self.starter.start(self.connection(stream, from, permit)),
                Err(error) => {
                    tracing::debug!(%error, "accept a client of the store");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Serves a connection from its first byte to its last.
    fn connection(
        &self,
        stream: TcpStream,
        from: SocketAddr,
        permit: OwnedSemaphorePermit,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (acceptor, routes) = (self.acceptor.clone(), self.routes.clone());
        let (closing, starter) = (self.closing.clone(), self.starter.clone());
        async move {
            let _permit = permit;
            drop(stream.set_nodelay(true));
            let stream = match timeout(GREETING_DEADLINE, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => {
                    tracing::warn!(peer = %from, %error, "a client of the store was refused by TLS");
                    return;
                }
                Err(_) => return,
            };
            if is_protocol(stream.get_ref().1.alpn_protocol()) {
                serve(stream, from, routes, closing, starter).await;
            }
        }
    }
}

async fn serve(
    stream: TlsStream<TcpStream>,
    from: SocketAddr,
    routes: Routes<Service>,
    mut closing: watch::Receiver<bool>,
    starter: Starter,
) {
    let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let peer = Arc::new(Peer::new(from.to_string(), certificate.is_some_and(is_for_a_store)));
    let known = Arc::clone(&peer);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Arc::clone(&known));
        routes.clone().call(request)
    });
    let connection = Builder::new(starter)
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_concurrent_streams(SERVER_STREAMS_MAX)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let mut greeting = pin!(sleep(GREETING_DEADLINE));
    let (mut waits_for_greeting, mut is_closing) = (true, false);
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(peer = %peer.address, %error, "a client of the store has gone");
                }
                return;
            }
            () = greeting.as_mut(), if waits_for_greeting => {
                if !peer.is_greeted() {
                    tracing::debug!(peer = %peer.address, "a connection without a greeting");
                    return;
                }
                waits_for_greeting = false;
            }
            _ = closing.changed(), if !is_closing => {
                is_closing = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}
