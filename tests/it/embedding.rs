//! Hosts inside programs of others: runtimes that are not driven, blocked or stopped, hosts that share
//! a process, hosts that cannot start, are dropped or shut down more than once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use stockade::host::ActorStatus;
use stockade::{Arguments, CallError, Host, HostConfig, HostError};
use stockade_depot::Store;
use stockade_depot::store::Ownership;
use stockade_tests::guest;
use stockade_tests::host::{Site, actor};

use crate::calls::{SOON, call, soon, waiter};

fn config(site: &Site, name: &str, lease: Duration) -> HostConfig {
    config_on(site, name, lease, Arc::new(site.open_store()))
}

fn config_on(site: &Site, name: &str, lease: Duration, store: Arc<dyn Store>) -> HostConfig {
    HostConfig::new(site.path().join(name))
        .with_lease(lease)
        .with_advertised(name)
        .advanced(|settings| settings.with_store(store))
}

/// A process that was frozen, or whose embedder did not drive its runtime for a while, took every
/// other process for dead; and was itself taken for dead while it was only idle.
#[test]
fn an_embedder_that_is_not_driven_neither_steals_nor_loses_actors() {
    const LEASE: Duration = Duration::from_millis(400);
    let site = Site::new();
    let own = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (one, two) = (own(), own());
    let first = one.block_on(Host::start(config(&site, "first", LEASE))).unwrap();
    let second = two.block_on(Host::start(config(&site, "second", LEASE))).unwrap();
    let wasm = guest::HOSTILE_WAIT.wasm().unwrap();
    one.block_on(first.deploy(guest::HOSTILE_WAIT.name, wasm, Default::default())).unwrap();
    let actor = actor(guest::HOSTILE_WAIT, "one");
    let count = |host: &Host| {
        let (host, actor) = (host.clone(), actor.clone());
        async move { host.actor(&actor).call("count", Arguments::Json(json!([]))).await }
    };
    one.block_on(count(&first)).unwrap();
    std::thread::sleep(4 * LEASE);
    let elsewhere = two.block_on(count(&second));
    assert!(
        matches!(elsewhere, Err(CallError { cause: HostError::Elsewhere { .. }, .. })),
        "{elsewhere:?}"
    );
    let reply = one.block_on(count(&first)).unwrap();
    assert_eq!(reply.generation.0, 1, "it was taken over meanwhile");
    one.block_on(first.shutdown());
    two.block_on(second.shutdown());
}

/// The only thread of the caller's runtime waits for the answer: the host needs none of it.
#[test]
fn a_caller_may_block_its_own_runtime() {
    let site = Site::new();
    let callers =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let host =
        callers.block_on(Host::start(config(&site, "only", Duration::from_secs(60)))).unwrap();
    let wasm = guest::HOSTILE_WAIT.wasm().unwrap();
    callers.block_on(host.deploy(guest::HOSTILE_WAIT.name, wasm, Default::default())).unwrap();
    let (calling, handle, actor) =
        (host.clone(), callers.handle().clone(), actor(guest::HOSTILE_WAIT, "one"));
    let blocked = callers.spawn(async move {
        let (answer, answered) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let actor = calling.actor(&actor);
            let call = actor.call("count", Arguments::Json(json!([])));
            answer.send(handle.block_on(call).map(drop))
        });
        answered.recv_timeout(Duration::from_secs(30))
    });
    callers.block_on(blocked).unwrap().expect("no answer").unwrap();
    callers.block_on(host.shutdown());
}

/// The caller's runtime has one thread, which has stopped to wait: no answer is left to it, and the
/// actor's end, which waits for each, comes all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_stops_waiting_holds_up_no_ending() {
    let site = Site::new();
    let config = config(&site, "only", Duration::from_secs(60))
        .advanced(|settings| settings.with_answers_on_callers(true));
    let host = Host::start(config).await.unwrap();
    let wasm = guest::HOSTILE_WAIT.wasm().unwrap();
    host.deploy(guest::HOSTILE_WAIT.name, wasm, Default::default()).await.unwrap();
    let actor = actor(guest::HOSTILE_WAIT, "one");
    let (calling, of) = (host.clone(), actor.clone());
    let left = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        // Its first call: `start` makes a table, which the answer waits for.
        runtime.spawn(
            async move { calling.actor(&of).call("count", Arguments::Json(json!([]))).await },
        );
        runtime.block_on(async {
            for _ in 0..16 {
                tokio::task::yield_now().await;
            }
        });
        runtime
    });
    let left = left.join().unwrap();
    let awake = async {
        while !host.actor(&actor).info().await.is_ok_and(|info| info.status == ActorStatus::Awake) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("its start", awake).await;
    assert!(soon("its end", host.actor(&actor).stop()).await.unwrap().is_some());
    left.shutdown_background();
    host.shutdown().await;
}

