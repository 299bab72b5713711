//! The listener of peers: who may connect, and what is asked where.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::{Value as Json, json};
use stockade_tests::program::Program;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Cluster, PATIENCE, code, make_keys};

const PEER_NAME: &str = "peer.stockade.internal";

fn peers_of(program: &Program) -> String {
    program.peers.clone().expect("it has a listener for peers")
}

/// Connects with the certificate of a file, or with none; what the other side answers to a request.
async fn ask(
    address: &str,
    authority: &Path,
    own: Option<&(PathBuf, PathBuf)>,
    request: &str,
) -> std::io::Result<String> {
    let mut stream = connect(address, authority, own).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("it ends")?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

async fn connect(
    address: &str,
    authority: &Path,
    own: Option<&(PathBuf, PathBuf)>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots);
    let config = match own {
        None => config.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = vec![CertificateDer::from_pem_file(certificate).unwrap()];
            let key = PrivateKeyDer::from_pem_file(key).unwrap();
            config.with_client_auth_cert(chain, key).unwrap()
        }
    };
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from(PEER_NAME).unwrap();
    timeout(PATIENCE, TlsConnector::from(Arc::new(config)).connect(name, stream)).await.unwrap()
}

fn line(request: &str) -> String {
    format!("{request} HTTP/1.1\r\nhost: peer\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
}

/// Status and `group.code` of an answer.
fn read(answer: &str) -> (u16, String) {
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let body: Json = serde_json::from_str(body).unwrap_or_default();
    let word = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    (status, format!("{}.{}", word("group"), word("code")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_peers_are_let_in() {
    let cluster = Cluster::start(1);
    let (address, keys) = (peers_of(cluster.node(0)), cluster.keys());
    let authority = keys.join("ca.pem");
    let health = line("GET /health");
    let own = (keys.join("one.pem"), keys.join("one-key.pem"));
    let peer = ask(&address, &authority, Some(&own), &health).await.unwrap();
    assert!(peer.starts_with("HTTP/1.1 200"), "{peer}");

    let refused = |answer: std::io::Result<String>| match answer {
        Err(_) => {}
        Ok(answer) => assert_eq!(answer, "", "a stranger was answered"),
    };
    // Without a certificate.
    refused(ask(&address, &authority, None, &health).await);
    // Of another authority.
    let others = cluster.dir.path().join("others");
    make_keys(&others, &["one"]);
    let other = (others.join("one.pem"), others.join("one-key.pem"));
    refused(ask(&address, &authority, Some(&other), &health).await);
    // The other side is checked as well: to one who trusts another authority, it is no peer.
    assert!(connect(&address, &others.join("ca.pem"), Some(&other)).await.is_err());
    // Of an authority that is trusted, for something else.
    let foreign = cluster.dir.path().join("foreign");
    let (files, serving) = foreign_peers(&foreign);
    let mut flags = vec!["--peers", "127.0.0.1:0"];
    flags.extend(serving.iter().map(String::as_str));
    let program = Program::serve_with(&foreign.join("data"), &flags).unwrap();
    let address = peers_of(&program);
    let at = |name: &str| foreign.join(name);
    let peer = (at("peer.pem"), at("peer-key.pem"));
    let web = (at("web.pem"), at("web-key.pem"));
    let good = ask(&address, &files, Some(&peer), &health).await.unwrap();
    assert!(good.starts_with("HTTP/1.1 200"), "{good}");
    refused(ask(&address, &files, Some(&web), &health).await);
    // Without TLS.
    let mut plain = TcpStream::connect(&address).await.unwrap();
    plain.write_all(health.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    drop(timeout(Duration::from_secs(60), plain.read_to_end(&mut answer)).await.unwrap());
    assert!(!answer.starts_with(b"HTTP/"), "{answer:?}");
}

/// Files of an authority that signs a peer and a web server, and flags to serve as the peer.
fn foreign_peers(dir: &Path) -> (PathBuf, Vec<String>) {
    std::fs::create_dir_all(dir).unwrap();
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let authority = dir.join("ca.pem");
    std::fs::write(&authority, params.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(params, key);
    for (file, name) in [("peer", PEER_NAME), ("web", "www.example")] {
        let own = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let chain = leaf.signed_by(&own, &issuer).unwrap().pem();
        std::fs::write(dir.join(format!("{file}.pem")), chain).unwrap();
        std::fs::write(dir.join(format!("{file}-key.pem")), own.serialize_pem()).unwrap();
    }
    (authority, super::peer_flags(dir, "peer").to_vec())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_listener_refuses_what_belongs_to_the_others() {
    let cluster = Cluster::start(1);
    let program = cluster.node(0);
    let keys = cluster.keys();
    let own = (keys.join("one.pem"), keys.join("one-key.pem"));
    let address = peers_of(program);
    let ask = |request: &str| {
        let (address, keys, own, request) =
            (address.clone(), keys.clone(), own.clone(), line(request));
        async move {
            let answer = ask(&address, &keys.join("ca.pem"), Some(&own), &request).await;
            read(&answer.unwrap())
        }
    };
    let wrong = || (421, "request.wrong-listener".to_owned());
    for request in ["POST /actors/counter/a/increment", "GET /kinds/counter", "GET /admin/nodes"] {
        assert_eq!(ask(request).await, wrong(), "{request}");
    }
    let unrouted = ask("POST /peers/actors/counter/a/increment").await;
    assert_eq!(unrouted, (400, "request.malformed".to_owned()), "it names no route");
    assert_eq!(ask("GET /other").await, (404, "request.no-route".to_owned()));

    let path = "/peers/actors/counter/a/increment";
    let public =
        program.post_raw(&format!("http://{}{path}", program.listen), "application/json", b"[1]");
    let public = public.unwrap();
    assert_eq!((public.status, code(&public).as_str()), (421, "request.wrong-listener"));
    let admin = program.admin_post(path, &json!([1])).unwrap();
    assert_eq!((admin.status, code(&admin).as_str()), (421, "request.wrong-listener"));
}

#[test]
fn peers_without_keys_or_a_reachable_address_are_refused_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    make_keys(&dir.path().join("keys"), &["one"]);
    let data = dir.path().join("data").display().to_string();
    let serve = |flags: &[&str]| {
        let line: Vec<&str> = ["serve", "--json", "--data-dir", &data, "--listen", "127.0.0.1:0"]
            .into_iter()
            .chain(["--admin", "127.0.0.1:0"])
            .chain(flags.iter().copied())
            .collect();
        let (exit, _, error) = stockade_tests::program::run(&line).unwrap();
        (exit, error)
    };
    let (exit, error) = serve(&["--peers", "127.0.0.1:0"]);
    assert!(exit == 2 && error.contains("peer-keys"), "{error}");
    let keys = super::peer_flags(&dir.path().join("keys"), "one");
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let (exit, error) = serve(&[&["--peers", "0.0.0.0:0"], &keys[..]].concat());
    assert!(exit == 2 && error.contains("--advertise-peers"), "{error}");
    let (exit, error) = serve(&keys);
    assert!(exit == 2 && error.contains("--peers"), "{error}");
}
