//! The server restarts, or is away, while a program serves: nothing acknowledged is lost, each call
//! gets an answer or a typed error in time, and serving continues.

use std::time::{Duration, Instant};

use serde_json::json;
use stockade_testkit::postgres::Server;

use super::{Stage, add, deploy_counter, done};
use crate::writers::{CALL_MAX, lose_nothing, value};

/// How soon calls succeed once the server is back.
const BACK_WITHIN: Duration = Duration::from_secs(5);

#[test]
fn a_server_that_restarts_under_load_loses_nothing_that_was_acknowledged() {
    let server = Server::start(&[]);
    let stage = Stage::new(&server);
    let program = stage.serve("one");
    deploy_counter(&program);
    lose_nothing(std::slice::from_ref(&program), BACK_WITHIN, |away| {
        server.stop();
        std::thread::sleep(away);
        server.again();
    });
    assert_eq!(done(&["verify", "--all", "--admin", &program.admin])["ok"], true);
    program.stop().unwrap();
}

/// Asleep, awake and new actors, while the server is away and after.
#[test]
fn calls_get_a_typed_error_in_time_while_the_server_is_away() {
    let server = Server::start(&[]);
    let stage = Stage::new(&server);
    let program = stage.serve("one");
    deploy_counter(&program);
    for key in ["asleep", "awake"] {
        assert_eq!(add(&program, key, 1), 1);
    }
    let slept = program.admin_post("/admin/actors/counter/asleep/stop", &json!({})).unwrap();
    assert_eq!(slept.status, 200, "{slept:?}");

    server.stop();
    for (key, method) in [
        ("asleep", "get"),
        ("awake", "get"),
        ("new", "get"),
        ("awake", "increment"),
        ("asleep", "increment"),
    ] {
        let begun = Instant::now();
        let arguments = if method == "get" { json!([]) } else { json!([1]) };
        let answer = program.call(&format!("counter/{key}"), method, &arguments).unwrap();
        println!("{key} {method}: {} after {:?}: {}", answer.status, begun.elapsed(), answer.body);
        assert!(begun.elapsed() < CALL_MAX, "{key} {method}");
        assert_eq!(answer.status, 503, "{key} {method}: {answer:?}");
        let advice = answer.body["retry"].as_str().unwrap();
        assert!(["retry", "unknown-outcome"].contains(&advice), "{answer:?}");
        if method == "get" {
            assert_eq!(advice, "retry", "{key}: {answer:?}");
        }
    }
    let listed = program.admin_get("/admin/actors").unwrap();
    assert_eq!((listed.status, &listed.body["code"]), (503, &json!("unavailable")), "{listed:?}");
    assert_eq!(program.get("/health").unwrap().status, 200);

    server.again();
    for key in ["asleep", "awake"] {
        // Its write may have been applied, if its answer said so.
        assert!([1, 2].contains(&value(&program, key, BACK_WITHIN)), "{key}");
    }
    assert_eq!(add(&program, "new", 1), 1);
    program.stop().unwrap();
}
