//! A session that does not own the head is refused, in every step, and changes nothing.

use std::sync::Arc;

use crate::owner::{Owner, token};
use stockade_depot::{DbId, Fence, Generation, HeadFenceMismatch, Pgno, Store, StoreError, Txid};

fn mismatch<T: std::fmt::Debug>(result: Result<T, StoreError>) -> HeadFenceMismatch {
    match result {
        Err(StoreError::Fenced(mismatch)) => mismatch,
        other => panic!("not fenced: {other:?}"),
    }
}

pub async fn old_generation_cannot_commit(store: Arc<dyn Store>) {
    let mut old = Owner::create(&store, "a").await;
    old.commit(&[(1, 1)], 1).await;
    let new = old.successor().await;
    let before = new.everything().await;
    let found = mismatch(old.try_commit(&[(1, 2)], 1).await);
    assert_eq!(found.db, old.fence.db);
    assert_eq!(found.expected, (old.fence.generation, old.fence.token));
    assert_eq!(found.expected_txid, old.txid);
    assert_eq!(found.actual, (new.fence.generation, new.fence.token));
    assert_eq!(found.actual_txid, new.txid);
    assert!(!found.sealed);
    assert_eq!(new.everything().await, before);
}

pub async fn old_generation_cannot_read(store: Arc<dyn Store>) {
    let mut old = Owner::create(&store, "a").await;
    old.commit(&[(1, 1), (2, 1)], 2).await;
    let new = old.successor().await;
    for pages in [&[Pgno(1)][..], &[Pgno(1), Pgno(2)]] {
        let found = mismatch(store.read(old.fence, old.txid, pages).await);
        assert_eq!(found.actual, (new.fence.generation, new.fence.token));
        assert_eq!(store.read(new.fence, new.txid, pages).await.unwrap().pages.len(), pages.len());
    }
}

/// Tries every fenced step with `stale`, which differs from the owner's in something.
async fn check_refused(owner: &Owner, stale: &Owner, also_reads: bool) {
    let store = &owner.store;
    let before = owner.everything().await;
    mismatch(store.commit(stale.commit_step(&[(1, 7)], owner.page_count.0)).await);
    mismatch(store.seal(stale.seal_step(Some(b"state"))).await);
    if store.keeps_due_work() {
        mismatch(store.settle_due(stale.fence, stale.txid, Some(1)).await);
    }
    if also_reads {
        mismatch(store.read(stale.fence, owner.txid, &[Pgno(1)]).await);
        mismatch(store.read(stale.fence, owner.txid, &[Pgno(1), Pgno(2)]).await);
        mismatch(store.confirm(&[stale.fence]).await.unwrap().remove(0));
        mismatch(store.destroy(&owner.actor, stale.fence).await);
    }
    assert_eq!(owner.everything().await, before);
}

pub async fn every_step_refuses_every_stale_fence(store: Arc<dyn Store>) {
    let mut owner = Owner::create(&store, "a").await;
    owner.commit(&[(1, 1), (2, 1)], 2).await;
    owner = owner.successor().await;
    owner.commit(&[(1, 2)], 2).await;
    let with = |change: &dyn Fn(&mut Owner)| {
        let mut stale = owner.clone();
        change(&mut stale);
        stale
    };
    for generation in [0, 1, 3, 1 << 62] {
        let stale = with(&|stale| stale.fence.generation = Generation(generation));
        check_refused(&owner, &stale, true).await;
    }
    check_refused(&owner, &with(&|stale| stale.fence.token = token()), true).await;
    for txid in [0, 1, 3, 1 << 62] {
        check_refused(&owner, &with(&|stale| stale.txid = Txid(txid)), false).await;
    }
    owner.commit(&[(1, 3)], 2).await;
}

pub async fn a_sealed_head_refuses_everything(store: Arc<dyn Store>) {
    let mut owner = Owner::create(&store, "a").await;
    owner.commit(&[(1, 1), (2, 1)], 2).await;
    let head = store.seal(owner.seal_step(None)).await.unwrap();
    assert!(head.sealed);
    assert_eq!(head, owner.head().await);
    check_refused(&owner, &owner, true).await;
    assert!(mismatch(store.read(owner.fence, owner.txid, &[Pgno(1)]).await).sealed);
    let next = owner.successor().await;
    assert_eq!(next.read_one(1, 1).await.unwrap(), crate::owner::page(1, 1));
    assert!(!next.head().await.sealed);
}

