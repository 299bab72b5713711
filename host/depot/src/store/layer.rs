//! Middleware for a `Store`: fault injection, simulated networks, call recording.
//!
//! A layer gets every step as a [`Call`]: a value that it may apply immediately, later, twice or
//! never. So it says once what happens to a step, and a step that is new to [`Store`] passes
//! through it.
//!
//! ```text
//! caller ── Store::commit(step) ──> Call ── Layer::through ──> apply ──> the store beneath
//!                                                └─ nothing, a delay, a fault
//! ```

use std::borrow::Borrow;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::BoxFuture;

use super::{
    ActorState, CheckAt, Checked, Cluster, Collected, CommitRow, CommitStep, Counted, CreateStep,
    Created, Destroyed, Directory, DueLook, DuePage, DueWork, Emptied, History, Holder, Import,
    Keep, KindRow, Look, NodeBeat, NodeRow, Ownership, PageVersion, Pages, PagesRead, SealStep,
    StageStep, Store, Superseded, TakenOver, TakeoverStep, VersionKey, Versions,
};
use crate::error::{StoreError, StoreFailure, StoreFull};
use crate::fence::{Fence, Head};
use crate::id::{ActorId, DbId, Digest, NodeSession, Pgno, Shard, Txid};

/// The subject of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// The step.
    pub asked: Asked,
    /// The database; `None`: of none, or of many.
    pub db: Option<DbId>,
    /// The owner that a fenced step names, or that a takeover replaces; `None`: none, or many.
    pub fence: Option<Fence>,
    /// The commit or state that the step is about.
    pub txid: Option<Txid>,
    /// The actor that a step names which finds the database, or makes it.
    pub actor: Option<ActorId>,
}

impl About {
    fn new(asked: Asked) -> Self {
        Self { asked, db: None, fence: None, txid: None, actor: None }
    }

    fn db(self, db: DbId) -> Self {
        Self { db: Some(db), ..self }
    }

    /// Of these databases, if they are one.
    fn of(self, mut dbs: impl Iterator<Item = DbId>) -> Self {
        let first = dbs.next();
        let db = first.filter(|first| dbs.all(|db| db == *first));
        Self { db, ..self }
    }

    fn named(self, actor: &ActorId) -> Self {
        Self { actor: Some(actor.clone()), ..self }
    }

    fn fence(self, fence: Fence) -> Self {
        Self { fence: Some(fence), ..self.db(fence.db) }
    }

    fn takeover(self, step: &TakeoverStep) -> Self {
        let (generation, token) = step.replaces;
        self.fence(Fence { db: step.db, generation, token })
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
    /// The subject of the step.
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

    /// Sends the step to `store`. Nothing happens before the answer is polled.
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

    /// What becomes of a step, and the answer that its caller gets.
    fn through<T: Send + 'static>(
        &self,
        call: Call<T>,
    ) -> impl Future<Output = Result<T, StoreError>> + Send;

    /// What becomes of a confirmation, which is about many databases at the same time.
    fn through_confirm(
        &self,
        fences: Vec<Fence>,
    ) -> impl Future<Output = Result<Confirmed, StoreError>> + Send {
        let call = Call::new(About::new(Asked::Confirm), move |store| {
            let fences = fences.clone();
            Box::pin(async move { store.confirm(&fences).await })
        });
        self.through(call)
    }

    /// [`Store::reads_are_remote`].
    fn is_remote(&self) -> bool {
        self.beneath().reads_are_remote()
    }

