//! The store as an actor with armed faults meets it. In place only on hosts that allow faults.
//!
//! Steps of databases without an armed fault pass as they are; so does everything that is no step
//! of one database: the directory, kinds, components, processes, and history, so that operators
//! can look at an actor whose store is frozen.

use std::sync::Arc;

use async_trait::async_trait;
use stockade_depot::store::{
    ActorState, Collected, CommitRow, CommitStep, CreateStep, Created, Destroyed, Emptied, History,
    Keep, KindRow, PageVersion, PagesRead, PreviousEnd, SealStep, StageStep, Store, TakenOver,
    TakeoverStep, Trim, Trimmed,
};
use stockade_depot::{
    ActorId, DbId, Digest, Fence, Head, Limit, NodeSession, Pgno, StoreError, Token, Txid,
};

use super::{Fault, Faults};

/// A store with faults.
pub struct FaultingStore {
    inner: Arc<dyn Store>,
    faults: Faults,
}

impl FaultingStore {
    /// Puts faults, none armed yet, in front of a store.
    #[must_use]
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner, faults: Faults::default() }
    }

    /// What is armed.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Arms a fault of the store. `false`: the host has as many as it may.
    #[must_use]
    pub fn arm(&self, db: DbId, fault: Fault) -> bool {
        self.faults.arm(db, fault)
    }

    fn refuse_if_full(&self, db: DbId) -> Result<(), StoreError> {
        if self.faults.is_full(db) {
            return Err(StoreError::Refused { limit: Limit::StoreFull, actual: 0, max: 0 });
        }
        Ok(())
    }

    /// Takes a database over in the name of a process that does not exist, as another host would
    /// do that judged its owner dead. `None`: the owner was another one meanwhile.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn usurp(&self, state: &ActorState) -> Result<Option<Head>, StoreError> {
        let step = TakeoverStep {
            actor: state.row.actor.clone(),
            db: state.head.fence.db,
            replaces: (state.head.fence.generation, state.head.fence.token),
            token: Token(random()?),
            owner: NodeSession(random()?),
            component: state.row.component,
            previous_end: PreviousEnd::Neutral,
            destroying: false,
        };
        match self.inner.take_over(step).await? {
            TakenOver::Owned { head, .. } => Ok(Some(head)),
            TakenOver::Moved(_) => Ok(None),
        }
    }
}

fn random() -> Result<[u8; 16], StoreError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| StoreError::Unavailable(format!("random bytes: {error}")))?;
    Ok(bytes)
}

#[async_trait]
impl Store for FaultingStore {
    fn shards(&self) -> u8 {
        self.inner.shards()
    }

    async fn create(&self, step: CreateStep) -> Result<Created, StoreError> {
        self.inner.create(step).await
    }

    async fn actor(&self, actor: &ActorId) -> Result<Option<ActorState>, StoreError> {
        self.inner.actor(actor).await
    }

    async fn take_over(&self, step: TakeoverStep) -> Result<TakenOver, StoreError> {
        self.faults.wait(step.db).await;
        self.inner.take_over(step).await
    }

    async fn confirm(&self, fences: &[Fence]) -> Result<Vec<Result<(), StoreError>>, StoreError> {
        let held: Vec<bool> =
            fences.iter().map(|fence| self.faults.holds_confirmation(fence.db)).collect();
        let asked: Vec<Fence> =
            fences.iter().zip(&held).filter(|(_, held)| !**held).map(|(fence, _)| *fence).collect();
        let mut answers = if asked.is_empty() {
            Vec::new().into_iter()
        } else {
            self.inner.confirm(&asked).await?.into_iter()
        };
        let unheard = || StoreError::Unavailable("a fault holds the confirmation".into());
        Ok(held
            .into_iter()
            .map(
                |held| if held { Err(unheard()) } else { answers.next().unwrap_or(Err(unheard())) },
            )
            .collect())
    }

    async fn seal(&self, step: SealStep) -> Result<Head, StoreError> {
        self.faults.wait(step.fence.db).await;
        self.inner.seal(step).await
    }

    async fn read(&self, fence: Fence, at: Txid, pages: &[Pgno]) -> Result<PagesRead, StoreError> {
        self.faults.wait(fence.db).await;
        self.inner.read(fence, at, pages).await
    }

    async fn stage(&self, step: StageStep) -> Result<(), StoreError> {
        self.faults.wait(step.fence.db).await;
        self.refuse_if_full(step.fence.db)?;
        self.inner.stage(step).await
    }

