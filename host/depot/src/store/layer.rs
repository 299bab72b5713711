//! What lies between a store and those who use it: faults, networks, records of what was asked.
//!
//! A layer meets every step as a [`Call`]: a value that it may apply at once, later, twice or never.
//! So it says once what happens to a step, and a step that is new to [`Store`] passes through it.
//!
//! ```text
//! caller ── Store::commit(step) ──> Call ── Layer::through ──> apply ──> the store beneath
//!                                                └─ nothing, a delay, a fault
//! ```

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::BoxFuture;

use super::{
    ActorState, CheckAt, Checked, Collected, CommitRow, CommitStep, Counted, CreateStep, Created,
    Destroyed, Emptied, History, Holder, Keep, KindRow, Look, NodeRow, PageVersion, PagesRead,
    SealStep, StageStep, Store, Superseded, TakenOver, TakeoverStep,
};
use crate::error::{StoreError, StoreFailure, StoreFull};
use crate::fence::{Fence, Head};
use crate::id::{ActorId, DbId, Digest, NodeSession, Pgno, Shard, Txid};

/// The methods of [`Store`] that ask the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is named as its method")]
pub enum Asked {
    Create,
    Actor,
    TakeOver,
    Confirm,
    Seal,
    Claim,
    Read,
    Stage,
    CollectStages,
    Commit,
    Verdict,
    ReadAt,
    Commits,
    CommitPages,
    History,
    RaiseFloor,
    Superseded,
    TrimPages,
    TrimCommits,
    Pin,
    Unpin,
    TakeOverImport,
    EmptyImport,
    FinishImport,
    Actors,
    Count,
    Destroying,
    Destroy,
    RowsOf,
    PutComponent,
    Component,
    PutKind,
    Kind,
    Kinds,
    RemoveKind,
    NodeBeat,
    Nodes,
    NodeGone,
    Check,
}

/// What a step is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// The step.
    pub asked: Asked,
    /// Whose database; `None`: of none, or of many.
    pub db: Option<DbId>,
    /// The owner that a fenced step names, or that a takeover replaces; `None`: none, or many.
    pub fence: Option<Fence>,
    /// The commit or state that it is about.
    pub txid: Option<Txid>,
}

impl About {
    fn all(asked: Asked) -> Self {
        Self { asked, db: None, fence: None, txid: None }
    }

    fn db(asked: Asked, db: DbId) -> Self {
        Self { db: Some(db), ..Self::all(asked) }
    }

    fn fence(asked: Asked, fence: Fence) -> Self {
        Self { fence: Some(fence), ..Self::db(asked, fence.db) }
    }

    fn takeover(asked: Asked, step: &TakeoverStep) -> Self {
        let (generation, token) = step.replaces;
        Self::fence(asked, Fence { db: step.db, generation, token })
    }

    fn at(self, txid: Txid) -> Self {
        Self { txid: Some(txid), ..self }
    }
}

/// `Commit generation 3 txid 7`
impl fmt::Display for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.asked)?;
        if let Some(fence) = self.fence {
            write!(f, " generation {}", fence.generation)?;
        }
        self.txid.map_or(Ok(()), |txid| write!(f, " txid {txid}"))
    }
}

/// A step on its way to a store.
pub struct Call<T> {
    /// What it is about.
    pub about: About,
    apply: Arc<Apply<T>>,
}

type Apply<T> =
    dyn Fn(Arc<dyn Store>) -> BoxFuture<'static, Result<T, StoreError>> + Send + Sync + 'static;

impl<T> Clone for Call<T> {
    fn clone(&self) -> Self {
        Self { about: self.about.clone(), apply: Arc::clone(&self.apply) }
    }
}

impl<T> Call<T> {
    fn new(
        about: About,
        apply: impl Fn(Arc<dyn Store>) -> BoxFuture<'static, Result<T, StoreError>>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Self { about, apply: Arc::new(apply) }
    }

    /// Asks `store`. Nothing happens before the answer is polled.
    #[must_use]
    pub fn apply(&self, store: &Arc<dyn Store>) -> BoxFuture<'static, Result<T, StoreError>> {
        (self.apply)(Arc::clone(store))
    }
}

