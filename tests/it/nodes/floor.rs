//! `stockade-txid` of a request: no answer is older than that commit, whichever node gives it.

use serde_json::{Value as Json, json};
use stockade::{ActorId, HostError, Txid};
use stockade_tests::guest;
use stockade_tests::host::Site;
use stockade_tests::program::HttpReply;

use super::{Cluster, code, post, until};

fn call(cluster: &Cluster, node: usize, key: &str, method: &str, floor: &str) -> HttpReply {
    let url = format!("http://{}/actors/counter/{key}/{method}", cluster.node(node).listen);
    let arguments = if method == "get" { json!([]) } else { json!([1]) };
    post(&url, &[("stockade-txid", floor)], &arguments)
}

fn sql(cluster: &Cluster, node: usize, floor: &str) -> HttpReply {
    let url = format!("http://{}/admin/actors/counter/a/sql", cluster.node(node).admin);
    post(&url, &[("stockade-txid", floor)], &json!({ "sql": "SELECT value FROM counter" }))
}

#[test]
fn an_answer_is_never_older_than_the_commit_that_is_asked_for() {
    let cluster = Cluster::start(2);
    let mut written = cluster.call(0, "a", "increment", &json!([1]));
    for node in [0, 1, 0, 1] {
        let newest = written.txid.unwrap();
        let read = call(&cluster, node, "a", "get", &newest.to_string());
        assert_eq!((read.status, read.txid), (200, Some(newest)), "{read:?}");
        let early = call(&cluster, node, "a", "increment", &(newest + 1).to_string());
        assert_eq!((early.status, code(&early).as_str()), (503, "actor.behind"), "{early:?}");
        assert_eq!((&early.body["retry"], early.txid), (&json!("retry"), None), "{early:?}");
        let details = &early.body["details"];
        assert_eq!((&details["txid"], &details["txid_min"]), (&json!(newest), &json!(newest + 1)));
        assert_eq!(details["key"], "a");
        let same = call(&cluster, node, "a", "get", "0");
        assert_eq!(same.body["ok"], read.body["ok"], "nothing ran");
        // Operators' statements, awake.
        let read = sql(&cluster, node, &newest.to_string());
        assert_eq!((read.status, read.txid), (200, Some(newest)), "{read:?}");
        assert_eq!(code(&sql(&cluster, node, &(newest + 1).to_string())), "actor.behind");
        written = cluster.call(node, "a", "increment", &json!([1]));
    }
    // Asleep: it wakes, and is asked then.
    let newest = written.txid.unwrap();
    let far = &(newest + 1_000).to_string();
    let stop = || cluster.node(1).admin_post("/admin/actors/counter/a/stop", &json!({})).unwrap();
    stop();
    assert_eq!(code(&sql(&cluster, 1, far)), "actor.behind");
    assert_eq!(sql(&cluster, 1, &newest.to_string()).status, 200);
    assert_eq!(code(&call(&cluster, 1, "a", "get", far)), "actor.behind");
    assert_eq!(call(&cluster, 1, "a", "get", &newest.to_string()).body["ok"], 5);
    // Exports: of the store, at any node.
    for node in [0, 1] {
        let export = |floor: u64| {
            let url = format!("http://{}/admin/actors/counter/a/export", cluster.node(node).admin);
            let token = format!("Bearer {}", stockade_tests::program::ADMIN_TOKEN);
            let config = ureq::Agent::config_builder().http_status_as_error(false);
            let agent: ureq::Agent = config.build().into();
            let request = agent.get(&url).header("authorization", token);
            request.header("stockade-txid", floor.to_string()).call().unwrap().status().as_u16()
        };
        assert_eq!((export(newest), export(newest + 1_000)), (200, 503));
    }
}

