//! A cluster is upgraded one node after the other, under load: versions of the protocol between nodes
//! are mixed in the meantime.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::json;
use stockade_tests::program::Program;

use super::{Cluster, LEASE_MS, caller, code, peer_flags, post, until};

const ACTORS: usize = 24;
const CALLERS: usize = 3;
/// Flags of a node of the former version.
const FORMER: [&str; 2] = ["--peer-protocol", "1"];

/// The nodes that take calls, as a load balancer knows them, and how many calls each has now.
struct Balancer {
    nodes: Mutex<Vec<Option<String>>>,
    busy: Vec<AtomicUsize>,
    stop: AtomicBool,
}

impl Balancer {
    /// One of the nodes, for one call.
    fn choose(&self, number: usize) -> (usize, String) {
        let nodes = self.nodes.lock();
        let open: Vec<usize> = (0..nodes.len()).filter(|node| nodes[*node].is_some()).collect();
        let node = open[number % open.len()];
        self.busy[node].fetch_add(1, Ordering::SeqCst);
        (node, nodes[node].clone().unwrap())
    }

    /// Takes a node out; returns when it has no call any more.
    fn close(&self, node: usize) {
        self.nodes.lock()[node] = None;
        until("its calls are answered", || self.busy[node].load(Ordering::SeqCst) == 0);
    }

    fn open(&self, node: usize, address: String) {
        self.nodes.lock()[node] = Some(address);
    }

    /// Increments in turn until it is stopped; any error fails the test. Returns how often each
    /// actor was incremented, and checks that no answer is older than the one before.
    fn load(&self, own: usize) -> Vec<u64> {
        let (mut counts, mut newest) = (vec![0; ACTORS], vec![0; ACTORS]);
        let mut number = own;
        while !self.stop.load(Ordering::Relaxed) {
            let actor = number % ACTORS;
            let (node, address) = self.choose(number / ACTORS + number);
            let url = format!("http://{address}/actors/counter/{actor}/increment");
            let floor = newest[actor].to_string();
            let answer = post(&url, &[("stockade-txid", floor.as_str())], &json!([1]));
            self.busy[node].fetch_sub(1, Ordering::SeqCst);
            assert_eq!(answer.status, 200, "counter/{actor} at node {node}: {answer:?}");
            let txid = answer.txid.expect("an answer has its commit");
            assert!(txid > newest[actor], "counter/{actor}: {txid} after {}", newest[actor]);
            newest[actor] = txid;
            counts[actor] += 1;
            number += 1;
        }
        counts
    }
}

#[test]
fn an_upgrade_of_all_nodes_under_load_loses_and_refuses_nothing() {
    let mut cluster = Cluster::start_with(3, &FORMER);
    let nodes = (0..3).map(|node| Some(cluster.node(node).listen.clone())).collect();
    let balancer = Arc::new(Balancer {
        nodes: Mutex::new(nodes),
        busy: (0..3).map(|_| AtomicUsize::new(0)).collect(),
        stop: AtomicBool::new(false),
    });
    let callers: Vec<_> = (0..CALLERS)
        .map(|own| {
            let balancer = Arc::clone(&balancer);
            std::thread::spawn(move || balancer.load(own))
        })
        .collect();
    let mut moved = 0;
    for node in 0..3 {
        std::thread::sleep(Duration::from_millis(500));
        moved += cluster.awake(node);
        balancer.close(node);
        let former = cluster.take(node);
        let addresses = former.addresses().flags();
        // SIGTERM drains first.
        former.stop().unwrap();
        std::thread::sleep(Duration::from_millis(200));
        cluster.nodes[node] = Some(restart(&cluster, &addresses, node));
        cluster.meet();
        balancer.open(node, cluster.node(node).listen.clone());
    }
    std::thread::sleep(Duration::from_millis(500));
    balancer.stop.store(true, Ordering::Relaxed);
    let counts: Vec<Vec<u64>> = callers.into_iter().map(|it| it.join().unwrap()).collect();
    assert!(moved > 0, "no node had an actor to give up");
    for actor in 0..ACTORS {
        let answered: u64 = counts.iter().map(|counts| counts[actor]).sum();
        assert!(answered > 0, "counter/{actor} was never called");
        let value = cluster.call(0, &actor.to_string(), "get", &json!([])).body["ok"].clone();
        assert_eq!(value, json!(answered), "counter/{actor}");
    }
}

/// The node again, at its addresses, with the newest version.
fn restart(cluster: &Cluster, addresses: &[String], _node: usize) -> Program {
    let lease = LEASE_MS.to_string();
    let keys = peer_flags(&cluster.keys(), "one");
    let own = ["--lease-ms", &lease];
    let keys = keys.iter().map(String::as_str);
    let all = own.into_iter().chain(keys).chain(addresses.iter().map(String::as_str));
    Program::serve_with(&cluster.data(), &all.collect::<Vec<_>>()).unwrap()
}

/// Between a node of the former version and a new one calls pass in both directions; what the former
/// one does not know is not asked of it.
#[test]
fn a_former_version_is_asked_for_what_it_knows() {
    let mut cluster = Cluster::start_with(1, &FORMER);
    let new = cluster.add(&[]);
    cluster.meet();
    assert_eq!((cluster.increment(0, "a"), cluster.increment(new, "a")), (1, 2));
    assert_eq!((cluster.increment(new, "b"), cluster.increment(0, "b")), (1, 2));
    let stop = |cluster: &Cluster, node: usize, key: &str| {
        let path = format!("/admin/actors/counter/{key}/stop");
        cluster.node(node).admin_post(&path, &json!({})).unwrap()
    };
    for (node, key, owner) in [(new, "a", 0), (0, "b", new)] {
        let refused = stop(&cluster, node, key);
        assert_eq!((refused.status, code(&refused).as_str()), (421, "actor.elsewhere"));
        assert_eq!(refused.body["details"]["address"], json!(cluster.node(owner).listen));
    }
    // A look is answered by the node that is asked.
    let shown = cluster.node(new).admin_get("/admin/actors/counter/a").unwrap();
    assert_eq!((shown.status, &shown.body["state"]), (200, &json!("elsewhere")), "{shown:?}");
    assert_eq!(cluster.increment(new, "a"), 3, "the owner is the same");
    // Two new ones pass orders on.
    let newer = cluster.add(&[]);
    cluster.meet();
    assert_eq!(stop(&cluster, newer, "b").body["was_awake"], true);
    let caller = caller();
    let at = cluster.node(newer).listen.clone();
    let value = caller.call(&at, "counter/a", "get", &json!([])).unwrap();
    assert_eq!(value.body["ok"], 3);
}
