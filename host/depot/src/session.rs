//! A session: one generation's open database, as the VFS and the host see it.
//!
//! Invariants:
//! - S1: the pages that a session returns are those that its owner wrote, in order: from the newest
//!   of collected, in flight, cache, store.
//! - S2: an accepted transaction becomes durable or the session dies. It cannot be taken back from
//!   SQLite, so there is no third way.
//! - S3: the first cause of death is kept, and nothing is served after it, cached pages included.
//!
//! ```text
//!            read                      publish
//!              v                          v
//!   collected -> in flight -> cache   collected -> in flight -> durable
//!                               |                      |  one step at a time, see pump
//!                               v                      v
//!                             store                  store
//! ```
//! `read`, `prepare` and `publish` are called by one thread at a time: the one that runs SQLite.
//! Everything else may be called from anywhere, at any time.

mod ahead;
mod confirm;
mod death;
mod due;
mod gather;
mod pipeline;
mod preload;
mod prepare;
mod pump;
mod read;
mod seal;
mod stage;
mod verdict;

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::cache::CacheGroup;
use crate::cause::{Cause, PrepareError, ReadError, SealError};
use crate::error::{StoreError, StoreFailure};
use crate::fence::{Fence, Head};
use crate::id::{ActorId, Digest, PageCount, Pgno, Txid};
use crate::limits::{DepotLimits, PageShare, SessionLimits};
use crate::page::PageBytes;
use crate::parts::Parts;
use crate::reason::Reason;
use crate::retry::Retry;
use crate::source::LargePages;
use crate::store::Due;
use ahead::Ahead;
use death::Death;
pub use gather::Gathering;
use pipeline::{MarkState, Pipeline, Written};

/// A place in the order of accepted transactions: what has to be durable before an answer leaves.
/// The default is the place before the first. Marks of different sessions cannot be compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark(pub(crate) u64);

