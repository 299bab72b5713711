//! The orderly end, step by step: its order for every reason, what a failed hook leaves behind, and
//! which requests wait in the meantime.

use std::time::Duration;

use serde_json::{Value as Json, json};
use stockade::error::{Retry, Verdict};
use stockade::host::{ActorStatus, EndStep, ExitInfo, StartedFrom};
use stockade::{ActorId, Arguments, CallError, HostError, Manifest, Reply};
use stockade_depot::{Generation, Reason};
use stockade_testkit::faulty_store::{Fault, Step};
use stockade_tests::guest::{self, Guest};
use stockade_tests::host::{Site, TestHost, actor};
use stockade_tests::program::{self, Program};
use stockade_tests::recorder::Recorder;
use tokio::task::JoinHandle;

/// The steps of an orderly end after those of a call in progress, as `docs/protocol.md` has them.
/// The seal is listed twice: when the store was asked for it, and when the store had answered.
const ORDER: [&str; 9] = [
    "AnswersJoined",
    "StopHook",
    "SqlRevoked",
    "Snapshot",
    "StoreSeal",
    "Sealed",
    "Revoked",
    "InstanceDropped",
    "Reported",
];

fn order(call: &[&str]) -> Vec<String> {
    ["MailboxClosed"].iter().chain(call).chain(&ORDER).map(|step| (*step).to_owned()).collect()
}

fn call(
    host: &TestHost,
    actor: &ActorId,
    method: &str,
    arguments: Json,
) -> JoinHandle<Result<Reply, CallError>> {
    let (host, actor, method) = (host.host.clone(), actor.clone(), method.to_owned());
    tokio::spawn(async move { host.actor(&actor).call(&method, Arguments::Json(arguments)).await })
}

/// Another component with the same behaviour: an empty custom section at its end.
fn another(guest: Guest) -> Vec<u8> {
    let mut wasm = guest.wasm().unwrap();
    wasm.extend([0, 2, 1, b'x']);
    wasm
}

/// The reasons for an orderly end.
#[derive(Clone, Copy, Debug)]
enum Way {
    Sleep,
    Stop,
    Upgrade,
    Shutdown,
}

const WAYS: [Way; 4] = [Way::Sleep, Way::Stop, Way::Upgrade, Way::Shutdown];

/// One awake actor, on a host whose steps are recorded.
async fn stand(site: &Site, guest: Guest, way: Way) -> (TestHost, std::sync::Arc<Recorder>) {
    let recorder = Recorder::new();
    let host = site.host().recorder(&recorder).start().await;
    let sleep_after_ms = if let Way::Sleep = way { 300 } else { 3_600_000 };
    host.deploy_with(guest, |limits| limits.sleep_after_ms = sleep_after_ms).await;
    (host, recorder)
}

