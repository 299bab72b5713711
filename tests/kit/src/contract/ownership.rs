//! Ownership of a database: create, takeover, seal.

use std::sync::Arc;

use crate::owner::{COMPONENT, NODE, Owner, actor_id, create_step, token};
use stockade_depot::chain::Start;
use stockade_depot::store::{Created, PreviousEnd, TakenOver, Wanted, limits};
use stockade_depot::{
    DbId, Digest, Generation, Limit, NodeSession, Origin, PageCount, Shard, Store, StoreError,
    Token, Txid,
};

pub async fn create_makes_the_first_generation(store: Arc<dyn Store>) {
    let step = create_step(store.as_ref(), "a");
    let Created::Made(head) = store.create(step.clone()).await.unwrap() else {
        panic!("a new actor exists already");
    };
    assert_eq!(head.fence.db, step.db);
    assert_eq!(head.fence.generation, Generation(1));
    assert_eq!(head.fence.token, step.token);
    assert_eq!(head.owner, NODE);
    assert_eq!((head.txid, head.page_count), (Txid(0), PageCount(0)));
    let name = step.actor.name_hash();
    assert_eq!((head.name, head.start), (name, Start::Name));
    assert_eq!(head.chain, Start::Name.chain(name, step.db));
    assert_eq!((head.sealed, head.origin), (false, Origin::Native));
    let state = store.actor(&step.actor).await.unwrap().unwrap();
    assert_eq!(state.head, head);
    assert_eq!((state.row.db, state.row.component), (step.db, COMPONENT));
    assert_eq!((state.row.wanted, state.row.restarts), (Wanted::Present, 0));
}

pub async fn create_is_not_open(store: Arc<dyn Store>) {
    assert_eq!(store.actor(&actor_id("a")).await.unwrap(), None);
    let owner = Owner::create(&store, "other").await;
    let mut step = owner.takeover_step();
    step.db = DbId::new(owner.fence.db.shard(), [77; 15]);
    let missing = Err(StoreError::DatabaseMissing(step.db));
    assert_eq!(store.take_over(step.clone()).await, missing);
    assert_eq!(store.rows_of(step.db).await, Ok(0));
    assert_eq!(store.actor(&actor_id("a")).await.unwrap(), None);
}

pub async fn create_tells_that_the_actor_exists(store: Arc<dyn Store>) {
    let mut owner = Owner::create(&store, "a").await;
    owner.commit(&[(1, 1)], 1).await;
    let before = owner.everything().await;
    let step = create_step(store.as_ref(), "a");
    let Created::Exists(state) = store.create(step.clone()).await.unwrap() else {
        panic!("the actor was made twice");
    };
    assert_eq!(Some(state), before.0);
    assert_eq!(owner.everything().await, before);
    assert_eq!(store.rows_of(step.db).await, Ok(0));
}

pub async fn create_keeps_the_shard(store: Arc<dyn Store>) {
    let mut step = create_step(store.as_ref(), "a");
    let right = step.db.shard();
    for shard in Shard::all(store.shards()).chain([Shard(200)]).filter(|shard| *shard != right) {
        step.db = DbId::new(shard, [3; 15]);
        assert!(store.create(step.clone()).await.is_err());
    }
    assert_eq!(store.actor(&step.actor).await.unwrap(), None);
}

pub async fn concurrent_creates_make_one_actor(store: Arc<dyn Store>) {
    let mut tasks = Vec::new();
    for _ in 0..16 {
        let (store, step) = (Arc::clone(&store), create_step(store.as_ref(), "a"));
        tasks.push(tokio::spawn(async move { store.create(step).await.unwrap() }));
    }
    let (mut made, mut seen) = (Vec::new(), Vec::new());
    for task in tasks {
        match task.await.unwrap() {
            Created::Made(head) => made.push(head),
            Created::Exists(state) => seen.push(state.head),
        }
    }
    assert_eq!(made.len(), 1);
    assert!(seen.iter().all(|head| *head == made[0]));
}

pub async fn two_takeovers_have_one_winner(store: Arc<dyn Store>) {
    let owner = Owner::create(&store, "a").await;
    let (first, second) = (owner.takeover_step(), owner.takeover_step());
    let TakenOver::Owned { head, .. } = store.take_over(first.clone()).await.unwrap() else {
        panic!("nobody stood in the way");
    };
    assert_eq!(head.fence.generation, Generation(2));
    assert_eq!(head.fence.token, first.token);
    assert_eq!(store.take_over(second).await.unwrap(), TakenOver::Moved(head.clone()));
    // Sent again after a lost answer: the head has our token, so the loser can tell it is ours.
    assert_eq!(store.take_over(first).await.unwrap(), TakenOver::Moved(head));
}

pub async fn concurrent_takeovers_have_one_winner(store: Arc<dyn Store>) {
    let owner = Owner::create(&store, "a").await;
    let mut tasks = Vec::new();
    for n in 0..16 {
        let (store, mut step) = (Arc::clone(&store), owner.takeover_step());
        step.owner = NodeSession([n; 16]);
        tasks.push(tokio::spawn(async move { store.take_over(step).await.unwrap() }));
    }
    let (mut owned, mut moved) = (Vec::new(), Vec::new());
    for task in tasks {
        match task.await.unwrap() {
            TakenOver::Owned { head, .. } => owned.push(head),
            TakenOver::Moved(head) => moved.push(head),
        }
    }
    assert_eq!((owned.len(), moved.len()), (1, 15));
    assert!(moved.iter().all(|head| *head == owned[0]));
    assert_eq!(owner.head().await, owned[0]);
}

