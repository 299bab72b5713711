//! A store that fails when told to: at the n-th call of one step, in one of the ways in which a
//! network and a database fail.
//!
//! An armed fault that does not fire fails the test: [`Armed`] panics when it is dropped unfired.
//! The package `stockade-depot` compiles this file into its own tests by path.
//!
//! ```text
//! Unavailable   not applied, and the caller knows
//! LostRequest   not applied, the caller hears Unknown
//! LostAnswer    applied, the caller hears Unknown
//! Late          the caller hears Unknown at once; applied when the test delivers it
//! Hold          applied and answered when the test releases it
//! HoldAnswer    applied at once, answered when the test releases it
//! Twice         applied twice, the caller hears the second answer
//! ```
//! Each pair of step and fault is a [`Point`] with a [`FaultClass`]: what its caller may be told.
//! Tests walk over all points of a class with [`points`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use stockade_depot::store::{
    ActorState, Collected, CommitRow, CommitStep, CreateStep, Created, Destroyed, Emptied, History,
    Keep, KindRow, PageVersion, PagesRead, SealStep, StageStep, Store, TakenOver, TakeoverStep,
    Trim, Trimmed,
};
use stockade_depot::{ActorId, DbId, Digest, Fence, Head, NodeSession, Pgno, StoreError, Txid};
use tokio::sync::watch;

/// The steps that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// `Store::create`
    Create,
    /// `Store::actor`
    Actor,
    /// `Store::take_over`
    TakeOver,
    /// `Store::confirm`
    Confirm,
    /// `Store::seal`
    Seal,
    /// `Store::read`
    Read,
    /// `Store::commit`
    Commit,
    /// `Store::verdict`
    Verdict,
    /// `Store::destroy`
    Destroy,
    /// `Store::stage`
    Stage,
    /// `Store::collect_stages`
    CollectStages,
    /// `Store::raise_floor`, `Store::trim`
    Trim,
    /// `Store::take_over_import`, `Store::empty_import`, `Store::finish_import`
    Import,
}

impl Step {
    /// Every step.
    pub const ALL: [Self; 13] = [
        Self::Create,
        Self::Actor,
        Self::TakeOver,
        Self::Confirm,
        Self::Seal,
        Self::Read,
        Self::Commit,
        Self::Verdict,
        Self::Destroy,
        Self::Stage,
        Self::CollectStages,
        Self::Trim,
        Self::Import,
    ];

    /// Whether it changes the store.
    #[must_use]
    pub fn writes(self) -> bool {
        match self {
            Self::Create
            | Self::TakeOver
            | Self::Seal
            | Self::Commit
            | Self::Destroy
            | Self::Stage
            | Self::CollectStages
            | Self::Trim
            | Self::Import => true,
            Self::Actor | Self::Confirm | Self::Read | Self::Verdict => false,
        }
    }
}

/// How a step fails. See the picture above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Not applied, and the caller knows.
    Unavailable,
    /// Not applied; `Unknown`.
    LostRequest,
    /// Applied; `Unknown`.
    LostAnswer,
    /// `Unknown` at once; applied by [`Armed::deliver`].
    Late,
    /// Waits for [`Armed::release`], then goes on.
    Hold,
    /// Applied at once; the answer waits for [`Armed::release`].
    HoldAnswer,
    /// Applied twice; the second answer is heard.
    Twice,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 7] = [
        Self::Unavailable,
        Self::LostRequest,
        Self::LostAnswer,
        Self::Late,
        Self::Hold,
        Self::HoldAnswer,
        Self::Twice,
    ];

    /// Where it strikes when `step` fails by it.
    #[must_use]
    pub fn class(self, step: Step) -> FaultClass {
        if !step.writes() {
            return FaultClass::ReadOnly;
        }
        match self {
            Self::Unavailable | Self::Hold => FaultClass::BeforeDurable,
            Self::LostRequest | Self::LostAnswer | Self::Late => FaultClass::Ambiguous,
            Self::HoldAnswer | Self::Twice => FaultClass::AfterDurable,
        }
    }
}

/// Where a fault strikes, and with it what the caller of the step may be told in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultClass {
    /// Nothing was written yet: the step may be sent again, or given up as surely not applied.
    BeforeDurable,
    /// Applied or not, the caller cannot know: it must ask, and else admit that nobody knows.
    Ambiguous,
    /// It is written, whatever the answer says: it must never be called lost.
    AfterDurable,
    /// There is nothing to write: it may be asked again for ever.
    ReadOnly,
}

