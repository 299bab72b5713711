//! Import: a user's plain SQLite file becomes an actor, through the real program and its host.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use stockade::HostError;
use stockade_depot::Origin;
use stockade_depot::store::Ownership;
use stockade_tests::guest;
use stockade_tests::host::{Site, actor};
use stockade_tests::program::{self, Program};

const KIND: &str = "sqlite_bench";

/// A database of the form that the guest of `KIND` uses, with `rows` rows of `bytes` bytes each.
fn database(path: &Path, first: &str, rows: u32, bytes: u32) -> rusqlite::Connection {
    let conn = rusqlite::Connection::open(path).unwrap();
    conn.execute_batch(first).unwrap();
    conn.execute_batch(include_str!("../guests/sqlite_bench/src/schema.sql")).unwrap();
    conn.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1) \
         INSERT INTO item (id, name, amount) SELECT i, hex(randomblob(?2 / 2)), i FROM n",
        [rows, bytes],
    )
    .unwrap();
    conn
}

/// Runs a command with `--json`; its exit code and document.
fn run(arguments: &[&str]) -> (i32, Json) {
    let (code, out, said) = program::run(&[arguments, &["--json"]].concat()).unwrap();
    let text = if code == 0 { &out } else { &said };
    let last = text.lines().last().unwrap_or_default();
    let document = serde_json::from_str(text).or_else(|_| serde_json::from_str(last));
    (code, document.unwrap_or_else(|error| panic!("{arguments:?}: {error}: {out}{said}")))
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// All rows, in order.
fn content(file: &Path) -> Vec<(i64, String, i64)> {
    let conn = rusqlite::Connection::open(file).unwrap();
    let check: String = conn.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
    let mut rows = conn.prepare("SELECT id, name, amount FROM item ORDER BY id").unwrap();
    let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

#[test]
fn a_file_goes_in_and_comes_out_the_same_and_its_actor_lives() {
    let dir = tempfile::tempdir().unwrap();
    let program = Program::serve(&dir.path().join("data")).unwrap();
    program.deploy(KIND, &guest::SQLITE_BENCH.wasm().unwrap()).unwrap();
    // Rows that are only in the WAL, of a connection that is still open, with pages of 1 KiB: and
    // more than one commit may carry.
    let file = dir.path().join("user.sqlite");
    let first = "PRAGMA page_size = 1024; PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0";
    let open = database(&file, first, 3000, 4000);
    let before = std::fs::read(&file).unwrap();
    let (code, told) = run(&["import", "sqlite_bench/in", path(&file), "--admin", &program.admin]);
    assert_eq!(code, 0, "{told}");
    assert!(told["bytes"].as_u64().unwrap() > 12_000_000, "{told}");
    assert!(told["txid"].as_u64().unwrap() > 2, "bounded commits: {told}");
    assert_eq!(std::fs::read(&file).unwrap(), before, "the user's file is only read");
    drop(open);

    let out = |name: &str| dir.path().join(name);
    let export = |actor: &str, to: &PathBuf| {
        let (code, told) = run(&["export", actor, path(to), "--admin", &program.admin]);
        assert_eq!(code, 0, "{told}");
    };
    export("sqlite_bench/in", &out("one"));
    assert_eq!(content(&out("one")), content(&file));
    let (code, told) =
        run(&["import", "sqlite_bench/again", path(&out("one")), "--admin", &program.admin]);
    assert_eq!(code, 0, "{told}");
    export("sqlite_bench/again", &out("two"));
    assert!(std::fs::read(out("one")).unwrap() == std::fs::read(out("two")).unwrap());

    // The guest finds its rows, and writes.
    let scanned = program.call("sqlite_bench/in", "scan", &json!([1])).unwrap();
    assert_eq!(scanned.body, json!({ "ok": 3000 }), "{scanned:?}");
    let wrote = program.call("sqlite_bench/in", "update", &json!([20])).unwrap();
    assert_eq!(wrote.status, 200, "{wrote:?}");
    let route = "/admin/actors/sqlite_bench/in";
    let verified = program.admin_post(&format!("{route}/verify"), &json!({})).unwrap();
    assert_eq!(verified.body["ok"], json!(true), "{}", verified.body);
    assert_eq!(program.admin_delete(route).unwrap().status, 200);
    program.stop().unwrap();
}

#[test]
fn what_cannot_be_imported_is_told_by_code_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let program = Program::serve(&data).unwrap();
    program.deploy(KIND, &guest::SQLITE_BENCH.wasm().unwrap()).unwrap();
    let file = |name: &str| dir.path().join(name);
    std::fs::write(file("text"), "no database, but long enough for one").unwrap();
    drop(database(&file("utf16"), "PRAGMA encoding = 'UTF-16'", 10, 10));
    drop(database(&file("good"), "", 10, 10));
    drop(database(&file("bad"), "", 500, 100));
    let refused = |name: &str, schema: &str| {
        let conn = database(&file(name), "", 10, 10);
        conn.execute_batch(schema).unwrap();
    };
    refused("host", "CREATE TABLE _Stockade_alarm(at)");
    refused("module", "CREATE VIRTUAL TABLE f USING fts4(x)");
    refused("large", "CREATE TABLE b(a); INSERT INTO b VALUES (zeroblob(20000000))");
    refused("function", "CREATE TABLE p(a, b); CREATE INDEX pi ON p(json_patch(a, b))");
    let mut bytes = std::fs::read(file("bad")).unwrap();
    bytes[9000..13_000].fill(0x5a);
    std::fs::write(file("bad"), bytes).unwrap();
    for (name, code) in [
        ("none", "unreadable"),
        ("text", "not-sqlite"),
        ("utf16", "unsupported"),
        ("host", "unsupported"),
        ("module", "unsupported"),
        ("large", "unsupported"),
        ("function", "unsupported"),
        ("bad", "damaged"),
    ] {
        let from = file(name);
        let online = ["import", "sqlite_bench/x", path(&from), "--admin", &program.admin];
        let offline = ["import", "sqlite_bench/x", path(&from), "--data-dir", path(&data)];
        for command in [online, offline] {
            let (exit, told) = run(&command);
            assert_eq!((exit, &told["group"], &told["code"]), (1, &json!("import"), &json!(code)));
        }
    }
    let good = file("good");
    let (exit, told) = run(&["import", "nobody/x", path(&good), "--admin", &program.admin]);
    assert_eq!((exit, &told["code"]), (1, &json!("kind-missing")));
    let gone = program.admin_get("/admin/actors/sqlite_bench/x").unwrap();
    assert_eq!(gone.status, 404, "something was left: {gone:?}");
    let left: Vec<_> = std::fs::read_dir(data.join("scratch")).unwrap().flatten().collect();
    assert!(left.is_empty(), "{left:?}");

    // An import never replaces a live actor, nor a finished import.
    program.call("sqlite_bench/live", "setup", &json!([5])).unwrap();
    let free = ["import", "sqlite_bench/x", path(&good), "--admin", &program.admin];
    assert_eq!(run(&free).0, 0);
    for name in ["live", "x"] {
        let target = format!("sqlite_bench/{name}");
        for place in [["--admin", &program.admin], ["--data-dir", path(&data)]] {
            let (exit, told) = run(&["import", &target, path(&good), place[0], place[1]]);
            assert_eq!((exit, &told["code"]), (1, &json!("exists")), "{told}");
            assert_eq!(told["retry"], json!("fix"));
        }
    }
    let rows = program.call("sqlite_bench/live", "scan", &json!([1])).unwrap();
    assert_eq!(rows.body, json!({ "ok": 5 }));
    program.stop().unwrap();
}

#[test]
fn an_import_needs_no_server() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let program = Program::serve(&data).unwrap();
    program.deploy(KIND, &guest::SQLITE_BENCH.wasm().unwrap()).unwrap();
    program.stop().unwrap();
    let file = dir.path().join("user.sqlite");
    drop(database(&file, "", 700, 100));
    let (code, told) = run(&["import", "sqlite_bench/in", path(&file), "--data-dir", path(&data)]);
    assert_eq!(code, 0, "{told}");
    let program = Program::serve(&data).unwrap();
    let scanned = program.call("sqlite_bench/in", "scan", &json!([1])).unwrap();
    assert_eq!(scanned.body, json!({ "ok": 700 }), "{scanned:?}");
    program.stop().unwrap();
}

