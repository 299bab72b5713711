//! Chains that come back, and chains that cross.

use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use stockade::limits::CHAIN_ACTORS_MAX;

use super::{assert_error, error, granted, hosting, relay, to};
use crate::calls::{call, soon};

/// Far below the 30 s that the calls of a circle would take.
const AT_LEAST_SOON: Duration = Duration::from_secs(4);

fn after(ms: u64, key: &str, method: &str, arguments: &str) -> Json {
    let mut all = vec![json!(ms)];
    all.extend(to(key, method, arguments).as_array().unwrap().clone());
    json!(all)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_comes_back_is_refused_with_its_actors() {
    let (_site, host) = hosting(granted()).await;
    assert_eq!(host.ok(&relay("a"), "pass", json!([["b", "c"]])).await, json!(2));
    let begun = Instant::now();
    let itself = host.call(&relay("a"), "call", to("a", "count", "")).await.unwrap();
    assert_error(&itself, "CallCycle(");
    let back = host.call(&relay("a"), "pass", json!([["b", "c", "a"]])).await.unwrap();
    let text = error(&back);
    assert!(text.contains("CallCycle(") && text.contains("crosses: false"), "{text}");
    assert_eq!(text.matches("key: ").count(), 3, "all of them: {text}");
    let inner = host.call(&relay("a"), "pass", json!([["b", "c", "b"]])).await.unwrap();
    assert!(error(&inner).contains("CallCycle("), "{inner}");
    assert!(begun.elapsed() < AT_LEAST_SOON, "{:?}", begun.elapsed());
    // The actors work on.
    assert_eq!(host.ok(&relay("a"), "pass", json!([["c", "b"]])).await, json!(2));
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chains_are_bounded() {
    let (_site, host) = hosting(granted()).await;
    let keys: Vec<String> = (0..CHAIN_ACTORS_MAX + 1).map(|n| format!("n{n}")).collect();
    let fits = json!([keys[..CHAIN_ACTORS_MAX - 1]]);
    assert_eq!(host.ok(&relay("a"), "pass", fits).await, json!(CHAIN_ACTORS_MAX - 1));
    let longer = host.call(&relay("a"), "pass", json!([keys])).await.unwrap();
    assert!(longer["err"].is_string());
    super::assert_never_called(&host, &keys[CHAIN_ACTORS_MAX]).await;
    let last = host.host.actor(&relay(&keys[CHAIN_ACTORS_MAX - 1])).info().await;
    assert!(last.is_ok(), "so many wait for it: {last:?}");
    host.host.shutdown().await;
}

/// Two callers, each of whose actors calls the other's.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_chains_that_cross_the_younger_gives_way() {
    let (_site, host) = hosting(granted()).await;
    for key in ["a", "b"] {
        host.ok(&relay(key), "count", json!([])).await;
    }
    let begun = Instant::now();
    let older = call(&host, &relay("a"), "call-after", after(300, "b", "count", ""));
    let younger = call(&host, &relay("b"), "call-after", after(600, "a", "count", ""));
    let (older, younger) = tokio::join!(soon("the older", older), soon("the younger", younger));
    let (older, younger) = (older.unwrap().unwrap().to_json(), younger.unwrap().unwrap().to_json());
    assert_eq!(older, json!({ "ok": r#"{"ok":0}"# }));
    assert_error(&younger, "CallCycle(");
    assert!(error(&younger).contains("crosses: true"), "{younger}");
    assert!(begun.elapsed() < AT_LEAST_SOON, "{:?}", begun.elapsed());
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_circle_of_several_chains_is_opened_once() {
    let (_site, host) = hosting(granted()).await;
    let keys = ["a", "b", "c", "d"];
    for key in keys {
        host.ok(&relay(key), "count", json!([])).await;
    }
    for round in 0..5 {
        let begun = Instant::now();
        let calls = (0..keys.len()).map(|n| {
            let next = keys[(n + 1) % keys.len()];
            call(&host, &relay(keys[n]), "call-after", after(200, next, "count", ""))
        });
        let mut refused = 0;
        for call in calls.collect::<Vec<_>>() {
            let answer = soon("a circle", call).await.unwrap().unwrap().to_json();
            if answer["err"].is_string() {
                assert_error(&answer, "CallCycle(");
                refused += 1;
            }
        }
        // Calls that miss each other in time close no circle.
        assert!(refused <= 1, "round {round}: {refused} gave way");
        assert!(begun.elapsed() < AT_LEAST_SOON, "{:?}", begun.elapsed());
    }
    host.host.shutdown().await;
}

/// What occupies an actor without being a call: its hooks.
#[tokio::test(flavor = "multi_thread")]
async fn hooks_are_members_of_chains() {
    let (_site, host) = hosting(granted()).await;
    let begun = Instant::now();
    // Its `start` hook calls back.
    let back = host.call(&relay("a"), "call", to("start>a", "count", "")).await.unwrap();
    assert_error(&back, "Failed(");
    assert!(error(&back).contains("actor.start-failed"), "{back}");
    let text = error(&back);
    assert!(text.contains("CallCycle(") && text.contains("crosses: false"), "its hook: {back}");
    // Its `stop` hook calls an actor that calls it.
    host.ok(&relay("stop>b"), "count", json!([])).await;
    host.ok(&relay("b"), "count", json!([])).await;
    let calling = call(&host, &relay("b"), "call-after", after(500, "stop>b", "count", ""));
    tokio::time::sleep(Duration::from_millis(200)).await;
    let stopping = host.host.actor(&relay("stop>b"));
    let stopped = soon("the end", stopping.stop()).await.unwrap().expect("it was awake");
    let called = soon("the call", calling).await.unwrap().unwrap().to_json();
    let gave_way = stopped.message.as_deref().is_some_and(|text| text.contains("CallCycle("));
    assert!(gave_way ^ called["err"].is_string(), "{stopped:?}, {called}");
    // A snapshot calls no one.
    host.ok(&relay("snapshot>c"), "count", json!([])).await;
    let stopped =
        host.host.actor(&relay("snapshot>c")).stop().await.unwrap().expect("it was awake");
    let text = format!("{:?}", stopped.snapshot);
    assert!(text.contains("Revoked("), "{stopped:?}");
    super::assert_never_called(&host, "c").await;
    assert!(begun.elapsed() < AT_LEAST_SOON * 2, "{:?}", begun.elapsed());
    host.host.shutdown().await;
}