pub async fn confirm_tells_fences_apart(store: Arc<dyn Store>) {
    let mut owners = Vec::new();
    for key in ["a", "b", "c", "d", "e", "f"] {
        owners.push(Owner::create(&store, key).await);
    }
    let replaced = owners[2].successor().await;
    store.seal(owners[4].seal_step(None)).await.unwrap();
    let mut fences: Vec<Fence> = owners.iter().map(|owner| owner.fence).collect();
    fences.push(Fence { db: DbId([0; 16]), ..fences[0] });
    fences.push(Fence { db: DbId([255; 16]), ..fences[0] });
    fences.push(fences[0]);
    let answers = store.confirm(&fences).await.unwrap();
    assert_eq!(answers.len(), fences.len());
    for at in [0, 1, 3, 5, 8] {
        assert_eq!(answers[at], Ok(()), "{at}");
    }
    let actual = (replaced.fence.generation, replaced.fence.token);
    assert_eq!(mismatch(answers[2].clone()).actual, actual);
    assert!(mismatch(answers[4].clone()).sealed);
    assert_eq!(answers[6], Err(StoreError::DatabaseMissing(DbId([0; 16]))));
    assert_eq!(answers[7], Err(StoreError::DatabaseMissing(DbId([255; 16]))));
}

pub async fn confirm_takes_any_number(store: Arc<dyn Store>) {
    let mut fences = Vec::new();
    for n in 0..40 {
        fences.push(Owner::create(&store, &format!("actor {n}")).await.fence);
    }
    for count in [0, 1, 2, 5, 17, 40] {
        let answers = store.confirm(&fences[..count]).await.unwrap();
        assert_eq!(answers, vec![Ok(()); count]);
    }
    let many: Vec<Fence> = fences.iter().copied().cycle().take(3000).collect();
    assert_eq!(store.confirm(&many).await.unwrap(), vec![Ok(()); 3000]);
}

pub async fn a_read_beyond_the_head_is_fenced(store: Arc<dyn Store>) {
    let mut owner = Owner::create(&store, "a").await;
    owner.commit(&[(1, 1)], 1).await;
    // The owner has seen commit 2, the store has not: it lost one.
    let found = mismatch(store.read(owner.fence, Txid(2), &[Pgno(1)]).await);
    assert_eq!((found.expected_txid, found.actual_txid), (Txid(2), Txid(1)));
}

pub async fn unknown_databases_are_missing(store: Arc<dyn Store>) {
    let mut owner = Owner::create(&store, "a").await;
    owner.commit(&[(1, 1)], 1).await;
    for first in [0, 1, 250] {
        let db = DbId([first; 16]);
        let mut lost = owner.clone();
        lost.fence.db = db;
        let missing = StoreError::DatabaseMissing(db);
        assert_eq!(lost.try_commit(&[(1, 1)], 1).await, Err(missing.clone()));
        assert_eq!(store.seal(lost.seal_step(None)).await, Err(missing.clone()));
        assert_eq!(lost.read_one(1, 1).await, Err(missing.clone()));
        let two = [Pgno(1), Pgno(2)];
        assert_eq!(store.read(lost.fence, Txid(1), &two).await, Err(missing.clone()));
        assert_eq!(store.read_at(db, Txid(1), Pgno(1), 8).await, Err(missing.clone()));
        assert_eq!(store.take_over(lost.takeover_step()).await, Err(missing.clone()));
        assert_eq!(store.destroy(&owner.actor, lost.fence).await, Err(missing));
    }
    assert_eq!(owner.state().await.unwrap().head.fence, owner.fence);
}

pub async fn numbers_out_of_range_are_refused(store: Arc<dyn Store>) {
    let mut owner = Owner::create(&store, "a").await;
    owner.commit(&[(1, 1)], 1).await;
    let before = owner.everything().await;
    let mut wild = owner.clone();
    wild.fence.generation = Generation(u64::MAX);
    assert!(wild.try_commit(&[(1, 2)], 1).await.is_err());
    assert!(wild.read_one(1, 1).await.is_err());
    assert!(store.destroy(&wild.actor, wild.fence).await.is_err());
    assert!(store.confirm(&[wild.fence]).await.unwrap()[0].is_err());
    assert!(owner.read_one(u64::MAX, 1).await.is_err());
    assert!(store.read_at(owner.fence.db, Txid(u64::MAX), Pgno(1), 1).await.is_err());
    assert_eq!(owner.everything().await, before);
}
