//! One store with faults, two processes over it, one actor.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use stockade_depot::store::Ownership as _;
use stockade_depot::store::embedded::{Clock, EmbeddedStore};
use stockade_depot::store::{ActorState, PreviousEnd};
use stockade_depot::{
    ActorId, Depot, DepotLimits, Digest, Mark, NodeSession, OpenError, Opened, PAGE_SIZE,
    PageBytes, PageCount, Pgno, Session, Store, TokioParker,
};
use stockade_testkit::faulty_store::FaultyStore;
use tokio::runtime::Handle;

/// The component that every generation runs by default.
pub(crate) const COMPONENT: Digest = Digest([7; 32]);

pub(crate) struct World {
    pub(crate) store: Arc<FaultyStore>,
    /// One process.
    pub(crate) here: Arc<Depot>,
    /// Another process over the same store.
    pub(crate) there: Arc<Depot>,
    pub(crate) actor: ActorId,
}

/// Deadlines short enough to wait for.
pub(crate) fn limits() -> DepotLimits {
    DepotLimits {
        step_deadline: Duration::from_millis(800),
        read_deadline: Duration::from_millis(400),
        ..DepotLimits::default()
    }
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(limits())
    }

    /// An actor of its own name, for tests that look for their own lines in the log.
    pub(crate) fn named(key: &str) -> Self {
        Self { actor: ActorId::new("counter", key).unwrap(), ..Self::new() }
    }

    pub(crate) fn with(limits: DepotLimits) -> Self {
        Self::at(limits, Clock::system())
    }

    /// With a clock of the store's.
    pub(crate) fn at(limits: DepotLimits, clock: Clock) -> Self {
        Self::over(EmbeddedStore::in_memory_with_clock(4, clock).unwrap(), limits)
    }

    /// Over the given store.
    pub(crate) fn over(inner: EmbeddedStore, limits: DepotLimits) -> Self {
        let store = FaultyStore::new(Arc::new(inner));
        let depot = |node| {
            Depot::new(
                Arc::clone(&store) as Arc<dyn Store>,
                NodeSession([node; 16]),
                limits.clone(),
                Arc::new(TokioParker(Handle::current())),
                Handle::current(),
            )
        };
        Self {
            here: depot(1),
            there: depot(2),
            actor: ActorId::new("counter", "a").unwrap(),
            store,
        }
    }

    /// The actor, made and owned by `here`.
    pub(crate) async fn create(&self) -> Session {
        self.here.create(&self.actor, COMPONENT).await.unwrap().session
    }

    /// What the store says about the actor.
    pub(crate) async fn state(&self) -> ActorState {
        self.store.actor(&self.actor).await.unwrap().unwrap()
    }

    /// The same, asked until the store answers.
    pub(crate) async fn known_state(&self) -> ActorState {
        for _ in 0..100 {
            if let Ok(Some(state)) = self.store.actor(&self.actor).await {
                return state;
            }
        }
        panic!("the store does not answer");
    }

    /// `depot` takes the actor over from the owner that `state` names.
    pub(crate) async fn take_over_from(
        &self,
        state: ActorState,
        depot: &Arc<Depot>,
    ) -> Result<Opened, OpenError> {
        depot.take_over(&state, COMPONENT, PreviousEnd::Neutral).await
    }

    /// `depot` takes the actor over from its owner.
    pub(crate) async fn take_over(&self, depot: &Arc<Depot>) -> Result<Opened, OpenError> {
        depot.take_over(&self.state().await, COMPONENT, PreviousEnd::Neutral).await
    }

    /// `there` takes the actor over and succeeds.
    pub(crate) async fn steal(&self) -> Session {
        self.take_over(&self.there).await.unwrap().session
    }
}

/// A page full of `byte`.
pub(crate) fn page(byte: u8) -> PageBytes {
    Bytes::from(vec![byte; PAGE_SIZE])
}

/// Commits `pages` (number, byte), with `page_count` pages after it.
pub(crate) fn put(session: &Session, pages: &[(u32, u8)], page_count: u32) -> Mark {
    let bytes = u64::try_from(pages.len() * PAGE_SIZE).unwrap();
    session.prepare(bytes, PageCount(page_count)).unwrap();
    late_put(session, pages, page_count)
}

/// A publish without a prepare, as a stuck thread would send it.
pub(crate) fn late_put(session: &Session, pages: &[(u32, u8)], page_count: u32) -> Mark {
    let pages = pages.iter().map(|(pgno, byte)| (Pgno(*pgno), page(*byte))).collect();
    session.publish(pages, PageCount(page_count));
    session.mark()
}

/// The byte that page `pgno` is full of.
#[track_caller]
pub(crate) fn byte_of(session: &Session, pgno: u32) -> u8 {
    let bytes = session.read(Pgno(pgno)).unwrap();
    assert!(bytes.iter().all(|byte| *byte == bytes[0]), "page {pgno} is mixed");
    bytes[0]
}
