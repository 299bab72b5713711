//! Long calls run in turns, and end immediately while they wait for one; short calls are answered
//! beside them.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use stockade::limits::Limits;
use stockade::{ActorId, Arguments, CallError, Fault, HostError};
use stockade_testkit::capture::capture;
use stockade_testkit::faulty_store::{Fault as StoreFault, Step};
use stockade_tests::guest;
use stockade_tests::host::{Site, TestHost, actor};
use tokio::runtime::Builder;
use tokio::task::JoinHandle;

/// The longest time, on a busy machine, for anything that does not wait for its turn.
const PATIENCE: Duration = Duration::from_secs(10);
/// Long calls at the same time: most of them wait for a turn at any moment.
const HOGS: usize = 12;
/// Calls of each sort.
const SPINS: [&str; 2] = ["spin", "spin-in-sql"];

/// Long calls, in wasm and in SQL, each of its own actor.
struct Hogs {
    calls: Vec<JoinHandle<Result<Json, CallError>>>,
}

impl Hogs {
    async fn begin(host: &TestHost) -> Self {
        let calls = (0..HOGS).map(|n| {
            let (host, of) = (host.host.clone(), actor(guest::HOSTILE_LOOP, &format!("hog-{n}")));
            let method = SPINS[n % 2];
            tokio::spawn(async move {
                host.actor(&of).call(method, Arguments::Json(json!([]))).await.map(|r| r.to_json())
            })
        });
        let hogs = Self { calls: calls.collect() };
        // The calls run, and are no longer short.
        for n in 0..HOGS {
            let of = actor(guest::HOSTILE_LOOP, &format!("hog-{n}"));
            while host.host.actor(&of).info().await.is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(hogs.calls.iter().all(|call| !call.is_finished()));
        hogs
    }
}

async fn stand(set: impl FnOnce(&mut Limits)) -> (Site, TestHost) {
    let site = Site::new();
    let host = site.host().allow_faults().start().await;
    host.deploy_with(guest::HOSTILE_LOOP, set).await;
    (site, host)
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_wait_for_their_turn_end_when_they_must() {
    let (_site, host) = stand(|limits| limits.call_time_ms = 600_000).await;
    let mut calls = Hogs::begin(&host).await.calls.into_iter().enumerate();
    for (n, call) in calls.by_ref().take(3) {
        let (host, of) = (host.host.clone(), actor(guest::HOSTILE_LOOP, &format!("hog-{n}")));
        // An orderly stop with its grace period, in wasm and in SQL; a crash on purpose, in wasm.
        let ending = tokio::spawn(async move {
            if n < 2 {
                drop(host.actor(&of).stop().await.unwrap());
            } else {
                drop(host.actor(&of).fault(Fault::Crash).await.unwrap());
            }
        });
        let ended = tokio::time::timeout(PATIENCE, call).await;
        assert!(ended.unwrap_or_else(|_| panic!("{n} goes on")).unwrap().is_err(), "{n}");
        ending.await.unwrap();
    }
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_waits_for_its_turn_ends_with_its_fence() {
    let (site, host) = stand(|limits| limits.call_time_ms = 600_000).await;
    host.deploy(guest::HOSTILE_WAIT).await;
    let winner = site.usurper().start().await;
    let hogs = Hogs::begin(&host).await;
    // Each call writes first: the verdict of that commit reports the loss while the call waits for
    // a turn.
    for (kind, first, method, arguments) in [
        (guest::HOSTILE_WAIT, "count", "write-and-spin", json!([1])),
        (guest::HOSTILE_LOOP, "hello", "spin-in-sql", json!([])),
    ] {
        let of = actor(kind, "loser");
        host.call(&of, first, json!([])).await.unwrap();
        let commit = host.store.arm(Step::Commit, 1, StoreFault::Hold);
        let running = {
            let (host, of) = (host.host.clone(), of.clone());
            tokio::spawn(
                async move { host.actor(&of).call(method, Arguments::Json(arguments)).await },
            )
        };
        commit.fired().await;
        winner.take_over_and_call(&of, first, json!([])).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!running.is_finished(), "{method} has not heard of it");
        commit.release();
        let ended = tokio::time::timeout(PATIENCE, running).await;
        let ended = ended.unwrap_or_else(|_| panic!("{method} goes on")).unwrap();
        assert!(
            matches!(ended, Err(CallError { cause: HostError::Fenced { .. }, .. })),
            "{method}: {ended:?}"
        );
    }
    drop(hogs);
    winner.host.shutdown().await;
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deadline_counts_what_a_call_has_waited_for_its_turn() {
    let (_site, host) = stand(|limits| limits.call_time_ms = 2_000).await;
    let begun = Instant::now();
    for call in Hogs::begin(&host).await.calls {
        let ended = tokio::time::timeout(PATIENCE, call).await.expect("ends at its deadline");
        let ended = format!("{:?}", ended.unwrap());
        assert!(ended.contains("BudgetExhausted") || ended.contains("Interrupted"), "{ended}");
    }
    assert!(begun.elapsed() >= Duration::from_secs(2));
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_does_not_wait_for_turns() {
    let (_site, host) = stand(|limits| limits.call_time_ms = 600_000).await;
    let hogs = Hogs::begin(&host).await;
    let shutdown = tokio::time::timeout(PATIENCE * 3, host.host.shutdown()).await;
    assert_eq!(shutdown.expect("ends").unfinished, 0);
    for call in hogs.calls {
        assert!(call.await.unwrap().is_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn short_calls_are_answered_beside_long_ones() {
    let (_site, host) = stand(|limits| limits.call_time_ms = 60_000).await;
    let hogs = Hogs::begin(&host).await;
    let neighbour = actor(guest::HOSTILE_LOOP, "neighbour");
    for _ in 0..50 {
        let asked = Instant::now();
        host.call(&neighbour, "hello", json!([])).await.unwrap();
        assert!(asked.elapsed() < PATIENCE);
    }
    // A long call gets its turns, too, however many others there are.
    let done = host.call(&neighbour, "work", json!([2_000])).await.unwrap();
    assert!(done.as_u64().unwrap() > 0);
    let done = host.call(&neighbour, "work-in-sql", json!([2_000])).await.unwrap();
    assert!(done["ok"].as_u64().unwrap() > 0, "{done}");
    drop(hogs);
    host.host.shutdown().await;
}

/// Each kind has as many long calls as there are cores, so none of them has a core to itself.
#[tokio::test(flavor = "multi_thread")]
async fn kinds_share_by_their_weights() {
    let site = Site::new();
    let host = site.host().start().await;
    let calls = std::thread::available_parallelism().unwrap().get().max(2);
    let kinds = [("heavy", 4), ("light", 1)];
    for (kind, weight) in kinds {
        let mut manifest = stockade::Manifest::default();
        manifest.limits.cpu_weight = weight;
        host.host.deploy(kind, guest::HOSTILE_LOOP.wasm().unwrap(), manifest).await.unwrap();
    }
    let work = |kind: &'static str| {
        let all = (0..calls).map(|n| {
            let (host, of) = (host.host.clone(), ActorId::new(kind, &n.to_string()).unwrap());
            let (hello, long) = (Arguments::None, Arguments::Json(json!([3_000])));
            async move {
                host.actor(&of).call("hello", hello).await.unwrap();
                host.actor(&of).call("work", long).await.unwrap().to_json().as_u64().unwrap()
            }
        });
        futures_util::future::join_all(all)
    };
    let (heavy, light) = tokio::join!(work("heavy"), work("light"));
    let (heavy, light) = (heavy.iter().sum::<u64>(), light.iter().sum::<u64>());
    assert!(heavy > 2 * light, "4 to 1 became {heavy} to {light}");
    host.host.shutdown().await;
}

/// The guests of this host have one thread. Another task runs while a guest that takes or returns
/// megabytes has that thread; the guest has it until the line that it logs is written.
#[test]
fn a_call_that_takes_or_returns_megabytes_leaves_its_thread_to_others() {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (ran, runs) = mpsc::channel();
    for (word, actor) in [("fields=", "lifecycle_trap/takes"), ("xxxxx", "hostile_loop/returns")] {
        let (ran, others) = (ran.clone(), runtime.handle().clone());
        capture().when(&[word, actor], move || {
            let (other, runs) = mpsc::channel();
            others.spawn(async move { other.send(()) });
            ran.send((actor, runs.recv_timeout(PATIENCE).is_ok())).unwrap();
        });
    }
    let heavy = stockade::internal::start_yielding("heavy", 1).unwrap();
    runtime.block_on(async {
        let site = Site::new();
        let host = site.host().on(runtime.handle()).heavy_on(heavy.handle()).start().await;
        let of_a_megabyte = |limits: &mut Limits| {
            (limits.log_line_bytes_max, limits.log_bytes_per_s) = (1 << 20, 1 << 20);
        };
        host.deploy_with(guest::LIFECYCLE_TRAP, of_a_megabyte).await;
        host.deploy(guest::HOSTILE_LOOP).await;
        // Each field takes three values of the engine, and has two bytes of text.
        let takes = actor(guest::LIFECYCLE_TRAP, "takes");
        host.ok(&takes, "log", json!(["", vec![("a", "b"); 10_000]])).await;
        assert_eq!(runs.recv_timeout(PATIENCE), Ok(("lifecycle_trap/takes", true)));
        // A guest that has returned megabytes will do so again.
        let returns = actor(guest::HOSTILE_LOOP, "returns");
        host.call(&returns, "answer", json!([100_000])).await.unwrap();
        host.call(&returns, "flood-log", json!([1, 5])).await.unwrap();
        assert_eq!(runs.recv_timeout(PATIENCE), Ok(("hostile_loop/returns", true)));
        host.host.shutdown().await;
    });
}
