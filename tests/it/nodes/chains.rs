//! Calls of actors across nodes: their chains, their time, and nodes that know none.

use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use stockade_tests::guest;

use super::{Cluster, code, until};

const KIND: &str = "calls_relay";
/// Far below the 30 s that the calls of a circle would take.
const SOON: Duration = Duration::from_secs(8);

/// A cluster with the guest that calls. Actor `a` runs at the first node, `b` at the second, and so on.
fn start(count: usize, flags: &[&str]) -> Cluster {
    let cluster = Cluster::start_with(count, flags);
    deploy(&cluster);
    for (node, key) in ["a", "b", "c"].iter().enumerate().take(count) {
        assert_eq!(relay(&cluster, node, key, "count", &json!([]))["ok"], 0);
    }
    cluster
}

fn deploy(cluster: &Cluster) {
    let manifest = json!({ "calls": [KIND] });
    let wasm = guest::CALLS_RELAY.wasm().unwrap();
    cluster.node(0).deploy_with(KIND, &wasm, Some(&manifest)).unwrap();
}

fn relay(cluster: &Cluster, node: usize, key: &str, method: &str, arguments: &Json) -> Json {
    let answer = cluster.node(node).call(&format!("{KIND}/{key}"), method, arguments).unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

fn to(key: &str, method: &str, arguments: &str) -> Json {
    json!([KIND, key, method, arguments])
}

/// Whether an answer is the refusal of a call that would wait for itself, as the guest shows it.
fn gave_way(answer: &Json) -> bool {
    answer["err"].as_str().is_some_and(|error| error.starts_with("CallCycle("))
}

#[test]
fn actors_call_actors_of_other_nodes() {
    let cluster = start(2, &[]);
    let answer = relay(&cluster, 0, "a", "call", &to("b", "write", ""));
    assert_eq!(answer["ok"], r#"{"ok":1}"#);
    assert_eq!((cluster.awake(0), cluster.awake(1)), (1, 1), "each runs where it did");
    let answer = relay(&cluster, 1, "b", "call", &to("a", "large", "[300000]"));
    assert_eq!(answer["ok"].as_str().map(str::len), Some(300_002));
    let answer = relay(&cluster, 0, "a", "call", &to("b", "nap", "[\"x\"]"));
    assert!(answer["err"].as_str().unwrap().contains("request.arguments"), "{answer}");
    let answer = relay(&cluster, 0, "a", "call", &to("b", "write-and-trap", ""));
    let error = answer["err"].as_str().unwrap();
    assert!(error.contains("actor.trapped") && error.contains("Some(Committed)"), "{answer}");
}

#[test]
fn a_chain_that_comes_back_over_other_nodes_is_refused() {
    let cluster = start(3, &[]);
    let begun = Instant::now();
    let back = relay(&cluster, 0, "a", "pass", &json!([["b", "c", "a"]]));
    let error = back["err"].as_str().unwrap();
    assert!(error.contains("CallCycle(") && error.matches("key: ").count() == 3, "{error}");
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    assert_eq!(relay(&cluster, 1, "a", "pass", &json!([["b", "c"]]))["ok"], 2);
}

/// Each of them knows only its own calls and those that arrive. Nodes of version 5 do not say of a call
/// whether it is there.
#[test]
fn chains_that_cross_over_several_nodes_are_opened() {
    for (count, flags) in [(2, &[][..]), (3, &[][..]), (2, &["--peer-protocol", "5"][..])] {
        let cluster = start(count, flags);
        let keys = &["a", "b", "c"][..count];
        let mut opened = 0;
        for _ in 0..4 {
            let begun = Instant::now();
            let answers: Vec<Json> = std::thread::scope(|scope| {
                let calls: Vec<_> = (0..count)
                    .map(|node| {
                        let (cluster, next) = (&cluster, keys[(node + 1) % count]);
                        let arguments = json!([300, KIND, next, "count", ""]);
                        scope.spawn(move || {
                            relay(cluster, node, keys[node], "call-after", &arguments)
                        })
                    })
                    .collect();
                calls.into_iter().map(|call| call.join().unwrap()).collect()
            });
            assert!(begun.elapsed() < SOON, "{:?}: {answers:?}", begun.elapsed());
            let refused = answers.iter().filter(|answer| gave_way(answer)).count();
            let answered = answers.iter().filter(|answer| answer["ok"] == r#"{"ok":0}"#).count();
            assert!(refused <= 1 && refused + answered == count, "{answers:?}");
            opened += refused;
        }
        assert!(opened > 0, "no circle was closed in time");
    }
}

/// The callee ends in time, wherever it is.
#[test]
fn the_callers_time_bounds_a_callee_of_another_node() {
    let cluster = start(2, &[]);
    let manifest = json!({ "calls": [KIND], "limits": { "call_time_ms": 3_000 } });
    let wasm = guest::CALLS_RELAY.wasm().unwrap();
    cluster.node(0).deploy_with(KIND, &wasm, Some(&manifest)).unwrap();
    until("both nodes have the new settings", || {
        let begun = Instant::now();
        let napped = cluster.node(1).call(&format!("{KIND}/b"), "nap", &json!([3_500])).unwrap();
        napped.status == 504 && begun.elapsed() < Duration::from_millis(3_400)
    });
    relay(&cluster, 0, "a", "count", &json!([]));
    relay(&cluster, 1, "b", "count", &json!([]));
    let answer = relay(&cluster, 0, "a", "call", &to("b", "nap", "[60000]"));
    let error = answer["err"].as_str().unwrap();
    assert!(error.contains("actor.budget-exhausted"), "{answer}");
}

/// Without chains a circle would last as long as its calls.
#[test]
fn a_node_of_a_former_version_is_not_called_by_actors() {
    let mut cluster = start(1, &[]);
    let former = cluster.add(&["--peer-protocol", "2"]);
    cluster.meet();
    until("it has the kind", || {
        cluster.node(former).call(&format!("{KIND}/old"), "count", &json!([])).unwrap().status
            == 200
    });
    let answer = relay(&cluster, 0, "a", "call", &to("old", "count", ""));
    let error = answer["err"].as_str().unwrap();
    assert!(error.contains("host.peer-unreachable"), "{answer}");
    // Callers that are no actors reach it as before.
    assert_eq!(relay(&cluster, 0, "old", "count", &json!([]))["ok"], 0);
}

/// A caller over HTTP is no actor, whatever it writes into its head.
#[test]
fn callers_have_no_chain() {
    let cluster = start(1, &[]);
    let url = format!("http://{}/actors/{KIND}/a/count", cluster.node(0).listen);
    let chain = "call=x age=y left=0 calls_relay/a";
    let answer = super::post(&url, &[("stockade-chain", chain)], &json!([]));
    assert_eq!((answer.status, code(&answer).as_str()), (200, "."), "{answer:?}");
}
