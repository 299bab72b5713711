//! A node gives its actors up while it is called: no caller sees an error.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use stockade_tests::program;

use super::{Cluster, caller, code, until};

const ACTORS: usize = 12;

/// Calls actors in turn until it is asked to stop; returns the increments that each has got. Any
/// error fails the test.
fn load(address: String, stop: Arc<AtomicBool>) -> Vec<u64> {
    let (caller, mut counts) = (caller(), vec![0; ACTORS]);
    let mut next = 0;
    while !stop.load(Ordering::Relaxed) {
        let actor = format!("counter/{next}");
        let answer = caller.call(&address, &actor, "increment", &json!([1])).unwrap();
        assert_eq!(answer.status, 200, "{actor} at {address}: {answer:?}");
        counts[next] += 1;
        next = (next + 1) % ACTORS;
    }
    counts
}

struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<Vec<u64>>>,
}

impl Load {
    fn on(cluster: &Cluster, nodes: &[usize]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = nodes.iter().map(|node| {
            let (address, stop) = (cluster.node(*node).listen.clone(), Arc::clone(&stop));
            std::thread::spawn(move || load(address, stop))
        });
        Self { threads: threads.collect(), stop }
    }

    /// Stops the callers; every increment that was answered is there, once.
    fn end(self, cluster: &Cluster, node: usize) {
        self.stop.store(true, Ordering::Relaxed);
        let counts: Vec<Vec<u64>> =
            self.threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        for actor in 0..ACTORS {
            let answered: u64 = counts.iter().map(|counts| counts[actor]).sum();
            let value =
                cluster.call(node, &actor.to_string(), "get", &json!([])).body["ok"].clone();
            assert_eq!(value, json!(answered), "counter/{actor}");
        }
    }
}

#[test]
fn a_drain_under_load_shows_no_caller_an_error() {
    let cluster = Cluster::start(3);
    for actor in 0..ACTORS {
        cluster.call(0, &actor.to_string(), "get", &json!([]));
    }
    let load = Load::on(&cluster, &[0, 1, 2]);
    std::thread::sleep(Duration::from_millis(300));
    let admin = cluster.node(0).admin.clone();
    let drained = program::run(&["--admin", &admin, "drain", "--json"]).unwrap();
    assert_eq!(drained.0, 0, "{drained:?}");
    assert!(drained.1.contains("\"awake\":0"), "{drained:?}");
    // It begins no actor, and answers for all of them.
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(cluster.awake(0), 0);
    assert_eq!(cluster.increment(0, "new"), 1);
    assert_eq!(cluster.awake(0), 0);
    let status = cluster.node(0).admin_get("/admin/drain").unwrap().body;
    assert_eq!((&status["draining"], &status["takers"]), (&json!(true), &json!(2)));
    load.end(&cluster, 1);
    // Undone, it begins actors again.
    let undone = program::run(&["--admin", &admin, "drain", "--undo"]).unwrap();
    assert_eq!(undone.0, 0, "{undone:?}");
    cluster.increment(0, "newer");
    assert_eq!(cluster.awake(0), 1);
}

/// SIGTERM drains first: callers of the others see nothing of it.
#[test]
fn a_node_that_is_stopped_gives_its_actors_up_first() {
    let mut cluster = Cluster::start(3);
    for actor in 0..ACTORS {
        cluster.call(0, &actor.to_string(), "get", &json!([]));
    }
    let load = Load::on(&cluster, &[1, 2]);
    std::thread::sleep(Duration::from_millis(300));
    assert!(cluster.awake(0) > 0);
    let log = cluster.node(0).log().to_owned();
    cluster.take(0).stop().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    load.end(&cluster, 1);
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("draining"), "{log}");
}

#[test]
fn a_node_that_no_other_relieves_does_not_drain() {
    let mut cluster = Cluster::start(2);
    assert_eq!(cluster.node(1).admin_post("/admin/drain", &json!({})).unwrap().status, 200);
    until("the first node knows", || {
        super::nodes_of(cluster.node(0)).iter().any(|node| node["draining"] == true)
    });
    let alone = cluster.node(0).admin_post("/admin/drain", &json!({})).unwrap();
    assert_eq!((alone.status, code(&alone).as_str()), (409, "host.alone"));
    assert_eq!(cluster.increment(1, "a"), 1);
    assert_eq!((cluster.awake(0), cluster.awake(1)), (1, 0));
    cluster.take(0).kill().unwrap();
    // The only one left begins nothing until its drain is ended, and says so in time.
    until("the killed node is known to be dead", || super::nodes_of(cluster.node(1)).len() == 1);
    let refused = cluster.call(1, "b", "increment", &json!([1]));
    assert_eq!((refused.status, code(&refused).as_str()), (503, "host.draining"), "{refused:?}");
    assert_eq!(cluster.node(1).admin_delete("/admin/drain").unwrap().status, 200);
    assert_eq!(cluster.increment(1, "b"), 1);
}
