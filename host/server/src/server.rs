//! Builds, runs and shuts down a server: the one place that has the order of all three.
//!
//! ```text
//!  start     sockets bound (so that a taken port costs nothing) ─> host over its store ─> serving
//!  run       until a signal, or until the store fails: then a while longer, so that callers and
//!            probes learn of it
//!  drain     after a signal, where others take actors over: actors are given up first, in order
//!  shutdown  intake closes ─> host ends its generations, background work, store last
//!            ─> answers in progress are written ─> done
//! ```
//! A second signal ends the process immediately: no acknowledged write can be lost by that.

mod token_file;

use std::future::Future;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use stockade_depot::StoreFailure;
use tokio::net::TcpListener;
use tokio::signal::unix;

use crate::gateway::auth::{Access, Token, is_loopback};
use crate::gateway::origin::{HostName, Origin};
use crate::gateway::tls::Tls;
use crate::gateway::{Gateways, Listener, Settings, Side, Threads};
use crate::peers::PeerKeys;
use stockade::error::HostError;
use stockade::host::{Host, HostConfig, ShutdownReport};
use stockade::internal::allowed;
use stockade::limits::{FAILED_TOLD, HostLimits, PEER_CONNECTIONS_MAX, PEER_KEPT_MAX};

/// The least address space with which threads and their allocator can start. 2 GiB: with 1.5 a
/// thread cannot be made. The needs of actors are checked when the engine is made.
const ADDRESS_SPACE_MIN: u64 = 2 << 30;
/// The least size that files must be allowed to have. 128 MiB: a log of 64 MiB, and one group of
/// steps.
const FILE_BYTES_MIN: u64 = 128 << 20;
/// Descriptors kept for operators' connections. 64, the most that they may have at the same time.
const OPERATORS_DESCRIPTORS: u64 = 64;
/// Descriptors kept for the store, beyond those that it opens at the start, and for files of sorts.
/// 64.
const STORE_DESCRIPTORS: u64 = 64;
/// The signal for a file that would grow beyond its limit (SIGXFSZ on Linux). By default it kills.
const FILE_SIZE_SIGNAL: i32 = 25;

pub use token_file::{TOKEN_FILE, TokenFileError, read_private, token_of};

/// How long answers may take to be written after the host has ended. 5 s.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// The settings of `stockade serve`.
pub struct ServerConfig {
    /// The host. The advertised address is that of the callers' listener as soon as it has one.
    pub host: HostConfig,
    /// `host:port` for callers of actors. Port 0: a free one.
    pub listen: String,
    /// `host:port` for operators.
    pub admin: String,
    /// The callers' token. Required if the callers' address is beyond loopback.
    pub callers: Option<Token>,
    /// The operators' token. `None`: the token of the data directory, which the first start makes.
    pub operators: Option<Token>,
    /// A certificate for the callers' listener, and for the operators' if that is beyond loopback:
    /// no certificate names 127.0.0.1.
    pub tls: Option<Tls>,
    /// Sites whose pages may call actors.
    pub origins: Vec<Origin>,
    /// Names under which proxies on this machine reach this host.
    pub hosts: Vec<HostName>,
    /// `host:port` at which callers reach this host. `None`: where it listens.
    pub advertise: Option<String>,
    /// The listener for other processes on the store. `None`: calls of actors that run elsewhere are
    /// refused with the address of their owner.
    pub peers: Option<Peers>,
}

/// The settings of the listener for other processes on the store.
#[derive(Clone, Debug)]
pub struct Peers {
    /// `host:port`. Port 0: a free one.
    pub listen: String,
    /// `host:port` at which other processes reach it. `None`: where it listens.
    pub advertise: Option<String>,
    /// Certificate, key and authority: there is no plaintext.
    pub keys: PeerKeys,
    /// Whether this host passes calls on, too. It takes those of others in any case.
    pub forward: bool,
}