/// Two hosts of one process and one directory: the lock of the one is not free for the other.
#[tokio::test(flavor = "multi_thread")]
async fn hosts_of_one_process_leave_each_other_alone() {
    let site = Site::new();
    let lease = Duration::from_secs(60);
    let first = Host::start(config(&site, "shared", lease)).await.unwrap();
    let wasm = guest::HOSTILE_WAIT.wasm().unwrap();
    first.deploy(guest::HOSTILE_WAIT.name, wasm, Default::default()).await.unwrap();
    let second = Host::start(config(&site, "shared", lease)).await.unwrap();
    let actor = actor(guest::HOSTILE_WAIT, "one");
    let count =
        async |host: &Host| host.actor(&actor).call("count", Arguments::Json(json!([]))).await;
    for (owner, other) in [(&first, &second), (&second, &first)] {
        count(owner).await.unwrap();
        let elsewhere = count(other).await;
        assert!(
            matches!(elsewhere, Err(CallError { cause: HostError::Elsewhere { .. }, .. })),
            "{elsewhere:?}"
        );
        owner.actor(&actor).stop().await.unwrap();
    }
    // A host that is dropped without a shutdown has released its lock: the next one need not wait for
    // its lease.
    count(&first).await.unwrap();
    drop(first);
    let begun = Instant::now();
    while count(&second).await.is_err() {
        assert!(begun.elapsed() < SOON, "a dropped host is still taken for alive");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    second.shutdown().await;
}

/// A host that cannot start says why; it panicked, because it dropped its guests' runtime where
/// that must not be done.
#[tokio::test]
async fn a_host_that_cannot_start_says_why() {
    let site = Site::new();
    let store: Arc<dyn Store> = Arc::new(site.open_store());
    let config = config_on(&site, "late", Duration::from_secs(6), Arc::clone(&store));
    store.close().await;
    let started = Host::start(config).await.map(|_| ());
    assert!(matches!(started, Err(HostError::Store(_))), "{started:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_dropped_leaves_nothing_behind() {
    let site = Site::new();
    let (host, actor) = waiter(&site).await;
    let running = call(&host, &actor, "write-and-spin", json!([1]));
    tokio::time::sleep(Duration::from_millis(200)).await;
    running.abort();
    drop(running.await);
    let store = Arc::downgrade(&host.store);
    drop(host);
    let begun = Instant::now();
    while store.strong_count() > 0 {
        assert!(begun.elapsed() < SOON, "the store is still held");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // The actor that the dropped host owned is a ghost, and its successor takes over.
    let next = site.usurper().start().await;
    let rows = next.take_over_and_call(&actor, "count", json!([])).await.unwrap();
    assert_eq!(rows, json!({"ok": 1}));
    next.host.shutdown().await;
}

/// A second `shutdown` came back while the first was still at work, and a program that ended then
/// cut it off; one that was given up half way could never be finished.
#[tokio::test(flavor = "multi_thread")]
async fn every_shutdown_returns_when_the_host_has_ended() {
    let site = Site::new();
    let host = site.host().start().await;
    host.deploy_with(guest::HOSTILE_WAIT, |limits| limits.stop_time_ms = 600).await;
    let actor = actor(guest::HOSTILE_WAIT, "one");
    host.call(&actor, "nap-in", json!(["stop"])).await.unwrap();
    let given_up = tokio::time::timeout(Duration::from_millis(100), host.host.shutdown()).await;
    assert!(given_up.is_err());
    let (one, two) =
        soon("shutdown", async { tokio::join!(host.host.shutdown(), host.host.shutdown()) }).await;
    assert!(one.orderly && two.orderly);
    let head = site.open_store().actor(&actor).await.unwrap().unwrap().head;
    assert!(head.sealed, "the shutdown that was given up is finished by the next one");
    let late = host.call(&actor, "count", json!([])).await;
    assert!(matches!(late, Err(CallError { cause: HostError::ShuttingDown, .. })), "{late:?}");
    assert!(host.host.actor(&actor).info().await.is_err(), "the store is closed");
    let exit = host.host.actor(&actor).stop().await;
    assert!(exit.is_err(), "{exit:?}");
}
