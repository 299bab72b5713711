//! A TCP relay in front of a server, which cuts connections at a chosen moment of a statement, and
//! turns new ones away.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// When the connection is cut that sends the next statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Before the server has it.
    Before,
    /// As soon as the server has it.
    During,
    /// When the server has answered, before the client has the answer.
    After,
    /// As soon as the server has it, and nothing is closed: the machine of the client is frozen.
    Silence,
}

const NEVER: u8 = 0;

impl Cut {
    fn code(self) -> u8 {
        match self {
            Self::Before => 1,
            Self::During => 2,
            Self::After => 3,
            Self::Silence => 4,
        }
    }

    fn of(code: u8) -> Option<Self> {
        let all = [Self::Before, Self::During, Self::After, Self::Silence];
        all.into_iter().find(|cut| cut.code() == code)
    }
}

/// The relay. It ends when it is dropped.
pub(crate) struct Relay {
    pub(crate) port: u16,
    armed: Arc<AtomicU8>,
    is_shut: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Relay {
    /// In front of the server on `port`.
    pub(crate) async fn start(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let armed = Arc::new(AtomicU8::new(NEVER));
        let is_shut = Arc::new(AtomicBool::new(false));
        let (told, shut) = (Arc::clone(&armed), Arc::clone(&is_shut));
        let task = tokio::spawn(async move {
            let server = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            while let Ok((client, _)) = listener.accept().await {
                if !shut.load(Ordering::SeqCst) {
                    tokio::spawn(carry(client, server, Arc::clone(&told)));
                }
            }
        });
        Self { port: own, armed, is_shut, task }
    }

    /// Whether new connections are closed from now on. Those that are there stay.
    pub(crate) fn shut(&self, is_shut: bool) {
        self.is_shut.store(is_shut, Ordering::SeqCst);
    }

    /// Cuts the connection that sends the next prepared statement.
    pub(crate) fn cut(&self, when: Cut) {
        self.armed.store(when.code(), Ordering::SeqCst);
    }

    /// Whether it has happened.
    pub(crate) fn has_cut(&self) -> bool {
        self.armed.load(Ordering::SeqCst) == NEVER
    }
}

async fn carry(mut client: TcpStream, server: SocketAddr, armed: Arc<AtomicU8>) -> io::Result<()> {
    let mut server = TcpStream::connect(server).await?;
    let (mut up, mut down) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        tokio::select! {
            read = client.read(&mut up) => {
                let bytes = &up[..read?];
                if bytes.is_empty() {
                    return Ok(());
                }
                // `B`: values for a prepared statement.
                let cut = if bytes[0] == b'B' { armed.swap(NEVER, Ordering::SeqCst) } else { NEVER };
                match Cut::of(cut) {
                    None => server.write_all(bytes).await?,
                    Some(Cut::Before) => return Ok(()),
                    Some(Cut::During) => {
                        server.write_all(bytes).await?;
                        return Ok(());
                    }
                    Some(Cut::Silence) => {
                        server.write_all(bytes).await?;
                        return std::future::pending().await;
                    }
                    Some(Cut::After) => {
                        server.write_all(bytes).await?;
                        let answered = server.read(&mut down).await?;
                        assert!(answered > 0, "the server answers");
                        return Ok(());
                    }
                }
            }
            read = server.read(&mut down) => {
                let bytes = &down[..read?];
                if bytes.is_empty() {
                    return Ok(());
                }
                client.write_all(bytes).await?;
            }
        }
    }
}