/// Whether each fence still holds, in the order asked.
pub type Confirmed = Vec<Result<(), StoreError>>;

/// Something in front of a store. It is a [`Store`] itself.
pub trait Layer: Send + Sync + 'static {
    /// The store, or the next layer.
    fn beneath(&self) -> &Arc<dyn Store>;

    /// What becomes of a step, and what its caller hears.
    fn through<T: Send + 'static>(
        &self,
        call: Call<T>,
    ) -> impl Future<Output = Result<T, StoreError>> + Send;

    /// What becomes of a confirmation, which is about many databases at once.
    fn through_confirm(
        &self,
        fences: Vec<Fence>,
    ) -> impl Future<Output = Result<Confirmed, StoreError>> + Send {
        let call = Call::new(About::all(Asked::Confirm), move |store| {
            let fences = fences.clone();
            Box::pin(async move { store.confirm(&fences).await })
        });
        self.through(call)
    }

    /// [`Store::reads_are_remote`].
    fn is_remote(&self) -> bool {
        self.beneath().reads_are_remote()
    }

    /// [`Store::failed`].
    fn failed_beneath(&self) -> impl Future<Output = StoreFailure> + Send {
        async { self.beneath().failed().await }
    }

    /// [`Store::full`].
    fn full_beneath(&self) -> Option<StoreFull> {
        self.beneath().full()
    }

    /// [`Store::holder`].
    fn holder_beneath(&self, shard: Shard) -> Option<Holder> {
        self.beneath().holder(shard)
    }

    /// [`Store::close`].
    fn close_beneath(&self) -> impl Future<Output = ()> + Send {
        async { self.beneath().close().await }
    }
}

/// Sends `$store.$method(...)` through the layer; `$kept` are its arguments, cloned for each time it
/// is applied.
macro_rules! send {
    ($layer:ident, $about:expr, [$($kept:ident),*], |$store:ident| $call:expr) => {
        $layer.through(Call::new($about, move |$store| {
            $(let $kept = $kept.clone();)*
            Box::pin(async move { $call.await })
        })).await
    };
}

#[async_trait]
impl<L: Layer> Store for L {
    fn shards(&self) -> u8 {
        self.beneath().shards()
    }

    fn reads_are_remote(&self) -> bool {
        self.is_remote()
    }

    async fn create(&self, step: CreateStep) -> Result<Created, StoreError> {
        send!(self, About::all(Asked::Create), [step], |store| store.create(step))
    }

    async fn actor(&self, actor: &ActorId) -> Result<Option<ActorState>, StoreError> {
        let actor = actor.clone();
        send!(self, About::all(Asked::Actor), [actor], |store| store.actor(&actor))
    }

    async fn take_over(&self, step: TakeoverStep) -> Result<TakenOver, StoreError> {
        let about = About::takeover(Asked::TakeOver, &step);
        send!(self, about, [step], |store| store.take_over(step))
    }

    async fn confirm(&self, fences: &[Fence]) -> Result<Confirmed, StoreError> {
        self.through_confirm(fences.to_vec()).await
    }

    async fn seal(&self, step: SealStep) -> Result<Head, StoreError> {
        let about = About::fence(Asked::Seal, step.fence).at(step.base);
        send!(self, about, [step], |store| store.seal(step))
    }

    async fn claim(&self, owner: NodeSession, heirs: &[Fence]) -> Result<(), StoreError> {
        let heirs = heirs.to_vec();
        send!(self, About::all(Asked::Claim), [heirs], |store| store.claim(owner, &heirs))
    }

    async fn read(&self, fence: Fence, at: Txid, pages: &[Pgno]) -> Result<PagesRead, StoreError> {
        let (about, pages) = (About::fence(Asked::Read, fence).at(at), pages.to_vec());
        send!(self, about, [pages], |store| store.read(fence, at, &pages))
    }

