//! The gate of a message: what a generation that lost its database delivers.

use std::time::{Duration, Instant};

use serde_json::json;
use stockade::{CallError, HostError, MessageOrder};
use stockade_depot::Reason;
use stockade_depot::store::Ownership as _;
use stockade_testkit::faulty_store::{Fault, Step};
use stockade_tests::host::{Site, TestHost};

use super::{PATIENCE, deploy, granted, list, mail, rows, send, to};

/// Two hosts on one store, and an actor that is awake at the first one.
async fn duel() -> (Site, TestHost, TestHost) {
    let site = Site::new();
    let old = site.host().start().await;
    deploy(&old, granted()).await;
    old.ok(&mail("a"), "note", json!(["x"])).await;
    let new = site.usurper().start().await;
    // The takeover must not wait until the component is compiled.
    new.ok(&mail("warm"), "count", json!([])).await;
    (site, old, new)
}

/// The message was never committed: it was never sent.
#[tokio::test(flavor = "multi_thread")]
async fn a_generation_that_lost_its_fence_delivers_nothing() {
    let (_site, old, new) = duel().await;
    new.take_over_and_call(&mail("a"), "count", json!([])).await.unwrap();
    assert!(old.call(&mail("a"), "send", to("b", "note", "[\"x\"]")).await.is_err());
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(new.store.actor(&mail("b")).await.unwrap().is_none(), "it was delivered");
    assert!(list(&new, "a").await.is_empty());
    old.host.shutdown().await;
    new.host.shutdown().await;
}

/// It was committed, and the next owner's operator has dropped it before it left.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_leaves_behind_a_confirmation_of_the_fence() {
    let (_site, old, new) = duel().await;
    let confirm = old.store.arm(Step::Confirm, 1, Fault::Hold);
    send(&old, "a", "b", "note", "[\"x\"]").await;
    confirm.fired().await;
    let is_delivered = async || {
        tokio::time::sleep(Duration::from_millis(300)).await;
        old.store.actor(&mail("b")).await.unwrap().is_some()
    };
    assert!(!is_delivered().await, "the fence is not confirmed");
    assert_eq!(take_over_and_drop(&new, "out-1").await, 1);
    confirm.release();
    assert_eq!(old.exit_of(&mail("a")).await.reason, Reason::Fenced);
    assert!(!is_delivered().await, "the fence was lost");
    old.host.shutdown().await;
    new.host.shutdown().await;
}

/// Drops a message of `a` until the host has taken that over. Returns how many there were.
async fn take_over_and_drop(host: &TestHost, id: &str) -> u64 {
    let begun = Instant::now();
    loop {
        let order = MessageOrder::Drop { id: id.to_owned() };
        match host.host.actor(&mail("a")).order_messages(order).await {
            Err(CallError { cause: HostError::Elsewhere { .. }, .. })
                if begun.elapsed() < PATIENCE =>
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            answer => return answer.unwrap().changes,
        }
    }
}

/// Nor is anything delivered while the commit that sends it is on its way.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_waits_until_its_commit_is_durable() {
    let (_site, old, new) = duel().await;
    let commit = old.store.arm(Step::Commit, 1, Fault::Hold);
    let sending = {
        let (host, arguments) = (old.host.clone(), to("b", "note", "[\"x\"]"));
        tokio::spawn(async move {
            host.actor(&mail("a")).call("send", stockade::Arguments::Json(arguments)).await
        })
    };
    commit.fired().await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(old.store.actor(&mail("b")).await.unwrap().is_none(), "the commit is not durable");
    new.take_over_and_call(&mail("a"), "count", json!([])).await.unwrap();
    commit.release();
    assert!(sending.await.unwrap().is_err());
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(new.store.actor(&mail("b")).await.unwrap().is_none(), "it was delivered");
    old.host.shutdown().await;
    new.host.shutdown().await;
}

/// What was committed is sent: the next owner delivers it, and what its former one may have delivered
/// runs once.
#[tokio::test(flavor = "multi_thread")]
async fn the_next_owner_delivers_what_the_former_one_has_committed() {
    let (_site, old, new) = duel().await;
    old.ok(&mail("b"), "count", json!([])).await;
    send(&old, "a", "b", "slow", "[\"one\", 800]").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    new.take_over_and_call(&mail("a"), "send", to("b", "note", "[\"two\"]")).await.unwrap();
    // The receiver stays where it is: the second host takes it over as it is called for.
    let all = loop {
        if let Ok(answer) = new.take_over_and_call(&mail("b"), "texts", json!([])).await
            && answer["ok"].as_array().is_some_and(|texts| texts.len() >= 2)
        {
            break answer["ok"].clone();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(all, json!(["one", "two"]));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(rows(&new, "b", 2).await.len(), 2);
    old.host.shutdown().await;
    new.host.shutdown().await;
}

/// The receiver's answer leaves behind its commit: a receiver that was fenced has received nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_lost_its_fence_has_received_nothing() {
    let (_site, old, new) = duel().await;
    send(&old, "a", "b", "note", "[\"first\"]").await;
    rows(&old, "b", 1).await;
    new.take_over_and_call(&mail("b"), "count", json!([])).await.unwrap();
    // The first host does not know yet that it has lost the receiver.
    send(&old, "a", "b", "note", "[\"second\"]").await;
    // Time for an answer that would not have passed its gate to take the row away.
    tokio::time::sleep(Duration::from_millis(500)).await;
    // The sender moves as well, or it would ask the first host without end.
    new.take_over_and_call(&mail("a"), "count", json!([])).await.unwrap();
    assert_eq!(rows(&new, "b", 2).await, ["first", "second"]);
    old.host.shutdown().await;
    new.host.shutdown().await;
}
