//! Calls that have an id, and methods in a transaction of the host: what runs once, what is kept of it,
//! and what a caller gets that asks.

mod programs;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use serde_json::{Value as Json, json};
use stockade::error::{NotRun, Retry};
use stockade::host::{KeptAnswer, Outcome};
use stockade::internal::Clock;
use stockade::limits::{CALL_ANSWER_BYTES_MAX, CALL_RECORDS_MAX};
use stockade::{ActorId, Arguments, CallError, CallKey, HostError, Manifest, Reply};
use stockade_tests::guest;
use stockade_tests::host::{Site, TestHost};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

/// The kind of the test guest.
const KIND: &str = "calls_relay";
/// The same guest, whose methods that write run in a transaction of the host.
const WHOLE: &str = "whole";
/// Both, and whether a method is one commit with its record.
const KINDS: [(&str, bool); 2] = [(KIND, false), (WHOLE, true)];

/// Methods that write.
const WRITERS: [&str; 5] =
    ["write", "write-nap-write", "write-and-refuse", "write-and-trap", "call-within"];

fn manifest(transactional: bool) -> Manifest {
    let mut manifest = Manifest { calls: vec!["*".to_owned()], ..Manifest::default() };
    if transactional {
        manifest.transactional = WRITERS.map(str::to_owned).to_vec();
    }
    manifest
}

async fn deploy(host: &TestHost) {
    for (kind, transactional) in KINDS {
        let wasm = guest::CALLS_RELAY.wasm().unwrap();
        host.host.deploy(kind, wasm, manifest(transactional)).await.unwrap();
    }
}

async fn hosting() -> (Site, TestHost) {
    let site = Site::new();
    let host = site.host().start().await;
    deploy(&host).await;
    (site, host)
}

fn named(kind: &str, key: &str) -> ActorId {
    ActorId::new(kind, key).unwrap()
}

fn id(text: &str) -> CallKey {
    CallKey::new(text).unwrap()
}

/// A call with an id.
async fn once(
    host: &TestHost,
    actor: &ActorId,
    key: &CallKey,
    method: &str,
    arguments: Json,
) -> Result<Reply, CallError> {
    host.host.actor(actor).identified(key).call(method, Arguments::Json(arguments)).await
}

fn spawned(
    host: &TestHost,
    actor: &ActorId,
    key: &CallKey,
    method: &'static str,
    arguments: Json,
) -> JoinHandle<Result<Reply, CallError>> {
    let handle = host.host.actor(actor).identified(key);
    tokio::spawn(async move { handle.call(method, Arguments::Json(arguments)).await })
}

async fn outcome(host: &TestHost, actor: &ActorId, key: &CallKey) -> Outcome {
    host.host.actor(actor).outcome(key).await.unwrap().outcome
}

async fn settled(host: &TestHost, actor: &ActorId, key: &CallKey) -> Outcome {
    host.host.actor(actor).settle(key).await.unwrap().outcome
}

async fn count(host: &TestHost, actor: &ActorId) -> i64 {
    host.ok(actor, "count", json!([])).await.as_i64().unwrap()
}

fn answered(json: Json, is_err: bool) -> Outcome {
    Outcome::Committed { answer: Some(KeptAnswer { json, is_err }) }
}

