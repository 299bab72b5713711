//! The answers of callers and operators that meet damage: `depot.corrupt`, advice `never`, the name
//! of the damaged actor, and not one takeover per call.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use stockade::error::{Code, Retry, Verdict};
use stockade::host::SqlRequest;
use stockade::{ActorId, Arguments, CallError};
use stockade_depot::store::Ownership;
use stockade_depot::store::embedded::connection;
use stockade_tests::guest;
use stockade_tests::host::{Site, TestHost, actor};
use stockade_tests::program::{self, Program};

/// Changes the store's files behind its back, as a tool with the store's VFS could; returns how
/// many rows changed.
fn tamper(store_dir: &Path, sql: &str) -> usize {
    let mut changed = 0;
    for name in ["global.db", "shard-00.db", "shard-01.db"] {
        let file = connection(&store_dir.join(name)).unwrap();
        changed += file.execute(sql, []).unwrap_or(0);
    }
    changed
}

/// Flips one bit of the newest version of an actor's last page.
const LAST_PAGE: &str = "UPDATE page SET bytes = CAST(substr(bytes, 1, length(bytes) - 1) \
     || CASE substr(bytes, -1) WHEN x'00' THEN x'01' ELSE x'00' END AS BLOB) \
     WHERE pgno = (SELECT max(p.pgno) FROM page p WHERE p.db = page.db) AND pgno > 9";

fn assert_corrupt(error: &CallError, whose: &ActorId) {
    let body = error.body();
    assert_eq!(error.code(), Code::StoreCorrupt, "{error}");
    assert_eq!((error.code().status(), body.retry), (500, Retry::Never), "{error}");
    assert_eq!(body.details, json!({ "kind": whose.kind(), "key": whose.key() }));
    assert!(body.message.contains("page"), "{}", body.message);
}

/// A host on a store in which an actor's last page is damaged.
async fn damaged(site: &Site, rest: Duration) -> (TestHost, ActorId) {
    let host = site.host().start().await;
    host.deploy(guest::SQLITE_BENCH).await;
    let actor = actor(guest::SQLITE_BENCH, "damaged");
    host.ok(&actor, "setup", json!([2000])).await;
    host.host.shutdown().await;
    drop(host);
    assert_eq!(tamper(&site.store_dir(), LAST_PAGE), 1);
    (site.host().limits(|limits| limits.damaged_rest = rest).start().await, actor)
}

async fn generation(host: &TestHost, actor: &ActorId) -> u64 {
    host.store.actor(actor).await.unwrap().unwrap().head.fence.generation.0
}

async fn scan(host: &TestHost, actor: &ActorId) -> CallError {
    host.call(actor, "scan", json!([1])).await.unwrap_err()
}