/// The addresses of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Addresses {
    /// For callers of actors.
    pub listen: SocketAddr,
    /// For operators.
    pub admin: SocketAddr,
    /// Whether the callers' listener speaks TLS.
    pub listen_tls: bool,
    /// Whether the operators' listener speaks TLS.
    pub admin_tls: bool,
    /// For other processes on the store.
    pub peers: Option<SocketAddr>,
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address is not of the form `host:port`, or its name is unknown.
    #[error("address {address:?}: {error}")]
    Address {
        /// The address as given.
        address: String,
        /// The cause.
        error: io::Error,
    },
    /// The server cannot listen on the address.
    #[error("listen on {address}: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The cause.
        error: io::Error,
    },
    /// Other machines reach the address, and there is no token for callers.
    #[error(
        "refusing to listen on {0} without a token for callers: other machines could reach it; \
         give --token-file FILE or STOCKADE_TOKEN, or listen on 127.0.0.1"
    )]
    Unprotected(SocketAddr),
    /// Callers and operators have the same token.
    #[error("callers and operators have the same token: whoever may call could destroy; give two")]
    OneToken,
    /// Others cannot reach this host where it says.
    #[error(
        "others cannot reach this host at {0}: say at which address they do, with {1} HOST:PORT"
    )]
    NotReached(SocketAddr, &'static str),
    /// The data directory's token cannot be used.
    #[error(transparent)]
    TokenFile(#[from] TokenFileError),
    /// The system has no descriptors left to watch sockets with.
    #[error("start threads: {0}; more open files may have to be allowed (ulimit -n)")]
    Threads(io::Error),
    /// The address space is too small for the threads of a host.
    #[error(
        "{left} bytes of address space are left to this process (ulimit -v); a host needs {min} at \
         least: raise the limit, or lift it",
        min = ADDRESS_SPACE_MIN
    )]
    AddressSpace {
        /// The address space that is left, in bytes.
        left: u64,
    },
    /// Files may not grow as large as those of a store.
    #[error(
        "files of this process may have {max} bytes (ulimit -f); a store needs {min} at least: raise \
         the limit, or lift it",
        min = FILE_BYTES_MIN
    )]
    FileSize {
        /// The allowed size, in bytes.
        max: u64,
    },
    /// The host did not start.
    #[error(transparent)]
    Host(#[from] HostError),
}

/// Refuses a process whose limits are too low, and raises the soft limit of descriptors. Call this
/// before threads are made: a thread that cannot be made would abort the process.
///
/// # Errors
/// `AddressSpace`, `FileSize`.
pub fn check_allowed() -> Result<(), ServerError> {
    allowed::raise_descriptors();
    match allowed::address_space_left() {
        Some(left) if left < ADDRESS_SPACE_MIN => Err(ServerError::AddressSpace { left }),
        Some(_) | None => allow_large_files(),
    }
}

/// Whether files may grow as large as those of a store. A process that reaches its limit later gets
/// an I/O error, as from a disk, instead of a signal that kills it.
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
    peers: Option<Listener>,
    addresses: Addresses,
    /// Whether calls of actors that run elsewhere are passed on.
    passes_on: bool,
    give_away_max: Duration,
}

