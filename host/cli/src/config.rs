//! The file of `stockade serve --config`, TOML. Every setting is optional; the command line wins.
//!
//! ```text
//! data_dir = "/var/lib/stockade"
//! store = "postgres://stockade@db1:5432,db2:5432/stockade?sslrootcert=/etc/stockade/ca.pem"
//! #        or a list: the primaries of one store, with name=NAME in each address
//! store_password_file = "/etc/stockade/store-password"
//! store_token_file = "/etc/stockade/store-token"   # store = "stockade://..", or serve_store
//! store_cert = "/etc/stockade/one.pem"
//! store_key = "/etc/stockade/one-key.pem"
//! store_ca = "/etc/stockade/ca.pem"
//! serve_store = "10.0.0.1:7073"
//! listen = "127.0.0.1:7070"
//! admin = "127.0.0.1:7071"
//! token_file = "/etc/stockade/token"              # of callers
//! admin_token_file = "/etc/stockade/admin-token"   # of operators
//! tls_cert = "/etc/stockade/chain.pem"
//! tls_key = "/etc/stockade/key.pem"
//! allow_origin = ["https://app.example"]
//! allow_host = ["chat.example"]
//! allow_faults = false      # true: `stockade fault` works
//! development = false       # true: callers get the last words of guests that die
//! advertise = "10.0.0.1:7070"
//!
//! [peers]                    # other processes on the same store
//! listen = "10.0.0.1:7072"
//! advertise = "10.0.0.1:7072"
//! cert = "/etc/stockade/one.pem"
//! key = "/etc/stockade/one-key.pem"
//! ca = "/etc/stockade/ca.pem"
//! forward = true
//!
//! [host]                     # one process
//! lease_ms = 6000
//! requests_max = 2048
//! shutdown_max_ms = 30000
//!
//! [limits]                   # every kind, unless its manifest says otherwise
//! call_time_ms = 5000
//! ```

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::backend::StoreFiles;
use super::failure::Failure;
use super::peers::PeerSettings;
use stockade::limits::{HostLimits, Limits};

/// The settings of the file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Config {
    pub(super) data_dir: Option<PathBuf>,
    pub(super) store: Addresses,
    store_password_file: Option<PathBuf>,
    store_token_file: Option<PathBuf>,
    store_cert: Option<PathBuf>,
    store_key: Option<PathBuf>,
    store_ca: Option<PathBuf>,
    pub(super) serve_store: Option<String>,
    pub(super) listen: Option<String>,
    pub(super) admin: Option<String>,
    pub(super) token_file: Option<PathBuf>,
    pub(super) admin_token_file: Option<PathBuf>,
    pub(super) tls_cert: Option<PathBuf>,
    pub(super) tls_key: Option<PathBuf>,
    pub(super) allow_origin: Vec<String>,
    pub(super) allow_host: Vec<String>,
    pub(super) allow_faults: bool,
    pub(super) development: bool,
    pub(super) advertise: Option<String>,
    pub(super) peers: PeerSettings,
    pub(super) host: HostSettings,
    pub(super) limits: Limits,
}

/// The addresses of a store: one text, or a list of its primaries.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "`store` is one address or a list of addresses")]
pub(super) enum Addresses {
    One(String),
    List(Vec<String>),
}

impl Default for Addresses {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

impl From<Addresses> for Vec<String> {
    fn from(addresses: Addresses) -> Self {
        match addresses {
            Addresses::One(address) => vec![address],
            Addresses::List(list) => list,
        }
    }
}

/// The limits of the process that the file may set: as in [`HostLimits`], times in milliseconds.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct HostSettings {
    actors_awake_max: Option<usize>,
    guest_bytes_max: Option<u64>,
    commit_bytes_max: Option<u64>,
    component_bytes_max: Option<u64>,
    body_bytes_max: Option<usize>,
    bodies_bytes_max: Option<usize>,
    body_rate_min: Option<u64>,
    compress_bytes_min: Option<usize>,
    requests_max: Option<usize>,
    operator_requests_max: Option<usize>,
    connections_max: Option<usize>,
    exports_max: Option<usize>,
    admin_rows_max: Option<u64>,
    request_read_max_ms: Option<u64>,
    write_stall_max_ms: Option<u64>,
    epoch_tick_us: Option<u64>,
    shutdown_max_ms: Option<u64>,
    log_bytes_per_s: Option<u64>,
    handed_over_per_min: Option<u64>,
    pub(super) lease_ms: Option<u64>,
}

