//! Where actors begin that no process owns.

use serde_json::json;

use super::{Cluster, until};

/// A process that is over its share passes starts on to one that is not.
#[test]
fn an_actor_begins_elsewhere_if_its_node_is_over_its_share() {
    let mut cluster = Cluster::start(1);
    let config = cluster.dir.path().join("small.toml");
    std::fs::write(&config, "[host]\nactors_awake_max = 2\n").unwrap();
    let small = cluster.add(&["--config", config.to_str().unwrap()]);
    cluster.meet();
    cluster.increment(small, "a");
    cluster.increment(small, "b");
    assert_eq!((cluster.awake(small), cluster.awake(0)), (2, 0), "there is room");
    for (key, awake) in [("c", 1), ("d", 2)] {
        assert_eq!(cluster.increment(small, key), 1);
        assert_eq!((cluster.awake(small), cluster.awake(0)), (2, awake));
        assert_eq!(cluster.increment(small, key), 2);
    }
    // Its own ones stay, and the other one begins its own.
    assert_eq!(cluster.increment(0, "a"), 2);
    cluster.increment(0, "e");
    assert_eq!((cluster.awake(small), cluster.awake(0)), (2, 3));
}

/// If the others are as full, an actor begins where it is asked for: an idle one makes room.
#[test]
fn an_actor_begins_where_it_is_asked_for_if_all_are_full() {
    let mut cluster = Cluster::start(1);
    cluster.take(0).stop().unwrap();
    let config = cluster.dir.path().join("small.toml");
    std::fs::write(&config, "[host]\nactors_awake_max = 1\n").unwrap();
    let flags = ["--config", config.to_str().unwrap()];
    let (one, two) = (cluster.add(&flags), cluster.add(&flags));
    cluster.meet();
    cluster.increment(one, "a");
    cluster.increment(two, "b");
    until("each knows that the other is full", || {
        let load = |node: usize| super::nodes_of(cluster.node(node));
        [one, two].iter().all(|node| load(*node).iter().all(|it| it["load"]["awake"] == 1))
    });
    std::thread::sleep(std::time::Duration::from_millis(super::LEASE_MS));
    assert_eq!(cluster.increment(one, "c"), 1);
    assert_eq!(cluster.call(two, "b", "get", &json!([])).body["ok"], 1);
}