impl Server {
    /// Binds both sockets, starts the host, and serves.
    ///
    /// # Errors
    /// `ServerError` tells which step failed; nothing is left running.
    pub async fn start(config: ServerConfig) -> Result<Self, ServerError> {
        // With a handler, writes beyond the limit fail with an error instead. The handler stays
        // after a drop.
        let kind = unix::SignalKind::from_raw(FILE_SIZE_SIGNAL);
        drop(unix::signal(kind).map_err(ServerError::Threads)?);
        let ServerConfig { host: host_config, listen, admin, tls, .. } = config;
        let listen = bind(&listen).await?;
        let admin = bind(&admin).await?;
        let (called_at, asked_at) = (local(&listen)?, local(&admin)?);
        let peers = match &config.peers {
            Some(peers) => Some((bind(&peers.listen).await?, peers)),
            None => None,
        };
        if config.callers.is_none() && !is_loopback(called_at.ip()) {
            return Err(ServerError::Unprotected(called_at));
        }
        let (operators, operators_file) = match config.operators {
            Some(token) => (token, None),
            None => {
                let (token, path) = token_of(host_config.data_dir())?;
                (token, Some(path))
            }
        };
        if config.callers.as_ref() == Some(&operators) {
            return Err(ServerError::OneToken);
        }
        let advertised = match (&config.advertise, &peers) {
            (Some(address), _) => address.clone(),
            (None, Some(_)) => reached(called_at, "--advertise")?,
            (None, None) => called_at.to_string(),
        };
        let mut host_config = host_config.with_advertised(advertised);
        let peers_at = peers.as_ref().map(|(socket, _)| local(socket)).transpose()?;
        if let (Some(at), Some((_, peers))) = (peers_at, &peers) {
            let given = peers.advertise.clone();
            let address = given.map_or_else(|| reached(at, "--advertise-peers"), Ok)?;
            host_config = host_config.with_peers(address);
        }
        let limits = host_config.limits().clone();
        let access = Access {
            callers: config.callers,
            operators,
            operators_file,
            origins: config.origins,
            hosts: config.hosts,
        };
        let admin_tls = tls.clone().filter(|_| !is_loopback(asked_at.ip()));
        warn_of_strangers(&access, &[(called_at, tls.is_some()), (asked_at, admin_tls.is_some())]);
        let threads = Arc::new(Threads::start().map_err(ServerError::Threads)?);
        let host = Host::start(host_config).await?;
        let forward = peers.as_ref().filter(|(_, peers)| peers.forward);
        let forward = forward.map(|(_, peers)| peers.keys.clone());
        let passes_on = forward.is_some();
        let settings = Settings { limits: limits.clone(), access, forward };
        let gateways = Gateways::start(host.clone(), settings);
        let (listen_tls, admin_tls) = (tls, admin_tls);
        // Operators' requests may take long: they run on the runtime whose tasks can move between
        // threads.
        let connections = connections(limits.connections_max, peers.is_some());
        let serve = |socket: TcpListener, side, tls: &Option<Tls>| {
            let address = local(&socket)?;
            let limits = limits.clone();
            let limits = match side {
                Side::Public => HostLimits { connections_max: connections.0, ..limits },
                Side::Admin => HostLimits { connections_max: connections.1, ..limits },
                Side::Peer => HostLimits {
                    connections_max: PEER_CONNECTIONS_MAX,
                    request_read_max: PEER_KEPT_MAX,
                    ..limits
                },
            };
            let threads = (side != Side::Admin).then(|| Arc::clone(&threads));
            let router = gateways.router(side, address, tls.is_some());
            Listener::start(socket, router, &limits, threads, tls.clone())
                .map_err(|error| ServerError::Listen { address, error })
        };
        let addresses = Addresses {
            listen: called_at,
            admin: asked_at,
            listen_tls: listen_tls.is_some(),
            admin_tls: admin_tls.is_some(),
            peers: peers_at,
        };
        let peers = match peers {
            Some((socket, peers)) => {
                Some(serve(socket, Side::Peer, &Some(Tls::of_peers(&peers.keys)))?)
            }
            None => None,
        };
        let listen = serve(listen, Side::Public, &listen_tls)?;
        let admin = serve(admin, Side::Admin, &admin_tls)?;
        let give_away_max = limits.shutdown_max;
        Ok(Self { host, listen, admin, peers, addresses, passes_on, give_away_max })
    }

    /// The server's addresses.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// The host behind the listeners.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Shuts everything down in order.
    pub async fn shutdown(self) -> ShutdownReport {
        let Self { host, listen, admin, peers, .. } = self;
        // 1. Intake: no new connection, no new request.
        listen.stop_intake();
        admin.stop_intake();
        if let Some(peers) = &peers {
            peers.stop_intake();
        }
        // 2. The host: generations, background work, the store's writer last. Calls in progress
        //    get their answer or the reason why there is none.
        let report = host.shutdown().await;
        // 3. The remaining answers are written.
        let peers = async {
            if let Some(peers) = peers {
                peers.drained(DRAIN_MAX).await;
            }
        };
        tokio::join!(listen.drained(DRAIN_MAX), admin.drained(DRAIN_MAX), peers);
        report
    }

    /// Before a shutdown, where other processes take actors over: gives the actors up in order,
    /// while calls are still taken and passed on. For `shutdown_max` at most.
    async fn give_away(&self) {
        if !self.passes_on || self.host.drain().await.is_err() {
            return;
        }
        if tokio::time::timeout(self.give_away_max, self.host.drained()).await.is_err() {
            tracing::warn!(awake = self.host.awake(), "actors are left: they end with the host");
        }
    }
}

/// How a server's run ended.
#[derive(Clone, Debug)]
pub enum Ending {
    /// Everything was shut down.
    Done(ShutdownReport),
    /// A second signal came: the shutdown was given up and the process should exit immediately.
    Forced,
    /// A file of the store has failed. Everything was shut down as far as possible; a supervisor
    /// should restart the process.
    Failed(StoreFailure),
}

