//! A node that joins gets actors of a node that has more than its share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use super::{Cluster, caller, until};

/// Actors of the first node: more than the margin over half of them.
const ACTORS: u64 = 110;

#[test]
fn a_node_that_joins_gets_the_coldest_actors_and_callers_see_nothing() {
    let mut cluster = Cluster::start(1);
    // Called without a pause: never the coldest.
    let (stop, address) = (Arc::new(AtomicBool::new(false)), cluster.node(0).listen.clone());
    let hot = {
        let stop = Arc::clone(&stop);
        std::thread::spawn(move || {
            let (caller, mut count) = (caller(), 0_u64);
            while !stop.load(Ordering::Relaxed) {
                let answer =
                    caller.call(&address, "counter/hot", "increment", &json!([1])).unwrap();
                assert_eq!((answer.status, answer.generation), (200, Some(1)), "{answer:?}");
                count += 1;
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
            count
        })
    };
    for actor in 0..ACTORS {
        assert_eq!(cluster.increment(0, &actor.to_string()), 1);
    }
    assert_eq!(cluster.awake(0), ACTORS + 1);
    let joined = cluster.add(&[]);
    cluster.meet();
    until("the first node hands actors over", || cluster.awake(0) <= ACTORS / 2 + 33);
    let kept = cluster.awake(0);
    assert!(kept >= ACTORS / 4, "{kept} are left: too many went");
    // What was idle for longest went first; it begins at the other node, wherever it is called.
    for actor in 0..4 {
        assert_eq!(cluster.increment(0, &actor.to_string()), 2);
    }
    assert!(cluster.awake(joined) >= 4, "{} began there", cluster.awake(joined));
    let newest = cluster.call(0, &(ACTORS - 1).to_string(), "get", &json!([]));
    assert_eq!((newest.status, newest.generation), (200, Some(1)), "it stayed: {newest:?}");
    stop.store(true, Ordering::Relaxed);
    let count = hot.join().unwrap();
    let value = cluster.call(joined, "hot", "get", &json!([])).body["ok"].clone();
    assert_eq!(value, json!(count));
}

/// Without a number for the minute nothing moves.
#[test]
fn a_node_that_may_hand_nothing_over_keeps_what_it_has() {
    let mut cluster = Cluster::start(0);
    let config = cluster.dir.path().join("kept.toml");
    std::fs::write(&config, "[host]\nhanded_over_per_min = 0\n").unwrap();
    let flags = ["--config", config.to_str().unwrap()];
    let one = cluster.add(&flags);
    let wasm = stockade_tests::guest::COUNTER.wasm().unwrap();
    cluster.node(one).deploy("counter", &wasm).unwrap();
    for actor in 0..ACTORS {
        cluster.increment(one, &actor.to_string());
    }
    cluster.add(&flags);
    cluster.meet();
    // Two rounds of the balance.
    std::thread::sleep(std::time::Duration::from_secs(11));
    assert_eq!(cluster.awake(one), ACTORS);
}
