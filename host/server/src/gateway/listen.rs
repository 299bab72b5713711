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

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use super::idle::Connections;
use super::spoken::{Bounds, Spoken, stop_asked};
use super::threads::{Seat, Threads};
use super::tls::Tls;
use stockade::limits::HostLimits;

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
