//! TLS by files, and a command line that trusts only the given authorities.

use std::io::Read;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use stockade_tests::guest;
use stockade_tests::program::{self, Program};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{PATIENCE, configured, raw, refused};

/// A test authority, and the certificate that it has signed for 127.0.0.1.
pub(super) struct Files {
    pub(super) authority: PathBuf,
    pub(super) chain: PathBuf,
    pub(super) key: PathBuf,
}

impl Files {
    pub(super) fn new(dir: &Path) -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let authority = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        let own = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let chain = leaf.signed_by(&own, &issuer).unwrap().pem();
        std::fs::create_dir_all(dir).unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        Self {
            authority: write("authority.pem", &authority),
            chain: write("chain.pem", &chain),
            key: write("key.pem", &own.serialize_pem()),
        }
    }

    fn flags(&self) -> [String; 4] {
        let text = |path: &Path| path.display().to_string();
        ["--tls-cert".into(), text(&self.chain), "--tls-key".into(), text(&self.key)]
    }
}

pub(super) fn serve(files: &Files, data: &Path, config: &str) -> Program {
    let flags = files.flags();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    configured(data, config, &flags)
}

/// Opens a connection with a choice of protocols; returns it with the agreed one.
pub(super) async fn connect(
    files: &Files,
    address: &str,
    protocols: &[&[u8]],
) -> (TlsStream<tokio::net::TcpStream>, Vec<u8>) {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&files.authority).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    let agreed = stream.get_ref().1.alpn_protocol().unwrap_or_default().to_vec();
    (stream, agreed)
}

#[test]
fn callers_and_the_command_line_speak_tls() {
    let dir = tempfile::tempdir().unwrap();
    let files = Files::new(dir.path());
    let program = serve(&files, &dir.path().join("data"), "");
    // Operators on loopback use plain HTTP: no certificate names 127.0.0.1.
    program.deploy("typed_all", &guest::TYPED_ALL.wasm().unwrap()).unwrap();
    let server = format!("https://{}", program.listen);
    let authority = files.authority.display().to_string();
    let call = ["--server", &server, "call", "typed_all/x", "echo-string", "ü"];
    let trusting: Vec<&str> = call.iter().copied().chain(["--ca-file", &authority]).collect();
    let (exit, out, error) = program::run(&trusting).unwrap();
    assert_eq!((exit, out.trim()), (0, "\"ü\""), "{error}");
    // The usual authorities do not know the test authority, and the certificate is not for this
    // name.
    assert_eq!(refused(&call, &[]).1, "client.untrusted");
    let other = server.replace("127.0.0.1", "localhost");
    let (exit, code, words) = refused(
        &["--server", &other, "--ca-file", &authority, "call", "typed_all/x", "echo-string", "a"],
        &[],
    );
    assert_eq!((exit, code.as_str()), (1, "client.untrusted"), "{words}");
    assert!(words.contains("--ca-file"), "{words}");
    // Nothing is answered without TLS.
    assert!(
        !raw(&program.listen, "GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .starts_with(b"HTTP/")
    );
    let plain = ["--server", &program.listen, "call", "typed_all/x", "echo-string", "a"];
    assert_eq!(refused(&plain, &[]).0, 1);
    assert_eq!(program::run(&trusting).unwrap().0, 0, "the host goes on");
}

#[test]
fn operators_beyond_loopback_speak_tls() {
    let dir = tempfile::tempdir().unwrap();
    let files = Files::new(dir.path());
    let flags = files.flags();
    let mut flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    flags.extend(["--admin", "0.0.0.0:0"]);
    // The test kit names both listeners; the last option counts.
    let data = dir.path().join("data");
    let ready = dir.path().join("ready");
    let mut line = vec!["serve", "--listen", "127.0.0.1:0", "--data-dir", data.to_str().unwrap()];
    line.extend(["--ready-file", ready.to_str().unwrap()]);
    line.extend(flags);
    let mut child = std::process::Command::new(program::path().unwrap())
        .args(line)
        .env("STOCKADE_ADMIN_TOKEN", program::ADMIN_TOKEN)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let begun = std::time::Instant::now();
    let addresses = loop {
        assert!(begun.elapsed() < PATIENCE, "not ready");
        match std::fs::read_to_string(&ready) {
            Ok(text) => break serde_json::from_str::<serde_json::Value>(&text).unwrap(),
            Err(_) => std::thread::sleep(std::time::Duration::from_millis(20)),
        }
    };
    assert_eq!((&addresses["listen_tls"], &addresses["admin_tls"]), (&true.into(), &true.into()));
    let admin = addresses["admin"].as_str().unwrap().replace("0.0.0.0", "127.0.0.1");
    let (admin, authority) = (format!("https://{admin}"), files.authority.display().to_string());
    let list = ["--admin", &admin, "--ca-file", &authority, "actors", "list"];
    let (exit, _, error) = program::run(&list).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(exit, 0, "{error}");
}

#[test]
fn a_key_of_another_certificate_ends_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (Files::new(&dir.path().join("1")), Files::new(&dir.path().join("2")));
    let text = |path: &Path| path.display().to_string();
    let (chain, key) = (text(&one.chain), text(&other.key));
    let data = text(&dir.path().join("data"));
    let line = ["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data-dir", &data];
    let pair = ["--tls-cert", &chain, "--tls-key", &key];
    let line: Vec<&str> = line.iter().copied().chain(pair).collect();
    let (exit, _, words) = refused(&line, &[]);
    assert_eq!(exit, 1);
    assert!(words.contains(&chain) && words.contains(&key), "{words}");
    // In reverse: a key in place of a certificate.
    let swapped: Vec<&str> =
        line.iter().map(|word| if *word == chain { key.as_str() } else { word }).collect();
    assert!(refused(&swapped, &[]).2.contains("has no certificate"));
}

#[test]
fn a_client_that_never_speaks_tls_does_not_hold_a_connection() {
    let dir = tempfile::tempdir().unwrap();
    let files = Files::new(dir.path());
    let config = "[host]\nrequest_read_max_ms = 200\n";
    let program = serve(&files, &dir.path().join("data"), config);
    let mut stream = TcpStream::connect(&program.listen).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut nothing = [0; 1];
    assert_eq!(stream.read(&mut nothing).unwrap(), 0, "the connection is closed");
}
