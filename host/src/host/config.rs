//! What a host is started with, and the directories that its start makes.
//!
//! Invariant: the default of each setting is what the doc of its `with_` method says; a test below
//! compares them.

use std::fs::Permissions;
use std::io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::advanced::Advanced;
use crate::error::HostError;
use crate::limits::{HostLimits, LEASE, Limits};

/// The address of a process that is alone on its store.
const ADVERTISED: &str = "local";

/// What a host is started with: a data directory, and settings that each have a default.
///
/// ```
/// use std::time::Duration;
///
/// use stockade::HostConfig;
/// use stockade::limits::HostLimits;
///
/// let config = HostConfig::new("data")
///     .with_advertised("10.0.0.7:7070")
///     .with_lease(Duration::from_secs(3))
///     .with_limits(HostLimits { actors_awake_max: 500, ..HostLimits::default() });
/// assert_eq!(config.lease(), Duration::from_secs(3));
/// ```
#[derive(Clone)]
#[must_use]
pub struct HostConfig {
    pub(super) data_dir: PathBuf,
    pub(super) limits: HostLimits,
    pub(super) kind_defaults: Limits,
    pub(super) advertised: String,
    pub(super) peers: Option<String>,
    pub(super) lease: Duration,
    pub(super) development: bool,
    pub(super) accept_loss: bool,
    pub(super) advanced: Advanced,
}

/// Where a host keeps its parts.
pub(super) struct Directories {
    pub(super) store: PathBuf,
    pub(super) code: PathBuf,
    pub(super) nodes: PathBuf,
    pub(super) scratch: PathBuf,
}

impl HostConfig {
    /// Every setting at its default, everything kept in `data_dir`: in its directories `store`,
    /// `code`, `nodes` and `scratch`. The start makes those that are missing, with mode 0700; a host
    /// with another store ([`Advanced::with_store`]) has no directory `store`.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            limits: HostLimits::default(),
            kind_defaults: Limits::default(),
            advertised: ADVERTISED.to_owned(),
            peers: None,
            lease: LEASE,
            development: false,
            accept_loss: false,
            advanced: Advanced::default(),
        }
    }

    /// Limits of the process. Default: [`HostLimits::default`], whose fields state their numbers.
    pub fn with_limits(mut self, limits: HostLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Limits that [`Host::manifest`](super::Host::manifest) has, and that a manifest which comes
    /// over HTTP has where it sets none. Default: [`Limits::default`], whose fields state their
    /// numbers.
    pub fn with_kind_defaults(mut self, limits: Limits) -> Self {
        self.kind_defaults = limits;
        self
    }

    /// The address at which peers and callers reach this process. Callers that ask the wrong
    /// process are given it. Default: `local`, for a process that is alone on its store.
    pub fn with_advertised(mut self, address: impl Into<String>) -> Self {
        self.advertised = address.into();
        self
    }

    /// The address at which other processes on the store pass calls on to this process, which then
    /// passes calls on to them. Default: none; what takes the calls is the embedder's, see
    /// `stockade-server`.
    pub fn with_peers(mut self, address: impl Into<String>) -> Self {
        self.peers = Some(address.into());
        self
    }

    /// How long a process may show no sign of life before others take its actors over. Default:
    /// 6 s ([`LEASE`]).
    pub fn with_lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Whether callers over HTTP are given the last words of a guest that dies, and its frames: the
    /// guest's internals. Default: `false`. The log and operators always have them.
    pub fn with_development(mut self, development: bool) -> Self {
        self.development = development;
        self
    }

    /// Whether the embedded store opens although a part of it is known to be lost; the loss is
    /// logged and remembered. Default: `false`.
    pub fn with_accepted_loss(mut self, accept_loss: bool) -> Self {
        self.accept_loss = accept_loss;
        self
    }

    /// Settings of store drivers, simulations and programs, which embedders leave alone. Default:
    /// [`Advanced::default`].
    ///
    /// ```
    /// use stockade::HostConfig;
    ///
    /// let config = HostConfig::new("data").advanced(|settings| settings.with_faults_allowed(true));
    /// assert!(config.allows_faults());
    /// ```
    pub fn advanced(mut self, set: impl FnOnce(Advanced) -> Advanced) -> Self {
        self.advanced = set(self.advanced);
        self
    }

    /// Where everything is kept.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Limits of the process.
    #[must_use]
    pub fn limits(&self) -> &HostLimits {
        &self.limits
    }

    /// Limits of kinds that set none themselves.
    #[must_use]
    pub fn kind_defaults(&self) -> &Limits {
        &self.kind_defaults
    }

    /// The address at which peers and callers reach this process.
    #[must_use]
    pub fn advertised(&self) -> &str {
        &self.advertised
    }

    /// The address at which other processes pass calls on to this process.
    #[must_use]
    pub fn peers(&self) -> Option<&str> {
        self.peers.as_deref()
    }

    /// How long a process may show no sign of life.
    #[must_use]
    pub fn lease(&self) -> Duration {
        self.lease
    }

    /// Whether the host is [for development](Self::with_development).
    #[must_use]
    pub fn is_for_development(&self) -> bool {
        self.development
    }

    /// Whether [faults are allowed](Advanced::with_faults_allowed).
    #[must_use]
    pub fn allows_faults(&self) -> bool {
        self.advanced.allow_faults
    }

    pub(super) fn make_directories(&self) -> Result<Directories, HostError> {
        let directories = Directories {
            store: self.data_dir.join("store"),
            code: self.data_dir.join("code"),
            nodes: self.data_dir.join("nodes"),
            scratch: self.data_dir.join("scratch"),
        };
        let own_store = self.advanced.store.is_none().then_some(&directories.store);
        let others = [&directories.code, &directories.nodes, &directories.scratch];
        for dir in [&self.data_dir].into_iter().chain(own_store).chain(others) {
            make_private(dir)?;
            check_writable(dir)?;
        }
        // The store and the code cache look at theirs.
        for dir in [&directories.nodes, &directories.scratch] {
            close_to_others(dir)?;
        }
        Ok(directories)
    }
}

