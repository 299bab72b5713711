//! The depot's traits: each step goes to the primary that keeps what it is about.
//!
//! A step that answers "absent" with something else than an error gets that from `DatabaseMissing`, which
//! `route` has proved.

use std::sync::Arc;

use async_trait::async_trait;
use stockade_depot::store::{
    ActorState, Cluster, Collected, CommitRow, CommitStep, Counted, CreateStep, Created, Destroyed,
    Directory, DueLook, DuePage, DueWork, Emptied, History, Import, Keep, KindRow, Look, NodeBeat,
    NodeRow, Ownership, PageVersion, Pages, PagesRead, SealStep, StageStep, Superseded, TakenOver,
    TakeoverStep, Versions,
};
use stockade_depot::{
    ActorId, DbId, Digest, Fence, Head, NodeSession, Pgno, Shard, Store, StoreError, StoreFull,
    Txid,
};

use crate::commit::PackedCommit;
use crate::pages::{Bases, Chunk, Found};
use crate::route::{Of, routed};
use crate::store::PgStores;

#[async_trait]
impl Store for PgStores {
    fn shards(&self) -> u16 {
        self.shards
    }

    fn reads_are_remote(&self) -> bool {
        true
    }

    fn full(&self) -> Option<StoreFull> {
        self.no_room()
    }

    async fn close(&self) {
        self.end().await;
    }
}

#[async_trait]
impl Ownership for PgStores {
    async fn create(&self, step: CreateStep) -> Result<Created, StoreError> {
        routed!(self, Of::Actor(&step.actor), way => way.to.create_actor(&step, way.led))
    }

    async fn actor(&self, actor: &ActorId) -> Result<Option<ActorState>, StoreError> {
        routed!(self, Of::Actor(actor), way => way.to.find_actor(actor, way.led))
    }

    async fn take_over(&self, step: TakeoverStep) -> Result<TakenOver, StoreError> {
        routed!(self, Of::Db(step.db), way => way.to.take_actor_over(&step))
    }

    async fn confirm(&self, fences: &[Fence]) -> Result<Vec<Result<(), StoreError>>, StoreError> {
        Ok(self.confirm_all(fences).await)
    }

    async fn seal(&self, step: SealStep) -> Result<Head, StoreError> {
        routed!(self, Of::Db(step.fence.db), way => way.to.seal_head(&step))
    }

    async fn claim(&self, owner: NodeSession, heirs: &[Fence]) -> Result<(), StoreError> {
        self.claim_all(owner, heirs).await
    }
}

#[async_trait]
impl Pages for PgStores {
    async fn read(&self, fence: Fence, at: Txid, pages: &[Pgno]) -> Result<PagesRead, StoreError> {
        routed!(self, Of::Db(fence.db), way => way.to.read_fenced(fence, at, pages, self))
    }

    async fn stage(&self, step: StageStep) -> Result<(), StoreError> {
        let chunk = Chunk::new(step).await?;
        routed!(self, Of::Db(chunk.db()), way => way.to.stage_chunk(&chunk))
    }

    async fn collect_stages(&self, fence: Fence) -> Result<Collected, StoreError> {
        routed!(self, Of::Db(fence.db), way => way.to.collect_left(fence))
    }

    async fn commit(&self, step: CommitStep) -> Result<(), StoreError> {
        self.root()?.link.check_open()?;
        let commit = Arc::new(PackedCommit::new(step).await?);
        routed!(self, Of::Db(commit.fence.db), way => way.to.commit_packed(&commit))
    }

    async fn verdict(
        &self,
        db: DbId,
        txid: Txid,
    ) -> Result<(Option<Head>, Option<CommitRow>), StoreError> {
        let told = routed!(self, Of::Db(db), way => way.to.verdict_of(db, txid));
        Ok(found(told)?.map_or((None, None), |(head, row)| (Some(head), row)))
    }
}

#[async_trait]
impl Versions for PgStores {
    async fn read_at(
        &self,
        db: DbId,
        at: Txid,
        from: Pgno,
        max: usize,
    ) -> Result<Vec<PageVersion>, StoreError> {
        routed!(self, Of::Db(db), way => way.to.read_history(db, at, from, max, self))
    }

    async fn commits(
        &self,
        db: DbId,
        after: Txid,
        max: usize,
    ) -> Result<Vec<CommitRow>, StoreError> {
        let told = routed!(self, Of::Db(db), way => way.to.commits_after(db, after, max));
        Ok(found(told)?.unwrap_or_default())
    }

    async fn commit_pages(
        &self,
        db: DbId,
        txid: Txid,
        after: Pgno,
        max: usize,
    ) -> Result<Vec<PageVersion>, StoreError> {
        let told = routed!(self, Of::Db(db), way => way.to.pages_of_commit(db, txid, after, max));
        Ok(found(told)?.unwrap_or_default())
    }

    async fn history(&self, db: DbId) -> Result<Option<History>, StoreError> {
        found(routed!(self, Of::Db(db), way => way.to.history_of(db)))
    }

    async fn raise_floor(&self, db: DbId, keep: Keep) -> Result<History, StoreError> {
        routed!(self, Of::Db(db), way => way.to.raise_floor_of(db, keep))
    }

