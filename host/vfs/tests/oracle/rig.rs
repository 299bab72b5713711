//! A depot over a store in memory, and the generations of one actor on it.

use std::sync::Arc;
use std::time::Duration;

use stockade_depot::store::{Pages as _, PreviousEnd};
use stockade_depot::{
    ActorId, Depot, DepotLimits, Digest, EmbeddedStore, NodeSession, PageBytes, Pgno, Session,
    Store, TokioParker,
};
use stockade_testkit::faulty_store::FaultyStore;
use stockade_vfs::{OpenDatabase, VfsOptions};
use tempfile::TempDir;
use tokio::runtime::Runtime;

pub(crate) struct Rig {
    pub(crate) runtime: Runtime,
    pub(crate) faults: Arc<FaultyStore>,
    pub(crate) limits: DepotLimits,
    pub(crate) options: VfsOptions,
    actor: ActorId,
    _scratch: TempDir,
}

/// Limits under which each page miss asks the store, and failures are quick.
pub(crate) fn quick_limits() -> DepotLimits {
    DepotLimits {
        read_deadline: Duration::from_millis(5),
        cache_bytes_max: 0,
        ..DepotLimits::default()
    }
}

impl Rig {
    pub(crate) fn new(limits: DepotLimits, adjust: impl FnOnce(&mut VfsOptions)) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let scratch = tempfile::tempdir().unwrap();
        let mut options = VfsOptions::new(scratch.path());
        adjust(&mut options);
        Self {
            runtime,
            faults: FaultyStore::new(Arc::new(EmbeddedStore::in_memory(1).unwrap())),
            limits,
            options,
            actor: ActorId::new("oracle", "one").unwrap(),
            _scratch: scratch,
        }
    }

    /// A depot of its own: nothing cached, as another process would have it.
    fn depot(&self) -> Arc<Depot> {
        Depot::new(
            Arc::clone(&self.faults) as Arc<dyn Store>,
            NodeSession([1; 16]),
            self.limits.clone(),
            Arc::new(TokioParker(self.runtime.handle().clone())),
            self.runtime.handle().clone(),
        )
    }

    /// The first generation.
    pub(crate) fn create(&self) -> Session {
        let depot = self.depot();
        self.runtime.block_on(depot.create(&self.actor, Digest([0; 32]))).unwrap().session
    }

    /// The next generation, whatever the former one is up to.
    pub(crate) fn take_over(&self) -> Session {
        let depot = self.depot();
        self.runtime.block_on(async {
            let state = depot.store().actor(&self.actor).await.unwrap().unwrap();
            let opened = depot.take_over(&state, Digest([0; 32]), PreviousEnd::Orderly).await;
            opened.unwrap().session
        })
    }

    pub(crate) fn open(&self, session: Session) -> OpenDatabase {
        stockade_vfs::open(session, &self.options).unwrap()
    }

    /// Waits until everything that the session accepted is in the store.
    pub(crate) fn settle(&self, session: &Session) {
        self.runtime.block_on(session.durable(session.mark())).unwrap();
    }

    /// A read of no pages that passes every cache.
    pub(crate) fn ask_store(&self, session: &Session) {
        let read = self.faults.read(session.fence(), session.durable_txid(), &[]);
        let _answer = self.runtime.block_on(read);
    }

    /// Every page of the database: each must exist.
    pub(crate) fn pages(&self, session: &Session) -> Vec<PageBytes> {
        (1..=session.page_count().0).map(|pgno| session.read(Pgno(pgno)).unwrap()).collect()
    }
}
