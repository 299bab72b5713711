//! Conditions on other tables than `head`, decided while the head is waited for. Each of these was seen
//! to go wrong on a server in one statement.

use stockade_depot::store::embedded::Clock;
use stockade_depot::store::{FORK_PIN_PREFIX, Keep, TakenOver};
use stockade_depot::{StoreError, Token, Txid};
use stockade_testkit::owner::Owner;
use tokio_postgres::Client;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::kit::{self, config};
use crate::open;

/// Begins what another process does on the head of `owner`, and leaves it open.
async fn begin(client: &Client, owner: &Owner, then: &str) {
    client.batch_execute("BEGIN").await.unwrap();
    let lock = "SELECT 1 FROM head WHERE db = $1 FOR UPDATE";
    client.query_one(lock, &[&&owner.fence.db.0[..]]).await.unwrap();
    client.execute(then, &[&&owner.fence.db.0[..]]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pin_in_flight_holds_the_floor() {
    let database = kit::server().database().await;
    let now = Arc::new(AtomicU64::new(1_000_000));
    let told = Arc::clone(&now);
    let mut config = config(&database, "");
    config.clock = Clock::new(move || told.load(Ordering::SeqCst));
    let store = open(&config).await;
    let mut owner = Owner::create(&store, "a").await;
    for version in 1..=20 {
        owner.commit(&[(1, version)], 1).await;
    }
    now.fetch_add(60_000, Ordering::SeqCst);
    let (client, watcher) = (database.client().await, database.client().await);
    begin(&client, &owner, "INSERT INTO pin (db, txid, name) VALUES ($1, 5, 'in flight')").await;
    let db = owner.fence.db;
    let raising = Arc::clone(&store);
    let raise = tokio::spawn(async move {
        raising.raise_floor(db, Keep { commits_min: 0, age_ms_min: 0 }).await
    });
    crate::until_one_waits(&watcher, "Lock").await;
    client.batch_execute("COMMIT").await.unwrap();
    assert_eq!(raise.await.unwrap().unwrap().floor, Txid(5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_being_destroyed_takes_no_pin() {
    let (store, database) = crate::store().await;
    let mut owner = Owner::create(&store, "a").await;
    owner.commit(&[(1, 1)], 1).await;
    let (client, watcher) = (database.client().await, database.client().await);
    begin(&client, &owner, "UPDATE actor SET wanted = 1 WHERE db = $1").await;
    let (db, pinning) = (owner.fence.db, Arc::clone(&store));
    let pin = tokio::spawn(async move { pinning.pin(db, Txid(1), "late").await });
    crate::until_one_waits(&watcher, "Lock").await;
    client.batch_execute("COMMIT").await.unwrap();
    assert_eq!(pin.await.unwrap(), Err(StoreError::DatabaseMissing(db)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fork_in_flight_keeps_its_base() {
    let (store, database) = crate::store().await;
    let mut owner = Owner::create(&store, "a").await;
    owner.commit(&[(1, 1)], 1).await;
    let (client, watcher) = (database.client().await, database.client().await);
    let pin = format!("INSERT INTO pin (db, txid, name) VALUES ($1, 1, '{FORK_PIN_PREFIX}child')");
    begin(&client, &owner, &pin).await;
    let mut step = owner.takeover_step();
    step.destroying = true;
    let (db, condemning) = (owner.fence.db, Arc::clone(&store));
    let condemn = tokio::spawn(async move { condemning.take_over(step).await });
    crate::until_one_waits(&watcher, "Lock").await;
    client.batch_execute("COMMIT").await.unwrap();
    assert_eq!(condemn.await.unwrap(), Err(StoreError::HasForks(db)));
    assert_eq!(owner.head().await.fence, owner.fence, "nothing was moved");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stage_in_flight_is_left_to_a_takeover() {
    let (store, database) = crate::store().await;
    let mut owner = Owner::create(&store, "a").await;
    owner.commit(&[(1, 1)], 1).await;
    let (client, watcher) = (database.client().await, database.client().await);
    let stage = "INSERT INTO stage (db, stage, txid, generation, chunks, pages, run_from, last) \
        VALUES ($1, 'x', 2, 1, 1, 1, 1, 1)";
    begin(&client, &owner, stage).await;
    let mut step = owner.seal_step(None);
    step.heir = Some(Token([3; 16]));
    let sealing = Arc::clone(&store);
    let seal = tokio::spawn(async move { sealing.seal(step).await });
    crate::until_one_waits(&watcher, "Lock").await;
    client.batch_execute("COMMIT").await.unwrap();
    let head = seal.await.unwrap().unwrap();
    assert!(head.sealed && head.fence == owner.fence, "no heir: {head:?}");
}

/// A seal with a snapshot that is in flight when a takeover comes: the new owner has the snapshot.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_in_flight_is_handed_over() {
    let (store, database) = crate::store().await;
    let mut owner = Owner::create(&store, "a").await;
    owner.commit(&[(1, 1)], 1).await;
    let (client, watcher) = (database.client().await, database.client().await);
    let snapshot = "INSERT INTO snapshot (db, generation, txid, component, state) \
        SELECT db, generation, txid, decode(repeat('05', 32), 'hex'), 'in memory' FROM head WHERE db = $1";
    begin(&client, &owner, snapshot).await;
    client
        .execute("UPDATE head SET sealed = 1 WHERE db = $1", &[&&owner.fence.db.0[..]])
        .await
        .unwrap();
    let (step, taking) = (owner.takeover_step(), Arc::clone(&store));
    let taken = tokio::spawn(async move { taking.take_over(step).await });
    crate::until_one_waits(&watcher, "Lock").await;
    client.batch_execute("COMMIT").await.unwrap();
    let TakenOver::Owned { snapshot, .. } = taken.await.unwrap().unwrap() else {
        panic!("nobody stood in the way");
    };
    assert_eq!(snapshot.unwrap().state, b"in memory");
}
