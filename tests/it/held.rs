//! Another process holds the lock of a store file: callers, operators and the log get its process
//! id and address.

use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use stockade_depot::store::embedded::connection;
use stockade_tests::guest;
use stockade_tests::program::Program;

/// A liveness bound, on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn who_keeps_a_store_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    Program::serve(&data).unwrap().stop().unwrap();
    // This test process is the other one: registered, so that its address is known.
    let store = data.join("store");
    let own = std::process::id();
    let global = connection(&store.join("global.db")).unwrap();
    let row = "INSERT INTO node (session, address, counter, pid, version, format_min, format_max) \
               VALUES (randomblob(16), 'far.example:7', 1, ?1, '9.9', 3, 3)";
    global.execute(row, [own]).unwrap();
    let program = Program::serve(&data).unwrap();
    program.deploy("counter", &guest::COUNTER.wasm().unwrap()).unwrap();
    let increment =
        |key: &str| program.call(&format!("counter/{key}"), "increment", &json!([1])).unwrap();
    assert_eq!(increment("a").status, 200);
    let show = || program.admin_get("/admin/actors/counter/a").unwrap().body;
    assert_eq!(show()["store_held_by"], Json::Null);

    let shards = ["shard-00.db", "shard-01.db"].map(|name| connection(&store.join(name)).unwrap());
    for shard in &shards {
        shard.execute_batch("BEGIN IMMEDIATE").unwrap();
    }
    // Whether the call may have been done depends on whether the last try was under way at the
    // deadline.
    let refused = increment("new");
    let code = refused.body["code"].as_str().unwrap();
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(["unavailable", "outcome-unknown"].contains(&code), "{refused:?}");
    let said = refused.body["message"].as_str().unwrap();
    let named = format!("is locked by process {own}, at far.example:7");
    assert!(said.contains(&named), "{said}");
    // The awake actor is on one of the two files, and its write waits for the lock.
    let waiting = increment("a");
    assert_eq!(waiting.status, 503, "{waiting:?}");
    assert!(waiting.body["message"].as_str().unwrap().contains(&named), "{waiting:?}");
    let held = show()["store_held_by"].clone();
    assert_eq!((&held["pid"], &held["address"]), (&json!(own), &json!("far.example:7")), "{held}");
    let log = std::fs::read_to_string(program.log()).unwrap();
    let told = log.lines().filter(|line| line.contains("WARN") && line.contains(&format!("{own}")));
    assert!((1..=2).contains(&told.count()), "once for each file: {log}");

    for shard in &shards {
        shard.execute_batch("ROLLBACK").unwrap();
    }
    let begun = Instant::now();
    while increment("a").status != 200 {
        assert!(begun.elapsed() < PATIENCE, "does not go on");
    }
    assert_eq!(show()["store_held_by"], Json::Null);
    drop((shards, global));
    program.stop().unwrap();
}