async fn end(host: &TestHost, actor: &ActorId, way: Way) {
    match way {
        Way::Sleep => drop(host.exit_of(actor).await),
        Way::Stop => drop(host.host.actor(actor).stop().await.unwrap().expect("awake")),
        Way::Upgrade => {
            let guest = guest::ALL.iter().find(|guest| guest.name == actor.kind()).unwrap();
            let deployed = host.host.deploy(actor.kind(), another(*guest), Manifest::default());
            assert_eq!(deployed.await.unwrap().ended, 1);
        }
        Way::Shutdown => assert!(host.host.shutdown().await.orderly),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_orderly_end_goes_in_order() {
    for way in WAYS {
        let site = Site::new();
        let (host, recorder) = stand(&site, guest::LIFECYCLE_SNAPSHOT, way).await;
        let actor = actor(guest::LIFECYCLE_SNAPSHOT, "one");
        host.ok(&actor, "add", json!([1])).await;
        end(&host, &actor, way).await;
        recorder.seen(EndStep::Reported, 1).await;
        assert_eq!(recorder.of(&actor), order(&[]), "{way:?}");
        host.host.shutdown().await;
        // And the effect of the steps, from the store: sealed, with the snapshot.
        let state = stockade_depot::store::Ownership::actor(&site.open_store(), &actor)
            .await
            .unwrap()
            .unwrap();
        assert_eq!((state.head.sealed, state.handed_over), (true, Some(Generation(1))), "{way:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_in_progress_is_finished_before_the_end_goes_on() {
    for way in [Way::Stop, Way::Upgrade, Way::Shutdown] {
        let site = Site::new();
        let (host, recorder) = stand(&site, guest::LIFECYCLE_STORM, way).await;
        let actor = actor(guest::LIFECYCLE_STORM, "one");
        host.ok(&actor, "count", json!([])).await;
        // Compiled before, so that the deploy happens while the call runs.
        host.host
            .deploy("warm", another(guest::LIFECYCLE_STORM), Manifest::default())
            .await
            .unwrap();
        // The answer is held back as well: it must leave before the seal.
        let commit = host.store.arm(Step::Commit, 1, Fault::HoldAnswer);
        let holding = call(&host, &actor, "hold", json!([2_000]));
        commit.fired().await;
        let ending = async {
            recorder.seen(EndStep::CallFinished, 1).await;
            assert_eq!(recorder.count(EndStep::AnswersJoined), 0, "{way:?}");
            commit.release();
        };
        tokio::join!(end(&host, &actor, way), ending);
        assert_eq!(holding.await.unwrap().unwrap().to_json(), json!({"ok": 3}), "{way:?}");
        recorder.seen(EndStep::Reported, 1).await;
        assert_eq!(recorder.of(&actor), order(&["CallFinished"]), "{way:?}");
        host.host.shutdown().await;
    }
}

/// A call that is longer than an operator waits is interrupted. A regression: it ended as if it had
/// crashed, so the head stayed unsealed and the component was blamed.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_interrupted_by_an_end_is_no_crash() {
    let site = Site::new();
    let (host, recorder) = stand(&site, guest::LIFECYCLE_STORM, Way::Stop).await;
    let actor = actor(guest::LIFECYCLE_STORM, "one");
    host.ok(&actor, "count", json!([])).await;
    let commits = host.store.calls(Step::Commit);
    let holding = call(&host, &actor, "hold", json!([3_600_000]));
    while host.store.calls(Step::Commit) == commits {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let exit = host.host.actor(&actor).stop().await.unwrap().expect("awake");
    assert_eq!((exit.reason, exit.sealed), (Reason::Operator, true), "{exit:?}");
    assert_eq!(outcome(&exit)["outcome"], "missed");
    assert_eq!(outcome(&exit)["why"], "the call in progress was interrupted");
    assert_eq!(recorder.of(&actor), order(&["CallInterrupted"]));
    let error = holding.await.unwrap().expect_err("it was interrupted");
    let of_operator = matches!(error.cause, HostError::Ended { reason: Reason::Operator, .. });
    assert!(of_operator, "{error:?}");
    // Its rows were kept, so its caller must not be advised to try again.
    assert_eq!((error.verdict, error.retry()), (Some(Verdict::Committed), Retry::UnknownOutcome));
    assert_eq!(host.ok(&actor, "count", json!([])).await, json!(3));
    assert_eq!(host.host.actor(&actor).info().await.unwrap().restarts, 0);
    host.host.shutdown().await;
}

fn outcome(exit: &ExitInfo) -> Json {
    serde_json::to_value(&exit.snapshot).unwrap()
}

// --- requests that wait in the meantime
// -------------------------------------------------------------

/// Requests that arrive while a generation ends wait, bounded, and the next generation serves them.
#[tokio::test(flavor = "multi_thread")]
async fn calls_that_come_during_an_end_are_served_by_the_next_generation() {
    for way in [Way::Sleep, Way::Stop, Way::Upgrade] {
        let site = Site::new();
        let recorder = Recorder::new();
        let host = site.host().recorder(&recorder).start().await;
        let limits = |limits: &mut stockade::limits::Limits| {
            limits.mailbox_calls_max = 2;
            limits.sleep_after_ms = if let Way::Sleep = way { 300 } else { 3_600_000 };
        };
        host.deploy_with(guest::LIFECYCLE_STORM, limits).await;
        let actor = actor(guest::LIFECYCLE_STORM, "one");
        host.ok(&actor, "write", json!([])).await;
        let seal = host.store.arm(Step::Seal, 1, Fault::Hold);
        let during = async {
            seal.fired().await;
            // Two requests find room, the third one does not.
            let calls = [0, 1, 2].map(|_| call(&host, &actor, "write", json!([])));
            while !calls.iter().any(JoinHandle::is_finished) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let (refused, waiting): (Vec<_>, Vec<_>) =
                calls.into_iter().partition(JoinHandle::is_finished);
            for call in refused {
                let error = call.await.unwrap().expect_err("the end was not waited for");
                let full = matches!(
                    error.cause,
                    HostError::Overloaded { what: "queued calls", max: 2, .. }
                );
                assert!(full, "{way:?}: {error:?}");
            }
            assert_eq!(waiting.len(), 2, "{way:?}");
            seal.release();
            for call in waiting {
                let reply = call.await.unwrap().unwrap();
                assert_eq!(reply.generation, Generation(2), "{way:?}");
            }
        };
        match way {
            Way::Sleep => during.await,
            Way::Stop | Way::Upgrade => drop(tokio::join!(during, end(&host, &actor, way))),
            Way::Shutdown => unreachable!(),
        }
        assert_eq!(host.ok(&actor, "count", json!([])).await, json!(3), "{way:?}");
        host.host.shutdown().await;
    }
}

// --- outcomes that operators see --------------------------------------------------------------------

/// What `stockade --json actors COMMAND ACTOR` prints.
fn actors(program: &Program, command: &str, actor: &str) -> Json {
    let (code, out, err) =
        program::run(&["--admin", &program.admin, "--json", "actors", command, actor]).unwrap();
    assert_eq!(code, 0, "{command} {actor}: {out}{err}");
    serde_json::from_str(&out).unwrap()
}

fn shown(program: &Program, actor: &str) -> String {
    program::run(&["--admin", &program.admin, "actors", "show", actor]).unwrap().1
}

/// Every way in which the hooks of an end can fail, from the program's own output; and what the
/// program still reports after a restart.
#[test]
fn hooks_that_fail_are_told_by_the_program() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let flags = ["--limit", "stop_time_ms=300", "--limit", "snapshot_time_ms=300"];
    let server = Program::serve_with(&data, &flags).unwrap();
    let kind = guest::LIFECYCLE_SNAPSHOT;
    server.deploy(kind.name, &kind.wasm().unwrap()).unwrap();
    let cases = [
        ("snapshot-as", "spin", "snapshot died: budget used up: time"),
        ("snapshot-as", "trap", "snapshot died: "),
        ("snapshot-as", "error", "snapshot failed: told to fail"),
        ("snapshot-as", "huge", "over the limit of 1048576"),
        ("snapshot-as", "late-sql", "it called SQL 1 times after SQL was revoked"),
        ("stop-as", "spin", "stop died: budget used up: time"),
        ("stop-as", "trap", "stop died: "),
    ];
    let name = |how: &str, what: &str| format!("{}/{how}-{what}", kind.name);
    for (how, what, why) in cases {
        let actor = name(how, what);
        server.call(&actor, "add", &json!([4])).unwrap();
        server.call(&actor, how, &json!([what])).unwrap();
        let stopped = actors(&server, "stop", &actor);
        let show = actors(&server, "show", &actor);
        assert_eq!(stopped["exit"], show["last_exit"], "{actor}");
        let snapshot = &show["last_exit"]["snapshot"];
        assert_eq!(snapshot["outcome"], "missed", "{actor}: {show}");
        assert!(snapshot["why"].as_str().unwrap().contains(why), "{actor}: {snapshot}");
        assert_eq!(show["last_exit"]["sealed"], true, "{actor}: {show}");
        let text = shown(&server, &actor);
        assert!(text.contains("snapshot missed: ") && text.contains(why), "{text}");
        let read = server.call(&actor, "read", &json!([])).unwrap().body;
        assert_eq!(read, json!({"ok": [0, 4]}), "{actor}: the memory is gone, the data is not");
        actors(&server, "stop", &actor);
    }
    // A `stop` hook that returns an error is reported; the snapshot is taken all the same.
    let stop_error = name("stop-as", "error");
    server.call(&stop_error, "stop-as", &json!(["error"])).unwrap();
    let exit = actors(&server, "stop", &stop_error)["exit"].take();
    assert_eq!(exit["message"], "stop failed: told to fail", "{exit}");
    assert_eq!(exit["snapshot"]["outcome"], "taken", "{exit}");
    // So is a hook that calls SQL too late and hands over a state in spite of it.
    assert_eq!(exit["snapshot"]["late_sql"], 1, "{exit}");
    assert!(shown(&server, &stop_error).contains("1 SQL calls that came too late"));

    // A last generation that hands nothing over, one that does, and one that never ends.
    let (without, with) = (name("snapshot-as", "trap"), name("stop-as", "error"));
    server.call(&without, "snapshot-as", &json!(["trap"])).unwrap();
    actors(&server, "stop", &without);
    server.call(&with, "add", &json!([1])).unwrap();
    server.kill().unwrap();

    let server = Program::serve_with(&data, &flags).unwrap();
    let show = actors(&server, "show", &without);
    assert_eq!(show["last_exit"], Json::Null, "exits are forgotten by a restart: {show}");
    assert_eq!((&show["sealed"], &show["snapshot_of"]), (&json!(true), &Json::Null), "{show}");
    assert!(shown(&server, &without).contains("ended without handing one over"));
    // The successor of the killed generation starts from a snapshot that is older than its data,
    // and reports that.
    server.call(&with, "read", &json!([])).unwrap();
    let show = actors(&server, "show", &with);
    assert_eq!(show["state"], "awake", "{show}");
    assert_eq!(show["started_from"], json!({"generation": 1, "current": false}), "{show}");
    let text = shown(&server, &with);
    assert!(text.contains("started from snapshot of generation 1, not current"), "{text}");
    let log = server.autopsy();
    assert!(log.contains("started from an older snapshot"), "{log}");
    server.stop().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_tells_which_snapshot_it_started_from() {
    let (_site, host) = Site::hosting(guest::LIFECYCLE_SNAPSHOT).await;
    let actor = actor(guest::LIFECYCLE_SNAPSHOT, "one");
    let from = async || host.host.actor(&actor).info().await.unwrap().started_from;
    host.ok(&actor, "add", json!([5])).await;
    assert_eq!(from().await, None);
    host.host.actor(&actor).stop().await.unwrap();
    host.ok(&actor, "read", json!([])).await;
    assert_eq!(from().await, Some(StartedFrom { generation: Generation(1), current: true }));
    // A crash in between: the snapshot is the same, and may be older than the database.
    host.ok(&actor, "start-as", json!(["trap"])).await;
    host.host
        .deploy(actor.kind(), another(guest::LIFECYCLE_SNAPSHOT), Manifest::default())
        .await
        .unwrap();
    assert_eq!(host.host.actor(&actor).info().await.unwrap().status, ActorStatus::Asleep);
    let failed = host.call(&actor, "read", json!([])).await;
    assert!(
        matches!(failed, Err(CallError { cause: HostError::StartFailed { .. }, .. })),
        "{failed:?}"
    );
    assert_eq!(from().await, None, "nothing is awake");
    host.host.shutdown().await;
}
