//! The depot's traits, forwarded to the files of their parts.

use async_trait::async_trait;
use stockade_depot::store::{
    ActorState, Cluster, Collected, CommitRow, CommitStep, Counted, CreateStep, Created, Destroyed,
    Directory, Emptied, History, Import, Keep, KindRow, Look, NodeBeat, NodeRow, Ownership,
    PageVersion, Pages, PagesRead, SealStep, StageStep, Superseded, TakenOver, TakeoverStep,
    Versions,
};
use stockade_depot::{
    ActorId, DbId, Digest, Fence, Head, NodeSession, Pgno, Shard, Store, StoreError, StoreFull,
    Txid,
};

use crate::store::PgStore;

#[async_trait]
impl Store for PgStore {
    fn shards(&self) -> u8 {
        self.shards
    }

    fn reads_are_remote(&self) -> bool {
        true
    }

    fn full(&self) -> Option<StoreFull> {
        self.link.full()
    }

    async fn close(&self) {
        self.end().await;
    }
}

#[async_trait]
impl Ownership for PgStore {
    async fn create(&self, step: CreateStep) -> Result<Created, StoreError> {
        self.create_actor(&step).await
    }

    async fn actor(&self, actor: &ActorId) -> Result<Option<ActorState>, StoreError> {
        self.find_actor(actor).await
    }

    async fn take_over(&self, step: TakeoverStep) -> Result<TakenOver, StoreError> {
        self.take_actor_over(&step).await
    }

    async fn confirm(&self, fences: &[Fence]) -> Result<Vec<Result<(), StoreError>>, StoreError> {
        self.confirm_fences(fences).await
    }

    async fn seal(&self, step: SealStep) -> Result<Head, StoreError> {
        self.seal_head(&step).await
    }

    async fn claim(&self, owner: NodeSession, heirs: &[Fence]) -> Result<(), StoreError> {
        self.claim_heirs(owner, heirs).await
    }
}

#[async_trait]
impl Pages for PgStore {
    async fn read(&self, fence: Fence, at: Txid, pages: &[Pgno]) -> Result<PagesRead, StoreError> {
        self.read_fenced(fence, at, pages).await
    }

    async fn stage(&self, step: StageStep) -> Result<(), StoreError> {
        self.stage_pages(step).await
    }

    async fn collect_stages(&self, fence: Fence) -> Result<Collected, StoreError> {
        self.collect_left(fence).await
    }

    async fn commit(&self, step: CommitStep) -> Result<(), StoreError> {
        self.commit_pages_of(step).await
    }

    async fn verdict(
        &self,
        db: DbId,
        txid: Txid,
    ) -> Result<(Option<Head>, Option<CommitRow>), StoreError> {
        self.verdict_of(db, txid).await
    }
}

#[async_trait]
impl Versions for PgStore {
    async fn read_at(
        &self,
        db: DbId,
        at: Txid,
        from: Pgno,
        max: usize,
    ) -> Result<Vec<PageVersion>, StoreError> {
        self.read_history(db, at, from, max).await
    }

    async fn commits(
        &self,
        db: DbId,
        after: Txid,
        max: usize,
    ) -> Result<Vec<CommitRow>, StoreError> {
        self.commits_after(db, after, max).await
    }

    async fn commit_pages(
        &self,
        db: DbId,
        txid: Txid,
        after: Pgno,
        max: usize,
    ) -> Result<Vec<PageVersion>, StoreError> {
        self.pages_of_commit(db, txid, after, max).await
    }

    async fn history(&self, db: DbId) -> Result<Option<History>, StoreError> {
        self.history_of(db).await
    }

    async fn raise_floor(&self, db: DbId, keep: Keep) -> Result<History, StoreError> {
        self.raise_floor_of(db, keep).await
    }

    async fn superseded(&self, db: DbId, after: (Pgno, Txid)) -> Result<Look, StoreError> {
        self.superseded_after(db, after).await
    }

    async fn trim_pages(&self, rows: Vec<Superseded>) -> Result<u64, StoreError> {
        self.trim_page_rows(&rows).await
    }

    async fn trim_commits(&self, db: DbId, below: Txid) -> Result<u64, StoreError> {
        self.trim_commit_rows(db, below).await
    }

    async fn pin(&self, db: DbId, txid: Txid, name: &str) -> Result<(), StoreError> {
        self.pin_txid(db, txid, name).await
    }

    async fn unpin(&self, db: DbId, txid: Txid, name: &str) -> Result<(), StoreError> {
        self.unpin_txid(db, txid, name).await
    }
}

#[async_trait]
impl Import for PgStore {
    async fn take_over_import(&self, step: TakeoverStep) -> Result<TakenOver, StoreError> {
        self.take_import_over(&step).await
    }

    async fn empty_import(&self, fence: Fence) -> Result<Emptied, StoreError> {
        self.empty_import_of(fence).await
    }

    async fn finish_import(&self, fence: Fence, base: Txid) -> Result<Head, StoreError> {
        self.finish_import_of(fence, base).await
    }
}

#[async_trait]
impl Directory for PgStore {
    async fn actors(
        &self,
        kind: Option<&str>,
        after: Option<&ActorId>,
        max: usize,
    ) -> Result<Vec<ActorState>, StoreError> {
        self.list_actors(kind, after, max).await
    }

    async fn count(&self, kind: &str, shard: Shard, after: &str) -> Result<Counted, StoreError> {
        self.count_actors(kind, shard, after).await
    }

    async fn destroying(&self, max: usize) -> Result<Vec<ActorState>, StoreError> {
        self.list_destroying(max).await
    }

    async fn destroy(&self, actor: &ActorId, fence: Fence) -> Result<Destroyed, StoreError> {
        self.destroy_actor(actor, fence).await
    }

    async fn rows_of(&self, db: DbId) -> Result<u64, StoreError> {
        self.count_rows(db).await
    }
}

#[async_trait]
impl Cluster for PgStore {
    async fn put_component(&self, digest: Digest, wasm: Vec<u8>) -> Result<(), StoreError> {
        self.keep_component(digest, &wasm).await
    }

    async fn component(&self, digest: Digest) -> Result<Option<Vec<u8>>, StoreError> {
        self.find_component(digest).await
    }

    async fn put_kind(
        &self,
        kind: &str,
        component: Digest,
        manifest: &str,
    ) -> Result<KindRow, StoreError> {
        self.point_kind(kind, component, manifest).await
    }

    async fn kind(&self, kind: &str) -> Result<Option<KindRow>, StoreError> {
        self.find_kind(kind).await
    }

    async fn kinds(&self, after: Option<&str>, max: usize) -> Result<Vec<KindRow>, StoreError> {
        self.list_kinds(after, max).await
    }

    async fn remove_kind(&self, kind: &str) -> Result<bool, StoreError> {
        self.drop_kind(kind).await
    }

    async fn node_beat(&self, session: NodeSession, beat: &NodeBeat) -> Result<(), StoreError> {
        self.beat(session, beat).await
    }

    async fn nodes(&self) -> Result<Vec<NodeRow>, StoreError> {
        self.list_nodes().await
    }

    async fn node_gone(&self, session: NodeSession) -> Result<(), StoreError> {
        self.remove_node(session).await
    }
}