fn failed(dir: &Path) -> impl Fn(std::io::Error) -> HostError {
    move |error| HostError::Directory { path: dir.to_owned(), error: error.to_string() }
}

/// Makes a directory that only its owner can read, and leaves one that is there as it is.
fn make_private(dir: &Path) -> Result<(), HostError> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(failed(dir))
}

/// Tells a directory that cannot be written, such as that of a read-only disk, before anything else
/// fails because of it.
fn check_writable(dir: &Path) -> Result<(), HostError> {
    match tempfile::tempfile_in(dir) {
        Err(error) if matches!(error.kind(), ReadOnlyFilesystem | PermissionDenied) => {
            let error = format!("a host writes to it, and cannot: {error}");
            Err(HostError::Directory { path: dir.to_owned(), error })
        }
        // A full disk, say, is the store's to tell.
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Takes the rights of all others away from a directory that was there before.
fn close_to_others(dir: &Path) -> Result<(), HostError> {
    let mode = std::fs::metadata(dir).map_err(failed(dir))?.permissions().mode();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    std::fs::set_permissions(dir, Permissions::from_mode(0o700)).map_err(failed(dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_what_the_documentation_says() {
        let config = HostConfig::new("data");
        assert_eq!(config.data_dir(), Path::new("data"));
        assert_eq!(config.limits(), &HostLimits::default());
        assert_eq!(config.kind_defaults(), &Limits::default());
        assert_eq!((config.advertised(), config.peers()), ("local", None));
        assert_eq!(config.lease(), Duration::from_secs(6));
        assert!(!config.is_for_development() && !config.allows_faults() && !config.accept_loss);
        let Advanced { store, ground, wait_on_callers, observer, allow_faults } = config.advanced;
        assert!(store.is_none() && ground.is_none() && observer.is_none());
        assert!(!wait_on_callers && !allow_faults);
    }

    #[test]
    fn every_setting_is_set() {
        let limits = HostLimits { actors_awake_max: 7, ..HostLimits::default() };
        let kinds = Limits { rows_max: 7, ..Limits::default() };
        let config = HostConfig::new("data")
            .with_limits(limits.clone())
            .with_kind_defaults(kinds.clone())
            .with_advertised("here")
            .with_peers("there")
            .with_lease(Duration::from_secs(7))
            .with_development(true)
            .with_accepted_loss(true)
            .advanced(|settings| settings.with_faults_allowed(true))
            .advanced(|settings| settings.with_answers_on_callers(true));
        assert_eq!((config.limits(), config.kind_defaults()), (&limits, &kinds));
        assert_eq!((config.advertised(), config.lease()), ("here", Duration::from_secs(7)));
        assert_eq!(config.peers(), Some("there"));
        assert!(config.is_for_development() && config.allows_faults() && config.accept_loss);
        assert!(config.advanced.wait_on_callers);
    }

    #[test]
    fn what_is_kept_is_for_its_owner_only() {
        let root = tempfile::tempdir().expect("directory");
        let config = HostConfig::new(root.path());
        for name in ["nodes", "scratch"] {
            std::fs::create_dir(root.path().join(name)).expect("made");
            let open = Permissions::from_mode(0o755);
            std::fs::set_permissions(root.path().join(name), open).expect("opened");
        }
        config.make_directories().expect("made");
        for name in ["store", "code", "nodes", "scratch"] {
            let mode = std::fs::metadata(root.path().join(name)).expect("there").permissions();
            assert_eq!(mode.mode() & 0o7777, 0o700, "{name}");
        }
    }
}
