//! Builds everything, runs it, shuts it down: the one place with the order of all three.
//!
//! ```text
//!  start     sockets bound (so that a taken port costs nothing) ─> host over its store ─> serving
//!  run       until a signal, or until the store fails: then a while longer, so that callers and
//!            probes hear of it
//!  shutdown  intake closes ─> host ends its generations, background work, store last
//!            ─> answers in progress are written ─> done
//! ```
//! A second signal ends it at once: nothing that was acknowledged can be lost by that.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use stockade_depot::StoreFailure;
use tokio::net::TcpListener;
use tokio::signal::unix;

use crate::engine::allowed;
use crate::error::HostError;
use crate::gateway::auth::{Token, is_loopback};
use crate::gateway::{Gateways, Listener, Settings, Side, Threads};
use crate::host::{Host, HostConfig, ShutdownReport};
use crate::limits::FAILED_TOLD;

/// Bytes of address space with which threads and their allocator can begin. 2 GiB: with 1.5 a thread
/// cannot be made. What actors need is asked when the engine is made.
const ADDRESS_SPACE_MIN: u64 = 2 << 30;
/// Bytes that a file must be allowed to have. 128 MiB: a log, 64 MiB, and a group of steps more.
const FILE_BYTES_MIN: u64 = 128 << 20;
/// The signal of a file that would become larger than is allowed (SIGXFSZ on Linux), which kills.
const FILE_SIZE_SIGNAL: i32 = 25;

/// How long answers may take to be written once the host has ended. 5 s.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// What `stockade serve` runs.
pub struct ServerConfig {
    /// The host. Its advertised address is that of the callers' listener, once it has one.
    pub host: HostConfig,
    /// `host:port` for callers of actors. Port 0: a free one.
    pub listen: String,
    /// `host:port` for operators.
    pub admin: String,
    /// Whom to let in. Needed for any address beyond loopback.
    pub token: Option<Token>,
}

/// Where a server listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Addresses {
    /// For callers of actors.
    pub listen: SocketAddr,
    /// For operators.
    pub admin: SocketAddr,
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address does not read as `host:port`, or the name is unknown.
    #[error("address {address:?}: {error}")]
    Address {
        /// As it was given.
        address: String,
        /// Why.
        error: io::Error,
    },
    /// The address cannot be listened on.
    #[error("listen on {address}: {error}")]
    Listen {
        /// Which one.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// An address that other machines reach, and no token.
    #[error(
        "refusing to listen on {0} without a token: other machines could reach it; \
         give --token-file FILE or STOCKADE_TOKEN, or listen on 127.0.0.1"
    )]
    Unprotected(SocketAddr),
    /// The system has nothing left to watch sockets with: file descriptors, most likely.
    #[error("start threads: {0}; more open files may have to be allowed (ulimit -n)")]
    Threads(io::Error),
    /// There is too little address space for the threads of a host.
    #[error(
        "{left} bytes of address space are left to this process (ulimit -v); a host needs {min} at \
         least: raise the limit, or lift it",
        min = ADDRESS_SPACE_MIN
    )]
    AddressSpace {
        /// What is left.
        left: u64,
    },
    /// Files may not become as large as those of a store.
    #[error(
        "files of this process may have {max} bytes (ulimit -f); a store needs {min} at least: raise \
         the limit, or lift it",
        min = FILE_BYTES_MIN
    )]
    FileSize {
        /// What is allowed.
        max: u64,
    },
    /// The host did not start.
    #[error(transparent)]
    Host(#[from] HostError),
}

/// Refuses a process that is allowed too little. Called before threads are made, which would abort it.
///
/// # Errors
/// `AddressSpace`, `FileSize`.
pub fn check_allowed() -> Result<(), ServerError> {
    match allowed::address_space_left() {
        Some(left) if left < ADDRESS_SPACE_MIN => Err(ServerError::AddressSpace { left }),
        Some(_) | None => allow_large_files(),
    }
}

/// Whether files may be as large as those of a store. A process that reaches its limit later hears of
/// an I/O error, like that of a disk, instead of a signal that kills it.
fn allow_large_files() -> Result<(), ServerError> {
    let Some(max) = allowed::file_bytes_max() else { return Ok(()) };
    if max < FILE_BYTES_MIN {
        return Err(ServerError::FileSize { max });
    }
    tracing::warn!(
        max,
        "the size of files is limited (ulimit -f): a store file that would become larger fails, and \
         ends this process"
    );
    Ok(())
}

/// A running server.
pub struct Server {
    host: Host,
    listen: Listener,
    admin: Listener,
}