impl FaultClass {
    /// Every class.
    pub const ALL: [Self; 4] =
        [Self::BeforeDurable, Self::Ambiguous, Self::AfterDurable, Self::ReadOnly];
}

/// A place where a store can fail: one step, one fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// The step.
    pub step: Step,
    /// Its fault.
    pub fault: Fault,
    /// Derived from both.
    pub class: FaultClass,
}

/// Every point of a class.
pub fn points(class: FaultClass) -> impl Iterator<Item = Point> {
    Step::ALL.into_iter().flat_map(points_of).filter(move |point| point.class == class)
}

/// Every point of a step.
pub fn points_of(step: Step) -> impl Iterator<Item = Point> {
    Fault::ALL.into_iter().map(move |fault| Point { step, fault, class: fault.class(step) })
}

/// The wrapper.
pub struct FaultyStore {
    inner: Arc<dyn Store>,
    remote: AtomicBool,
    stuck: AtomicBool,
    calls: [AtomicU64; Step::ALL.len()],
    armed: Mutex<Vec<Arming>>,
}

/// Which call of which step fails, how, and whom to tell.
type Arming = (Step, u64, Fault, Arc<Shot>);

/// One armed fault. Must fire before it is dropped.
pub struct Armed {
    shot: Arc<Shot>,
    what: String,
}

struct Shot {
    fired: watch::Sender<bool>,
    released: watch::Sender<bool>,
    late: Mutex<Option<BoxFuture<'static, ()>>>,
}

impl FaultyStore {
    /// Lets everything through until told otherwise.
    pub fn new(inner: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            remote: AtomicBool::new(false),
            stuck: AtomicBool::new(false),
            calls: Default::default(),
            armed: Mutex::default(),
        })
    }

    /// From now on it does not come to its end when it is closed.
    pub fn never_close(&self) {
        self.stuck.store(true, Ordering::SeqCst);
    }

    /// From now on it says that its reads cross a network.
    pub fn set_remote(&self) {
        self.remote.store(true, Ordering::SeqCst);
    }

    /// Makes the next call of a point's step fail by its fault.
    #[must_use = "an armed fault that is dropped unfired fails the test"]
    pub fn arm_point(&self, point: Point) -> Armed {
        self.arm(point.step, 1, point.fault)
    }

    /// Makes the `nth` call of `step` from now on fail (1 is the next one).
    #[must_use = "an armed fault that is dropped unfired fails the test"]
    pub fn arm(&self, step: Step, nth: u64, fault: Fault) -> Armed {
        let shot = Arc::new(Shot {
            fired: watch::Sender::new(false),
            released: watch::Sender::new(false),
            late: Mutex::default(),
        });
        self.armed.lock().push((step, self.calls(step) + nth, fault, Arc::clone(&shot)));
        Armed { shot, what: format!("{fault:?} at call {nth} of {step:?}") }
    }

    /// Makes every call of `step` fail until the answer is dropped. Must fire at least once.
    #[must_use = "dropping it ends the outage"]
    pub fn outage(self: &Arc<Self>, step: Step, fault: Fault) -> Outage {
        let shot = Arc::new(Shot {
            fired: watch::Sender::new(false),
            released: watch::Sender::new(false),
            late: Mutex::default(),
        });
        self.armed.lock().push((step, EVERY_CALL, fault, Arc::clone(&shot)));
        let armed = Armed { shot, what: format!("{fault:?} at every call of {step:?}") };
        Outage { store: Arc::clone(self), armed }
    }

    /// Takes a fault back, whether it fired or not: for tests that arm at random.
    pub fn disarm(&self, armed: Armed) {
        self.armed.lock().retain(|(.., shot)| !Arc::ptr_eq(shot, &armed.shot));
        armed.shot.fired.send_replace(true);
    }

    /// How often `step` was called so far.
    pub fn calls(&self, step: Step) -> u64 {
        self.calls[step as usize].load(Ordering::SeqCst)
    }

    async fn through<T: Send + 'static>(
        &self,
        step: Step,
        call: impl Fn(Arc<dyn Store>) -> BoxFuture<'static, Result<T, StoreError>> + Send + Sync,
    ) -> Result<T, StoreError> {
        let Some((fault, shot)) = self.count(step) else {
            return call(Arc::clone(&self.inner)).await;
        };
        let unknown = Err(StoreError::Unknown(format!("{fault:?}")));
        // It has fired when what it does to the store is done.
        let fired = || {
            shot.fired.send_replace(true);
        };
        match fault {
            Fault::Unavailable => {
                fired();
                Err(StoreError::Unavailable("armed".into()))
            }
            Fault::LostRequest => {
                fired();
                unknown
            }
            Fault::LostAnswer => {
                let _lost = call(Arc::clone(&self.inner)).await;
                fired();
                unknown
            }
            Fault::Late => {
                let late = call(Arc::clone(&self.inner));
                *shot.late.lock() = Some(Box::pin(async {
                    let _lost = late.await;
                }));
                fired();
                unknown
            }
            Fault::Hold => {
                fired();
                shot.wait_released().await;
                call(Arc::clone(&self.inner)).await
            }
            Fault::HoldAnswer => {
                let answer = call(Arc::clone(&self.inner)).await;
                fired();
                shot.wait_released().await;
                answer
            }
            Fault::Twice => {
                let _first = call(Arc::clone(&self.inner)).await;
                let second = call(Arc::clone(&self.inner)).await;
                fired();
                second
            }
        }
    }

    /// Counts a call; its fault, if one is armed for it.
    fn count(&self, step: Step) -> Option<(Fault, Arc<Shot>)> {
        let mut armed = self.armed.lock();
        let call = self.calls[step as usize].fetch_add(1, Ordering::SeqCst) + 1;
        let hit = armed.iter().position(|(at, nth, ..)| *at == step && *nth == call);
        if let Some(index) = hit {
            let (_, _, fault, shot) = armed.remove(index);
            return Some((fault, shot));
        }
        let every = armed.iter().find(|(at, nth, ..)| *at == step && *nth == EVERY_CALL);
        every.map(|(_, _, fault, shot)| (*fault, Arc::clone(shot)))
    }
}