    async fn stage(&self, step: StageStep) -> Result<(), StoreError> {
        let about = About::fence(Asked::Stage, step.fence).at(step.base.next());
        send!(self, about, [step], |store| store.stage(step))
    }

    async fn collect_stages(&self, fence: Fence) -> Result<Collected, StoreError> {
        let about = About::fence(Asked::CollectStages, fence);
        send!(self, about, [], |store| store.collect_stages(fence))
    }

    async fn commit(&self, step: CommitStep) -> Result<(), StoreError> {
        let about = About::fence(Asked::Commit, step.fence).at(step.base.next());
        send!(self, about, [step], |store| store.commit(step))
    }

    async fn verdict(
        &self,
        db: DbId,
        txid: Txid,
    ) -> Result<(Option<Head>, Option<CommitRow>), StoreError> {
        let about = About::db(Asked::Verdict, db).at(txid);
        send!(self, about, [], |store| store.verdict(db, txid))
    }

    async fn read_at(
        &self,
        db: DbId,
        at: Txid,
        from: Pgno,
        max: usize,
    ) -> Result<Vec<PageVersion>, StoreError> {
        let about = About::db(Asked::ReadAt, db).at(at);
        send!(self, about, [], |store| store.read_at(db, at, from, max))
    }

    async fn commits(
        &self,
        db: DbId,
        after: Txid,
        max: usize,
    ) -> Result<Vec<CommitRow>, StoreError> {
        let about = About::db(Asked::Commits, db).at(after);
        send!(self, about, [], |store| store.commits(db, after, max))
    }

    async fn commit_pages(
        &self,
        db: DbId,
        txid: Txid,
        after: Pgno,
        max: usize,
    ) -> Result<Vec<PageVersion>, StoreError> {
        let about = About::db(Asked::CommitPages, db).at(txid);
        send!(self, about, [], |store| store.commit_pages(db, txid, after, max))
    }

    async fn history(&self, db: DbId) -> Result<Option<History>, StoreError> {
        send!(self, About::db(Asked::History, db), [], |store| store.history(db))
    }

    async fn raise_floor(&self, db: DbId, keep: Keep) -> Result<History, StoreError> {
        send!(self, About::db(Asked::RaiseFloor, db), [], |store| store.raise_floor(db, keep))
    }

    async fn superseded(&self, db: DbId, after: (Pgno, Txid)) -> Result<Look, StoreError> {
        send!(self, About::db(Asked::Superseded, db), [], |store| store.superseded(db, after))
    }

    async fn trim_pages(&self, rows: Vec<Superseded>) -> Result<u64, StoreError> {
        send!(self, About::all(Asked::TrimPages), [rows], |store| store.trim_pages(rows))
    }

    async fn trim_commits(&self, db: DbId, below: Txid) -> Result<u64, StoreError> {
        let about = About::db(Asked::TrimCommits, db);
        send!(self, about, [], |store| store.trim_commits(db, below))
    }

    async fn pin(&self, db: DbId, txid: Txid, name: &str) -> Result<(), StoreError> {
        let (about, name) = (About::db(Asked::Pin, db).at(txid), name.to_owned());
        send!(self, about, [name], |store| store.pin(db, txid, &name))
    }

    async fn unpin(&self, db: DbId, txid: Txid, name: &str) -> Result<(), StoreError> {
        let (about, name) = (About::db(Asked::Unpin, db).at(txid), name.to_owned());
        send!(self, about, [name], |store| store.unpin(db, txid, &name))
    }

    async fn take_over_import(&self, step: TakeoverStep) -> Result<TakenOver, StoreError> {
        let about = About::takeover(Asked::TakeOverImport, &step);
        send!(self, about, [step], |store| store.take_over_import(step))
    }

    async fn empty_import(&self, fence: Fence) -> Result<Emptied, StoreError> {
        let about = About::fence(Asked::EmptyImport, fence);
        send!(self, about, [], |store| store.empty_import(fence))
    }

    async fn finish_import(&self, fence: Fence, base: Txid) -> Result<Head, StoreError> {
        let about = About::fence(Asked::FinishImport, fence).at(base);
        send!(self, about, [], |store| store.finish_import(fence, base))
    }

