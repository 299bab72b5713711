//! Who may speak with a store: TLS with a certificate of the nodes' private authority, or with a token.
//!
//! Invariants:
//! - There is no plaintext, and no step before the server has proved its name to the client.
//! - A certificate counts only with [`STORE_NAME`]: one that the authority signed for something else
//!   opens no store. With that name alone it opens nothing but a store.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ParsedCertificate, VerifierBuilderError, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig, version};

/// The DNS name in the certificate of each side of a store.
pub const STORE_NAME: &str = "store.stockade.internal";
/// The protocol that both sides name in TLS, so that no other listener answers for a store.
const PROTOCOL: &[u8] = b"stockade-store";

/// What a server shows, and which clients it asks.
#[derive(Clone)]
pub struct ServerKeys(Arc<ServerConfig>);

/// What a client shows, and which servers it believes.
#[derive(Clone)]
pub struct ClientKeys(Arc<ClientConfig>);

/// Why keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The file cannot be read, or is not PEM.
    #[error("read the {what} from {}: {error}", .path.display())]
    Unread {
        /// Which of the files.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        error: pem::Error,
    },
    /// There is no certificate in the file.
    #[error("{} has no certificate: expected PEM, `BEGIN CERTIFICATE`", .0.display())]
    NoCertificate(PathBuf),
    /// The certificate is not one for a store.
    #[error(
        "{} is no certificate for a store: it lacks the name {STORE_NAME}; `stockade peer-keys` \
         makes one", .0.display()
    )]
    NoStore(PathBuf),
    /// The files do not belong together, or cannot be used.
    #[error("use {} with its key and authority: {why}", .path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// The cause.
        why: String,
    },
}

impl ServerKeys {
    /// Reads the server's certificate with its key, and the authority of its clients. With
    /// `certified_only` a client without a certificate is not listened to at all; otherwise it needs
    /// a token.
    ///
    /// # Errors
    /// `KeysError` names the file.
    pub fn read(
        certificate: &Path,
        key: &Path,
        authority: &Path,
        certified_only: bool,
    ) -> Result<Self, KeysError> {
        let (chain, secret) = identity(certificate, key)?;
        let unusable = |why| KeysError::Unusable { path: certificate.to_owned(), why };
        let (roots, provider) = (roots(authority)?, provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider));
        let verifier =
            if certified_only { verifier } else { verifier.allow_unauthenticated() }.build();
        let verifier =
            verifier.map_err(|error: VerifierBuilderError| unusable(error.to_string()))?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13])
            .map(|config| config.with_client_cert_verifier(verifier))
            .and_then(|config| config.with_single_cert(chain, secret))
            .map_err(|error| unusable(error.to_string()))?;
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(Self(Arc::new(config)))
    }

    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0)
    }
}

impl ClientKeys {
    /// Reads the authority of servers, and the client's certificate with its key, unless it has a
    /// token instead.
    ///
    /// # Errors
    /// `KeysError` names the file.
    pub fn read(authority: &Path, own: Option<(&Path, &Path)>) -> Result<Self, KeysError> {
        let config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&version::TLS13])
            .map_err(|error| KeysError::Unusable {
                path: authority.to_owned(),
                why: error.to_string(),
            })?
            .with_root_certificates(roots(authority)?);
        let mut config = match own {
            None => config.with_no_client_auth(),
            Some((certificate, key)) => {
                let (chain, secret) = identity(certificate, key)?;
                config.with_client_auth_cert(chain, secret).map_err(|error| {
                    KeysError::Unusable { path: certificate.to_owned(), why: error.to_string() }
                })?
            }
        };
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(Self(Arc::new(config)))
    }

    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.0)
    }
}

impl fmt::Debug for ServerKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerKeys(..)")
    }
}

impl fmt::Debug for ClientKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientKeys(..)")
    }
}

/// The name that each side asks the other's certificate for.
pub(crate) fn store_name() -> ServerName<'static> {
    ServerName::try_from(STORE_NAME).expect("BUG: the name is a DNS name")
}

/// Whether a certificate whose chain was checked is one for a store.
pub(crate) fn is_for_a_store(certificate: &CertificateDer<'_>) -> bool {
    ParsedCertificate::try_from(certificate)
        .is_ok_and(|parsed| verify_server_name(&parsed, &store_name()).is_ok())
}

/// Whether TLS has agreed on this protocol.
pub(crate) fn is_protocol(agreed: Option<&[u8]>) -> bool {
    agreed == Some(PROTOCOL)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn identity(certificate: &Path, key: &Path) -> Result<Identity, KeysError> {
    let chain = certificates("certificate", certificate)?;
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| KeysError::Unread {
        what: "key",
        path: key.to_owned(),
        error,
    })?;
    if !chain.first().is_some_and(is_for_a_store) {
        return Err(KeysError::NoStore(certificate.to_owned()));
    }
    Ok((chain, secret))
}

fn roots(authority: &Path) -> Result<Arc<RootCertStore>, KeysError> {
    let mut roots = RootCertStore::empty();
    for root in certificates("authority", authority)? {
        roots.add(root).map_err(|error| KeysError::Unusable {
            path: authority.to_owned(),
            why: error.to_string(),
        })?;
    }
    Ok(Arc::new(roots))
}

fn certificates(
    what: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, KeysError> {
    let found: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(|found| found.collect())
        .map_err(|error| KeysError::Unread { what, path: path.to_owned(), error })?;
    if found.is_empty() { Err(KeysError::NoCertificate(path.to_owned())) } else { Ok(found) }
}
