//! Works on the store of a data directory itself, without a server: for export, verify and import.
//!
//! Reads of history need no ownership, and an import makes an actor that no generation owns: a host
//! on the same directory is not disturbed, and its running actors are read as of their last durable
//! commit.

use std::path::Path;
use std::sync::Arc;

use stockade_depot::store::embedded::{EmbeddedConfig, EmbeddedStore, rebuild};
use stockade_depot::store::{ActorState, Ownership, Repair, Store};
use stockade_depot::{ActorId, StoreError};
use tokio::runtime::{Builder, Runtime};

use super::failure::Failure;
use stockade::error::HostError;

/// An open store, closed on drop.
pub(super) struct Offline {
    pub(super) store: Arc<EmbeddedStore>,
    pub(super) runtime: Runtime,
}

impl Offline {
    /// Opens the store of a host's data directory. Does not make a missing store, and accepts no
    /// loss: `stockade serve --accept-loss` does.
    pub(super) fn open(data_dir: &Path) -> Result<Self, Failure> {
        let directory = data_dir.join("store");
        if !directory.is_dir() {
            let why = "it is not a data directory of `stockade serve`";
            return Err(Failure::file("open the store in", data_dir, &why));
        }
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::local(format!("cannot start: {error}")))?;
        let store = EmbeddedStore::open(&EmbeddedConfig::new(directory))
            .map_err(|error| Failure::file("open the store in", data_dir, &error))?;
        Ok(Self { store: Arc::new(store), runtime })
    }

    /// Rebuilds damaged files of a data directory's store.
    pub(super) fn repair(data_dir: &Path) -> Result<Vec<Repair>, Failure> {
        rebuild(&EmbeddedConfig::new(data_dir.join("store")))
            .map_err(|error| Failure::file("repair the store in", data_dir, &error))
    }

    /// Reads one actor's row.
    pub(super) fn actor(&self, actor: &ActorId) -> Result<ActorState, Failure> {
        let found = self.runtime.block_on(self.store.actor(actor)).map_err(failure)?;
        found.ok_or_else(|| HostError::ActorMissing { actor: actor.clone() }.into())
    }
}

impl Drop for Offline {
    fn drop(&mut self) {
        self.runtime.block_on(self.store.close());
    }
}

/// An error of the store as a command's failure.
pub(super) fn failure(error: StoreError) -> Failure {
    HostError::from(error).into()
}
