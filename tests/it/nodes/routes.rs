//! Routes that no longer fit: checked by the process that gets them, and found again by the one that
//! sent them.

use std::time::Duration;

use serde_json::json;
use stockade::host::Route;
use stockade::{ActorId, HostError};
use stockade_depot::store::Ownership as _;
use stockade_depot::{Generation, NodeSession};
use stockade_testkit::faulty_store::{Fault, Step};
use stockade_tests::guest;
use stockade_tests::host::Site;

use super::{Cluster, until};

/// The actor moves while another node remembers where it was.
#[test]
fn a_stale_route_is_found_again_within_the_call() {
    let cluster = Cluster::start(3);
    assert_eq!(cluster.increment(0, "a"), 1);
    assert_eq!(cluster.increment(1, "a"), 2, "it remembers the first node");
    let stop = |node: usize| {
        cluster.node(node).admin_post("/admin/actors/counter/a/stop", &json!({})).unwrap()
    };
    assert_eq!(stop(0).body["was_awake"], true);
    assert_eq!(cluster.increment(2, "a"), 3, "it begins where it is asked for");
    assert_eq!((cluster.awake(0), cluster.awake(2)), (0, 1));
    assert_eq!(cluster.increment(1, "a"), 4, "the route was stale");
    assert_eq!(cluster.increment(0, "a"), 5, "and what the first node has left");
    // Slept and woken at the same node: another generation.
    assert_eq!(stop(2).body["was_awake"], true);
    assert_eq!(cluster.increment(2, "a"), 6);
    assert_eq!(cluster.increment(1, "a"), 7);
    assert_eq!((cluster.awake(0), cluster.awake(1), cluster.awake(2)), (0, 0, 1));
}

/// The head of a crashed actor names its owner, which lives and does not run it.
#[test]
fn an_actor_that_crashed_at_its_owner_begins_where_it_is_asked_for() {
    let cluster = Cluster::start(2);
    cluster.node(0).deploy("trap", &guest::LIFECYCLE_TRAP.wasm().unwrap()).unwrap();
    let call =
        |node: usize, method: &str| cluster.node(node).call("trap/a", method, &json!([])).unwrap();
    assert_eq!(call(0, "write").body["ok"], 1);
    assert_eq!(call(1, "write").body["ok"], 2);
    let trapped = call(1, "trap-now");
    assert_eq!((trapped.status, &trapped.body["code"]), (500, &json!("trapped")), "{trapped:?}");
    until("the owner has ended it", || cluster.awake(0) == 0);
    assert_eq!(call(1, "read").body["ok"], 2);
    assert_eq!((cluster.awake(0), cluster.awake(1)), (0, 1));
    assert_eq!(call(0, "read").body["ok"], 2);
}

/// Each route gets its answer from what the process runs. A takeover under way is not taken for
/// none: two processes would take the actor from each other in turns.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_knows_what_it_runs_and_what_it_is_about_to_run() {
    let (site, host) = Site::hosting(guest::COUNTER).await;
    let actor = ActorId::new("counter", "a").unwrap();
    let increment = || host.ok(&actor, "increment", json!([1]));
    increment().await;
    let head = || async { host.store.actor(&actor).await.unwrap().unwrap().head };
    let begun = head().await;
    let (own, db) = (begun.owner, begun.fence.db);
    let check = |to, route| host.host.check_route(&actor, to, route);
    let run = |generation| Route::Run { db, generation };
    let first = begun.fence.generation;
    assert!(check(own, run(first)).is_ok());
    assert!(check(own, Route::Start { released: None }).is_ok());
    let other = check(own, run(first.next()));
    assert!(
        matches!(&other, Err(HostError::Reroute { runs: Some((_, Generation(1))), .. })),
        "{other:?}"
    );
    let stranger = check(NodeSession([9; 16]), run(first));
    assert!(matches!(stranger, Err(HostError::Reroute { runs: None, .. })), "{stranger:?}");
    // An order is for the process that has the actor, whatever generation that runs.
    let order = |to| host.host.check_order(&actor, to);
    assert!(order(own).is_ok());
    let stranger = order(NodeSession([9; 16]));
    assert!(matches!(stranger, Err(HostError::Reroute { runs: None, .. })), "{stranger:?}");

    // Asleep, and then about to be taken over.
    host.host.actor(&actor).stop().await.unwrap();
    // The slot leaves a moment after its generation has ended.
    let asleep = loop {
        match check(own, run(first)) {
            Err(HostError::Starting { .. }) => tokio::task::yield_now().await,
            asleep => break asleep,
        }
    };
    assert!(matches!(asleep, Err(HostError::Reroute { runs: None, .. })), "{asleep:?}");
    assert!(matches!(order(own), Err(HostError::Reroute { runs: None, .. })), "asleep");
    let usurper = site.host().start().await;
    usurper.ok(&actor, "increment", json!([1])).await;
    usurper.host.actor(&actor).stop().await.unwrap();
    // The first attempt is for the head of its own last life, and is refused.
    let held = host.store.arm(Step::TakeOver, 2, Fault::HoldAnswer);
    let taking = tokio::spawn({
        let (host, actor) = (host.host.clone(), actor.clone());
        async move { host.actor(&actor).call("increment", (1,)).await }
    });
    held.fired().await;
    let taken = head().await;
    assert_eq!(taken.owner, own);
    let starting = check(own, run(taken.fence.generation));
    assert!(matches!(starting, Err(HostError::Starting { .. })), "{starting:?}");
    assert!(order(own).is_ok(), "it waits for the start");
    held.release();
    taking.await.unwrap().unwrap();
    assert!(check(own, run(taken.fence.generation)).is_ok());
    tokio::time::timeout(Duration::from_secs(30), host.host.shutdown()).await.unwrap();
    usurper.host.shutdown().await;
}
