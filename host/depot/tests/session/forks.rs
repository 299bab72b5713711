//! Forks: they share what this process has cached of their base, and only what is theirs.
//!
//! No step makes a fork yet, so its head is written with plain SQL, as in `contract/durability.rs`.

use std::sync::Arc;

use rusqlite::params;
use stockade_depot::store::embedded::{EmbeddedConfig, connection};
use stockade_depot::{ActorId, EmbeddedStore, Session};
use stockade_testkit::faulty_store::Step;
use tempfile::TempDir;

use crate::world::{World, byte_of, limits, put};

/// A store of files, whose world is the base's.
fn world() -> (TempDir, World) {
    let directory = tempfile::tempdir().unwrap();
    let mut config = EmbeddedConfig::new(directory.path());
    config.shards = 2;
    let store = EmbeddedStore::open(&config).unwrap();
    (directory, World::over(store, limits()))
}

/// The world of a fork of `of` as of `at`, with three pages, asleep.
async fn fork(directory: &TempDir, of: &World, key: &str, at: u64) -> World {
    let fork = World {
        store: Arc::clone(&of.store),
        here: Arc::clone(&of.here),
        there: Arc::clone(&of.there),
        actor: ActorId::new("counter", key).unwrap(),
    };
    fork.create().await.seal(None).await.unwrap();
    let (base, db) = (of.state().await.head.fence.db, fork.state().await.head.fence.db);
    let shard = directory.path().join(format!("shard-{:02}.db", db.shard().0));
    let changed = connection(&shard).unwrap().execute(
        "UPDATE head SET base_db = ?2, base_txid = ?3, txid = ?3, page_count = 3 WHERE db = ?1",
        params![&db.0[..], &base.0[..], i64::try_from(at).unwrap()],
    );
    assert_eq!(changed, Ok(1));
    fork
}

/// Makes the actor with three pages of ones.
async fn base(world: &World) -> Session {
    let session = world.create().await;
    session.durable(put(&session, &[(1, 1), (2, 1), (3, 1)], 3)).await.unwrap();
    session
}

async fn woken(world: &World) -> Session {
    world.take_over(&world.here).await.unwrap().session
}

/// Three pages, and how many questions they took.
fn pages(world: &World, session: &Session) -> ([u8; 3], u64) {
    let before = world.store.calls(Step::Read);
    let bytes = [1, 2, 3].map(|pgno| byte_of(session, pgno));
    (bytes, world.store.calls(Step::Read) - before)
}

#[tokio::test(flavor = "multi_thread")]
async fn forks_of_a_warm_base_ask_for_nothing() {
    let (directory, world) = world();
    let base = base(&world).await;
    let child = fork(&directory, &world, "child", 1).await;
    let first = woken(&child).await;
    assert_eq!(pages(&child, &first), ([1, 1, 1], 0));
    // The same for a fork of the fork, whose pages are the base's.
    let grandchild = fork(&directory, &child, "grandchild", 1).await;
    let second = woken(&grandchild).await;
    assert_eq!(pages(&grandchild, &second), ([1, 1, 1], 0));
    // From here on each goes its own way.
    first.durable(put(&first, &[(2, 20)], 3)).await.unwrap();
    base.durable(put(&base, &[(3, 30)], 3)).await.unwrap();
    assert_eq!(pages(&child, &first), ([1, 20, 1], 0));
    assert_eq!(pages(&grandchild, &second), ([1, 1, 1], 0));
    assert_eq!(pages(&world, &base), ([1, 1, 30], 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_of_a_base_that_has_moved_on_reads_what_was() {
    let (directory, world) = world();
    let base = base(&world).await;
    base.durable(put(&base, &[(2, 2)], 3)).await.unwrap();
    let child = fork(&directory, &world, "child", 1).await;
    assert_eq!(pages(&child, &woken(&child).await), ([1, 1, 1], 3));
}

/// The base moved on elsewhere, and was forked then: what is cached here is older than the fork.
#[tokio::test(flavor = "multi_thread")]
async fn a_fork_of_what_this_process_has_not_seen_reads_what_is() {
    let (directory, world) = world();
    base(&world).await.seal(None).await.unwrap();
    let foreign = world.steal().await;
    foreign.durable(put(&foreign, &[(2, 2)], 3)).await.unwrap();
    let child = fork(&directory, &world, "child", 2).await;
    assert_eq!(pages(&child, &woken(&child).await), ([1, 2, 1], 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_that_has_committed_reads_its_own_pages() {
    let (directory, world) = world();
    let _base = base(&world).await;
    // Here: its own group wins.
    let child = fork(&directory, &world, "child", 1).await;
    let session = woken(&child).await;
    session.durable(put(&session, &[(2, 20)], 3)).await.unwrap();
    session.seal(None).await.unwrap();
    drop(session);
    assert_eq!(pages(&child, &woken(&child).await), ([1, 20, 1], 0));
    // Elsewhere: nothing of its own is cached here, and the base is as it was when it was forked.
    let other = fork(&directory, &world, "other", 1).await;
    let foreign = other.steal().await;
    foreign.durable(put(&foreign, &[(2, 30)], 3)).await.unwrap();
    foreign.seal(None).await.unwrap();
    assert_eq!(pages(&other, &woken(&other).await), ([1, 30, 1], 3));
}
