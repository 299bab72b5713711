//! `stockade serve`: runs a host.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use serde_json::{Value as Json, json};
use tokio::runtime::Builder;

use super::Context;
use super::backend::{Backend, Shared, StoreArgs, StoreFiles, StoreListener};
use super::config::Config;
use super::deploy::limit;
use super::failure::Failure;
use super::peers::PeerOptions;
use stockade::host::{HostConfig, ShutdownReport};
use stockade::limits::{ALLOWED_MAX, LEASE, LEASE_MIN, Limits};
use stockade_server::InvalidName;
use stockade_server::Tls;
use stockade_server::Token;
use stockade_server::{Addresses, Ending, ServerConfig, ServerError};

/// Exit code after a second signal: 128 + SIGINT, as shells expect.
const FORCED: u8 = 130;

/// The default data directory.
const DATA_DIR: &str = "stockade-data";

/// Run a host until SIGINT or SIGTERM
///
/// Two listeners: one for callers of actors, one for operators. Both are on loopback by default.
/// Operators need a token: the one that the first start makes in the data directory
/// (`admin-token`), unless another is given. Callers need a token beyond loopback, or if one is
/// given. The two tokens differ; the operators' token opens everything. The first signal ends all
/// actors in order; actors that take longer than `shutdown_max_ms` are given up (exit code 1). A
/// second signal does not wait (exit code 130). After either, and after SIGKILL, every acknowledged
/// write is there at the next start.
///
/// If the system cannot write, sync or read a file of the store, or the file is removed or
/// replaced, the host takes no more calls, lets other processes on the same data take its actors
/// over, and ends with exit code 1 and the name of the file. A supervisor should restart the host.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  stockade serve --data-dir ./data
  stockade serve --data-dir ./data --listen 127.0.0.1:0 --admin 127.0.0.1:0 --ready-file r.json
  stockade serve --listen 0.0.0.0:7070 --token-file token --tls-cert chain.pem --tls-key key.pem
  stockade serve --allow-origin https://app.example   # pages of that site may call
  stockade serve --allow-host chat.example            # behind a proxy on this machine
  stockade serve --config stockade.toml
  stockade serve --limit call_time_ms=5000 --limit memory_bytes_max=64m
  stockade serve --data-dir ./data --lease-ms 2000    # beside another one on ./data
  stockade serve --peers 10.0.0.1:7072 --peer-cert keys/one.pem --peer-key keys/one-key.pem \\
    --peer-ca keys/ca.pem --listen 10.0.0.1:7070 --token-file token    # any node answers
  stockade serve --data-dir ./data --check-store      # would it be opened?
  stockade serve --store 'postgres://stockade@db1,db2/stockade?sslrootcert=ca.pem' \\
    --store-password-file store-password
  stockade serve --store 'postgres://stockade@db1/stockade?name=east&sslrootcert=ca.pem' \\
    --store 'postgres://stockade@db2/stockade?name=west&sslrootcert=ca.pem' \\
    --store-password-file store-password                   # actors spread over two primaries
  stockade serve --data-dir ./data --serve-store 10.0.0.1:7073 --store-cert keys/one.pem \\
    --store-key keys/one-key.pem --store-ca keys/ca.pem    # other nodes use this store
  stockade serve --store stockade://10.0.0.1:7073 --store-cert keys/two.pem \\
    --store-key keys/two-key.pem --store-ca keys/ca.pem    # one that does