    async fn collect_stages(&self, fence: Fence) -> Result<Collected, StoreError> {
        self.faults.wait(fence.db).await;
        self.inner.collect_stages(fence).await
    }

    async fn commit(&self, step: CommitStep) -> Result<(), StoreError> {
        let db = step.fence.db;
        self.faults.wait(db).await;
        self.refuse_if_full(db)?;
        self.inner.commit(step).await?;
        if self.faults.loses_reply(db) {
            return Err(StoreError::Unknown("a fault lost the answer".into()));
        }
        Ok(())
    }

    async fn verdict(
        &self,
        db: DbId,
        txid: Txid,
    ) -> Result<(Option<Head>, Option<CommitRow>), StoreError> {
        self.faults.wait(db).await;
        self.inner.verdict(db, txid).await
    }

    async fn read_at(
        &self,
        db: DbId,
        at: Txid,
        from: Pgno,
        max: usize,
    ) -> Result<Vec<PageVersion>, StoreError> {
        self.inner.read_at(db, at, from, max).await
    }

    async fn commits(
        &self,
        db: DbId,
        after: Txid,
        max: usize,
    ) -> Result<Vec<CommitRow>, StoreError> {
        self.inner.commits(db, after, max).await
    }

    async fn commit_pages(
        &self,
        db: DbId,
        txid: Txid,
        after: Pgno,
        max: usize,
    ) -> Result<Vec<PageVersion>, StoreError> {
        self.inner.commit_pages(db, txid, after, max).await
    }

    async fn history(&self, db: DbId) -> Result<Option<History>, StoreError> {
        self.inner.history(db).await
    }

    async fn raise_floor(&self, db: DbId, keep: Keep) -> Result<History, StoreError> {
        self.inner.raise_floor(db, keep).await
    }

    async fn trim(&self, db: DbId, step: Trim) -> Result<Trimmed, StoreError> {
        self.inner.trim(db, step).await
    }

    async fn pin(&self, db: DbId, txid: Txid, name: &str) -> Result<(), StoreError> {
        self.inner.pin(db, txid, name).await
    }

    async fn unpin(&self, db: DbId, txid: Txid, name: &str) -> Result<(), StoreError> {
        self.inner.unpin(db, txid, name).await
    }

    async fn take_over_import(&self, step: TakeoverStep) -> Result<TakenOver, StoreError> {
        self.faults.wait(step.db).await;
        self.inner.take_over_import(step).await
    }

    async fn empty_import(&self, fence: Fence) -> Result<Emptied, StoreError> {
        self.faults.wait(fence.db).await;
        self.inner.empty_import(fence).await
    }

    async fn finish_import(&self, fence: Fence, base: Txid) -> Result<Head, StoreError> {
        self.faults.wait(fence.db).await;
        self.inner.finish_import(fence, base).await
    }

    async fn destroying(&self, max: usize) -> Result<Vec<ActorState>, StoreError> {
        self.inner.destroying(max).await
    }

    async fn actors(
        &self,
        kind: Option<&str>,
        after: Option<&ActorId>,
        max: usize,
    ) -> Result<Vec<ActorState>, StoreError> {
        self.inner.actors(kind, after, max).await
    }

    async fn destroy(&self, actor: &ActorId, fence: Fence) -> Result<Destroyed, StoreError> {
        self.faults.wait(fence.db).await;
        self.inner.destroy(actor, fence).await
    }

    async fn rows_of(&self, db: DbId) -> Result<u64, StoreError> {
        self.inner.rows_of(db).await
    }

    async fn put_component(&self, digest: Digest, wasm: Vec<u8>) -> Result<(), StoreError> {
        self.inner.put_component(digest, wasm).await
    }

    async fn component(&self, digest: Digest) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.component(digest).await
    }

    async fn put_kind(
        &self,
        kind: &str,
        component: Digest,
        manifest: &str,
    ) -> Result<KindRow, StoreError> {
        self.inner.put_kind(kind, component, manifest).await
    }

    async fn kind(&self, kind: &str) -> Result<Option<KindRow>, StoreError> {
        self.inner.kind(kind).await
    }

    async fn kinds(&self) -> Result<Vec<KindRow>, StoreError> {
        self.inner.kinds().await
    }

    async fn node_beat(&self, session: NodeSession, address: &str) -> Result<(), StoreError> {
        self.inner.node_beat(session, address).await
    }

    async fn nodes(&self) -> Result<Vec<(NodeSession, String, u64)>, StoreError> {
        self.inner.nodes().await
    }

    async fn node_gone(&self, session: NodeSession) -> Result<(), StoreError> {
        self.inner.node_gone(session).await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
