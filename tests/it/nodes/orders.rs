//! Orders of operators: given at any node, carried out by the one that owns the actor.

use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use stockade_tests::guest;
use stockade_tests::program::HttpReply;

use super::{Cluster, LEASE_MS, code, post, until};

/// An order with a body, at a node's operators' listener.
fn order(cluster: &Cluster, node: usize, actor: &str, what: &str, body: &Json) -> HttpReply {
    cluster.node(node).admin_post(&format!("/admin/actors/{actor}/{what}"), body).unwrap()
}

fn info(cluster: &Cluster, node: usize, actor: &str) -> HttpReply {
    cluster.node(node).admin_get(&format!("/admin/actors/{actor}")).unwrap()
}

fn sql(cluster: &Cluster, node: usize, text: &str, write: bool) -> HttpReply {
    order(cluster, node, "counter/a", "sql", &json!({ "sql": text, "write": write }))
}

#[test]
fn an_order_is_carried_out_by_the_owner_whoever_is_asked() {
    let cluster = Cluster::start(3);
    assert_eq!(cluster.increment(0, "a"), 1);
    for node in [1, 2] {
        let shown = info(&cluster, node, "counter/a");
        assert_eq!((shown.status, &shown.body["state"]), (200, &json!("awake")), "{shown:?}");
        // The live session answers: no node takes the actor from its owner.
        let read = sql(&cluster, node, "SELECT value FROM counter", false);
        assert_eq!((read.status, &read.body["rows"]), (200, &json!([[node]])), "{read:?}");
        assert_eq!(read.generation, Some(1), "{read:?}");
        let written = sql(&cluster, node, "UPDATE counter SET value = value + 1", true);
        assert_eq!((written.status, &written.body["changes"]), (200, &json!(1)), "{written:?}");
        assert!(written.txid > read.txid, "{written:?} after {read:?}");
    }
    assert_eq!((cluster.awake(0), cluster.awake(1), cluster.awake(2)), (1, 0, 0));
    // The owner's errors are the operator's.
    let denied = sql(&cluster, 1, "UPDATE counter SET value = 9", false);
    assert_eq!((denied.status, code(&denied).as_str()), (403, "sql.denied"), "{denied:?}");
    let unknown = order(&cluster, 1, "counter/a", "sql", &json!({ "text": "SELECT 1" }));
    assert_eq!((unknown.status, code(&unknown).as_str()), (400, "request.invalid-body"));
    let forbidden = order(&cluster, 1, "counter/a", "fault", &json!({ "fault": "crash" }));
    assert_eq!(code(&forbidden), "request.faults-not-allowed");
    // A large body, and a large answer.
    let long = format!("SELECT '{}'", "x".repeat(700_000));
    let large = sql(&cluster, 2, &long, false);
    assert_eq!(large.status, 200, "{:?}", large.body.get("code"));
    assert_eq!(large.body["rows"][0][0].as_str().unwrap().len(), 700_000);

    let reset = order(&cluster, 1, "counter/a", "reset", &json!({}));
    assert_eq!((reset.status, &reset.body["reset"]), (200, &json!(true)), "{reset:?}");
    let stopped = order(&cluster, 2, "counter/a", "stop", &json!({}));
    assert_eq!((stopped.status, &stopped.body["was_awake"]), (200, &json!(true)), "{stopped:?}");
    assert_eq!(stopped.body["exit"]["reason"], "operator");
    assert_eq!(cluster.awake(0), 0);
    let again = order(&cluster, 2, "counter/a", "stop", &json!({}));
    assert_eq!((again.status, &again.body["was_awake"]), (200, &json!(false)), "{again:?}");
    // Asleep, no node owns it: the one that is asked visits it, and does not wake it.
    let visited = sql(&cluster, 1, "SELECT value FROM counter", false);
    assert_eq!((visited.status, &visited.body["rows"]), (200, &json!([[3]])), "{visited:?}");
    assert_eq!((cluster.awake(0), cluster.awake(1), cluster.awake(2)), (0, 0, 0));
    assert_eq!(cluster.increment(0, "a"), 4);
    // What the visit has left at the second node is older than the life at the first.
    let shown = info(&cluster, 1, "counter/a");
    assert_eq!((shown.status, &shown.body["state"]), (200, &json!("awake")), "{shown:?}");
    let stopped = order(&cluster, 1, "counter/a", "stop", &json!({}));
    assert_eq!((stopped.status, &stopped.body["was_awake"]), (200, &json!(true)), "{stopped:?}");
    assert_eq!(cluster.increment(0, "a"), 5);

    let destroyed = cluster.node(1).admin_delete("/admin/actors/counter/a").unwrap();
    assert_eq!((destroyed.status, &destroyed.body["destroyed"]), (200, &json!(true)));
    assert_eq!(cluster.awake(0), 0, "the owner has ended it");
    let missing = info(&cluster, 2, "counter/a");
    assert_eq!((missing.status, code(&missing).as_str()), (404, "request.actor-missing"));
    let missing = sql(&cluster, 2, "SELECT 1", false);
    assert_eq!((missing.status, code(&missing).as_str()), (404, "request.actor-missing"));
}