impl Config {
    /// Reads the file; without one, everything is a default.
    pub(super) fn read(path: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = path else { return Ok(Self::default()) };
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::file("read the configuration", path, &error))?;
        toml::from_str(&text)
            .map_err(|error| Failure::file("read the configuration", path, &wrong(&error, &text)))
    }

    /// The files that open a store, or the listener of this one.
    pub(super) fn store_files(&self) -> StoreFiles {
        StoreFiles {
            store_password_file: self.store_password_file.clone(),
            store_token_file: self.store_token_file.clone(),
            store_cert: self.store_cert.clone(),
            store_key: self.store_key.clone(),
            store_ca: self.store_ca.clone(),
        }
    }
}

/// What is wrong. The line is left out if it has an address, which may hold a password.
fn wrong(error: &toml::de::Error, text: &str) -> String {
    let shown = error.to_string();
    if !shown.contains("://") {
        return shown;
    }
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    format!("line {}: {}", before.matches('\n').count() + 1, error.message())
}

impl HostSettings {
    /// The process's limits, with those that the file sets.
    pub(super) fn limits(&self) -> HostLimits {
        let mut limits = HostLimits::default();
        set(&mut limits.actors_awake_max, self.actors_awake_max);
        limits.guest_bytes_max = self.guest_bytes_max;
        set(&mut limits.commit_bytes_max, self.commit_bytes_max);
        set(&mut limits.component_bytes_max, self.component_bytes_max);
        set(&mut limits.body_bytes_max, self.body_bytes_max);
        set(&mut limits.bodies_bytes_max, self.bodies_bytes_max);
        set(&mut limits.body_rate_min, self.body_rate_min);
        set(&mut limits.compress_bytes_min, self.compress_bytes_min);
        set(&mut limits.log_bytes_per_s, self.log_bytes_per_s);
        set(&mut limits.handed_over_per_min, self.handed_over_per_min);
        set(&mut limits.requests_max, self.requests_max);
        set(&mut limits.operator_requests_max, self.operator_requests_max);
        set(&mut limits.connections_max, self.connections_max);
        set(&mut limits.exports_max, self.exports_max);
        set(&mut limits.admin_rows_max, self.admin_rows_max);
        set(&mut limits.request_read_max, self.request_read_max_ms.map(Duration::from_millis));
        set(&mut limits.write_stall_max, self.write_stall_max_ms.map(Duration::from_millis));
        set(&mut limits.epoch_tick, self.epoch_tick_us.map(Duration::from_micros));
        set(&mut limits.shutdown_max, self.shutdown_max_ms.map(Duration::from_millis));
        limits
    }
}

fn set<T>(limit: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *limit = given;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<Config, Failure> {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("stockade.toml");
        std::fs::write(&path, text).expect("write");
        Config::read(Some(&path))
    }

    #[test]
    fn what_is_not_set_stays_a_default() {
        let config = check("[host]\nshutdown_max_ms = 5\n[limits]\nrows_max = 7\n").expect("reads");
        let limits = config.host.limits();
        assert_eq!(limits.shutdown_max, Duration::from_millis(5));
        assert_eq!(limits.requests_max, HostLimits::default().requests_max);
        assert_eq!(config.limits.rows_max, 7);
        assert_eq!(config.limits.call_time_ms, Limits::default().call_time_ms);
    }

    #[test]
    fn misspelled_settings_are_named() {
        let failure = check("[host]\nrequest_max = 5\n").expect_err("unknown");
        assert!(failure.body.message.contains("request_max"), "{}", failure.body.message);
        let failure =
            check("\nstore = { at = \"postgres://u:secret@h/d\" }\n").expect_err("no text");
        let message = &failure.body.message;
        assert!(message.contains("line 2: ") && !message.contains("secret"), "{message}");
        assert!(message.contains("one address or a list"), "{message}");
    }

    #[test]
    fn a_store_has_one_address_or_several() {
        for (text, expected) in [
            ("", &[][..]),
            ("store = \"a\"\n", &["a"]),
            ("store = [\"a\"]\n", &["a"]),
            ("store = [\n  \"a\",\n  \"b\",\n]\n", &["a", "b"]),
        ] {
            assert_eq!(Vec::from(check(text).expect("reads").store), expected, "{text}");
        }
    }
}