/// How long a test waits for a fault to fire.
const FIRES_WITHIN: Duration = Duration::from_secs(10);

/// The call number of a fault that fires at each call. No call has it: they count from 1.
const EVERY_CALL: u64 = 0;

/// A fault that lasts until this is dropped.
pub struct Outage {
    store: Arc<FaultyStore>,
    armed: Armed,
}

impl Drop for Outage {
    fn drop(&mut self) {
        let shot = &self.armed.shot;
        self.store.armed.lock().retain(|(.., other)| !Arc::ptr_eq(other, shot));
        shot.released.send_replace(true);
    }
}

impl Outage {
    /// Waits until the fault has fired.
    pub async fn fired(&self) {
        self.armed.fired().await;
    }
}

impl Armed {
    /// Waits until the fault has fired. Fails the test if it does not.
    pub async fn fired(&self) {
        let mut fired = self.shot.fired.subscribe();
        let hit = tokio::time::timeout(FIRES_WITHIN, fired.wait_for(|fired| *fired)).await;
        assert!(hit.is_ok(), "armed fault does not fire: {}", self.what);
    }

    /// Lets a held call go on.
    pub fn release(&self) {
        self.shot.released.send_replace(true);
    }

    /// Applies a late step now, if the fault has fired and was one.
    pub async fn deliver_if_any(&self) {
        let late = self.shot.late.lock().take();
        if let Some(late) = late {
            late.await;
        }
    }

    /// Applies a late step now; its answer is lost.
    pub async fn deliver(&self) {
        let late = self.shot.late.lock().take().expect("a late step to deliver");
        late.await;
    }
}

impl Drop for Armed {
    fn drop(&mut self) {
        self.shot.released.send_replace(true);
        if !std::thread::panicking() {
            assert!(*self.shot.fired.borrow(), "armed fault did not fire: {}", self.what);
        }
    }
}

impl Shot {
    async fn wait_released(&self) {
        let mut released = self.released.subscribe();
        released.wait_for(|released| *released).await.expect("BUG: the shot is held");
    }
}

#[async_trait]
impl Store for FaultyStore {
    fn shards(&self) -> u8 {
        self.inner.shards()
    }

    fn reads_are_remote(&self) -> bool {
        self.remote.load(Ordering::SeqCst) || self.inner.reads_are_remote()
    }

    async fn create(&self, step: CreateStep) -> Result<Created, StoreError> {
        self.through(Step::Create, move |inner| {
            let step = step.clone();
            Box::pin(async move { inner.create(step).await })
        })
        .await
    }

    async fn actor(&self, actor: &ActorId) -> Result<Option<ActorState>, StoreError> {
        self.through(Step::Actor, |inner| {
            let actor = actor.clone();
            Box::pin(async move { inner.actor(&actor).await })
        })
        .await
    }

