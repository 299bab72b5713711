//! A way to the server that takes time, and counts how often it is gone.
//!
//! ```text
//! client ──> reader ── chunks, each with the moment at which it is due ──> writer ──> server
//! client <── writer <────────────────────────────────────────────────────── reader <── server
//! ```
//! A *flight* is what a client sends between two answers: statements that are sent together, before
//! the first of them is answered, are one. Each direction has threads of its own, which sleep to the
//! microsecond, where a runtime's clock has ticks of a millisecond.

#![allow(clippy::disallowed_methods, reason = "a test has threads, which wait on the clock")]

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// What one direction may hold back, in chunks of at most 64 KiB.
const CHUNKS_MAX: usize = 1024;
const CHUNK_BYTES: usize = 1 << 16;

/// What the threads of a line share.
struct Shared {
    one_way: Duration,
    flights: AtomicU64,
    is_over: AtomicBool,
    streams: Mutex<Vec<TcpStream>>,
}

/// A slow way to a server. Its connections end when it is dropped.
pub struct Line {
    /// Where it listens.
    pub port: u16,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl Line {
    /// To the server on `port`: each byte is `one_way` under way, in both directions.
    #[must_use]
    pub fn start(port: u16, one_way: Duration) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let own = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            one_way,
            flights: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
            streams: Mutex::default(),
        });
        let given = Arc::clone(&shared);
        let acceptor = thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                if given.is_over.load(Ordering::SeqCst) {
                    return;
                }
                // A server that is gone ends the connection.
                if let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
                    connect(&given, &client, &server);
                }
            }
        });
        Self { port: own, shared, acceptor: Some(acceptor) }
    }

    /// Flights so far, over all connections, sign-ins included.
    #[must_use]
    pub fn flights(&self) -> u64 {
        self.shared.flights.load(Ordering::SeqCst)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        for stream in self.shared.streams.lock().unwrap().drain(..) {
            // It may have ended by itself.
            let _ = stream.shutdown(Shutdown::Both);
        }
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

/// Starts both directions of a connection.
fn connect(shared: &Arc<Shared>, client: &TcpStream, server: &TcpStream) {
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    // Whether the client has had an answer since it last sent.
    let answered = Arc::new(AtomicBool::new(true));
    let (told, counted) = (Arc::clone(&answered), Arc::clone(shared));
    let leaves = move || {
        if told.swap(false, Ordering::SeqCst) {
            counted.flights.fetch_add(1, Ordering::SeqCst);
        }
    };
    carry(shared.one_way, client, server, leaves, || {});
    carry(shared.one_way, server, client, || {}, move || answered.store(true, Ordering::SeqCst));
    let mut streams = shared.streams.lock().unwrap();
    streams.extend([client, server].map(|stream| stream.try_clone().unwrap()));
}

/// Carries one direction, in threads that end with the streams.
fn carry(
    one_way: Duration,
    from: &TcpStream,
    to: &TcpStream,
    leaves: impl Fn() + Send + 'static,
    arrives: impl Fn() + Send + 'static,
) {
    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
    let (due, held) = mpsc::sync_channel::<(Instant, Vec<u8>)>(CHUNKS_MAX);
    thread::spawn(move || {
        let mut chunk = vec![0; CHUNK_BYTES];
        while let Ok(read @ 1..) = from.read(&mut chunk) {
            leaves();
            if due.send((Instant::now() + one_way, chunk[..read].to_vec())).is_err() {
                break;
            }
        }
    });
    thread::spawn(move || {
        for (due, bytes) in held {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            arrives();
            if to.write_all(&bytes).is_err() {
                break;
            }
        }
        // One end has gone: so does the other.
        let _ = to.shutdown(Shutdown::Both);
    });
}
