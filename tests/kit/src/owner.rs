//! An owner as a test plays it: a fence and what its owner knows of the head.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use stockade_depot::history::{self, Report};
use stockade_depot::store::{
    ActorState, CommitStep, CreateStep, Created, Due, PreviousEnd, SealStep, TakenOver,
    TakeoverStep,
};
use stockade_depot::{
    ActorId, DbId, Digest, Fence, Head, NodeSession, Origin, PAGE_SIZE, PageBytes, PageCount, Pgno,
    Store, StoreError, Token, Txid, chain,
};

/// The component of every owner.
pub const COMPONENT: Digest = Digest([5; 32]);
/// The process that every owner runs in.
pub const NODE: NodeSession = NodeSession([6; 16]);

/// A value that no other call returns.
fn fresh() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A token that no other call returns.
#[must_use]
pub fn token() -> Token {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&fresh().to_le_bytes());
    bytes[8..12].copy_from_slice(&std::process::id().to_le_bytes());
    Token(bytes)
}

/// The actor of a key, of the one kind that is used here.
#[must_use]
pub fn actor_id(key: &str) -> ActorId {
    ActorId::new("ledger", key).unwrap()
}

/// A page that tells its number and version, and packs well or not at all.
#[must_use]
pub fn page(pgno: u32, version: u64) -> PageBytes {
    let mut state = u64::from(pgno) << 32 | version;
    let mut bytes = vec![0; PAGE_SIZE];
    bytes[..4].copy_from_slice(&pgno.to_le_bytes());
    bytes[8..16].copy_from_slice(&version.to_le_bytes());
    if (u64::from(pgno) + version).is_multiple_of(2) {
        for chunk in bytes[16..].chunks_mut(8) {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            chunk.copy_from_slice(&state.rotate_left(29).to_le_bytes());
        }
    }
    bytes.into()
}

/// What makes an actor, with a database and a token of its own.
#[must_use]
pub fn create_step(store: &dyn Store, key: &str) -> CreateStep {
    let actor = actor_id(key);
    let mut random = [9; 15];
    random[..8].copy_from_slice(&fresh().to_le_bytes());
    random[8..12].copy_from_slice(&std::process::id().to_le_bytes());
    let db = DbId::new(actor.shard(store.shards()), random);
    let (token, owner, origin) = (token(), NODE, Origin::Native);
    CreateStep { actor, db, token, owner, component: COMPONENT, origin }
}

/// The owner of one generation.
#[derive(Clone)]
pub struct Owner {
    /// Where the database is.
    pub store: Arc<dyn Store>,
    /// Whose database it is.
    pub actor: ActorId,
    /// The generation's fence.
    pub fence: Fence,
    /// The newest commit that was reported as applied.
    pub txid: Txid,
    /// Pages of the database as of that commit.
    pub page_count: PageCount,
    /// The chain's end as of that commit.
    pub chain: [u8; 32],
}

impl Owner {
    /// The first generation of a new actor.
    pub async fn create(store: &Arc<dyn Store>, key: &str) -> Self {
        match store.create(create_step(store.as_ref(), key)).await.unwrap() {
            Created::Made(head) => Self::of(store, actor_id(key), &head),
            Created::Exists(state) => panic!("{key} exists: {state:?}"),
        }
    }

    /// The owner that a head names.
    #[must_use]
    pub fn of(store: &Arc<dyn Store>, actor: ActorId, head: &Head) -> Self {
        Self {
            store: Arc::clone(store),
            actor,
            fence: head.fence,
            txid: head.txid,
            page_count: head.page_count,
            chain: head.chain,
        }
    }

    /// The head, as the store has it.
    pub async fn head(&self) -> Head {
        self.store.verdict(self.fence.db, Txid(0)).await.unwrap().0.unwrap()
    }

    /// The actor, as the store has it; `None` without one.
    pub async fn state(&self) -> Option<ActorState> {
        self.store.actor(&self.actor).await.unwrap()
    }

