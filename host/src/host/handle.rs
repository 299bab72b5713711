//! One actor, as an embedder holds it.

use std::path::Path;

use stockade_depot::ActorId;
use stockade_depot::history::Progress;

use super::Host;
use super::history::{Export, VerifyReport};
use super::info::{ActorInfo, ExitInfo, Reply, SqlReply, SqlRequest};
use crate::error::{CallError, HostError};
use crate::import::Imported;
use crate::typed::IntoArguments;

/// One actor of a host: [`Host::actor`]. It is cheap to make, and the actor need not exist.
///
/// ```no_run
/// # async fn count(host: stockade::Host) -> Result<(), stockade::CallError> {
/// let alice = host.actor(&stockade::ActorId::new("counter", "alice")?);
/// let reply = alice.call("increment", (5,)).await?;
/// println!("{} as of commit {}", reply.to_json(), reply.txid);
/// alice.stop().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ActorHandle {
    host: Host,
    id: ActorId,
}

impl ActorHandle {
    pub(super) fn new(host: Host, id: ActorId) -> Self {
        Self { host, id }
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> &ActorId {
        &self.id
    }

    /// Calls a method; the first call creates the actor. Arguments are a tuple by position, or
    /// [`Arguments`](crate::Arguments).
    ///
    /// # Errors
    /// As [`Host::call`].
    pub async fn call(
        &self,
        method: &str,
        arguments: impl IntoArguments,
    ) -> Result<Reply, CallError> {
        self.host.call(&self.id, method, arguments.into_arguments()?).await
    }

    /// Runs an operator's statements.
    ///
    /// # Errors
    /// As [`Host::sql`].
    pub async fn sql(&self, request: SqlRequest) -> Result<SqlReply, CallError> {
        self.host.sql(&self.id, request).await
    }

    /// Ends its generation in order. `None`: it was asleep.
    ///
    /// # Errors
    /// As [`Host::stop`].
    pub async fn stop(&self) -> Result<Option<ExitInfo>, HostError> {
        self.host.stop(&self.id).await
    }

    /// Forgets its crashes, and that it was found damaged.
    ///
    /// # Errors
    /// As [`Host::reset`].
    pub async fn reset(&self) -> Result<(), HostError> {
        self.host.reset(&self.id).await
    }

    /// Removes it and everything stored of it.
    ///
    /// # Errors
    /// As [`Host::destroy`].
    pub async fn destroy(&self) -> Result<(), HostError> {
        self.host.destroy(&self.id).await
    }

    /// What the store and this host know of it.
    ///
    /// # Errors
    /// As [`Host::info`].
    pub async fn info(&self) -> Result<ActorInfo, HostError> {
        self.host.info(&self.id).await
    }

    /// Its database as of its last durable commit, as a plain SQLite file.
    ///
    /// # Errors
    /// As [`Host::export`].
    pub async fn export(&self) -> Result<Export, HostError> {
        self.host.export(&self.id).await
    }

    /// Makes it of a plain SQLite file.
    ///
    /// # Errors
    /// As [`Host::import`].
    pub async fn import(
        &self,
        file: &Path,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Imported, HostError> {
        self.host.import(&self.id, file, progress).await
    }

    /// Checks every stored page and commit of it against its checksums.
    ///
    /// # Errors
    /// As [`Host::verify`].
    pub async fn verify(&self) -> Result<VerifyReport, HostError> {
        self.host.verify(&self.id).await
    }
}
