//! What a commit does, and what it is refused for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::owner::{Owner, page};
use stockade_depot::store::limits;
use stockade_depot::{Limit, PAGE_SIZE, PageCount, Pgno, Store, StoreError, Txid};

pub async fn a_commit_moves_the_head_by_one(store: Arc<dyn Store>) {
    let mut owner = Owner::create(&store, "a").await;
    for txid in 1..4 {
        let step = owner.commit_step(&[(1, txid), (2, txid)], 2);
        owner.send(step.clone()).await.unwrap();
        let (head, row) = store.verdict(owner.fence.db, Txid(txid)).await.unwrap();
        let (head, row) = (head.unwrap(), row.unwrap());
        assert_eq!((head.txid, head.page_count), (Txid(txid), PageCount(2)));
        assert_eq!((head.fence, head.chain, head.sealed), (owner.fence, step.chain, false));
        assert_eq!((row.txid, row.page_count), (Txid(txid), PageCount(2)));
        assert_eq!((row.generation, row.content), (owner.fence.generation, step.content));
        assert_eq!(row.chain, step.chain);
    }
    // A commit without pages is one too.
    owner.commit(&[], 2).await;
    assert_eq!(owner.head().await.txid, Txid(4));
    assert_eq!(owner.read_one(4, 2).await.unwrap(), page(2, 3));
}

pub async fn a_resent_commit_is_fenced_and_its_row_tells(store: Arc<dyn Store>) {
    let mut owner = Owner::create(&store, "a").await;
    let step = owner.commit_step(&[(1, 1)], 1);
    owner.send(step.clone()).await.unwrap();
    let before = owner.everything().await;
    assert!(matches!(store.commit(step.clone()).await, Err(StoreError::Fenced(_))));
    let (_, row) = store.verdict(owner.fence.db, Txid(1)).await.unwrap();
    let row = row.unwrap();
    assert_eq!((row.generation, row.content), (step.fence.generation, step.content));
    assert_eq!(owner.everything().await, before);
    let (head, row) = store.verdict(owner.fence.db, Txid(2)).await.unwrap();
    assert_eq!((head.map(|head| head.txid), row), (Some(Txid(1)), None));
}

pub async fn concurrent_resends_apply_once(store: Arc<dyn Store>) {
    let mut owner = Owner::create(&store, "a").await;
    owner.commit(&[(1, 1)], 1).await;
    let step = owner.commit_step(&[(1, 2), (2, 2)], 2);
    let mut tasks = Vec::new();
    for _ in 0..8 {
        let (store, step) = (Arc::clone(&store), step.clone());
        tasks.push(tokio::spawn(async move { store.commit(step).await }));
    }
    let mut applied = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(()) => applied += 1,
            Err(StoreError::Fenced(found)) => assert_eq!(found.actual_txid, Txid(2)),
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(applied, 1);
    assert!(owner.verify().await.is_sound());
}

pub async fn a_commit_that_leaves_holes_changes_nothing(store: Arc<dyn Store>) {
    let mut owner = Owner::create(&store, "a").await;
    owner.commit(&[(1, 1), (2, 1)], 2).await;
    let before = owner.everything().await;
    for pages in [&[][..], &[(4, 2)], &[(3, 2)], &[(1, 2), (4, 2)]] {
        let refused = owner.try_commit(pages, 4).await;
        assert!(matches!(refused, Err(StoreError::Corrupt(_))), "{pages:?}: {refused:?}");
        assert_eq!(owner.everything().await, before);
    }
    owner.commit(&[(3, 2), (4, 2)], 4).await;
    owner.commit(&[(1, 3), (3, 3)], 3).await;
    assert!(owner.verify().await.is_sound());
}

pub async fn malformed_pages_are_refused(store: Arc<dyn Store>) {
    let mut owner = Owner::create(&store, "a").await;
    owner.commit(&[(1, 1), (2, 1), (3, 1)], 3).await;
    let before = owner.everything().await;
    for pages in [&[(2, 2), (1, 2)][..], &[(1, 2), (1, 3)], &[(0, 2)], &[(4, 2)]] {
        let refused = owner.try_commit(pages, 3).await;
        assert!(matches!(refused, Err(StoreError::Corrupt(_))), "{pages:?}: {refused:?}");
    }
    for bytes in [0, 1, PAGE_SIZE - 1, PAGE_SIZE + 1] {
        let mut step = owner.commit_step(&[(1, 2)], 3);
        step.pages[0].1 = vec![0; bytes].into();
        assert!(matches!(store.commit(step).await, Err(StoreError::Corrupt(_))));
    }
    assert_eq!(owner.everything().await, before);
}

