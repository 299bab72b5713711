//! The options of `stockade serve` about other processes on the same store.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Deserialize;

use super::backend::StoreFiles;
use super::failure::Failure;
use stockade_server::{PeerKeys, PeerProtocol, Peers};

/// Options about other processes on the same store.
#[derive(Args)]
pub(super) struct PeerOptions {
    /// Where callers reach this host, if that is not where it listens
    #[arg(long, value_name = "HOST:PORT")]
    pub(super) advertise: Option<String>,
    /// Listen here for other processes on the same store, which pass calls on to the owner of an
    /// actor; then any of them answers for any actor. Needs --peer-cert, --peer-key and --peer-ca
    #[arg(long, value_name = "HOST:PORT")]
    peers: Option<String>,
    /// Where other processes reach that listener, if that is not where it listens
    #[arg(long, value_name = "HOST:PORT")]
    advertise_peers: Option<String>,
    /// The certificate of this process for the others, PEM: see `stockade peer-keys`
    #[arg(long, value_name = "FILE")]
    peer_cert: Option<PathBuf>,
    /// The certificate's key, PEM
    #[arg(long, value_name = "FILE")]
    peer_key: Option<PathBuf>,
    /// The authority that signs the certificates of all of them, PEM
    #[arg(long, value_name = "FILE")]
    peer_ca: Option<PathBuf>,
    /// Whether to pass calls on to the owner of an actor; `off`: callers get its address in
    /// `actor.elsewhere` [default: on]
    #[arg(long, value_name = "on|off")]
    forward: Option<Switch>,
    /// Speak no newer version of the protocol between processes than this one
    #[arg(long, value_name = "NUMBER", hide = true)]
    peer_protocol: Option<u8>,
}

/// A setting that is on or off.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Switch {
    On,
    Off,
}

/// The same in the configuration file, `[peers]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct PeerSettings {
    listen: Option<String>,
    advertise: Option<String>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    ca: Option<PathBuf>,
    forward: Option<bool>,
}

impl PeerOptions {
    /// The keys of this process for the others, which may serve for a store as well.
    pub(super) fn files(&self, file: &PeerSettings) -> StoreFiles {
        StoreFiles {
            store_cert: self.peer_cert.clone().or_else(|| file.cert.clone()),
            store_key: self.peer_key.clone().or_else(|| file.key.clone()),
            store_ca: self.peer_ca.clone().or_else(|| file.ca.clone()),
            ..StoreFiles::default()
        }
    }

    /// The listener for other processes; the command line wins over the file.
    pub(super) fn peers(&self, file: PeerSettings) -> Result<Option<Peers>, Failure> {
        let files = (
            self.peer_cert.clone().or(file.cert),
            self.peer_key.clone().or(file.key),
            self.peer_ca.clone().or(file.ca),
        );
        let forward = self.forward.map(|forward| forward == Switch::On).or(file.forward);
        let listen = self.peers.clone().or(file.listen);
        let (listen, (cert, key, ca)) = match (listen, files) {
            (None, (None, None, None)) => return Ok(None),
            (Some(listen), (Some(cert), Some(key), Some(ca))) => (listen, (cert, key, ca)),
            (Some(_), _) => {
                let words = "--peers needs --peer-cert, --peer-key and --peer-ca: processes do not \
                             speak in plaintext; `stockade peer-keys DIR` makes the files";
                return Err(Failure::usage(words));
            }
            (None, _) => return Err(Failure::usage("--peer-cert and the like need --peers")),
        };
        let keys = PeerKeys::read(&cert, &key, &ca);
        let mut keys = keys.map_err(|error| Failure::local(error.to_string()))?;
        if let Some(number) = self.peer_protocol {
            let protocol = PeerProtocol::numbered(number).ok_or_else(|| {
                Failure::usage(
                    "--peer-protocol is the number of a version that this program speaks",
                )
            })?;
            keys = keys.up_to(protocol);
        }
        let advertise = self.advertise_peers.clone().or(file.advertise);
        Ok(Some(Peers { listen, advertise, keys, forward: forward.unwrap_or(true) }))
    }
}
