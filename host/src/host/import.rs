//! Actors made of plain SQLite files.

use std::path::Path;
use std::sync::Arc;

use stockade_depot::history::Progress;
use stockade_depot::{ActorId, Depot, Digest, Origin, Store};

use super::Host;
use crate::error::HostError;
use crate::import::{self, Imported, Intake};
use crate::limits::Limits;

impl Host {
    /// Makes an actor of a plain SQLite file, which is only read: with its WAL or hot journal
    /// beside it, of any page size. Starts over where an earlier import of the actor did not
    /// finish. `progress` is called for each bounded commit. The actor is asleep afterwards.
    ///
    /// # Errors
    /// `KindMissing`; `ImportExists`: nothing is imported over an actor; `Import` says what is
    /// wrong with the file; those of the store: the same import starts over.
    pub async fn import(
        &self,
        actor: &ActorId,
        file: &Path,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Imported, HostError> {
        let intake = self.intake(actor).await?;
        let (file, max) = (file.to_owned(), self.database_bytes_max(actor).await?);
        let copied = import::blocking(move || intake.copy(&file, max).map(|()| intake)).await;
        let copied = copied.map_err(|failure| HostError::of_import(failure, actor))?;
        self.import_intake(actor, copied, progress).await
    }

    /// A private place for a file that is to become `actor`.
    ///
    /// # Errors
    /// `KindMissing`, `ImportExists`, those of the store and of the directory.
    pub async fn intake(&self, actor: &ActorId) -> Result<Intake, HostError> {
        self.shared().kinds.kind(actor.kind()).await?;
        let free = check_free(self.inner.store.as_ref(), actor).await;
        free.map_err(|error| error.of(actor))?;
        Ok(Intake::new(&self.shared().scratch_dir)?)
    }

    /// [`Host::import`] of a file that is in its place.
    ///
    /// # Errors
    /// As [`Host::import`].
    pub async fn import_intake(
        &self,
        actor: &ActorId,
        intake: Intake,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Imported, HostError> {
        let kind = self.shared().kinds.kind(actor.kind()).await?;
        let component = kind.program.component.digest();
        let limits = (*kind.program.limits).clone();
        let store = self.inner.store.as_ref();
        let place = self.shared().quotas.admit(store, actor.kind(), &limits).await?;
        let depot = &self.shared().depot;
        let imported = import_into(depot, actor, component, intake, limits, progress).await;
        if let Ok(imported) = &imported {
            place.keep(imported.page_count.0);
            self.shared().damaged.forget(actor);
        }
        imported.map_err(|error| error.of(actor))
    }

    /// Bytes that a database of the actor's kind may have.
    ///
    /// # Errors
    /// `KindMissing`, and those of the store.
    pub async fn database_bytes_max(&self, actor: &ActorId) -> Result<u64, HostError> {
        Ok(self.limits(actor.kind()).await?.database_bytes_max)
    }
}

/// Whether the name is free, or that of an import that did not finish.
async fn check_free(store: &dyn Store, actor: &ActorId) -> Result<(), HostError> {
    match store.actor(actor).await? {
        Some(state) if state.head.origin != Origin::Importing => {
            Err(HostError::ImportExists { actor: actor.clone() })
        }
        Some(_) | None => Ok(()),
    }
}

/// Checks the file against the limits of its kind, then makes the actor of it. Also for a command
/// that has no host.
///
/// # Errors
/// As [`Host::import`].
pub async fn import_into(
    depot: &Arc<Depot>,
    actor: &ActorId,
    component: Digest,
    intake: Intake,
    limits: Limits,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Imported, HostError> {
    let imported = import::import(depot, actor, component, intake, limits, progress).await;
    imported.map_err(|failure| HostError::of_import(failure, actor))
}
