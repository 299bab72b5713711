//! One listening socket: accepts connections within a bound and serves HTTP/1.1 or HTTP/2 on each.
//!
//! ```text
//!  accept ──> room for a connection? ──> a thread's ──> TLS? ──> HTTP/1.1 or HTTP/2 ──> routes
//!     │        else the longest idle one      each within request_read_max
//!     │        gives way, and more wait
//!     │        in the kernel
//!     └ stop: the socket closes, idle connections close, requests in progress get their answer
//! ```
//!
//! Invariant: all requests of a connection run on its thread and end with it.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use super::idle::Connections;
use super::line::{Answer, Line};
use super::patience::Patient;
use super::threads::{Seat, Threads};
use super::tls::Tls;
use super::wire::Wire;
use stockade::limits::{
    FRAME_BYTES_MAX, HEAD_BYTES_MAX, HEAD_FIELDS_MAX, HostLimits, PEER_STREAMS_MAX, PIECE_BYTES,
    STREAMS_GIVEN_UP_MAX, STREAMS_MAX, STREAMS_RESET_MAX, WINDOW_BYTES,
};

/// Pause after a failed accept: without descriptors the next accept fails immediately, too.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long a connection that was asked to give up its place may take before another one is asked.
const LEAVING_MAX: Duration = Duration::from_millis(100);
/// How often failed accepts are logged.
const FAILURES_TOLD_EVERY: Duration = Duration::from_secs(1);

/// A listening socket and the tasks that serve it. A drop ends them all immediately.
pub struct Listener {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    accepting: JoinSet<()>,
}

impl Listener {
    /// Serves `router` on a bound socket, the connections on `threads`; `None`: on the present
    /// runtime. With `tls` the listener speaks nothing but TLS.
    ///
    /// # Errors
    /// The socket does not know its own address.
    pub fn start(
        socket: TcpListener,
        router: Router,
        limits: &HostLimits,
        threads: Option<Arc<Threads>>,
        tls: Option<Tls>,
    ) -> io::Result<Self> {
        let address = socket.local_addr()?;
        let is_for_peers = tls.as_ref().is_some_and(Tls::is_for_peers);
        let (stop, stopped) = watch::channel(false);
        let accept = Accept {
            router,
            threads,
            tls,
            stopped,
            room: Arc::new(Semaphore::new(limits.connections_max.max(1))),
            connections: Arc::default(),
            read_max: limits.request_read_max,
            write_stall_max: limits.write_stall_max,
            streams: Bounds::of(is_for_peers),
        };
        let mut accepting = JoinSet::new();
        accepting.spawn(accept.run(socket));
        Ok(Self { address, stop, accepting })
    }

    /// The listener's address, with the port that the system chose.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts no more connections and requests. Requests in progress continue.
    pub fn stop_intake(&self) {
        self.stop.send_replace(true);
    }

    /// Waits until every request in progress is answered, for `patience` at most; the rest is then
    /// cut off.
    pub async fn drained(mut self, patience: Duration) {
        self.stop_intake();
        let drained = async { while self.accepting.join_next().await.is_some() {} };
        if tokio::time::timeout(patience, drained).await.is_err() {
            tracing::warn!(address = %self.address, "connections were cut off");
        }
    }
}

struct Accept {
    router: Router,
    threads: Option<Arc<Threads>>,
    tls: Option<Tls>,
    stopped: watch::Receiver<bool>,
    room: Arc<Semaphore>,
    connections: Arc<Connections>,
    read_max: Duration,
    write_stall_max: Duration,
    streams: Bounds,
}

/// Bounds on the requests of an HTTP/2 connection.
#[derive(Clone, Copy)]
struct Bounds {
    streams_max: u32,
    given_up_max: usize,
    reset_max: (usize, usize),
}

impl Bounds {
    /// Peers have proved who they are: many requests share a connection of theirs, and those that
    /// callers give up end nothing.
    fn of(is_for_peers: bool) -> Self {
        if is_for_peers {
            let reset_max = usize::try_from(PEER_STREAMS_MAX).unwrap_or(usize::MAX);
            return Self {
                streams_max: PEER_STREAMS_MAX,
                given_up_max: usize::MAX,
                reset_max: (reset_max, reset_max),
            };
        }
        Self {
            streams_max: STREAMS_MAX,
            given_up_max: STREAMS_GIVEN_UP_MAX,
            reset_max: STREAMS_RESET_MAX,
        }
    }
}

