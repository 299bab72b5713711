//! The end of a host: its order, many actors in the middle of everything, the deadline, and the
//! signals of the real program.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use stockade::error::{Retry, Verdict};
use stockade::host::{EndStep, ShutdownStep};
use stockade::{ActorId, Arguments, CallError, HostError, Reply};
use stockade_depot::store::{Cluster, Ownership};
use stockade_depot::{Reason, Store, StoreError};
use stockade_testkit::faulty_store::{Fault, Step};
use stockade_tests::guest;
use stockade_tests::host::{Site, TestHost, actor};
use stockade_tests::program::{self, Program};
use stockade_tests::recorder::{Event, Recorder};
use tokio::task::JoinHandle;

/// Actors of the storm: as many as a test's host keeps awake.
const STORM: usize = 60;

type Calling = JoinHandle<Result<Reply, CallError>>;

fn call(host: &TestHost, actor: &ActorId, method: &str, arguments: Json) -> Calling {
    let (host, actor, method) = (host.host.clone(), actor.clone(), method.to_owned());
    tokio::spawn(async move { host.actor(&actor).call(&method, Arguments::Json(arguments)).await })
}

/// The position of an event, which was recorded exactly once.
fn place(events: &[Event], event: &Event) -> usize {
    let places: Vec<usize> = (0..events.len()).filter(|at| events[*at] == *event).collect();
    assert_eq!(places.len(), 1, "{event:?} in {events:#?}");
    places[0]
}

/// Asserts that the host's own steps came in their order, with all ends of generations between the
/// first and the second of them.
fn assert_order(events: &[Event]) {
    let steps = [
        ShutdownStep::IntakeClosed,
        ShutdownStep::GenerationsEnded,
        ShutdownStep::BackgroundJoined,
        ShutdownStep::NodeRetired,
        ShutdownStep::StoreClosed,
    ];
    let places = steps.map(|step| place(events, &Event::Shutdown(step)));
    assert!(places.is_sorted(), "{places:?}");
    for (at, event) in events.iter().enumerate() {
        if let Event::Ending(..) = event {
            assert!((places[0]..places[1]).contains(&at), "{event:?} at {at} of {places:?}");
        }
    }
    assert_eq!(places[4], events.len() - 1, "the store is closed last");
}

/// Every actor has a commit in flight, an open cursor, a wait on the clock and a queued call, when
/// the host has to end.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_storm_of_actors_ends_in_order_and_loses_nothing() {
    let site = Site::new();
    let recorder = Recorder::new();
    let host = site.host().recorder(&recorder).start().await;
    host.deploy(guest::LIFECYCLE_STORM).await;
    let actors: Vec<ActorId> =
        (0..STORM).map(|n| actor(guest::LIFECYCLE_STORM, &format!("{n:02}"))).collect();
    for write in actors.iter().map(|actor| call(&host, actor, "write", json!([]))) {
        write.await.unwrap().unwrap();
    }
    let commits = host.store.calls(Step::Commit);
    let held = host.store.outage(Step::Commit, Fault::Hold);
    // For every other actor the clock ends the wait in time; the others are interrupted.
    let holding: Vec<Calling> = actors
        .iter()
        .enumerate()
        .map(|(n, actor)| {
            let ms = if n % 2 == 0 { 50 } else { 3_600_000 };
            call(&host, actor, "hold", json!([ms]))
        })
        .collect();
    while host.store.calls(Step::Commit) < commits + STORM as u64 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let queued: Vec<Calling> =
        actors.iter().map(|actor| call(&host, actor, "write", json!([]))).collect();
    let shutdown = {
        let host = host.host.clone();
        tokio::spawn(async move { host.shutdown().await })
    };
    // All actors end at the same time: none has to wait for another's end.
    recorder.seen(EndStep::MailboxClosed, STORM).await;
    assert_eq!(recorder.count(EndStep::Sealed), 0);
    drop(held);
    let report = shutdown.await.unwrap();
    assert!(report.orderly && report.unfinished == 0, "{report:?}");

    // Every call gets an answer: the rows of a held call are kept either way.
    let mut rows = BTreeMap::new();
    for (n, (actor, call)) in actors.iter().zip(holding).enumerate() {
        match call.await.unwrap() {
            Ok(reply) => assert_eq!(reply.to_json(), json!({"ok": 4}), "{actor}"),
            Err(error) => {
                assert!(n % 2 == 1, "{actor}: {error:?}");
                let ended =
                    matches!(error.cause, HostError::Ended { reason: Reason::Shutdown, .. });
                assert!(ended, "{actor}: {error:?}");
                assert_eq!(error.verdict, Some(Verdict::Committed), "{actor}");
            }
        }
        rows.insert(actor.clone(), 4);
    }
    for (actor, call) in actors.iter().zip(queued) {
        match call.await.unwrap() {
            // A queued call whose actor's own call had just ended may have been served.
            Ok(_) => *rows.get_mut(actor).unwrap() += 1,
            Err(error) => {
                assert!(matches!(error.cause, HostError::ShuttingDown), "{actor}: {error:?}");
                assert_eq!(error.retry(), Retry::Retry, "it was never begun");
            }
        }
    }

    // Every end kept its order, and so did the host's steps.
    let events = recorder.events();
    assert_order(&events);
    for actor in &actors {
        let steps: Vec<EndStep> = events
            .iter()
            .filter_map(|event| match event {
                Event::Ending(of, _, step) if of == actor => Some(*step),
                _ => None,
            })
            .collect();
        let after_call = [
            EndStep::AnswersJoined,
            EndStep::StopHook,
            EndStep::SqlRevoked,
            EndStep::Snapshot,
            EndStep::Sealed,
            EndStep::Revoked,
            EndStep::InstanceDropped,
            EndStep::Reported,
        ];
        let of_call = &steps[1..steps.len() - after_call.len()];
        assert_eq!(steps[0], EndStep::MailboxClosed, "{actor}");
        assert!(
            matches!(of_call, [] | [EndStep::CallFinished] | [EndStep::CallInterrupted]),
            "{actor}: {steps:?}"
        );
        assert_eq!(steps[steps.len() - after_call.len()..], after_call, "{actor}");
    }
    // Later calls get a typed error, from the host and from its store.
    let late = host.call(&actors[0], "count", json!([])).await;
    assert!(matches!(late, Err(CallError { cause: HostError::ShuttingDown, .. })), "{late:?}");
    assert_eq!(host.store.kinds(None, 9).await, Err(StoreError::Closed));
    drop(host);

    let store = site.open_store();
    for actor in &actors {
        let state = store.actor(actor).await.unwrap().unwrap();
        assert!(state.head.sealed, "{actor}");
        let handed_over = state.handed_over.is_some();
        let interrupted = recorder.of(actor).iter().any(|step| step == "CallInterrupted");
        assert_eq!(handed_over, !interrupted, "{actor}");
    }
    store.close().await;
    let next = site.host().start().await;
    for (actor, rows) in rows {
        assert_eq!(next.ok(&actor, "count", json!([])).await, json!(rows), "{actor}");
    }
    next.host.shutdown().await;
}

