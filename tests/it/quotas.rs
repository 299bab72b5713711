//! Quotas of a kind: how many actors, how much they store together, how fast they are created.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;
use stockade::error::{Code, Retry};
use stockade::host::SqlRequest;
use stockade::{CallError, Manifest};
use stockade_tests::guest;
use stockade_tests::host::{Site, TestHost, actor};

/// A liveness bound, on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

async fn create(host: &TestHost, key: &str) -> Result<(), CallError> {
    host.call(&actor(guest::COUNTER, key), "increment", json!([1])).await.map(drop)
}

fn assert_quota(error: &CallError, quota: &str) {
    assert_eq!((error.code(), error.retry()), (Code::QuotaReached, Retry::Fix), "{error}");
    assert_eq!(error.body().details["quota"], quota, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_has_no_more_actors_than_its_quota() {
    let site = Site::new();
    let host = site.host().start().await;
    host.deploy_with(guest::COUNTER, |limits| limits.actors_max = 3).await;
    let keys: Vec<String> = (0..20).map(|number| format!("k{number}")).collect();
    let all = join_all(keys.iter().map(|key| create(&host, key))).await;
    let (made, refused): (Vec<_>, Vec<_>) = all.into_iter().partition(Result::is_ok);
    assert_eq!((made.len(), refused.len()), (3, 17));
    for error in refused.into_iter().filter_map(Result::err) {
        assert_quota(&error, "actors_max");
    }
    let there = host.host.actors(Some("counter"), None, 100).await.unwrap();
    assert_eq!(there.len(), 3);
    // Existing actors continue, asleep and awake.
    let first = &there[0].actor;
    host.host.actor(first).stop().await.unwrap();
    assert!(host.call(first, "increment", json!([1])).await.is_ok());
    host.host.actor(first).destroy().await.unwrap();
    create(&host, "again").await.unwrap();
    assert_quota(&create(&host, "more").await.unwrap_err(), "actors_max");
    assert_eq!(host.host.usage("counter").await.unwrap().unwrap().actors, 3);
    host.host.shutdown().await;
    // A restarted process counts before it admits a new actor.
    let host = site.host().start().await;
    assert_quota(&create(&host, "more").await.unwrap_err(), "actors_max");
    // A higher quota takes effect immediately.
    host.deploy_with(guest::COUNTER, |limits| limits.actors_max = 4).await;
    create(&host, "more").await.unwrap();
    assert_quota(&create(&host, "most").await.unwrap_err(), "actors_max");
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_process_creates_is_counted() {
    let site = Site::new();
    let limits = |limits: &mut stockade::limits::HostLimits| {
        limits.upkeep_every = Duration::from_millis(20);
    };
    let host = site.host().limits(limits).start().await;
    host.deploy_with(guest::COUNTER, |limits| limits.actors_max = 3).await;
    create(&host, "here").await.unwrap();
    let other = site.host().start().await;
    for key in ["a", "b"] {
        create(&other, key).await.unwrap();
    }
    assert_quota(&create(&other, "c").await.unwrap_err(), "actors_max");
    let begun = Instant::now();
    while host.host.usage("counter").await.unwrap().unwrap().actors < 3 {
        assert!(begun.elapsed() < PATIENCE, "not counted again");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_quota(&create(&host, "d").await.unwrap_err(), "actors_max");
    other.host.shutdown().await;
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_stores_no_more_than_its_quota() {
    const MAX: u64 = 256 << 10;
    let site = Site::new();
    let host = site.host().start().await;
    host.deploy_with(guest::COUNTER, |limits| limits.stored_bytes_max = MAX).await;
    let write = async |key: &str, sql: &str| {
        let sql = sql.to_owned();
        let request = SqlRequest { sql, write: true, ..SqlRequest::default() };
        host.host.actor(&actor(guest::COUNTER, key)).sql(request).await
    };
    for key in ["a", "b", "c"] {
        create(&host, key).await.unwrap();
        write(key, "CREATE TABLE t (x)").await.unwrap();
    }
    let mut full = None;
    for round in 0..200 {
        let key = ["a", "b", "c"][round % 3];
        match write(key, "INSERT INTO t VALUES (randomblob(5000))").await {
            Ok(_) => {}
            Err(error) => {
                full = Some(error);
                break;
            }
        }
    }
    assert_eq!(full.expect("never full").code(), Code::SqlFull);
    let stored = async || -> u64 {
        let infos = host.host.actors(None, None, 100).await.unwrap();
        infos.iter().map(|info| info.bytes).sum()
    };
    assert!((MAX / 2..=MAX).contains(&stored().await), "{}", stored().await);
    assert_eq!(host.host.usage("counter").await.unwrap().unwrap().stored_bytes, stored().await);
    // Existing rows can be changed, and made smaller.
    assert!(create(&host, "a").await.is_ok());
    write("a", "DELETE FROM t").await.unwrap();
    write("a", "VACUUM").await.unwrap();
    write("b", "INSERT INTO t VALUES (randomblob(5000))").await.unwrap();
    // A kind that is over a lowered quota gets no further actor.
    host.deploy_with(guest::COUNTER, |limits| limits.stored_bytes_max = 8 << 10).await;
    assert_quota(&create(&host, "d").await.unwrap_err(), "stored_bytes_max");
    assert!(create(&host, "c").await.is_ok(), "its rows fit into the pages that it has");
    host.host.actor(&actor(guest::COUNTER, "b")).destroy().await.unwrap();
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_gets_no_more_actors_a_second_than_its_quota() {
    let site = Site::new();
    let host = site.host().start().await;
    host.deploy_with(guest::COUNTER, |limits| limits.creates_per_s = 1).await;
    let keys: Vec<String> = (0..20).map(|number| format!("k{number}")).collect();
    let all = join_all(keys.iter().map(|key| create(&host, key))).await;
    let refused: Vec<CallError> = all.into_iter().filter_map(Result::err).collect();
    assert!((1..20).contains(&refused.len()), "{}", refused.len());
    for error in &refused {
        assert_eq!((error.code(), error.retry()), (Code::CreatedTooFast, Retry::Retry), "{error}");
        let wait = error.retry_after().expect("tells when");
        assert!(wait <= Duration::from_secs(2), "{wait:?}");
    }
    let there = host.host.actors(Some("counter"), None, 100).await.unwrap();
    assert_eq!(there.len(), 20 - refused.len(), "who is refused leaves nothing");
    assert!(host.call(&there[0].actor, "increment", json!([1])).await.is_ok());
    // A caller that follows the advice gets in.
    let begun = Instant::now();
    while let Err(error) = create(&host, "late").await {
        assert!(begun.elapsed() < PATIENCE, "{error}");
        tokio::time::sleep(error.retry_after().unwrap()).await;
    }
    host.host.shutdown().await;
}

#[test]
fn quotas_that_cannot_be_are_refused_by_name() {
    let mut manifest = Manifest::default();
    manifest.limits.creates_per_s = u64::MAX;
    let refused = manifest.check(&stockade::limits::HostLimits::default()).unwrap_err();
    assert!(refused.to_string().contains("creates_per_s"), "{refused}");
}
