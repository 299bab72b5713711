//! A session over a store in memory, for the tests of single files.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use stockade_depot::{
    ActorId, Depot, DepotLimits, Digest, EmbeddedStore, NodeSession, TokioParker,
};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::context::Context;
use crate::options::VfsOptions;

/// A context and what it lives on.
pub(crate) struct TestContext {
    pub(crate) context: Arc<Context>,
    pub(crate) directory: TempDir,
    runtime: Runtime,
}

impl TestContext {
    pub(crate) fn new(limits: DepotLimits, adjust: impl FnOnce(&mut VfsOptions)) -> Self {
        let runtime = Runtime::new().unwrap();
        let depot = Depot::new(
            Arc::new(EmbeddedStore::in_memory(1).unwrap()),
            NodeSession([1; 16]),
            limits,
            Arc::new(TokioParker(runtime.handle().clone())),
            runtime.handle().clone(),
        );
        let actor = ActorId::new("vfs", "test").unwrap();
        let opened = runtime.block_on(depot.create(&actor, Digest([0; 32]))).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let mut options = VfsOptions::new(directory.path());
        adjust(&mut options);
        let context = Arc::new(Context::new(opened.session, &options));
        Self { context, directory, runtime }
    }

    /// Waits until everything published is in the store.
    pub(crate) fn settle(&self) {
        let session = &self.context.session;
        self.runtime.block_on(session.durable(session.mark())).unwrap();
    }
}
