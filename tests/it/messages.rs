//! Messages between actors at the public edge: in the sender's transactions, in order, once; what fails,
//! what is parked, what cannot be sent; and what a generation that lost its database delivers. How money
//! survives programs that are killed and frozen is in `nodes/bank.rs`. The rules of the protocol, each
//! with the history that it excludes, are tested where the rows are (`host/src/sqlite/tests/messages.rs`).

mod flood;
mod gate;
mod idle;
mod operators;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use stockade::host::ActorStatus;
use stockade::internal::Clock;
use stockade::limits::{MESSAGE_BYTES_MAX, OUTBOX_ROWS_MAX};
use stockade::{ActorId, AfterParked, HostError, Manifest, MessageOrder, SqlValue};
use stockade_depot::store::embedded;
use stockade_tests::guest;
use stockade_tests::host::{Site, TestHost};
use tokio::runtime::Handle;

/// The kind of the test guest.
const KIND: &str = "messages_mail";
/// Long enough for a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn granted() -> Manifest {
    Manifest { calls: vec![KIND.to_owned()], ..Manifest::default() }
}

async fn deploy(host: &TestHost, manifest: Manifest) {
    host.host.deploy(KIND, guest::MESSAGES_MAIL.wasm().unwrap(), manifest).await.unwrap();
}

async fn hosting(manifest: Manifest) -> (Site, TestHost) {
    let site = Site::new();
    let host = site.host().start().await;
    deploy(&host, manifest).await;
    (site, host)
}

/// The same with a clock that the test sets, in milliseconds: the host's and the store's.
async fn hosting_at(now: &Arc<AtomicI64>, manifest: Manifest) -> (Site, TestHost) {
    let site = Site::new();
    let (of_host, of_store) = (Arc::clone(now), Arc::clone(now));
    let of_host = Clock::new(move || of_host.load(Ordering::Relaxed));
    let of_store = embedded::Clock::new(move || of_store.load(Ordering::Relaxed).unsigned_abs());
    let builder = site.host().on(&Handle::current()).wall_clock(of_host).clock(of_store);
    let host = builder.start().await;
    deploy(&host, manifest).await;
    (site, host)
}

/// A clock for that: it stands still.
fn clock() -> Arc<AtomicI64> {
    Arc::new(AtomicI64::new(1_764_561_101_000))
}

fn mail(key: &str) -> ActorId {
    ActorId::new(KIND, key).unwrap()
}

/// The arguments of a message to another actor of the kind.
fn to(key: &str, method: &str, arguments: &str) -> Json {
    json!([KIND, key, method, arguments])
}

async fn send(host: &TestHost, from: &str, key: &str, method: &str, arguments: &str) {
    host.ok(&mail(from), "send", to(key, method, arguments)).await;
}

async fn texts(host: &TestHost, key: &str, method: &str) -> Vec<String> {
    serde_json::from_value(host.ok(&mail(key), method, json!([])).await).unwrap()
}