pub async fn limits_are_refused_and_change_nothing(store: Arc<dyn Store>) {
    let owner = Owner::create(&store, "a").await;
    let before = owner.everything().await;
    let max = limits::COMMIT_BYTES_MAX;
    let pages = u32::try_from(max / 4096).unwrap() + 1;
    let mut step = owner.commit_step(&[], 0);
    step.page_count = PageCount(pages);
    step.pages = (1..=pages).map(|pgno| (Pgno(pgno), page(1, 1))).collect();
    let actual = u64::from(pages) * 4096;
    let refused = StoreError::Refused { limit: Limit::CommitBytes, actual, max };
    assert_eq!(store.commit(step).await, Err(refused));
    let max = limits::DATABASE_PAGES_MAX;
    let (actual, max) = (u64::from(max) + 1, u64::from(max));
    let refused = StoreError::Refused { limit: Limit::DatabasePages, actual, max };
    let step = owner.commit_step(&[], limits::DATABASE_PAGES_MAX + 1);
    assert_eq!(store.commit(step).await, Err(refused));
    assert_eq!(owner.everything().await, before);
}

pub async fn commits_of_many_actors_keep_apart(store: Arc<dyn Store>) {
    let mut tasks = Vec::new();
    for n in 0..24 {
        let store = Arc::clone(&store);
        tasks.push(tokio::spawn(async move {
            let mut owner = Owner::create(&store, &format!("actor {n}")).await;
            for version in 1..=12 {
                let version = n * 100 + version;
                owner.commit(&[(1, version), (2, version), (3, version)], 3).await;
                assert_eq!(owner.read_one(owner.txid.0, 2).await.unwrap(), page(2, version));
            }
            owner
        }));
    }
    for (n, task) in (0..).zip(tasks) {
        let owner = task.await.unwrap();
        assert_eq!(owner.head().await.txid, Txid(12));
        for txid in 1..=12 {
            assert_eq!(owner.read_one(txid, 3).await.unwrap(), page(3, n * 100 + txid));
        }
        assert!(owner.verify().await.is_sound());
    }
}

pub async fn one_refused_among_many_stops_nobody(store: Arc<dyn Store>) {
    let mut tasks = Vec::new();
    for n in 0..32_u64 {
        let store = Arc::clone(&store);
        tasks.push(tokio::spawn(async move {
            let mut owner = Owner::create(&store, &format!("actor {n}")).await;
            let mut stale = owner.clone();
            owner.commit(&[(1, 1)], 1).await;
            for version in 2..8 {
                let step = stale.commit_step(&[(1, 99)], 1);
                let pages = [(1, version)];
                let (refused, ()) = tokio::join!(stale.send(step), owner.commit(&pages, 1));
                assert!(matches!(refused, Err(StoreError::Fenced(_))), "{refused:?}");
            }
            assert_eq!(owner.read_one(7, 1).await.unwrap(), page(1, 7));
            assert!(owner.verify().await.is_sound());
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
}

pub async fn times_rise(store: Arc<dyn Store>) {
    let mut owner = Owner::create(&store, "a").await;
    for version in 0..20 {
        owner.commit(&[(1, version)], 1).await;
    }
    let rows = store.commits(owner.fence.db, Txid(0), 100).await.unwrap();
    assert_eq!(rows.len(), 20);
    assert!(rows.windows(2).all(|pair| pair[0].time_ms < pair[1].time_ms), "{rows:?}");
}

pub async fn a_large_commit_comes_back(store: Arc<dyn Store>) {
    let mut owner = Owner::create(&store, "a").await;
    let pages: Vec<(u32, u64)> = (1..=2000).map(|pgno| (pgno, 1)).collect();
    owner.commit(&pages, 2000).await;
    let report = owner.verify().await;
    assert!(report.is_sound(), "{report:?}");
    assert_eq!((report.commits, report.pages), (1, 4000));
    assert_eq!(owner.read_one(1, 1999).await.unwrap(), page(1999, 1));
}

pub async fn success_is_told_at_most_once_and_nothing_else_is(store: Arc<dyn Store>) {
    let owner = Owner::create(&store, "a").await;
    let told = Arc::new(AtomicUsize::new(0));
    let tell = || {
        let told = Arc::clone(&told);
        Box::new(move || {
            told.fetch_add(1, Ordering::SeqCst);
        })
    };
    let step = owner.commit_step(&[(1, 1)], 1);
    store.commit_and_tell(step.clone(), tell()).await.unwrap();
    let (head, _) = store.verdict(owner.fence.db, Txid(1)).await.unwrap();
    assert_eq!(head.map(|head| head.txid), Some(Txid(1)));
    let of_success = told.load(Ordering::SeqCst);
    assert!(of_success <= 1);
    // Applied before: refused, so no success is reported.
    let again = store.commit_and_tell(step, tell()).await;
    assert!(matches!(again, Err(StoreError::Fenced(_))), "{again:?}");
    let holes = owner.commit_step(&[(9, 1)], 9);
    let holes = store.commit_and_tell(holes, tell()).await;
    assert!(holes.is_err());
    assert_eq!(told.load(Ordering::SeqCst), of_success);
}
