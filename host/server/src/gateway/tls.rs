//! TLS: the certificate that a listener presents.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::peers::{PeerKeys, is_of_a_peer};
use crate::pem::{self, PemError};

/// Protocols that a client may choose from.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// A certificate with its key, read from their files.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ServerConfig>,
    /// Whether only peers are let in.
    peers_only: bool,
}

/// Why certificate and key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// The certificate and the key do not belong together, or cannot be used.
    #[error("use {} with the key in {}: {error}", certificate.display(), key.display())]
    Unusable {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// The cause.
        error: rustls::Error,
    },
}

impl Tls {
    /// Reads a certificate with its intermediate certificates, and its key.
    ///
    /// # Errors
    /// `TlsError` names the file.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let chain = pem::certificates("certificate", certificate)?;
        let secret = pem::key("key", key)?;
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|config| config.with_no_client_auth().with_single_cert(chain, secret));
        let (certificate, key) = (certificate.to_owned(), key.to_owned());
        let mut config = config.map_err(|error| TlsError::Unusable { certificate, key, error })?;
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
        Ok(Self { config: Arc::new(config), peers_only: false })
    }

    /// For the listener of peers: each presents a certificate of its own.
    #[must_use]
    pub fn of_peers(keys: &PeerKeys) -> Self {
        Self { config: keys.server(), peers_only: true }
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config))
    }

    /// Whether the other side of a connection may speak. Its certificate's chain was checked in the
    /// handshake; here its name is.
    pub(super) fn admits<S>(&self, stream: &TlsStream<S>) -> bool {
        let presented = stream.get_ref().1.peer_certificates();
        !self.peers_only || presented.and_then(<[_]>::first).is_some_and(is_of_a_peer)
    }

    /// Whether only peers are let in.
    pub(super) fn is_for_peers(&self) -> bool {
        self.peers_only
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls(..)")
    }
}
