//! A store that fails on demand: at the n-th call of one step, in one of the ways in which a
//! network and a database fail.
//!
//! An armed fault that does not fire fails the test: [`Armed`] panics when it is dropped unfired.
//!
//! ```text
//! Unavailable   not applied, and the caller knows
//! LostRequest   not applied, the caller gets Unknown
//! LostAnswer    applied, the caller gets Unknown
//! Late          the caller gets Unknown immediately; applied when the test delivers it
//! Hold          applied and answered when the test releases it
//! HoldAnswer    applied immediately, answered when the test releases it
//! Twice         applied twice, the caller gets the second answer
//! ```
//! Each pair of step and fault is a [`Point`] with a [`FaultClass`]: the outcomes that its caller
//! may report. Tests walk over all points of a class with [`points`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use stockade_depot::StoreError;
use stockade_depot::store::Store;
use stockade_depot::store::layer::{Asked, Call, Layer};
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
    /// `Store::claim`
    Claim,
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
    /// `Store::raise_floor`, `Store::superseded`, `Store::trim_pages`, `Store::trim_commits`
    Trim,
    /// `Store::take_over_import`, `Store::empty_import`, `Store::finish_import`
    Import,
    /// `Store::settle_due`
    SettleDue,
}

impl Step {
    /// Every step.
    pub const ALL: [Self; 15] = [
        Self::Create,
        Self::Actor,
        Self::TakeOver,
        Self::Confirm,
        Self::Seal,
        Self::Claim,
        Self::Read,
        Self::Commit,
        Self::Verdict,
        Self::Destroy,
        Self::Stage,
        Self::CollectStages,
        Self::Trim,
        Self::Import,
        Self::SettleDue,
    ];

    /// The step of a question to the store; `None`: a question that never fails here.
    fn of(asked: Asked) -> Option<Self> {
        Some(match asked {
            Asked::Create => Self::Create,
            Asked::Actor => Self::Actor,
            Asked::TakeOver => Self::TakeOver,
            Asked::Confirm => Self::Confirm,
            Asked::Seal => Self::Seal,
            Asked::Claim => Self::Claim,
            Asked::Read => Self::Read,
            Asked::Commit => Self::Commit,
            Asked::Verdict => Self::Verdict,
            Asked::Destroy => Self::Destroy,
            Asked::Stage => Self::Stage,
            Asked::CollectStages => Self::CollectStages,
            Asked::RaiseFloor | Asked::Superseded | Asked::TrimPages | Asked::TrimCommits => {
                Self::Trim
            }
            Asked::TakeOverImport | Asked::EmptyImport | Asked::FinishImport => Self::Import,
            Asked::SettleDue => Self::SettleDue,
            Asked::ReadAt
            | Asked::Commits
            | Asked::CommitPages
            | Asked::History
            | Asked::Pin
            | Asked::Unpin
            | Asked::Actors
            | Asked::Count
            | Asked::Destroying
            | Asked::RowsOf
            | Asked::Due
            | Asked::PutComponent
            | Asked::Component
            | Asked::PutKind
            | Asked::Kind
            | Asked::Kinds
            | Asked::RemoveKind
            | Asked::NodeBeat
            | Asked::Nodes
            | Asked::NodeGone
            | Asked::Check => return None,
        })
    }

    /// Whether the step changes the store.
    #[must_use]
    pub fn writes(self) -> bool {
        match self {
            Self::Create
            | Self::TakeOver
            | Self::Seal
            | Self::Claim
            | Self::Commit
            | Self::Destroy
            | Self::Stage
            | Self::CollectStages
            | Self::Trim
            | Self::Import
            | Self::SettleDue => true,
            Self::Actor | Self::Confirm | Self::Read | Self::Verdict => false,
        }
    }
}

/// How a step fails. See the picture above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Not applied, and the caller knows.
    Unavailable,
    /// Not applied; the caller gets `Unknown`.
    LostRequest,
    /// Applied; the caller gets `Unknown`.
    LostAnswer,
    /// The caller gets `Unknown` immediately; applied by [`Armed::deliver`].
    Late,
    /// Waits for [`Armed::release`], then continues.
    Hold,
    /// Applied immediately; the answer waits for [`Armed::release`].
    HoldAnswer,
    /// Applied twice; the caller gets the second answer.
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

    /// The class of this fault in `step`.
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

/// When a fault strikes, and with it what the caller of the step may report in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultClass {
    /// Nothing was written yet: the step may be sent again, or given up as certainly not applied.
    BeforeDurable,
    /// The caller cannot know whether the step was applied: it must ask, or else report the outcome
    /// as unknown.
    Ambiguous,
    /// The step is written, whatever the answer says: it must never be reported as lost.
    AfterDurable,
    /// There is nothing to write: the step may be repeated without end.
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
    /// The class, derived from both.
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

/// Which call of which step fails, how, and which test waits for it.
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
    /// A wrapper that lets everything through until a fault is armed.
    pub fn new(inner: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            remote: AtomicBool::new(false),
            stuck: AtomicBool::new(false),
            calls: Default::default(),
            armed: Mutex::default(),
        })
    }

    /// From now on `close` does not return.
    pub fn never_close(&self) {
        self.stuck.store(true, Ordering::SeqCst);
    }

    /// From now on the store reports that its reads cross a network.
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

    /// Makes every call of `step` fail until the returned value is dropped. Must fire at least
    /// once.
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

    /// Removes a fault, whether it fired or not: for tests that arm at random.
    pub fn disarm(&self, armed: Armed) {
        self.armed.lock().retain(|(.., shot)| !Arc::ptr_eq(shot, &armed.shot));
        armed.shot.fired.send_replace(true);
    }

    /// How often `step` has been called.
    pub fn calls(&self, step: Step) -> u64 {
        self.calls[step as usize].load(Ordering::SeqCst)
    }

    /// Counts a call; returns its fault, if one is armed for it.
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

/// A fault that lasts until this value is dropped.
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

    /// Lets a held call continue.
    pub fn release(&self) {
        self.shot.released.send_replace(true);
    }

    /// Applies a late step now, if the fault has fired and is a `Late` one.
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

impl Layer for FaultyStore {
    fn beneath(&self) -> &Arc<dyn Store> {
        &self.inner
    }

    async fn through<T: Send + 'static>(&self, call: Call<T>) -> Result<T, StoreError> {
        let hit = Step::of(call.about.asked).and_then(|step| self.count(step));
        let Some((fault, shot)) = hit else {
            return call.apply(&self.inner).await;
        };
        let unknown = Err(StoreError::Unknown(format!("{fault:?}")));
        // The fault has fired when its effect on the store is complete.
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
                let _lost = call.apply(&self.inner).await;
                fired();
                unknown
            }
            Fault::Late => {
                let late = call.apply(&self.inner);
                *shot.late.lock() = Some(Box::pin(async {
                    let _lost = late.await;
                }));
                fired();
                unknown
            }
            Fault::Hold => {
                fired();
                shot.wait_released().await;
                call.apply(&self.inner).await
            }
            Fault::HoldAnswer => {
                let answer = call.apply(&self.inner).await;
                fired();
                shot.wait_released().await;
                answer
            }
            Fault::Twice => {
                let _first = call.apply(&self.inner).await;
                let second = call.apply(&self.inner).await;
                fired();
                second
            }
        }
    }

    fn is_remote(&self) -> bool {
        self.remote.load(Ordering::SeqCst) || self.inner.reads_are_remote()
    }

    async fn close_beneath(&self) {
        self.inner.close().await;
        if self.stuck.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
    }
}