    async fn actors(
        &self,
        kind: Option<&str>,
        after: Option<&ActorId>,
        max: usize,
    ) -> Result<Vec<ActorState>, StoreError> {
        let (kind, after) = (kind.map(str::to_owned), after.cloned());
        send!(self, About::all(Asked::Actors), [kind, after], |store| {
            store.actors(kind.as_deref(), after.as_ref(), max)
        })
    }

    async fn count(&self, kind: &str, shard: Shard, after: &str) -> Result<Counted, StoreError> {
        let (kind, after) = (kind.to_owned(), after.to_owned());
        send!(self, About::all(Asked::Count), [kind, after], |store| {
            store.count(&kind, shard, &after)
        })
    }

    async fn destroying(&self, max: usize) -> Result<Vec<ActorState>, StoreError> {
        send!(self, About::all(Asked::Destroying), [], |store| store.destroying(max))
    }

    async fn destroy(&self, actor: &ActorId, fence: Fence) -> Result<Destroyed, StoreError> {
        let (about, actor) = (About::fence(Asked::Destroy, fence), actor.clone());
        send!(self, about, [actor], |store| store.destroy(&actor, fence))
    }

    async fn rows_of(&self, db: DbId) -> Result<u64, StoreError> {
        send!(self, About::db(Asked::RowsOf, db), [], |store| store.rows_of(db))
    }

    async fn put_component(&self, digest: Digest, wasm: Vec<u8>) -> Result<(), StoreError> {
        let about = About::all(Asked::PutComponent);
        send!(self, about, [wasm], |store| store.put_component(digest, wasm))
    }

    async fn component(&self, digest: Digest) -> Result<Option<Vec<u8>>, StoreError> {
        send!(self, About::all(Asked::Component), [], |store| store.component(digest))
    }

    async fn put_kind(
        &self,
        kind: &str,
        component: Digest,
        manifest: &str,
    ) -> Result<KindRow, StoreError> {
        let (kind, manifest) = (kind.to_owned(), manifest.to_owned());
        send!(self, About::all(Asked::PutKind), [kind, manifest], |store| {
            store.put_kind(&kind, component, &manifest)
        })
    }

    async fn kind(&self, kind: &str) -> Result<Option<KindRow>, StoreError> {
        let kind = kind.to_owned();
        send!(self, About::all(Asked::Kind), [kind], |store| store.kind(&kind))
    }

    async fn kinds(&self, after: Option<&str>, max: usize) -> Result<Vec<KindRow>, StoreError> {
        let after = after.map(str::to_owned);
        send!(self, About::all(Asked::Kinds), [after], |store| store.kinds(after.as_deref(), max))
    }

    async fn remove_kind(&self, kind: &str) -> Result<bool, StoreError> {
        let kind = kind.to_owned();
        send!(self, About::all(Asked::RemoveKind), [kind], |store| store.remove_kind(&kind))
    }

    async fn node_beat(&self, session: NodeSession, address: &str) -> Result<(), StoreError> {
        let address = address.to_owned();
        send!(self, About::all(Asked::NodeBeat), [address], |store| {
            store.node_beat(session, &address)
        })
    }

    async fn nodes(&self) -> Result<Vec<NodeRow>, StoreError> {
        send!(self, About::all(Asked::Nodes), [], |store| store.nodes())
    }

    async fn node_gone(&self, session: NodeSession) -> Result<(), StoreError> {
        send!(self, About::all(Asked::NodeGone), [], |store| store.node_gone(session))
    }

    async fn check(&self, at: CheckAt) -> Result<Checked, StoreError> {
        send!(self, About::all(Asked::Check), [at], |store| store.check(at))
    }

    async fn failed(&self) -> StoreFailure {
        self.failed_beneath().await
    }

    fn full(&self) -> Option<StoreFull> {
        self.full_beneath()
    }

    fn holder(&self, shard: Shard) -> Option<Holder> {
        self.holder_beneath(shard)
    }

    async fn close(&self) {
        self.close_beneath().await;
    }
}
