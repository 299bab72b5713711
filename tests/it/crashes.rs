//! The crash policy: one crash costs one start, several in a row a wait, `crashes_max` in a row
//! open the breaker; and what closes the breaker.

use std::time::Duration;

use serde_json::{Value as Json, json};
use stockade::error::Retry;
use stockade::host::{ActorStatus, EndStep};
use stockade::limits::Limits;
use stockade::{ActorId, Arguments, CallError, HostError, Manifest, Reply};
use stockade_depot::Reason;
use stockade_depot::store::Ownership;
use stockade_testkit::faulty_store::{Fault, Step};
use stockade_tests::guest;
use stockade_tests::host::{Site, TestHost, actor};
use stockade_tests::program::{self, Program};
use stockade_tests::recorder::Recorder;
use tokio::task::JoinHandle;

/// A backoff that no test waits for.
const NEVER_MS: u64 = 3_600_000;

fn call(host: &TestHost, actor: &ActorId, method: &str) -> JoinHandle<Result<Reply, CallError>> {
    let (host, actor, method) = (host.host.clone(), actor.clone(), method.to_owned());
    tokio::spawn(async move { host.actor(&actor).call(&method, Arguments::Json(json!([]))).await })
}

/// A host with an actor that traps on demand; its breaker opens at `crashes_max` crashes.
async fn stand(site: &Site, crashes_max: u64, backoff_ms: u64) -> (TestHost, ActorId) {
    let host = site.host().start().await;
    host.deploy_with(guest::LIFECYCLE_TRAP, set(crashes_max, backoff_ms)).await;
    let actor = actor(guest::LIFECYCLE_TRAP, "one");
    host.ok(&actor, "write", json!([])).await;
    (host, actor)
}

fn set(crashes_max: u64, backoff_ms: u64) -> impl Fn(&mut Limits) {
    move |limits| {
        limits.crashes_max = crashes_max;
        limits.crash_backoff_ms = backoff_ms;
        limits.crash_backoff_ms_max = NEVER_MS;
    }
}

async fn trap(host: &TestHost, actor: &ActorId) {
    let answer = host.call(actor, "trap-now", json!([])).await;
    assert!(
        matches!(answer, Err(CallError { cause: HostError::Trapped { .. }, .. })),
        "{answer:?}"
    );
}

