//! What a session knows without a thread of its runtime: a store of files tells on its own.

use std::sync::Arc;
use std::time::Duration;

use stockade_depot::{ActorId, Depot, EmbeddedStore, NodeSession, Store, TokioParker, Txid};
use tokio::runtime::{Builder, Runtime};

use crate::world::{COMPONENT, byte_of, limits, put};

/// A runtime of one thread, the caller's: its tasks run only while a test blocks on it.
fn still() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn depot(directory: &std::path::Path, runtime: &Runtime) -> Arc<Depot> {
    let mut config = stockade_depot::store::embedded::EmbeddedConfig::new(directory);
    config.shards = 1;
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(&config).unwrap());
    let handle = runtime.handle().clone();
    let parker = Arc::new(TokioParker(handle.clone()));
    Depot::new(store, NodeSession([1; 16]), limits(), parker, handle)
}

/// The guest has the only thread from its commit on: the commit is sent and known to be durable all
/// the same, and a task that waits elsewhere learns it. What comes next needs the runtime.
#[test]
fn a_commit_is_sent_and_heard_of_while_the_guest_has_every_thread() {
    let directory = tempfile::tempdir().unwrap();
    let (busy, elsewhere) = (still(), still());
    let depot = depot(directory.path(), &busy);
    let actor = ActorId::new("counter", "a").unwrap();
    let session = busy.block_on(depot.create(&actor, COMPONENT)).unwrap().session;

    let first = put(&session, &[(1, 1), (2, 2)], 2);
    let within = Duration::from_secs(20);
    let heard = elsewhere.block_on(async {
        tokio::time::timeout(within, session.durable(first)).await.expect("nobody told")
    });
    assert_eq!(heard, Ok(Txid(1)));
    assert_eq!((byte_of(&session, 1), byte_of(&session, 2)), (1, 2));

    let second = put(&session, &[(1, 3)], 2);
    assert_eq!(byte_of(&session, 1), 3);
    assert_eq!(busy.block_on(session.durable(second)), Ok(Txid(2)));
    assert!(busy.block_on(session.seal(None)).is_ok());
    busy.block_on(depot.store().close());
}
