//! Calls between actors of one host: rights, errors, chains that come back or cross, fan-out, and what
//! a generation that lost its database sends.

mod chains;
mod gate;

use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use stockade::limits::{CALLS_IN_FLIGHT_MAX, Limits, METHOD_BYTES_MAX};
use stockade::{ActorId, CallError, HostError, Manifest};
use stockade_tests::guest;
use stockade_tests::host::{Site, TestHost};

use crate::calls::{call, soon};

/// The kind of the test guest.
const KIND: &str = "calls_relay";

/// Settings under which actors of the kind call each other.
fn granted() -> Manifest {
    Manifest { calls: vec![KIND.to_owned()], ..Manifest::default() }
}

fn with_limits(set: impl FnOnce(&mut Limits)) -> Manifest {
    let mut manifest = granted();
    set(&mut manifest.limits);
    manifest
}

async fn deploy(host: &TestHost, manifest: Manifest) {
    host.host.deploy(KIND, guest::CALLS_RELAY.wasm().unwrap(), manifest).await.unwrap();
}

async fn hosting(manifest: Manifest) -> (Site, TestHost) {
    let site = Site::new();
    let host = site.host().start().await;
    deploy(&host, manifest).await;
    (site, host)
}

fn relay(key: &str) -> ActorId {
    ActorId::new(KIND, key).unwrap()
}

/// The arguments of a call of another actor of the kind.
fn to(key: &str, method: &str, arguments: &str) -> Json {
    json!([KIND, key, method, arguments])
}

/// The error of a call, as the guest shows it.
fn error(answer: &Json) -> &str {
    answer["err"].as_str().unwrap_or_else(|| panic!("no error: {answer}"))
}

/// Asserts that the guest got an error that begins so.
#[track_caller]
fn assert_error(answer: &Json, expected: &str) {
    assert!(error(answer).starts_with(expected), "{answer} is not {expected}");
}