/// What is read of the store needs no owner: every node reads the same.
#[test]
fn exports_imports_and_checks_work_at_any_node() {
    let cluster = Cluster::start(2);
    for _ in 0..3 {
        cluster.increment(0, "a");
    }
    let file = |name: &str| cluster.dir.path().join(name);
    cluster.node(0).export("counter/a", &file("own.db")).unwrap();
    cluster.node(1).export("counter/a", &file("other.db")).unwrap();
    let bytes = std::fs::read(file("other.db")).unwrap();
    assert_eq!(std::fs::read(file("own.db")).unwrap(), bytes);
    let verified = order(&cluster, 1, "counter/a", "verify", &json!({}));
    assert_eq!((verified.status, &verified.body["ok"]), (200, &json!(true)), "{verified:?}");
    let url = format!("http://{}/admin/actors/counter/b/import", cluster.node(1).admin);
    let made = cluster.node(1).post_raw(&url, "application/vnd.sqlite3", &bytes).unwrap();
    assert_eq!(made.status, 200, "{made:?}");
    assert_eq!(cluster.increment(0, "b"), 4);
    let again = cluster.node(1).post_raw(&url, "application/vnd.sqlite3", &bytes).unwrap();
    assert_eq!((again.status, code(&again).as_str()), (409, "import.exists"), "{again:?}");
    assert_eq!((cluster.awake(0), cluster.awake(1)), (2, 0));
}

/// The right of an operator comes from the operators' listener. No name, path or field of a call
/// makes an order of it.
#[test]
fn no_caller_gives_an_order() {
    let cluster = Cluster::start(2);
    assert_eq!(cluster.increment(0, "a"), 1);
    let at = |path: &str| format!("http://{}{path}", cluster.node(1).listen);
    let own = peers_url(&cluster);
    for path in ["/peers/operators/counter/a/stop", "/admin/actors/counter/a/stop"] {
        let refused = post(&at(path), &[], &json!({}));
        assert_eq!((refused.status, code(&refused).as_str()), (421, "request.wrong-listener"));
    }
    for method in [
        "stop",
        "..%2F..%2F..%2Foperators%2Fcounter%2Fa%2Fstop",
        "..%2Fstop",
        "%2E%2E",
        "a%2F..%2F..%2Foperators",
    ] {
        let route = own.iter().map(|(name, value)| (*name, value.as_str()));
        let refused = post(
            &at(&format!("/actors/counter/a/{method}")),
            &route.collect::<Vec<_>>(),
            &json!([]),
        );
        assert_eq!((refused.status, code(&refused).as_str()), (404, "request.method-missing"));
    }
    assert_eq!(cluster.increment(1, "a"), 2);
    assert_eq!(info(&cluster, 0, "counter/a").body["generation"], 1, "it was not stopped");
}

