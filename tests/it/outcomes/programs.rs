//! The same over HTTP and from the command line, with programs that are killed.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value as Json, json};
use stockade_tests::guest;
use stockade_tests::program::{self, HttpReply, Program};

use super::{KIND, WHOLE, WRITERS};

/// Kills that calls with an id survive.
const ROUNDS: u64 = 12;

fn deploy(program: &Program) {
    let wasm = guest::CALLS_RELAY.wasm().unwrap();
    program.deploy(KIND, &wasm).unwrap();
    program.deploy_with(WHOLE, &wasm, Some(&json!({ "transactional": WRITERS }))).unwrap();
}

fn once(program: &Program, actor: &str, method: &str, arguments: &Json, id: &str) -> HttpReply {
    program.call_with_id(actor, method, arguments, id).unwrap()
}

#[track_caller]
fn assert_outcome(program: &Program, actor: &str, id: &str, expected: &str) -> Json {
    let told = program.outcome(actor, id, false).unwrap();
    assert_eq!((told.status, &told.body["outcome"]), (200, &json!(expected)), "{told:?}");
    told.body
}

fn code(reply: &HttpReply) -> String {
    format!(
        "{}.{}",
        reply.body["group"].as_str().unwrap_or("?"),
        reply.body["code"].as_str().unwrap_or("?")
    )
}

/// Kills the program while a call with an id naps between its two writes.
fn killed_in_between(data: &Path, actor: &str) {
    let program = Arc::new(Program::serve(data).unwrap());
    let (caller, of) = (Arc::clone(&program), actor.to_owned());
    let cut_off = std::thread::spawn(move || {
        caller.call_with_id(&of, "write-nap-write", &json!([20_000]), "1")
    });
    std::thread::sleep(Duration::from_millis(1_500));
    program.signal("KILL").unwrap();
    assert!(cut_off.join().unwrap().is_err(), "no answer");
    Arc::into_inner(program).expect("its caller has ended").kill().unwrap();
}

#[test]
fn a_kill_in_the_middle_is_partial_or_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let program = Program::serve(&data).unwrap();
    deploy(&program);
    program.stop().unwrap();

    let (part, whole) = ("calls_relay/a", "whole/a");
    killed_in_between(&data, part);
    killed_in_between(&data, whole);
    let program = Program::serve(&data).unwrap();
    assert_outcome(&program, part, "1", "partial");
    let again = once(&program, part, "write-nap-write", &json!([20_000]), "1");
    assert_eq!((again.status, code(&again).as_str()), (409, "actor.call-partial"), "{again:?}");
    assert_eq!(again.body["retry"], "unknown-outcome");
    assert_eq!(again.body["details"]["call_id"], "1");
    assert_eq!(program.call(part, "count", &json!([])).unwrap().body["ok"], 1);

    let gone = program.outcome(whole, "1", false).unwrap();
    // Nothing was committed, so there is no actor: the kill was before its first commit.
    assert!(
        gone.body["outcome"] == "not-seen" || code(&gone) == "request.actor-missing",
        "{gone:?}"
    );
    let again = once(&program, whole, "write-nap-write", &json!([1]), "1");
    assert_eq!(again.body, json!({ "ok": 2 }), "it runs now");
    program.stop().unwrap();
}

/// One call after the other, each repeated with its id until it is answered, over kills at random moments:
/// each counts once. `SEED=n` repeats the moments.
#[test]
fn kills_and_repeats_count_each_call_once() {
    let seed = match std::env::var("SEED") {
        Ok(seed) => seed.parse().expect("SEED is a number"),
        Err(_) => u64::from(std::process::id()) | 1,
    };
    println!("SEED={seed}");
    let mut random = seed;
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    // The answers by id, and the call that has none.
    let mut answers: BTreeMap<u64, Json> = BTreeMap::new();
    let mut next = 0;
    for round in 0..=ROUNDS {
        let program = Arc::new(Program::serve(&data).unwrap());
        if round == 0 {
            deploy(&program);
        }
        if round == ROUNDS {
            let answer = once(&program, "whole/a", "write", &json!([]), &next.to_string());
            assert_eq!(answer.status, 200, "SEED={seed}: {answer:?}");
            answers.insert(next, answer.body);
            for (id, answer) in &answers {
                let again = once(&program, "whole/a", "write", &json!([]), &id.to_string());
                assert_eq!(&again.body, answer, "SEED={seed}");
                let told = assert_outcome(&program, "whole/a", &id.to_string(), "committed");
                assert_eq!(&told["answer"], answer);
            }
            let count = program.call("whole/a", "count", &json!([])).unwrap();
            assert_eq!(count.body["ok"], json!(answers.len()), "SEED={seed}");
            drop(Arc::into_inner(program).expect("no other").stop());
            break;
        }
        let caller = Arc::clone(&program);
        let calls = std::thread::spawn(move || {
            let (mut number, mut answered) = (next, Vec::new());
            while let Ok(answer) =
                caller.call_with_id("whole/a", "write", &json!([]), &number.to_string())
            {
                assert_eq!(answer.status, 200, "{answer:?}");
                answered.push((number, answer.body));
                number += 1;
            }
            (number, answered)
        });
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        std::thread::sleep(Duration::from_millis(20 + (random >> 33) % 400));
        program.signal("KILL").unwrap();
        let (number, answered) = calls.join().unwrap();
        for (id, answer) in answered {
            assert_eq!(answer, json!({ "ok": id + 1 }), "SEED={seed}: each counts once");
            answers.insert(id, answer);
        }
        next = number;
        Arc::into_inner(program).expect("its caller has ended").kill().unwrap();
    }
    assert!(answers.len() as u64 > ROUNDS, "only {} calls were answered", answers.len());
}

