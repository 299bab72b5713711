//! Calls under load and misuse: the answers of callers, and which calls hold up others.

use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use stockade::error::{Retry, Verdict};
use stockade::host::{ExitInfo, SqlRequest};
use stockade::{ActorId, Arguments, CallError, HostError, Reply};
use stockade_depot::Store;
use stockade_depot::store::Ownership;
use stockade_testkit::faulty_store::{Fault, Step};
use stockade_tests::guest;
use stockade_tests::host::{Site, TestHost, actor};
use tokio::task::JoinHandle;

/// Far above what any of these may take, far below the hour that a guest sleeps.
pub(crate) const SOON: Duration = Duration::from_secs(8);

pub(crate) fn call(
    host: &TestHost,
    actor: &ActorId,
    method: &str,
    arguments: Json,
) -> JoinHandle<Answer> {
    let (host, actor, method) = (host.host.clone(), actor.clone(), method.to_owned());
    tokio::spawn(async move { host.actor(&actor).call(&method, Arguments::Json(arguments)).await })
}

pub(crate) type Answer = Result<Reply, CallError>;

pub(crate) async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(SOON, work).await {
        Ok(done) => done,
        Err(_) => panic!("{what} is not done after {SOON:?}"),
    }
}

async fn error_of(what: &str, call: JoinHandle<Answer>) -> CallError {
    match soon(what, call).await.unwrap() {
        Err(error) => error,
        Ok(reply) => panic!("{what} answered {}", reply.to_json()),
    }
}

pub(crate) async fn waiter(site: &Site) -> (TestHost, ActorId) {
    let host = site.host().start().await;
    host.deploy(guest::HOSTILE_WAIT).await;
    let actor = actor(guest::HOSTILE_WAIT, "one");
    host.ok(&actor, "count", json!([])).await;
    (host, actor)
}

// --- guests that wait inside the host -------------------------------------------------------------

/// A guest that sleeps runs no instruction, so no epoch stops it. A regression: it held its actor
/// as long as it liked, past every deadline.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_sleeps_in_the_host_ends_at_its_deadline() {
    let site = Site::new();
    let host = site.host().start().await;
    host.deploy_with(guest::HOSTILE_WAIT, |limits| limits.call_time_ms = 300).await;
    let actor = actor(guest::HOSTILE_WAIT, "one");
    let error = error_of("nap", call(&host, &actor, "nap", json!([3_600_000]))).await;
    assert!(matches!(error.cause, HostError::BudgetExhausted { .. }), "{error:?}");
    // What the guest wrote before is in the verdict, and kept.
    let error = error_of("nap", call(&host, &actor, "write-and-nap", json!([1, 3_600_000]))).await;
    assert_eq!(error.verdict, Some(Verdict::Committed), "{error:?}");
    assert_eq!(host.ok(&actor, "count", json!([])).await, json!(1));
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hooks_that_sleep_in_the_host_do_not_hold_the_end() {
    let site = Site::new();
    let host = site.host().start().await;
    let set = |limits: &mut stockade::limits::Limits| {
        (limits.stop_time_ms, limits.snapshot_time_ms) = (200, 200);
    };
    host.deploy_with(guest::HOSTILE_WAIT, set).await;
    for hook in ["stop", "snapshot"] {
        let actor = actor(guest::HOSTILE_WAIT, hook);
        host.call(&actor, "nap-in", json!([hook])).await.unwrap();
        let exit = soon(hook, host.host.actor(&actor).stop()).await.unwrap().expect("it was awake");
        assert!(exit.sealed, "{exit:?}");
        assert_eq!(missed(&exit), "missed", "{hook}");
    }
    host.host.shutdown().await;
}

fn missed(exit: &ExitInfo) -> Json {
    serde_json::to_value(&exit.snapshot).unwrap()["outcome"].clone()
}

/// Within 100 ms after the loss becomes known nothing of that generation runs, whether the guest
/// loops without ever calling its host or waits inside it.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_fence_ends_a_guest_that_never_calls_the_host_again() {
    for (method, arguments) in
        [("write-and-spin", json!([1])), ("write-and-nap", json!([1, 3_600_000]))]
    {
        let site = Site::new();
        let (old, actor) = waiter(&site).await;
        let new = site.usurper().start().await;
        let commit = old.store.arm(Step::Commit, 1, Fault::Hold);
        let running = call(&old, &actor, method, arguments);
        commit.fired().await;
        new.take_over_and_call(&actor, "count", json!([])).await.unwrap();
        commit.release();
        let begun = Instant::now();
        let error = error_of(method, running).await;
        assert!(matches!(error.cause, HostError::Fenced { .. }), "{method}: {error:?}");
        assert_eq!(error.verdict, Some(Verdict::NotCommitted), "{method}");
        assert!(begun.elapsed() < Duration::from_secs(2), "{method}: {:?}", begun.elapsed());
        old.host.shutdown().await;
        new.host.shutdown().await;
    }
}

