//! Scans: pages read ahead in few questions, under the rules of every read.

use std::sync::Arc;

use stockade_depot::store::embedded::{EmbeddedConfig, EmbeddedStore, connection};
use stockade_depot::{
    Cause, Depot, DepotLimits, NodeSession, Pgno, ReadError, Session, Store, TokioParker,
};
use stockade_testkit::faulty_store::{Fault, Step};
use tokio::runtime::Handle;

use crate::world::{COMPONENT, World, byte_of, limits, put};

const PAGES: u8 = 200;

/// An actor with [`PAGES`] pages, page n full of n, opened by a process that has none cached.
async fn cold(world: &World) -> Session {
    let session = world.create().await;
    let pages: Vec<_> = (1..=PAGES).map(|n| (u32::from(n), n)).collect();
    session.durable(put(&session, &pages, u32::from(PAGES))).await.unwrap();
    world.steal().await
}

/// Reads `pages`, which hold their numbers; how many questions that took.
fn questions(world: &World, session: &Session, pages: impl IntoIterator<Item = u32>) -> u64 {
    let before = world.store.calls(Step::Read);
    for pgno in pages {
        assert_eq!(u32::from(byte_of(session, pgno)), pgno);
    }
    world.store.calls(Step::Read) - before
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_asks_few_questions() {
    let world = World::new();
    let session = cold(&world).await;
    // 3 alone, then 4, 8, 16, 32, 64, 64 and the last 9.
    assert_eq!(questions(&world, &session, 1..=200), 10);
    assert_eq!(questions(&world, &session, 1..=200), 0, "and all of it is cached");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_asks_one_by_one_where_reading_ahead_is_off() {
    let world = World::with(DepotLimits { read_ahead_pages_max: 0, ..limits() });
    let session = cold(&world).await;
    assert_eq!(questions(&world, &session, 1..=200), 200);
}

/// Each page costs its own question, both at the first and at the second look at what is around it.
#[tokio::test(flavor = "multi_thread")]
async fn pages_here_and_there_are_asked_for_alone() {
    let world = World::new();
    let session = cold(&world).await;
    let all = || (0..200_u32).map(|n| n * 77 % 200 + 1);
    assert_eq!(questions(&world, &session, all()), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_scan_leaves_the_cache_to_others() {
    let bytes_max = 400 * 4096;
    let world = World::with(DepotLimits { cache_bytes_max: bytes_max, ..limits() });
    let session = cold(&world).await;
    assert!(questions(&world, &session, 1..=200) < 20);
    // An eighth of the cache, and no more than one question beside it.
    assert!(world.there.cache().bytes() <= bytes_max / 4, "{}", world.there.cache().bytes());
}

/// What is on its way to the store is not asked for, and not overlaid by what comes back later.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_in_between_is_not_overlaid() {
    let world = World::new();
    let session = cold(&world).await;
    assert_eq!(questions(&world, &session, 195..=197), 3);
    let commit = world.store.arm(Step::Commit, 1, Fault::Hold);
    let mark = put(&session, &[(199, 99), (201, 201), (202, 202)], 202);
    commit.fired().await;
    let answer = world.store.arm(Step::Read, 1, Fault::HoldAnswer);
    let reading = tokio::task::spawn_blocking({
        let session = session.clone();
        move || session.read(Pgno(198)).map(|bytes| bytes[0])
    });
    answer.fired().await;
    commit.release();
    session.durable(mark).await.unwrap();
    answer.release();
    assert_eq!(reading.await.unwrap(), Ok(198));
    // One question for 198 and 200: 199, 201 and 202 were not in the store as of it.
    assert_eq!(world.store.calls(Step::Read), 4);
    assert_eq!(byte_of(&session, 199), 99);
    assert_eq!(questions(&world, &session, 200..=202), 1, "200 was overtaken: asked again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_that_lost_its_fence_is_dead() {
    let world = World::new();
    let session = cold(&world).await;
    assert_eq!(questions(&world, &session, 1..=3), 3);
    world.take_over(&world.here).await.unwrap();
    let error = session.read(Pgno(4)).unwrap_err();
    assert!(matches!(error, ReadError::Dead(Cause::Fenced(_))), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_ahead_is_left_to_the_read_that_needs_the_page() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = EmbeddedConfig::new(directory.path());
    config.shards = 1;
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(&config).unwrap());
    let depot = |node| {
        let parker = Arc::new(TokioParker(Handle::current()));
        let node = NodeSession([node; 16]);
        Depot::new(Arc::clone(&store), node, limits(), parker, Handle::current())
    };
    let world = World::new();
    let first = depot(1).create(&world.actor, COMPONENT).await.unwrap().session;
    let pages: Vec<_> = (1..=20).map(|n| (u32::from(n), n)).collect();
    first.durable(put(&first, &pages, 20)).await.unwrap();
    let damage = "UPDATE page SET sum = zeroblob(16) WHERE pgno = 6";
    let operator = connection(&directory.path().join("shard-00.db")).unwrap();
    assert_eq!(operator.execute(damage, []).unwrap(), 1);
    let state = store.actor(&world.actor).await.unwrap().unwrap();
    let session = world.take_over_from(state, &depot(2)).await.unwrap().session;
    for pgno in [1, 2, 3, 4, 5, 7, 8, 9] {
        assert_eq!(u32::from(byte_of(&session, pgno)), pgno);
    }
    let error = session.read(Pgno(6)).unwrap_err();
    assert!(matches!(error, ReadError::Dead(Cause::Corrupt(_))), "{error:?}");
}