#[test]
fn an_id_is_a_header_and_its_question_a_route() {
    let dir = tempfile::tempdir().unwrap();
    let program = Program::serve(&dir.path().join("data")).unwrap();
    deploy(&program);
    let actor = "whole/a";
    for id in ["order-17", "\"order-17\""] {
        let answer = once(&program, actor, "write", &json!([]), id);
        assert_eq!((answer.status, answer.body), (200, json!({ "ok": 1 })));
    }
    let told = assert_outcome(&program, actor, "order-17", "committed");
    assert_eq!(told["actor"], "whole/a");
    assert_eq!((&told["answer"], &told["is_error"]), (&json!({ "ok": 1 }), &json!(false)));
    assert_eq!((&told["call_id"], &told["answer_kept"]), (&json!("order-17"), &json!(true)));
    assert!(told["txid"].as_u64().is_some_and(|txid| txid > 0), "{told}");
    assert_outcome(&program, actor, "order-18", "not-seen");
    let settled = program.outcome(actor, "order-18", true).unwrap();
    assert_eq!(settled.body["outcome"], "never", "{settled:?}");
    for (id, method, arguments, status, row, advice) in [
        ("two words", "write", json!([]), 400, "request.malformed", "fix"),
        ("", "write", json!([]), 400, "request.malformed", "fix"),
        ("order-17", "nap", json!([1]), 409, "actor.call-id-reused", "fix"),
        ("order-18", "write", json!([]), 409, "actor.call-settled", "never"),
        ("0000000000001-x", "write", json!([]), 410, "actor.call-expired", "never"),
    ] {
        let refused = once(&program, actor, method, &arguments, id);
        assert_eq!((refused.status, code(&refused).as_str()), (status, row), "{refused:?}");
        assert_eq!(refused.body["retry"], advice);
    }
    assert_outcome(&program, actor, "0000000000001-x", "expired");
    assert_eq!(program.call(actor, "count", &json!([])).unwrap().body["ok"], 1);
    // What may have run says how to ask.
    let died = once(&program, "calls_relay/b", "write-and-trap", &json!([]), "9");
    assert_eq!(died.body["details"]["call_id"], "9", "{died:?}");
    assert!(died.body["message"].as_str().unwrap().contains("stockade outcome calls_relay/b 9"));
    let missing = program.outcome("whole/none", "1", true).unwrap();
    assert_eq!((missing.status, code(&missing).as_str()), (404, "request.actor-missing"));
    program.stop().unwrap();
}

#[test]
fn the_command_line_gives_ids_and_asks_for_them() {
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("callers");
    std::fs::write(&token, "the-token-of-callers\n").unwrap();
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600)).unwrap();
    let token = token.display().to_string();
    let program = Program::serve_with(&dir.path().join("data"), &["--token-file", &token]).unwrap();
    deploy(&program);
    let server = program.listen.clone();
    let line = |words: &[&str]| {
        let all: Vec<&str> = words.iter().copied().chain(["--server", &server]).collect();
        let (code, out, error) = program::run(&all).unwrap();
        assert_eq!(code, 0, "{words:?}: {error}");
        out.trim().to_owned()
    };
    let call = ["call", "whole/a", "write", "--id", "1"];
    assert_eq!((line(&call), line(&call)), ("ok(1)".to_owned(), "ok(1)".to_owned()));
    let told = line(&["outcome", "whole/a", "1"]);
    assert!(told.starts_with("committed, as of commit ") && told.ends_with("{\"ok\":1}"), "{told}");
    // The token of callers is another caller than that of operators, which the environment has.
    let as_caller = |words: &[&str]| {
        let all: Vec<&str> = words.iter().copied().chain(["--token-file", &token]).collect();
        line(&all)
    };
    assert!(as_caller(&["outcome", "whole/a", "1"]).starts_with("not-seen"), "another caller");
    assert_eq!(as_caller(&call), "ok(2)");
    assert!(line(&["outcome", "whole/a", "2", "--settle"]).starts_with("never"), "settled");
    program.stop().unwrap();
}