/// Beyond the deadline generations are given up: their callers get an unknown outcome, their heads
/// stay unsealed, and the next host takes them over with every acknowledged write.
#[tokio::test(flavor = "multi_thread")]
async fn what_has_not_ended_at_the_deadline_is_given_up_and_taken_over() {
    let site = Site::new();
    let recorder = Recorder::new();
    let host = site
        .host()
        .limits(|limits| limits.shutdown_max = Duration::from_millis(400))
        .recorder(&recorder)
        .start()
        .await;
    host.deploy(guest::LIFECYCLE_STORM).await;
    let (stuck, idle) =
        (actor(guest::LIFECYCLE_STORM, "stuck"), actor(guest::LIFECYCLE_STORM, "idle"));
    for actor in [&stuck, &idle] {
        host.ok(actor, "write", json!([])).await;
    }
    // Counted before the call is made: its commit may come immediately, and it makes no second one.
    let commits = host.store.calls(Step::Commit);
    let holding = call(&host, &stuck, "hold", json!([3_600_000]));
    while host.store.calls(Step::Commit) == commits {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let queued = call(&host, &stuck, "write", json!([]));
    let report = host.host.shutdown().await;
    assert_eq!((report.orderly, report.unfinished), (false, 1), "{report:?}");
    assert_order(&recorder.events());
    let error = holding.await.unwrap().expect_err("it was cut off");
    assert_eq!(error.retry(), Retry::UnknownOutcome, "{error:?}");
    let error = queued.await.unwrap().expect_err("it was never begun");
    assert!(matches!(error.cause, HostError::ShuttingDown), "{error:?}");
    drop(host);

    let store = site.open_store();
    let sealed = async |actor| store.actor(actor).await.unwrap().unwrap().head.sealed;
    assert_eq!((sealed(&stuck).await, sealed(&idle).await), (false, true));
    let next = site.host().start().await;
    let rows = next.ok(&stuck, "count", json!([])).await;
    assert!(rows == json!(1) || rows == json!(4), "{rows}");
    assert_eq!(next.host.actor(&stuck).info().await.unwrap().restarts, 0, "it did not crash");
    assert_eq!(next.ok(&idle, "count", json!([])).await, json!(1));
    next.host.shutdown().await;
}

/// A long statement holds its thread until SQLite is interrupted; aborting the task does not
/// interrupt SQLite, so the handles are revoked first.
#[tokio::test(flavor = "multi_thread")]
async fn sql_that_runs_at_the_deadline_is_interrupted() {
    let site = Site::new();
    let host =
        site.host().limits(|limits| limits.shutdown_max = Duration::from_millis(400)).start().await;
    host.deploy(guest::HOSTILE_LOOP).await;
    let actor = actor(guest::HOSTILE_LOOP, "one");
    host.call(&actor, "hello", json!([])).await.unwrap();
    let spinning = call(&host, &actor, "spin-in-sql", json!([]));
    tokio::time::sleep(Duration::from_millis(500)).await;
    let report = host.host.shutdown().await;
    assert_eq!(report.unfinished, 1, "{report:?}");
    // Without the interrupt, the statement runs until the call's remaining 5 s are over.
    assert!(report.took < Duration::from_secs(4), "{report:?}");
    assert!(spinning.await.unwrap().is_err());
}

/// Whatever the store does, the host ends, and reports that the end was not orderly.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_never_closes_does_not_keep_the_host() {
    let site = Site::new();
    let recorder = Recorder::new();
    let host = site.host().recorder(&recorder).start().await;
    host.deploy(guest::LIFECYCLE_STORM).await;
    let actor = actor(guest::LIFECYCLE_STORM, "one");
    host.ok(&actor, "write", json!([])).await;
    host.store.never_close();
    let end = tokio::time::timeout(Duration::from_secs(60), host.host.shutdown());
    let report = end.await.expect("it ends");
    assert!(!report.orderly && report.unfinished == 0, "{report:?}");
    let steps: Vec<Event> = recorder.events();
    assert_eq!(steps.last(), Some(&Event::Shutdown(ShutdownStep::NodeRetired)), "{steps:#?}");
    let next = site.host().start().await;
    assert_eq!(next.ok(&actor, "count", json!([])).await, json!(1));
    next.host.shutdown().await;
}

