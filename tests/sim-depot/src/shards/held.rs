//! One database at a primary: an embedded store of its own, and the steps that have made it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::BoxFuture;
use stockade_depot::store::embedded::Clock;
use stockade_depot::store::layer::{Asked, Call};
use stockade_depot::store::{SealStep, TakeoverStep};
use stockade_depot::{ActorId, EmbeddedStore, Store, Token};

use super::{SHARDS, ShardRule};
use crate::journal::Journal;
use crate::world::STORE_MS;

/// What may be done with a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seal {
    /// Everything.
    Valid,
    /// The same; a mover gives it away if nothing is.
    Moving(Token),
    /// Nothing: the other primary has it, by the move of this version.
    Moved(u64),
    /// Nothing yet: a copy, of a mover.
    Arriving(Token),
}

/// A step that was done, and when.
#[derive(Clone)]
pub(super) struct Done {
    asked: Asked,
    at_ms: u64,
    again: Arc<dyn Fn(Arc<dyn Store>) -> BoxFuture<'static, ()> + Send + Sync>,
}

impl Done {
    pub(super) fn new<T: Send + 'static>(call: &Call<T>, at_ms: u64) -> Self {
        let (asked, call) = (call.about.asked, call.clone());
        let again = Arc::new(move |store: Arc<dyn Store>| -> BoxFuture<'static, ()> {
            let call = call.clone();
            Box::pin(async move { drop(call.apply(&store).await) })
        });
        Self { asked, at_ms, again }
    }

    /// A mover's own takeover.
    pub(super) fn of_takeover(step: TakeoverStep, at_ms: u64) -> Self {
        let again = Arc::new(move |store: Arc<dyn Store>| -> BoxFuture<'static, ()> {
            let step = step.clone();
            Box::pin(async move { drop(store.take_over(step).await) })
        });
        Self { asked: Asked::TakeOver, at_ms, again }
    }

    /// A mover's own seal: the next owner takes the database over from no owner.
    pub(super) fn of_seal(step: SealStep, at_ms: u64) -> Self {
        let again = Arc::new(move |store: Arc<dyn Store>| -> BoxFuture<'static, ()> {
            let step = step.clone();
            Box::pin(async move { drop(store.seal(step).await) })
        });
        Self { asked: Asked::Seal, at_ms, again }
    }

    /// Whether a step changes something.
    pub(super) fn changes(asked: Asked) -> bool {
        matches!(
            asked,
            Asked::Create
                | Asked::TakeOver
                | Asked::Seal
                | Asked::Claim
                | Asked::Stage
                | Asked::CollectStages
                | Asked::Commit
                | Asked::RaiseFloor
                | Asked::TrimPages
                | Asked::TrimCommits
                | Asked::Pin
                | Asked::Unpin
                | Asked::TakeOverImport
                | Asked::EmptyImport
                | Asked::FinishImport
                | Asked::Destroy
                | Asked::SettleDue
        )
    }
}

/// A database, or a copy on its way.
pub(super) struct Held {
    pub(super) actor: ActorId,
    pub(super) seal: Seal,
    pub(super) store: Arc<dyn Store>,
    pub(super) steps: Vec<Done>,
    /// How many there were when a mover took it, or when it was given away.
    pub(super) taken: usize,
    /// The moment of the store's clock; 0: that of the run.
    fixed_ms: Arc<AtomicU64>,
}

impl Held {
    /// Nothing is in it yet.
    pub(super) fn new(actor: ActorId, seal: Seal, journal: &Arc<Journal>) -> Self {
        let fixed_ms = Arc::new(AtomicU64::new(0));
        let (fixed, own) = (Arc::clone(&fixed_ms), Arc::clone(journal));
        let clock = Clock::new(move || match fixed.load(Ordering::SeqCst) {
            0 => now_ms(&own),
            fixed => fixed,
        });
        let store = Arc::new(EmbeddedStore::in_memory_with_clock(SHARDS, clock).unwrap());
        Self { actor, seal, store, steps: Vec::new(), taken: 0, fixed_ms }
    }

    /// Does the steps of a copy.
    pub(super) async fn fill(&mut self, off: Option<ShardRule>) {
        for done in &self.steps {
            if off == Some(ShardRule::Pins) && done.asked == Asked::Pin {
                continue;
            }
            self.fixed_ms.store(done.at_ms, Ordering::SeqCst);
            (done.again)(Arc::clone(&self.store)).await;
        }
        self.fixed_ms.store(0, Ordering::SeqCst);
    }
}

/// The clock of all stores. Never 0.
pub(super) fn now_ms(journal: &Journal) -> u64 {
    1 + journal.now_ms() * STORE_MS
}
