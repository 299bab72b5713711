//! Kinds: listed page by page, removed, and deployed again under the same name beside another process.

use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use stockade_tests::guest;
use stockade_tests::program::{self, HttpReply, Program};

/// A liveness bound, on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn cli(program: &Program, arguments: &[&str]) -> (i32, Json, Json) {
    let all = [&["--admin", &program.admin, "--json"], arguments].concat();
    let (code, out, err) = program::run(&all).unwrap();
    let parsed = |text: &str| serde_json::from_str(text.trim()).unwrap_or(Json::Null);
    (code, parsed(&out), parsed(&err))
}

fn code(reply: &HttpReply) -> &str {
    reply.body["code"].as_str().unwrap_or("")
}

/// Asks until the expected answer arrives.
fn until(what: &str, ask: impl Fn() -> bool) {
    let begun = Instant::now();
    while !ask() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_kind_is_removed_without_actors_or_with_them() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let program = Program::serve(&data).unwrap();
    let beside = Program::serve(&data).unwrap();
    program.deploy("gone", &guest::COUNTER.wasm().unwrap()).unwrap();
    for key in ["a", "b", "c"] {
        let called = program.call(&format!("gone/{key}"), "increment", &json!([2])).unwrap();
        assert_eq!(called.status, 200, "{called:?}");
    }
    // The other process has the kind loaded and runs one of its actors.
    assert_eq!(beside.call("gone/d", "increment", &json!([1])).unwrap().status, 200);

    let (exit, _, error) = cli(&program, &["kinds", "rm", "gone"]);
    assert_eq!((exit, &error["code"], &error["retry"]), (1, &json!("kind-in-use"), &json!("fix")));
    assert_eq!(program.call("gone/a", "get", &json!([])).unwrap().body["ok"], 2);
    let (exit, ..) = cli(&program, &["kinds", "rm", "gone", "--with-actors"]);
    assert_eq!(exit, 2, "nobody was asked, and nobody said yes");

    // The other process has to end the actor that runs there, as soon as it learns of the removal.
    let remove = ["kinds", "rm", "gone", "--with-actors", "--yes"];
    let begun = Instant::now();
    loop {
        let (exit, removed, error) = cli(&program, &remove);
        if exit == 0 {
            assert_eq!(removed["removed"], true, "{removed}");
            break;
        }
        assert_eq!(error["retry"], "reroute", "{error}");
        assert!(begun.elapsed() < PATIENCE, "{error}");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(program.admin_get("/admin/actors?kind=gone").unwrap().body["actors"], json!([]));
    assert_eq!(code(&program.call("gone/a", "get", &json!([])).unwrap()), "kind-missing");
    // A call there before that would create an actor.
    until("the other process does not hear of it", || {
        code(&beside.get("/kinds/gone").unwrap()) == "kind-missing"
    });
    assert_eq!(code(&beside.call("gone/e", "get", &json!([])).unwrap()), "kind-missing");
    let (exit, _, error) = cli(&program, &["kinds", "rm", "gone"]);
    assert_eq!((exit, &error["code"]), (1, &json!("kind-missing")));

    // A new kind of the same name begins with the same version, and is not taken for the former
    // kind.
    program.deploy("gone", &guest::LIFECYCLE_TRAP.wasm().unwrap()).unwrap();
    until("the other process keeps what was removed", || {
        let methods = beside.get("/kinds/gone").unwrap().body["methods"].to_string();
        methods.contains("trap-now")
    });
    program.stop().unwrap();
    beside.stop().unwrap();
}

#[test]
fn kinds_come_in_pages() {
    let dir = tempfile::tempdir().unwrap();
    let program = Program::serve(&dir.path().join("data")).unwrap();
    let wasm = guest::COUNTER.wasm().unwrap();
    for kind in ["b", "c", "a"] {
        program.deploy(kind, &wasm).unwrap();
    }
    let page = |query: &str| {
        let body = program.admin_get(&format!("/admin/kinds{query}")).unwrap().body;
        let kinds: Vec<String> = body["kinds"]
            .as_array()
            .unwrap()
            .iter()
            .map(|kind| kind["kind"].as_str().unwrap().to_owned())
            .collect();
        (kinds.join(" "), body["next"].clone())
    };
    assert_eq!(page(""), ("a b c".to_owned(), Json::Null));
    assert_eq!(page("?limit=2"), ("a b".to_owned(), json!("b")));
    assert_eq!(page("?limit=2&after=b"), ("c".to_owned(), Json::Null));
    assert_eq!(program.admin_get("/admin/kinds?limits=2").unwrap().status, 400);
    let (exit, listed, _) = cli(&program, &["kinds"]);
    assert_eq!((exit, listed["kinds"].as_array().unwrap().len()), (0, 3));
    let (exit, ..) = cli(&program, &["kinds", "rm", "b"]);
    assert_eq!(exit, 0);
    assert_eq!(page(""), ("a c".to_owned(), Json::Null));
    program.stop().unwrap();
}

/// The output of plain `cargo build` becomes the component that tools would have made from it.
#[test]
fn a_core_module_is_deployed_as_the_component_that_it_describes() {
    let dir = tempfile::tempdir().unwrap();
    let program = Program::serve(&dir.path().join("data")).unwrap();
    program.deploy("counter", &guest::COUNTER.core_module().unwrap()).unwrap();
    let counted = program.call("counter/a", "increment", &json!([5])).unwrap();
    assert_eq!(counted.body, json!({ "ok": 5 }));
    let digest = |program: &Program| {
        program.admin_get("/admin/kinds/counter").unwrap().body["component"].clone()
    };
    let made = digest(&program);
    program.deploy("counter", &guest::COUNTER.wasm().unwrap()).unwrap();
    assert_eq!(digest(&program), made, "it is the same");

    // Without bindings the meaning of its functions is unknown, and the deployed kind stays.
    let bare = wat::parse_str("(module (func (export \"f\")))").unwrap();
    for (bytes, said) in [(&bare[..], "wit-bindgen"), (&b"\0asm\x01\0\0\0\xff"[..], "not a valid")]
    {
        let refused = program.deploy("counter", bytes).unwrap_err().to_string();
        assert!(refused.contains("422") && refused.contains(said), "{refused}");
    }
    assert_eq!(digest(&program), made);
    program.stop().unwrap();
}
