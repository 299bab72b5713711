//! Import: a head that cannot be opened until it is whole, and no other head is ever touched.

use std::sync::Arc;

use crate::owner::{Owner, actor_id, create_step};
use stockade_depot::chain::Start;
use stockade_depot::store::{Created, Emptied, TakenOver};
use stockade_depot::{Origin, Store, StoreError, Txid};

async fn importing(store: &Arc<dyn Store>, key: &str) -> Owner {
    let mut step = create_step(store.as_ref(), key);
    step.origin = Origin::Importing;
    match store.create(step).await.unwrap() {
        Created::Made(head) => Owner::of(store, actor_id(key), &head),
        Created::Exists(state) => panic!("{key} exists: {state:?}"),
    }
}

async fn take_over(owner: &Owner) -> Owner {
    match owner.store.take_over_import(owner.takeover_step()).await.unwrap() {
        TakenOver::Owned { head, .. } => Owner::of(&owner.store, owner.actor.clone(), &head),
        TakenOver::Moved(head) => panic!("moved: {head:?}"),
    }
}

pub async fn an_import_is_finished_in_one_step(store: Arc<dyn Store>) {
    let mut owner = importing(&store, "a").await;
    owner.commit(&[(1, 1), (2, 1)], 2).await;
    owner.commit(&[(3, 1)], 3).await;
    let db = owner.fence.db;
    // Half a database must not be kept.
    assert_eq!(store.pin(db, Txid(1), "p").await, Err(StoreError::DatabaseMissing(db)));
    assert!(matches!(store.finish_import(owner.fence, Txid(1)).await, Err(StoreError::Fenced(_))));
    assert_eq!(owner.head().await.origin, Origin::Importing);
    let head = store.finish_import(owner.fence, Txid(2)).await.unwrap();
    assert_eq!((head.origin, head.sealed, head.floor), (Origin::Imported, true, Txid(2)));
    assert_eq!(head.fence, owner.fence);
    // The past of an import is no state of the database.
    let half = store.read_at(db, Txid(1), stockade_depot::Pgno(1), 1).await;
    assert!(matches!(half, Err(StoreError::HistoryGone { .. })), "{half:?}");
    assert!(owner.try_commit(&[(1, 2)], 3).await.is_err(), "sealed");
    let mut next = owner.successor().await;
    next.commit(&[(1, 2)], 3).await;
    assert!(next.verify().await.is_sound());
}

pub async fn an_unfinished_import_is_emptied_in_bounded_steps(store: Arc<dyn Store>) {
    let mut first = importing(&store, "a").await;
    let pages: Vec<(u32, u64)> = (1..=4500).map(|pgno| (pgno, 1)).collect();
    first.commit(&pages, 4500).await;
    let second = take_over(&first).await;
    assert!(matches!(store.empty_import(first.fence).await, Err(StoreError::Fenced(_))));
    let mut steps = 1;
    while store.empty_import(second.fence).await.unwrap() == Emptied::More {
        steps += 1;
    }
    assert!(steps > 2, "{steps}");
    let head = second.head().await;
    let chain = Start::Name.chain(first.actor.name_hash(), first.fence.db);
    assert_eq!((head.txid, head.page_count.0, head.chain), (Txid(0), 0, chain));
    // Head and actor.
    assert_eq!(store.rows_of(second.fence.db).await, Ok(2));
    let mut third = take_over(&second).await;
    // A copy of the emptying step that comes late.
    assert!(matches!(store.empty_import(second.fence).await, Err(StoreError::Fenced(_))));
    third = Owner::of(&store, third.actor.clone(), &third.head().await);
    third.commit(&[(1, 9)], 1).await;
    store.finish_import(third.fence, Txid(1)).await.unwrap();
    assert!(third.verify().await.is_sound());
}

pub async fn no_other_head_is_touched_by_import(store: Arc<dyn Store>) {
    let mut native = Owner::create(&store, "native").await;
    native.commit(&[(1, 1)], 1).await;
    let mut imported = importing(&store, "imported").await;
    imported.commit(&[(1, 1)], 1).await;
    store.finish_import(imported.fence, Txid(1)).await.unwrap();
    // Owned again: the fence holds, so only the origin stands in the way.
    let imported = imported.successor().await;
    for owner in [native, imported] {
        let before = owner.everything().await;
        let step = owner.takeover_step();
        let taken = store.take_over_import(step).await;
        assert_eq!(taken, Ok(TakenOver::Moved(owner.head().await)));
        assert!(matches!(store.empty_import(owner.fence).await, Err(StoreError::Fenced(_))));
        let finished = store.finish_import(owner.fence, owner.txid).await;
        assert!(matches!(finished, Err(StoreError::Fenced(_))), "{finished:?}");
        assert_eq!(owner.everything().await, before);
    }
}
