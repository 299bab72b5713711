//! Calls by typed functions: values of each type, what is refused and where, and where a client leads to.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value as Json, json};
use stockade::host::SqlRequest;
use stockade::limits::CLIENT_HANDLES_MAX;
use stockade::{ActorId, HostError, Manifest, SqlValue};
use stockade_depot::store::Ownership as _;
use stockade_testkit::faulty_store::{Fault, Step};
use stockade_tests::guest;
use stockade_tests::host::{Site, TestHost, actor};
use stockade_tests::program::{self, Program};

use crate::calls::{call, soon};
use crate::tidy::source::root;

/// The import that the guest has for counters.
const COUNTER: &str = "stockade-client:counter/counter";

/// An `increment` that takes another type.
pub(crate) const OTHER_INCREMENT: &str =
    r#"(param "by" u32) (result (result s64 (error string))) (canon lift (core func $i "of-32")"#;

/// Settings under which actors of the guest call counters and echoes.
fn granted() -> Manifest {
    let calls = ["counter", "typed_all", "other"].map(str::to_owned).to_vec();
    Manifest { calls, ..Manifest::default() }
}

async fn hosting(manifest: Manifest) -> (Site, TestHost) {
    let site = Site::new();
    let host = site.host().start().await;
    deploy(&host, manifest).await;
    host.deploy(guest::COUNTER).await;
    (site, host)
}

async fn deploy(host: &TestHost, manifest: Manifest) {
    let wasm = guest::CALLS_TYPED.wasm().unwrap();
    host.host.deploy("calls_typed", wasm, manifest).await.unwrap();
}

fn caller() -> ActorId {
    actor(guest::CALLS_TYPED, "a")
}

fn counter(key: &str) -> ActorId {
    actor(guest::COUNTER, key)
}

/// The answer of a method of the caller, with its own `result`.
async fn answer(host: &TestHost, method: &str, arguments: Json) -> Json {
    host.call(&caller(), method, arguments).await.unwrap()
}

#[track_caller]
fn assert_error(answer: &Json, parts: &[&str]) {
    let error = answer["err"].as_str().unwrap_or_else(|| panic!("no error: {answer}"));
    for part in parts {
        assert!(error.contains(part), "{error}\nlacks {part}");
    }
}

