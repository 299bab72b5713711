//! What the schema keeps, past the store: places of superseded rows, order of names, updates in place.

use stockade_depot::store::{Keep, Superseded};
use stockade_depot::{Pgno, Txid};
use stockade_testkit::owner::{Owner, page};

use crate::kit::{self, config};
use crate::open;

/// Whatever places are named, what is in use stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_place_of_a_row_in_use_is_trimmed() {
    let database = kit::server().database().await;
    let now = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(1_000_000));
    let told = std::sync::Arc::clone(&now);
    let mut config = config(&database, "");
    config.clock = stockade_depot::store::embedded::Clock::new(move || {
        told.load(std::sync::atomic::Ordering::SeqCst)
    });
    let store = open(&config).await;
    let mut owner = Owner::create(&store, "a").await;
    let db = owner.fence.db;
    for version in 1..=6 {
        owner.commit(&[(1, version), (2, version)], 2).await;
    }
    now.fetch_add(60_000, std::sync::atomic::Ordering::SeqCst);
    store.raise_floor(db, Keep { commits_min: 2, age_ms_min: 0 }).await.unwrap();
    let all = (0..4_i64)
        .flat_map(|pgno| (0..10).map(move |txid| Superseded { db, place: pgno << 39 | txid }));
    assert_eq!(store.trim_pages(all.collect()).await, Ok(6), "versions 1 to 3 of two pages");
    for version in 4..=6 {
        for pgno in 1..=2 {
            let read = store.read_at(db, Txid(version), Pgno(pgno), 1).await.unwrap();
            assert_eq!(read[0].bytes, page(pgno, version));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_are_updated_in_place() {
    let (store, database) = crate::store().await;
    let mut owner = Owner::create(&store, "a").await;
    for version in 1..=200 {
        owner.commit(&[(1, version)], 1).await;
    }
    let client = database.client().await;
    store.close().await;
    let asked = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'head'";
    let mut seen = (0, 0);
    for _ in 0..200 {
        let row = client.query_one(asked, &[]).await.unwrap();
        seen = (row.get::<_, i64>(0), row.get::<_, i64>(1));
        if seen.0 >= 200 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(seen.0 >= 200 && seen.1 * 10 >= seen.0 * 9, "{seen:?}");
}
