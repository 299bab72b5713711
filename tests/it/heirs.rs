//! Actors that fell asleep on this host: the seal appoints their next generation, which begins
//! without a write.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use stockade::host::ActorStatus;
use stockade::{ActorId, CallError, HostError};
use stockade_depot::store::Ownership;
use stockade_depot::{Generation, Head, NodeSession, Reason};
use stockade_testkit::faulty_store::{Fault, Step};
use stockade_tests::guest;
use stockade_tests::host::{Site, TestHost, actor, unwrap_ok};

/// A host with an actor of one row that has fallen asleep.
async fn asleep(site: &Site) -> (TestHost, ActorId) {
    let host = site.host().start().await;
    host.deploy(guest::LIFECYCLE_TRAP).await;
    let actor = actor(guest::LIFECYCLE_TRAP, "one");
    assert_eq!(write(&host, &actor).await, json!(1));
    sleep(&host, &actor).await;
    (host, actor)
}

async fn sleep(host: &TestHost, actor: &ActorId) {
    let exit = host.host.actor(actor).stop().await.unwrap().expect("it was awake");
    assert_eq!((exit.reason, exit.sealed), (Reason::Operator, true), "{exit:?}");
}

async fn write(host: &TestHost, actor: &ActorId) -> Json {
    host.ok(actor, "write", json!([])).await
}

async fn read(host: &TestHost, actor: &ActorId) -> Json {
    host.ok(actor, "read", json!([])).await
}

async fn why(host: &TestHost, actor: &ActorId) -> Json {
    host.ok(actor, "why", json!([])).await
}

async fn generation(host: &TestHost, actor: &ActorId) -> u64 {
    host.host.actor(actor).info().await.unwrap().generation.0
}

async fn head(host: &TestHost, actor: &ActorId) -> Head {
    host.store.actor(actor).await.unwrap().unwrap().head
}