/// Fields that another process sends with an order.
fn peers_url(cluster: &Cluster) -> Vec<(&'static str, String)> {
    let nodes = super::nodes_of(cluster.node(0));
    let own = nodes.iter().find(|node| node["answers"] == true).unwrap();
    let node = own["node"].as_str().unwrap();
    let db = info(cluster, 0, "counter/a").body["db"].as_str().unwrap().to_owned();
    vec![("stockade-route", format!("run node={node} db={db} generation=1"))]
}

/// A living owner does not run an actor that has crashed there: any node resets and stops it.
#[test]
fn orders_for_a_crashed_actor_do_not_wait_for_its_owner() {
    let cluster = Cluster::start(2);
    cluster.node(0).deploy("trap", &guest::LIFECYCLE_TRAP.wasm().unwrap()).unwrap();
    let call =
        |node: usize, method: &str| cluster.node(node).call("trap/a", method, &json!([])).unwrap();
    assert_eq!(call(0, "write").body["ok"], 1);
    assert_eq!(call(0, "trap-now").status, 500);
    until("the owner has ended it", || cluster.awake(0) == 0);
    let stopped = order(&cluster, 1, "trap/a", "stop", &json!({}));
    assert_eq!((stopped.status, &stopped.body["was_awake"]), (200, &json!(false)), "{stopped:?}");
    let read = order(&cluster, 1, "trap/a", "sql", &json!({ "sql": "SELECT count(*) FROM t" }));
    assert_eq!((read.status, &read.body["rows"]), (200, &json!([[1]])), "{read:?}");
    let reset = order(&cluster, 1, "trap/a", "reset", &json!({}));
    assert_eq!((reset.status, &reset.body["reset"]), (200, &json!(true)), "{reset:?}");
    assert_eq!(call(1, "read").body["ok"], 1);
}

/// A frozen owner takes the order and answers nothing: what only looks is answered all the same, and
/// the rest is not given twice.
#[test]
fn an_order_for_a_frozen_owner_ends_in_time() {
    let cluster = Cluster::start(2);
    assert_eq!(cluster.increment(0, "a"), 1);
    // The connection is there.
    assert_eq!(info(&cluster, 1, "counter/a").body["state"], "awake");
    cluster.node(0).freeze().unwrap();
    let url = format!("http://{}/admin/actors/counter/a/stop", cluster.node(1).admin);
    let begun = Instant::now();
    let stop = post(&url, &[("stockade-timeout-ms", "700")], &json!({}));
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert!([503, 504].contains(&stop.status), "{stop:?}");
    if code(&stop) == "host.unanswered" {
        assert_eq!(stop.body["details"]["verdict"], "indeterminate");
        assert_eq!(stop.body["retry"], "unknown-outcome");
    }
    let begun = Instant::now();
    let shown = info(&cluster, 1, "counter/a");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!((shown.status, &shown.body["generation"]), (200, &json!(1)), "{shown:?}");
    // After the lease the order is carried out where it is given. Under load a try may take as long as
    // it is given, and several may be needed.
    let url = format!("http://{}/admin/actors/counter/a/sql", cluster.node(1).admin);
    let look = json!({ "sql": "SELECT value FROM counter", "write": false });
    let mut tries = 0;
    until("the order is carried out", || {
        let read = post(&url, &[("stockade-timeout-ms", "3000")], &look);
        tries += 1;
        if read.body["group"] == "depot" || read.status != 200 && tries % 3 == 0 {
            // It was frozen in the middle of a write, and keeps the lock of a file.
            cluster.node(0).resume().unwrap();
            std::thread::sleep(Duration::from_millis(300));
            cluster.node(0).freeze().unwrap();
            std::thread::sleep(Duration::from_millis(LEASE_MS + 500));
        }
        assert!(read.status != 200 || read.body["rows"] == json!([[1]]), "{read:?}");
        read.status == 200
    });
    cluster.node(0).resume().unwrap();
    assert_eq!(cluster.increment(1, "a"), 2);
}
