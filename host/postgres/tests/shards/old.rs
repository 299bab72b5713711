//! Processes that believe an older map: each step finds its way, and none is answered by a primary that
//! does not know.

use std::sync::Arc;

use stockade_depot::store::{Destroyed, TakenOver};
use stockade_depot::{Pgno, Shard, StoreError, Txid};
use stockade_postgres::MoveStep;
use stockade_testkit::owner::{Owner, actor_id, page};

use crate::stage::{Primaries, actor, key_in, lives, stopped_at};

/// Of `a` in the beginning.
const SHARD: Shard = Shard(8);

/// Each step of a process that has not looked since the shard was elsewhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_step_finds_its_way() {
    let primaries = Primaries::new(2).await;
    let mover = primaries.open().await;
    let owner = actor(&mover, SHARD, "a", 5).await;
    let gone = actor_id(&key_in(SHARD, "none", 0));
    let (db, store) = (owner.fence.db, || async { primaries.open().await.store });
    // Opened before the move, one for each first step.
    let (reads, takes, history, pins, makes, absent, verdicts, confirms, lists) = (
        store().await,
        store().await,
        store().await,
        store().await,
        store().await,
        store().await,
        store().await,
        store().await,
        store().await,
    );
    mover.moves(SHARD, "b").await.unwrap();
    let sealed = mover.store.actor(&owner.actor).await.unwrap().unwrap().head;
    let at = reads.read_at(db, Txid(2), Pgno(1), 1).await.unwrap();
    assert_eq!(at[0].bytes, page(1, 2));
    assert_eq!(history.history(db).await.unwrap().unwrap().head, Txid(5));
    assert_eq!(history.commits(db, Txid(0), 10).await.unwrap().len(), 5);
    pins.pin(db, Txid(2), "p").await.unwrap();
    pins.unpin(db, Txid(2), "p").await.unwrap();
    assert_eq!(absent.actor(&gone).await.unwrap(), None);
    assert_eq!(verdicts.verdict(db, Txid(5)).await.unwrap().0.unwrap().fence, sealed.fence);
    let fenced = confirms.confirm(&[owner.fence]).await.unwrap();
    assert!(matches!(fenced[0], Err(StoreError::Fenced(_))), "{fenced:?}");
    assert_eq!(lists.actors(None, None, 10).await.unwrap().len(), 1);
    assert_eq!(lists.count("ledger", SHARD, "").await.unwrap().actors, 1);
    let made = Owner::create(&makes, &key_in(SHARD, "made", 0)).await;
    let found = Owner::of(&takes, owner.actor.clone(), &sealed);
    let taken = takes.take_over(found.takeover_step()).await.unwrap();
    let TakenOver::Owned { head, .. } = taken else { panic!("{taken:?}") };
    let mut next = Owner::of(&takes, owner.actor.clone(), &head);
    next.commit(&[(1, 6)], 2).await;
    assert_eq!(next.read_one(6, 1).await.unwrap(), page(1, 6));
    takes.seal(next.seal_step(None)).await.unwrap();
    for owner in [&next, &made] {
        lives(&mover, owner).await;
    }
    assert_eq!(primaries.number(0, "SELECT count(*) FROM head").await, 0);
}

/// A generation that runs while its database moves: it is fenced, its successor is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_generation_is_fenced_by_the_move() {
    let primaries = Primaries::new(2).await;
    let (node, mover) = (primaries.open().await, primaries.open().await);
    let mut owner = actor(&node, SHARD, "a", 5).await;
    let stopped = stopped_at(&mover, SHARD, "b", |step| matches!(step, MoveStep::Taken(_)));
    stopped.stops().await.unwrap();
    assert!(matches!(owner.try_commit(&[(1, 6)], 2).await, Err(StoreError::Fenced(_))));
    assert!(matches!(owner.read_one(5, 1).await, Err(StoreError::Fenced(_))));
    let confirmed = node.store.confirm(&[owner.fence]).await.unwrap();
    assert!(matches!(confirmed[0], Err(StoreError::Fenced(_))));
    assert!(node.store.seal(owner.seal_step(None)).await.is_err());
    stopped.ends().await.unwrap();
    assert!(matches!(owner.try_commit(&[(1, 6)], 2).await, Err(StoreError::Fenced(_))));
    let next = lives(&node, &owner).await;
    let mut step = next.takeover_step();
    step.destroying = true;
    let taken = node.store.take_over(step).await.unwrap();
    let TakenOver::Owned { head, .. } = taken else { panic!("{taken:?}") };
    while node.store.destroy(&next.actor, head.fence).await.unwrap() != Destroyed::Gone {}
    assert_eq!(node.store.actor(&next.actor).await.unwrap(), None);
    assert_eq!(node.store.rows_of(next.fence.db).await.unwrap(), 0);
}

/// A step that was led to a primary by an older move than the one that primary is in by now: what it
/// does not find there may be at the source.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_direction_proves_no_absence() {
    let primaries = Primaries::new(2).await;
    let (node, mover) = (primaries.open().await, primaries.open().await);
    let made = actor(&node, SHARD, "late", 1).await;
    let says = |state: &str, version: u8| {
        format!("UPDATE shard SET {state}, version = {version} WHERE number = {}", SHARD.0)
    };
    // As if the shard had moved to `b` before the actor came to be.
    assert_eq!(primaries.past(0, "UPDATE actor SET key = key || '?'").await, 1);
    primaries.past(0, &says("state = 2, peer = 'b'", 1)).await;
    primaries.past(1, &says("state = 0, peer = NULL", 1)).await;
    // The question is sent to `a`, then led to `b` by the first move, where it has to wait.
    let client = primaries.client(1).await;
    client.batch_execute("BEGIN; LOCK TABLE actor IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let (asking, asked) = (Arc::clone(&node.store), made.actor.clone());
    let found = tokio::spawn(async move { asking.actor(&asked).await });
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert!(!found.is_finished());
    // In the meantime the shard was back at `a`, where the actor came to be, and leaves for the third time.
    client.batch_execute(&says("state = 3, peer = 'a'", 3)).await.unwrap();
    primaries.past(0, "UPDATE actor SET key = substr(key, 1, length(key) - 1)").await;
    primaries.past(0, &says("state = 1, peer = 'b'", 3)).await;
    client.batch_execute("COMMIT").await.unwrap();
    let found = found.await.unwrap().unwrap();
    assert_eq!(found.map(|state| state.row.db), Some(made.fence.db));
    mover.moves(SHARD, "b").await.unwrap();
    lives(&mover, &made).await;
}
