//! The depot of one process: a store, and the parts that its sessions share.

use std::sync::Arc;

use tokio::runtime::Handle;

use crate::cache::Cache;
use crate::cause::OpenError;
use crate::confirm::Confirmer;
use crate::error::StoreError;
use crate::fence::Fence;
use crate::history::Progress;
use crate::id::{ActorId, Digest, NodeSession, PageCount};
use crate::import::{self, ImportError, Imported, PageSource};
use crate::limits::DepotLimits;
use crate::opened::Opened;
use crate::parker::{Parker, Parking};
use crate::parts::Parts;
use crate::random::Random;
use crate::store::{ActorState, PreviousEnd, Store};
use crate::{create, destroy, inherit, takeover};

/// The authority over actor databases, as one process holds it.
pub struct Depot {
    parts: Arc<Parts>,
}

impl Depot {
    /// The depot of this process. Its tasks run on `runtime`.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        node: NodeSession,
        limits: DepotLimits,
        parker: Arc<dyn Parker>,
        runtime: Handle,
    ) -> Arc<Self> {
        Self::with_random(store, node, limits, parker, runtime, Random::system())
    }

    /// [`Depot::new`] with the given source of tokens and database ids.
    #[must_use]
    pub fn with_random(
        store: Arc<dyn Store>,
        node: NodeSession,
        mut limits: DepotLimits,
        parker: Arc<dyn Parker>,
        runtime: Handle,
        random: Random,
    ) -> Arc<Self> {
        limits.step_deadline = limits.step_deadline.min(DepotLimits::STEP_DEADLINE_MAX);
        let confirmer = Confirmer::new(&store, &limits, &runtime, &random);
        let parts = Parts {
            store,
            node,
            parking: Parking::new(limits.parked_reads_max),
            cache: Cache::new(limits.cache_bytes_max),
            confirmer: Arc::new(confirmer),
            limits,
            parker,
            runtime,
            random,
        };
        Arc::new(Self { parts: Arc::new(parts) })
    }

    /// The store under the depot.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.parts.store
    }

    /// This run of this process: the owner that the depot's takeovers write.
    #[must_use]
    pub fn node(&self) -> NodeSession {
        self.parts.node
    }

    /// The limits of the depot's sessions.
    #[must_use]
    pub fn limits(&self) -> &DepotLimits {
        &self.parts.limits
    }

    /// The page cache of the process.
    #[must_use]
    pub fn cache(&self) -> &Arc<Cache> {
        &self.parts.cache
    }

    /// Makes an actor, owned by this process as generation 1.
    ///
    /// # Errors
    /// `Exists` with the present state, or `Destroying`: nothing was changed.
    pub async fn create(&self, actor: &ActorId, component: Digest) -> Result<Opened, OpenError> {
        create::create(&self.parts, actor, component).await
    }

    /// Becomes the owner of a database whose head, as in `state`, was judged sealed, dead or a
    /// ghost. A lost answer is settled by the token of the attempt.
    ///
    /// # Errors
    /// `Superseded`: the head is not what `state` says any more. The caller reads the state again,
    /// and judges it again before the next attempt.
    pub async fn take_over(
        &self,
        state: &ActorState,
        component: Digest,
        previous_end: PreviousEnd,
    ) -> Result<Opened, OpenError> {
        takeover::take_over(&self.parts, state, component, previous_end).await
    }

    /// Begins the heir that a seal of this process has appointed: `state` is the actor as that
    /// seal left it, with the component that the heir will run. Writes nothing. Only once for each
    /// seal: two lives with one token would both own the database.
    ///
    /// # Errors
    /// `Superseded`, `DatabaseMissing`: the heir is gone or taken over. The caller reads the state
    /// again, as after [`Depot::take_over`].
    pub async fn inherit(&self, state: ActorState) -> Result<Opened, OpenError> {
        inherit::inherit(&self.parts, state).await
    }

    /// Reports to the store that this process runs heirs that it has begun. Until then, or until
    /// its first commit, any process may take an heir over without asking whether this process
    /// lives.
    ///
    /// # Errors
    /// Those of the store, `Unknown` after the step deadline. Sending it again is harmless.
    pub async fn claim(&self, heirs: &[Fence]) -> Result<(), StoreError> {
        inherit::claim(&self.parts, heirs).await
    }

    /// Removes an actor with everything that belongs to it. Continues where an earlier attempt
    /// stopped. Ends all sessions of the actor, wherever they run.
    ///
    /// # Errors
    /// `Superseded`: another process took the actor over, or destroys it too. On any other error
    /// the actor stays marked; the same call finishes it.
    pub async fn destroy(&self, state: &ActorState) -> Result<(), OpenError> {
        destroy::destroy(&self.parts, state).await
    }

    /// The source of the depot's tokens, ids and lengths of pauses.
    #[must_use]
    pub fn random(&self) -> &Random {
        &self.parts.random
    }

    /// Makes an actor of the pages of a plain SQLite file: `page_count` pages from `source`, each
    /// of [`crate::PAGE_SIZE`]. Starts over where an earlier import of the actor did not finish.
    /// Until the last step no caller can open it. Memory is bounded by [`import::COMMIT_PAGES`]
    /// pages.
    ///
    /// # Errors
    /// `Exists`: the actor is no unfinished import, and was not touched.
    pub async fn import(
        &self,
        actor: &ActorId,
        component: Digest,
        page_count: PageCount,
        source: &mut dyn PageSource,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Imported, ImportError> {
        import::import(&self.parts, actor, component, page_count, source, progress).await
    }
}

impl std::fmt::Debug for Depot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Depot")
            .field("node", &self.parts.node)
            .field("limits", &self.parts.limits)
            .finish_non_exhaustive()
    }
}