impl Mark {
    /// The place after the next transaction.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Whether a wait may continue.
type Patience = Box<dyn Fn() -> bool + Send + Sync>;

/// A generation's open database. Cloning is cheap and gives the same session.
#[derive(Clone)]
pub struct Session {
    shared: Arc<Shared>,
}

/// State that all clones of a session and its pump share.
struct Shared {
    parts: Arc<Parts>,
    actor: ActorId,
    fence: Fence,
    component: Digest,
    cache: CacheGroup,
    /// Whether the session's misses form a scan.
    ahead: Mutex<Ahead>,
    death: Death,
    pipeline: Mutex<Pipeline>,
    /// Something changed: a step ended, the session died, or waits were interrupted. Every waiter
    /// looks again.
    news: Notify,
    /// The session died: apart, so that a commit's news does not wake the tasks that wait for this
    /// alone.
    died: Notify,
    interrupts: AtomicU64,
    /// Whether threads that wait in `read` or `prepare` may continue to wait.
    patience: OnceLock<Patience>,
    /// Steps that the store has answered: the pipeline gets on.
    steps_done: AtomicU64,
    /// The limits of the session's kind, if they are lower than the depot's.
    narrowed: OnceLock<DepotLimits>,
    /// The pages that the databases of its kind may have together.
    share: OnceLock<PageShare>,
}

impl Session {
    /// The session of a head that the caller has just come to own.
    pub(crate) fn open(
        parts: &Arc<Parts>,
        actor: &ActorId,
        component: Digest,
        head: &Head,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                cache: parts.cache.open(head),
                parts: Arc::clone(parts),
                actor: actor.clone(),
                ahead: Mutex::default(),
                fence: head.fence,
                component,
                death: Death::default(),
                pipeline: Mutex::new(Pipeline::new(head)),
                news: Notify::new(),
                died: Notify::new(),
                interrupts: AtomicU64::new(0),
                patience: OnceLock::new(),
                steps_done: AtomicU64::new(0),
                narrowed: OnceLock::new(),
                share: OnceLock::new(),
            }),
        }
    }

    /// Reads the pages ahead that a wake asks for first, if the store is remote. Returns when they
    /// are cached, or after `preload_deadline`; the session is dead if the store said so.
    pub(crate) async fn preload(&self) {
        self.shared.preload(self.limits().preload_deadline).await;
    }

    /// Reads the first pages of a remote store's database again, for a guest that cannot wait inside of
    /// a read: that of a simulation. Takes as long as a read may take.
    #[doc(hidden)]
    pub async fn load_first_pages(&self) {
        self.shared.preload(self.limits().read_deadline).await;
    }

    /// Looks for what large commits of earlier generations left behind, and deletes it whenever the
    /// pipeline has nothing else to do.
    pub(crate) fn collect_leftovers(&self) {
        pump::collect_leftovers(&self.shared);
    }

    /// The fence that every step of this session carries.
    #[must_use]
    pub fn fence(&self) -> Fence {
        self.shared.fence
    }

    /// The limits that apply to this session.
    #[must_use]
    pub fn limits(&self) -> &DepotLimits {
        self.shared.limits()
    }

    /// Lowers the limits of this session; what is above the depot's own stays as it is. The first
    /// call counts, and belongs before the database is opened.
    pub fn narrow(&self, limits: SessionLimits) {
        // A second call changes nothing: limits that were read must not move.
        let _ = self.shared.narrowed.set(limits.within(&self.shared.parts.limits));
        if let Some(share) = limits.share {
            let _ = self.shared.share.set(share);
        }
    }

    // --- for the VFS ---------------------------------------------------------------------------

    /// Pages after the last accepted transaction.
    #[must_use]
    pub fn page_count(&self) -> PageCount {
        self.shared.pipeline.lock().page_count
    }

    /// One page, as of the last accepted transaction. May wait, through the depot's parker; every
    /// wait ends on death, interrupt or deadline.
    ///
    /// # Errors
    /// `Dead` first of all, whatever is cached. `PastEnd` for a page above the page count, which
    /// SQLite wants as zeros. `Unavailable`, `Overloaded` and `Interrupted` leave the session
    /// alive.
    pub fn read(&self, pgno: Pgno) -> Result<PageBytes, ReadError> {
        self.shared.read(pgno)
    }

    /// Whether a transaction of `bytes` changed bytes that leaves `page_count` pages may be
    /// committed. Waits while the pipeline is full.
    ///
    /// # Errors
    /// Any: SQLite rolls the transaction back and the session continues, unless it is `Dead`.
    pub fn prepare(&self, bytes: u64, page_count: PageCount) -> Result<(), PrepareError> {
        let prepared = self.shared.prepare(bytes, page_count);
        if prepared.is_err() {
            self.forget_due();
        }
        prepared
    }

    /// Accepts a transaction: it starts the next step, or joins it. Each page once; pages that a
    /// growing transaction left out become zeros.
    ///
    /// Cannot fail softly: from here on the transaction becomes durable or the session dies. On a
    /// dead session it is dropped, and `durable` of the mark after it never succeeds.
    pub fn publish(&self, pages: Vec<(Pgno, PageBytes)>, page_count: PageCount) {
        pump::publish(&self.shared, Written::Pages(pages), page_count);
    }

    /// [`Session::publish`] of a transaction that is not in memory. It becomes a commit of its own,
    /// staged in steps of `step_bytes_max`, and is read back from `pages` until it is durable.
    pub fn publish_large(&self, pages: Arc<dyn LargePages>, page_count: PageCount) {
        pump::publish(&self.shared, Written::Source(pages), page_count);
    }

    /// Waits until no transaction of this session is on its way that does not fit into one step.
    /// Called before the next one of that size goes to disk, so that there is one of them at a
    /// time.
    ///
    /// # Errors
    /// As [`Session::prepare`]. `Unavailable` if the one before gets no further.
    pub fn room_for_large(&self) -> Result<(), PrepareError> {
        self.shared.room_for_large()
    }

    /// Every wait of `read` and `prepare` ends with `Interrupted` soon after `may` says no: it is
    /// asked now and then while one lasts, from any thread. The first call counts, and belongs
    /// before the database is opened. The session keeps `may`, which must not keep the session.
    pub fn wait_while(&self, may: impl Fn() -> bool + Send + Sync + 'static) {
        // As with `narrow`.
        let _ = self.shared.patience.set(Box::new(may));
    }

    /// Ends the waits that `read` and `prepare` of this session are in now, with `Interrupted`.
    /// Later ones are not touched.
    pub fn interrupt(&self) {
        self.shared.interrupts.fetch_add(1, Ordering::AcqRel);
        self.shared.news.notify_waiters();
    }

    /// What the next transaction that is published says of the actor's due time, from a look at all
    /// of its due work: milliseconds since the Unix epoch, `None` if nothing is due. For a caller
    /// that is about to commit a transaction which has touched due work. Called twice, the second
    /// call counts; the value reaches the store with the transaction's pages, and dies with them.
    ///
    /// The caller calls [`Session::forget_due`] once the statement that commits has ended: it may
    /// have been refused before anything was published.
    pub fn set_due(&self, due: Option<i64>) {
        self.shared.pipeline.lock().set_due(Due::found(due));
    }

    /// Takes [`Session::set_due`] back if no transaction has carried it.
    pub fn forget_due(&self) {
        self.shared.pipeline.lock().set_due(Due::Untouched);
    }

    // --- for the host --------------------------------------------------------------------------

    /// Whether the session is dead or closed: one atomic load.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.shared.death.is_dead()
    }

    /// The first cause; it never changes.
    #[must_use]
    pub fn cause(&self) -> Option<Cause> {
        self.shared.death.cause()
    }

    /// When the first cause became known here.
    #[must_use]
    pub fn dead_since(&self) -> Option<Instant> {
        self.shared.death.since()
    }

    /// Everything accepted so far.
    #[must_use]
    pub fn mark(&self) -> Mark {
        self.shared.pipeline.lock().mark()
    }

    /// The last durable commit.
    #[must_use]
    pub fn durable_txid(&self) -> Txid {
        self.shared.pipeline.lock().durable_txid
    }

    /// Waits until everything up to `mark` is durable. Takes at most the pipeline's deadlines (one
    /// for each step of a large commit): on a closed session as well, since what it accepted runs
    /// to its verdict.
    ///
    /// # Errors
    /// The transactions up to `mark` are not all durable; [`Cause::verdict`] tells what is known
    /// about the last of them. What became durable before the session died stays `Ok`.
    pub async fn durable(&self, mark: Mark) -> Result<Txid, Cause> {
        loop {
            let news = self.shared.news.notified();
            tokio::pin!(news);
            news.as_mut().enable();
            match self.shared.mark_state(mark) {
                MarkState::Durable(txid) => return Ok(txid),
                MarkState::Lost(cause) => return Err(cause),
                MarkState::Waiting => news.await,
            }
        }
    }

    /// Holds back what is accepted from now on, so that it becomes one step: for work that commits
    /// several times and does not wait in between. One at a time.
    #[must_use]
    pub fn gather(&self) -> Gathering {
        Gathering::begin(&self.shared)
    }

    /// Asks the store whether this session still owns its database, with a request that is sent
    /// after this call began. Shared with the other sessions of the process.
    ///
    /// A session that was closed in order may still ask: effects of earlier calls wait for it.
    ///
    /// # Errors
    /// A mismatch kills the session. `Unconfirmed`: the store did not answer within the step
    /// deadline; the session lives.
    pub async fn confirm(&self) -> Result<(), Cause> {
        self.shared.confirm().await
    }

    /// Writes the actor's due time, which the caller has found to be wrong: `due` is what its database
    /// said as of `mark`. `false`: something was accepted or committed after that, or is not durable
    /// yet, and nothing was written; the caller looks again. Takes at most the step deadline.
    ///
    /// # Errors
    /// A mismatch kills the session. `Unconfirmed`: the store did not answer in time, or does not
    /// keep due work; the session lives.
    pub async fn settle_due(&self, mark: Mark, due: Option<i64>) -> Result<bool, Cause> {
        self.shared.settle_due(mark, due).await
    }

    /// Waits for the pipeline, then ends the generation in the store and hands `snapshot` over.
    /// Nothing is accepted from the moment of the call. Works on a session that was closed.
    ///
    /// # Errors
    /// `SnapshotTooLarge` before anything is done. `Dead`: not known to be sealed.
    pub async fn seal(&self, snapshot: Option<Vec<u8>>) -> Result<Head, SealError> {
        pump::send_gathered(&self.shared);
        seal::seal(&self.shared, snapshot, None).await
    }

    /// [`Session::seal`] without a snapshot, which appoints the next generation in the same step.
    /// [`crate::Depot::inherit`] begins it from the head that this returns, unless the store has
    /// sealed without an heir: see [`Head::is_heir`].
    ///
    /// # Errors
    /// As [`Session::seal`].
    pub async fn seal_for_heir(&self) -> Result<Head, SealError> {
        // Without randomness the next generation is won by a takeover, as ever.
        let heir = self.shared.parts.random.token().ok();
        pump::send_gathered(&self.shared);
        seal::seal(&self.shared, None, heir).await
    }

    /// Refuses reads and transactions from now on and ends all waits in SQLite. What was accepted
    /// runs to its verdict. Idempotent; the first cause stays.
    pub fn close(&self, reason: Reason) {
        pump::send_gathered(&self.shared);
        self.shared.die(Cause::Closed(reason), "close");
    }

    /// Ends the session fatally: the store under the process has failed. What is on its way to the
    /// store runs to its verdict, what was not sent is dropped. The first cause stays.
    pub fn fail(&self, failure: StoreFailure) {
        self.shared.die(Cause::Failed(failure), "store failure");
    }

    /// Resolves with the first cause.
    pub fn on_death(&self) -> impl Future<Output = Cause> + Send + 'static {
        let shared = Arc::clone(&self.shared);
        async move {
            loop {
                let died = shared.died.notified();
                tokio::pin!(died);
                died.as_mut().enable();
                if let Some(cause) = shared.death.cause() {
                    return cause;
                }
                died.await;
            }
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("actor", &self.shared.actor)
            .field("fence", &self.shared.fence)
            .field("cause", &self.cause())
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// The limits that apply to this session.
    fn limits(&self) -> &DepotLimits {
        self.narrowed.get().unwrap_or_else(|| &self.parts.limits)
    }

    /// The retry policy of a step that is sent from now on.
    fn retry(&self) -> Retry {
        Retry::new(self.limits().step_deadline, &self.parts.random)
    }

    /// Records a cause if it is the first, logs what is news, and wakes all waiters.
    /// `during` names the operation that found the cause.
    fn die(&self, cause: Cause, during: &str) {
        let fatal = cause.is_fatal();
        let news = self.death.set(cause);
        if fatal {
            self.pipeline.lock().give_up();
        }
        if let Some(cause) = news {
            self.log(&cause, during);
        }
        self.news.notify_waiters();
        self.died.notify_waiters();
    }

    fn log(&self, cause: &Cause, during: &str) {
        let (actor, db, generation) = (&self.actor, self.fence.db, self.fence.generation);
        match cause {
            // A failed or full store is logged once, not by each session.
            Cause::Closed(_)
            | Cause::Sealed
            | Cause::Unconfirmed(_)
            | Cause::Failed(_)
            | Cause::CommitLost { error: StoreError::Full(_) | StoreError::Failed(_), .. } => {
                tracing::debug!(%actor, %db, %generation, during, %cause, "session ended");
            }
            Cause::Fenced(mismatch) => {
                tracing::error!(
                    %actor, %db, %generation, during,
                    expected = ?mismatch.expected, expected_txid = %mismatch.expected_txid,
                    actual = ?mismatch.actual, actual_txid = %mismatch.actual_txid,
                    sealed = mismatch.sealed, "session fenced"
                );
            }
            Cause::CommitLost { .. } | Cause::Corrupt(_) | Cause::Gone(_) => {
                tracing::error!(%actor, %db, %generation, during, %cause, "session died");
            }
        }
    }

    fn mark_state(&self, mark: Mark) -> MarkState {
        // The cause first: if it comes right after, its news is still ahead of us.
        let (cause, fatal) = (self.death.cause(), self.death.is_fatal());
        self.pipeline.lock().mark_state(mark, cause, fatal)
    }

    fn steps_done(&self) -> u64 {
        self.steps_done.load(Ordering::Acquire)
    }

    fn step_done(&self) {
        self.steps_done.fetch_add(1, Ordering::AcqRel);
    }

    fn interrupts(&self) -> u64 {
        self.interrupts.load(Ordering::Acquire)
    }
}