    /// [`Store::keeps_due_work`].
    fn keeps_due_work_beneath(&self) -> bool {
        self.beneath().keeps_due_work()
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

/// Makes [`Asked`], and a [`Store`] of each [`Layer`], from one list: for each step its name, its
/// method, and what it is about. `&str` is an argument that is lent, `?str` one that may be left
/// out. What stands after `with` is not made from the list.
macro_rules! steps {
    ($($group:ident {$(
        $asked:ident = $method:ident($(
            $arg:ident: $($kept:ident $(<$of:ident>)?)? $(&$lent:tt)? $(?$maybe:tt)?
        ),*) -> $answer:ty [$($about:ident($with:expr))*];
    )*} with {$($own:tt)*})*) => {
        /// The steps of a store: methods of [`Store`] that ask the engine.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "each is named as its method")]
        pub enum Asked {
            Confirm,
            $($($asked,)*)*
        }

        $(#[async_trait]
        impl<L: Layer> $group for L {
            $(async fn $method(
                &self,
                $($arg: $($kept $(<$of>)?)? $(&$lent)? $(Option<&$maybe>)?),*
            ) -> Result<$answer, StoreError> {
                let about = About::new(Asked::$asked)$(.$about($with))*;
                $($(let $arg = <$lent>::to_owned($arg);)?
                $(let $arg = $arg.map(<$maybe>::to_owned);)?)*
                self.through(Call::new(about, move |store| {
                    $(let $arg = Clone::clone(&$arg);)*
                    Box::pin(async move {
                        store.$method($(
                            $(lend!($arg: $kept))? $(lend!($arg: &$lent))? $(lend!($arg: ?$maybe))?
                        ),*).await
                    })
                })).await
            })*

            $($own)*
        })*
    };
}

/// What a method of the list is given of an argument that is kept.
macro_rules! lend {
    ($arg:ident: &$lent:tt) => {
        &$arg
    };
    ($arg:ident: ?$maybe:tt) => {
        $arg.as_ref().map(Borrow::<$maybe>::borrow)
    };
    ($arg:ident: $kept:ident) => {
        $arg
    };
}

steps! {
    Ownership {
        Create = create(step: CreateStep) -> Created [named(&step.actor)];
        Actor = actor(actor: &ActorId) -> Option<ActorState> [named(actor)];
        TakeOver = take_over(step: TakeoverStep) -> TakenOver [takeover(&step)];
        Seal = seal(step: SealStep) -> Head [fence(step.fence) at(step.base)];
        Claim = claim(owner: NodeSession, heirs: &[Fence]) -> ()
            [of(heirs.iter().map(|heir| heir.db))];
    } with {
        async fn confirm(&self, fences: &[Fence]) -> Result<Confirmed, StoreError> {
            self.through_confirm(fences.to_vec()).await
        }
    }
    Pages {
        Read = read(fence: Fence, at: Txid, pages: &[Pgno]) -> PagesRead [fence(fence) at(at)];
        Stage = stage(step: StageStep) -> () [fence(step.fence) at(step.base.next())];
        CollectStages = collect_stages(fence: Fence) -> Collected [fence(fence)];
        Commit = commit(step: CommitStep) -> () [fence(step.fence) at(step.base.next())];
        Verdict = verdict(db: DbId, txid: Txid) -> (Option<Head>, Option<CommitRow>)
            [db(db) at(txid)];
    } with {}
    Versions {
        ReadAt = read_at(db: DbId, at: Txid, from: Pgno, max: usize) -> Vec<PageVersion>
            [db(db) at(at)];
        Commits = commits(db: DbId, after: Txid, max: usize) -> Vec<CommitRow> [db(db) at(after)];
        CommitPages = commit_pages(db: DbId, txid: Txid, after: Pgno, max: usize)
            -> Vec<PageVersion> [db(db) at(txid)];
        History = history(db: DbId) -> Option<History> [db(db)];
        RaiseFloor = raise_floor(db: DbId, keep: Keep) -> History [db(db)];
        Superseded = superseded(db: DbId, after: VersionKey) -> Look [db(db)];
        TrimPages = trim_pages(rows: Vec<Superseded>) -> u64 [of(rows.iter().map(|row| row.db))];
        TrimCommits = trim_commits(db: DbId, below: Txid) -> u64 [db(db)];
        Pin = pin(db: DbId, txid: Txid, name: &str) -> () [db(db) at(txid)];
        Unpin = unpin(db: DbId, txid: Txid, name: &str) -> () [db(db) at(txid)];
    } with {}
    Import {
        TakeOverImport = take_over_import(step: TakeoverStep) -> TakenOver [takeover(&step)];
        EmptyImport = empty_import(fence: Fence) -> Emptied [fence(fence)];
        FinishImport = finish_import(fence: Fence, base: Txid) -> Head [fence(fence) at(base)];
    } with {}
    Directory {
        Actors = actors(kind: ?str, after: ?ActorId, max: usize) -> Vec<ActorState> [];
        Count = count(kind: &str, shard: Shard, after: &str) -> Counted [];
        Destroying = destroying(max: usize) -> Vec<ActorState> [];
        Destroy = destroy(actor: &ActorId, fence: Fence) -> Destroyed [fence(fence)];
        RowsOf = rows_of(db: DbId) -> u64 [db(db)];
    } with {}
    DueWork {
        Due = due(look: DueLook) -> DuePage [];
        SettleDue = settle_due(fence: Fence, at: Txid, due: Option<i64>) -> ()
            [fence(fence) at(at)];
    } with {}
    Cluster {
        PutComponent = put_component(digest: Digest, wasm: Vec<u8>) -> () [];
        Component = component(digest: Digest) -> Option<Vec<u8>> [];
        PutKind = put_kind(kind: &str, component: Digest, manifest: &str) -> KindRow [];
        Kind = kind(kind: &str) -> Option<KindRow> [];
        Kinds = kinds(after: ?str, max: usize) -> Vec<KindRow> [];
        RemoveKind = remove_kind(kind: &str) -> bool [];
        NodeBeat = node_beat(session: NodeSession, beat: &NodeBeat) -> () [];
        Nodes = nodes() -> Vec<NodeRow> [];
        NodeGone = node_gone(session: NodeSession) -> () [];
    } with {}
    Store {
        Check = check(at: CheckAt) -> Checked [];
    } with {
        fn shards(&self) -> u16 {
            self.beneath().shards()
        }

        fn reads_are_remote(&self) -> bool {
            self.is_remote()
        }

        fn keeps_due_work(&self) -> bool {
            self.keeps_due_work_beneath()
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
}