#[track_caller]
fn assert_not_run(answer: Result<Reply, CallError>, expected: NotRun) -> CallError {
    match answer {
        Err(error) => {
            let HostError::NotRun { why, .. } = &error.cause else { panic!("{error:?}") };
            assert_eq!(*why, expected);
            error
        }
        Ok(reply) => panic!("answered {}", reply.to_json()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_gets_the_answer_and_runs_nothing() {
    let (_site, host) = hosting().await;
    for (kind, _) in KINDS {
        let (actor, key) = (named(kind, "a"), id("1"));
        let first = once(&host, &actor, &key, "write", json!([])).await.unwrap();
        assert_eq!(first.to_json(), json!({ "ok": 1 }));
        host.ok(&actor, "write", json!([])).await;
        for _ in 0..2 {
            let again = once(&host, &actor, &key, "write", json!([])).await.unwrap();
            assert_eq!(again.to_json(), json!({ "ok": 1 }), "{kind}");
            assert!(again.txid > first.txid || again.generation > first.generation);
            host.host.actor(&actor).stop().await.unwrap();
        }
        assert_eq!(count(&host, &actor).await, 2, "{kind}");
        let told = host.host.actor(&actor).outcome(&key).await.unwrap();
        assert_eq!(told.outcome, answered(json!({ "ok": 1 }), false));
        assert!(told.txid >= first.txid);
    }
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_waits_behind_the_call_that_runs() {
    let (_site, host) = hosting().await;
    for (kind, _) in KINDS {
        let (actor, key) = (named(kind, "a"), id("1"));
        let calls: Vec<_> =
            (0..4).map(|_| spawned(&host, &actor, &key, "write-nap-write", json!([300]))).collect();
        for call in calls {
            assert_eq!(call.await.unwrap().unwrap().to_json(), json!({ "ok": 2 }), "{kind}");
        }
        assert_eq!(count(&host, &actor).await, 2, "{kind}");
    }
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_case_takes_the_writes_of_a_transaction_back() {
    let (_site, host) = hosting().await;
    let refused = json!({ "err": "refused" });
    for (kind, transactional) in KINDS {
        let (actor, key) = (named(kind, "a"), id("1"));
        let kept = i64::from(!transactional);
        for _ in 0..2 {
            let answer = once(&host, &actor, &key, "write-and-refuse", json!([])).await.unwrap();
            assert_eq!(answer.to_json(), refused);
            assert_eq!(count(&host, &actor).await, kept, "{kind}");
        }
        assert_eq!(outcome(&host, &actor, &key).await, answered(refused.clone(), true));
        // Without an id as well.
        let answer = host.call(&actor, "write-and-refuse", json!([])).await.unwrap();
        assert_eq!((answer, count(&host, &actor).await), (refused.clone(), 2 * kept), "{kind}");
    }
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_leaves_nothing_of_a_transaction_and_a_part_of_the_rest() {
    let (_site, host) = hosting().await;
    let (whole, key) = (named(WHOLE, "a"), id("1"));
    for _ in 0..2 {
        let error = once(&host, &whole, &key, "write-and-trap", json!([])).await.unwrap_err();
        assert!(matches!(error.cause, HostError::Trapped { .. }), "a repeat runs again: {error:?}");
        assert_eq!((error.verdict, error.retry()), (None, Retry::Fix));
        assert_eq!(outcome(&host, &whole, &key).await, Outcome::NotSeen);
        host.host.actor(&whole).reset().await.unwrap();
    }
    assert_eq!(count(&host, &whole).await, 0);

    let part = named(KIND, "a");
    let error = once(&host, &part, &key, "write-and-trap", json!([])).await.unwrap_err();
    assert_eq!(error.retry(), Retry::UnknownOutcome);
    assert_eq!(outcome(&host, &part, &key).await, Outcome::Partial);
    assert_eq!(
        settled(&host, &part, &key).await,
        Outcome::Partial,
        "it cannot be refused any more"
    );
    let again = once(&host, &part, &key, "write-and-trap", json!([])).await;
    let again = assert_not_run(again, NotRun::Partial);
    assert_eq!(again.retry(), Retry::UnknownOutcome);
    assert_eq!(count(&host, &part).await, 1);
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_settled_never_runs_although_a_copy_of_it_waits() {
    let (_site, host) = hosting().await;
    for (kind, _) in KINDS {
        let (actor, key) = (named(kind, "a"), id(&format!("{}-late", now())));
        let missing = host.host.actor(&actor).settle(&key).await.unwrap_err();
        assert!(matches!(missing.cause, HostError::ActorMissing { .. }), "{missing:?}");
        assert_eq!(count(&host, &actor).await, 0);
        assert_eq!(outcome(&host, &actor, &key).await, Outcome::NotSeen);
        // The actor is busy; the question waits, and the copy of the call behind it.
        let busy = spawned(&host, &actor, &id("busy"), "nap", json!([600]));
        tokio::time::sleep(Duration::from_millis(200)).await;
        let handle = host.host.actor(&actor);
        let of = key.clone();
        let asked = tokio::spawn(async move { handle.settle(&of).await });
        tokio::time::sleep(Duration::from_millis(100)).await;
        let copy = spawned(&host, &actor, &key, "write", json!([]));
        assert_eq!(asked.await.unwrap().unwrap().outcome, Outcome::Never);
        assert_not_run(copy.await.unwrap(), NotRun::Settled);
        busy.await.unwrap().unwrap();
        // Asleep, and in another generation.
        host.host.actor(&actor).stop().await.unwrap();
        assert_eq!(outcome(&host, &actor, &key).await, Outcome::Never);
        assert_not_run(once(&host, &actor, &key, "write", json!([])).await, NotRun::Settled);
        assert_eq!(count(&host, &actor).await, 0);
        // What is settled while the actor sleeps.
        host.host.actor(&actor).stop().await.unwrap();
        let other = id("other");
        assert_eq!(settled(&host, &actor, &other).await, Outcome::Never);
        assert_not_run(once(&host, &actor, &other, "write", json!([])).await, NotRun::Settled);
    }
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_is_of_one_caller_one_method_and_one_list_of_arguments() {
    let (_site, host) = hosting().await;
    for (kind, _) in KINDS {
        let (actor, key) = (named(kind, "a"), id("1"));
        once(&host, &actor, &key, "nap", json!([1])).await.unwrap();
        assert_not_run(once(&host, &actor, &key, "nap", json!([2])).await, NotRun::Reused);
        let error = once(&host, &actor, &key, "write", json!([])).await;
        assert_eq!(assert_not_run(error, NotRun::Reused).retry(), Retry::Fix);
        // The same arguments by name.
        once(&host, &actor, &key, "nap", json!({ "ms": 1 })).await.unwrap();
        let other = key.of_caller("another").unwrap();
        assert_eq!(outcome(&host, &actor, &other).await, Outcome::NotSeen);
        once(&host, &actor, &other, "write", json!([])).await.unwrap();
        assert_eq!(count(&host, &actor).await, 1);
        let elsewhere = named(kind, "b");
        once(&host, &elsewhere, &key, "write", json!([])).await.unwrap();
        assert_eq!(count(&host, &elsewhere).await, 1);
    }
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_answer_is_given_once_and_its_outcome_stays() {
    let (_site, host) = hosting().await;
    let actor = named(KIND, "a");
    let (fits, large) = (CALL_ANSWER_BYTES_MAX - 2, CALL_ANSWER_BYTES_MAX - 1);
    for (bytes, kept) in [(fits, true), (large, false), (3_000_000, false)] {
        let key = id(&bytes.to_string());
        let answer = once(&host, &actor, &key, "large", json!([bytes])).await.unwrap();
        assert_eq!(answer.to_json().as_str().unwrap().len(), bytes);
        let again = once(&host, &actor, &key, "large", json!([bytes])).await;
        match outcome(&host, &actor, &key).await {
            Outcome::Committed { answer } => assert_eq!(answer.is_some(), kept, "{bytes}"),
            other => panic!("{bytes}: {other:?}"),
        }
        if kept {
            assert_eq!(again.unwrap().to_json(), answer.to_json());
        } else {
            assert_eq!(assert_not_run(again, NotRun::AnswerGone).retry(), Retry::Never);
        }
    }
    host.host.shutdown().await;
}

fn now() -> i64 {
    Clock::system().now_ms()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_is_too_old_is_expired_and_not_unseen() {
    const DAY: i64 = 86_400_000;
    let shown = Arc::new(AtomicI64::new(1_764_561_101_000));
    let site = Site::new();
    let shows = Arc::clone(&shown);
    let clock = Clock::new(move || shows.load(Ordering::Relaxed));
    let host = site.host().on(&Handle::current()).wall_clock(clock).start().await;
    deploy(&host).await;
    for (kind, _) in KINDS {
        let at = shown.load(Ordering::Relaxed);
        let actor = named(kind, "a");
        let key = |name: &str| id(&format!("{at}-{name}"));
        once(&host, &actor, &key("done"), "write", json!([])).await.unwrap();
        assert_eq!(settled(&host, &actor, &key("settled")).await, Outcome::Never);
        shown.store(at + DAY + 1, Ordering::Relaxed);
        // What is recorded is among the newest, and stays.
        let again = once(&host, &actor, &key("done"), "write", json!([])).await.unwrap();
        assert_eq!(again.to_json(), json!({ "ok": 1 }));
        assert_eq!(outcome(&host, &actor, &key("settled")).await, Outcome::Never);
        for asked in
            [outcome(&host, &actor, &key("x")).await, settled(&host, &actor, &key("x")).await]
        {
            assert_eq!(asked, Outcome::Expired);
        }
        let late = once(&host, &actor, &key("x"), "write", json!([])).await;
        assert_eq!(assert_not_run(late, NotRun::Expired).retry(), Retry::Never);
        let ahead = id(&format!("{}-x", at + 3 * DAY));
        assert_not_run(once(&host, &actor, &ahead, "write", json!([])).await, NotRun::Ahead);
        assert_eq!(settled(&host, &actor, &ahead).await, Outcome::NotSeen, "its time will come");
        assert_eq!(outcome(&host, &actor, &id("untimed")).await, Outcome::NotSeen);
        assert_eq!(count(&host, &actor).await, 1);
    }
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_under_another_name_has_no_records() {
    let (site, host) = hosting().await;
    let (actor, copy, key) = (named(WHOLE, "a"), named(WHOLE, "copy"), id("1"));
    once(&host, &actor, &key, "write", json!([])).await.unwrap();
    let file = site.path().join("export.sqlite");
    std::fs::write(&file, host.export(&actor).await).unwrap();
    host.host.actor(&copy).import(&file, &mut |_| {}).await.unwrap();
    assert_eq!(outcome(&host, &copy, &key).await, Outcome::NotSeen);
    let answer = once(&host, &copy, &key, "write", json!([])).await.unwrap();
    assert_eq!(answer.to_json(), json!({ "ok": 2 }), "it runs: its row and the copied one");
    // Under its own name the records are of its own calls.
    host.host.actor(&actor).destroy().await.unwrap();
    host.host.actor(&actor).import(&file, &mut |_| {}).await.unwrap();
    assert_eq!(outcome(&host, &actor, &key).await, answered(json!({ "ok": 1 }), false));
    once(&host, &actor, &key, "write", json!([])).await.unwrap();
    assert_eq!(count(&host, &actor).await, 1);
    // A table of that name in other words is refused.
    let forged = site.path().join("forged.sqlite");
    let open = rusqlite::Connection::open(&forged).unwrap();
    open.execute_batch("CREATE TABLE _stockade_call(seq INTEGER PRIMARY KEY, id TEXT)").unwrap();
    drop(open);
    let refused = host.host.actor(&named(WHOLE, "b")).import(&forged, &mut |_| {}).await;
    assert!(matches!(refused, Err(HostError::Import(_))), "{refused:?}");
    host.host.shutdown().await;
}

/// Almost all of the records come in the file of an import: to make them by calls takes too long.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_id_is_refused_where_there_is_no_room_for_its_record() {
    let (site, host) = hosting().await;
    let actor = named(WHOLE, "a");
    once(&host, &actor, &id("first"), "write", json!([])).await.unwrap();
    let copy = host.open_export(&actor, site.path()).await;
    let file = copy.path().unwrap().to_owned();
    copy.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
         INSERT INTO _stockade_call(name, principal, id, method, arguments, until, state)
         SELECT 'whole/other', 'embedder', i, 'write', x'00', ?2, 'ok' FROM n",
        (CALL_RECORDS_MAX - 2, i64::MAX),
    )
    .unwrap();
    drop(copy);
    host.host.actor(&actor).destroy().await.unwrap();
    host.host.actor(&actor).import(file.as_ref(), &mut |_| {}).await.unwrap();

    once(&host, &actor, &id("last"), "write", json!([])).await.unwrap();
    let beyond = id("beyond");
    let refused = once(&host, &actor, &beyond, "write", json!([])).await.map(|it| it.to_json());
    let unsettled = host.host.actor(&actor).settle(&beyond).await.map(|it| it.outcome);
    for error in [refused.unwrap_err(), unsettled.unwrap_err()] {
        let HostError::CallRecordsFull { max } = error.cause else { panic!("{error:?}") };
        assert_eq!((max, error.retry()), (CALL_RECORDS_MAX.unsigned_abs(), Retry::Retry));
    }
    assert_eq!(outcome(&host, &actor, &beyond).await, Outcome::NotSeen);
    let again = once(&host, &actor, &id("first"), "write", json!([])).await.unwrap();
    assert_eq!(again.to_json(), json!({ "ok": 1 }), "what is recorded is answered");
    let without = host.ok(&actor, "write", json!([])).await;
    assert_eq!(without, 3, "calls without an id continue, and what was refused has not run");
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_method_in_a_transaction_calls_no_other_actor() {
    let (_site, host) = hosting().await;
    let actor = named(WHOLE, "a");
    let answer = host.call(&actor, "call-within", json!([WHOLE, "b", "write", ""])).await.unwrap();
    assert_eq!(answer, json!({ "err": "OpenTransaction" }));
    let wrong = Manifest { transactional: vec!["wriet".to_owned()], ..manifest(true) };
    let wasm = guest::CALLS_RELAY.wasm().unwrap();
    let refused = host.host.deploy(WHOLE, wasm, wrong).await.unwrap_err();
    let words = refused.to_string();
    assert!(words.contains("transactional") && words.contains("wriet"), "{words}");
    host.host.shutdown().await;
}

/// The record of a generation that has lost its actor answers no caller, however its database is cached.
#[tokio::test(flavor = "multi_thread")]
async fn a_kept_answer_passes_the_gate() {
    for (kind, _) in KINDS {
        let (site, old) = hosting().await;
        let (actor, key) = (named(kind, "a"), id("1"));
        once(&old, &actor, &key, "write", json!([])).await.unwrap();
        let new = site.usurper().start().await;
        new.take_over_and_call(&actor, "write", json!([])).await.unwrap();
        let late = once(&old, &actor, &key, "write", json!([])).await;
        assert!(late.is_err(), "{kind}: {:?}", late.map(|reply| reply.to_json()));
        let answer = once(&new, &actor, &key, "write", json!([])).await.unwrap();
        assert_eq!(answer.to_json(), json!({ "ok": 1 }));
        new.host.shutdown().await;
        old.host.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn actors_give_their_calls_ids_and_ask_for_them() {
    let (_site, host) = hosting().await;
    for (kind, transactional) in KINDS {
        let (a, b) = (named(kind, "a"), named(kind, "b"));
        let made = host.ok(&a, "new-id", json!([])).await;
        let other = host.ok(&a, "new-id", json!([])).await;
        assert_ne!(made, other);
        assert!(id(made.as_str().unwrap()).first_ms().is_some(), "{made}");
        let missing = host.call(&a, "outcome", json!(["b", made, false])).await.unwrap();
        assert!(missing["err"].as_str().unwrap().starts_with("NotFound("), "{missing}");
        for method in ["call-once", "start-once", "call-once"] {
            let answer = host.ok(&a, method, json!(["b", "write", "", made])).await;
            assert_eq!(answer, r#"{"ok":1}"#, "{method}");
        }
        // Another actor's call of the same id is another call.
        let answer = host.ok(&named(kind, "c"), "call-once", json!(["b", "write", "", made])).await;
        assert_eq!(answer, r#"{"ok":2}"#);
        let told = host.ok(&a, "outcome", json!(["b", made, false])).await;
        assert!(told.as_str().unwrap().starts_with("Committed(Some("), "{told}");
        assert_eq!(host.ok(&a, "outcome", json!(["b", other, false])).await, "NotSeen");
        assert_eq!(host.ok(&a, "outcome", json!(["b", other, true])).await, "Never");
        let answer = host.call(&a, "call-once", json!(["b", "write", "", other])).await.unwrap();
        assert!(answer["err"].as_str().unwrap().contains("actor.call-settled"), "{answer}");
        assert_eq!(count(&host, &b).await, 2);
        // What has died names the id; itself it cannot ask.
        let third = host.ok(&a, "new-id", json!([])).await;
        let died =
            host.call(&a, "call-once", json!(["b", "write-and-trap", "", third])).await.unwrap();
        let words = died["err"].as_str().unwrap();
        assert_eq!(words.contains("call_id"), !transactional, "{words}");
        let after = if transactional { "NotSeen" } else { "Partial" };
        assert_eq!(host.ok(&a, "outcome", json!(["b", third, false])).await, after);
        let itself = host.call(&a, "outcome", json!(["a", third, false])).await.unwrap();
        assert!(itself["err"].as_str().unwrap().starts_with("CallCycle("), "{itself}");
        let wrong =
            host.call(&a, "call-once", json!(["b", "write", "", "two words"])).await.unwrap();
        assert!(wrong["err"].as_str().unwrap().starts_with("Invalid("), "{wrong}");
    }
    host.host.shutdown().await;
}
