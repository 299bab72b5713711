//! A store that fails where a test says: the Nth step of a sort is refused, lost, repeated or held.
//!
//! Everything else goes to the real store underneath. An armed fault must fire: dropping its handle
//! before that fails the test.
//!
//! ```text
//!  depot ──> FaultyStore ── before the engine: Unavailable, LoseRequest, Refuse, Hold
//!                 │
//!                 └──> engine ── after it: LoseAnswer, Twice, HoldAnswer
//! ```

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use stockade_depot::store::{
    ActorState, CommitRow, CommitStep, CreateStep, Created, Destroyed, KindRow, PageVersion,
    PagesRead, SealStep, TakenOver, TakeoverStep,
};
use stockade_depot::{
    ActorId, DbId, Digest, Fence, Head, NodeSession, Pgno, Store, StoreError, Txid,
};
use tokio::sync::watch;

/// A sort of step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// `Store::create`.
    Create,
    /// `Store::actor`.
    Actor,
    /// `Store::take_over`.
    TakeOver,
    /// `Store::confirm`.
    Confirm,
    /// `Store::seal`.
    Seal,
    /// `Store::read`.
    Read,
    /// `Store::commit`.
    Commit,
    /// `Store::verdict`.
    Verdict,
    /// `Store::destroy`.
    Destroy,
}

/// What happens to a step.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Before durable: refused, surely not applied.
    Unavailable,
    /// Ambiguous: the request is lost, the caller learns only that.
    LoseRequest,
    /// Before durable: refused for good.
    Refuse(StoreError),
    /// Before durable: waits until it is released, then goes on.
    Hold,
    /// Ambiguous: applied, but the answer is lost.
    LoseAnswer,
    /// After durable: the request arrives twice; the caller gets the second answer.
    Twice,
    /// After durable: applied, and the answer waits until it is released.
    HoldAnswer,
}

/// Where a fault stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Armed,
    Fired,
    Released,
}

struct Armed {
    step: Step,
    /// Steps of that sort still to come before it fires.
    skip: usize,
    fault: Fault,
    stage: watch::Sender<Stage>,
}

/// A store with faults over a real one.
pub struct FaultyStore {
    inner: Arc<dyn Store>,
    armed: Mutex<Vec<Armed>>,
    log: Mutex<Vec<Step>>,
}

impl fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyStore").field("log", &self.log.lock()).finish_non_exhaustive()
    }
}

/// An armed fault. It must fire before this is dropped.
#[must_use = "an armed fault must fire: keep the handle and ask it"]
#[derive(Debug)]
pub struct ArmedFault {
    what: String,
    stage: watch::Sender<Stage>,
}

impl FaultyStore {
    /// No faults yet: every step goes through.
    #[must_use]
    pub fn new(inner: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self { inner, armed: Mutex::default(), log: Mutex::default() })
    }

    /// Arms `fault` for the `nth` step of this sort from now on, counted from 1.
    ///
    /// # Panics
    /// If `nth` is 0.
    pub fn arm(&self, step: Step, nth: usize, fault: Fault) -> ArmedFault {
        assert!(nth > 0, "the next step is number 1");
        let what = format!("{fault:?} at {step:?} number {nth}");
        let stage = watch::Sender::new(Stage::Armed);
        self.armed.lock().push(Armed { step, skip: nth - 1, fault, stage: stage.clone() });
        ArmedFault { what, stage }
    }

    /// How many steps of this sort arrived so far.
    #[must_use]
    pub fn count(&self, step: Step) -> usize {
        self.log.lock().iter().filter(|seen| **seen == step).count()
    }

    /// Notes the step; the fault that it meets, if any.
    fn meet(&self, step: Step) -> Option<(Fault, watch::Sender<Stage>)> {
        self.log.lock().push(step);
        let mut armed = self.armed.lock();
        let mut met = None;
        armed.retain_mut(|fault| {
            if fault.step != step {
                return true;
            }
            if fault.skip > 0 || met.is_some() {
                fault.skip = fault.skip.saturating_sub(1);
                return true;
            }
            met = Some((fault.fault.clone(), fault.stage.clone()));
            false
        });
        met
    }

    /// Runs a step with the fault it meets. `run` may be called twice.
    async fn through<'a, T, F>(&'a self, step: Step, run: F) -> Result<T, StoreError>
    where
        F: Fn() -> BoxFuture<'a, Result<T, StoreError>> + Send + Sync,
        T: Send,
    {
        let Some((fault, stage)) = self.meet(step) else {
            return run().await;
        };
        match fault {
            Fault::Unavailable => {
                stage.send_replace(Stage::Fired);
                Err(StoreError::Unavailable("armed fault".into()))
            }
            Fault::LoseRequest => {
                stage.send_replace(Stage::Fired);
                Err(StoreError::Unknown("armed fault: request lost".into()))
            }
            Fault::Refuse(error) => {
                stage.send_replace(Stage::Fired);
                Err(error)
            }
            Fault::Hold => {
                hold(&stage).await;
                run().await
            }
            Fault::LoseAnswer => {
                let answer = run().await;
                stage.send_replace(Stage::Fired);
                answer.and(Err(StoreError::Unknown("armed fault: answer lost".into())))
            }
            Fault::Twice => {
                let _first = run().await;
                stage.send_replace(Stage::Fired);
                run().await
            }
            Fault::HoldAnswer => {
                let answer = run().await;
                hold(&stage).await;
                answer
            }
        }
    }
}

