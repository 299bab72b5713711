//! Messages as operators see them: listed, retried, dropped; destroyed actors; copies.

use std::time::{Duration, Instant};

use serde_json::json;
use stockade::{HostError, Manifest, MessageOrder};
use stockade_tests::guest;
use stockade_tests::program::{self, Program};

use super::{KIND, PATIENCE, cell, granted, hosting, list, listed, mail, rows, send};

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
    let (exit, _, error) = run(&["actors", "destroy", "--yes", &actor]);
    assert_eq!(exit, 0, "{error}");
    program.stop().unwrap();
}
