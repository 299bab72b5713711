//! Processes that have shown no sign of life are forgotten: a row without a lock file, after ten
//! leases.

use std::fs::File;
use std::time::{Duration, Instant};

use stockade_depot::store::{Cluster, NodeBeat};
use stockade_depot::{NodeSession, Store};
use stockade_tests::host::Site;

/// A liveness bound, on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_row_without_a_lock_file_is_removed() {
    let site = Site::new();
    let store = site.open_store();
    let (silent, locked) = (NodeSession([1; 16]), NodeSession([2; 16]));
    for session in [silent, locked] {
        store.node_beat(session, &NodeBeat::at("gone")).await.unwrap();
    }
    // Its machine is this one, and it lives: it only does not beat.
    let nodes = site.path().join("host-0/nodes");
    std::fs::create_dir_all(&nodes).unwrap();
    let lock = File::create(nodes.join(format!("{locked}.lock"))).unwrap();
    lock.lock().unwrap();
    let begun = Instant::now();
    let host = site.usurper().start().await;
    let known = || async {
        let rows = store.nodes().await.unwrap();
        [silent, locked].map(|session| rows.iter().any(|row| row.session == session))
    };
    while known().await[0] {
        assert!(begun.elapsed() < PATIENCE, "still there");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(begun.elapsed() >= Duration::from_millis(10 * 60), "{:?}", begun.elapsed());
    assert_eq!(known().await, [false, true]);
    // Once its lock is free, it is dead.
    drop(lock);
    while known().await[1] {
        assert!(begun.elapsed() < PATIENCE, "still there");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    host.host.shutdown().await;
    store.close().await;
}