// --- what callers get
// -----------------------------------------------------------------------------

/// Several commits of one call: the first was applied and its answer lost, the others were never
/// sent. A regression: the caller got "not committed".
#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_first_commit_is_in_doubt_is_not_told_that_nothing_was_kept() {
    let site = Site::new();
    let (host, actor) = waiter(&site).await;
    let before = host.store.actor(&actor).await.unwrap().unwrap().head.txid;
    let verdict = host.store.arm(Step::Verdict, 1, Fault::Hold);
    let lost = host.store.arm(Step::Commit, 1, Fault::LostAnswer);
    let writing = call(&host, &actor, "write", json!([500]));
    verdict.fired().await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    host.store.close().await;
    verdict.release();
    let error = error_of("write", writing).await;
    drop(lost);
    let after = site.open_store().actor(&actor).await.unwrap().unwrap().head.txid;
    assert_eq!(after, before.next(), "the first commit was applied");
    assert_eq!(error.verdict, Some(Verdict::Indeterminate), "{error:?}");
    host.host.shutdown().await;
}

/// Another call's confirmation found the fence lost while an applied commit still waited for its
/// answer. A regression: the caller of that commit immediately got "not committed".
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_stopped_is_told_what_became_of_its_own_commit() {
    let site = Site::new();
    let (old, actor) = waiter(&site).await;
    let new = site.usurper().start().await;
    let confirm = old.store.arm(Step::Confirm, 1, Fault::Hold);
    let reading = call(&old, &actor, "count", json!([]));
    confirm.fired().await;
    let commit = old.store.arm(Step::Commit, 1, Fault::HoldAnswer);
    let writing = call(&old, &actor, "write-and-spin", json!([1]));
    commit.fired().await;
    let rows = new.take_over_and_call(&actor, "count", json!([])).await.unwrap();
    assert_eq!(rows, json!({"ok": 1}), "the new owner sees the row");
    confirm.release();
    let error = error_of("count", reading).await;
    assert!(matches!(error.cause, HostError::Fenced { .. }), "{error:?}");
    assert_eq!(error.verdict, None, "{error:?}");
    tokio::time::sleep(Duration::from_millis(100)).await;
    commit.release();
    let error = error_of("write-and-spin", writing).await;
    assert_eq!(error.verdict, Some(Verdict::Committed), "{error:?}");
    old.host.shutdown().await;
    new.host.shutdown().await;
}

/// Calls that wrote nothing, behind a lost commit of another call. A regression: their callers were
/// informed that a commit of theirs may have been kept.
#[tokio::test(flavor = "multi_thread")]
async fn calls_that_wrote_nothing_may_be_repeated_after_anothers_lost_commit() {
    let site = Site::new();
    let (host, actor) = waiter(&site).await;
    let commit = host.store.arm(Step::Commit, 1, Fault::Hold);
    let writing = call(&host, &actor, "write", json!([1]));
    commit.fired().await;
    let reading = call(&host, &actor, "count", json!([]));
    tokio::time::sleep(Duration::from_millis(200)).await;
    host.store.close().await;
    commit.release();
    let error = error_of("write", writing).await;
    assert_eq!(error.verdict, Some(Verdict::NotCommitted), "{error:?}");
    let error = error_of("count", reading).await;
    assert_eq!(error.verdict, None, "{error:?}");
    assert_eq!(error.retry(), Retry::Retry, "{error:?}");
    host.host.shutdown().await;
}

/// A call that the host cut off at the end of its wait may have written. A regression: its caller
/// was advised to try again.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_cut_off_by_a_shutdown_is_not_told_to_try_again() {
    let site = Site::new();
    let host = site.host().limits(|l| l.shutdown_max = Duration::from_millis(300)).start().await;
    host.deploy(guest::HOSTILE_WAIT).await;
    let actor = actor(guest::HOSTILE_WAIT, "one");
    host.ok(&actor, "count", json!([])).await;
    let running = call(&host, &actor, "write-and-spin", json!([1]));
    let queued = {
        tokio::time::sleep(Duration::from_millis(200)).await;
        call(&host, &actor, "write", json!([1]))
    };
    tokio::time::sleep(Duration::from_millis(100)).await;
    let report = soon("shutdown", host.host.shutdown()).await;
    assert!(!report.orderly);
    let error = error_of("write-and-spin", running).await;
    assert_eq!(error.retry(), Retry::UnknownOutcome, "{error:?}");
    let error = error_of("write", queued).await;
    assert!(matches!(error.cause, HostError::ShuttingDown), "{error:?}");
}