#[test]
fn an_actor_is_not_created_for_a_commit_that_it_cannot_have() {
    let cluster = Cluster::start(2);
    for node in [0, 1] {
        let early = call(&cluster, node, "new", "increment", "1");
        assert_eq!((early.status, code(&early).as_str()), (503, "actor.behind"), "{early:?}");
        assert_eq!(early.body["details"]["txid"], 0);
    }
    let missing = cluster.node(0).admin_get("/admin/actors/counter/new").unwrap();
    assert_eq!((missing.status, code(&missing).as_str()), (404, "request.actor-missing"));
    assert_eq!(call(&cluster, 0, "new", "increment", "0").body["ok"], 1);
}

#[test]
fn a_commit_that_does_not_read_is_refused_by_name() {
    let cluster = Cluster::start(2);
    cluster.increment(0, "a");
    for node in [0, 1] {
        for wrong in ["newest", "-1", "+1", "1.5", "18446744073709551616"] {
            let refused = call(&cluster, node, "a", "increment", wrong);
            assert_eq!((refused.status, code(&refused).as_str()), (400, "request.malformed"));
            assert_eq!(refused.body["details"]["header"], "stockade-txid", "{refused:?}");
            let refused = sql(&cluster, node, wrong);
            assert_eq!((refused.status, code(&refused).as_str()), (400, "request.malformed"));
        }
    }
    assert_eq!(cluster.call(1, "a", "get", &json!([])).body["ok"], 1, "nothing ran");
}

/// The owner is killed after it has answered: who takes over has what it has answered.
#[test]
fn a_commit_is_there_after_a_takeover() {
    let mut cluster = Cluster::start(3);
    let mut newest = 0;
    for _ in 0..20 {
        newest = cluster.call(1, "a", "increment", &json!([1])).txid.unwrap();
    }
    let owner = (0..3).find(|node| cluster.awake(*node) == 1).expect("one owns it");
    cluster.take(owner).kill().unwrap();
    let other = (owner + 1) % 3;
    let mut read = None;
    until("another node answers", || {
        let answer = call(&cluster, other, "a", "get", &newest.to_string());
        assert_ne!(code(&answer), "actor.behind", "{answer:?}");
        read = (answer.status == 200).then_some(answer);
        read.is_some()
    });
    let read = read.unwrap();
    assert_eq!(read.body["ok"], 20, "{read:?}");
    assert!(read.txid >= Some(newest), "{read:?}");
}

/// A generation that does not know that it has lost its database finds out before anything runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_of_the_past_asks_the_store_before_it_answers() {
    let (site, old) = Site::hosting(guest::COUNTER).await;
    let actor = ActorId::new("counter", "a").unwrap();
    let first = old.host.actor(&actor).call("increment", (1,)).await.unwrap();
    let usurper = site.usurper().start().await;
    let newer = loop {
        let answer = usurper.host.actor(&actor).call("increment", (1,)).await;
        match answer {
            Ok(answer) => break answer,
            Err(error) => assert_eq!(error.retry().as_str(), "reroute", "{error:?}"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    assert!(newer.txid > first.txid);
    let floor = old.host.actor(&actor).at_least(newer.txid);
    let refused = floor.call("get", ()).await.unwrap_err();
    assert!(matches!(refused.cause, HostError::Fenced { .. }), "{refused:?}");
    assert_eq!((refused.retry().as_str(), refused.verdict), ("reroute", None));
    // The new owner has the commit, and none after it.
    let read = usurper.host.actor(&actor).at_least(newer.txid).call("get", ()).await.unwrap();
    assert_eq!(read.to_json(), json!({ "ok": 2 }));
    let early = usurper.host.actor(&actor).at_least(Txid(newer.txid.0 + 1));
    let refused = early.call("increment", (1,)).await.unwrap_err();
    let behind = matches!(refused.cause, HostError::Behind { txid, .. } if txid == newer.txid);
    assert!(behind, "{refused:?}");
    let unchanged: Json = usurper.host.actor(&actor).call("get", ()).await.unwrap().to_json();
    assert_eq!(unchanged, json!({ "ok": 2 }));
    usurper.host.shutdown().await;
    old.host.shutdown().await;
}
