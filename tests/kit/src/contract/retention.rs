//! Retention: what the floor refuses, what trimming may delete, what a pin holds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::owner::{Owner, page};
use stockade_depot::history::ExportError;
use stockade_depot::retention::Sweep;
use stockade_depot::store::{FORK_PIN_PREFIX, Keep, Superseded, TakenOver};
use stockade_depot::{Pgno, Store, StoreError, Txid, history, retention};

use super::clock;

/// Nothing but the newest state and what a pin holds.
pub const NOTHING: Keep = Keep { commits_min: 0, age_ms_min: 0 };

/// Lets every commit so far be old, and trims.
pub async fn trim(owner: &Owner, keep: Keep) -> retention::Report {
    clock::pass();
    let (store, db) = (owner.store.as_ref(), owner.fence.db);
    retention::trim(store, db, keep, Duration::ZERO).await.unwrap()
}

fn gone<T: std::fmt::Debug>(result: Result<T, StoreError>, txid: u64) {
    match result {
        Err(StoreError::HistoryGone { txid: asked, .. }) if asked == Txid(txid) => {}
        other => panic!("txid {txid}: {other:?}"),
    }
}

pub async fn the_floor_stops_at_head_pin_and_kept_commits(store: Arc<dyn Store>) {
    let mut owner = Owner::create(&store, "a").await;
    let db = owner.fence.db;
    assert_eq!(trim(&owner, NOTHING).await.floor, Txid(0));
    for version in 1..=20 {
        owner.commit(&[(1, version)], 1).await;
    }
    store.pin(db, Txid(7), "bookmark").await.unwrap();
    let keep = |commits_min| Keep { commits_min, age_ms_min: 0 };
    assert_eq!(trim(&owner, keep(15)).await.floor, Txid(5));
    // It only rises.
    assert_eq!(trim(&owner, keep(u64::MAX)).await.floor, Txid(5));
    assert_eq!(trim(&owner, NOTHING).await.floor, Txid(7), "a pin holds it");
    assert_eq!(owner.export(Some(7)).await, page(1, 7).to_vec());
    store.unpin(db, Txid(7), "bookmark").await.unwrap();
    assert_eq!(trim(&owner, NOTHING).await.floor, Txid(20), "the head is the last");
    assert_eq!(owner.head().await.floor, Txid(20));
    // Head, actor, one page, one commit row.
    assert_eq!(store.rows_of(db).await, Ok(4));
    assert!(owner.verify().await.is_sound());
    owner.commit(&[(1, 21)], 1).await;
}

/// Random commits, all states exported; after each trim the kept ones are as they were.
pub async fn what_is_kept_reads_as_before(store: Arc<dyn Store>) {
    let mut owner = Owner::create(&store, "a").await;
    let (db, mut seed) = (owner.fence.db, 7_u64);
    let mut random = move |below: u32| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from((seed >> 33) % u64::from(below)).unwrap()
    };
    let mut states: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    let mut count = 0;
    for round in 0..6_u64 {
        for _ in 0..12 {
            let version = owner.txid.0 + 1;
            let new_count = 1 + random(12);
            let mut pages: BTreeMap<u32, u64> =
                (count + 1..=new_count).map(|pgno| (pgno, version)).collect();
            for _ in 0..random(4) {
                pages.insert(1 + random(new_count), version);
            }
            let pages: Vec<(u32, u64)> = pages.into_iter().collect();
            owner.commit(&pages, new_count).await;
            count = new_count;
            states.insert(version, owner.export(None).await);
        }
        let before = store.rows_of(db).await.unwrap();
        let report = trim(&owner, Keep { commits_min: 5, age_ms_min: 0 }).await;
        assert_eq!(report.floor, Txid(owner.txid.0 - 5));
        assert_eq!(store.rows_of(db).await.unwrap(), before - report.rows);
        assert!(report.rows > 0, "round {round}");
        for (txid, state) in &states {
            let txid = *txid;
            if Txid(txid) < report.floor {
                gone(store.read_at(db, Txid(txid), Pgno(1), 1).await, txid);
                gone(store.commit_pages(db, Txid(txid), Pgno(0), 9).await, txid);
                gone(store.commits(db, Txid(txid - 1), 10).await, txid);
                gone(store.read(owner.fence, Txid(txid), &[Pgno(1)]).await, txid);
                gone(store.read(owner.fence, Txid(txid), &[Pgno(1), Pgno(2)]).await, txid);
                gone(store.pin(db, Txid(txid), "late").await, txid);
                let (mut file, at) = (Vec::new(), Some(Txid(txid)));
                let told = history::export(store.as_ref(), db, at, &mut file, &mut |_| {}).await;
                assert!(
                    matches!(told, Err(ExportError::Store(StoreError::HistoryGone { .. }))),
                    "{told:?}"
                );
            } else {
                assert_eq!(&owner.export(Some(txid)).await, state, "txid {txid}");
            }
        }
        let verified = owner.verify().await;
        assert!(verified.is_sound(), "{verified:?}");
        assert_eq!(verified.commits, 6);
        // Trimming again finds nothing.
        assert_eq!(trim(&owner, Keep { commits_min: 5, age_ms_min: 0 }).await.rows, 0);
    }
}