/// The first statement committed, the second one failed. A regression: the operator's program was
/// advised to fix or repeat the request, and would have run the first statement twice.
#[tokio::test(flavor = "multi_thread")]
async fn an_operators_text_that_fails_half_way_tells_what_was_kept() {
    let site = Site::new();
    let (host, actor) = waiter(&site).await;
    let run = async |sql: &str| {
        let request = SqlRequest { sql: sql.into(), write: true, ..SqlRequest::default() };
        host.host.actor(&actor).sql(request).await.unwrap_err()
    };
    let error = run("INSERT INTO t VALUES (1); INSERT INTO nowhere VALUES (1)").await;
    assert_eq!(error.verdict, Some(Verdict::Committed), "{error:?}");
    let error = run("INSERT INTO nowhere VALUES (1)").await;
    assert_eq!((error.verdict, error.retry()), (None, Retry::Fix), "{error:?}");
    assert_eq!(host.ok(&actor, "count", json!([])).await, json!(1));
    host.host.shutdown().await;
}

// --- lives ----------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn traps_in_a_row_are_counted_until_the_actor_ends_in_order() {
    let site = Site::new();
    let (host, actor) = waiter(&site).await;
    let restarts = async || host.host.actor(&actor).info().await.unwrap().restarts;
    for round in 1..=2 {
        let error = error_of("trap", call(&host, &actor, "write-and-trap", json!([1]))).await;
        assert!(matches!(error.cause, HostError::Trapped { .. }), "{error:?}");
        assert_eq!(restarts().await, round);
    }
    host.ok(&actor, "count", json!([])).await;
    host.host.actor(&actor).stop().await.unwrap();
    host.ok(&actor, "count", json!([])).await;
    assert_eq!(restarts().await, 0);
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destroy_succeeds_while_calls_pour_in() {
    let site = Site::new();
    let (host, actor) = waiter(&site).await;
    for _ in 0..5 {
        let pouring: Vec<_> = (0..40).map(|_| call(&host, &actor, "write", json!([1]))).collect();
        tokio::time::sleep(Duration::from_millis(5)).await;
        soon("destroy", host.host.actor(&actor).destroy()).await.unwrap();
        for call in pouring {
            if let Err(error) = soon("call", call).await.unwrap() {
                let text = format!("{error:?}");
                assert!(error.code() != stockade::error::Code::Internal, "{text}");
            }
        }
        // A generation that runs now is sound: the first call after all that works.
        host.ok(&actor, "count", json!([])).await;
    }
    soon("destroy", host.host.actor(&actor).destroy()).await.unwrap();
    host.ok(&actor, "count", json!([])).await;
    let again = host.host.actor(&actor).info().await.unwrap();
    assert!(again.last_exit.is_none(), "the exit of a former actor: {:?}", again.last_exit);
    host.host.shutdown().await;
}

