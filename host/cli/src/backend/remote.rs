//! The store of another node: where it is, what opens it, and the listener on the node that has it.
//!
//! Invariant: a token is read here and handed to the store, which shows it in no text.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value as Json, json};
use stockade::HostConfig;
use stockade::error::{HostError, Retry};
use stockade_depot::Store;
use stockade_depot::store::embedded::{EmbeddedConfig, EmbeddedStore};
use stockade_remote::{
    ClientKeys, KeysError, NEWEST_VERSION, OpenRemoteError, RemoteAddress, RemoteConfig,
    RemoteStore, ServeConfig, ServerKeys, StoreServer, StoreToken,
};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use super::files::StoreFiles;
use crate::failure::Failure;
use crate::store::process;

/// Reads an address, and what opens the store there.
pub(super) fn read(address: &str, files: &StoreFiles) -> Result<RemoteConfig, Failure> {
    let address = RemoteAddress::parse(address);
    let address = address.map_err(|error| Failure::usage(format!("--store: {error}")))?;
    let (authority, own) = (files.authority("--store stockade://")?, files.identity()?);
    let token = token(files)?;
    if own.is_none() && token.is_none() {
        return Err(Failure::usage(
            "--store stockade:// needs --store-cert and --store-key, or --store-token-file",
        ));
    }
    let own = own.as_ref().map(|(certificate, key)| (certificate.as_path(), key.as_path()));
    let keys = ClientKeys::read(&authority, own).map_err(|error| unread(&error))?;
    let mut config = RemoteConfig::new(address, keys);
    config.token = token;
    Ok(config)
}

fn token(files: &StoreFiles) -> Result<Option<StoreToken>, Failure> {
    let Some(path) = &files.store_token_file else { return Ok(None) };
    crate::warn_of_readers(path, "store's token");
    StoreToken::from_file(path).map(Some).map_err(|error| Failure::local(error.to_string()))
}

fn unread(error: &KeysError) -> Failure {
    Failure::local(error.to_string())
}

/// Opens the store.
pub(super) async fn open(config: &RemoteConfig) -> Result<Arc<dyn Store>, Failure> {
    Ok(Arc::new(connect(config).await?))
}

async fn connect(config: &RemoteConfig) -> Result<RemoteStore, Failure> {
    RemoteStore::open(config.clone()).await.map_err(|error| {
        let retry = match error {
            OpenRemoteError::Connect { .. } => Retry::Retry,
            OpenRemoteError::Refused { .. } => Retry::Fix,
        };
        Failure::no_store(format!("cannot open the store: {error}"), retry)
    })
}

/// Whether `stockade serve` would open the store, and which processes are registered in it.
pub(super) async fn look(config: &RemoteConfig) -> Result<Json, Failure> {
    let store = connect(config).await?;
    let nodes = store_nodes(&store).await?;
    let (version, program) = store.agreed();
    Ok(json!({
        "ok": true,
        "verdict": "opens",
        "store": config.address.to_string(),
        "reads": NEWEST_VERSION,
        "format": version,
        "made_by": program,
        "processes": nodes,
    }))
}

async fn store_nodes(store: &RemoteStore) -> Result<Vec<Json>, Failure> {
    let nodes = stockade_depot::store::Cluster::nodes(store).await;
    Ok(nodes.map_err(crate::offline::failure)?.iter().map(process).collect())
}

/// A listener for the store of this node.
pub(crate) struct StoreListener {
    listen: String,
    config: ServeConfig,
}

/// The store of this node, served to others.
pub(crate) struct Shared(StoreServer);

impl StoreListener {
    /// Reads what the listener needs.
    pub(crate) fn read(listen: &str, files: &StoreFiles) -> Result<Self, Failure> {
        let authority = files.authority("--serve-store")?;
        let Some((certificate, key)) = files.identity()? else {
            return Err(Failure::usage(
                "--serve-store needs --store-cert and --store-key: a store is not served in \
                 plaintext; `stockade peer-keys DIR` makes the files",
            ));
        };
        let token = token(files)?;
        let keys = ServerKeys::read(&certificate, &key, &authority, token.is_none());
        let mut config = ServeConfig::new(keys.map_err(|error| unread(&error))?);
        config.token = token;
        Ok(Self { listen: listen.to_owned(), config })
    }

    /// Opens the store in the data directory for the host and for the listener, and serves it.
    pub(crate) fn start(
        self,
        host: HostConfig,
        accept_loss: bool,
        runtime: &Runtime,
    ) -> Result<(HostConfig, Shared), Failure> {
        let directory = host.data_dir().join("store");
        let store: Arc<dyn Store> = Arc::new(embedded(&directory, accept_loss)?);
        let Self { listen, config } = self;
        let beside = Arc::clone(&store);
        let server = runtime.block_on(async move {
            let listener = TcpListener::bind(&listen).await.map_err(|error| {
                Failure::local(format!(
                    "listen on {listen} for nodes that use this store: {error}; --serve-store chooses \
                     another address, port 0 a free port"
                ))
            })?;
            StoreServer::start(listener, beside, &config).map_err(|error| {
                Failure::local(format!("listen on {listen} for nodes that use this store: {error}"))
            })
        })?;
        tracing::info!(address = %server.address(), "serving the store to other nodes");
        Ok((host.advanced(|settings| settings.with_store(store)), Shared(server)))
    }
}

impl Shared {
    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.0.address()
    }

    /// Finishes the steps that have begun.
    pub(crate) async fn close(self) {
        self.0.close().await;
    }
}

/// As a host opens it.
fn embedded(directory: &Path, accept_loss: bool) -> Result<EmbeddedStore, Failure> {
    let failed = |error: String| {
        let path = directory.to_owned();
        Failure::from(HostError::Directory { path, error })
    };
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(|error| failed(error.to_string()))?;
    let mut config = EmbeddedConfig::new(directory);
    config.accept_loss = accept_loss;
    EmbeddedStore::open(&config).map_err(|error| failed(error.to_string()))
}
