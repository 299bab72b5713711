//! The memory of all guests together is bounded: idle actors are put to sleep, the largest first,
//! and only then a request is refused, with the limit's name.

use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use stockade::error::{Code, Retry, TrapLimit};
use stockade::{Arguments, CallError, HostError};
use stockade_tests::guest;
use stockade_tests::host::{Site, TestHost, actor};

const MIB: u64 = 1 << 20;
/// The memory to which each of these guests may grow.
const EACH: u64 = 32 * MIB;

async fn host(site: &Site, guest_bytes_max: u64) -> TestHost {
    let host =
        site.host().limits(|limits| limits.guest_bytes_max = Some(guest_bytes_max)).start().await;
    host.deploy_with(guest::HOSTILE_LOOP, |limits| {
        limits.memory_bytes_max = EACH;
        limits.call_time_ms = 6_000;
    })
    .await;
    host
}

/// Runs a method concurrently with the test.
fn beside(
    host: &TestHost,
    key: &str,
    method: &'static str,
) -> tokio::task::JoinHandle<Result<Json, CallError>> {
    let (host, actor) = (host.host.clone(), actor(guest::HOSTILE_LOOP, key));
    tokio::spawn(async move {
        let reply = host.actor(&actor).call(method, Arguments::Json(json!([]))).await;
        reply.map(|reply| reply.to_json())
    })
}

/// An actor that grows to its limit and then computes. It is not idle between the two, so it cannot
/// be put to sleep.
async fn busy(host: &TestHost) -> tokio::task::JoinHandle<Result<Json, CallError>> {
    let (calls, grown) = (host.host.clone(), host.host.clone());
    let busy = tokio::spawn(async move {
        let busy = calls.actor(&actor(guest::HOSTILE_LOOP, "busy"));
        let call = |method| busy.call(method, Arguments::None);
        let (pages, spun) = tokio::join!(call("grow"), call("spin"));
        pages?;
        spun.map(|reply| reply.to_json())
    });
    while grown.guest_bytes() < EACH - 2 * MIB {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    busy
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_actors_make_room_the_largest_first() {
    let site = Site::new();
    let max = 100 * MIB;
    let host = host(&site, max).await;
    let small = actor(guest::HOSTILE_LOOP, "small");
    host.call(&small, "hello", json!([])).await.unwrap();
    for n in 0..12 {
        let large = actor(guest::HOSTILE_LOOP, &format!("large {n}"));
        // Nothing is refused: each actor gets all that its kind may have.
        let pages = host.call(&large, "grow", json!([])).await.unwrap();
        assert!(pages.as_u64() > Some(EACH / (64 << 10) - 60), "{pages}");
        assert!(host.host.guest_bytes() <= max, "{}", host.host.guest_bytes());
    }
    assert!(host.host.awake() < 6, "{} are awake", host.host.awake());
    let reply = host.host.actor(&small).call("hello", Arguments::None).await.unwrap();
    assert_eq!(reply.generation.0, 1, "a small one is left awake");
    host.host.shutdown().await;
    assert_eq!(host.host.guest_bytes(), 0, "everything was given back");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_busy_actors_hold_is_refused_to_others_by_name() {
    let site = Site::new();
    // One large actor and a few small ones.
    let host = host(&site, EACH).await;
    let busy = busy(&host).await;
    host.call(&actor(guest::HOSTILE_LOOP, "small"), "hello", json!([])).await.unwrap();
    let error = beside(&host, "other", "outgrow").await.unwrap().unwrap_err();
    let HostError::Trapped { crash, .. } = &error.cause else { panic!("{error:?}") };
    assert_eq!(crash.limit, Some(TrapLimit::HostMemory), "{crash:?}");
    assert!(crash.cause.contains("all guests of the host"), "{crash:?}");
    assert_eq!(error.retry(), Retry::Retry);
    assert!(matches!(
        busy.await.unwrap(),
        Err(CallError { cause: HostError::BudgetExhausted { .. }, .. })
    ));
    host.call(&actor(guest::HOSTILE_LOOP, "other"), "grow", json!([])).await.unwrap();
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_wakes_where_there_is_no_room() {
    let site = Site::new();
    // One large actor and no other.
    let host = host(&site, EACH - 2 * MIB + (400 << 10)).await;
    let busy = busy(&host).await;
    let error = beside(&host, "small", "hello").await.unwrap().unwrap_err();
    assert!(matches!(&error.cause, HostError::Overloaded { .. }), "{error:?}");
    assert_eq!((error.code(), error.retry()), (Code::ActorOverloaded, Retry::Retry));
    drop(busy.await.unwrap());
    host.call(&actor(guest::HOSTILE_LOOP, "small"), "hello", json!([])).await.unwrap();
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_of_sqlite_counts_as_well() {
    let site = Site::new();
    let host = host(&site, 20 * MIB).await;
    let hostile = actor(guest::HOSTILE_LOOP, "hostile");
    let refused = host.call(&hostile, "compile-for-ever", json!([])).await.unwrap();
    assert!(refused.to_string().contains("Unavailable"), "{refused}");
    let held = host.host.guest_bytes();
    assert!(held < MIB, "{held} bytes are held when the call is over");
    host.call(&hostile, "hello", json!([])).await.unwrap();
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_the_log_is_dropped_and_counted() {
    let log = stockade_testkit::capture::capture();
    let site = Site::new();
    let host = site.host().start().await;
    host.deploy_with(guest::HOSTILE_LOOP, |limits| limits.log_bytes_per_s = 20_000).await;
    let flooder = actor(guest::HOSTILE_LOOP, "flooder of logs");
    let began = Instant::now();
    for _ in 0..3 {
        host.call(&flooder, "flood-log", json!([1_000, 1_000])).await.unwrap();
    }
    let seconds = usize::try_from(began.elapsed().as_secs()).unwrap() + 2;
    let lines = log.lines(&["flooder of logs"]);
    assert!(lines.len() < 21 * seconds, "{} lines in {seconds} s", lines.len());
    assert!(!log.loud(&["flooder of logs", "of this actor were dropped"]).is_empty());
    host.host.shutdown().await;
}

/// A value of the engine is larger than the byte from which it is made.
#[tokio::test(flavor = "multi_thread")]
async fn replies_take_room_until_their_callers_have_them() {
    let site = Site::new();
    let host = host(&site, 100 * MIB).await;
    let of = host.host.actor(&actor(guest::HOSTILE_LOOP, "a"));
    let answer = || of.call("answer", Arguments::Json(json!([1_000_000])));
    let held = [answer().await.unwrap(), answer().await.unwrap()];
    let error = answer().await.unwrap_err();
    assert!(matches!(error.cause, HostError::Overloaded { .. }), "{error:?}");
    assert_eq!(error.verdict, None, "{error:?}");
    assert_eq!(error.retry(), Retry::Retry, "nothing was written");
    drop(held);
    answer().await.unwrap();
    host.host.shutdown().await;
    assert_eq!(host.host.guest_bytes(), 0, "everything was given back");
}
