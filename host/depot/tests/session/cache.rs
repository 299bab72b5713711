//! The page cache: warm after a wake, never across a foreign commit, bounded.

use stockade_depot::{DepotLimits, Txid};
use stockade_testkit::faulty_store::Step;

use crate::world::{World, byte_of, limits, put};

#[tokio::test(flavor = "multi_thread")]
async fn the_cache_is_used_across_seal_and_wake() {
    let world = World::new();
    let session = world.create().await;
    session.durable(put(&session, &[(1, 1), (2, 2)], 2)).await.unwrap();
    session.seal(None).await.unwrap();
    drop(session);
    let woken = world.take_over(&world.here).await.unwrap().session;
    assert_eq!((byte_of(&woken, 1), byte_of(&woken, 2)), (1, 2));
    assert_eq!(world.store.calls(Step::Read), 0);
}

/// A generation elsewhere committed in between: what this process has cached is old, although
/// every fence would pass.
#[tokio::test(flavor = "multi_thread")]
async fn warm_cache_of_a_former_generation_is_not_served() {
    let world = World::new();
    let first = world.create().await;
    first.durable(put(&first, &[(1, 1), (2, 2)], 2)).await.unwrap();
    first.seal(None).await.unwrap();
    let foreign = world.steal().await;
    foreign.durable(put(&foreign, &[(1, 100)], 2)).await.unwrap();
    foreign.seal(None).await.unwrap();
    let back = world.take_over(&world.here).await.unwrap().session;
    assert_eq!((byte_of(&back, 1), byte_of(&back, 2)), (100, 2));
    assert_eq!(world.store.calls(Step::Read), 2);
}

/// The foreign generation did not commit: the cache is still the head's.
#[tokio::test(flavor = "multi_thread")]
async fn the_cache_survives_a_foreign_generation_without_commits() {
    let world = World::new();
    let first = world.create().await;
    first.durable(put(&first, &[(1, 1)], 1)).await.unwrap();
    first.seal(None).await.unwrap();
    world.steal().await.seal(None).await.unwrap();
    let back = world.take_over(&world.here).await.unwrap().session;
    assert_eq!(byte_of(&back, 1), 1);
    assert_eq!(world.store.calls(Step::Read), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_replaces_cached_pages_and_a_shrink_drops_them() {
    let world = World::new();
    let session = world.create().await;
    session.durable(put(&session, &[(1, 1), (2, 2), (3, 3)], 3)).await.unwrap();
    session.durable(put(&session, &[(1, 4)], 2)).await.unwrap();
    assert_eq!(byte_of(&session, 1), 4);
    session.durable(put(&session, &[(1, 5)], 3)).await.unwrap();
    assert_eq!(byte_of(&session, 3), 0, "a page that was cut off never comes back");
    assert_eq!(session.durable_txid(), Txid(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cache_is_bounded_and_its_loss_is_only_slower() {
    fill_and_read(0, 300).await;
}

/// A question is for an eighth of this cache: 7 pages.
#[tokio::test(flavor = "multi_thread")]
async fn the_cache_is_bounded_whatever_is_read_ahead() {
    fill_and_read(64, 300 / 7).await;
}

/// Writes and reads 400 pages through a cache of 64, in more than `questions`.
async fn fill_and_read(read_ahead_pages_max: u32, questions: u64) {
    let bytes_max = 64 * 4096;
    let cache_bytes_max = bytes_max;
    let world = World::with(DepotLimits { cache_bytes_max, read_ahead_pages_max, ..limits() });
    let session = world.create().await;
    for first in (1..=400).step_by(4) {
        let pages: Vec<(u32, u8)> =
            (first..first + 4).map(|n| (n, u8::try_from(n % 251).unwrap())).collect();
        session.durable(put(&session, &pages, first + 3)).await.unwrap();
        assert!(world.here.cache().bytes() <= bytes_max);
    }
    assert!(world.here.cache().bytes() > bytes_max / 2, "and it is used");
    for n in 1..=400_u32 {
        assert_eq!(u32::from(byte_of(&session, n)), n % 251);
        assert!(world.here.cache().bytes() <= bytes_max);
    }
    // 338 pages and more were pushed out.
    assert!(world.store.calls(Step::Read) > questions);
}
