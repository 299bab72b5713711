//! Retention and destroy, as a host's upkeep does them: history stays bounded, asleep or awake, and
//! interrupted destroys are finished.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use stockade::{ActorId, HostError};
use stockade_depot::store::embedded::Clock;
use stockade_depot::store::{Directory, Ownership, Versions};
use stockade_depot::store::{PreviousEnd, TakeoverStep};
use stockade_depot::{NodeSession, Store, Token, Txid};
use stockade_tests::guest;
use stockade_tests::host::{Site, TestHost, actor};

/// How long a round of upkeep may take to come, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A clock that tests move.
fn clock() -> (Clock, Arc<AtomicU64>) {
    let now = Arc::new(AtomicU64::new(1_700_000_000_000));
    let told = Arc::clone(&now);
    (Clock::new(move || told.load(Ordering::SeqCst)), now)
}

async fn until<F: Future<Output = bool>>(what: &str, done: impl Fn() -> F) {
    let begun = Instant::now();
    while !done().await {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn start(site: &Site, clock: &Clock) -> TestHost {
    let host = site.host().clock(clock.clone());
    host.limits(|limits| limits.upkeep_every = Duration::from_millis(20)).start().await
}

async fn floor(host: &TestHost, actor: &ActorId) -> (Txid, Txid) {
    let head = host.store.actor(actor).await.unwrap().unwrap().head;
    (head.floor, head.txid)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_trims_what_its_kind_does_not_keep_asleep_and_awake() {
    let site = Site::new();
    let (clock, now) = clock();
    let host = start(&site, &clock).await;
    host.deploy_with(guest::SQLITE_BENCH, |limits| limits.history_commits_min = 3).await;
    let (awake, asleep) = (actor(guest::SQLITE_BENCH, "a"), actor(guest::SQLITE_BENCH, "b"));
    for actor in [&awake, &asleep] {
        host.ok(actor, "setup", json!([500])).await;
        for _ in 0..10 {
            host.ok(actor, "update", json!([5])).await;
        }
    }
    host.host.actor(&asleep).stop().await.unwrap();
    // Nothing is old yet: nothing is deleted, however often upkeep runs.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(floor(&host, &awake).await.0, Txid(0));
    now.fetch_add(59_000, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(floor(&host, &awake).await.0, Txid(0), "history_ms is a minute");
    now.fetch_add(10_000, Ordering::SeqCst);
    for actor in [&awake, &asleep] {
        until("the floor rises to the last three commits", || async {
            let (floor, head) = floor(&host, actor).await;
            floor.0 + 3 == head.0
        })
        .await;
        let db = host.store.actor(actor).await.unwrap().unwrap().row.db;
        until("commit rows below the floor go last", || async {
            let history = host.store.history(db).await.unwrap().unwrap();
            history.oldest == history.floor
        })
        .await;
        host.assert_intact(actor).await;
        assert_eq!(host.ok(actor, "scan", json!([1])).await, json!(500));
        host.open_export(actor, site.path()).await;
    }
    // A read of deleted history says so, as an error that leaves the process.
    let (floor, _) = floor(&host, &awake).await;
    let db = host.store.actor(&awake).await.unwrap().unwrap().row.db;
    let gone = host.store.read_at(db, Txid(floor.0 - 1), stockade_depot::Pgno(1), 1).await;
    let body = HostError::from(gone.unwrap_err()).body();
    assert_eq!((body.group.as_str(), body.code.as_str()), ("depot", "history-gone"));
    host.host.shutdown().await;
}

/// An export that takes longer than history is kept delays the trimming of its host.
#[tokio::test(flavor = "multi_thread")]
async fn an_export_under_writes_and_trimming_is_one_state() {
    let site = Site::new();
    let (clock, now) = clock();
    let host = start(&site, &clock).await;
    host.deploy_with(guest::SQLITE_BENCH, |limits| limits.history_commits_min = 1).await;
    let actor = actor(guest::SQLITE_BENCH, "a");
    host.ok(&actor, "setup", json!([100_000])).await;
    let mut export = host.host.actor(&actor).export().await.unwrap();
    let mut bytes = export.next().await.unwrap().expect("pages").to_vec();
    assert!(export.bytes() > u64::try_from(bytes.len()).unwrap(), "too small to be cut in two");
    for _ in 0..5 {
        host.ok(&actor, "update", json!([500])).await;
        now.fetch_add(100_000, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    let at = export.txid;
    while let Some(chunk) = export.next().await.unwrap() {
        bytes.extend_from_slice(&chunk);
    }
    drop(export);
    let file = site.path().join("exported");
    std::fs::write(&file, bytes).unwrap();
    let copy = rusqlite::Connection::open(&file).unwrap();
    let check: String = copy.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
    until("then it is trimmed", || async { floor(&host, &actor).await.0 > at }).await;
    host.host.shutdown().await;
}

/// Two hosts over one store trim the same databases, while one of them writes.
#[tokio::test(flavor = "multi_thread")]
async fn two_hosts_trim_one_store_under_writes() {
    let site = Site::new();
    let (clock, now) = clock();
    let (one, two) = (start(&site, &clock).await, start(&site, &clock).await);
    one.deploy_with(guest::SQLITE_BENCH, |limits| limits.history_commits_min = 1).await;
    let actor = actor(guest::SQLITE_BENCH, "a");
    one.ok(&actor, "setup", json!([500])).await;
    for _ in 0..60 {
        one.ok(&actor, "update", json!([5])).await;
        now.fetch_add(10_000, Ordering::SeqCst);
    }
    let (floor, head) = floor(&one, &actor).await;
    assert!(floor < head);
    now.fetch_add(100_000, Ordering::SeqCst);
    until("both come to the end", || async {
        let (floor, head) = self::floor(&two, &actor).await;
        floor.0 + 1 == head.0
    })
    .await;
    two.assert_intact(&actor).await;
    assert_eq!(one.ok(&actor, "scan", json!([1])).await, json!(500));
    one.host.shutdown().await;
    two.host.shutdown().await;
}

/// A process marks an actor for destruction and dies: the next host that starts finishes the
/// destroy.
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_destroy_is_finished_at_start() {
    let site = Site::new();
    let (clock, _) = clock();
    let host = start(&site, &clock).await;
    host.deploy(guest::SQLITE_BENCH).await;
    let actor = actor(guest::SQLITE_BENCH, "a");
    host.ok(&actor, "setup", json!([500])).await;
    host.host.shutdown().await;
    let store = site.open_store();
    let state = store.actor(&actor).await.unwrap().unwrap();
    let step = TakeoverStep {
        actor: actor.clone(),
        db: state.row.db,
        replaces: (state.head.fence.generation, state.head.fence.token),
        token: Token([3; 16]),
        owner: NodeSession([9; 16]),
        component: state.row.component,
        previous_end: PreviousEnd::Neutral,
        destroying: true,
    };
    store.take_over(step).await.unwrap();
    let host = start(&site, &clock).await;
    until("the destroy is finished", || async { store.rows_of(state.row.db).await.unwrap() == 0 })
        .await;
    assert_eq!(store.destroying(10).await, Ok(Vec::new()));
    // The name is free.
    host.ok(&actor, "setup", json!([10])).await;
    store.close().await;
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_actor_with_forks_is_not_destroyed() {
    let (_site, host) = Site::hosting(guest::SQLITE_BENCH).await;
    let actor = actor(guest::SQLITE_BENCH, "a");
    host.ok(&actor, "setup", json!([10])).await;
    let head = host.store.actor(&actor).await.unwrap().unwrap().head;
    host.store.pin(head.fence.db, head.txid, "fork/child").await.unwrap();
    let refused = host.host.actor(&actor).destroy().await.unwrap_err().body();
    assert_eq!((refused.group.as_str(), refused.code.as_str()), ("depot", "has-forks"));
    assert_eq!(host.ok(&actor, "scan", json!([1])).await, json!(10));
    host.host.shutdown().await;
}
