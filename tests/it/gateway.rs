//! The gateway of the real program: its errors as rows of the table, its bounds, and its routes for
//! operators.

use serde_json::{Value as Json, json};
use stockade_tests::guest;
use stockade_tests::program::{HttpReply, Program};

struct Stand {
    program: Program,
    dir: tempfile::TempDir,
}

impl Stand {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let flags = ["--limit", "call_time_ms=500", "--limit", "payload_bytes_max=20000"];
        let program = Program::serve_with(&dir.path().join("data"), &flags).unwrap();
        for guest in [guest::TYPED_ALL, guest::HOSTILE_LOOP, guest::LIFECYCLE_TRAP] {
            program.deploy(guest.name, &guest.wasm().unwrap()).unwrap();
        }
        Self { program, dir }
    }

    fn public(&self, route: &str) -> String {
        format!("http://{}{route}", self.program.listen)
    }
}

/// Asserts that the reply is this row of the error table, with all of its parts.
fn assert_row(reply: &HttpReply, status: u16, code: &str, retry: &str) {
    let body = &reply.body;
    let found = format!(
        "{}.{}",
        body["group"].as_str().unwrap_or("?"),
        body["code"].as_str().unwrap_or("?")
    );
    assert_eq!((reply.status, found.as_str()), (status, code), "{body}");
    assert_eq!(body["retry"], retry, "{body}");
    assert!(body["message"].as_str().is_some_and(|message| !message.is_empty()), "{body}");
}

#[test]
fn errors_are_rows_of_the_table() {
    let stand = Stand::new();
    let program = &stand.program;
    let call = |actor: &str, method: &str, arguments: Json| {
        program.call(actor, method, &arguments).unwrap()
    };
    let check = |reply: HttpReply, status, code, retry| assert_row(&reply, status, code, retry);
    check(call("nothing/x", "m", json!([])), 404, "request.kind-missing", "fix");
    check(call("typed_all/x", "no-such", json!([])), 404, "request.method-missing", "fix");
    check(call("typed_all/x", "echo-u8", json!([300])), 422, "request.arguments", "fix");
    check(
        call("typed_all/x", "echo-string", json!(["x".repeat(30_000)])),
        413,
        "request.payload-too-large",
        "fix",
    );
    check(call("Typed/x", "echo-u8", json!([3])), 400, "request.invalid-actor", "fix");
    check(call("lifecycle_trap/x", "trap-now", json!([])), 500, "actor.trapped", "fix");
    check(call("hostile_loop/x", "spin", json!([])), 504, "actor.budget-exhausted", "fix");
    // A call that traps after a durable write must not be repeated blindly.
    check(
        call("lifecycle_trap/y", "write-then-trap", json!([])),
        500,
        "actor.trapped",
        "unknown-outcome",
    );

    let broken =
        program.post_raw(&stand.public("/actors/typed_all/x/echo-u8"), "application/json", b"[1");
    check(broken.unwrap(), 400, "request.invalid-body", "fix");
    let odd = program.post_raw(&stand.public("/actors/typed_all/x/echo-u8"), "text/html", b"[1]");
    check(odd.unwrap(), 415, "request.content-type", "fix");
    check(program.get("/nowhere").unwrap(), 404, "request.no-route", "fix");
    check(program.get("/actors/typed_all/x/echo-u8").unwrap(), 405, "request.http-method", "fix");
    // Operators' routes are refused to callers, and callers' routes to operators.
    check(program.get("/admin/actors").unwrap(), 421, "request.wrong-listener", "fix");
    check(program.admin_get("/kinds/typed_all").unwrap(), 421, "request.wrong-listener", "fix");

    let missing = program.admin_get("/admin/actors/typed_all/nobody").unwrap();
    check(missing, 404, "request.actor-missing", "fix");
    let sql = |sql: &str, actor: &str| {
        program.admin_post(&format!("/admin/actors/{actor}/sql"), &json!({"sql": sql})).unwrap()
    };
    check(sql("SELECT 1", "typed_all/nobody"), 404, "request.actor-missing", "fix");
    call("lifecycle_trap/x", "write", json!([]));
    check(sql("SELEC 1", "lifecycle_trap/x"), 400, "sql.statement", "fix");
    check(sql("ATTACH 'x' AS y", "lifecycle_trap/x"), 403, "sql.denied", "fix");
    let url = format!("http://{}/admin/actors/lifecycle_trap/x/sql", program.admin);
    let unread = program.post_raw(&url, "application/json", b"{\"sql\": 5}").unwrap();
    assert!(unread.status == 400 || unread.status == 422, "{unread:?}");
}