/// The server is killed while it imports: no generation opens the unfinished import, and the same
/// import starts over.
#[test]
fn an_import_whose_server_was_killed_is_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let file = dir.path().join("user.sqlite");
    drop(database(&file, "", 20_000, 4000));
    let program = Program::serve(&data).unwrap();
    program.deploy(KIND, &guest::SQLITE_BENCH.wasm().unwrap()).unwrap();
    let admin = program.admin.clone();
    let from = file.clone();
    let importing = std::thread::spawn(move || {
        program::run(&["import", "sqlite_bench/in", path(&from), "--admin", &admin]).unwrap().0
    });
    let begun = Instant::now();
    loop {
        let seen = program.admin_get("/admin/actors/sqlite_bench/in").unwrap();
        if seen.body["txid"].as_u64().is_some_and(|txid| txid > 0) {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "the import does not begin");
        std::thread::sleep(Duration::from_millis(2));
    }
    program.kill().unwrap();
    assert_ne!(importing.join().unwrap(), 0, "it was over before the kill");
    let program = Program::serve(&data).unwrap();
    let left: Vec<_> = std::fs::read_dir(data.join("scratch")).unwrap().flatten().collect();
    assert!(left.is_empty(), "the upload was left behind: {left:?}");
    let called = program.call("sqlite_bench/in", "scan", &json!([1])).unwrap();
    assert_eq!(called.body["code"], json!("importing"), "{called:?}");
    let (code, told) = run(&["import", "sqlite_bench/in", path(&file), "--admin", &program.admin]);
    assert_eq!(code, 0, "{told}");
    let scanned = program.call("sqlite_bench/in", "scan", &json!([1])).unwrap();
    assert_eq!(scanned.body, json!({ "ok": 20_000 }), "{scanned:?}");
    let route = "/admin/actors/sqlite_bench/in/verify";
    let verified = program.admin_post(route, &json!({})).unwrap();
    assert_eq!(verified.body["ok"], json!(true), "{}", verified.body);
    program.stop().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_embedder_imports_within_the_limits_of_the_kind() {
    let site = Site::new();
    let host = site.host().start().await;
    host.deploy_with(guest::SQLITE_BENCH, |limits| limits.database_bytes_max = 2 << 20).await;
    let (file, large) = (site.path().join("file"), site.path().join("large"));
    drop(database(&file, "", 400, 2000));
    drop(database(&large, "", 1000, 4000));
    let target = actor(guest::SQLITE_BENCH, "in");
    let refused = host.host.actor(&target).import(&large, &mut |_| {}).await.unwrap_err();
    assert!(matches!(refused, HostError::Import(_)), "{refused}");
    assert_eq!(refused.body().code, "too-large");
    assert!(host.store.actor(&target).await.unwrap().is_none());
    let mut steps = Vec::new();
    let imported =
        host.host.actor(&target).import(&file, &mut |progress| steps.push(progress)).await.unwrap();
    assert_eq!(steps.last().map(|last| last.done), Some(u64::from(imported.page_count.0)));
    let head = host.store.actor(&target).await.unwrap().unwrap().head;
    assert_eq!((head.origin, head.sealed), (Origin::Imported, true));
    assert_eq!(host.ok(&target, "scan", json!([1])).await, json!(400));
    let exists = host.host.actor(&target).import(&file, &mut |_| {}).await.unwrap_err();
    assert!(matches!(exists, HostError::ImportExists { .. }), "{exists}");
    host.assert_intact(&target).await;
    host.host.shutdown().await;
}

