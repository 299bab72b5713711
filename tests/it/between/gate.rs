//! The gate of a call: what a generation that lost its database sends, and what it gets.

use std::time::{Duration, Instant};

use serde_json::json;
use stockade::HostError;
use stockade_depot::store::Ownership as _;
use stockade_testkit::faulty_store::{Fault, Step};
use stockade_tests::host::{Site, TestHost};

use super::{assert_never_called, code_of, deploy, granted, relay, to};
use crate::calls::{call, soon};

/// Two hosts on one store, and an actor that is awake at the first one.
async fn duel() -> (Site, TestHost, TestHost) {
    let site = Site::new();
    let old = site.host().start().await;
    deploy(&old, granted()).await;
    old.ok(&relay("a"), "write", json!([])).await;
    let new = site.usurper().start().await;
    // The takeover must not wait until the component is compiled.
    new.ok(&relay("warm"), "count", json!([])).await;
    (site, old, new)
}

/// The request never leaves: not even an actor is created for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_generation_that_lost_its_fence_calls_no_one() {
    let (_site, old, new) = duel().await;
    new.take_over_and_call(&relay("a"), "count", json!([])).await.unwrap();
    let answer = old.call(&relay("a"), "call", to("b", "write", "")).await;
    assert_eq!(code_of(&answer), "head-fence-mismatch", "{answer:?}");
    assert_never_called(&new, "b").await;
    old.host.shutdown().await;
    new.host.shutdown().await;
}

/// Nor while its newest commit is on its way.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_waits_until_the_commits_before_it_are_durable() {
    let (_site, old, new) = duel().await;
    let commit = old.store.arm(Step::Commit, 1, Fault::Hold);
    let calling = call(&old, &relay("a"), "write-and-call", to("b", "write", ""));
    commit.fired().await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(old.store.actor(&relay("b")).await.unwrap().is_none(), "the commit is not durable");
    new.take_over_and_call(&relay("a"), "count", json!([])).await.unwrap();
    commit.release();
    let answer = soon("the call", calling).await.unwrap();
    assert!(
        matches!(&answer, Err(error) if matches!(error.cause, HostError::Fenced { .. })),
        "{:?}",
        answer.map(|reply| reply.to_json())
    );
    assert_never_called(&new, "b").await;
    old.host.shutdown().await;
    new.host.shutdown().await;
}

/// A caller that is fenced while it waits gets nothing: its guest ends before the answer comes.
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_lost_its_database_gets_no_answer() {
    let (_site, old, new) = duel().await;
    old.ok(&relay("b"), "write", json!([])).await;
    let calling = call(&old, &relay("a"), "call", to("b", "nap", "[5000]"));
    tokio::time::sleep(Duration::from_millis(300)).await;
    new.take_over_and_call(&relay("a"), "count", json!([])).await.unwrap();
    // The loss becomes known with the next step of that generation.
    let begun = Instant::now();
    let answer = soon("the call", calling).await.unwrap();
    assert!(answer.is_err(), "{:?}", answer.map(|reply| reply.to_json()));
    assert!(begun.elapsed() < Duration::from_secs(7), "{:?}", begun.elapsed());
    old.host.shutdown().await;
    new.host.shutdown().await;
}
