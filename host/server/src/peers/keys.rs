//! Who may speak between processes: a certificate of the private authority, with the name of peers.
//!
//! Invariants:
//! - Each side checks the other's certificate against the authority, before a byte of a request.
//! - A certificate without [`PEER_NAME`] is refused, so that an authority that signs other
//!   certificates as well makes no peer of them.
//! - The name says that the holder is a peer, not which one: addresses may change, and each peer
//!   has the store's credentials anyway.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::verify_server_name;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::{ParsedCertificate, VerifierBuilderError, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig, version};

use super::protocol::Protocol;
use crate::pem::{self, PemError};

/// The DNS name that the certificate of every peer has.
pub const PEER_NAME: &str = "peer.stockade.internal";
/// A process's certificate and key, and the authority of its peers.
#[derive(Clone)]
pub struct PeerKeys {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

/// Why peers' keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PeerKeysError {
    /// A file cannot be read.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// The certificate is not one of a peer.
    #[error(
        "{} is no certificate of a peer: it lacks the name {PEER_NAME}; `stockade peer-keys` makes \
         one", .0.display()
    )]
    NoPeer(PathBuf),
    /// The files do not belong together, or cannot be used.
    #[error("use {} with its key and authority: {why}", .path.display())]
    Unusable {
        /// The certificate's file.
        path: PathBuf,
        /// The cause.
        why: String,
    },
}

impl PeerKeys {
    /// Reads a certificate with its key, and the certificate of the authority that signs peers.
    ///
    /// # Errors
    /// `PeerKeysError` names the file.
    pub fn read(certificate: &Path, key: &Path, authority: &Path) -> Result<Self, PeerKeysError> {
        let chain = pem::certificates("certificate of this peer", certificate)?;
        let secret = pem::key("key of this peer", key)?;
        if !chain.first().is_some_and(is_of_a_peer) {
            return Err(PeerKeysError::NoPeer(certificate.to_owned()));
        }
        let unusable = |why: String| PeerKeysError::Unusable { path: certificate.to_owned(), why };
        let mut roots = RootCertStore::empty();
        for root in pem::certificates("authority of peers", authority)? {
            roots.add(root).map_err(|error| unusable(error.to_string()))?;
        }
        let roots = Arc::new(roots);
        let provider = Arc::new(ring::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
                .build()
                .map_err(|error: VerifierBuilderError| unusable(error.to_string()))?;
        let versions = [&version::TLS13];
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&versions)
            .map(|config| config.with_client_cert_verifier(verifier))
            .and_then(|config| config.with_single_cert(chain.clone(), secret.clone_key()));
        let server = server.map_err(|error| unusable(error.to_string()))?;
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)
            .map(|config| config.with_root_certificates(roots))
            .and_then(|config| config.with_client_auth_cert(chain, secret));
        let client = client.map_err(|error| unusable(error.to_string()))?;
        let keys = Self { server: Arc::new(server), client: Arc::new(client) };
        Ok(keys.up_to(Protocol::NEWEST))
    }

    /// The same keys for a process that speaks no newer version than this one: for tests of mixed
    /// versions, and for a cluster in which a newer one makes trouble.
    #[must_use]
    pub fn up_to(mut self, protocol: Protocol) -> Self {
        Arc::make_mut(&mut self.server).alpn_protocols = protocol.names();
        Arc::make_mut(&mut self.client).alpn_protocols = protocol.names();
        self
    }

    /// For the listener.
    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }

    /// For connections to others.
    pub(super) fn client(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.client)
    }
}

impl fmt::Debug for PeerKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PeerKeys(..)")
    }
}

/// The name that each side asks the other's certificate for.
pub(super) fn peer_name() -> ServerName<'static> {
    ServerName::try_from(PEER_NAME).expect("BUG: the name is a DNS name")
}

/// Whether a certificate whose chain was checked is that of a peer.
pub(crate) fn is_of_a_peer(certificate: &CertificateDer<'_>) -> bool {
    ParsedCertificate::try_from(certificate)
        .is_ok_and(|parsed| verify_server_name(&parsed, &peer_name()).is_ok())
}