/// Generations, their sessions and their caches are dropped when they end: nothing keeps the host's
/// store alive.
#[tokio::test(flavor = "multi_thread")]
async fn an_ended_host_keeps_nothing() {
    let (_site, host) = Site::hosting(guest::LIFECYCLE_STORM).await;
    let actor = actor(guest::LIFECYCLE_STORM, "one");
    for _ in 0..3 {
        host.ok(&actor, "write", json!([])).await;
        host.host.actor(&actor).stop().await.unwrap();
    }
    host.host.shutdown().await;
    let store = Arc::downgrade(&host.store);
    drop(host);
    // Threads that end by themselves may still hold it for a moment.
    let gone = async {
        while store.strong_count() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let gone = tokio::time::timeout(Duration::from_secs(20), gone).await;
    assert!(gone.is_ok(), "{} owners are left", store.strong_count());
}

// --- the real program -------------------------------------------------------------------------------

/// SIGTERM in the middle of a load: the program ends in order, every actor is sealed, and every
/// acknowledged write is there.
#[test]
fn sigterm_under_load_ends_in_order() {
    const ACTORS: usize = 12;
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let server = Arc::new(Program::serve(&data).unwrap());
    server.deploy("storm", &guest::LIFECYCLE_STORM.wasm().unwrap()).unwrap();
    let going = Arc::new(AtomicBool::new(true));
    // Two callers for each actor, so that one is queued behind the other.
    let writers: Vec<_> = (0..2 * ACTORS)
        .map(|n| {
            let (server, going) = (Arc::clone(&server), Arc::clone(&going));
            std::thread::spawn(move || {
                let name = format!("storm/{}", n % ACTORS);
                let (mut acknowledged, mut unknown) = (0_u64, 0_u64);
                while going.load(Ordering::Relaxed) {
                    // The connection may break when the listener closes: then the outcome is
                    // unknown.
                    let Ok(answer) = server.call(&name, "hold", &json!([3])) else {
                        unknown += 3;
                        break;
                    };
                    match (answer.status, answer.body["retry"].as_str()) {
                        (200, _) => acknowledged += 3,
                        (_, Some("retry")) => {}
                        (_, Some("unknown-outcome")) => unknown += 3,
                        _ => panic!("{name}: {answer:?}"),
                    }
                }
                (n % ACTORS, acknowledged, unknown)
            })
        })
        .collect();
    let begun = Instant::now();
    while server.admin_get("/admin/actors").unwrap().body["actors"].as_array().unwrap().len()
        < ACTORS
    {
        assert!(begun.elapsed() < Duration::from_secs(60), "the load does not start");
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(500));
    server.signal("TERM").unwrap();
    std::thread::sleep(Duration::from_millis(300));
    going.store(false, Ordering::Relaxed);
    let mut known = [(0, 0); ACTORS];
    for writer in writers {
        let (actor, acknowledged, unknown) = writer.join().unwrap();
        known[actor].0 += acknowledged;
        known[actor].1 += unknown;
    }
    let server = Arc::into_inner(server).unwrap();
    let autopsy = server.autopsy();
    assert_eq!(server.exit_code().unwrap(), 0, "{autopsy}");

    let server = Program::serve(&data).unwrap();
    let list = server.admin_get("/admin/actors?limit=1000").unwrap().body;
    for actor in list["actors"].as_array().unwrap() {
        assert_eq!(
            (&actor["sealed"], &actor["state"]),
            (&json!(true), &json!("asleep")),
            "{actor}"
        );
    }
    for (n, (acknowledged, unknown)) in known.into_iter().enumerate() {
        let answer = server.call(&format!("storm/{n}"), "count", &json!([])).unwrap();
        let rows = answer.body["ok"].as_u64().unwrap();
        assert!(
            (acknowledged..=acknowledged + unknown).contains(&rows),
            "{n}: {rows} rows, {acknowledged} acknowledged, {unknown} unknown"
        );
        assert!(acknowledged > 0, "{n} had no load");
    }
    server.stop().unwrap();
}

/// A second signal does not wait: exit code 130, and every acknowledged write is there.
#[test]
fn a_second_signal_ends_the_program_at_once() {
    for (first, second) in [("TERM", "INT"), ("INT", "TERM")] {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let server = Arc::new(Program::serve(&data).unwrap());
        server.deploy("storm", &guest::LIFECYCLE_STORM.wasm().unwrap()).unwrap();
        assert_eq!(server.call("storm/a", "write", &json!([])).unwrap().status, 200);
        // The call has begun when its rows are durable.
        let txid = |server: &Program| {
            server.admin_get("/admin/actors/storm/a").unwrap().body["txid"].as_u64().unwrap()
        };
        let before = txid(&server);
        let holding = {
            let server = Arc::clone(&server);
            std::thread::spawn(move || drop(server.call("storm/a", "hold", &json!([20_000]))))
        };
        let begun = Instant::now();
        while txid(&server) == before {
            assert!(begun.elapsed() < Duration::from_secs(30), "the call does not begin");
            std::thread::sleep(Duration::from_millis(10));
        }
        server.signal(first).unwrap();
        // The program ends in order, which takes as long as the call may: intake is closed in the
        // meantime.
        while server.get("/ready").is_ok_and(|answer| answer.status == 200) {
            assert!(begun.elapsed() < Duration::from_secs(30), "the signal was not heard");
            std::thread::sleep(Duration::from_millis(10));
        }
        server.signal(second).unwrap();
        holding.join().unwrap();
        assert_eq!(Arc::into_inner(server).unwrap().exit_code().unwrap(), 130, "{first} {second}");
        let server = Program::serve(&data).unwrap();
        assert_eq!(server.call("storm/a", "count", &json!([])).unwrap().body, json!({"ok": 4}));
        server.stop().unwrap();
    }
}

/// The deadline is a setting, and the exit code reports that it was too short.
#[test]
fn the_programs_deadline_is_a_setting() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let config = "[host]\nshutdown_max_ms = 300\n";
    let server = Arc::new(Program::serve_configured(&data, config).unwrap());
    server.deploy("storm", &guest::LIFECYCLE_STORM.wasm().unwrap()).unwrap();
    assert_eq!(server.call("storm/a", "write", &json!([])).unwrap().status, 200);
    let show = |server: &Program| server.admin_get("/admin/actors/storm/a").unwrap().body;
    let before = show(&server)["txid"].clone();
    let holding = {
        let server = Arc::clone(&server);
        std::thread::spawn(move || server.call("storm/a", "hold", &json!([20_000])).unwrap())
    };
    let begun = Instant::now();
    while show(&server)["txid"] == before {
        assert!(begun.elapsed() < Duration::from_secs(30), "the call does not begin");
        std::thread::sleep(Duration::from_millis(10));
    }
    server.signal("TERM").unwrap();
    let answer = holding.join().unwrap();
    let seen = (answer.status, &answer.body["retry"]);
    assert_eq!(seen, (503, &json!("unknown-outcome")), "{answer:?}\n{}", server.autopsy());
    assert_eq!(Arc::into_inner(server).unwrap().exit_code().unwrap(), 1);
    let server = Program::serve(&data).unwrap();
    assert_eq!(show(&server)["sealed"], false);
    assert_eq!(server.call("storm/a", "count", &json!([])).unwrap().body, json!({"ok": 4}));
    let (code, out, _) =
        program::run(&["--admin", &server.admin, "--json", "verify", "storm/a"]).unwrap();
    assert_eq!(code, 0, "{out}");
    server.stop().unwrap();
}