/// What was superseded at the time of a look may be gone, and another row in its place.
pub async fn a_row_in_use_is_not_trimmed_whatever_is_told(store: Arc<dyn Store>) {
    let mut owner = Owner::create(&store, "a").await;
    let db = owner.fence.db;
    for version in 1..=5 {
        owner.commit(&[(1, version), (2, version)], 2).await;
    }
    trim(&owner, Keep { commits_min: 2, age_ms_min: 0 }).await;
    owner.commit(&[(1, 6)], 2).await;
    let states = [owner.export(Some(3)).await, owner.export(None).await];
    let all = |db| (0..1000).map(|place| Superseded { db, place }).collect();
    assert_eq!(store.trim_pages(all(db)).await, Ok(0));
    assert_eq!(store.trim_pages(Vec::new()).await, Ok(0));
    assert_eq!([owner.export(Some(3)).await, owner.export(None).await], states);
    assert!(owner.verify().await.is_sound());
    // Under another name, even one that may go is not touched.
    let mut other = Owner::create(&store, "b").await;
    for n in 0.. {
        if other.fence.db.shard() == db.shard() {
            break;
        }
        other = Owner::create(&store, &format!("b{n}")).await;
    }
    clock::pass();
    store.raise_floor(db, NOTHING).await.unwrap();
    let found = store.superseded(db, (Pgno(0), Txid(0))).await.unwrap().superseded;
    let misnamed = found.iter().map(|row| Superseded { db: other.fence.db, ..*row }).collect();
    assert_eq!(store.trim_pages(misnamed).await, Ok(0));
    assert_eq!((found.len(), store.trim_pages(found).await), (5, Ok(5)));
    assert_eq!(owner.export(None).await, states[1]);
}

pub async fn databases_are_trimmed_together(store: Arc<dyn Store>) {
    let mut owners = Vec::new();
    for key in ["a", "b", "c", "d"] {
        let mut owner = Owner::create(&store, key).await;
        owner.commit(&[(1, 1), (2, 1)], 2).await;
        owners.push(owner);
    }
    for version in 2..=700 {
        for owner in &mut owners[..3] {
            owner.commit(&[(1, version)], 2).await;
        }
    }
    clock::pass();
    let mut sweep = Sweep::new(store.as_ref(), Duration::ZERO);
    for owner in &owners {
        let report = sweep.look(owner.fence.db, NOTHING).await.unwrap();
        assert_eq!(report.floor, owner.txid);
    }
    let gone = sweep.finish().await.unwrap();
    for (n, owner) in owners.iter().enumerate() {
        let db = owner.fence.db;
        let rows = gone.get(&db).copied();
        // 699 page versions and as many commit rows.
        assert_eq!(rows, (n < 3).then_some(2 * 699), "{n}");
        // Head, actor, two pages, one commit row.
        assert_eq!(store.rows_of(db).await, Ok(5), "{n}");
        assert!(owner.verify().await.is_sound());
    }
    assert_eq!(sweep.finish().await.unwrap().len(), 0, "it is as new");
}

pub async fn pins_are_checked_in_their_own_step(store: Arc<dyn Store>) {
    let mut owner = Owner::create(&store, "a").await;
    let db = owner.fence.db;
    for version in 1..=5 {
        owner.commit(&[(1, version)], 1).await;
    }
    trim(&owner, Keep { commits_min: 2, age_ms_min: 0 }).await;
    let late = store.pin(db, Txid(2), "late").await;
    assert_eq!(late, Err(StoreError::HistoryGone { db, txid: Txid(2), floor: Txid(3) }));
    assert_eq!(
        store.pin(db, Txid(6), "early").await,
        Err(StoreError::NoCommit { db, txid: Txid(6) })
    );
    for _ in 0..2 {
        assert_eq!(store.pin(db, Txid(3), "held").await, Ok(()));
    }
    let long = "n".repeat(300);
    assert!(matches!(store.pin(db, Txid(3), &long).await, Err(StoreError::Refused { .. })));
    assert_eq!(trim(&owner, NOTHING).await.floor, Txid(3));
    for _ in 0..2 {
        assert_eq!(store.unpin(db, Txid(3), "held").await, Ok(()));
    }
    assert_eq!(trim(&owner, NOTHING).await.floor, Txid(5));
}