/// Asserts that the breaker refuses the call; returns the number of crashes and the wait that it
/// names.
async fn refused(host: &TestHost, actor: &ActorId) -> (u32, u64) {
    let error = host.call(actor, "read", json!([])).await.expect_err("the breaker is open");
    let advice = (error.retry(), error.retry_after().is_some());
    assert_eq!(advice, (Retry::Retry, true), "{error:?}");
    match error.cause {
        HostError::CrashLooping { restarts, retry_after_ms } => (restarts, retry_after_ms),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_of_crashes_opens_the_breaker_and_operators_see_it() {
    let site = Site::new();
    let (host, actor) = stand(&site, 2, NEVER_MS).await;
    trap(&host, &actor).await;
    let after_one = host.host.actor(&actor).info().await.unwrap();
    assert_eq!((after_one.restarts, after_one.next_attempt), (1, None), "one crash costs nothing");
    trap(&host, &actor).await;
    let takeovers = host.store.calls(Step::TakeOver);
    let (restarts, retry_after_ms) = refused(&host, &actor).await;
    assert_eq!(restarts, 2);
    assert!((1..=NEVER_MS + 1).contains(&retry_after_ms), "{retry_after_ms}");
    assert_eq!(host.store.calls(Step::TakeOver), takeovers, "nothing was started");
    let info = host.host.actor(&actor).info().await.unwrap();
    assert_eq!((info.status, info.restarts), (ActorStatus::CrashLooping, 2));
    assert!(info.next_attempt.is_some_and(|wait| wait <= Duration::from_millis(NEVER_MS)));
    // Other actors of the kind are not affected.
    let other = stockade_tests::host::actor(guest::LIFECYCLE_TRAP, "other");
    host.ok(&other, "write", json!([])).await;
    assert_eq!(host.host.actor(&other).info().await.unwrap().restarts, 0);
    host.host.shutdown().await;
}

/// The count is in the store before the process ends: another process finds the breaker open.
#[tokio::test(flavor = "multi_thread")]
async fn the_breaker_holds_across_a_restart_of_the_host() {
    for orderly in [true, false] {
        let site = Site::new();
        let (host, actor) = stand(&site, 3, 1).await;
        for _ in 0..3 {
            trap(&host, &actor).await;
        }
        host.deploy_with(guest::LIFECYCLE_TRAP, set(3, NEVER_MS)).await;
        assert_eq!(refused(&host, &actor).await.0, 3);
        let next = if orderly {
            host.host.shutdown().await;
            site.host().start().await
        } else {
            // The host gets no notice of its death.
            site.usurper().start().await
        };
        let begun = std::time::Instant::now();
        let error = loop {
            match next.call(&actor, "read", json!([])).await {
                Err(CallError { cause: HostError::Elsewhere { .. }, .. })
                    if begun.elapsed() < Duration::from_secs(20) =>
                {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                answer => break answer.expect_err("the breaker is open"),
            }
        };
        assert!(matches!(error.cause, HostError::CrashLooping { restarts: 3, .. }), "{error:?}");
        let info = next.host.actor(&actor).info().await.unwrap();
        assert_eq!((info.status, info.restarts), (ActorStatus::CrashLooping, 3));
        next.host.actor(&actor).reset().await.unwrap();
        assert_eq!(next.ok(&actor, "read", json!([])).await, json!(1));
        next.host.shutdown().await;
        host.host.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trial_at_a_time_and_a_good_one_closes_the_breaker() {
    let site = Site::new();
    let (host, actor) = stand(&site, 2, 1_500).await;
    for _ in 0..2 {
        trap(&host, &actor).await;
    }
    let (_, wait_ms) = refused(&host, &actor).await;
    tokio::time::sleep(Duration::from_millis(wait_ms)).await;
    // Many calls at the same time: one is the trial, and fails; the others are refused.
    let calls: Vec<_> = (0..5).map(|_| call(&host, &actor, "trap-now")).collect();
    let (mut trials, mut others) = (0, 0);
    for call in calls {
        match call.await.unwrap() {
            Err(CallError { cause: HostError::Trapped { .. }, .. }) => trials += 1,
            Err(CallError { cause: HostError::CrashLooping { restarts: 3, .. }, .. }) => {
                others += 1
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((trials, others), (1, 4));
    // The wait has doubled. The next trial succeeds: the row of crashes ends.
    let (restarts, wait_ms) = refused(&host, &actor).await;
    assert_eq!(restarts, 3);
    assert!(wait_ms > 1_500, "{wait_ms}");
    tokio::time::sleep(Duration::from_millis(wait_ms)).await;
    assert_eq!(host.ok(&actor, "read", json!([])).await, json!(1));
    trap(&host, &actor).await;
    assert_eq!(host.ok(&actor, "read", json!([])).await, json!(1));
    assert_eq!(host.host.actor(&actor).info().await.unwrap().restarts, 1);
    host.host.shutdown().await;
}

/// A bad input that one caller repeats, between answered calls of others, never opens the breaker.
#[tokio::test(flavor = "multi_thread")]
async fn one_bad_input_does_not_take_the_actor_from_others() {
    let site = Site::new();
    let (host, actor) = stand(&site, 2, NEVER_MS).await;
    for _ in 0..6 {
        trap(&host, &actor).await;
        assert_eq!(host.ok(&actor, "read", json!([])).await, json!(1));
    }
    assert_eq!(host.host.actor(&actor).info().await.unwrap().restarts, 1);
    host.host.shutdown().await;
}

/// Below the limit a call waits for the backoff; the host's shutdown does not.
#[tokio::test(flavor = "multi_thread")]
async fn calls_wait_for_the_backoff_below_the_limit() {
    let site = Site::new();
    let (host, actor) = stand(&site, 9, 1_000).await;
    trap(&host, &actor).await;
    let begun = std::time::Instant::now();
    trap(&host, &actor).await;
    let info = host.host.actor(&actor).info().await.unwrap();
    assert!(info.next_attempt.is_some() && info.status == ActorStatus::Asleep, "{info:?}");
    trap(&host, &actor).await;
    assert!(begun.elapsed() >= Duration::from_millis(1_000), "{:?}", begun.elapsed());
    // From here on the wait is too long for every caller but a reset or a shutdown.
    host.deploy_with(guest::LIFECYCLE_TRAP, set(9, NEVER_MS)).await;
    let waiting = call(&host, &actor, "read");
    let queued = call(&host, &actor, "read");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!waiting.is_finished());
    assert!(host.host.actor(&actor).stop().await.unwrap().is_none(), "there is nothing to stop");
    host.host.actor(&actor).reset().await.unwrap();
    for call in [waiting, queued] {
        assert_eq!(call.await.unwrap().unwrap().to_json(), json!({"ok": 1}));
    }
    for _ in 0..2 {
        trap(&host, &actor).await;
    }
    let waiting = call(&host, &actor, "read");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(host.host.shutdown().await.orderly);
    let error = waiting.await.unwrap().expect_err("the host is gone");
    assert!(matches!(error.cause, HostError::ShuttingDown), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn starts_that_fail_count_and_a_new_component_ends_it() {
    let site = Site::new();
    let host = site.host().start().await;
    host.deploy_with(guest::LIFECYCLE_SNAPSHOT, set(2, NEVER_MS)).await;
    for what in ["trap", "error"] {
        let actor = actor(guest::LIFECYCLE_SNAPSHOT, what);
        host.ok(&actor, "start-as", json!([what])).await;
        host.host.actor(&actor).stop().await.unwrap();
        for _ in 0..2 {
            let failed = host.call(&actor, "read", json!([])).await;
            assert!(
                matches!(failed, Err(CallError { cause: HostError::StartFailed { .. }, .. })),
                "{what}: {failed:?}"
            );
        }
        assert_eq!(refused(&host, &actor).await.0, 2, "{what}");
    }
    // Another component with the same behaviour, so it fails the same way; but its count starts at
    // 0.
    let mut wasm = guest::LIFECYCLE_SNAPSHOT.wasm().unwrap();
    wasm.extend([0, 2, 1, b'x']);
    let mut manifest = Manifest::default();
    set(2, NEVER_MS)(&mut manifest.limits);
    host.host.deploy(guest::LIFECYCLE_SNAPSHOT.name, wasm, manifest).await.unwrap();
    let actor = actor(guest::LIFECYCLE_SNAPSHOT, "trap");
    assert_eq!(host.host.actor(&actor).info().await.unwrap().restarts, 0);
    for _ in 0..2 {
        let failed = host.call(&actor, "read", json!([])).await;
        assert!(
            matches!(failed, Err(CallError { cause: HostError::StartFailed { .. }, .. })),
            "{failed:?}"
        );
    }
    assert_eq!(refused(&host, &actor).await.0, 2);
    host.host.shutdown().await;
}

/// A generation that ends by the death of its process or by a lost fence says nothing about the
/// component: the count stays.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_dies_counts_neither_way() {
    let site = Site::new();
    let (host, actor) = stand(&site, 9, 1).await;
    for _ in 0..2 {
        trap(&host, &actor).await;
    }
    // The third generation has counted both. The answer of its call never leaves, so the count is
    // not reset.
    let commit = host.store.arm(Step::Commit, 1, Fault::Hold);
    let writing = call(&host, &actor, "write");
    commit.fired().await;
    let counted = async || host.store.actor(&actor).await.unwrap().unwrap().row.restarts;
    assert_eq!(counted().await, 2);
    let next = site.usurper().start().await;
    let rows = next.take_over_and_call(&actor, "read", json!([])).await.unwrap();
    assert_eq!(rows, json!({"ok": 1}));
    assert_eq!(counted().await, 2);
    commit.release();
    let error = writing.await.unwrap().expect_err("it lost its fence");
    assert!(matches!(error.cause, HostError::Fenced { .. }), "{error:?}");
    next.host.shutdown().await;
    host.host.shutdown().await;
}

/// Call 1's commit is on its way when call 2 traps: call 1 is answered all the same, and only then
/// the next generation starts.
#[tokio::test(flavor = "multi_thread")]
async fn a_trap_waits_for_the_verdicts_of_earlier_calls() {
    let site = Site::new();
    let recorder = Recorder::new();
    let host = site.host().recorder(&recorder).start().await;
    host.deploy_with(guest::LIFECYCLE_TRAP, set(9, 1)).await;
    let actor = actor(guest::LIFECYCLE_TRAP, "one");
    host.ok(&actor, "write", json!([])).await;
    let commit = host.store.arm(Step::Commit, 1, Fault::HoldAnswer);
    let first = call(&host, &actor, "write");
    commit.fired().await;
    let takeovers = host.store.calls(Step::TakeOver);
    let second = call(&host, &actor, "trap-now");
    recorder.seen(EndStep::Revoked, 1).await;
    let third = call(&host, &actor, "read");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!first.is_finished() && !second.is_finished() && !third.is_finished());
    assert_eq!(host.store.calls(Step::TakeOver), takeovers, "a takeover before the verdict");
    commit.release();
    assert_eq!(first.await.unwrap().unwrap().to_json(), json!({"ok": 2}));
    let trapped = second.await.unwrap().expect_err("it trapped");
    assert!(matches!(trapped.cause, HostError::Trapped { .. }), "{trapped:?}");
    assert_eq!(trapped.verdict, None, "{trapped:?}");
    let third = third.await.unwrap().unwrap();
    assert_eq!((third.to_json(), third.generation.0), (json!({"ok": 2}), 2));
    let exit = host.exit_of(&actor).await;
    assert_eq!((exit.reason, exit.sealed), (Reason::Trapped, false));
    let order =
        ["Revoked", "SqlRevoked", "AnswersJoined", "CommitsSettled", "InstanceDropped", "Reported"];
    assert_eq!(recorder.of(&actor), order);
    host.host.shutdown().await;
}

/// The same through the program: the answers of callers, and the commands of operators.
#[test]
fn operators_see_a_crash_loop_and_end_it() {
    let dir = tempfile::tempdir().unwrap();
    let limit = |name: &str, value: u64| ["--limit".to_owned(), format!("{name}={value}")];
    let flags: Vec<String> = [
        limit("crashes_max", 2),
        limit("crash_backoff_ms", NEVER_MS),
        limit("crash_backoff_ms_max", NEVER_MS),
    ]
    .concat();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let server = Program::serve_with(&dir.path().join("data"), &flags).unwrap();
    server.deploy("trap", &guest::LIFECYCLE_TRAP.wasm().unwrap()).unwrap();
    let actors = |command: &str| -> Json {
        let arguments = ["--admin", &server.admin, "--json", "actors", command, "trap/a"];
        let (code, out, err) = program::run(&arguments).unwrap();
        assert_eq!(code, 0, "{command}: {out}{err}");
        serde_json::from_str(&out).unwrap()
    };
    for _ in 0..2 {
        assert_eq!(server.call("trap/a", "trap-now", &json!([])).unwrap().status, 500);
    }
    let refused = server.call("trap/a", "read", &json!([])).unwrap();
    assert_eq!((refused.status, &refused.body["code"]), (503, &json!("crash-looping")));
    assert_eq!(refused.body["details"]["restarts"], 2, "{refused:?}");
    assert!(refused.body["details"]["retry_after_ms"].as_u64().unwrap() > 0, "{refused:?}");
    let show = actors("show");
    assert_eq!((&show["state"], &show["restarts"]), (&json!("crash-looping"), &json!(2)));
    assert!(show["next_attempt_ms"].as_u64().unwrap() > 0, "{show}");
    let text = program::run(&["--admin", &server.admin, "actors", "show", "trap/a"]).unwrap().1;
    assert!(text.contains("crash-looping") && text.contains("next try"), "{text}");
    assert_eq!(actors("reset"), json!({"actor": "trap/a", "reset": true}));
    let show = actors("show");
    assert_eq!((&show["state"], &show["restarts"]), (&json!("asleep"), &json!(0)), "{show}");
    assert_eq!(server.call("trap/a", "write", &json!([])).unwrap().status, 200);
    let unknown = server.admin_post("/admin/actors/trap/nobody/reset", &json!({})).unwrap();
    assert_eq!((unknown.status, &unknown.body["code"]), (404, &json!("actor-missing")));
    server.stop().unwrap();
}
