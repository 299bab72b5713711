//! Where actors begin that no process owns.

use std::time::{Duration, Instant};

use serde_json::json;
use stockade::host::{Attempts, Place, Route};
use stockade::{ActorId, HostError, Manifest};
use stockade_depot::NodeSession;
use stockade_tests::guest;
use stockade_tests::host::{Site, TestHost};
use tokio::runtime::Handle;

use super::{Cluster, LEASE_MS, until};

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
    std::thread::sleep(Duration::from_millis(LEASE_MS));
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
    let wasm = guest::COUNTER.wasm().unwrap();
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
    std::thread::sleep(Duration::from_millis(LEASE_MS));
    assert_eq!(beside(&cluster, 0, "c"), 1);
    assert_eq!((cluster.awake(0), cluster.awake(small)), (2, 3));
    // It is dead: its actors begin where they are asked for.
    cluster.take(small).kill().unwrap();
    until("the first node answers", || {
        cluster.node(0).call("beside/a", "get", &json!([])).unwrap().status == 200
    });
    assert_eq!(beside(&cluster, 0, "a"), 3);
}

/// A host that others pass calls on to. The use of the cores, which other tests share, is not measured.
async fn taker(site: &Site, awake_max: usize) -> TestHost {
    let lease = Duration::from_millis(LEASE_MS);
    let host = site.host().lease(lease).with_peers().on(&Handle::current());
    host.limits(|limits| limits.actors_awake_max = awake_max).start().await
}

/// Where a host has an actor begin that no process owns, after these have refused it.
async fn begins(host: &TestHost, actor: &ActorId, refused: &[NodeSession]) -> Place {
    let mut attempts = Attempts::default();
    attempts.refused.extend(refused);
    // What the others have reported by now.
    host.host.nodes().await.unwrap();
    host.host.place(actor, &attempts).await.unwrap()
}

/// The process of the named actor takes no other one: each reason, one after the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_actor_begins_near_a_process_that_takes_it_or_as_ever() {
    let site = Site::new();
    let (here, there) = (taker(&site, 64).await, taker(&site, 2).await);
    let wasm = || guest::LIFECYCLE_WITNESS.wasm().unwrap();
    here.host.deploy("named", wasm(), Manifest::default()).await.unwrap();
    let near = Manifest { near: Some("named/{key}".to_owned()), ..Manifest::default() };
    here.host.deploy("beside", wasm(), near).await.unwrap();
    let actor = |kind: &str, key: &str| ActorId::new(kind, key).unwrap();
    let (named, beside) = (actor("named", "a"), actor("beside", "a"));
    assert_eq!(begins(&here, &beside, &[]).await, Place::Here, "there is no named one");
    there.call(&named, "note", json!([1])).await.unwrap();
    let session = there.host.session();
    let begins_there = |place: &Place| match place {
        Place::There { peer, route: Route::Start { released: None } } => peer.session == session,
        Place::There { .. } | Place::Here => false,
    };
    let place = begins(&here, &beside, &[]).await;
    assert!(begins_there(&place), "{place:?}");
    assert_eq!(begins(&here, &actor("beside", "b"), &[]).await, Place::Here, "another key");
    assert_eq!(begins(&here, &beside, &[session]).await, Place::Here, "it has refused");

    let patience = Instant::now() + super::PATIENCE;
    // Full, as it reports.
    there.call(&actor("named", "b"), "note", json!([1])).await.unwrap();
    while begins(&here, &beside, &[]).await != Place::Here {
        assert!(Instant::now() < patience, "it is full");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    there.host.actor(&actor("named", "b")).stop().await.unwrap();
    while !begins_there(&begins(&here, &beside, &[]).await) {
        assert!(Instant::now() < patience, "it has room again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // It drains, and the named one has a call that lasts.
    let lasting = tokio::spawn({
        let (host, named) = (there.host.clone(), named.clone());
        async move { host.actor(&named).call("newest-after", (3_000_u32,)).await }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    there.host.drain().await.unwrap();
    while begins(&here, &beside, &[]).await != Place::Here {
        assert!(Instant::now() < patience, "it drains");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let owns = begins(&here, &named, &[]).await;
    assert!(matches!(owns, Place::There { route: Route::Run { .. }, .. }), "{owns:?}");
    let start = there.host.check_route(&beside, session, Route::Start { released: None });
    assert!(matches!(start, Err(HostError::Draining)), "{start:?}");
    assert!(!lasting.is_finished(), "the call has ended too soon for this test");
    lasting.await.unwrap().unwrap();
    there.host.shutdown().await;
    here.host.shutdown().await;
}
