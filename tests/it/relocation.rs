//! Actors that slept here and then lived on another host: what the first host remembers of them is
//! old.

use serde_json::json;
use stockade::host::SqlRequest;
use stockade::{CallError, HostError};
use stockade_depot::Generation;
use stockade_testkit::faulty_store::Step;
use stockade_tests::guest;
use stockade_tests::host::{Site, actor};

#[tokio::test(flavor = "multi_thread")]
async fn a_wake_asks_the_directory_only_for_what_it_did_not_seal() {
    let (_site, host) = Site::hosting(guest::LIFECYCLE_SNAPSHOT).await;
    let actor = actor(guest::LIFECYCLE_SNAPSHOT, "one");
    host.ok(&actor, "add", json!([5])).await;
    host.host.actor(&actor).stop().await.unwrap();
    let (asked, taken) = (host.store.calls(Step::Actor), host.store.calls(Step::TakeOver));
    assert_eq!(host.ok(&actor, "read", json!([])).await, json!([5, 5]));
    assert_eq!(host.store.calls(Step::TakeOver), taken + 1);
    assert_eq!(host.store.calls(Step::Actor), asked, "it knows what it sealed");
    assert_eq!(host.store.calls(Step::CollectStages), 0, "nothing was left behind");
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_actor_that_lived_elsewhere_comes_back_with_what_it_did_there() {
    let site = Site::new();
    let (here, there) = (site.host().start().await, site.host().start().await);
    here.deploy(guest::LIFECYCLE_SNAPSHOT).await;
    let actor = actor(guest::LIFECYCLE_SNAPSHOT, "one");
    here.ok(&actor, "add", json!([5])).await;
    for (host, value) in [(&there, 7), (&here, 9), (&there, 11)] {
        let left = if value % 4 == 3 { &here } else { &there };
        left.host.actor(&actor).stop().await.unwrap().expect("it was awake");
        assert_eq!(host.ok(&actor, "add", json!([2])).await, json!([value, value]));
    }
    // Awake on the other host: what this host remembers must not make the actor its own.
    here.assert_elsewhere(&actor, "read").await;
    assert_eq!(there.ok(&actor, "read", json!([])).await, json!([11, 11]));
    here.host.shutdown().await;
    there.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_actor_that_was_destroyed_elsewhere_is_missing_and_can_be_made_anew() {
    let site = Site::new();
    let (here, there) = (site.host().start().await, site.host().start().await);
    here.deploy(guest::LIFECYCLE_SNAPSHOT).await;
    for remade_there in [false, true] {
        let actor = actor(guest::LIFECYCLE_SNAPSHOT, &format!("{remade_there}"));
        here.ok(&actor, "add", json!([5])).await;
        here.host.actor(&actor).stop().await.unwrap();
        there.host.actor(&actor).destroy().await.unwrap();
        if remade_there {
            there.ok(&actor, "add", json!([1])).await;
            there.host.actor(&actor).stop().await.unwrap();
            assert_eq!(here.ok(&actor, "read", json!([])).await, json!([1, 1]));
            assert_eq!(here.ok(&actor, "generation", json!([])).await, json!(2));
            continue;
        }
        let request = SqlRequest { sql: "SELECT 1".into(), ..SqlRequest::default() };
        let missing = here.host.actor(&actor).sql(request).await;
        assert!(
            matches!(missing, Err(CallError { cause: HostError::ActorMissing { .. }, .. })),
            "{missing:?}"
        );
        assert_eq!(here.ok(&actor, "read", json!([])).await, json!([0, 0]));
        let info = here.host.actor(&actor).info().await.unwrap();
        assert_eq!(info.generation, Generation(1));
    }
    here.host.shutdown().await;
    there.host.shutdown().await;
}