impl Accept {
    async fn run(self, socket: TcpListener) {
        let mut connections = JoinSet::new();
        self.accept_all(&socket, &mut connections).await;
        drop(socket);
        while let Some(ended) = connections.join_next().await {
            report(ended);
        }
    }

    /// Accepts connections until the listener is asked to stop.
    async fn accept_all(&self, socket: &TcpListener, connections: &mut JoinSet<()>) {
        let mut stopped = self.stopped.clone();
        let (mut failures, mut told) = (0_u64, None::<Instant>);
        // Kept across the ends of other connections: it may hold an accepted connection that waits
        // for one of them.
        let mut next = std::pin::pin!(self.accept(socket));
        loop {
            let accepted = tokio::select! {
                biased;
                () = stop_asked(&mut stopped) => return,
                Some(ended) = connections.join_next() => { report(ended); continue }
                accepted = next.as_mut() => accepted,
            };
            next.set(self.accept(socket));
            match accepted {
                Ok((stream, permit)) => {
                    let seat = self.threads.as_ref().map(|threads| threads.seat());
                    let home = seat.as_ref().map_or_else(Handle::current, Seat::handle);
                    connections.spawn_on(self.serve(stream, permit, seat), &home);
                }
                Err(error) => {
                    failures += 1;
                    if told.is_none_or(|told| told.elapsed() >= FAILURES_TOLD_EVERY) {
                        tracing::warn!(%error, failures, "accept failed");
                        told = Some(Instant::now());
                    }
                    // Closing an idle connection frees a descriptor.
                    self.connections.give_way();
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Accepts the next connection and takes a place for it. If there is none, an idle connection
    /// gives way.
    async fn accept(
        &self,
        socket: &TcpListener,
    ) -> io::Result<(std::net::TcpStream, OwnedSemaphorePermit)> {
        let (stream, _) = socket.accept().await?;
        let room = Arc::clone(&self.room);
        let permit = match Arc::clone(&room).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => self.make_room(room).await?,
        };
        Ok((stream.into_std()?, permit))
    }

    /// Takes a place as soon as a connection is idle.
    async fn make_room(&self, room: Arc<Semaphore>) -> io::Result<OwnedSemaphorePermit> {
        let mut free = std::pin::pin!(room.acquire_owned());
        loop {
            let fell_idle = self.connections.fell_idle();
            let told = self.connections.give_way();
            tokio::select! {
                biased;
                permit = free.as_mut() => return permit.map_err(io::Error::other),
                () = fell_idle, if !told => {}
                // A request arrived on that connection first.
                () = tokio::time::sleep(LEAVING_MAX) => {}
            }
        }
    }

    fn serve(
        &self,
        stream: std::net::TcpStream,
        permit: OwnedSemaphorePermit,
        seat: Option<Seat>,
    ) -> impl Future<Output = ()> + Send + 'static {
        let known = self.connections.enter();
        let spoken = Spoken {
            line: Arc::clone(known.line()),
            routes: TowerToHyperService::new(self.router.clone()),
            stopped: self.stopped.clone(),
            read_max: self.read_max,
            stall_max: self.write_stall_max,
            bounds: self.streams,
        };
        let tls = self.tls.clone();
        async move {
            let _places = (permit, seat);
            let line = Arc::clone(known.line());
            // From here on the stream belongs to this thread's runtime.
            let stream = match stream.set_nodelay(true).and_then(|()| TcpStream::from_std(stream)) {
                Ok(stream) => stream,
                Err(error) => return tracing::debug!(%error, "connection not taken"),
            };
            let spoken = async {
                let Some(tls) = tls else { return spoken.serve(stream).await };
                let accepted = tls.acceptor().accept(stream);
                match tokio::time::timeout(spoken.read_max, accepted).await {
                    Ok(Ok(stream)) if tls.admits(&stream) => spoken.serve(stream).await,
                    Ok(Ok(_)) => tracing::warn!("a certificate without the name of peers: refused"),
                    Ok(Err(error)) => tracing::debug!(%error, "no TLS with this client"),
                    Err(_) => tracing::debug!("no TLS with this client in time"),
                }
            };
            tokio::select! {
                biased;
                () = spoken => {}
                () = line.ended() => tracing::debug!("an idle connection gave way to another"),
            }
        }
    }
}

/// What a connection needs once its bytes can be read.
struct Spoken {
    line: Arc<Line>,
    routes: TowerToHyperService<Router>,
    stopped: watch::Receiver<bool>,
    read_max: Duration,
    stall_max: Duration,
    bounds: Bounds,
}

impl Spoken {
    async fn serve<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(self, stream: S) {
        let Self { line, routes, mut stopped, read_max, stall_max, bounds } = self;
        let stream = Patient::new(stream, stall_max);
        let wire = Wire::new(stream, Arc::clone(&line), read_max, stall_max);
        let stream = TokioIo::new(wire.with_given_up(bounds.given_up_max));
        let asked = Arc::clone(&line);
        let service = service_fn(move |mut request: Request<Incoming>| {
            let turn = asked.begin(&mut request);
            let answered = routes.call(request);
            async move {
                let answered: Result<_, Infallible> = answered.await;
                answered
                    .map(|response| -> Response<Answer> { response.map(|body| turn.answer(body)) })
            }
        });
        let streams = Arc::<Mutex<JoinSet<()>>>::default();
        let builder = builder(Streams(Arc::downgrade(&streams)), bounds);
        let mut connection = std::pin::pin!(builder.serve_connection(stream, service));
        let ended = tokio::select! {
            biased;
            ended = connection.as_mut() => Some(ended),
            () = stop_asked(&mut stopped) => None,
            () = line.leaving() => None,
        };
        let ended = match ended {
            Some(ended) => ended,
            None => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            // Clients go away all the time; nothing here needs an operator.
            tracing::debug!(%error, "connection ended");
        }
    }
}

/// Both versions with their bounds. [`Wire`] watches the times.
fn builder(streams: Streams, bounds: Bounds) -> auto::Builder<Streams> {
    let mut builder = auto::Builder::new(streams);
    builder
        .http1()
        .header_read_timeout(None)
        .max_headers(HEAD_FIELDS_MAX)
        .max_buf_size(HEAD_BYTES_MAX);
    let (by_client, by_us) = bounds.reset_max;
    builder
        .http2()
        .max_concurrent_streams(bounds.streams_max)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX))
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_send_buf_size(PIECE_BYTES)
        .max_pending_accept_reset_streams(by_client)
        .max_local_error_reset_streams(by_us);
    builder
}

