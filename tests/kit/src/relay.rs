//! A way to a server on which each byte takes a time that can be changed, and on which flights are
//! counted: how often a client that has had its answer speaks again.
//!
//! ```text
//! client ──> reader ── chunks, each with the moment at which it is due ──> writer ──> server
//! client <── writer <────────────────────────────────────────────────────── reader <── server
//! ```
//! The kernel here delays no packets, so threads do it.

#![allow(clippy::disallowed_methods, reason = "a test may start threads and wait on the clock")]

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// What one direction of a connection may hold back, in chunks.
const CHUNKS_MAX: usize = 256;
const CHUNK_BYTES: usize = 1 << 16;
/// How long a connection to the server may take to be made.
const CONNECT_MAX: Duration = Duration::from_secs(5);

struct Shared {
    to: SocketAddr,
    one_way_ms: AtomicU64,
    flights: AtomicU64,
    is_over: AtomicBool,
    streams: Mutex<Vec<TcpStream>>,
}

/// A way to a server. Its connections end when it is dropped.
pub struct Relay {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl Relay {
    /// Listens on a free port of `ip`, on the way to `to`. Nothing is delayed yet.
    ///
    /// # Errors
    /// There is no such address here.
    pub fn start(ip: &str, to: &str) -> io::Result<Self> {
        let listener = TcpListener::bind(format!("{ip}:0"))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            to: to.parse().map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?,
            one_way_ms: AtomicU64::new(0),
            flights: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
            streams: Mutex::default(),
        });
        let given = Arc::clone(&shared);
        let acceptor = Builder::new().name("relay".into()).spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                if given.is_over.load(Ordering::SeqCst) {
                    return;
                }
                let carried = Arc::clone(&given);
                // A machine that does not answer holds up no other client.
                drop(Builder::new().name("relay".into()).spawn(move || carried.carry(&client)));
            }
        })?;
        Ok(Self { address, shared, acceptor: Some(acceptor) })
    }

    /// From now on each byte takes this long, in each direction.
    pub fn slow(&self, one_way: Duration) {
        let ms = u64::try_from(one_way.as_millis()).unwrap_or(u64::MAX);
        self.shared.one_way_ms.store(ms, Ordering::SeqCst);
    }

    /// How often a client has spoken after its server had, over all connections.
    #[must_use]
    pub fn flights(&self) -> u64 {
        self.shared.flights.load(Ordering::SeqCst)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        for stream in self.shared.streams.lock().drain(..) {
            // It may have ended by itself.
            drop(stream.shutdown(Shutdown::Both));
        }
        drop(TcpStream::connect(self.address));
        if let Some(acceptor) = self.acceptor.take() {
            drop(acceptor.join());
        }
    }
}

impl Shared {
    /// Carries a connection. The threads end with the streams.
    fn carry(self: &Arc<Self>, client: &TcpStream) {
        let Ok(server) = TcpStream::connect_timeout(&self.to, CONNECT_MAX) else { return };
        let set = client.set_nodelay(true).and_then(|()| server.set_nodelay(true));
        let both = (client.try_clone(), server.try_clone());
        let (Ok(()), (Ok(one), Ok(other))) = (set, both) else { return };
        {
            let mut streams = self.streams.lock();
            streams.retain(|stream| stream.peer_addr().is_ok());
            streams.extend([one, other]);
        }
        let is_answered = Arc::new(AtomicBool::new(true));
        let pairs = [(client, &server, true), (&server, client, false)];
        for (from, to, is_client) in pairs {
            if let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) {
                self.one_direction(from, to, is_client, Arc::clone(&is_answered));
            }
        }
    }

    /// A client's question begins a flight if the server has answered since the last one.
    fn count(&self, is_client: bool, is_answered: &AtomicBool) {
        let was_answered = is_answered.swap(!is_client, Ordering::SeqCst);
        if is_client && was_answered {
            self.flights.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn one_direction(
        self: &Arc<Self>,
        mut from: TcpStream,
        mut to: TcpStream,
        is_client: bool,
        is_answered: Arc<AtomicBool>,
    ) {
        let (due, held) = mpsc::sync_channel::<(Instant, Vec<u8>)>(CHUNKS_MAX);
        let shared = Arc::clone(self);
        let reads = Builder::new().name("relay".into()).spawn(move || {
            let mut chunk = vec![0; CHUNK_BYTES];
            while let Ok(read @ 1..) = from.read(&mut chunk) {
                shared.count(is_client, &is_answered);
                let one_way = Duration::from_millis(shared.one_way_ms.load(Ordering::SeqCst));
                if due.send((Instant::now() + one_way, chunk[..read].to_vec())).is_err() {
                    break;
                }
            }
        });
        let writes = Builder::new().name("relay".into()).spawn(move || {
            for (due, bytes) in held {
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                if to.write_all(&bytes).is_err() {
                    break;
                }
            }
            // One end has gone: so does the other.
            drop(to.shutdown(Shutdown::Both));
        });
        drop((reads, writes));
    }
}