/// A component with the counter's interface, whose `increment` has these types. Whatever runs in it traps.
pub(crate) fn counter_with(increment: &str) -> Vec<u8> {
    let text = format!(
        r#"(component
          (core module $m
            (memory (export "memory") 1)
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) unreachable)
            (func (export "of-32") (param i32) (result i32) unreachable)
            (func (export "of-64") (param i64) (result i32) unreachable))
          (core instance $i (instantiate $m))
          (func $f {increment} (memory (core memory $i "memory"))
            (realloc (core func $i "realloc"))))
          (instance $c (export "increment" (func $f)))
          (export "stockade-example:counter/counter@0.1.0" (instance $c)))"#
    );
    wat::parse_str(text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_each_type_come_back_as_they_were() {
    let (_site, host) = hosting(granted()).await;
    host.deploy(guest::TYPED_ALL).await;
    assert_eq!(answer(&host, "echo-all", json!(["x"])).await, json!({ "ok": 27 }));
    let runs = host.call(&actor(guest::TYPED_ALL, "x"), "runs", json!([])).await.unwrap();
    assert_eq!(runs, json!(27), "each ran once");
    let bytes = 1 << 20;
    assert_eq!(answer(&host, "echo-bytes", json!(["x", bytes])).await, json!({ "ok": bytes }));
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_typed_call_reaches_an_actor_awake_asleep_or_new() {
    let (_site, host) = hosting(granted()).await;
    assert_eq!(answer(&host, "visit", json!(["c", 5])).await, json!({ "ok": 5 }), "new");
    assert_eq!(answer(&host, "visit", json!(["c", -2])).await, json!({ "ok": 3 }), "awake");
    host.host.actor(&counter("c")).stop().await.unwrap();
    assert_eq!(answer(&host, "current", json!(["c"])).await, json!({ "ok": 3 }), "asleep");
    assert_eq!(host.ok(&counter("c"), "get", json!([])).await, json!(3));
    host.host.shutdown().await;
}

/// The data of the callee is what it was, and its component has not run.
#[tokio::test(flavor = "multi_thread")]
async fn other_types_are_refused_by_place_before_the_callee_runs() {
    let (_site, host) = hosting(granted()).await;
    assert_eq!(answer(&host, "visit", json!(["c", 5])).await, json!({ "ok": 5 }));
    let generation = host.host.actor(&counter("c")).info().await.unwrap().generation;
    for (increment, place) in [
        (OTHER_INCREMENT, "parameter 1 (\\\"by\\\"): s64 here, u32 at the callee"),
        (
            r#"(param "to" s64) (result (result s64 (error string))) (canon lift (core func $i "of-64")"#,
            "the name of parameter 1: \\\"by\\\" here, \\\"to\\\" at the callee",
        ),
        (
            r#"(param "by" s64) (result (result s32 (error string))) (canon lift (core func $i "of-64")"#,
            "result.ok: s64 here, s32 at the callee",
        ),
        (
            r#"(param "by" s64) (result string) (canon lift (core func $i "of-64")"#,
            "result: result<s64, string> here, string at the callee",
        ),
    ] {
        host.host.deploy("counter", counter_with(increment), Manifest::default()).await.unwrap();
        for key in ["c", "new"] {
            let answer = answer(&host, "visit", json!([key, 1])).await;
            assert_error(&answer, &["Invalid(", "request.signature", place, "advice: Fix"]);
        }
        let gone = answer(&host, "current", json!(["c"])).await;
        assert_error(&gone, &["NotFound(", "request.method-missing"]);
    }
    host.deploy(guest::COUNTER).await;
    let info = host.host.actor(&counter("c")).info().await.unwrap();
    assert!(info.generation.0 <= generation.0 + 1, "{info:?} has run since {generation}");
    let new = host.host.actor(&counter("new")).info().await;
    assert!(matches!(new, Err(HostError::ActorMissing { .. })), "{new:?}");
    assert_eq!(answer(&host, "current", json!(["c"])).await, json!({ "ok": 5 }));
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_typed_call_passes_the_checks_of_every_call() {
    let (_site, host) = hosting(Manifest::default()).await;
    let denied = answer(&host, "visit", json!(["c", 1])).await;
    assert_error(&denied, &[r#"Denied("calls = [\"counter\"]")"#]);
    deploy(&host, granted()).await;
    let open = answer(&host, "visit-within", json!(["c", 1])).await;
    assert_error(&open, &["OpenTransaction"]);
    let unnamed = answer(&host, "visit", json!(["", 1])).await;
    assert_error(&unnamed, &["Invalid(", "request.invalid-actor"]);
    let missing = answer(&host, "echo-bytes", json!(["x", 1])).await;
    assert_error(&missing, &["NotFound(", "request.kind-missing"]);
    let info = host.host.actor(&counter("c")).info().await;
    assert!(matches!(info, Err(HostError::ActorMissing { .. })), "nothing was called: {info:?}");

    let mut small = granted();
    small.limits.payload_bytes_max = 1_000;
    deploy(&host, small).await;
    host.deploy(guest::TYPED_ALL).await;
    let large = answer(&host, "echo-bytes", json!(["x", 2_000])).await;
    assert_error(&large, &["Invalid(", "request.payload-too-large"]);
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_leads_a_client_to_another_kind() {
    let (_site, host) = hosting(granted()).await;
    let to = |import: &str, kind: &str| Manifest {
        calls: vec!["*".to_owned()],
        clients: [(import.to_owned(), kind.to_owned())].into(),
        ..Manifest::default()
    };
    host.host.deploy("other", guest::COUNTER.wasm().unwrap(), Manifest::default()).await.unwrap();
    deploy(&host, to(COUNTER, "other")).await;
    assert_eq!(answer(&host, "visit", json!(["c", 7])).await, json!({ "ok": 7 }));
    let other = ActorId::new("other", "c").unwrap();
    assert_eq!(host.ok(&other, "get", json!([])).await, json!(7));
    let info = host.host.actor(&counter("c")).info().await;
    assert!(matches!(info, Err(HostError::ActorMissing { .. })), "{info:?}");

    // A chain that comes back is refused before any types are compared.
    deploy(&host, to(COUNTER, "calls_typed")).await;
    let back = answer(&host, "visit", json!(["a", 1])).await;
    assert_error(&back, &["CallCycle(", "key: \"a\"", "crosses: false"]);

    let wasm = guest::CALLS_TYPED.wasm().unwrap();
    let wrong = to("stockade-client:room/room", "other");
    let refused = host.host.deploy("calls_typed", wasm, wrong).await.unwrap_err();
    assert!(matches!(&refused, HostError::Manifest(words) if words.contains(COUNTER)), "{refused}");
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_client_too_many_is_a_trap() {
    let (_site, host) = hosting(granted()).await;
    let max = u64::try_from(CLIENT_HANDLES_MAX).unwrap();
    for _ in 0..2 {
        host.call(&caller(), "hold", json!([max])).await.unwrap();
    }
    let trapped = host.call(&caller(), "hold", json!([max + 1])).await.unwrap_err();
    assert!(matches!(trapped.cause, HostError::Trapped { .. }), "{trapped}");
    assert_eq!(answer(&host, "visit", json!(["c", 1])).await, json!({ "ok": 1 }));
    host.host.shutdown().await;
}

/// The rows of the caller are durable before its request leaves: they are there whatever comes after.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_caller_has_written_is_kept_beside_its_call() {
    let (_site, host) = hosting(granted()).await;
    assert_eq!(answer(&host, "write-and-visit", json!(["c", 1])).await, json!({ "ok": 1 }));
    assert_eq!(answer(&host, "rows", json!([])).await, json!({ "ok": 1 }));
    let request =
        SqlRequest { sql: "SELECT value FROM counter".to_owned(), ..SqlRequest::default() };
    let rows = host.host.actor(&counter("c")).sql(request).await.unwrap().rows;
    assert_eq!(rows, [[SqlValue::Integer(1)]]);
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_typed_request_waits_until_the_commits_before_it_are_durable() {
    let (_site, host) = hosting(granted()).await;
    assert_eq!(answer(&host, "rows", json!([])).await, json!({ "ok": 0 }));
    let commit = host.store.arm(Step::Commit, 1, Fault::Hold);
    let calling = call(&host, &caller(), "write-and-visit", json!(["c", 1]));
    commit.fired().await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(host.store.actor(&counter("c")).await.unwrap().is_none(), "the commit is not durable");
    commit.release();
    let answer = soon("the call", calling).await.unwrap().unwrap();
    assert_eq!(answer.to_json(), json!({ "ok": 1 }));
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn imports_of_no_client_are_refused_by_function() {
    let (_site, host) = hosting(granted()).await;
    for (import, words) in [
        (
            r#"(import "stockade-client:room/room" (instance (export "add" (func))))"#,
            "`add` belongs to no resource; import what `stockade client room` writes",
        ),
        (r#"(import "demo:room/api" (instance (export "add" (func))))"#, "`stockade client KIND`"),
        (r#"(import "stockade-client:room/room@1.0.0" (instance))"#, "`stockade client KIND`"),
    ] {
        let wasm = wat::parse_str(format!("(component {import})")).unwrap();
        let refused = host.host.deploy("wrong", wasm, Manifest::default()).await.unwrap_err();
        assert!(matches!(refused, HostError::Component(_)), "{refused}");
        assert!(refused.to_string().contains(words), "{refused}");
    }
    host.host.shutdown().await;
}

/// Compares what the program prints with a file of the tree. `UPDATE=1` writes the file again.
#[track_caller]
fn assert_written(arguments: &[&str], file: &Path) {
    let (code, written, log) = program::run(arguments).unwrap();
    assert_eq!(code, 0, "{arguments:?}: {log}");
    let file = root().join(file);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&file, &written).unwrap();
    }
    assert_eq!(written, std::fs::read_to_string(&file).unwrap(), "UPDATE=1 writes it again");
}

/// The guests of this suite are built with these files, from a component and from WIT alone.
#[test]
fn the_program_writes_the_client_of_a_file() {
    let file = Path::new("tests/guests/calls_typed/typed-all.wit");
    assert_written(&["client", guest::TYPED_ALL.path().unwrap(), "--kind", "typed_all"], file);
    let world = root().join("examples/counter/world.wit");
    let counter = Path::new("guest-sdk/src/clients/counter.wit");
    assert_written(&["client", world.to_str().unwrap(), "--kind", "counter"], counter);
    let stem = ["client", guest::TYPED_ALL.path().unwrap()];
    assert_written(&stem, file);

    let (code, _, log) =
        program::run(&["client", world.to_str().unwrap(), "--kind", "No"]).unwrap();
    assert_eq!(code, 2, "{log}");
    let (code, _, log) = program::run(&["client", "no/such/file.wasm", "--kind", "a"]).unwrap();
    assert!(code == 1 && log.contains("no/such/file.wasm"), "{log}");
    // Several worlds, and one of them by its name, which exports nothing for callers.
    let wit = root().join("wit");
    let wit = wit.to_str().unwrap();
    for more in [&[][..], &["--world", "actor"]] {
        let arguments = [&["client", wit, "--kind", "a"], more].concat();
        let (code, _, log) = program::run(&arguments).unwrap();
        assert!(code == 1 && log.contains("has no client"), "{log}");
    }
}

#[test]
fn the_program_writes_the_client_of_a_kind() {
    let dir = tempfile::tempdir().unwrap();
    let program = Program::serve(dir.path()).unwrap();
    program.deploy("counter", &guest::COUNTER.wasm().unwrap()).unwrap();
    let admin = program.addresses().admin;
    let out = dir.path().join("counter.wit");
    let arguments = ["--admin", &admin, "client", "counter", "-o", out.to_str().unwrap()];
    let (code, printed, log) = program::run(&arguments).unwrap();
    assert!(code == 0 && printed.starts_with("wrote the client of counter to "), "{printed}{log}");
    // A component has lost its documentation.
    let bare = |text: &str| {
        let lines = text.lines().filter(|line| !line.trim_start().starts_with("///"));
        lines.collect::<Vec<_>>().join("\n")
    };
    let known = std::fs::read_to_string(root().join("guest-sdk/src/clients/counter.wit")).unwrap();
    assert_eq!(bare(&std::fs::read_to_string(&out).unwrap()), bare(&known));

    let wasm = program.admin_get("/admin/kinds/missing/component").unwrap();
    assert_eq!(wasm.status, 404);
    let (code, _, log) = program::run(&["--admin", &admin, "client", "missing"]).unwrap();
    assert!(code == 1 && log.contains("kind \"missing\" is not deployed"), "{log}");
    program.stop().unwrap();
}