/// Waits until an actor has so many rows. A call that waits for its turn may meet the end of the
/// generation.
async fn rows(host: &TestHost, key: &str, count: usize) -> Vec<String> {
    let begun = Instant::now();
    loop {
        let answer = host.call(&mail(key), "texts", json!([])).await;
        let texts = answer.as_ref().ok().map(|answer| answer["ok"].clone());
        let texts: Option<Vec<String>> = texts.and_then(|it| serde_json::from_value(it).ok());
        if let Some(texts) = texts.filter(|texts| texts.len() >= count) {
            return texts;
        }
        assert!(begun.elapsed() < PATIENCE, "{key}: only {answer:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn list(host: &TestHost, key: &str) -> Vec<Vec<SqlValue>> {
    host.host.actor(&mail(key)).order_messages(MessageOrder::List).await.unwrap().rows
}

/// Waits until an actor has so many messages, sent or parked, and returns them.
async fn listed(host: &TestHost, key: &str, count: usize) -> Vec<Vec<SqlValue>> {
    let begun = Instant::now();
    loop {
        let rows = list(host, key).await;
        if rows.len() == count {
            return rows;
        }
        assert!(begun.elapsed() < PATIENCE, "{key}: {rows:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn cell(row: &[SqlValue], at: usize) -> String {
    match &row[at] {
        SqlValue::Text(text) => text.clone(),
        other => format!("{other:?}"),
    }
}

fn error(answer: &Json) -> &str {
    answer["err"].as_str().unwrap_or_else(|| panic!("no error: {answer}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_runs_a_method_of_its_receiver_and_creates_it() {
    let (_site, host) = hosting(granted()).await;
    send(&host, "a", "b", "note", "[\"one\"]").await;
    send(&host, "a", "b", "note", "{\"text\": \"two\"}").await;
    send(&host, "a", "b", "note-within", "[\"three\"]").await;
    assert_eq!(rows(&host, "b", 3).await, ["one", "two", "three"]);
    assert_eq!(texts(&host, "b", "received").await, ["one a 1", "two a 1", "three a 1"]);
    // By a call there is no message.
    host.ok(&mail("b"), "note", json!(["called"])).await;
    assert_eq!(texts(&host, "b", "received").await.len(), 3);
    listed(&host, "a", 0).await;
    // To itself, too.
    send(&host, "b", "b", "note", "[\"mine\"]").await;
    assert_eq!(rows(&host, "b", 5).await[4], "mine");
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_kept_with_its_transaction_or_never_sent() {
    let (_site, host) = hosting(granted()).await;
    for how in ["commit", "rollback", "savepoint", "open", "trap"] {
        drop(host.call(&mail("a"), "together", json!([how, "b", how])).await);
    }
    assert_eq!(texts(&host, "a", "texts").await, ["commit", "savepoint"]);
    assert_eq!(rows(&host, "b", 1).await, ["commit"]);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(rows(&host, "b", 1).await, ["commit"]);
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_messages_arrive_once_and_in_order() {
    let (_site, host) = hosting(granted()).await;
    for first in (0..1_000).step_by(250) {
        host.ok(&mail("a"), "many", json!(["b", first, 250])).await;
        host.ok(&mail("c"), "many", json!(["b", 10_000 + first, 250])).await;
    }
    let all = rows(&host, "b", 2_000).await;
    let numbers: Vec<u32> = all.iter().map(|text| text.parse().unwrap()).collect();
    for (from, range) in [(0..1_000_u32, "a"), (10_000..11_000, "c")] {
        let of: Vec<u32> = numbers.iter().copied().filter(|number| from.contains(number)).collect();
        assert_eq!(of, from.collect::<Vec<_>>(), "{range}");
    }
    listed(&host, "a", 0).await;
    host.host.shutdown().await;
}

/// Each waits for its own messages, and works on those of the other one.
#[tokio::test(flavor = "multi_thread")]
async fn actors_that_send_to_each_other_work_on() {
    let (_site, host) = hosting(granted()).await;
    for number in 0..200 {
        let arguments = format!("[\"{number}\"]");
        send(&host, "a", "b", "answer", &arguments).await;
        send(&host, "b", "a", "answer", &arguments).await;
    }
    rows(&host, "a", 400).await;
    rows(&host, "b", 400).await;
    listed(&host, "a", 0).await;
    listed(&host, "b", 0).await;
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_sent_is_a_typed_error() {
    let (_site, host) = hosting(granted()).await;
    for (arguments, named) in [
        (json!([KIND, "", "note", ""]), "InvalidArgument(\""),
        (json!(["Kind", "b", "note", ""]), "InvalidArgument(\""),
        (json!([KIND, "b", "", ""]), "InvalidArgument(\"a method's name"),
        (json!([KIND, "b", "note", "[\"x\""]), "InvalidArgument(\"the arguments are not JSON"),
        (json!(["other", "b", "note", ""]), r#"Denied("calls = [\"other\"]")"#),
    ] {
        let answer = host.call(&mail("a"), "send", arguments.clone()).await.unwrap();
        assert!(error(&answer).starts_with(named), "{arguments}: {answer}");
    }
    let bytes = MESSAGE_BYTES_MAX + 1;
    let answer = host.call(&mail("a"), "sized", json!(["b", bytes])).await.unwrap();
    assert_eq!(error(&answer), format!("TooLarge({MESSAGE_BYTES_MAX})"));
    host.ok(&mail("a"), "sized", json!(["b", MESSAGE_BYTES_MAX])).await;
    assert_eq!(rows(&host, "b", 1).await[0].len() as u64, MESSAGE_BYTES_MAX - 4);
    let none = Manifest::default();
    deploy(&host, none).await;
    let answer = host.call(&mail("a"), "send", to("b", "note", "[\"x\"]")).await.unwrap();
    assert!(error(&answer).starts_with("Denied("), "{answer}");
    host.host.shutdown().await;
}

/// Calls fill half of the outbox, the methods that handle messages the rest.
#[tokio::test(flavor = "multi_thread")]
async fn an_outbox_is_bounded_and_has_room_for_handlers() {
    let (_site, host) = hosting(granted()).await;
    // Nothing leaves before the call has ended.
    let sent = host.ok(&mail("a"), "fill", json!(["sink"])).await;
    assert_eq!(sent, json!(OUTBOX_ROWS_MAX / 2));
    listed(&host, "a", 0).await;
    send(&host, "b", "c", "fill-within", "[\"sink\"]").await;
    let within: u64 = rows(&host, "c", 1).await[0].parse().unwrap();
    assert_eq!(within, OUTBOX_ROWS_MAX);
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_method_that_fails_or_traps_is_tried_again_and_keeps_nothing() {
    let (_site, host) = hosting(granted()).await;
    send(&host, "a", "b", "fail", "[\"failed\", 2]").await;
    send(&host, "a", "b", "note", "[\"behind\"]").await;
    send(&host, "c", "b", "trap", "[\"trapped\", 2]").await;
    // What is behind waits; what comes from others does not.
    send(&host, "d", "b", "note", "[\"beside\"]").await;
    let all = rows(&host, "b", 4).await;
    let at = |text: &str| all.iter().position(|it| it == text).unwrap();
    assert_eq!(all.len(), 4, "{all:?}");
    assert!(at("failed") < at("behind") && at("beside") < at("failed"), "{all:?}");
    let received = texts(&host, "b", "received").await;
    for expected in ["failed a 2", "behind a 1", "trapped c 2", "beside d 1"] {
        assert!(received.iter().any(|it| it == expected), "{expected}: {received:?}");
    }
    host.host.shutdown().await;
}

/// The component of `changing` has no `note` at first, and `later` is no kind yet.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_method_waits_for_a_deploy_and_a_missing_kind_too() {
    let manifest = Manifest { calls: vec!["*".to_owned()], ..Manifest::default() };
    let (_site, host) = hosting(manifest.clone()).await;
    let without = guest::CALLS_RELAY.wasm().unwrap();
    host.host.deploy("changing", without, manifest.clone()).await.unwrap();
    for kind in ["changing", "later"] {
        host.ok(&mail("a"), "send", json!([kind, "x", "note", "[\"one\"]"])).await;
    }
    let begun = Instant::now();
    let is_missing =
        |row: &Vec<SqlValue>| cell(row, 2) == "changing/x" && cell(row, 7).contains("note");
    while !list(&host, "a").await.iter().any(is_missing) {
        assert!(begun.elapsed() < PATIENCE, "{:?}", list(&host, "a").await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(list(&host, "a").await.len(), 2, "both wait");
    for kind in ["changing", "later"] {
        let wasm = guest::MESSAGES_MAIL.wasm().unwrap();
        host.host.deploy(kind, wasm, manifest.clone()).await.unwrap();
    }
    for kind in ["changing", "later"] {
        let receiver = ActorId::new(kind, "x").unwrap();
        let begun = Instant::now();
        // A look by a call would create the actor before the message does.
        while host.host.actor(&receiver).info().await.is_err() {
            assert!(begun.elapsed() < PATIENCE, "{kind}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        while host.ok(&receiver, "texts", json!([])).await != json!(["one"]) {
            assert!(begun.elapsed() < PATIENCE, "{kind}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    listed(&host, "a", 0).await;
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_method_that_handles_a_message_calls_no_actor() {
    let (_site, host) = hosting(granted()).await;
    send(&host, "a", "b", "call-out", "[\"c\"]").await;
    assert_eq!(rows(&host, "b", 1).await, ["OpenTransaction"]);
    let info = host.host.actor(&mail("c")).info().await;
    assert!(matches!(info, Err(HostError::ActorMissing { .. })), "{info:?}");
    host.host.shutdown().await;
}

/// What was sent and not delivered survives the sender's sleep, a deploy and the end of the host.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_delivered_by_a_later_generation() {
    let site = Site::new();
    let host = site.host().start().await;
    let mut manifest = Manifest { calls: vec!["*".to_owned()], ..Manifest::default() };
    manifest.limits.sleep_after_ms = 300;
    deploy(&host, manifest.clone()).await;
    host.ok(&mail("a"), "send", json!(["later", "x", "note", "[\"one\"]"])).await;
    host.exit_of(&mail("a")).await;
    assert_eq!(host.host.actor(&mail("a")).info().await.unwrap().status, ActorStatus::Asleep);
    host.host.shutdown().await;
    drop(host);

    let host = site.host().start().await;
    let wasm = guest::MESSAGES_MAIL.wasm().unwrap();
    host.host.deploy("later", wasm, manifest).await.unwrap();
    let later = ActorId::new("later", "x").unwrap();
    let begun = Instant::now();
    while host.host.actor(&later).info().await.is_err() {
        assert!(begun.elapsed() < PATIENCE, "the sender is not woken");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // The first question has made the actor; the message follows.
    while host.ok(&later, "texts", json!([])).await != json!(["one"]) {
        assert!(begun.elapsed() < PATIENCE, "the message does not arrive");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    host.host.shutdown().await;
}

/// Only its message is tried again: the actor's calls are served all the time.
#[tokio::test(flavor = "multi_thread")]
async fn a_trap_of_a_method_is_no_crash_of_its_actor() {
    for after_parked in [AfterParked::Pass, AfterParked::Wait] {
        let manifest = Manifest { after_parked, ..granted() };
        let stored = manifest.to_stored().unwrap();
        assert_eq!(stored.contains("after_parked"), after_parked == AfterParked::Wait, "{stored}");
        let (_site, host) = hosting(manifest).await;
        host.ok(&mail("b"), "behave", json!(["trap"])).await;
        send(&host, "a", "b", "moody", "[\"one\"]").await;
        let begun = Instant::now();
        while cell(&listed(&host, "a", 1).await[0], 7) == "Null" {
            host.ok(&mail("b"), "count", json!([])).await;
            assert!(begun.elapsed() < PATIENCE);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let row = &list(&host, "a").await[0];
        assert!(cell(row, 7).contains("in a bad mood") || cell(row, 7).contains("wasm"), "{row:?}");
        assert_eq!(host.ok(&mail("b"), "count", json!([])).await, json!(0));
        host.ok(&mail("b"), "behave", json!(["well"])).await;
        assert_eq!(rows(&host, "b", 1).await, ["one"]);
        host.host.shutdown().await;
    }
}