A configuration file, each setting optional, the command line wins:
  data_dir = \"/var/lib/stockade\"
  store = \"postgres://stockade@db1,db2/stockade?sslrootcert=/etc/stockade/ca.pem\"  # or [\"..\", \"..\"]
  store_password_file = \"/etc/stockade/store-password\"
  store_token_file = \"/etc/stockade/store-token\"
  store_cert = \"/etc/stockade/one.pem\"
  store_key = \"/etc/stockade/one-key.pem\"
  store_ca = \"/etc/stockade/ca.pem\"
  serve_store = \"10.0.0.1:7073\"
  listen = \"127.0.0.1:7070\"
  admin = \"127.0.0.1:7071\"
  token_file = \"/etc/stockade/token\"
  admin_token_file = \"/etc/stockade/admin-token\"
  tls_cert = \"/etc/stockade/chain.pem\"
  tls_key = \"/etc/stockade/key.pem\"
  allow_origin = [\"https://app.example\"]
  allow_host = [\"chat.example\"]
  allow_faults = false
  development = false
  advertise = \"10.0.0.1:7070\"
  [peers]
  listen = \"10.0.0.1:7072\"
  cert = \"/etc/stockade/one.pem\"
  key = \"/etc/stockade/one-key.pem\"
  ca = \"/etc/stockade/ca.pem\"
  [host]
  lease_ms = 6000
  requests_max = 2048
  shutdown_max_ms = 20000
  [limits]
  call_time_ms = 5000")]
pub(super) struct Serve {
    /// The data directory; made if missing [default: stockade-data]
    #[arg(long, env = super::DATA_DIR_VARIABLE, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    store: StoreArgs,
    /// Listen here for nodes without a disk of their own, which use the store of this data directory:
    /// they start with --store stockade://HOST:PORT. Needs --store-cert, --store-key and --store-ca;
    /// with --peers, those of --peers are used unless others are given
    #[arg(long, value_name = "HOST:PORT")]
    serve_store: Option<String>,
    /// Listen here for callers of actors; port 0 is a free one [default: 127.0.0.1:7070]
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// Speak TLS with callers, and with operators beyond loopback: the certificate, followed by its
    /// intermediate certificates, PEM. Read at start
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// The certificate's key, PEM
    #[arg(long, value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// Let pages of this site call actors, for example https://app.example. May be given several times
    #[arg(long, value_name = "ORIGIN")]
    allow_origin: Vec<String>,
    /// Accept requests for this name on loopback: the name of a proxy on this machine. May be given
    /// several times
    #[arg(long, value_name = "NAME[:PORT]")]
    allow_host: Vec<String>,
    /// File with settings, TOML
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Default limit of all kinds; a manifest may override it
    #[arg(long = "limit", value_name = "NAME=NUMBER", value_parser = limit)]
    limits: Vec<(String, u64)>,
    /// Let `stockade fault` make actors fail on purpose. Never in production
    #[arg(long)]
    allow_faults: bool,
    /// Give callers the last words of a guest that dies (panic, exception, traceback) and its
    /// frames. For development: without it only the log and operators have them
    #[arg(long)]
    development: bool,
    /// Start although part of the store is known to be lost, with what is left. Each loss is logged
    /// and recorded, and a damaged log is copied first. Without it such a store is refused
    #[arg(long)]
    accept_loss: bool,
    /// Serve nothing: report whether the store would be opened, and which processes have it open.
    /// Changes nothing. Exits with 0 if the store would be opened, with 1 if it is refused
    #[arg(long)]
    check_store: bool,
    /// Take over actors of a process on the same data that has shown no sign of life for this long,
    /// in milliseconds [default: 6000]
    #[arg(long, value_name = "MS")]
    lease_ms: Option<u64>,
    #[command(flatten)]
    peers: PeerOptions,
    /// Write the addresses to this file, as JSON, once the listeners serve
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

/// What is announced beside the addresses.
#[derive(Clone, Copy)]
struct About<'a> {
    data_dir: &'a Path,
    /// `None`: it is in the data directory.
    store: Option<&'a str>,
    /// Where other nodes reach the store of this one.
    store_served: Option<SocketAddr>,
    allow_faults: bool,
}

/// What a server is started with.
struct Settings {
    config: ServerConfig,
    /// The store, if it is not in the data directory.
    backend: Option<Backend>,
    /// The listener for nodes that use the store of the data directory.
    listener: Option<StoreListener>,
}

impl Serve {
    pub(super) fn run(&self, context: &Context) -> Result<ExitCode, Failure> {
        if self.check_store {
            let file = Config::read(self.config.as_deref())?;
            let files = self.store_files(&file);
            let serves = self.serve_store.is_some()
                || file.serve_store.is_some()
                || self.peers.files(&file.peers).store_ca.is_some();
            return match self.store.of_server(file.store, &files, serves)? {
                Some(backend) => backend.check(context),
                None => super::store::check(context, &self.data_dir(file.data_dir)),
            };
        }
        let Settings { mut config, backend, listener } = self.settings(context)?;
        stockade_server::check_allowed().map_err(failure)?;
        let data_dir = config.host.data_dir().to_owned();
        let allow_faults = config.host.allows_faults();
        let runtime = Builder::new_multi_thread()
            .thread_name("serve")
            .enable_all()
            .build()
            .map_err(|error| Failure::local(format!("cannot start: {error}")))?;
        if let Some(path) = &self.ready_file {
            // A file that a killed process has left must not be taken for this one.
            drop(std::fs::remove_file(path));
        }
        if let Some(backend) = &backend {
            match backend.handed_to(config.host, &runtime) {
                Ok(host) => config.host = host,
                Err(failure) => {
                    // The name of a host may still be asked for.
                    runtime.shutdown_background();
                    return Err(failure);
                }
            }
        }
        let mut shared = None;
        if let Some(listener) = listener {
            let (host, started) = listener.start(config.host, self.accept_loss, &runtime)?;
            (config.host, shared) = (host, Some(started));
        }
        let store = backend.map(|backend| backend.to_string());
        let store_served = shared.as_ref().map(Shared::address);
        let about =
            About { data_dir: &data_dir, store: store.as_deref(), store_served, allow_faults };
        let announced = |addresses| self.announce(context, about, addresses);
        let ending = runtime.block_on(stockade_server::run(config, announced));
        if let Some(path) = &self.ready_file {
            // The file exists only while the addresses serve.
            drop(std::fs::remove_file(path));
        }
        match ending.map_err(failure)? {
            Ending::Done(report) => {
                if let Some(shared) = shared {
                    runtime.block_on(shared.close());
                }
                let ShutdownReport { orderly, unfinished, took } = report;
                tracing::info!(orderly, unfinished, ?took, "shut down");
                Ok(ExitCode::from(u8::from(!orderly)))
            }
            Ending::Failed(failure) => {
                runtime.shutdown_background();
                let limit = stockade::internal::allowed::file_bytes_max();
                let limit = limit.map_or_else(String::new, |max| {
                    format!(" and at ulimit -f (files may have {max} bytes)")
                });
                let what = format!("{failure}; look at the disk{limit}, then start it again");
                Err(Failure::local(what))
            }
            Ending::Forced => {
                runtime.shutdown_background();
                Ok(ExitCode::from(FORCED))
            }
        }
    }

    /// The files for a store; those for peers serve as well.
    fn store_files(&self, file: &Config) -> StoreFiles {
        self.store.files(file.store_files()).or(self.peers.files(&file.peers))
    }

    /// What to serve.
    fn settings(&self, context: &Context) -> Result<Settings, Failure> {
        let file = Config::read(self.config.as_deref())?;
        let pick = |given: &Option<String>, file: Option<String>, default: &str| {
            given.clone().or(file).unwrap_or_else(|| default.to_owned())
        };
        let data_dir = self.data_dir(file.data_dir.clone());
        let callers = match (&context.common.token_file, &file.token_file) {
            (None, Some(path)) => Some(super::read_token(path)?),
            _ => context.token()?,
        };
        let operators = match (&context.common.admin_token_file, &file.admin_token_file) {
            (None, Some(path)) => Some(super::read_token(path)?),
            _ => context.admin_token()?,
        };
        let files = self.store_files(&file);
        let has_peer_keys = self.peers.files(&file.peers).store_ca.is_some();
        let listen_for_store = self.serve_store.clone().or(file.serve_store);
        let keys_are_used = has_peer_keys || listen_for_store.is_some();
        let backend = self.store.of_server(file.store, &files, keys_are_used)?;
        let listener = match (&listen_for_store, &backend) {
            (Some(_), Some(_)) => {
                let what = "--serve-store is for a store in the data directory, not for --store";
                return Err(Failure::usage(what));
            }
            (Some(listen), None) => Some(StoreListener::read(listen, &files)?),
            (None, _) => None,
        };
        if backend.is_some() && self.accept_loss {
            let what = "--accept-loss is for a store in the data directory, not for --store";
            return Err(Failure::usage(what));
        }
        let tls = (self.tls_cert.clone().or(file.tls_cert), self.tls_key.clone().or(file.tls_key));
        let tls = match tls {
            (Some(certificate), Some(key)) => Some(Tls::read(&certificate, &key)),
            (None, None) => None,
            _ => return Err(Failure::usage("--tls-cert and --tls-key belong together")),
        };
        let admin = context.common.admin.clone();
        let admin = admin.or_else(|| super::from_environment(super::ADMIN_VARIABLE));
        let allow_faults = self.allow_faults || file.allow_faults;
        let host = HostConfig::new(data_dir)
            .with_development(self.development || file.development)
            .with_accepted_loss(self.accept_loss)
            .with_limits(file.host.limits())
            .with_lease(lease(self.lease_ms.or(file.host.lease_ms))?)
            .with_kind_defaults(over(&file.limits, &self.limits)?)
            // No task blocks the threads of callers' connections.
            .advanced(|settings| {
                settings.with_faults_allowed(allow_faults).with_answers_on_callers(true)
            });
        let config = ServerConfig {
            host,
            listen: pick(&self.listen, file.listen, super::LISTEN),
            admin: pick(&admin, file.admin, super::ADMIN),
            callers: token(callers)?,
            operators: token(operators)?,
            tls: tls.transpose().map_err(|error| Failure::local(error.to_string()))?,
            origins: allowed("--allow-origin", &self.allow_origin, &file.allow_origin)?,
            hosts: allowed("--allow-host", &self.allow_host, &file.allow_host)?,
            advertise: self.peers.advertise.clone().or(file.advertise),
            peers: self.peers.peers(file.peers)?,
        };
        Ok(Settings { config, backend, listener })
    }

    fn data_dir(&self, configured: Option<PathBuf>) -> PathBuf {
        let given = self.data_dir.clone().or(configured);
        given.unwrap_or_else(|| PathBuf::from(DATA_DIR))
    }

    fn announce(&self, context: &Context, about: About<'_>, addresses: Addresses) {
        let About { data_dir, store, store_served, allow_faults } = about;
        let Addresses { listen, admin, listen_tls, admin_tls, peers } = addresses;
        let document = json!({
            "event": "ready",
            "listen": listen.to_string(),
            "admin": admin.to_string(),
            "listen_tls": listen_tls,
            "admin_tls": admin_tls,
            "peers": peers.map(|peers| peers.to_string()),
            "data_dir": data_dir.display().to_string(),
            "store": store,
            "store_served": store_served.map(|address| address.to_string()),
            "pid": std::process::id(),
            "faults_allowed": allow_faults,
        });
        let text = |_: &Json| {
            let version = env!("CARGO_PKG_VERSION");
            let data_dir = data_dir.display();
            let scheme = |tls| if tls { "https" } else { "http" };
            let (called, asked) = (scheme(listen_tls), scheme(admin_tls));
            let faults = if allow_faults { "\n  faults     ALLOWED" } else { "" };
            let peers = peers.map_or_else(String::new, |peers| format!("\n  peers      {peers}"));
            let store = store.map(|store| format!("\n  store      {store}")).unwrap_or_default();
            let served = store_served
                .map(|address| format!("\n  serves     stockade://{address}"))
                .unwrap_or_default();
            format!(
                "stockade {version}\n  actors     {called}://{listen}\n  operators  \
                 {asked}://{admin}{peers}\n  data       {data_dir}{store}{served}{faults}"
            )
        };
        // The file first: a script that sees the line may rely on the file.
        if let Some(path) = &self.ready_file
            && let Err(error) = write_whole(path, &document.to_string())
        {
            tracing::error!(path = %path.display(), %error, "cannot write the ready file");
        }
        if context.output.result(&document, text).is_err() {
            tracing::warn!("cannot announce on stdout");
        }
    }
}

fn token(text: Option<String>) -> Result<Option<Token>, Failure> {
    text.map(|text| Token::new(&text))
        .transpose()
        .map_err(|error| Failure::usage(error.to_string()))
}

/// The names on the command line, else those in the file.
fn allowed<T>(option: &str, given: &[String], file: &[String]) -> Result<Vec<T>, Failure>
where
    T: FromStr<Err = InvalidName>,
{
    let list = if given.is_empty() { file } else { given };
    if list.len() > ALLOWED_MAX {
        return Err(Failure::usage(format!("{option} may be given {ALLOWED_MAX} times at most")));
    }
    let read = list.iter().map(|text| text.parse());
    read.collect::<Result<_, _>>().map_err(|error| Failure::usage(format!("{option}: {error}")))
}

/// Writes a file that readers see whole or not at all.
fn write_whole(path: &Path, text: &str) -> std::io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".partial-{}", std::process::id()));
    let partial = PathBuf::from(name);
    let mut file = std::fs::File::create(&partial)?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    drop(file);
    std::fs::rename(&partial, path)
}

