//! Works on a store itself, without a server: for export, verify and import.
//!
//! Reads of history need no ownership, and an import makes an actor that no generation owns: a host
//! on the same store is not disturbed, and its running actors are read as of their last durable
//! commit.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use stockade_depot::store::embedded::{EmbeddedConfig, EmbeddedStore, rebuild};
use stockade_depot::store::{ActorState, Repair, Store};
use stockade_depot::{ActorId, StoreError};
use tokio::runtime::{Builder, Runtime};

use super::backend::{Backend, StoreArgs};
use super::failure::Failure;
use stockade::error::HostError;

// Options that say on which store a command works. Without a doc comment, like those in it.
#[derive(Args)]
pub(super) struct Place {
    /// Work on the store in this directory, without a server
    #[arg(long, value_name = "DIR", conflicts_with = "store")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    store: StoreArgs,
}

impl Place {
    /// Whether a store is named, so that no server is asked.
    pub(super) fn is_named(&self) -> bool {
        self.data_dir.is_some() || self.store.is_named()
    }

    /// The data directory, if that is where the store is.
    pub(super) fn data_dir(&self) -> Option<&Path> {
        self.data_dir.as_deref()
    }

    /// Opens the store; `None`: a server is asked instead.
    pub(super) fn open(&self) -> Result<Option<Offline>, Failure> {
        match (self.store.named()?, &self.data_dir) {
            (Some(backend), _) => Offline::beyond(&backend).map(Some),
            (None, Some(dir)) => Offline::open(dir).map(Some),
            (None, None) => Ok(None),
        }
    }
}

/// An open store, closed on drop.
pub(super) struct Offline {
    pub(super) store: Arc<dyn Store>,
    pub(super) runtime: Runtime,
}

impl Offline {
    /// Opens the store of a host's data directory. Does not make a missing store, and accepts no
    /// loss: `stockade serve --accept-loss` does.
    pub(super) fn open(data_dir: &Path) -> Result<Self, Failure> {
        let directory = data_dir.join("store");
        if !directory.is_dir() {
            let why = "it is not a data directory of `stockade serve`, or its store is elsewhere \
                (--store)";
            return Err(Failure::file("open the store in", data_dir, &why));
        }
        let runtime = runtime()?;
        let store = EmbeddedStore::open(&EmbeddedConfig::new(directory))
            .map_err(|error| Failure::file("open the store in", data_dir, &error))?;
        Ok(Self { store: Arc::new(store), runtime })
    }

    /// Opens a store that an address names. Makes none.
    fn beyond(backend: &Backend) -> Result<Self, Failure> {
        let runtime = runtime()?;
        match runtime.block_on(backend.open_made()) {
            Ok(store) => Ok(Self { store, runtime }),
            Err(failure) => {
                // The name of a host may still be asked for.
                runtime.shutdown_background();
                Err(failure)
            }
        }
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

pub(super) fn runtime() -> Result<Runtime, Failure> {
    let built = Builder::new_current_thread().enable_all().build();
    built.map_err(|error| Failure::local(format!("cannot start: {error}")))
}

/// Waits for one answer.
pub(super) fn on_a_runtime<T>(
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let runtime = runtime()?;
    let answer = runtime.block_on(work);
    runtime.shutdown_background();
    answer
}

/// An error of the store as a command's failure.
pub(super) fn failure(error: StoreError) -> Failure {
    HostError::from(error).into()
}