impl Server {
    /// Binds both sockets, starts the host, and serves.
    ///
    /// # Errors
    /// `ServerError` tells which step failed; nothing is left running.
    pub async fn start(config: ServerConfig) -> Result<Self, ServerError> {
        // With a handler, writes beyond the limit are refused instead. It stays when this is dropped.
        let kind = unix::SignalKind::from_raw(FILE_SIZE_SIGNAL);
        drop(unix::signal(kind).map_err(ServerError::Threads)?);
        let ServerConfig { host: mut host_config, listen, admin, token } = config;
        let listen = bind(&listen, token.as_ref()).await?;
        let admin = bind(&admin, token.as_ref()).await?;
        host_config.advertised = local(&listen)?.to_string();
        let settings = Settings { limits: host_config.limits.clone(), token };
        let limits = settings.limits.clone();
        let threads = Arc::new(Threads::start().map_err(ServerError::Threads)?);
        let host = Host::start(host_config).await?;
        let gateways = Gateways::new(host.clone(), settings);
        // What operators ask for may take long: it waits where it may be moved.
        let serve = |socket: TcpListener, side| {
            let address = local(&socket)?;
            let threads = (side == Side::Public).then(|| Arc::clone(&threads));
            let router = gateways.router(side, address);
            Listener::start(socket, router, &limits, threads)
                .map_err(|error| ServerError::Listen { address, error })
        };
        Ok(Self { host, listen: serve(listen, Side::Public)?, admin: serve(admin, Side::Admin)? })
    }

    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        Addresses { listen: self.listen.address(), admin: self.admin.address() }
    }

    /// The host behind the listeners.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Ends everything in order.
    pub async fn shutdown(self) -> ShutdownReport {
        // 1. Intake: no new connection, no new request.
        self.listen.stop_intake();
        self.admin.stop_intake();
        // 2. The host: generations, background work, the store's writer last. Calls in progress
        //    get their answer or the reason why there is none.
        let report = self.host.shutdown().await;
        // 3. What was answered is written.
        tokio::join!(self.listen.drained(DRAIN_MAX), self.admin.drained(DRAIN_MAX));
        report
    }
}

/// How a server's run ended.
#[derive(Clone, Debug)]
pub enum Ending {
    /// Everything was shut down.
    Done(ShutdownReport),
    /// A second signal came: the shutdown was given up and the process should exit at once.
    Forced,
    /// A file of the store has failed. Everything was shut down as far as possible; a supervisor
    /// should start the process again.
    Failed(StoreFailure),
}

/// Runs a server until the first SIGINT or SIGTERM, or until its store fails, then shuts it down; a
/// second signal gives that up.
///
/// `announce` is called once, when both listeners serve.
///
/// # Errors
/// As [`Server::start`].
pub async fn run<F>(config: ServerConfig, announce: F) -> Result<Ending, ServerError>
where
    F: FnOnce(Addresses),
{
    let first = signal();
    let server = Server::start(config).await?;
    let addresses = server.addresses();
    tracing::info!(listen = %addresses.listen, admin = %addresses.admin, "serving");
    announce(addresses);
    tokio::pin!(first);
    let failure = tokio::select! {
        () = &mut first => None,
        failure = server.host().failed() => Some(failure),
    };
    if failure.is_some() {
        tokio::select! { () = &mut first => {}, () = tokio::time::sleep(FAILED_TOLD) => {} }
    }
    tracing::info!("shutting down; a second signal ends the process at once");
    let second = signal();
    tokio::select! {
        report = server.shutdown() => Ok(failure.map_or(Ending::Done(report), Ending::Failed)),
        () = second => {
            tracing::warn!("second signal: not waiting any longer");
            Ok(Ending::Forced)
        }
    }
}

/// Resolves at the next SIGINT or SIGTERM that comes after this call.
fn signal() -> impl Future<Output = ()> {
    let interrupt = unix::signal(unix::SignalKind::interrupt());
    let terminate = unix::signal(unix::SignalKind::terminate());
    async move {
        match (interrupt, terminate) {
            (Ok(mut interrupt), Ok(mut terminate)) => {
                tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
            }
            (Err(error), _) | (_, Err(error)) => {
                tracing::error!(%error, "signals cannot be watched");
                std::future::pending().await
            }
        }
    }
}

async fn bind(address: &str, token: Option<&Token>) -> Result<TcpListener, ServerError> {
    let unknown = |error| ServerError::Address { address: address.to_owned(), error };
    // Resolved at start only, before anything is served: blocking here holds nobody up.
    let resolved = address
        .to_socket_addrs()
        .and_then(|mut found| found.next().ok_or_else(|| io::ErrorKind::NotFound.into()))
        .map_err(unknown)?;
    if token.is_none() && !is_loopback(resolved.ip()) {
        return Err(ServerError::Unprotected(resolved));
    }
    TcpListener::bind(resolved)
        .await
        .map_err(|error| ServerError::Listen { address: resolved, error })
}

fn local(socket: &TcpListener) -> Result<SocketAddr, ServerError> {
    socket.local_addr().map_err(|error| {
        let address = SocketAddr::from(([0, 0, 0, 0], 0));
        ServerError::Listen { address, error }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn beyond_loopback_a_token_is_needed() {
        for address in ["0.0.0.0:0", "[::]:0"] {
            let refused = bind(address, None).await.map(|_| ());
            assert!(matches!(refused, Err(ServerError::Unprotected(_))), "{address}");
        }
        assert!(bind("127.0.0.1:0", None).await.is_ok());
        let token = Token::new("0123456789abcdef").expect("valid");
        assert!(bind("0.0.0.0:0", Some(&token)).await.is_ok());
    }

    #[tokio::test]
    async fn an_address_that_does_not_read_is_told() {
        let refused = bind("nonsense", None).await.map(|_| ());
        assert!(matches!(refused, Err(ServerError::Address { .. })));
    }
}