    /// A takeover that replaces this generation.
    #[must_use]
    pub fn takeover_step(&self) -> TakeoverStep {
        TakeoverStep {
            actor: self.actor.clone(),
            db: self.fence.db,
            replaces: (self.fence.generation, self.fence.token),
            token: token(),
            owner: NODE,
            component: COMPONENT,
            previous_end: PreviousEnd::Neutral,
            destroying: false,
        }
    }

    /// The next generation, which replaces this one.
    pub async fn successor(&self) -> Self {
        match self.store.take_over(self.takeover_step()).await.unwrap() {
            TakenOver::Owned { head, .. } => Self::of(&self.store, self.actor.clone(), &head),
            TakenOver::Moved(head) => panic!("somebody else took over: {head:?}"),
        }
    }

    /// A commit of pages, each by its number and version.
    #[must_use]
    pub fn commit_step(&self, pages: &[(u32, u64)], page_count: u32) -> CommitStep {
        let pages: Vec<(Pgno, PageBytes)> =
            pages.iter().map(|(pgno, version)| (Pgno(*pgno), page(*pgno, *version))).collect();
        let (generation, page_count) = (self.fence.generation, PageCount(page_count));
        let txid = self.txid.next();
        let content = chain::content(self.fence.db, generation, txid, page_count, &pages);
        let chain = chain::next(&self.chain, &content);
        CommitStep {
            fence: self.fence,
            owner: NODE,
            base: self.txid,
            page_count,
            pages,
            staged: None,
            chain,
            content,
            due: Due::Untouched,
        }
    }

    /// Sends a commit, and remembers the head that it makes.
    pub async fn send(&mut self, step: CommitStep) -> Result<(), StoreError> {
        let (page_count, chain) = (step.page_count, step.chain);
        self.store.commit(step).await?;
        (self.txid, self.page_count, self.chain) = (self.txid.next(), page_count, chain);
        Ok(())
    }

    /// Commits pages, which may be refused.
    pub async fn try_commit(
        &mut self,
        pages: &[(u32, u64)],
        page_count: u32,
    ) -> Result<(), StoreError> {
        self.send(self.commit_step(pages, page_count)).await
    }

    /// Commits pages.
    pub async fn commit(&mut self, pages: &[(u32, u64)], page_count: u32) {
        self.try_commit(pages, page_count).await.unwrap();
    }

    /// A seal without an heir.
    #[must_use]
    pub fn seal_step(&self, snapshot: Option<&[u8]>) -> SealStep {
        SealStep {
            fence: self.fence,
            base: self.txid,
            snapshot: snapshot.map(<[u8]>::to_vec),
            component: COMPONENT,
            heir: None,
        }
    }

    /// One page as of a commit.
    pub async fn read_one(&self, at: u64, pgno: u32) -> Result<PageBytes, StoreError> {
        let read = self.store.read(self.fence, Txid(at), &[Pgno(pgno)]).await?;
        assert_eq!(read.pages.len(), 1);
        assert_eq!(read.pages[0].pgno, Pgno(pgno));
        Ok(read.pages[0].bytes.clone())
    }

    /// What is found when the whole history is checked.
    pub async fn verify(&self) -> Report {
        history::verify(self.store.as_ref(), self.fence.db, &mut |_| {}).await.unwrap()
    }

    /// The database as a file, as of a commit or the newest.
    pub async fn export(&self, txid: Option<u64>) -> Vec<u8> {
        let mut file = Vec::new();
        let db = self.fence.db;
        history::export(self.store.as_ref(), db, txid.map(Txid), &mut file, &mut |_| {})
            .await
            .unwrap();
        file
    }

    /// Everything that a step may change, to compare before and after.
    pub async fn everything(&self) -> (Option<ActorState>, Vec<u8>, u64, Vec<[u8; 32]>) {
        let floor = self.head().await.floor;
        let after = Txid(floor.0.saturating_sub(1));
        let rows = self.store.commits(self.fence.db, after, 1000).await.unwrap();
        (
            self.state().await,
            self.export(None).await,
            self.store.rows_of(self.fence.db).await.unwrap(),
            rows.into_iter().map(|row| row.content).collect(),
        )
    }
}
