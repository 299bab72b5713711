//! Any node answers for any actor, with the answer of the owner.

use serde_json::json;
use stockade_tests::guest;
use stockade_tests::program;

use super::{Cluster, code};

#[test]
fn any_node_answers_for_any_actor() {
    let cluster = Cluster::start(3);
    // Created at one node, called at all of them: one life.
    for (round, node) in [0, 1, 2, 1, 0, 2].into_iter().enumerate() {
        let answer = cluster.call(node, "a", "increment", &json!([1]));
        assert_eq!((answer.status, &answer.body["ok"]), (200, &json!(round + 1)), "{answer:?}");
        assert_eq!(answer.generation, Some(1), "{answer:?}");
        assert!(answer.txid.is_some() && answer.bill.is_some(), "{answer:?}");
    }
    assert_eq!((cluster.awake(0), cluster.awake(1), cluster.awake(2)), (1, 0, 0));
    // Created where it is asked for.
    for node in 0..3 {
        cluster.increment(node, &format!("of-{node}"));
    }
    assert_eq!((cluster.awake(0), cluster.awake(1), cluster.awake(2)), (2, 1, 1));
    // The owner's errors are the caller's.
    for node in 0..3 {
        let missing = cluster.call(node, "a", "decrement", &json!([1]));
        assert_eq!((missing.status, code(&missing).as_str()), (404, "request.method-missing"));
        let ill_typed = cluster.call(node, "a", "increment", &json!(["x"]));
        assert_eq!((ill_typed.status, code(&ill_typed).as_str()), (422, "request.arguments"));
    }
    assert_eq!(cluster.increment(2, "a"), 7, "nothing ran");
}

#[test]
fn large_bodies_pass_in_both_directions() {
    let cluster = Cluster::start(2);
    cluster.node(0).deploy("typed_all", &guest::TYPED_ALL.wasm().unwrap()).unwrap();
    let echo = |node: usize, text: &str| {
        let answer = cluster.node(node).call("typed_all/x", "echo-string", &json!([text])).unwrap();
        assert_eq!(answer.status, 200, "{:?}", answer.body);
        answer.body.as_str().unwrap().to_owned()
    };
    assert_eq!(echo(0, "here"), "here");
    for len in [0, 1, 60_000, 700_000, 3_000_000] {
        let text = "x".repeat(len);
        assert!(echo(1, &text) == text, "{len}");
    }
    let too_large = "x".repeat(9 << 20);
    let refused = cluster.node(1).call("typed_all/x", "echo-string", &json!([too_large])).unwrap();
    assert_eq!(code(&refused), "request.payload-too-large");
    assert_eq!(cluster.awake(1), 0);
}

#[test]
fn a_node_that_does_not_pass_calls_on_names_the_owner() {
    let mut cluster = Cluster::start(1);
    let other = cluster.add(&["--forward", "off"]);
    cluster.meet();
    cluster.increment(0, "a");
    let elsewhere = cluster.call(other, "a", "increment", &json!([1]));
    assert_eq!((elsewhere.status, code(&elsewhere).as_str()), (421, "actor.elsewhere"));
    assert_eq!(elsewhere.body["details"]["address"], json!(cluster.node(0).listen));
    assert_eq!(elsewhere.body["retry"], "reroute");
    // Nor orders of operators.
    let stop = cluster.node(other).admin_post("/admin/actors/counter/a/stop", &json!({})).unwrap();
    assert_eq!((stop.status, code(&stop).as_str()), (421, "actor.elsewhere"));
    assert_eq!(stop.body["details"]["address"], json!(cluster.node(0).listen));
    // It takes calls that others pass on.
    cluster.increment(other, "b");
    assert_eq!(cluster.increment(0, "b"), 2);
}

#[test]
fn nodes_are_listed_with_what_they_report() {
    let cluster = Cluster::start(2);
    cluster.increment(1, "a");
    let admin = cluster.node(1).admin.clone();
    let (status, out, error) = program::run(&["--admin", &admin, "nodes", "--json"]).unwrap();
    assert_eq!(status, 0, "{error}");
    let listed: serde_json::Value = serde_json::from_str(&out).unwrap();
    let nodes = listed["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 2);
    for (at, node) in [cluster.node(0), cluster.node(1)].into_iter().enumerate() {
        let shown = nodes.iter().find(|it| it["address"] == json!(node.listen)).unwrap();
        assert_eq!(shown["pid"], node.id());
        assert_eq!(shown["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!((&shown["alive"], &shown["draining"]), (&json!(true), &json!(false)));
        assert_eq!(shown["answers"], json!(at == 1));
        assert!(shown["peers"].as_str().unwrap().starts_with("127.0.0.1:"), "{shown}");
        assert!(shown["lease_age_ms"].as_u64().unwrap() < 60_000, "{shown}");
        assert!(shown["load"]["awake_max"].as_u64().unwrap() > 0, "{shown}");
    }
    let (status, out, _) = program::run(&["--admin", &admin, "nodes"]).unwrap();
    assert!(status == 0 && out.contains(&cluster.node(0).listen), "{out}");
}