/// Runs a server until the first SIGINT or SIGTERM, or until its store fails, then shuts it down. A
/// second signal gives up the shutdown.
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
    let works = failure.is_none();
    let ended = async {
        if works {
            server.give_away().await;
        }
        server.shutdown().await
    };
    tokio::select! {
        report = ended => Ok(failure.map_or(Ending::Done(report), Ending::Failed)),
        () = second => {
            tracing::warn!("second signal: not waiting any longer");
            Ok(Ending::Forced)
        }
    }
}

/// Resolves at the first SIGINT or SIGTERM after this call.
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

/// The limits on connections of callers and of operators: `max` each, less where descriptors are
/// few, so that a caller never takes the descriptors of operators, of peers and of the store.
fn connections(max: usize, peers: bool) -> (usize, usize) {
    let left = allowed::descriptors_max().saturating_sub(allowed::descriptors_open());
    let of_peers = if peers { PEER_CONNECTIONS_MAX * 2 } else { 0 };
    let of_peers = u64::try_from(of_peers).unwrap_or(u64::MAX);
    let kept = OPERATORS_DESCRIPTORS + STORE_DESCRIPTORS + of_peers;
    let of_callers = left.saturating_sub(kept).max(1);
    let bounded = |few: u64| usize::try_from(few).unwrap_or(usize::MAX).min(max);
    if bounded(of_callers) < max {
        tracing::warn!(
            connections = of_callers,
            max,
            "fewer connections than `connections_max`, since few files may be open (ulimit -n)"
        );
    }
    (bounded(of_callers), bounded(OPERATORS_DESCRIPTORS))
}

/// Warns about settings that an operator may not have meant.
fn warn_of_strangers(access: &Access, listeners: &[(SocketAddr, bool)]) {
    for (address, tls) in listeners {
        if !tls && !is_loopback(address.ip()) {
            let way = "give --tls-cert and --tls-key, or put a proxy that speaks TLS in front";
            tracing::warn!(%address, "tokens and data can be read on the way: {way}");
        }
    }
    if !access.hosts.is_empty() && access.callers.is_none() {
        tracing::warn!("whoever reaches the proxy may call: give --token-file, unless it asks");
    }
}

async fn bind(address: &str) -> Result<TcpListener, ServerError> {
    let unknown = |error| ServerError::Address { address: address.to_owned(), error };
    // Resolved at start only, before anything is served: blocking here delays no request.
    let resolved = address
        .to_socket_addrs()
        .and_then(|mut found| found.next().ok_or_else(|| io::ErrorKind::NotFound.into()))
        .map_err(unknown)?;
    TcpListener::bind(resolved)
        .await
        .map_err(|error| ServerError::Listen { address: resolved, error })
}

/// The address of a listener as others reach it, unless it listens on all addresses.
fn reached(address: SocketAddr, option: &'static str) -> Result<String, ServerError> {
    if address.ip().is_unspecified() {
        return Err(ServerError::NotReached(address, option));
    }
    Ok(address.to_string())
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

    fn config(data_dir: &std::path::Path) -> ServerConfig {
        ServerConfig {
            host: HostConfig::new(data_dir),
            listen: "127.0.0.1:0".to_owned(),
            admin: "127.0.0.1:0".to_owned(),
            callers: None,
            operators: None,
            tls: None,
            origins: Vec::new(),
            hosts: Vec::new(),
            advertise: None,
            peers: None,
        }
    }

    #[tokio::test]
    async fn beyond_loopback_callers_need_a_token() {
        let dir = tempfile::tempdir().expect("directory");
        for address in ["0.0.0.0:0", "[::]:0"] {
            let config = ServerConfig { listen: address.to_owned(), ..config(dir.path()) };
            let refused = Server::start(config).await.map(|_| ());
            assert!(matches!(refused, Err(ServerError::Unprotected(_))), "{address}");
        }
        let token = Token::new("0123456789abcdef").expect("valid");
        let callers = Some(token.clone());
        let config = ServerConfig { callers, operators: Some(token), ..config(dir.path()) };
        let refused = Server::start(config).await.map(|_| ());
        assert!(matches!(refused, Err(ServerError::OneToken)));
    }

    #[tokio::test]
    async fn an_address_that_does_not_read_is_told() {
        let refused = bind("nonsense").await.map(|_| ());
        assert!(matches!(refused, Err(ServerError::Address { .. })));
    }
}
