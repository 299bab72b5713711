//! A TCP relay in front of a server, which cuts connections at a chosen moment of a step.
//!
//! What it carries is encrypted: it cannot tell a step from a ping. So a test arms it while the line
//! is silent, and the next bytes of the client are those of its step.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// When a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Cut {
    /// Before the server has the next bytes.
    Before = 1,
    /// As soon as the server has them.
    During = 2,
    /// When the server has answered, before the client has the answer.
    After = 3,
    /// As soon as the server has them, and nothing is closed.
    Silence = 4,
}

const NEVER: u8 = 0;
/// How long both sides say nothing once a step was answered.
const QUIET: Duration = Duration::from_millis(500);

struct Shared {
    server: SocketAddr,
    armed: AtomicU8,
    slow_ms: AtomicU64,
}

/// The relay. Its connections end when it is dropped.
pub(crate) struct Relay {
    pub(crate) port: u16,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

impl Relay {
    /// In front of the server on `port`.
    pub(crate) async fn start(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            server: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            armed: AtomicU8::new(NEVER),
            slow_ms: AtomicU64::new(0),
        });
        let (mut tasks, given) = (JoinSet::new(), Arc::clone(&shared));
        tasks.spawn(async move {
            let mut carried = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let shared = Arc::clone(&given);
                carried.spawn(async move { drop(carry(client, &shared).await) });
            }
        });
        Self { port: own, shared, _tasks: tasks }
    }

    /// Cuts the connection that sends the next bytes.
    pub(crate) fn cut(&self, when: Cut) {
        self.shared.armed.store(when as u8, Ordering::SeqCst);
    }

    /// Whether it has happened.
    pub(crate) fn has_cut(&self) -> bool {
        self.shared.armed.load(Ordering::SeqCst) == NEVER
    }

    /// From now on the answers of the server take this long.
    pub(crate) fn slow(&self, by: Duration) {
        self.shared.slow_ms.store(u64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

/// Carries the rest of a step to the server, and nothing of its answer to the client, until both are
/// silent.
async fn swallow(client: &mut TcpStream, server: &mut TcpStream) -> io::Result<()> {
    let (mut up, mut down) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        tokio::select! {
            read = client.read(&mut up) => server.write_all(&up[..read?]).await?,
            read = server.read(&mut down) => assert!(read? > 0, "the server answers"),
            () = tokio::time::sleep(QUIET) => return Ok(()),
        }
    }
}

async fn carry(mut client: TcpStream, shared: &Shared) -> io::Result<()> {
    let mut server = TcpStream::connect(shared.server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut up, mut down) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        tokio::select! {
            read = client.read(&mut up) => {
                let bytes = &up[..read?];
                if bytes.is_empty() {
                    return Ok(());
                }
                let cut = shared.armed.swap(NEVER, Ordering::SeqCst);
                if cut == Cut::Before as u8 {
                    return Ok(());
                }
                server.write_all(bytes).await?;
                if cut == Cut::During as u8 {
                    return Ok(());
                }
                if cut == Cut::Silence as u8 || cut == Cut::After as u8 {
                    swallow(&mut client, &mut server).await?;
                }
                if cut == Cut::Silence as u8 {
                    return std::future::pending().await;
                }
                if cut == Cut::After as u8 {
                    return Ok(());
                }
            }
            read = server.read(&mut down) => {
                let bytes = &down[..read?];
                if bytes.is_empty() {
                    return Ok(());
                }
                let slow = shared.slow_ms.load(Ordering::SeqCst);
                if slow > 0 {
                    tokio::time::sleep(Duration::from_millis(slow)).await;
                }
                client.write_all(bytes).await?;
            }
        }
    }
}
