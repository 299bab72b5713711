//! `stockade peer-keys`: a private authority, and a certificate for each process on a store.
//!
//! ```text
//!  DIR/ca.pem       every process: --peer-ca          DIR/ca-key.pem     none: it signs more
//!  DIR/NAME.pem     the process NAME: --peer-cert     DIR/NAME-key.pem   --peer-key
//! ```
//! Invariant: no file that exists is written. The command adds names to the authority that is there.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use serde_json::{Value as Json, json};

use super::Context;
use super::failure::Failure;
use super::output::cell;
use stockade_remote::STORE_NAME;
use stockade_server::PEER_NAME;

/// The name of the authority, in its certificate.
const AUTHORITY: &str = "stockade peers";
/// The longest name of a process, in bytes: X.509 allows 64 in a common name.
const NAME_BYTES_MAX: usize = 64;

/// Make the keys with which processes on one store prove to each other who they are
///
/// A certificate of a peer opens the calls of others (--peers) and their store (--serve-store); with
/// --store-only it opens a store and nothing else.
///
/// Makes a private authority in DIR, if there is none, and a certificate with its key for each NAME.
/// Copy to each machine the authority's certificate (ca.pem), and its own certificate and key. Keep
/// ca-key.pem secret: a process with it can join. The certificates do not expire; to take one back, make a new
/// authority.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  stockade peer-keys ./keys one two three
  stockade serve --peers 10.0.0.1:7072 --peer-cert keys/one.pem --peer-key keys/one-key.pem \\
    --peer-ca keys/ca.pem")]
pub(super) struct MakeKeys {
    /// Where the files go; made if missing
    dir: PathBuf,
    /// Names of processes: letters, digits, '-', '_' and '.' [default: node]
    names: Vec<String>,
    /// Make certificates that open a store (--serve-store, --store stockade://) and nothing else
    #[arg(long)]
    store_only: bool,
}

impl MakeKeys {
    pub(super) fn run(&self, context: &Context) -> Result<ExitCode, Failure> {
        let default = ["node".to_owned()];
        let names = if self.names.is_empty() { &default[..] } else { &self.names[..] };
        for name in names {
            check_name(name)?;
        }
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.dir);
        made.map_err(|error| Failure::file("make the directory", &self.dir, &error))?;
        let mut written = Vec::new();
        let issuer = authority(&self.dir, &mut written)?;
        for name in names {
            let (certificate, key) = peer(name, &issuer, roles(self.store_only)).map_err(failed)?;
            put(&self.dir.join(format!("{name}.pem")), &certificate, 0o644, &mut written)?;
            put(&self.dir.join(format!("{name}-key.pem")), &key, 0o600, &mut written)?;
        }
        let written: Vec<String> = written.iter().map(|path| path.display().to_string()).collect();
        context.output.result(&json!({ "written": written }), |document| {
            let files = document["written"].as_array().map_or(&[][..], Vec::as_slice);
            files.iter().map(|file: &Json| format!("{}\n", cell(file))).collect()
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

fn check_name(name: &str) -> Result<(), Failure> {
    let fits = (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.starts_with(['.', '-']);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if !fits
        || !name.bytes().all(plain)
        || matches!(name, "ca" | "ca-key")
        || name.ends_with("-key")
    {
        return Err(Failure::usage(format!(
            "{name:?} is no name of a process: 1 to 64 letters, digits, '-', '_' or '.', not `ca`, \
             and not ending with `-key`"
        )));
    }
    Ok(())
}

/// The authority of the directory, made if there is none.
fn authority(dir: &Path, written: &mut Vec<PathBuf>) -> Result<Issuer<'static, KeyPair>, Failure> {
    let (path, key_path) = (dir.join("ca.pem"), dir.join("ca-key.pem"));
    let params = authority_params().map_err(failed)?;
    if path.exists() {
        let key = fs::read_to_string(&key_path);
        let key = key.map_err(|error| Failure::file("read the authority's key", &key_path, &error));
        let key = KeyPair::from_pem(&key?);
        let key = key.map_err(|error| Failure::file("read the authority's key", &key_path, &error));
        return Ok(Issuer::new(params, key?));
    }
    let key = KeyPair::generate().map_err(failed)?;
    let certificate = params.self_signed(&key).map_err(failed)?.pem();
    put(&key_path, &key.serialize_pem(), 0o600, written)?;
    put(&path, &certificate, 0o644, written)?;
    Ok(Issuer::new(params, key))
}

/// The same for each run: certificates that are signed later belong to the same authority.
fn authority_params() -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.distinguished_name = named(AUTHORITY);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    Ok(params)
}

/// The names that say what a certificate is for.
fn roles(store_only: bool) -> &'static [&'static str] {
    if store_only { &[STORE_NAME] } else { &[PEER_NAME, STORE_NAME] }
}

/// A certificate and its key.
fn peer(
    name: &str,
    issuer: &Issuer<'_, KeyPair>,
    roles: &[&str],
) -> Result<(String, String), rcgen::Error> {
    let roles: Vec<String> = roles.iter().map(|role| (*role).to_owned()).collect();
    let mut params = CertificateParams::new(roles)?;
    params.distinguished_name = named(name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, issuer)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn put(path: &Path, text: &str, mode: u32, written: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let file = fs::File::options().write(true).create_new(true).mode(mode).open(path);
    let put = file.and_then(|mut file| file.write_all(text.as_bytes()));
    put.map_err(|error| Failure::file("write the key or certificate", path, &error))?;
    written.push(path.to_owned());
    Ok(())
}

fn failed(error: rcgen::Error) -> Failure {
    Failure::local(format!("cannot make a certificate: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use stockade_server::PeerKeys;

    fn make(dir: &Path, names: &[&str]) -> Result<Vec<PathBuf>, Failure> {
        let mut written = Vec::new();
        let issuer = authority(dir, &mut written)?;
        for name in names {
            check_name(name)?;
            let (certificate, key) = peer(name, &issuer, roles(false)).map_err(failed)?;
            put(&dir.join(format!("{name}.pem")), &certificate, 0o644, &mut written)?;
            put(&dir.join(format!("{name}-key.pem")), &key, 0o600, &mut written)?;
        }
        Ok(written)
    }

    fn read(dir: &Path, name: &str, key: &str) -> Result<PeerKeys, String> {
        let at = |file: String| dir.join(file);
        PeerKeys::read(
            &at(format!("{name}.pem")),
            &at(format!("{key}-key.pem")),
            &at("ca.pem".into()),
        )
        .map_err(|error| error.to_string())
    }

    #[test]
    fn keys_are_made_once_and_serve() {
        let dir = tempfile::tempdir().expect("directory");
        assert_eq!(make(dir.path(), &["one", "two"]).expect("made").len(), 6);
        assert_eq!(make(dir.path(), &["three"]).expect("added").len(), 2, "the authority is there");
        for name in ["one", "two", "three"] {
            read(dir.path(), name, name).expect("they belong together");
        }
        assert!(read(dir.path(), "one", "two").is_err(), "another's key");
        assert!(read(dir.path(), "ca", "ca").is_err_and(|why| why.contains(PEER_NAME)));
        let failure = make(dir.path(), &["one"]).expect_err("nothing is replaced");
        assert_eq!(failure.body.code, "file");
    }

    #[test]
    fn names_cannot_be_paths_or_the_authoritys() {
        for name in ["one", "node-1.example", "A_b"] {
            check_name(name).expect(name);
        }
        for name in ["", "ca", "ca-key", "a/b", "..", "-a", "a-key", "a b", &"x".repeat(65)] {
            check_name(name).expect_err(name);
        }
    }
}
