//! What SQLite asks of a VFS: one that is registered is not written to, and stands in the list once.
//! A process of its own, since the list is one for the process.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use stockade_depot::{
    ActorId, Depot, DepotLimits, Digest, EmbeddedStore, NodeSession, Session, TokioParker,
};
use stockade_sqlite::vfs::registered;
use stockade_vfs::{Handle, OpenDatabase, Spare, VfsOptions, open};
use tokio::runtime::Runtime;

const DATABASES: usize = 100;

fn session(runtime: &Runtime, depot: &Arc<Depot>, number: usize) -> Session {
    let actor = ActorId::new("contract", &format!("{number}")).unwrap();
    runtime.block_on(depot.create(&actor, Digest([0; 32]))).unwrap().session
}

fn use_it(db: &OpenDatabase) {
    let script = "CREATE TABLE t(a); INSERT INTO t VALUES (zeroblob(20000)); \
        CREATE TEMP TABLE u AS SELECT * FROM t; VACUUM";
    db.within(|| db.connection().execute_batch(script)).unwrap();
}

#[test]
fn one_vfs_is_registered_and_never_written_to_afterwards() {
    let runtime = Runtime::new().unwrap();
    let depot = Depot::new(
        Arc::new(EmbeddedStore::in_memory(1).unwrap()),
        NodeSession([1; 16]),
        DepotLimits::default(),
        Arc::new(TokioParker(runtime.handle().clone())),
        runtime.handle().clone(),
    );
    let scratch = tempfile::tempdir().unwrap();
    let options = VfsOptions::new(scratch.path());
    let without = registered();
    drop(Spare::new().unwrap());
    let before = registered();
    assert_eq!(before.len(), without.len() + 1, "one more");
    assert_eq!(before[0].name, without[0].name, "the default stays");
    assert_eq!(before.iter().filter(|vfs| vfs.name == "stockade").count(), 1);

    let mut open_ones: Vec<_> = (0..DATABASES)
        .map(|number| {
            let session = session(&runtime, &depot, number);
            if number % 2 == 0 {
                return open(session, &options).unwrap();
            }
            Spare::new().unwrap().settle(&Handle::new(session, &options)).unwrap()
        })
        .collect();
    open_ones.iter().for_each(use_it);
    assert_eq!(registered(), before, "while {DATABASES} are open");
    open_ones.truncate(DATABASES / 2);
    open_ones.iter().for_each(|db| {
        db.within(|| db.connection().execute_batch("DELETE FROM t; VACUUM")).unwrap();
    });
    assert_eq!(registered(), before, "after half of them closed");
    drop(open_ones);
    assert_eq!(registered(), before, "after all of them closed");
}
