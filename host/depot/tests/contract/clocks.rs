//! Clocks that are wrong: two stores on one directory, each with a clock of its own.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use stockade_depot::store::embedded::{Clock, EmbeddedConfig};
use stockade_depot::{EmbeddedStore, Store, Txid};
use stockade_testkit::capture::capture;
use stockade_testkit::contract::retention::NOTHING;
use stockade_testkit::owner::Owner;

const HOUR_MS: i64 = 3_600_000;

/// The time that passes for every store, in milliseconds.
type Passed = Arc<AtomicU64>;

/// A store on a machine whose clock is wrong by so much, which may be changed.
fn store(directory: &Path, passed: &Passed, wrong_ms: i64) -> (Arc<dyn Store>, Arc<AtomicI64>) {
    let wrong = Arc::new(AtomicI64::new(wrong_ms));
    let (of_label, of_steady, by) = (Arc::clone(passed), Arc::clone(passed), Arc::clone(&wrong));
    let mut config = EmbeddedConfig::new(directory);
    config.shards = 1;
    config.clock = Clock::apart(
        move || {
            let now = 1_700_000_000_000 + of_label.load(Ordering::SeqCst);
            now.saturating_add_signed(by.load(Ordering::SeqCst))
        },
        move || of_steady.load(Ordering::SeqCst),
    );
    (Arc::new(EmbeddedStore::open(&config).unwrap()), wrong)
}

fn pass(passed: &Passed, ms: u64) {
    passed.fetch_add(ms, Ordering::SeqCst);
}

async fn floor(store: &Arc<dyn Store>, owner: &Owner) -> Txid {
    store.raise_floor(owner.fence.db, NOTHING).await.unwrap().floor
}

/// The promise of history, and of verdicts, holds beside a machine whose clock is an hour ahead.
#[tokio::test]
async fn a_clock_that_is_ahead_makes_nobody_old() {
    let (directory, passed) = (tempfile::tempdir().unwrap(), Passed::default());
    let (right, _) = store(directory.path(), &passed, 0);
    let (ahead, _) = store(directory.path(), &passed, HOUR_MS);
    let mut owner = Owner::create(&right, "a").await;
    for version in 1..=5 {
        owner.commit(&[(1, version)], 1).await;
    }
    for _ in 0..3 {
        assert_eq!(floor(&ahead, &owner).await, Txid(0), "seconds old");
        pass(&passed, 9_900);
    }
    // What it labels itself is an hour ahead of what the others label.
    let mut winner = owner.clone();
    winner.store = Arc::clone(&ahead);
    winner.commit(&[(1, 6)], 1).await;
    let row = ahead.commits(owner.fence.db, Txid(5), 1).await.unwrap().remove(0);
    assert!(row.time_ms >= 1_700_000_000_000 + 3_600_000, "{row:?}");
    assert_eq!(floor(&right, &owner).await, Txid(0));
    pass(&passed, 300);
    for store in [&ahead, &right] {
        assert_eq!(floor(store, &owner).await, Txid(5), "known for 30 seconds");
    }
    pass(&passed, 30_000);
    assert_eq!(floor(&right, &owner).await, Txid(6));
}

/// A clock that goes back does not make history stay.
#[tokio::test]
async fn a_clock_that_goes_back_stops_no_trimming() {
    let (directory, passed) = (tempfile::tempdir().unwrap(), Passed::default());
    let (store, wrong) = store(directory.path(), &passed, 0);
    let mut owner = Owner::create(&store, "a").await;
    owner.commit(&[(1, 1)], 1).await;
    owner.commit(&[(1, 2)], 1).await;
    wrong.store(-HOUR_MS, Ordering::SeqCst);
    owner.commit(&[(1, 3)], 1).await;
    pass(&passed, 29_999);
    assert_eq!(floor(&store, &owner).await, Txid(0));
    pass(&passed, 1);
    assert_eq!(floor(&store, &owner).await, Txid(3));
}

/// A process that starts knows no commit to be old, whatever the labels say.
#[tokio::test]
async fn a_store_that_was_opened_now_knows_nothing_to_be_old() {
    let (directory, passed) = (tempfile::tempdir().unwrap(), Passed::default());
    let (before, _) = store(directory.path(), &passed, -HOUR_MS);
    let mut owner = Owner::create(&before, "a").await;
    owner.commit(&[(1, 1)], 1).await;
    owner.commit(&[(1, 2)], 1).await;
    let (after, _) = store(directory.path(), &passed, 0);
    assert_eq!(floor(&after, &owner).await, Txid(0));
    pass(&passed, 30_000);
    assert_eq!(floor(&after, &owner).await, Txid(2));
}

/// A store that finds a commit's time far from its own clock logs that, once a minute. That the
/// commit was found late says nothing about a clock.
#[tokio::test]
async fn a_clock_that_is_away_is_told_once_a_minute() {
    let said = capture();
    let (directory, passed) = (tempfile::tempdir().unwrap(), Passed::default());
    let (right, _) = store(directory.path(), &passed, 0);
    let owner = Owner::create(&right, "a").await;
    let db = owner.fence.db.to_string();
    let told = || said.loud(&["far from this machine's clock", &db]).len();
    floor(&right, &owner).await;
    let mut writer = owner.clone();
    for (wrong_ms, due) in [(0, 0), (HOUR_MS, 1), (HOUR_MS, 1), (HOUR_MS, 2)] {
        let (other, _) = store(directory.path(), &passed, wrong_ms);
        writer.store = other;
        let before = told();
        writer.commit(&[(1, 1)], 1).await;
        assert_eq!(told(), before, "by its own clock it is right");
        pass(&passed, if wrong_ms == 0 { 7_200_000 } else { 30_000 });
        floor(&right, &owner).await;
        assert_eq!(told(), due, "{wrong_ms}");
    }
}
