//! What tests of this package share: keys, a served store, and a way to it that can be cut.

pub(crate) mod raw;
pub(crate) mod relay;

use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use stockade_depot::Store;
use stockade_remote::{
    ClientKeys, RemoteAddress, RemoteConfig, RemoteStore, STORE_NAME, ServeConfig, ServerKeys,
    StoreServer, Terms,
};
use tempfile::TempDir;
use tokio::net::TcpListener;

/// An authority and what it has signed, as files.
pub(crate) struct Keys {
    dir: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Keys {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Self { dir, issuer: Issuer::new(params, key) }
    }

    /// A certificate with this name in it, and its key.
    pub(crate) fn sign(&self, file: &str, name: &str) -> (PathBuf, PathBuf) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, file);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let at = (self.path(&format!("{file}.pem")), self.path(&format!("{file}-key.pem")));
        std::fs::write(&at.0, certificate.pem()).unwrap();
        std::fs::write(&at.1, key.serialize_pem()).unwrap();
        at
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    pub(crate) fn authority(&self) -> PathBuf {
        self.path("ca.pem")
    }

    pub(crate) fn server(&self, certified_only: bool) -> ServerKeys {
        let (certificate, key) = self.sign("server", STORE_NAME);
        ServerKeys::read(&certificate, &key, &self.authority(), certified_only).unwrap()
    }

    pub(crate) fn client(&self) -> ClientKeys {
        let (certificate, key) = self.sign("client", STORE_NAME);
        ClientKeys::read(&self.authority(), Some((&certificate, &key))).unwrap()
    }

    /// A client that shows no certificate.
    pub(crate) fn stranger(&self) -> ClientKeys {
        ClientKeys::read(&self.authority(), None).unwrap()
    }
}

/// A store behind the protocol.
pub(crate) struct Served {
    pub(crate) keys: Keys,
    pub(crate) server: StoreServer,
}

impl Served {
    pub(crate) async fn start(store: Arc<dyn Store>, terms: Terms) -> Self {
        let keys = Keys::new();
        let mut config = ServeConfig::new(keys.server(true));
        config.terms = terms;
        Self { server: serve(store, &config, 0).await, keys }
    }

    pub(crate) fn config(&self) -> RemoteConfig {
        at(self.server.address().port(), self.keys.client())
    }
}

/// Serves a store on a port; 0: a free one.
pub(crate) async fn serve(store: Arc<dyn Store>, config: &ServeConfig, port: u16) -> StoreServer {
    try_serve(store, config, port).await.unwrap()
}

/// The same, unless another process has the port.
pub(crate) async fn try_serve(
    store: Arc<dyn Store>,
    config: &ServeConfig,
    port: u16,
) -> io::Result<StoreServer> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    StoreServer::start(listener, store, config)
}

pub(crate) fn at(port: u16, keys: ClientKeys) -> RemoteConfig {
    let address = RemoteAddress::parse(&format!("stockade://127.0.0.1:{port}")).unwrap();
    RemoteConfig::new(address, keys)
}

pub(crate) async fn open(config: RemoteConfig) -> Arc<dyn Store> {
    Arc::new(RemoteStore::open(config).await.unwrap())
}

/// The terms of a program that speaks these versions.
pub(crate) fn terms(versions: &[u32]) -> Terms {
    Terms { versions: versions.to_vec(), ..Terms::ours() }
}