pub async fn a_busy_owner_cannot_hold_off_a_takeover(store: Arc<dyn Store>) {
    let mut owner = Owner::create(&store, "a").await;
    let step = owner.takeover_step();
    for n in 0..5 {
        owner.commit(&[(1, n)], 1).await;
    }
    let TakenOver::Owned { head, .. } = store.take_over(step).await.unwrap() else {
        panic!("the commits of the owner held the takeover off");
    };
    assert_eq!((head.txid, head.chain), (owner.txid, owner.chain));
    assert!(matches!(owner.try_commit(&[(1, 9)], 1).await, Err(StoreError::Fenced(_))));
}

pub async fn takeover_counts_restarts(store: Arc<dyn Store>) {
    let mut owner = Owner::create(&store, "a").await;
    let ends = [
        (PreviousEnd::Crashed, 1),
        (PreviousEnd::Crashed, 2),
        (PreviousEnd::Neutral, 2),
        (PreviousEnd::Crashed, 3),
        (PreviousEnd::FirstCrash, 1),
        (PreviousEnd::Crashed, 2),
        (PreviousEnd::Orderly, 0),
        (PreviousEnd::Neutral, 0),
    ];
    for (n, (previous_end, expected)) in (1..).zip(ends) {
        let mut step = owner.takeover_step();
        step.previous_end = previous_end;
        step.component = Digest([n; 32]);
        let TakenOver::Owned { head, restarts, .. } = store.take_over(step).await.unwrap() else {
            panic!("nobody stood in the way");
        };
        assert_eq!(restarts, expected, "after {n} takeovers");
        owner = Owner::of(&store, owner.actor, &head);
        let row = owner.state().await.unwrap().row;
        assert_eq!((row.restarts, row.component), (expected, Digest([n; 32])));
    }
}

pub async fn takeover_hands_the_snapshot_over(store: Arc<dyn Store>) {
    let mut owner = Owner::create(&store, "a").await;
    owner.commit(&[(1, 1)], 1).await;
    store.seal(owner.seal_step(Some(b"in memory"))).await.unwrap();
    // It stays until the next seal: each takeover sees from which generation and txid it is.
    for generation in 2..4 {
        let taken = store.take_over(owner.takeover_step()).await.unwrap();
        let TakenOver::Owned { head, snapshot: Some(snapshot), .. } = taken else {
            panic!("no snapshot: {taken:?}");
        };
        assert_eq!(head.fence.generation, Generation(generation));
        assert_eq!((snapshot.generation, snapshot.txid), (Generation(1), Txid(1)));
        assert_eq!((snapshot.component, &snapshot.state[..]), (COMPONENT, &b"in memory"[..]));
        owner = Owner::of(&store, owner.actor, &head);
        assert_eq!(owner.state().await.unwrap().handed_over, Some(Generation(1)));
    }
}

pub async fn a_seal_without_snapshot_drops_the_older_one(store: Arc<dyn Store>) {
    let owner = Owner::create(&store, "a").await;
    store.seal(owner.seal_step(Some(b"old"))).await.unwrap();
    let owner = owner.successor().await;
    store.seal(owner.seal_step(None)).await.unwrap();
    // Known after a restart as well: sealed by generation 2, without a snapshot.
    for state in
        [owner.state().await.unwrap(), store.actors(None, None, 9).await.unwrap().remove(0)]
    {
        assert!(state.head.sealed);
        assert_eq!((state.head.fence.generation, state.handed_over), (Generation(2), None));
    }
    let taken = store.take_over(owner.takeover_step()).await.unwrap();
    assert!(matches!(taken, TakenOver::Owned { snapshot: None, .. }), "{taken:?}");
}

pub async fn a_seal_keeps_the_txid_and_wants_the_head_it_knows(store: Arc<dyn Store>) {
    let mut owner = Owner::create(&store, "a").await;
    let early = owner.seal_step(Some(b"before the commit"));
    owner.commit(&[(1, 1)], 1).await;
    assert!(matches!(store.seal(early).await, Err(StoreError::Fenced(_))));
    let before = owner.head().await;
    assert!(!before.sealed);
    let sealed = store.seal(owner.seal_step(None)).await.unwrap();
    assert_eq!((sealed.txid, sealed.chain), (before.txid, before.chain));
    assert_eq!(sealed.fence, before.fence);
}

pub async fn a_snapshot_over_the_limit_is_refused(store: Arc<dyn Store>) {
    let owner = Owner::create(&store, "a").await;
    let mut step = owner.seal_step(None);
    let max = limits::SNAPSHOT_BYTES_MAX;
    step.snapshot = Some(vec![0; usize::try_from(max).unwrap() + 1]);
    let refused = StoreError::Refused { limit: Limit::SnapshotBytes, actual: max + 1, max };
    assert_eq!(store.seal(step).await, Err(refused));
    assert!(!owner.head().await.sealed);
}

pub async fn takeover_of_another_name_changes_nothing(store: Arc<dyn Store>) {
    let owner = Owner::create(&store, "a").await;
    let before = owner.everything().await;
    let mut step = owner.takeover_step();
    step.actor = actor_id("b");
    assert_eq!(store.take_over(step).await, Err(StoreError::DatabaseMissing(owner.fence.db)));
    assert_eq!(owner.everything().await, before);
    let mut step = owner.takeover_step();
    step.replaces = (owner.fence.generation, Token(token().0));
    let moved = store.take_over(step).await.unwrap();
    assert_eq!(moved, TakenOver::Moved(owner.head().await));
    assert_eq!(owner.everything().await, before);
}
