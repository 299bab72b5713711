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

/// The settings of a kind name an actor: those of the kind begin beside it.
#[test]
fn an_actor_begins_near_the_one_that_its_manifest_names() {
    let mut cluster = Cluster::start(1);
    let config = cluster.dir.path().join("small.toml");
    std::fs::write(&config, "[host]\nactors_awake_max = 3\n").unwrap();
    let small = cluster.add(&["--config", config.to_str().unwrap()]);
    cluster.meet();
    let wasm = stockade_tests::guest::COUNTER.wasm().unwrap();
    let near = |text: &str| json!({ "near": text });
    let refused = cluster.node(0).deploy_with("beside", &wasm, Some(&near("counter"))).unwrap_err();
    assert!(refused.to_string().contains("near"), "{refused}");
    cluster.node(0).deploy_with("beside", &wasm, Some(&near("counter/{key}"))).unwrap();
    let beside = |cluster: &Cluster, node: usize, key: &str| {
        let actor = format!("beside/{key}");
        let answer = cluster.node(node).call(&actor, "increment", &json!([1])).unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body["ok"].as_u64().unwrap()
    };
    cluster.increment(small, "a");
    assert_eq!(beside(&cluster, 0, "a"), 1);
    assert_eq!((cluster.awake(0), cluster.awake(small)), (0, 2), "beside the other one");
    assert_eq!(beside(&cluster, small, "a"), 2);
    // No process owns the named one: as ever.
    assert_eq!(beside(&cluster, 0, "b"), 1);
    assert_eq!((cluster.awake(0), cluster.awake(small)), (1, 2));
    // The process of the named one is over its share: as ever.
    cluster.increment(small, "c");
    until("the first node knows", || {
        let nodes = super::nodes_of(cluster.node(0));
        nodes.iter().any(|node| node["load"]["awake"] == 3)
    });
    std::thread::sleep(std::time::Duration::from_millis(super::LEASE_MS));
    assert_eq!(beside(&cluster, 0, "c"), 1);
    assert_eq!((cluster.awake(0), cluster.awake(small)), (2, 3));
    // It is dead: its actors begin where they are asked for.
    cluster.take(small).kill().unwrap();
    until("the first node answers", || {
        cluster.node(0).call("beside/a", "get", &json!([])).unwrap().status == 200
    });
    assert_eq!(beside(&cluster, 0, "a"), 3);
}