/// Asserts that no call has reached the actor: it was never created.
async fn assert_never_called(host: &TestHost, key: &str) {
    let info = host.host.actor(&relay(key)).info().await;
    assert!(matches!(info, Err(HostError::ActorMissing { .. })), "{key}: {info:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_actor_calls_another_one_and_gets_its_answer() {
    let (_site, host) = hosting(granted()).await;
    let answer = host.ok(&relay("a"), "call", to("b", "write", "")).await;
    assert_eq!(answer, json!(r#"{"ok":1}"#));
    assert_eq!(host.ok(&relay("b"), "count", json!([])).await, json!(1));
    // The error case of a method is an answer.
    let answer = host.ok(&relay("a"), "call", to("b", "take", "")).await;
    assert_eq!(answer, json!(r#"{"err":"nothing is held"}"#));
    let bytes = 2_000_000;
    let answer = host.ok(&relay("a"), "call", to("b", "large", &format!("[{bytes}]"))).await;
    assert_eq!(answer.as_str().map(str::len), Some(bytes + 2), "a large one, with its quotes");
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_nothing_is_called() {
    let (_site, host) = hosting(Manifest::default()).await;
    let refused = |answer: Json| {
        assert_eq!(error(&answer), r#"Denied("calls = [\"calls_relay\"]")"#);
    };
    refused(host.call(&relay("a"), "call", to("b", "write", "")).await.unwrap());
    assert_never_called(&host, "b").await;
    let calls = vec!["calls_relay/guest-*".to_owned()];
    deploy(&host, Manifest { calls, ..Manifest::default() }).await;
    refused(host.call(&relay("a"), "call", to("b", "write", "")).await.unwrap());
    assert_eq!(
        host.ok(&relay("a"), "call", to("guest-1", "write", "")).await,
        json!(r#"{"ok":1}"#)
    );
    let calls = vec!["no kind".to_owned()];
    let wrong = Manifest { calls, ..Manifest::default() };
    let deployed = host.host.deploy(KIND, guest::CALLS_RELAY.wasm().unwrap(), wrong).await;
    assert!(matches!(deployed, Err(HostError::Manifest(_))), "{deployed:?}");
    assert_never_called(&host, "b").await;
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_called_has_a_typed_error() {
    let calls = vec!["*".to_owned()];
    let mut manifest = Manifest { calls, ..Manifest::default() };
    let (_site, host) = hosting(manifest.clone()).await;
    manifest.limits.payload_bytes_max = 1_000;
    host.host.deploy("small", guest::CALLS_RELAY.wasm().unwrap(), manifest).await.unwrap();
    let long = format!("[[\"{}\"]]", "x".repeat(2_000));
    for (arguments, expected, code) in [
        (json!(["missing", "b", "write", ""]), "NotFound(", "request.kind-missing"),
        (to("b", "missing", ""), "NotFound(", "request.method-missing"),
        (to("b", "nap", "[\"x\"]"), "Invalid(", "request.arguments"),
        (to("b", "nap", "["), "Invalid(", "request.invalid-body"),
        (to("", "write", ""), "Invalid(", "request.invalid-actor"),
        (json!(["small", "b", "pass", long]), "Invalid(", "request.payload-too-large"),
        (to("b", &"x".repeat(METHOD_BYTES_MAX), ""), "NotFound(", "request.method-missing"),
        (to("b", &"x".repeat(METHOD_BYTES_MAX + 1), ""), "Invalid(", "request.malformed"),
    ] {
        let answer = host.call(&relay("a"), "call", arguments.clone()).await.unwrap();
        assert_error(&answer, expected);
        assert!(error(&answer).contains(&format!("code: {code:?}")), "{arguments}: {answer}");
    }
    assert_never_called(&host, "b").await;
    host.host.shutdown().await;
}

/// What the transaction has written could not be durable before the request leaves.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_within_a_transaction_is_refused() {
    let (_site, host) = hosting(granted()).await;
    let answer = host.call(&relay("a"), "call-within", to("b", "write", "")).await.unwrap();
    assert_eq!(error(&answer), "OpenTransaction");
    assert_never_called(&host, "b").await;
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callee_that_dies_says_what_it_has_kept() {
    let (_site, host) = hosting(granted()).await;
    host.ok(&relay("b"), "write", json!([])).await;
    let answer = host.call(&relay("a"), "call", to("b", "write-and-trap", "")).await.unwrap();
    assert_error(&answer, "Failed(");
    for fact in ["\"actor.trapped\"", "advice: UnknownOutcome", "verdict: Some(Committed)"] {
        assert!(error(&answer).contains(fact), "{fact}: {answer}");
    }
    assert_eq!(host.ok(&relay("b"), "count", json!([])).await, json!(2));
    host.host.shutdown().await;
}

/// The callee ends a little before its caller would, and is not to blame.
#[tokio::test(flavor = "multi_thread")]
async fn the_callers_time_bounds_its_callee() {
    let (_site, host) = hosting(with_limits(|limits| limits.call_time_ms = 2_000)).await;
    host.ok(&relay("b"), "write", json!([])).await;
    for _ in 0..3 {
        let begun = Instant::now();
        let answer = host.call(&relay("a"), "call", to("b", "nap", "[60000]")).await;
        let answer = answer.expect("the caller has time to handle the error");
        assert_error(&answer, "Failed(");
        assert!(error(&answer).contains("actor.budget-exhausted"), "{answer}");
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    }
    let info = host.host.actor(&relay("b")).info().await.unwrap();
    assert_eq!(info.restarts, 0, "the time was its caller's");
    host.host.shutdown().await;
}

/// What the caller has left of its rows bounds the callee, and what that reads is on the caller's bill.
#[tokio::test(flavor = "multi_thread")]
async fn the_callers_budget_bounds_and_pays_for_its_callee() {
    let calls = vec!["*".to_owned()];
    let mut manifest = Manifest { calls, ..Manifest::default() };
    let (_site, host) = hosting(manifest.clone()).await;
    manifest.limits.rows_max = 1;
    host.host.deploy("poor", guest::CALLS_RELAY.wasm().unwrap(), manifest).await.unwrap();
    let poor = ActorId::new("poor", "a").unwrap();
    let answer = call(&host, &poor, "call", to("b", "count", ""));
    let answer = soon("a call", answer).await.unwrap().unwrap();
    assert_eq!(answer.to_json(), json!({ "ok": r#"{"ok":0}"# }));
    assert_eq!(answer.bill.rows_read, 1, "its callee has read it");
    // The caller reads the one row that it may.
    let answer = host.ok(&poor, "write-and-call", to("b", "count", "")).await;
    assert!(answer.as_str().unwrap().contains("rows read in one call"), "{answer}");
    assert_eq!(host.ok(&relay("b"), "count", json!([])).await, json!(0));
    host.host.shutdown().await;
}

/// Its callee is busy for longer than the caller has time.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_without_time_left_does_not_begin() {
    let (_site, host) = hosting(with_limits(|limits| limits.call_time_ms = 4_000)).await;
    host.ok(&relay("b"), "count", json!([])).await;
    let busy = [0, 1].map(|_| call(&host, &relay("b"), "nap", json!([3_500])));
    tokio::time::sleep(Duration::from_millis(100)).await;
    let answer = host.call(&relay("a"), "call", to("b", "write", "")).await;
    let answer = answer.expect("the caller has time to handle the error");
    assert_error(&answer, "TimedOut(");
    for busy in busy {
        drop(soon("the busy one", busy).await.unwrap());
    }
    assert_eq!(host.ok(&relay("b"), "count", json!([])).await, json!(0), "it has not run");
    host.host.shutdown().await;
}

/// The start of its callee has a time of its own: were it cut off, each call would begin it again.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_outlasts_the_caller_that_it_was_for() {
    let (_site, host) = hosting(with_limits(|limits| limits.call_time_ms = 4_000)).await;
    host.ok(&relay("b"), "count", json!([])).await;
    let busy = [0, 1].map(|_| call(&host, &relay("b"), "nap", json!([3_000])));
    tokio::time::sleep(Duration::from_millis(100)).await;
    // The `start` hook of its callee waits for the busy one.
    let answer = host.call(&relay("a"), "call", to("start>b", "write", "")).await;
    let answer = answer.expect("the caller has time to handle the error");
    assert_error(&answer, "UnknownOutcome(");
    assert_eq!(host.ok(&relay("start>b"), "count", json!([])).await, json!(0), "it has not run");
    let info = host.host.actor(&relay("start>b")).info().await.unwrap();
    assert_eq!((info.generation.0, info.restarts), (1, 0), "it was started once");
    for busy in busy {
        drop(soon("the busy one", busy).await.unwrap());
    }
    host.host.shutdown().await;
}

// --- many at the same time ------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_calls_of_one_actor_are_answered() {
    let site = Site::new();
    let host = site.host().limits(|limits| limits.actors_awake_max = 1_100).start().await;
    deploy(&host, granted()).await;
    let ends = host.ok(&relay("a"), "fan-out", json!(["n", 1_000, "write", ""])).await;
    assert_eq!(ends, json!({ "answered": 1_000, "errors": [] }));
    assert_eq!(host.ok(&relay("n999"), "count", json!([])).await, json!(1));
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_is_a_typed_error() {
    let (_site, host) = hosting(with_limits(|limits| limits.mailbox_calls_max = 4)).await;
    host.ok(&relay("b"), "count", json!([])).await;
    let ends = host.ok(&relay("a"), "flood", json!(["b", 40, "nap", "[50]"])).await;
    let (answered, errors) = (ends["answered"].as_u64().unwrap(), ends["errors"].as_array());
    assert!((4..40).contains(&answered), "{ends}");
    for error in errors.unwrap() {
        assert!(error.as_str().unwrap().starts_with("Overloaded("), "{error}");
    }
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_in_flight_are_bounded() {
    let (_site, host) = hosting(with_limits(|limits| limits.mailbox_calls_max = 5_000)).await;
    let max = u64::try_from(CALLS_IN_FLIGHT_MAX).unwrap();
    for _ in 0..2 {
        let ends = host.ok(&relay("a"), "flood", json!(["b", max + 3, "count", ""])).await;
        assert_eq!(ends["answered"], json!(max), "{ends}");
        assert_eq!(ends["errors"], json!(vec!["LimitExceeded(CallsInFlight)"; 3]), "{ends}");
    }
    host.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_of_several_answers_is_taken() {
    let (_site, host) = hosting(granted()).await;
    host.ok(&relay("slow"), "count", json!([])).await;
    let busy = call(&host, &relay("slow"), "nap", json!([1_500]));
    tokio::time::sleep(Duration::from_millis(100)).await;
    let begun = Instant::now();
    let first = host.ok(&relay("a"), "first-of", json!([["slow", "fast"], "count", ""])).await;
    assert_eq!(first, json!(1));
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    drop(soon("the busy one", busy).await.unwrap());
    let none = host.call(&relay("a"), "first-of", json!([[], "count", ""])).await.unwrap();
    assert_eq!(error(&none), "NotOpen");
    host.host.shutdown().await;
}

/// Dropping a call takes it back if it has not begun, and so does the end of the call that has started
/// it.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_not_waited_for_is_taken_back() {
    let (_site, host) = hosting(granted()).await;
    host.ok(&relay("b"), "count", json!([])).await;
    let busy = call(&host, &relay("b"), "nap", json!([1_000]));
    tokio::time::sleep(Duration::from_millis(100)).await;
    host.ok(&relay("a"), "start-and-drop", json!(["b", 200])).await;
    host.ok(&relay("a"), "hold", json!(["b", "write", ""])).await;
    let late = host.call(&relay("a"), "take", json!([])).await.unwrap();
    assert_eq!(error(&late), "NotOpen");
    drop(soon("the busy one", busy).await.unwrap());
    assert_eq!(host.ok(&relay("b"), "count", json!([])).await, json!(0), "neither has run");
    // One that has begun continues.
    host.ok(&relay("a"), "start-and-drop", json!(["c", 1_000])).await;
    assert_eq!(host.ok(&relay("c"), "count", json!([])).await, json!(1));
    host.host.shutdown().await;
}

/// The answer of a call, with its error as a row of the table.
fn code_of(answer: &Result<Json, CallError>) -> &'static str {
    answer.as_ref().map_or_else(|error| error.code().name(), |_| "ok")
}