async fn hold(stage: &watch::Sender<Stage>) {
    stage.send_if_modified(|stage| {
        let fires = *stage == Stage::Armed;
        if fires {
            *stage = Stage::Fired;
        }
        fires
    });
    let mut seen = stage.subscribe();
    seen.wait_for(|stage| *stage == Stage::Released).await.expect("BUG: we hold a sender");
}

impl ArmedFault {
    /// Resolves when the fault has fired: for a hold, when the step is waiting.
    pub async fn fired(&self) {
        let mut seen = self.stage.subscribe();
        seen.wait_for(|stage| *stage >= Stage::Fired).await.expect("BUG: we hold a sender");
    }

    /// Whether it has fired.
    #[must_use]
    pub fn has_fired(&self) -> bool {
        *self.stage.borrow() >= Stage::Fired
    }

    /// Lets a held step go on.
    ///
    /// # Panics
    /// If it has not fired.
    pub fn release(&self) {
        assert!(self.has_fired(), "nothing is held by {}", self.what);
        self.stage.send_replace(Stage::Released);
    }
}

impl Drop for ArmedFault {
    fn drop(&mut self) {
        let fired = self.has_fired();
        // A step must not hang because its test ended.
        self.stage.send_replace(Stage::Released);
        assert!(fired || std::thread::panicking(), "armed fault never fired: {}", self.what);
    }
}

#[async_trait]
impl Store for FaultyStore {
    fn shards(&self) -> u8 {
        self.inner.shards()
    }

    async fn create(&self, step: CreateStep) -> Result<Created, StoreError> {
        self.through(Step::Create, || self.inner.create(step.clone())).await
    }

    async fn actor(&self, actor: &ActorId) -> Result<Option<ActorState>, StoreError> {
        let actor = actor.clone();
        self.through(Step::Actor, || {
            let actor = actor.clone();
            Box::pin(async move { self.inner.actor(&actor).await })
        })
        .await
    }

    async fn take_over(&self, step: TakeoverStep) -> Result<TakenOver, StoreError> {
        self.through(Step::TakeOver, || self.inner.take_over(step.clone())).await
    }

    async fn confirm(&self, fences: &[Fence]) -> Result<Vec<Result<(), StoreError>>, StoreError> {
        self.through(Step::Confirm, || {
            let fences = fences.to_vec();
            Box::pin(async move { self.inner.confirm(&fences).await })
        })
        .await
    }

    async fn seal(&self, step: SealStep) -> Result<Head, StoreError> {
        self.through(Step::Seal, || self.inner.seal(step.clone())).await
    }

    async fn read(&self, fence: Fence, at: Txid, pages: &[Pgno]) -> Result<PagesRead, StoreError> {
        self.through(Step::Read, || {
            let pages = pages.to_vec();
            Box::pin(async move { self.inner.read(fence, at, &pages).await })
        })
        .await
    }

    async fn commit(&self, step: CommitStep) -> Result<(), StoreError> {
        self.through(Step::Commit, || self.inner.commit(step.clone())).await
    }

    async fn verdict(
        &self,
        db: DbId,
        txid: Txid,
    ) -> Result<(Option<Head>, Option<CommitRow>), StoreError> {
        self.through(Step::Verdict, || self.inner.verdict(db, txid)).await
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

    async fn commit_pages(&self, db: DbId, txid: Txid) -> Result<Vec<PageVersion>, StoreError> {
        self.inner.commit_pages(db, txid).await
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
        let actor = actor.clone();
        self.through(Step::Destroy, || {
            let actor = actor.clone();
            Box::pin(async move { self.inner.destroy(&actor, fence).await })
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
    }
}
