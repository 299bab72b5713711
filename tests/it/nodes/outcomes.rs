//! Calls with an id across nodes: any node answers a repeat and a question, and a node that knows no ids
//! gets none.

use serde_json::{Value as Json, json};
use stockade_tests::guest;
use stockade_tests::program::HttpReply;

use super::{Cluster, code, until};

const KIND: &str = "calls_relay";

fn start(count: usize, flags: &[&str]) -> Cluster {
    let cluster = Cluster::start_with(count, flags);
    let manifest = json!({ "calls": [KIND], "transactional": ["write"] });
    let wasm = guest::CALLS_RELAY.wasm().unwrap();
    cluster.node(0).deploy_with(KIND, &wasm, Some(&manifest)).unwrap();
    cluster
}

fn name(key: &str) -> String {
    format!("{KIND}/{key}")
}

fn write(cluster: &Cluster, node: usize, key: &str, id: &str) -> HttpReply {
    cluster.node(node).call_with_id(&name(key), "write", &json!([]), id).unwrap()
}

fn outcome(cluster: &Cluster, node: usize, key: &str, id: &str, settle: bool) -> Json {
    let told = cluster.node(node).outcome(&name(key), id, settle).unwrap();
    assert_eq!(told.status, 200, "{told:?}");
    told.body["outcome"].clone()
}

#[test]
fn any_node_answers_a_repeat_and_a_question() {
    let cluster = start(2, &[]);
    for (node, key) in [(0, "a"), (1, "b")] {
        let count = cluster.node(node).call(&name(key), "count", &json!([])).unwrap();
        assert_eq!(count.body["ok"], 0, "{count:?}");
    }
    for node in [0, 1, 0] {
        let answer = write(&cluster, node, "a", "1");
        assert_eq!((answer.status, answer.body), (200, json!({ "ok": 1 })), "node {node}");
        assert_eq!(outcome(&cluster, node, "a", "1", false), "committed");
        assert_eq!(outcome(&cluster, node, "a", "2", false), "not-seen");
    }
    assert_eq!(outcome(&cluster, 1, "a", "2", true), "never");
    for node in [0, 1] {
        let refused = write(&cluster, node, "a", "2");
        assert_eq!((refused.status, code(&refused).as_str()), (409, "actor.call-settled"));
    }
    // Between actors, over both nodes.
    let made = cluster.node(0).call(&name("a"), "new-id", &json!([])).unwrap().body["ok"].clone();
    for _ in 0..2 {
        let arguments = json!(["b", "write", "", made]);
        let answer = cluster.node(1).call(&name("a"), "call-once", &arguments).unwrap();
        assert_eq!(answer.body["ok"], r#"{"ok":1}"#, "{answer:?}");
    }
    let asked = cluster.node(0).call(&name("a"), "outcome", &json!(["b", made, true])).unwrap();
    assert!(asked.body["ok"].as_str().is_some_and(|it| it.starts_with("Committed(")), "{asked:?}");
    let (caller, callee) = (cluster.awake(0), cluster.awake(1));
    assert_eq!((caller, callee), (1, 1), "each runs where it did");
}

#[test]
fn a_killed_owner_leaves_its_records_to_the_next_one() {
    let mut cluster = start(2, &[]);
    assert_eq!(write(&cluster, 0, "a", "1").body, json!({ "ok": 1 }));
    cluster.take(0).kill().unwrap();
    until("the other node has the actor", || {
        let answer = write(&cluster, 1, "a", "1");
        answer.status == 200 && answer.body == json!({ "ok": 1 })
    });
    assert_eq!(outcome(&cluster, 1, "a", "1", false), "committed");
    assert_eq!(write(&cluster, 1, "a", "2").body, json!({ "ok": 2 }));
}

#[test]
fn a_former_version_gets_no_call_with_an_id() {
    let mut cluster = start(1, &["--peer-protocol", "3"]);
    let new = cluster.add(&[]);
    cluster.meet();
    let count = cluster.node(0).call(&name("a"), "count", &json!([])).unwrap();
    assert_eq!(count.body["ok"], 0, "it runs at the former one: {count:?}");
    let refused = write(&cluster, new, "a", "1");
    assert_eq!((refused.status, code(&refused).as_str()), (503, "host.peer-unreachable"));
    let asked = cluster.node(new).outcome(&name("a"), "1", false).unwrap();
    assert_eq!((asked.status, code(&asked).as_str()), (421, "actor.elsewhere"), "{asked:?}");
    let plain = cluster.node(new).call(&name("a"), "write", &json!([])).unwrap();
    assert_eq!(plain.body, json!({ "ok": 1 }), "nothing was done before, and no id is needed");
}