/// Commits, trims, pins and reads at the same time: a read is the state that was asked for, or
/// refused.
pub async fn trimming_races_with_everything(store: Arc<dyn Store>) {
    const PAGES: u32 = 6;
    let mut owner = Owner::create(&store, "a").await;
    let db = owner.fence.db;
    let first: Vec<(u32, u64)> = (1..=PAGES).map(|pgno| (pgno, 1)).collect();
    owner.commit(&first, PAGES).await;
    // Commit t writes version t of page t % PAGES + 1.
    let version = |pgno: u32, at: u64| {
        let mine = |t: &u64| u32::try_from(t % u64::from(PAGES)).unwrap() + 1 == pgno;
        (2..=at).rev().find(mine).unwrap_or(1)
    };
    let done = Arc::new(AtomicBool::new(false));
    let trimmer = {
        let (owner, done) = (owner.clone(), Arc::clone(&done));
        tokio::spawn(async move {
            let mut rows = 0;
            while !done.load(Ordering::Relaxed) || rows == 0 {
                rows += trim(&owner, Keep { commits_min: 3, age_ms_min: 0 }).await.rows;
                tokio::task::yield_now().await;
            }
            rows
        })
    };
    let reader = |salt: u64| {
        let (store, owner, done) = (Arc::clone(&store), owner.clone(), Arc::clone(&done));
        tokio::spawn(async move {
            let (mut read, mut refused, mut n) = (0_u64, 0_u64, salt);
            while !done.load(Ordering::Relaxed) || read == 0 {
                n += 1;
                let head = owner.head().await.txid.0;
                let at = head.saturating_sub(n % 6).max(1);
                let name = format!("{salt}/{n}");
                let pinned = n.is_multiple_of(2) && store.pin(db, Txid(at), &name).await.is_ok();
                for pgno in 1..=PAGES {
                    match store.read_at(db, Txid(at), Pgno(pgno), 1).await {
                        Ok(found) => {
                            assert_eq!(
                                found[0].bytes,
                                page(pgno, version(pgno, at)),
                                "{pgno} at {at}"
                            );
                            read += 1;
                        }
                        Err(StoreError::HistoryGone { .. }) if !pinned => refused += 1,
                        Err(error) => panic!("page {pgno} at {at}, pinned {pinned}: {error}"),
                    }
                }
                if pinned {
                    store.unpin(db, Txid(at), &name).await.unwrap();
                }
                tokio::task::yield_now().await;
            }
            (read, refused)
        })
    };
    let readers = [reader(0), reader(1)];
    for txid in 2..=200_u64 {
        let pgno = u32::try_from(txid % u64::from(PAGES)).unwrap() + 1;
        owner.commit(&[(pgno, txid)], PAGES).await;
        if txid.is_multiple_of(50) {
            let verified = owner.verify().await;
            assert!(verified.is_sound(), "{verified:?}");
        }
    }
    done.store(true, Ordering::Relaxed);
    assert!(trimmer.await.unwrap() > 0);
    for reader in readers {
        assert!(reader.await.unwrap().0 > 0);
    }
    trim(&owner, NOTHING).await;
    assert_eq!(store.rows_of(db).await, Ok(u64::from(PAGES) + 3));
    assert!(owner.verify().await.is_sound());
}

pub async fn a_base_of_forks_is_not_destroyed(store: Arc<dyn Store>) {
    let mut owner = Owner::create(&store, "a").await;
    owner.commit(&[(1, 1)], 1).await;
    let (db, fork) = (owner.fence.db, format!("{FORK_PIN_PREFIX}child"));
    store.pin(db, Txid(1), "fork").await.unwrap();
    store.pin(db, Txid(1), &fork).await.unwrap();
    let before = owner.everything().await;
    let mut step = owner.takeover_step();
    step.destroying = true;
    assert_eq!(store.take_over(step.clone()).await, Err(StoreError::HasForks(db)));
    assert_eq!(owner.everything().await, before, "not even marked");
    // A pin that some other part has made holds history, not the actor.
    store.unpin(db, Txid(1), &fork).await.unwrap();
    let TakenOver::Owned { head, .. } = store.take_over(step).await.unwrap() else {
        panic!("nobody stood in the way");
    };
    // From the mark on no database becomes its child.
    assert_eq!(store.pin(db, Txid(1), &fork).await, Err(StoreError::DatabaseMissing(db)));
    let listed = store.destroying(10).await.unwrap();
    assert_eq!(listed.iter().map(|state| state.head.fence).collect::<Vec<_>>(), [head.fence]);
    store.destroy(&owner.actor, head.fence).await.unwrap();
    assert_eq!(store.rows_of(db).await, Ok(0));
    assert_eq!(store.destroying(10).await, Ok(Vec::new()));
}
