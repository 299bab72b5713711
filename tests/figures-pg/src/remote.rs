//! The store of another node through its protocol, over loopback TLS, beside the same store without it.
//!
//! ```text
//! direct   sessions over an embedded store on files
//! through  sessions over the same store, served by a node; its steps are counted there
//! ```
//! Bytes on this wire are no flights: HTTP/2 speaks between them. A step waits for its answer, so steps
//! are what is counted.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use stockade_depot::store::embedded::EmbeddedConfig;
use stockade_depot::{ActorId, EmbeddedStore, Session, Store};
use stockade_remote::{
    ClientKeys, RemoteAddress, RemoteConfig, RemoteStore, STORE_NAME, ServeConfig, ServerKeys,
    StoreServer,
};
use stockade_testkit::faulty_store::{FaultyStore, Step};
use tokio::net::TcpListener;

use crate::commits::{CLIENTS, commits};
use crate::server::{COMPONENT, depot, put};
use crate::{Figure, median, trips};

pub(crate) async fn run(quick: bool) -> anyhow::Result<Vec<Figure>> {
    let directory = tempfile::tempdir()?;
    let config = EmbeddedConfig::new(directory.path().join("store"));
    let direct: Arc<dyn Store> = Arc::new(EmbeddedStore::open(&config)?);
    let keys = Keys::new(directory.path())?;
    let served = serve(Arc::clone(&direct), &keys).await?;
    let through = open(&served, &keys).await?;
    let mut figures = rates(&direct, &through, quick).await?;
    let counted = FaultyStore::new(Arc::clone(&direct));
    let served = serve(Arc::clone(&counted) as Arc<dyn Store>, &keys).await?;
    let through = open(&served, &keys).await?;
    let steps = || Step::ALL.into_iter().map(|step| counted.calls(step)).sum::<u64>();
    figures.extend(trips::measure(&direct, &through, &steps, ("remote", ""), quick).await?);
    through.close().await;
    direct.close().await;
    Ok(figures)
}

/// A slice of commits without the protocol comes directly before each slice through it.
async fn rates(
    direct: &Arc<dyn Store>,
    through: &Arc<dyn Store>,
    quick: bool,
) -> anyhow::Result<Vec<Figure>> {
    let (pairs, rounds) = if quick { (1, 10) } else { (9, 500) };
    let (here, there) =
        (sessions(direct, "direct", 1).await?, sessions(through, "through", 2).await?);
    let (mut ratios, mut last) = (Vec::new(), (0.0, 0.0));
    for pair in 0..=pairs {
        last = (commits(&here).await?, commits(&there).await?);
        // The first one warms up.
        if pair > 0 {
            ratios.push(last.1 / last.0);
        }
    }
    let told = format!("{:.0} commits/s over {:.0} in the last pair", last.1, last.0);
    let rate = Figure::new("remote.commit_over_embedded", median(ratios), told);
    let (mut of_direct, mut of_through) = (Vec::new(), Vec::new());
    for version in 0..rounds {
        of_direct.push(seconds(&here[0], version).await?);
        of_through.push(seconds(&there[0], version).await?);
    }
    let (direct, through) = (median(of_direct), median(of_through));
    let told = format!("{:.3} ms over {:.3} ms", through * 1000.0, direct * 1000.0);
    let name = "remote.sequential_over_embedded_p50";
    Ok(vec![rate, Figure::new(name, through / direct, told)])
}

/// How long one durable commit takes.
async fn seconds(session: &Session, version: u64) -> anyhow::Result<f64> {
    let begun = Instant::now();
    put(session, 1..=1, version)?;
    session.durable(session.mark()).await?;
    Ok(begun.elapsed().as_secs_f64())
}

async fn sessions(
    store: &Arc<dyn Store>,
    kind: &str,
    node: u8,
) -> anyhow::Result<Vec<Arc<Session>>> {
    let here = depot(store, node);
    let mut sessions = Vec::new();
    for n in 0..CLIENTS {
        let actor = ActorId::new(kind, &format!("{n}"))?;
        sessions.push(Arc::new(here.create(&actor, COMPONENT).await?.session));
    }
    Ok(sessions)
}

async fn serve(store: Arc<dyn Store>, keys: &Keys) -> anyhow::Result<StoreServer> {
    let (certificate, key) = &keys.server;
    let server = ServerKeys::read(certificate, key, &keys.authority, true)?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    Ok(StoreServer::start(listener, store, &ServeConfig::new(server))?)
}

async fn open(served: &StoreServer, keys: &Keys) -> anyhow::Result<Arc<dyn Store>> {
    let (certificate, key) = &keys.client;
    let keys = ClientKeys::read(&keys.authority, Some((certificate, key)))?;
    let address = RemoteAddress::parse(&format!("stockade://{}", served.address()))?;
    Ok(Arc::new(RemoteStore::open(RemoteConfig::new(address, keys)).await?))
}

/// An authority and what it has signed, as files.
struct Keys {
    authority: PathBuf,
    server: (PathBuf, PathBuf),
    client: (PathBuf, PathBuf),
}

impl Keys {
    fn new(directory: &Path) -> anyhow::Result<Self> {
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate()?;
        let authority = directory.join("ca.pem");
        std::fs::write(&authority, params.self_signed(&key)?.pem())?;
        let issuer = Issuer::new(params, key);
        let sign = |name: &str| -> anyhow::Result<(PathBuf, PathBuf)> {
            let mut params = CertificateParams::new(vec![STORE_NAME.to_owned()])?;
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            params.extended_key_usages =
                vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
            let key = KeyPair::generate()?;
            let at =
                (directory.join(format!("{name}.pem")), directory.join(format!("{name}-key.pem")));
            std::fs::write(&at.0, params.signed_by(&key, &issuer)?.pem())?;
            std::fs::write(&at.1, key.serialize_pem())?;
            Ok(at)
        };
        Ok(Self { server: sign("server")?, client: sign("client")?, authority })
    }
}