/// Schemas larger than an actor's text may be, and deeper than old limits: SQLite reads them again
/// after each of these statements. A regression: every statement failed from then on.
#[test]
fn a_large_schema_is_read_again_whatever_happens_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let program = Program::serve(&dir.path().join("data")).unwrap();
    program.deploy(KIND, &guest::SQLITE_BENCH.wasm().unwrap()).unwrap();
    let file = dir.path().join("user.sqlite");
    let conn = database(&file, "", 100, 100);
    let terms = vec!["SELECT 1 AS a"; 300].join(" UNION ");
    let columns: Vec<_> = (0..300).map(|i| format!("c{i}")).collect();
    conn.execute_batch(&format!(
        "CREATE VIEW v AS {terms};
         CREATE TABLE wide({});
         CREATE TABLE long(a /* {} */);
         CREATE TRIGGER g AFTER INSERT ON wide BEGIN INSERT INTO long VALUES (new.c0{}); END;",
        columns.join(","),
        "x".repeat(2 << 20),
        "+1".repeat(500),
    ))
    .unwrap();
    drop(conn);
    let (code, told) = run(&["import", "sqlite_bench/in", path(&file), "--admin", &program.admin]);
    assert_eq!(code, 0, "{told}");
    disturb(&program);

    // A deploy sets limits below what the schema needs.
    let manifest = json!({ "limits": { "statement_bytes_max": 1000, "value_bytes_max": 5000 } });
    program.deploy_with(KIND, &guest::SQLITE_BENCH.wasm().unwrap(), Some(&manifest)).unwrap();
    disturb(&program);
    program.stop().unwrap();
}

fn disturb(program: &Program) {
    let route = "/admin/actors/sqlite_bench/in";
    let sql = |sql: &str| {
        let body = json!({ "sql": sql, "write": true });
        program.admin_post(&format!("{route}/sql"), &body).unwrap()
    };
    for disturbance in [
        "BEGIN; CREATE TABLE n(a); ROLLBACK",
        "VACUUM",
        "ALTER TABLE long ADD COLUMN b; ALTER TABLE long DROP COLUMN b",
        "ALTER TABLE item DROP COLUMN id",
    ] {
        let done = sql(disturbance);
        // The last statement fails: a primary key cannot be dropped.
        assert_eq!(done.status == 200, !disturbance.contains("item"), "{done:?}");
        for (ask, answer) in [("SELECT count(*) FROM item", 100), ("SELECT count(*) FROM v", 1)] {
            let told = sql(ask);
            assert_eq!(told.body["rows"], json!([[answer]]), "{disturbance}: {told:?}");
        }
        let scanned = program.call("sqlite_bench/in", "scan", &json!([1])).unwrap();
        assert_eq!(scanned.body, json!({ "ok": 100 }), "{disturbance}: {scanned:?}");
    }
    let wrote = sql("INSERT INTO wide(c0) VALUES (1)");
    assert_eq!(wrote.status, 200, "{wrote:?}");
    let slept = program.admin_post(&format!("{route}/stop"), &json!({})).unwrap();
    assert_eq!(slept.status, 200, "{slept:?}");
    let scanned = program.call("sqlite_bench/in", "scan", &json!([1])).unwrap();
    assert_eq!(scanned.body, json!({ "ok": 100 }), "after sleep: {scanned:?}");
}
