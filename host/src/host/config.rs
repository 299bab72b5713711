//! What a host is started with.

use std::fs::Permissions;
use std::io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use stockade_depot::Store;

use crate::actor::trace::Observer;
use crate::environment::Ground;
use crate::error::HostError;
use crate::limits::{HostLimits, LEASE, Limits};

/// What a host is started with.
#[derive(Clone)]
pub struct HostConfig {
    /// Where everything is kept: `store`, `code`, `nodes`, `scratch`. Made if missing, mode 0700.
    pub data_dir: PathBuf,
    /// Limits of the process.
    pub limits: HostLimits,
    /// What [`Host::manifest`](super::Host::manifest) has, and what a manifest that comes over HTTP
    /// leaves out.
    pub kind_defaults: Limits,
    /// Where peers and callers reach this process; shown to callers that ask the wrong one.
    pub advertised: String,
    /// How long a process may show no sign of life before others take its actors over.
    pub lease: Duration,
    /// Whether [`Host::fault`](super::Host::fault) may make actors fail on purpose. Never where it
    /// matters: any client that reaches the operators' listener can do it then.
    pub allow_faults: bool,
    /// Whether callers over HTTP get the last words of a guest that dies, and its frames. For
    /// development: they are the guest's internals. The log and operators always have them.
    pub development: bool,
    /// Whether the embedded store opens although something of it is known to be lost. It is logged
    /// and remembered.
    pub accept_loss: bool,
    /// The store; `None` is the embedded one in `data_dir`.
    pub store: Option<Arc<dyn Store>>,
    /// A simulation's runtime and chance; `None`: threads of its own, and the machine's.
    pub ground: Option<Ground>,
    /// Whether an answer waits on the runtime that its call was made on, if that is one of several
    /// threads, and leaves through one thread less. Only if no caller blocks those. The program
    /// does; `false`: the host depends on no threads but its own.
    pub wait_on_callers: bool,
    /// The observer that gets the steps of endings, as they are done.
    pub observer: Option<Arc<dyn Observer>>,
}

/// Where a host keeps its parts.
pub(super) struct Directories {
    pub(super) store: PathBuf,
    pub(super) code: PathBuf,
    pub(super) nodes: PathBuf,
    pub(super) scratch: PathBuf,
}

impl HostConfig {
    /// Everything at its default, kept in `data_dir`.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            limits: HostLimits::default(),
            kind_defaults: Limits::default(),
            advertised: "local".to_owned(),
            lease: LEASE,
            allow_faults: false,
            development: false,
            accept_loss: false,
            store: None,
            ground: None,
            wait_on_callers: false,
            observer: None,
        }
    }

    pub(super) fn make_directories(&self) -> Result<Directories, HostError> {
        let directories = Directories {
            store: self.data_dir.join("store"),
            code: self.data_dir.join("code"),
            nodes: self.data_dir.join("nodes"),
            scratch: self.data_dir.join("scratch"),
        };
        for dir in [
            &self.data_dir,
            &directories.store,
            &directories.code,
            &directories.nodes,
            &directories.scratch,
        ] {
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