    async fn superseded(&self, db: DbId, after: (Pgno, Txid)) -> Result<Look, StoreError> {
        routed!(self, Of::Db(db), way => way.to.superseded_after(db, after))
    }

    async fn trim_pages(&self, rows: Vec<Superseded>) -> Result<u64, StoreError> {
        self.trim_all(&rows).await
    }

    async fn trim_commits(&self, db: DbId, below: Txid) -> Result<u64, StoreError> {
        routed!(self, Of::Db(db), way => way.to.trim_commit_rows(db, below))
    }

    async fn pin(&self, db: DbId, txid: Txid, name: &str) -> Result<(), StoreError> {
        routed!(self, Of::Db(db), way => way.to.pin_txid(db, txid, name))
    }

    async fn unpin(&self, db: DbId, txid: Txid, name: &str) -> Result<(), StoreError> {
        let told = routed!(self, Of::Db(db), way => way.to.unpin_txid(db, txid, name));
        found(told).map(|_| ())
    }
}

#[async_trait]
impl Import for PgStores {
    async fn take_over_import(&self, step: TakeoverStep) -> Result<TakenOver, StoreError> {
        routed!(self, Of::Db(step.db), way => way.to.take_import_over(&step))
    }

    async fn empty_import(&self, fence: Fence) -> Result<Emptied, StoreError> {
        routed!(self, Of::Db(fence.db), way => way.to.empty_import_of(fence))
    }

    async fn finish_import(&self, fence: Fence, base: Txid) -> Result<Head, StoreError> {
        routed!(self, Of::Db(fence.db), way => way.to.finish_import_of(fence, base))
    }
}

#[async_trait]
impl Directory for PgStores {
    async fn actors(
        &self,
        kind: Option<&str>,
        after: Option<&ActorId>,
        max: usize,
    ) -> Result<Vec<ActorState>, StoreError> {
        self.list_all(kind, after, max).await
    }

    async fn count(&self, kind: &str, shard: Shard, after: &str) -> Result<Counted, StoreError> {
        let told = routed!(self, Of::Shard(shard), way => way.to.count_actors(kind, shard, after, way.led));
        Ok(found(told)?.unwrap_or_default())
    }

    async fn destroying(&self, max: usize) -> Result<Vec<ActorState>, StoreError> {
        self.list_all_destroying(max).await
    }

    async fn destroy(&self, actor: &ActorId, fence: Fence) -> Result<Destroyed, StoreError> {
        routed!(self, Of::Db(fence.db), way => way.to.destroy_actor(actor, fence))
    }

    async fn rows_of(&self, db: DbId) -> Result<u64, StoreError> {
        let told = routed!(self, Of::Db(db), way => way.to.count_rows(db, way.led));
        Ok(found(told)?.unwrap_or_default())
    }
}

#[async_trait]
impl DueWork for PgStores {
    async fn due(&self, look: DueLook) -> Result<DuePage, StoreError> {
        self.due_all(&look).await
    }

    async fn settle_due(&self, fence: Fence, at: Txid, due: Option<i64>) -> Result<(), StoreError> {
        routed!(self, Of::Db(fence.db), way => way.to.settle_due_of(fence, at, due))
    }
}

#[async_trait]
impl Cluster for PgStores {
    async fn put_component(&self, digest: Digest, wasm: Vec<u8>) -> Result<(), StoreError> {
        self.root()?.keep_component(digest, &wasm).await
    }

    async fn component(&self, digest: Digest) -> Result<Option<Vec<u8>>, StoreError> {
        self.root()?.find_component(digest).await
    }

    async fn put_kind(
        &self,
        kind: &str,
        component: Digest,
        manifest: &str,
    ) -> Result<KindRow, StoreError> {
        self.root()?.point_kind(kind, component, manifest).await
    }

    async fn kind(&self, kind: &str) -> Result<Option<KindRow>, StoreError> {
        self.root()?.find_kind(kind).await
    }

    async fn kinds(&self, after: Option<&str>, max: usize) -> Result<Vec<KindRow>, StoreError> {
        self.root()?.list_kinds(after, max).await
    }

    async fn remove_kind(&self, kind: &str) -> Result<bool, StoreError> {
        self.root()?.drop_kind(kind).await
    }

    async fn node_beat(&self, session: NodeSession, beat: &NodeBeat) -> Result<(), StoreError> {
        self.root()?.beat(session, beat).await
    }

    async fn nodes(&self) -> Result<Vec<NodeRow>, StoreError> {
        self.root()?.list_nodes().await
    }

    async fn node_gone(&self, session: NodeSession) -> Result<(), StoreError> {
        self.root()?.remove_node(session).await
    }
}

#[async_trait]
impl Bases for PgStores {
    async fn older(&self, db: DbId, at: Txid, pages: &[Pgno]) -> Result<Found, StoreError> {
        routed!(self, Of::Db(db), way => way.to.found_at(db, at, pages))
    }
}

/// An answer, or that there is no such database.
fn found<T>(told: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match told {
        Ok(answer) => Ok(Some(answer)),
        Err(StoreError::DatabaseMissing(_)) => Ok(None),
        Err(error) => Err(error),
    }
}