/// Whatever calls and other deploys run at the same time: when a deploy has returned, the next call
/// runs the deployed component.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_deploy_the_next_call_runs_the_new_code_while_calls_pour_in() {
    let site = Site::new();
    let (host, actor) = waiter(&site).await;
    let deploy = |n: u8| {
        let host = host.host.clone();
        let mut wasm = guest::HOSTILE_WAIT.wasm().unwrap();
        // Another component with the same behaviour: an empty custom section at its end.
        wasm.extend([0, 2, 1, b'a' + n]);
        async move { host.deploy(guest::HOSTILE_WAIT.name, wasm, Default::default()).await }
    };
    for round in 0..6 {
        let pouring: Vec<_> = (0..30).map(|_| call(&host, &actor, "write", json!([1]))).collect();
        let newest = if round % 2 == 0 {
            soon("deploy", deploy(round)).await.unwrap()
        } else {
            let (one, two) =
                soon("deploys", async { tokio::join!(deploy(round), deploy(round + 10)) }).await;
            [one.unwrap(), two.unwrap()].into_iter().max_by_key(|done| done.version).unwrap()
        };
        assert_eq!(host.host.kind(actor.kind()).await.unwrap().digest, newest.digest);
        host.ok(&actor, "count", json!([])).await;
        let component = host.host.actor(&actor).info().await.unwrap().component;
        assert_eq!(component, newest.digest, "round {round}");
        for call in pouring {
            soon("write", call).await.unwrap().unwrap();
        }
    }
    assert_eq!(host.ok(&actor, "count", json!([])).await, json!(180), "no call ran twice or never");
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stops_sleeps_and_calls_in_any_order_lose_nothing() {
    let site = Site::new();
    let host = site.host().start().await;
    host.deploy_with(guest::HOSTILE_WAIT, |limits| limits.sleep_after_ms = 1).await;
    let actor = actor(guest::HOSTILE_WAIT, "one");
    let stops = {
        let (host, actor) = (host.host.clone(), actor.clone());
        tokio::spawn(async move {
            for pause in 0..60_u64 {
                tokio::time::sleep(Duration::from_millis(pause % 4)).await;
                match soon("stop", host.actor(&actor).stop()).await {
                    Ok(_) | Err(HostError::ActorMissing { .. }) => {}
                    Err(error) => panic!("{error:?}"),
                }
            }
        })
    };
    for round in 0..60_u64 {
        let both = [0, 1].map(|_| call(&host, &actor, "write", json!([1])));
        for call in both {
            soon("write", call).await.unwrap().unwrap();
        }
        tokio::time::sleep(Duration::from_millis(round % 3)).await;
    }
    soon("stops", stops).await.unwrap();
    assert_eq!(host.ok(&actor, "count", json!([])).await, json!(120));
    assert!(soon("shutdown", host.host.shutdown()).await.orderly);
}

/// A regression: several actors that woke at the same time all asked the same idle actor to make
/// room.
#[tokio::test(flavor = "multi_thread")]
async fn idle_actors_make_room_for_as_many_as_wake_at_once() {
    let site = Site::new();
    let host = site.host().limits(|limits| limits.actors_awake_max = 6).start().await;
    host.deploy(guest::HOSTILE_WAIT).await;
    for round in 0..3 {
        let calls: Vec<_> = (0..6)
            .map(|n| actor(guest::HOSTILE_WAIT, &format!("{round}-{n}")))
            .map(|actor| call(&host, &actor, "count", json!([])))
            .collect();
        for call in calls {
            soon("count", call).await.unwrap().unwrap();
        }
        assert!(host.host.awake() <= 6);
    }
    host.host.shutdown().await;
}

/// An actor that is busy when room is needed makes room when its call is done.
#[tokio::test(flavor = "multi_thread")]
async fn an_actor_that_becomes_idle_makes_room() {
    let site = Site::new();
    let host = site.host().limits(|limits| limits.actors_awake_max = 1).start().await;
    host.deploy(guest::HOSTILE_WAIT).await;
    let busy = call(&host, &actor(guest::HOSTILE_WAIT, "busy"), "nap", json!([700]));
    tokio::time::sleep(Duration::from_millis(200)).await;
    host.ok(&actor(guest::HOSTILE_WAIT, "other"), "count", json!([])).await;
    soon("nap", busy).await.unwrap().unwrap();
    host.host.shutdown().await;
}

/// A regression: as many endless statements as there are threads for guests held up every other
/// actor.
#[tokio::test(flavor = "multi_thread")]
async fn long_sql_of_some_actors_holds_up_no_other() {
    let site = Site::new();
    let host = site.host().start().await;
    host.deploy_with(guest::HOSTILE_LOOP, |limits| limits.call_time_ms = 4_000).await;
    host.deploy(guest::HOSTILE_WAIT).await;
    let threads = 4 * std::thread::available_parallelism().unwrap().get();
    let spinning: Vec<_> = (0..threads)
        .map(|n| actor(guest::HOSTILE_LOOP, &format!("spinner-{n}")))
        .map(|actor| call(&host, &actor, "spin-in-sql", json!([])))
        .collect();
    tokio::time::sleep(Duration::from_millis(800)).await;
    let begun = Instant::now();
    let neighbour = actor(guest::HOSTILE_WAIT, "neighbour");
    assert!(host.call(&neighbour, "write", json!([1])).await.is_ok());
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(2), "a neighbour waited for {took:?}");
    for call in spinning {
        drop(soon("spin-in-sql", call).await);
    }
    host.host.shutdown().await;
}
