//! Two programs with data directories of their own over one database: no lock file of one tells the
//! other of its death, the lease alone does.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{Stage, add, deploy_counter, shared};
use crate::frozen::{Place, survive};

/// How long callers may have to wait for an answer beyond the lease.
const BEYOND_LEASE: Duration = Duration::from_secs(3);
const LEASE: Duration = Duration::from_secs(2);

/// SIGKILL, and SIGSTOP past the lease: see `frozen`.
#[test]
fn killed_and_frozen_nodes_lose_nothing_and_are_not_heard() {
    let stage = Stage::new(shared());
    let place = |node| Place { data: stage.data(node), store: Some(stage.address()) };
    survive([place("one"), place("two")]);
}

#[test]
fn actors_of_a_killed_node_answer_on_the_other_after_the_lease() {
    let stage = Stage::new(shared());
    let lease = LEASE.as_millis().to_string();
    let serve = |node| stage.serve_with(node, &["--lease-ms", &lease]);
    let (one, two) = (serve("one"), serve("two"));
    deploy_counter(&one);
    let keys: Vec<String> = (0..8).map(|key| key.to_string()).collect();
    for key in &keys {
        assert_eq!(add(&one, key, 1), 1);
    }
    let elsewhere = two.call("counter/0", "get", &json!([])).unwrap();
    assert_eq!(elsewhere.body["code"], "elsewhere", "{elsewhere:?}");
    assert_eq!(elsewhere.body["details"]["address"], json!(one.listen));

    one.kill().unwrap();
    let killed = Instant::now();
    let early = two.call("counter/0", "get", &json!([])).unwrap();
    assert_eq!(early.body["code"], "elsewhere", "before the lease has run out: {early:?}");
    for key in &keys {
        loop {
            let answer = two.call(&format!("counter/{key}"), "get", &json!([])).unwrap();
            if answer.status == 200 {
                assert_eq!(answer.body["ok"], json!(1), "counter/{key}");
                break;
            }
            assert_eq!(answer.body["code"], "elsewhere", "{answer:?}");
            assert!(killed.elapsed() < LEASE + BEYOND_LEASE, "{answer:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    // The row of the dead node goes, although no lock file shows its end here.
    let begun = Instant::now();
    while shared().sql(&stage.database, "SELECT count(*) FROM node") != "1" {
        assert!(begun.elapsed() < LEASE * 15, "the dead node is still registered");
        std::thread::sleep(Duration::from_millis(200));
    }
    two.stop().unwrap();
}
