//! Starts that must end: soon, with what is wrong and where, and with nothing served.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use stockade_testkit::postgres::{USER, free_port};
use stockade_tests::program::Program;

use super::{Stage, failed, shared};

/// The longest that a start may take that cannot succeed.
const ENDS_WITHIN: Duration = Duration::from_secs(15);

/// The message of a start that fails.
fn refused(stage: &Stage, address: &str, code: &str, retry: &str) -> String {
    let begun = Instant::now();
    let data = stage.data("refused");
    let flags = ["--data-dir", data.to_str().unwrap(), "--listen", "127.0.0.1:0"];
    let server = ["--admin", "127.0.0.1:0", "--store", address];
    let (_, error) = failed(&[&["serve"], &flags[..], &server].concat());
    assert!(begun.elapsed() < ENDS_WITHIN, "{address}: {:?}", begun.elapsed());
    // With --json the log is text all the same: the error is its last line.
    let error = match error {
        Json::String(text) => serde_json::from_str(text.lines().last().unwrap()).unwrap(),
        error => error,
    };
    assert_eq!((error["code"].as_str(), error["retry"].as_str()), (Some(code), Some(retry)));
    error["message"].as_str().unwrap().to_owned()
}

#[test]
fn a_server_that_is_not_there_ends_the_start_with_its_name() {
    let stage = Stage::new(shared());
    let gone = free_port();
    // It accepts and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mute = silent.local_addr().unwrap().port();
    let address = format!(
        "postgres://{USER}@127.0.0.1:{gone},localhost:{mute},no-such-host.invalid:1/d?sslmode=disable"
    );
    let why = refused(&stage, &address, "no-store", "retry");
    for part in [format!("127.0.0.1:{gone}"), format!("localhost:{mute}: no answer in 2 s")] {
        assert!(why.contains(&part), "{why}");
    }
}

#[test]
fn what_the_server_refuses_ends_the_start() {
    let stage = Stage::new(shared());
    let port = shared().port;
    let missing = format!("postgres://{USER}@127.0.0.1:{port}/nowhere?sslmode=disable");
    let why = refused(&stage, &missing, "no-store", "retry");
    assert!(why.contains("3D000") && why.contains(&format!("127.0.0.1:{port}/nowhere")), "{why}");

    let plain = format!("postgres://{USER}@127.0.0.1:{port}/{}", stage.database);
    let why = refused(&stage, &format!("{plain}?sslmode=require"), "no-store", "retry");
    assert!(why.contains("TLS"), "{why}");
    let why = refused(&stage, &plain, "usage", "fix");
    assert!(why.contains("sslrootcert"), "{why}");

    // A role that may not make tables.
    let role = format!("r{}", shared().number());
    shared().sql(&stage.database, &format!("CREATE ROLE {role} LOGIN"));
    let other = format!("postgres://{role}@127.0.0.1:{port}/{}?sslmode=disable", stage.database);
    let why = refused(&stage, &other, "no-store", "retry");
    assert!(why.contains("42501") && why.contains(&format!("127.0.0.1:{port}")), "{why}");
}

#[test]
fn a_newer_schema_is_refused_with_the_program_to_run() {
    let stage = Stage::new(shared());
    stage.serve("one").stop().unwrap();
    shared().sql(&stage.database, "UPDATE stockade_schema SET version = 7, program = '9.9.9'");
    let why = refused(&stage, &stage.address(), "no-store", "fix");
    assert!(why.contains("run stockade 9.9.9 or a later one"), "{why}");
    let (code, out, _) =
        stockade_tests::program::run(&["store", "check", "--store", &stage.address()]).unwrap();
    assert!(code == 1 && out.contains("run stockade 9.9.9 or a later one"), "{out}");
    shared().sql(&stage.database, "UPDATE stockade_schema SET version = 1");
    stage.serve("one").stop().unwrap();
}

/// A schema that a statement of others keeps locked.
#[test]
fn a_schema_that_is_not_ready_in_time_ends_the_start() {
    let stage = Stage::new(shared());
    stage.serve("one").stop().unwrap();
    let server = shared();
    std::thread::scope(|scope| {
        let database = &stage.database;
        let locked = "BEGIN; LOCK TABLE stockade_schema; SELECT pg_sleep(33)";
        let holder = scope.spawn(move || server.sql(database, locked));
        std::thread::sleep(Duration::from_millis(500));
        let begun = Instant::now();
        let error = Program::serve_with(&stage.data("two"), &["--store", &stage.address()]);
        let error = error.map(drop).unwrap_err().to_string();
        assert!(error.contains("not ready within 30 s"), "{error}");
        assert!(error.contains(&stage.name()), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(38), "{:?}", begun.elapsed());
        holder.join().unwrap();
    });
}
