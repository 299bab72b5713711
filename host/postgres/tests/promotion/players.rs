//! Two processes that write all actors, and take them over from each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use stockade_depot::store::PreviousEnd;
use stockade_depot::{
    Depot, DepotLimits, Digest, NodeSession, OpenError, PAGE_SIZE, PageBytes, PageCount, Pgno,
    Reason, Session, TokioParker,
};
use stockade_testkit::random::Random;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::ACTORS;
use crate::ledger::{self, Ledger};
use crate::stage::Stage;

const COMPONENT: Digest = Digest([7; 32]);
/// Pages of an actor; a large commit writes all of them.
const PAGES: u32 = 40;
/// Bytes of a step: a large commit is staged in five of them.
const STEP_BYTES: u64 = 8 * PAGE_SIZE as u64;
/// Of so many commits one is large.
const LARGE_ONE_IN: u64 = 20;
/// Of so many commits one is the last before the owner is idle.
const IDLE_ONE_IN: u64 = 8;

/// The writers of both processes.
pub(crate) struct Players {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

/// One process's writer of one actor.
struct Player {
    n: u64,
    depot: Arc<Depot>,
    ledger: Arc<Ledger>,
    versions: Arc<AtomicU64>,
    random: Random,
}

impl Players {
    /// Makes all actors, and starts to write them.
    pub(crate) async fn start(stage: &Stage, ledger: &Arc<Ledger>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let versions = Arc::new(AtomicU64::new(1));
        let mut tasks = Vec::new();
        for node in 1..=2_u8 {
            let store = stage.open().await;
            let limits = DepotLimits { step_bytes_max: STEP_BYTES, ..DepotLimits::default() };
            let parker = Arc::new(TokioParker(Handle::current()));
            let depot =
                Depot::new(store, NodeSession([node; 16]), limits, parker, Handle::current());
            for n in 0..ACTORS {
                let player = Player {
                    n,
                    depot: Arc::clone(&depot),
                    ledger: Arc::clone(ledger),
                    versions: Arc::clone(&versions),
                    random: Random::new(u64::from(node) << 32 | n),
                };
                let first = (node == 1).then(|| ledger::actor(n));
                if let Some(actor) = first {
                    let asked = ledger.ask(n);
                    let session = depot.create(&actor, COMPONENT).await.unwrap().session;
                    ledger.owned(n, asked, session.fence());
                    session.close(Reason::Operator);
                }
                tasks.push(tokio::spawn(player.play(Arc::clone(&stop))));
            }
        }
        Self { stop, tasks }
    }

    /// Ends them; a surprise of any of them is the test's.
    pub(crate) async fn stop(self) {
        self.stop.store(true, Ordering::SeqCst);
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}

impl Player {
    async fn play(mut self, stop: Arc<AtomicBool>) {
        while !stop.load(Ordering::SeqCst) {
            self.pause(150).await;
            if let Some(session) = self.take_over().await {
                self.write(&session, &stop).await;
                session.close(Reason::Operator);
            }
        }
    }

    /// A time up to `ms` milliseconds, and half of it at least.
    async fn pause(&mut self, ms: u64) {
        let ms = ms / 2 + self.random.below(ms / 2);
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }

    /// Takes the actor over from its owner, who may be alive.
    async fn take_over(&self) -> Option<Session> {
        let state = self.depot.store().actor(&ledger::actor(self.n)).await.ok()??;
        let asked = self.ledger.ask(self.n);
        match self.depot.take_over(&state, COMPONENT, PreviousEnd::Neutral).await {
            Ok(opened) => {
                self.ledger.owned(self.n, asked, opened.session.fence());
                Some(opened.session)
            }
            Err(OpenError::Superseded { .. } | OpenError::Store(_)) => None,
            Err(other) => panic!("actor {}: {other:?}", self.n),
        }
    }

    /// Commits until the session ends, or for a while.
    async fn write(&mut self, session: &Session, stop: &AtomicBool) {
        while !stop.load(Ordering::SeqCst) {
            let version = self.versions.fetch_add(1, Ordering::Relaxed);
            let is_large = self.random.one_in(LARGE_ONE_IN) || session.page_count().0 == 0;
            let asked = self.ledger.ask(self.n);
            if !put(session, version, if is_large { PAGES } else { 1 }) {
                return;
            }
            match session.durable(session.mark()).await {
                Ok(txid) => {
                    self.ledger.committed(self.n, asked, session.fence(), txid, version);
                    if is_large {
                        self.ledger.large();
                    }
                }
                Err(_) => return self.ledger.lost(),
            }
            let asked = self.ledger.ask(self.n);
            if session.confirm().await.is_ok() {
                self.ledger.confirmed(self.n, asked, session.fence());
            }
            if self.random.one_in(IDLE_ONE_IN) {
                return;
            }
        }
    }
}

/// Hands a version of the first pages to the session. `false`: the session has ended.
fn put(session: &Session, version: u64, pages: u32) -> bool {
    let bytes = u64::from(pages) * PAGE_SIZE as u64;
    let count = PageCount(session.page_count().0.max(pages));
    if session.prepare(bytes, count).is_err() {
        return false;
    }
    let page = PageBytes::from(ledger::content(version));
    session.publish((1..=pages).map(|pgno| (Pgno(pgno), page.clone())).collect(), count);
    true
}
