//! Marks of files: raised when they are written, recorded by the others, by any number of
//! processes.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use stockade_depot::store::NodeBeat;
use stockade_depot::store::embedded::EmbeddedConfig;
use stockade_depot::{EmbeddedStore, Store};
use stockade_testkit::owner::{NODE, Owner};

use crate::world::marks;

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < until, "{what}");
        std::thread::yield_now();
    }
}

fn open(directory: &Path, marks_every: Duration) -> Arc<dyn Store> {
    let mut config = EmbeddedConfig::new(directory);
    config.marks_every = marks_every;
    Arc::new(EmbeddedStore::open(&config).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_not_written_raises_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), Duration::from_millis(1));
    for _ in 0..20 {
        store.node_beat(NODE, &NodeBeat::at("here")).await.unwrap();
    }
    std::thread::sleep(Duration::from_millis(50));
    store.close().await;
    for (own, seen) in marks(directory.path()) {
        assert_eq!((own, seen), (0, vec![]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_written_is_known_to_all_others() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), Duration::from_secs(3600));
    let mut owner = Owner::create(&store, "a").await;
    let shard = owner.fence.db.shard().0;
    let at = usize::from(shard) + 1;
    // Right after the first write; then once a period, or at the end.
    wait_for("marks after the first write", || {
        let marks = marks(directory.path());
        marks[at].0 == 1 && (0..3).all(|file| file == at || marks[file].1 == [(shard, 1)])
    });
    owner.commit(&[(1, 1)], 1).await;
    store.close().await;
    let marks = marks(directory.path());
    assert_eq!(marks[at], (2, vec![]));
    for file in (0..3).filter(|file| *file != at) {
        assert_eq!(marks[file], (0, vec![(shard, 2)]));
    }
}

/// No file has ever seen more of another than that has, however many write.
#[tokio::test(flavor = "multi_thread")]
async fn several_processes_raise_marks_one_by_one() {
    let directory = tempfile::tempdir().unwrap();
    let stores: Vec<_> = (0..3).map(|_| open(directory.path(), Duration::from_millis(1))).collect();
    let mut owners = Vec::new();
    for (n, store) in stores.iter().enumerate() {
        owners.push(Owner::create(store, &format!("actor {n}")).await);
    }
    let mut last = marks(directory.path());
    for version in 1..=30 {
        for owner in &mut owners {
            owner.commit(&[(1, version)], 1).await;
        }
        // What was seen first, then what there is.
        let (before, after) = (marks(directory.path()), marks(directory.path()));
        for (at, (own, _)) in after.iter().enumerate() {
            let number = if at == 0 { u8::MAX } else { u8::try_from(at - 1).unwrap() };
            let seen = before.iter().flat_map(|(_, seen)| seen).filter(|(of, _)| *of == number);
            assert!(seen.map(|(_, epoch)| epoch).all(|epoch| epoch <= own));
            assert!(*own >= last[at].0, "a mark went back");
        }
        last = after;
    }
    assert!(last[1].0 > 3 || last[2].0 > 3, "{last:?}");
    for store in &stores {
        store.close().await;
    }
    drop((owners, stores));
    open(directory.path(), Duration::from_secs(1)).close().await;
}