/// Waits until the store knows which process runs the heir.
async fn claimed(host: &TestHost, actor: &ActorId) {
    let begun = Instant::now();
    while head(host, actor).await.owner == NodeSession::NOBODY {
        assert!(begun.elapsed() < Duration::from_secs(20), "the heir is not claimed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_slept_here_wakes_without_a_write() {
    let site = Site::new();
    let (host, actor) = asleep(&site).await;
    for life in 2..6 {
        let info = host.host.actor(&actor).info().await.unwrap();
        assert_eq!((info.status, info.sealed), (ActorStatus::Asleep, true));
        assert_eq!(info.generation, Generation(life - 1), "the heir is no life yet");
        let steps = [Step::TakeOver, Step::Actor, Step::Commit, Step::Seal];
        let before = steps.map(|step| host.store.calls(step));
        assert_eq!(read(&host, &actor).await, json!(life - 1));
        assert_eq!(steps.map(|step| host.store.calls(step)), before, "life {life}");
        assert_eq!(why(&host, &actor).await, json!("StartReason::Woken"));
        let info = host.host.actor(&actor).info().await.unwrap();
        assert_eq!((info.status, info.sealed), (ActorStatus::Awake, false));
        assert_eq!(info.generation, Generation(life));
        assert_eq!(write(&host, &actor).await, json!(life));
        sleep(&host, &actor).await;
    }
    host.assert_intact(&actor).await;
    host.host.shutdown().await;
}

/// The token is good for one generation: after a crash the next one is won by a takeover.
#[tokio::test(flavor = "multi_thread")]
async fn an_heir_begins_once() {
    let site = Site::new();
    let (host, actor) = asleep(&site).await;
    assert_eq!(read(&host, &actor).await, json!(1));
    assert_eq!(generation(&host, &actor).await, 2);
    let taken = host.store.calls(Step::TakeOver);
    let trapped = host.call(&actor, "trap-now", json!([])).await;
    assert!(
        matches!(trapped, Err(CallError { cause: HostError::Trapped { .. }, .. })),
        "{trapped:?}"
    );
    let info = host.host.actor(&actor).info().await.unwrap();
    assert_eq!((info.generation, info.sealed), (Generation(2), false), "it has lived");
    assert_eq!(write(&host, &actor).await, json!(2));
    assert_eq!(host.store.calls(Step::TakeOver), taken + 1);
    assert_eq!(generation(&host, &actor).await, 3);
    assert_eq!(why(&host, &actor).await, json!("StartReason::Recovered"));
    let info = host.host.actor(&actor).info().await.unwrap();
    assert_eq!(info.restarts, 1, "counted once");
    host.host.shutdown().await;
}

/// Crashes are counted in the store, and only a takeover writes there.
#[tokio::test(flavor = "multi_thread")]
async fn crashes_of_a_life_are_not_forgotten_with_an_heir() {
    let site = Site::new();
    let (host, actor) = asleep(&site).await;
    for _ in 0..2 {
        let trapped = host.call(&actor, "trap-now", json!([])).await;
        assert!(
            matches!(trapped, Err(CallError { cause: HostError::Trapped { .. }, .. })),
            "{trapped:?}"
        );
    }
    assert_eq!(read(&host, &actor).await, json!(1));
    // One crash since the takeover that counted the first one.
    let row = host.store.actor(&actor).await.unwrap().unwrap().row;
    assert!(row.restarts > 0, "{row:?}");
    sleep(&host, &actor).await;
    assert!(head(&host, &actor).await.sealed, "a takeover has to set the counter to zero");
    assert_eq!(read(&host, &actor).await, json!(1));
    let row = host.store.actor(&actor).await.unwrap().unwrap().row;
    assert_eq!(row.restarts, 0);
    sleep(&host, &actor).await;
    assert!(head(&host, &actor).await.is_heir());
    host.host.shutdown().await;
}

/// No host waits for a process that died while its actors slept.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_first_has_what_sleeps() {
    let site = Site::new();
    let (here, actor) = asleep(&site).await;
    let there = site.host().start().await;
    assert_eq!(write(&there, &actor).await, json!(2));
    assert_eq!(why(&there, &actor).await, json!("StartReason::Woken"));
    assert_eq!(generation(&there, &actor).await, 3, "two was the heir's");
    here.assert_elsewhere(&actor, "read").await;
    sleep(&there, &actor).await;
    assert_eq!(write(&here, &actor).await, json!(3));
    here.host.shutdown().await;
    there.host.shutdown().await;
}

/// After the claim, other hosts ask whether the heir's process lives.
#[tokio::test(flavor = "multi_thread")]
async fn an_heir_that_only_reads_is_claimed_all_the_same() {
    let site = Site::new();
    let (here, actor) = asleep(&site).await;
    let there = site.host().start().await;
    // The first claim fails: it is made again.
    let fault = here.store.arm(Step::Claim, 1, Fault::Unavailable);
    assert_eq!(read(&here, &actor).await, json!(1));
    claimed(&here, &actor).await;
    drop(fault);
    assert!(!head(&here, &actor).await.is_free());
    there.assert_elsewhere(&actor, "read").await;
    assert_eq!(write(&here, &actor).await, json!(2));
    // And after it falls asleep any host may take the actor.
    sleep(&here, &actor).await;
    assert_eq!(write(&there, &actor).await, json!(3));
    here.host.shutdown().await;
    there.host.shutdown().await;
}

/// The first commit of the heir names its process, whether or not the claim succeeds.
#[tokio::test(flavor = "multi_thread")]
async fn an_heir_that_has_written_is_claimed_by_that() {
    let site = Site::new();
    let (here, actor) = asleep(&site).await;
    let there = site.host().start().await;
    let away = here.store.outage(Step::Claim, Fault::Unavailable);
    assert_eq!(write(&here, &actor).await, json!(2));
    there.assert_elsewhere(&actor, "read").await;
    away.fired().await;
    drop(away);
    here.host.shutdown().await;
    there.host.shutdown().await;
}

/// Before the claim another process may take the actor: that ends the generation here, and loses
/// nothing.
#[tokio::test(flavor = "multi_thread")]
async fn an_heir_that_is_not_claimed_may_be_taken_and_is_never_heard_again() {
    let site = Site::new();
    let (here, actor) = asleep(&site).await;
    let there = site.host().start().await;
    let away = here.store.outage(Step::Claim, Fault::Unavailable);
    assert_eq!(read(&here, &actor).await, json!(1));
    assert_eq!(write(&there, &actor).await, json!(2));
    for method in ["read", "write"] {
        let refused = here.call(&actor, method, json!([])).await;
        let lost = matches!(
            refused,
            Err(CallError { cause: HostError::Fenced { .. } | HostError::Elsewhere { .. }, .. })
        );
        assert!(lost, "{method}: {refused:?}");
    }
    assert_eq!(read(&there, &actor).await, json!(2));
    away.fired().await;
    drop(away);
    here.host.shutdown().await;
    there.host.shutdown().await;
}

/// Two hosts are called at the same time, again and again, each with an heir now and then:
/// acknowledged writes are kept, and a read shows all of them.
#[tokio::test(flavor = "multi_thread")]
async fn two_hosts_that_want_one_heir_have_one_owner() {
    let site = Site::new();
    let (here, actor) = asleep(&site).await;
    let hosts = [Arc::new(here), Arc::new(site.host().start().await)];
    let mut acknowledged = 1;
    for round in 0..30 {
        let calls = [0, 1].map(|n| {
            let (host, actor) = (Arc::clone(&hosts[n]), actor.clone());
            tokio::spawn(async move { host.call(&actor, "write", json!([])).await })
        });
        let mut rows = Vec::new();
        for call in calls {
            // The other answer is that the actor is not here.
            if let Ok(answer) = call.await.unwrap() {
                rows.push(unwrap_ok(&answer, "write").as_u64().unwrap());
            }
        }
        rows.sort_unstable();
        let once = rows.is_sorted_by(|one, other| one < other);
        assert!(once && rows.iter().all(|rows| *rows > acknowledged), "round {round}: {rows:?}");
        acknowledged = rows.last().copied().unwrap_or(acknowledged);
        for host in &hosts {
            // Of the two hosts, the one that does not have the actor says so.
            drop(host.host.actor(&actor).stop().await);
        }
    }
    assert!(acknowledged > 30, "{acknowledged}");
    let rows = read(&hosts[0], &actor).await.as_u64().unwrap();
    assert!(rows >= acknowledged, "{rows} rows, {acknowledged} acknowledged");
    for host in &hosts {
        host.assert_intact(&actor).await;
        host.host.shutdown().await;
    }
}

/// A host that shuts down seals without an heir: no generation number is skipped.
#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_appoints_nobody() {
    let site = Site::new();
    let (host, actor) = asleep(&site).await;
    assert_eq!(read(&host, &actor).await, json!(1));
    let store = Arc::clone(&host.store);
    host.host.shutdown().await;
    drop(store);
    let head = site.open_store().actor(&actor).await.unwrap().unwrap().head;
    assert!(head.sealed && head.fence.generation == Generation(2), "{head:?}");
    let next = site.host().start().await;
    assert_eq!(write(&next, &actor).await, json!(2));
    assert_eq!(generation(&next, &actor).await, 3);
    next.host.shutdown().await;
}