#[test]
fn operators_see_and_do() {
    let stand = Stand::new();
    let program = &stand.program;
    program.call("lifecycle_trap/one", "write", &json!([])).unwrap();
    let list = program.admin_get("/admin/actors?kind=lifecycle_trap").unwrap();
    assert_eq!(list.body["actors"].as_array().unwrap().len(), 1, "{}", list.body);
    let route = "/admin/actors/lifecycle_trap/one";
    let shown = program.admin_get(route).unwrap();
    assert_eq!((shown.status, &shown.body["actor"]), (200, &json!("lifecycle_trap/one")));

    let read = json!({"sql": "SELECT count(*) AS n, 9007199254740993 AS big FROM t"});
    let rows = program.admin_post(&format!("{route}/sql"), &read).unwrap();
    assert_eq!(rows.body["columns"], json!(["n", "big"]), "{}", rows.body);
    // Read-only unless `--write` is given.
    let write = json!({"sql": "INSERT INTO t VALUES (7)"});
    assert!(program.admin_post(&format!("{route}/sql"), &write).unwrap().status >= 400);
    let write = json!({"sql": "INSERT INTO t VALUES (7)", "write": true});
    let written = program.admin_post(&format!("{route}/sql"), &write).unwrap();
    assert_eq!((written.status, &written.body["changes"]), (200, &json!(1)), "{}", written.body);
    let count = program.call("lifecycle_trap/one", "read", &json!([])).unwrap();
    assert_eq!(count.body, json!({"ok": 2}));

    for awake in [true, false] {
        let path = stand.dir.path().join(format!("{awake}.db"));
        program.export("lifecycle_trap/one", &path).unwrap();
        let copy = rusqlite::Connection::open(&path).unwrap();
        let check: String = copy.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        let rows: i64 = copy.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap();
        assert_eq!((check.as_str(), rows), ("ok", 2));
        let stopped = program.admin_post(&format!("{route}/stop"), &json!({})).unwrap();
        assert_eq!((stopped.status, &stopped.body["was_awake"]), (200, &json!(awake)));
    }
    let verified = program.admin_post(&format!("{route}/verify"), &json!({})).unwrap();
    assert_eq!(verified.body["ok"], json!(true), "{}", verified.body);
    let destroyed = program.admin_delete(route).unwrap();
    assert!(destroyed.status == 200 || destroyed.status == 204, "{destroyed:?}");
    assert_eq!(program.admin_get(route).unwrap().status, 404);

    assert_eq!(program.get("/health").unwrap().status, 200);
    assert_eq!(program.get("/ready").unwrap().status, 200);
    let kind = program.admin_get("/admin/kinds/typed_all").unwrap();
    assert!(kind.body.to_string().contains("echo-record"), "{}", kind.body);
}

/// Beyond loopback a token is required: the exit code and the message say so.
#[test]
fn it_does_not_listen_beyond_loopback_without_a_token() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data").display().to_string();
    let (code, _, said) = stockade_tests::program::run(&[
        "serve",
        "--data-dir",
        &data,
        "--listen",
        "0.0.0.0:0",
        "--admin",
        "127.0.0.1:0",
    ])
    .unwrap();
    assert!(code != 0);
    assert!(said.contains("token"), "{said}");
}