/// The defaults with single limits on top. The error for an unknown name lists the known ones.
fn over(defaults: &Limits, given: &[(String, u64)]) -> Result<Limits, Failure> {
    let mut whole = serde_json::to_value(defaults).expect("BUG: limits are numbers");
    for (name, number) in given {
        Limits::known(name).map_err(|why| Failure::usage(format!("--limit: {why}")))?;
        whole[name] = json!(number);
    }
    serde_json::from_value(whole).map_err(|error| Failure::usage(format!("--limit: {error}")))
}

/// A process with a shorter lease would look dead when it is only busy.
fn lease(given_ms: Option<u64>) -> Result<Duration, Failure> {
    let lease = given_ms.map_or(LEASE, Duration::from_millis);
    if lease < LEASE_MIN {
        let (given, min) = (lease.as_millis(), LEASE_MIN.as_millis());
        return Err(Failure::usage(format!("lease_ms is {given}, the least is {min}")));
    }
    Ok(lease)
}

fn failure(error: ServerError) -> Failure {
    match error {
        ServerError::Host(error) => error.into(),
        ServerError::Address { .. } => {
            Failure::usage(format!("{error}; write HOST:PORT, for example 127.0.0.1:7070"))
        }
        ServerError::Unprotected(_) | ServerError::OneToken | ServerError::NotReached(..) => {
            Failure::usage(error.to_string())
        }
        ServerError::Threads(_)
        | ServerError::TokenFile(_)
        | ServerError::AddressSpace { .. }
        | ServerError::FileSize { .. } => Failure::local(error.to_string()),
        ServerError::Listen { .. } => Failure::local(format!(
            "{error}; --listen and --admin choose other addresses, port 0 a free port"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_that_busy_processes_cannot_keep_is_refused() {
        assert_eq!(lease(None).expect("default"), LEASE);
        assert_eq!(lease(Some(1_500)).expect("long enough"), Duration::from_millis(1_500));
        for short in [0, 99] {
            let failure = lease(Some(short)).expect_err("too short");
            assert!(failure.body.message.contains("100"), "{}", failure.body.message);
        }
    }

    #[test]
    fn default_limits_are_set_by_name() {
        let limits = over(&Limits::default(), &[("rows_max".to_owned(), 5)]).expect("known");
        assert_eq!(limits.rows_max, 5);
        let failure = over(&Limits::default(), &[("rows".to_owned(), 5)]).expect_err("unknown");
        assert!(failure.body.message.contains("rows_max"), "{}", failure.body.message);
    }
}