/// Spawns the tasks of an HTTP/2 connection on its thread. They end with the connection, which owns
/// the `JoinSet`.
#[derive(Clone)]
struct Streams(Weak<Mutex<JoinSet<()>>>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        if let Some(streams) = self.0.upgrade() {
            let mut streams = streams.lock();
            while streams.try_join_next().is_some() {}
            streams.spawn(stream);
        }
    }
}

/// Resolves when the listener was asked to stop, or was dropped.
async fn stop_asked(stopped: &mut watch::Receiver<bool>) {
    drop(stopped.wait_for(|stopped| *stopped).await);
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection's task panicked");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::http::header::CONTENT_LENGTH;
    use axum::routing::get;
    use futures_util::{StreamExt, stream};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn ask(router: Router) -> String {
        let socket = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let limits = HostLimits::default();
        let threads = Arc::new(Threads::start().expect("starts"));
        let listener =
            Listener::start(socket, router, &limits, Some(threads), None).expect("starts");
        let mut stream = TcpStream::connect(listener.address()).await.expect("connects");
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("writes");
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer).await);
        listener.drained(Duration::from_secs(5)).await;
        String::from_utf8(answer).expect("UTF-8")
    }

    /// A client of an export must never take a part for the whole.
    #[tokio::test]
    async fn a_body_that_breaks_off_never_looks_whole() {
        let parts = || {
            // Fails later, so that the head and the first part have left before.
            let failing = async {
                tokio::time::sleep(Duration::from_millis(50)).await;
                Err(io::Error::other("the store is gone"))
            };
            stream::iter([Ok("abc")]).chain(stream::once(failing))
        };
        let announced =
            get(move || async move { ([(CONTENT_LENGTH, "6")], Body::from_stream(parts())) });
        let answer = ask(Router::new().route("/", announced)).await;
        assert!(answer.contains("content-length: 6"), "{answer}");
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        assert!(body.len() < 6, "{answer}");
        let chunked = get(move || async move { Body::from_stream(parts()) });
        let answer = ask(Router::new().route("/", chunked)).await;
        assert!(!answer.ends_with("0\r\n\r\n"), "{answer}");
    }
}