    async fn take_over(&self, step: TakeoverStep) -> Result<TakenOver, StoreError> {
        self.through(Step::TakeOver, move |inner| {
            let step = step.clone();
            Box::pin(async move { inner.take_over(step).await })
        })
        .await
    }

    async fn confirm(&self, fences: &[Fence]) -> Result<Vec<Result<(), StoreError>>, StoreError> {
        self.through(Step::Confirm, |inner| {
            let fences = fences.to_vec();
            Box::pin(async move { inner.confirm(&fences).await })
        })
        .await
    }

    async fn seal(&self, step: SealStep) -> Result<Head, StoreError> {
        self.through(Step::Seal, move |inner| {
            let step = step.clone();
            Box::pin(async move { inner.seal(step).await })
        })
        .await
    }

    async fn read(&self, fence: Fence, at: Txid, pages: &[Pgno]) -> Result<PagesRead, StoreError> {
        self.through(Step::Read, |inner| {
            let pages = pages.to_vec();
            Box::pin(async move { inner.read(fence, at, &pages).await })
        })
        .await
    }

    async fn stage(&self, step: StageStep) -> Result<(), StoreError> {
        self.through(Step::Stage, move |inner| {
            let step = step.clone();
            Box::pin(async move { inner.stage(step).await })
        })
        .await
    }

    async fn collect_stages(&self, fence: Fence) -> Result<Collected, StoreError> {
        self.through(Step::CollectStages, move |inner| {
            Box::pin(async move { inner.collect_stages(fence).await })
        })
        .await
    }

    async fn commit(&self, step: CommitStep) -> Result<(), StoreError> {
        self.through(Step::Commit, move |inner| {
            let step = step.clone();
            Box::pin(async move { inner.commit(step).await })
        })
        .await
    }

    async fn verdict(
        &self,
        db: DbId,
        txid: Txid,
    ) -> Result<(Option<Head>, Option<CommitRow>), StoreError> {
        self.through(Step::Verdict, move |inner| {
            Box::pin(async move { inner.verdict(db, txid).await })
        })
        .await
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

    async fn actors(
        &self,
        kind: Option<&str>,
        after: Option<&ActorId>,
        max: usize,
    ) -> Result<Vec<ActorState>, StoreError> {
        self.inner.actors(kind, after, max).await
    }

    async fn history(&self, db: DbId) -> Result<Option<History>, StoreError> {
        self.inner.history(db).await
    }

    async fn raise_floor(&self, db: DbId, keep: Keep) -> Result<History, StoreError> {
        self.through(Step::Trim, move |inner| {
            Box::pin(async move { inner.raise_floor(db, keep).await })
        })
        .await
    }

    async fn trim(&self, db: DbId, step: Trim) -> Result<Trimmed, StoreError> {
        self.through(Step::Trim, move |inner| Box::pin(async move { inner.trim(db, step).await }))
            .await
    }

    async fn pin(&self, db: DbId, txid: Txid, name: &str) -> Result<(), StoreError> {
        self.inner.pin(db, txid, name).await
    }

    async fn unpin(&self, db: DbId, txid: Txid, name: &str) -> Result<(), StoreError> {
        self.inner.unpin(db, txid, name).await
    }

    async fn take_over_import(&self, step: TakeoverStep) -> Result<TakenOver, StoreError> {
        self.through(Step::Import, move |inner| {
            let step = step.clone();
            Box::pin(async move { inner.take_over_import(step).await })
        })
        .await
    }

    async fn empty_import(&self, fence: Fence) -> Result<Emptied, StoreError> {
        self.through(Step::Import, move |inner| {
            Box::pin(async move { inner.empty_import(fence).await })
        })
        .await
    }

    async fn finish_import(&self, fence: Fence, base: Txid) -> Result<Head, StoreError> {
        self.through(Step::Import, move |inner| {
            Box::pin(async move { inner.finish_import(fence, base).await })
        })
        .await
    }

    async fn destroying(&self, max: usize) -> Result<Vec<ActorState>, StoreError> {
        self.inner.destroying(max).await
    }

    async fn destroy(&self, actor: &ActorId, fence: Fence) -> Result<Destroyed, StoreError> {
        self.through(Step::Destroy, |inner| {
            let actor = actor.clone();
            Box::pin(async move { inner.destroy(&actor, fence).await })
        })
        .await
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
        if self.stuck.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
    }
}
