//! Messages as operators see them: listed, retried, dropped; destroyed actors; copies.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use stockade::limits::MESSAGE_TRIES_MAX;
use stockade::{AfterParked, HostError, Manifest, MessageOrder, SqlValue};
use stockade_tests::guest;
use stockade_tests::host::TestHost;
use stockade_tests::program::{self, Program};

use super::{
    KIND, PATIENCE, cell, clock, granted, hosting, hosting_at, list, listed, mail, rows, send,
    texts,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_destroyed_receiver_parks_what_was_for_it() {
    let (_site, host) = hosting(granted()).await;
    send(&host, "a", "b", "note", "[\"one\"]").await;
    rows(&host, "b", 1).await;
    listed(&host, "a", 0).await;
    host.host.actor(&mail("b")).destroy().await.unwrap();
    send(&host, "a", "b", "note", "[\"two\"]").await;
    let begun = Instant::now();
    let row = loop {
        let row = listed(&host, "a", 1).await.remove(0);
        if cell(&row, 4) == "parked" {
            break row;
        }
        assert!(begun.elapsed() < PATIENCE, "{row:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(cell(&row, 7).starts_with("receiver-destroyed"), "{row:?}");
    let info = host.host.actor(&mail("b")).info().await;
    assert!(matches!(info, Err(HostError::ActorMissing { .. })), "it was created again: {info:?}");
    // What is sent after that is for the next actor of the name.
    send(&host, "a", "b", "note", "[\"three\"]").await;
    assert_eq!(rows(&host, "b", 1).await, ["three"]);
    let retry = MessageOrder::Retry { id: Some(cell(&row, 0)) };
    assert_eq!(host.host.actor(&mail("a")).order_messages(retry).await.unwrap().changes, 1);
    assert_eq!(rows(&host, "b", 2).await, ["three", "two"]);
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_with_an_outbox_is_destroyed_only_with_force() {
    let manifest = Manifest { calls: vec!["*".to_owned()], ..Manifest::default() };
    let (_site, host) = hosting(manifest).await;
    let a = mail("a");
    host.ok(&a, "send", json!(["later", "x", "note", "[\"one\"]"])).await;
    for asleep in [false, true] {
        if asleep {
            host.host.actor(&a).stop().await.unwrap();
        }
        let refused = host.host.actor(&a).destroy().await.unwrap_err();
        assert!(matches!(refused, HostError::HasOutbox { messages: 1, .. }), "{refused:?}");
        assert_eq!(list(&host, "a").await.len(), 1);
    }
    host.host.actor(&a).destroy_with_outbox().await.unwrap();
    host.ok(&a, "note", json!(["again"])).await;
    send(&host, "a", "b", "note", "[\"one\"]").await;
    listed(&host, "a", 0).await;
    host.host.actor(&a).destroy().await.unwrap();
    host.host.shutdown().await;
}

/// An export has the messages that wait, and its import delivers none of them until an operator says so.
#[tokio::test(flavor = "multi_thread")]
async fn messages_of_an_imported_copy_are_off() {
    let manifest = Manifest { calls: vec!["*".to_owned()], ..Manifest::default() };
    let (site, host) = hosting(manifest.clone()).await;
    host.ok(&mail("a"), "send", json!(["later", "x", "note", "[\"one\"]"])).await;
    let file = site.path().join("a.db");
    std::fs::write(&file, host.export(&mail("a")).await).unwrap();
    host.host.actor(&mail("copy")).import(&file, &mut |_| {}).await.unwrap();
    host.ok(&mail("copy"), "count", json!([])).await;
    let row = listed(&host, "copy", 1).await.remove(0);
    assert_eq!(cell(&row, 4), "off");
    host.host.deploy("later", guest::MESSAGES_MAIL.wasm().unwrap(), manifest).await.unwrap();
    listed(&host, "a", 0).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let later = stockade::ActorId::new("later", "x").unwrap();
    assert_eq!(host.ok(&later, "count", json!([])).await, json!(1), "the original's alone");
    let retry = MessageOrder::Retry { id: Some(cell(&row, 0)) };
    assert_eq!(host.host.actor(&mail("copy")).order_messages(retry).await.unwrap().changes, 1);
    listed(&host, "copy", 0).await;
    assert_eq!(host.ok(&later, "count", json!([])).await, json!(2));
    host.host.shutdown().await;
}

/// Retries messages of an actor. Returns how many those were.
async fn retried(host: &TestHost, key: &str, id: Option<String>) -> u64 {
    let order = MessageOrder::Retry { id };
    host.host.actor(&mail(key)).order_messages(order).await.unwrap().changes
}

/// Waits until `b` has parked a message that was tried so often, and returns it. `pass`: lets time pass.
async fn parked(host: &TestHost, tries: u32, mut pass: impl FnMut()) -> Vec<SqlValue> {
    let begun = Instant::now();
    loop {
        let row = list(host, "b").await.pop();
        if let Some(row) = row
            && row[6] == SqlValue::Integer(tries.into())
            && cell(&row, 4) == "parked"
            && !cell(&row, 7).contains("without an answer")
        {
            return row;
        }
        assert!(
            begun.elapsed() < PATIENCE,
            "{:?} {:?}",
            list(host, "a").await,
            list(host, "b").await
        );
        pass();
        // The sender looks at its clock after each call.
        texts(host, "a", "texts").await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// It fails, is parked, fails again when it is retried, and runs when it is retried once more. What was
/// sent after it passes, or waits.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_parked_runs_once_for_each_retry() {
    for (after_parked, before, after) in [
        (AfterParked::Pass, &["behind"][..], ["behind", "one"]),
        (AfterParked::Wait, &[][..], ["one", "behind"]),
    ] {
        let now = clock();
        let (_site, host) = hosting_at(&now, Manifest { after_parked, ..granted() }).await;
        let passes = |ms: i64| {
            now.fetch_add(ms, Ordering::Relaxed);
        };
        host.ok(&mail("b"), "behave", json!(["fail"])).await;
        send(&host, "a", "b", "moody", "[\"one\"]").await;
        send(&host, "a", "b", "note", "[\"behind\"]").await;
        let row = parked(&host, MESSAGE_TRIES_MAX, || passes(2_000)).await;
        assert!(cell(&row, 7).contains("in a bad mood"), "{row:?}");
        assert_eq!(retried(&host, "b", Some(cell(&row, 0))).await, 1);
        parked(&host, MESSAGE_TRIES_MAX + 1, || {}).await;
        // By itself it does not run, although it would not fail any more.
        host.ok(&mail("b"), "behave", json!(["well"])).await;
        for _ in 0..10 {
            passes(600_000);
            texts(&host, "a", "texts").await;
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        assert_eq!(rows(&host, "b", before.len()).await, before);
        parked(&host, MESSAGE_TRIES_MAX + 1, || {}).await;
        assert_eq!(retried(&host, "b", None).await, 1);
        let begun = Instant::now();
        while texts(&host, "b", "texts").await != after {
            assert!(begun.elapsed() < PATIENCE, "{:?}", list(&host, "a").await);
            passes(2_000);
            texts(&host, "a", "texts").await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        listed(&host, "a", 0).await;
        listed(&host, "b", 0).await;
        host.host.shutdown().await;
    }
}

/// A retry begins with all of the tries, and does not wait until the next one.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_its_next_try_is_delivered_when_it_is_retried() {
    let now = clock();
    let (_site, host) = hosting_at(&now, granted()).await;
    host.ok(&mail("b"), "behave", json!(["fail"])).await;
    send(&host, "a", "b", "moody", "[\"one\"]").await;
    let begun = Instant::now();
    let row = loop {
        let row = listed(&host, "a", 1).await.remove(0);
        if row[6] == SqlValue::Integer(3) && cell(&row, 7).contains("in a bad mood") {
            break row;
        }
        assert!(begun.elapsed() < PATIENCE, "{row:?}");
        now.fetch_add(1_000, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    host.ok(&mail("b"), "behave", json!(["well"])).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(
        listed(&host, "a", 1).await,
        std::slice::from_ref(&row),
        "the clock stands still, so it waits"
    );
    assert_eq!(retried(&host, "a", Some(cell(&row, 0))).await, 1);
    rows(&host, "b", 1).await;
    assert_eq!(texts(&host, "b", "received").await, ["one a 1"]);
    host.host.shutdown().await;
}

/// Sends a message to `b`, which has an earlier one and is destroyed before. Returns the new one's id.
fn parks(program: &Program, text: &str) -> String {
    let note = |text: &str| {
        let message = json!([KIND, "b", "note", format!("[\"{text}\"]")]);
        let sent = program.call(&format!("{KIND}/a"), "send", &message).unwrap();
        assert_eq!(sent.status, 200, "{sent:?}");
    };
    note("before");
    texts_until(program, "before");
    let gone = program.admin_delete(&format!("/admin/actors/{KIND}/b")).unwrap();
    assert_eq!(gone.status, 200, "{gone:?}");
    note(text);
    let begun = Instant::now();
    loop {
        let route = format!("/admin/actors/{KIND}/a/messages");
        let messages = program.admin_get(&route).unwrap().body["messages"].clone();
        let parked = |it: &&Json| it["state"] == "parked" && it["actor"] == format!("{KIND}/b");
        if let Some(parked) = messages.as_array().and_then(|all| all.iter().find(parked)) {
            return parked["id"].as_str().unwrap().to_owned();
        }
        assert!(begun.elapsed() < PATIENCE, "{messages}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until `b` has this text, and returns all that it has.
fn texts_until(program: &Program, text: &str) -> Json {
    let begun = Instant::now();
    loop {
        let all = program.call(&format!("{KIND}/b"), "texts", &json!([])).unwrap();
        let texts = &all.body["ok"];
        if texts.as_array().is_some_and(|texts| texts.iter().any(|it| it == text)) {
            return texts.clone();
        }
        assert!(begun.elapsed() < PATIENCE, "{all:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn operators_list_retry_and_drop_messages() {
    let dir = tempfile::tempdir().unwrap();
    let program = Program::serve(&dir.path().join("data")).unwrap();
    let wasm = guest::MESSAGES_MAIL.wasm().unwrap();
    program.deploy_with(KIND, &wasm, Some(&json!({ "calls": ["*"] }))).unwrap();
    let message = json!(["later", "x", "note", "[\"one\"]"]);
    for _ in 0..2 {
        let sent = program.call(&format!("{KIND}/a"), "send", &message).unwrap();
        assert_eq!(sent.status, 200, "{sent:?}");
    }
    let route = format!("/admin/actors/{KIND}/a");
    program.admin_post(&format!("{route}/stop"), &json!({})).unwrap();
    let messages = program.admin_get(&format!("{route}/messages")).unwrap();
    assert_eq!(messages.status, 200, "{messages:?}");
    assert_eq!(messages.body["messages"][1]["id"], "out-2", "{messages:?}");
    assert_eq!(messages.body["messages"][0]["actor"], "later/x");
    assert_eq!(program.admin_get(&route).unwrap().body["state"], "asleep");
    let dropped =
        program.admin_post(&format!("{route}/messages/drop"), &json!({"id": "out-1"})).unwrap();
    assert_eq!(dropped.body["changed"], 1, "{dropped:?}");
    let wrong =
        program.admin_post(&format!("{route}/messages/drop"), &json!({"id": "tea"})).unwrap();
    assert_eq!(wrong.status, 400, "{wrong:?}");
    let nameless = program.admin_post(&format!("{route}/messages/drop"), &json!({})).unwrap();
    assert_eq!(nameless.status, 400, "{nameless:?}");
    let refused = program.admin_delete(&route).unwrap();
    assert_eq!((refused.status, &refused.body["code"]), (409, &json!("has-outbox")), "{refused:?}");

    let run = |arguments: &[&str]| {
        program::run(&[&["--admin", &program.admin][..], arguments].concat()).unwrap()
    };
    let actor = format!("{KIND}/a");
    let (exit, shown, _) = run(&["messages", "list", &actor]);
    assert!(exit == 0 && shown.contains("out-2") && shown.contains("later/x"), "{shown}");
    let (exit, shown, _) = run(&["messages", "retry", &actor]);
    assert!(exit == 0 && shown.contains("tried again"), "{shown}");
    let (exit, shown, _) = run(&["messages", "drop", &actor, "out-2"]);
    let is_empty = shown.contains("1 message removed") && shown.contains("no messages");
    assert!(exit == 0 && is_empty, "{shown}");
    // What is parked stays so without an order.
    let id = parks(&program, "by the command");
    let (exit, shown, _) = run(&["messages", "retry", &actor, &id]);
    assert!(exit == 0 && shown.contains("1 message tried again"), "{shown}");
    assert_eq!(texts_until(&program, "by the command"), json!(["by the command"]));
    parks(&program, "over HTTP");
    let retried = program.admin_post(&format!("{route}/messages/retry"), &json!({})).unwrap();
    assert_eq!((retried.status, &retried.body["changed"]), (200, &json!(1)), "{retried:?}");
    assert_eq!(texts_until(&program, "over HTTP"), json!(["over HTTP"]));
    let begun = Instant::now();
    while !run(&["messages", "list", &actor]).1.contains("no messages") {
        assert!(begun.elapsed() < PATIENCE);
    }
    let (exit, _, error) = run(&["actors", "destroy", "--yes", &actor]);
    assert_eq!(exit, 0, "{error}");
    program.stop().unwrap();
}