fn select(sql: &str, write: bool) -> SqlRequest {
    SqlRequest { sql: sql.to_owned(), parameters: Vec::new(), write, rows_max: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_is_told_and_one_takeover_is_made_until_something_is_done() {
    let site = Site::new();
    let (host, actor) = damaged(&site, Duration::from_secs(60)).await;
    let before = generation(&host, &actor).await;
    for _ in 0..5 {
        assert_corrupt(&scan(&host, &actor).await, &actor);
        let read = host.host.actor(&actor).sql(select("SELECT sum(amount) FROM item", false)).await;
        assert_corrupt(&read.unwrap_err(), &actor);
    }
    let mut export = host.host.actor(&actor).export().await.unwrap();
    let error = loop {
        match export.next().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("a damaged page was exported"),
            Err(error) => break error,
        }
    };
    assert_corrupt(&error.into(), &actor);
    assert_eq!(generation(&host, &actor).await, before + 1, "one look is enough");
    host.host.actor(&actor).reset().await.unwrap();
    let reset = generation(&host, &actor).await;
    assert_corrupt(&scan(&host, &actor).await, &actor);
    assert_corrupt(&scan(&host, &actor).await, &actor);
    assert_eq!(generation(&host, &actor).await, reset + 1, "a reset is one more look");
    host.host.actor(&actor).destroy().await.unwrap();
    host.ok(&actor, "setup", json!([10])).await;
    assert_eq!(host.ok(&actor, "scan", json!([1])).await, json!(10));
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_its_rest_a_damaged_actor_is_looked_at_again() {
    let site = Site::new();
    let (host, actor) = damaged(&site, Duration::from_millis(300)).await;
    assert_corrupt(&scan(&host, &actor).await, &actor);
    tokio::time::sleep(Duration::from_millis(400)).await;
    // Calls that need no damaged page succeed.
    assert_eq!(host.ok(&actor, "touch", json!([0])).await, json!(1));
    assert_corrupt(&scan(&host, &actor).await, &actor);
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_behind_a_commit_of_the_same_call_is_an_unknown_outcome() {
    let site = Site::new();
    let (host, actor) = damaged(&site, Duration::from_secs(60)).await;
    let both = "UPDATE item SET amount = amount + 1 WHERE id = 0; SELECT sum(amount) FROM item";
    let error = host.host.actor(&actor).sql(select(both, true)).await.unwrap_err();
    assert_eq!(error.code(), Code::StoreCorrupt, "{error}");
    assert_eq!(error.retry(), Retry::UnknownOutcome, "{error}");
    assert!(matches!(error.verdict, Some(Verdict::Committed | Verdict::NotCommitted)), "{error}");
    assert_eq!(error.body().details["key"], "damaged");
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_every_actor_of_a_kind_needs_is_damaged_and_nobody_has_sent_it() {
    let settings = "UPDATE kind SET manifest = '{\"limits\":{\"rowt_max\":1}}'";
    let component = "UPDATE component SET wasm = CAST(substr(wasm, 1, length(wasm) - 1) \
         || CASE substr(wasm, -1) WHEN x'00' THEN x'01' ELSE x'00' END AS BLOB)";
    let gone = "DELETE FROM component";
    for (sql, word) in [(settings, "settings"), (component, "component"), (gone, "component")] {
        let (site, host) = Site::hosting(guest::COUNTER).await;
        let one = actor(guest::COUNTER, "one");
        host.ok(&one, "increment", json!([1])).await;
        host.host.shutdown().await;
        drop(host);
        assert_eq!(tamper(&site.store_dir(), sql), 1, "{sql}");
        // A host with its own directory: it has no compiled code yet.
        let host = site.host().start().await;
        for _ in 0..2 {
            let error = host.call(&one, "get", json!([])).await.unwrap_err();
            assert_eq!(
                (error.code(), error.retry()),
                (Code::StoreCorrupt, Retry::Never),
                "{error}"
            );
            assert!(error.to_string().contains(word), "{error}");
        }
        let mut findings = Vec::new();
        let mut tell = |news| {
            if let stockade::host::VerifyNews::Finding(finding) = news {
                findings.push(finding.what);
            }
        };
        let verified = host.host.verify_all(None, &mut tell).await.unwrap();
        assert!(!verified.is_sound(), "{sql}");
        assert!(findings.iter().any(|what| what.contains(word)), "{sql}: {findings:?}");
        // A new deploy of the component repairs it.
        if sql == settings {
            host.deploy(guest::COUNTER).await;
            assert_eq!(host.ok(&one, "get", json!([])).await, json!(1));
        }
        host.host.shutdown().await;
    }
}

#[test]
fn an_export_of_a_damaged_actor_is_refused_or_breaks_off_and_leaves_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let program = Program::serve(&data).unwrap();
    program.deploy("sqlite_bench", &guest::SQLITE_BENCH.wasm().unwrap()).unwrap();
    // The damaged last page is in the first megabyte of one export, and behind it in the other.
    for (key, rows) in [("small", 2000), ("large", 60_000)] {
        let made = program.call(&format!("sqlite_bench/{key}"), "setup", &json!([rows])).unwrap();
        assert_eq!(made.status, 200, "{}", made.body);
    }
    program.stop().unwrap();
    assert_eq!(tamper(&data.join("store"), LAST_PAGE), 2);
    let program = Program::serve(&data).unwrap();
    let reply = program.admin_get("/admin/actors/sqlite_bench/small/export").unwrap();
    assert_eq!((reply.status, &reply.body["code"]), (500, &json!("corrupt")), "{}", reply.body);
    assert_eq!(reply.body["retry"], "never");
    for key in ["small", "large"] {
        let (name, out) = (format!("sqlite_bench/{key}"), dir.path().join(format!("{key}.sqlite")));
        let line = ["--json", "--admin", &program.admin, "export", &name, out.to_str().unwrap()];
        let (code, told, error) = program::run(&line).unwrap();
        assert_eq!((code, told.as_str()), (1, ""), "{error}");
        let error: serde_json::Value = serde_json::from_str(&error).unwrap();
        assert_eq!(error["retry"], "never", "{error}");
        assert!(error["message"].as_str().unwrap().contains("damaged"), "{error}");
        let call = program.call(&name, "scan", &json!([1])).unwrap();
        assert_eq!((call.status, &call.body["code"]), (500, &json!("corrupt")), "{}", call.body);
    }
    let left = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = left.filter(|name| !name.as_encoded_bytes().starts_with(b"data")).collect();
    assert!(left.is_empty(), "nothing but the data directory and the program's logs: {left:?}");
    program.stop().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_over_a_damaged_actor_and_an_import_beside_it_go_on() {
    let site = Site::new();
    let (host, actor) = damaged(&site, Duration::from_secs(60)).await;
    assert_corrupt(&scan(&host, &actor).await, &actor);
    let file = site.path().join("plain.sqlite");
    rusqlite::Connection::open(&file).unwrap().execute_batch("CREATE TABLE t (a)").unwrap();
    // An import never replaces an actor, damaged or not.
    let over = host.host.actor(&actor).import(&file, &mut |_| {}).await.unwrap_err();
    assert_eq!(over.code(), Code::ImportExists, "{over}");
    host.host.actor(&actor).destroy().await.unwrap();
    host.host.actor(&actor).import(&file, &mut |_| {}).await.unwrap();
    let reply = host.host.actor(&actor).call("nothing", Arguments::Json(json!([]))).await;
    assert!(reply.is_ok(), "{reply:?}", reply = reply.err());
    host.host.shutdown().await;
}
