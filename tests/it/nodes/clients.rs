//! Typed calls across nodes: the values travel as JSON between them, and the types are compared first.

use serde_json::{Value as Json, json};
use stockade_tests::guest;

use super::{Cluster, until};

fn start() -> Cluster {
    let cluster = Cluster::start_with(2, &[]);
    let manifest = json!({ "calls": ["counter", "typed_all"] });
    let wasm = guest::CALLS_TYPED.wasm().unwrap();
    cluster.node(0).deploy_with("calls_typed", &wasm, Some(&manifest)).unwrap();
    cluster.node(0).deploy("counter", &guest::COUNTER.wasm().unwrap()).unwrap();
    cluster.node(0).deploy("typed_all", &guest::TYPED_ALL.wasm().unwrap()).unwrap();
    cluster
}

fn ask(cluster: &Cluster, node: usize, actor: &str, method: &str, arguments: &Json) -> Json {
    let answer = cluster.node(node).call(actor, method, arguments).unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

#[test]
fn typed_calls_reach_actors_of_other_nodes() {
    let cluster = start();
    assert_eq!(ask(&cluster, 1, "counter/c", "increment", &json!([4])), json!({ "ok": 4 }));
    assert_eq!(ask(&cluster, 1, "typed_all/x", "runs", &json!([])), json!(0));
    assert_eq!(ask(&cluster, 0, "calls_typed/a", "visit", &json!(["c", 1])), json!({ "ok": 5 }));
    assert_eq!((cluster.awake(0), cluster.awake(1)), (1, 2), "each runs where it did");
    let all = ask(&cluster, 0, "calls_typed/a", "echo-all", &json!(["x"]));
    assert_eq!(all, json!({ "ok": 27 }));
    let bytes = 300_000;
    let large = ask(&cluster, 0, "calls_typed/a", "echo-bytes", &json!(["x", bytes]));
    assert_eq!(large, json!({ "ok": bytes }));
}

#[test]
fn other_types_are_refused_on_every_node() {
    let cluster = start();
    assert_eq!(ask(&cluster, 1, "counter/c", "increment", &json!([4])), json!({ "ok": 4 }));
    assert_eq!(ask(&cluster, 0, "calls_typed/a", "visit", &json!(["c", 1])), json!({ "ok": 5 }));
    let other = crate::clients::counter_with(crate::clients::OTHER_INCREMENT);
    cluster.node(1).deploy("counter", &other).unwrap();
    until("the first node has the new component as well", || {
        let answer = ask(&cluster, 0, "calls_typed/a", "visit", &json!(["c", 0]));
        answer["err"].as_str().is_some_and(|error| error.contains("request.signature"))
    });
    cluster.node(1).deploy("counter", &guest::COUNTER.wasm().unwrap()).unwrap();
    until("and the old one again", || {
        ask(&cluster, 0, "calls_typed/a", "current", &json!(["c"])) == json!({ "ok": 5 })
    });
}
