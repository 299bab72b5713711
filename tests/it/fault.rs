//! `stockade fault`: each fault of the real program has the effect that its help promises, and
//! none without `--allow-faults`.
//!
//! `steps` has the store's wrapper alone, step by step.

mod steps;

use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use stockade::{ActorId, Arguments, CallError, Fault, HostError};
use stockade_testkit::faulty_store::{self, Step};
use stockade_tests::guest;
use stockade_tests::host::{Site, actor};
use stockade_tests::program::{self, HttpReply, Program};

const ALICE: &str = "counter/alice";

struct Stand {
    program: Program,
    _dir: tempfile::TempDir,
}

impl Stand {
    fn new(flags: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let program = Program::serve_with(&dir.path().join("data"), flags).unwrap();
        for guest in [guest::COUNTER, guest::HOSTILE_LOOP] {
            program.deploy(guest.name, &guest.wasm().unwrap()).unwrap();
        }
        Self { program, _dir: dir }
    }

    fn allowed() -> Self {
        Self::new(&["--allow-faults"])
    }

    fn call(&self, method: &str, arguments: Json) -> HttpReply {
        self.program.call(ALICE, method, &arguments).unwrap()
    }

    /// Makes a call that succeeds; returns the value, and the generation that answered.
    fn increment(&self, by: i64) -> (i64, u64) {
        let reply = self.call("increment", json!([by]));
        assert_eq!(reply.status, 200, "{}", reply.body);
        (reply.body["ok"].as_i64().unwrap(), reply.generation.unwrap())
    }

    /// Calls until a generation other than the fenced one answers: a call that is queued before the
    /// slot has ended that generation gets the same error, and has not run.
    fn recovered(&self) -> u64 {
        for _ in 0..1_000 {
            let reply = self.call("get", json!([]));
            if reply.status == 200 {
                return reply.generation.unwrap();
            }
            assert_error(&reply, 409, "depot.head-fence-mismatch");
        }
        panic!("{ALICE} does not recover");
    }

    /// Runs the command, which succeeds; returns its document.
    fn fault(&self, arguments: &[&str]) -> Json {
        let (code, out, err) = self.run(ALICE, arguments);
        assert_eq!(code, 0, "fault {arguments:?}: {err}");
        serde_json::from_str(&out).unwrap()
    }

    fn run(&self, actor: &str, arguments: &[&str]) -> (i32, String, String) {
        let mut line = vec!["--json", "--admin", &self.program.admin, "fault", actor];
        line.extend(arguments);
        program::run(&line).unwrap()
    }

    fn shown(&self) -> Json {
        self.program.admin_get(&format!("/admin/actors/{ALICE}")).unwrap().body
    }

    fn assert_intact(&self) {
        let route = format!("/admin/actors/{ALICE}/verify");
        let report = self.program.admin_post(&route, &json!({})).unwrap();
        assert_eq!(report.body["ok"], true, "{}", report.body);
    }
}

/// Asserts that the reply is this row of the error table.
fn assert_error(reply: &HttpReply, status: u16, code: &str) {
    let (group, name) = (&reply.body["group"], &reply.body["code"]);
    let found = format!("{}.{}", group.as_str().unwrap_or("?"), name.as_str().unwrap_or("?"));
    assert_eq!((reply.status, found.as_str()), (status, code), "{}", reply.body);
}

#[test]
fn without_the_flag_nothing_can_be_made_to_fail() {
    let stand = Stand::new(&[]);
    assert_eq!(stand.increment(5), (5, 1));
    for fault in ["crash", "fence", "lost-reply", "slow-store", "store-full", "freeze"] {
        let (code, out, err) = stand.run(ALICE, &[fault]);
        assert_eq!((code, out.as_str()), (1, ""), "{fault}");
        let body: Json = serde_json::from_str(&err).unwrap();
        assert_eq!((&body["code"], &body["retry"]), (&json!("faults-not-allowed"), &json!("fix")));
        let route = format!("/admin/actors/{ALICE}/fault");
        let reply = stand.program.admin_post(&route, &json!({ "fault": fault })).unwrap();
        assert_error(&reply, 403, "request.faults-not-allowed");
    }
    let (code, _, err) = stand.run(ALICE, &["clear"]);
    assert_eq!(code, 1, "{err}");
    assert_eq!(stand.increment(5), (10, 1));
    assert_eq!(stand.shown()["faults"], json!([]));
    assert_eq!(stand.program.get("/ready").unwrap().body["faults_allowed"], false);
}

#[test]
fn a_crash_ends_the_generation_as_a_trap_does() {
    let stand = Stand::allowed();
    assert_eq!(stand.program.get("/ready").unwrap().body["faults_allowed"], true);
    assert_eq!(stand.increment(5), (5, 1));
    let told = stand.fault(&["crash"]);
    assert_eq!((&told["did"], &told["class"]), (&json!("crashed"), &json!("after-durable")));
    assert_eq!(told["exit"]["reason"], "trapped", "{told}");
    assert_eq!(told["exit"]["generation"], 1, "{told}");
    assert_eq!(told["exit"]["sealed"], false, "{told}");
    let calls = stand.call("calls", json!([]));
    assert_eq!((calls.body, calls.generation), (json!(1), Some(2)), "in-memory state is lost");
    assert_eq!(stand.shown()["restarts"], 1, "it counts as a crash");
    assert_eq!(stand.increment(5), (10, 2));
    stand.assert_intact();
}

/// Repeated until the caller has its answer: the first fault may be armed before the call has
/// begun.
#[test]
fn a_crash_ends_a_call_in_progress() {
    let stand = Stand::allowed();
    let heard = std::thread::scope(|scope| {
        let spinning =
            scope.spawn(|| stand.program.call("hostile_loop/x", "spin", &json!([])).unwrap());
        while !spinning.is_finished() {
            let (code, _, err) = stand.run("hostile_loop/x", &["crash"]);
            let asleep = err.contains("actor-asleep") || err.contains("actor-missing");
            assert!(code == 0 || asleep, "{err}");
        }
        spinning.join().unwrap()
    });
    assert_error(&heard, 500, "actor.trapped");
    assert!(heard.body["message"].as_str().unwrap().contains("on purpose"), "{}", heard.body);
}

#[test]
fn a_fenced_generation_finds_out_and_the_next_call_recovers() {
    let stand = Stand::allowed();
    assert_eq!(stand.increment(5), (5, 1));
    // Once on the way of a commit, once on the way of an answer that wrote nothing.
    for (method, arguments, lost) in [("increment", json!([7]), 1), ("get", json!([]), 3)] {
        let told = stand.fault(&["fence"]);
        assert_eq!((&told["did"], &told["class"]), (&json!("fenced"), &json!("before-durable")));
        assert_eq!((&told["lost"], &told["winner"]), (&json!(lost), &json!(lost + 1)), "{told}");
        assert_error(&stand.call(method, arguments), 409, "depot.head-fence-mismatch");
        assert_eq!(stand.recovered(), lost + 2);
        let exit = &stand.shown()["last_exit"];
        assert_eq!((&exit["reason"], &exit["generation"]), (&json!("fenced"), &json!(lost)));
    }
    assert_eq!(stand.increment(1).0, 6, "what the fenced generation wrote is not there");
    stand.assert_intact();
}

#[test]
fn a_lost_reply_is_settled_and_nothing_is_done_twice() {
    let stand = Stand::allowed();
    assert_eq!(stand.increment(5), (5, 1));
    let before = stand.shown()["txid"].as_u64().unwrap();
    let told = stand.fault(&["lost-reply", "--count", "2"]);
    assert_eq!((&told["did"], &told["class"]), (&json!("armed"), &json!("ambiguous")));
    assert_eq!(stand.increment(5), (10, 1));
    let left = json!([{"fault": "lost-reply", "count": 1, "class": "ambiguous"}]);
    assert_eq!(stand.shown()["faults"], left, "one of two has fired");
    assert_eq!(stand.increment(5), (15, 1));
    let shown = stand.shown();
    assert_eq!((&shown["faults"], &shown["txid"]), (&json!([]), &json!(before + 2)));
    stand.assert_intact();
}

/// Seen from the store: the commit is there while its answer is not, the commit row is read, and
/// nothing is sent a second time.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_reply_is_that_of_a_commit_which_was_applied() {
    let site = Site::new();
    let host = site.host().allow_faults().start().await;
    host.deploy(guest::COUNTER).await;
    let alice: ActorId = actor(guest::COUNTER, "alice");
    let called = host.host.actor(&alice);
    let increment = || called.call("increment", Arguments::Json(json!([5])));
    increment().await.unwrap();
    let txid = host.host.actor(&alice).info().await.unwrap().txid.0;
    let commits = host.store.calls(Step::Commit);
    host.host.actor(&alice).fault(Fault::LostReply { count: 1 }).await.unwrap();
    let asks = host.store.arm(Step::Verdict, 1, faulty_store::Fault::Hold);
    let (reply, ()) = tokio::join!(increment(), async {
        asks.fired().await;
        assert_eq!(
            host.host.actor(&alice).info().await.unwrap().txid.0,
            txid + 1,
            "it was applied"
        );
        asks.release();
    });
    assert_eq!(reply.unwrap().to_json(), json!({"ok": 10}));
    assert_eq!(host.store.calls(Step::Commit), commits + 1, "sent once");
    host.host.shutdown().await;
}

#[test]
fn a_slow_store_makes_calls_longer() {
    let stand = Stand::allowed();
    assert_eq!(stand.increment(5), (5, 1));
    let told = stand.fault(&["slow-store", "--delay-ms", "1500", "--count", "1"]);
    assert_eq!((&told["did"], &told["class"]), (&json!("armed"), &json!("read-only")));
    let begun = Instant::now();
    assert_eq!(stand.increment(5), (10, 1));
    assert!(begun.elapsed() >= Duration::from_millis(1_500), "{:?}", begun.elapsed());
    assert_eq!(stand.shown()["faults"], json!([]), "it has fired");
    // An answer that wrote nothing waits for its confirmation.
    stand.fault(&["slow-store", "--delay-ms", "1500", "--count", "1"]);
    let begun = Instant::now();
    assert_eq!(stand.call("get", json!([])).body, json!({"ok": 10}));
    assert!(begun.elapsed() >= Duration::from_millis(1_500), "{:?}", begun.elapsed());
}

#[test]
fn a_full_store_refuses_commits_and_keeps_reads() {
    let stand = Stand::allowed();
    assert_eq!(stand.increment(5), (5, 1));
    let told = stand.fault(&["store-full", "--for-ms", "600000"]);
    assert_eq!((&told["did"], &told["class"]), (&json!("armed"), &json!("before-durable")));
    let refused = stand.call("increment", json!([7]));
    assert_error(&refused, 507, "depot.full");
    assert_eq!(refused.body["details"]["verdict"], "not-committed", "{}", refused.body);
    assert_eq!(refused.body["retry"], "retry", "{}", refused.body);
    assert_eq!(stand.call("get", json!([])).body, json!({"ok": 5}));
    let cleared = stand.fault(&["clear"]);
    assert_eq!(cleared["cleared"][0]["fault"], "store-full", "{cleared}");
    assert_eq!(stand.increment(7).0, 12);
    stand.assert_intact();
}

#[test]
fn a_frozen_store_goes_on_when_it_is_cleared() {
    let stand = Stand::allowed();
    assert_eq!(stand.increment(5), (5, 1));
    let told = stand.fault(&["freeze", "--for-ms", "600000"]);
    assert_eq!((&told["did"], &told["class"]), (&json!("armed"), &json!("before-durable")));
    std::thread::scope(|scope| {
        let frozen = scope.spawn(|| stand.increment(5));
        // Another actor is not frozen, and is answered in the meantime.
        let other = stand.program.call("counter/bob", "increment", &json!([1])).unwrap();
        assert_eq!(other.status, 200, "{}", other.body);
        assert!(!frozen.is_finished(), "answered by a frozen store");
        assert_eq!(stand.shown()["faults"][0]["fault"], "freeze", "operators still see it");
        stand.fault(&["clear"]);
        assert_eq!(frozen.join().unwrap(), (10, 1));
    });
}

/// Also calls that write nothing: an answer waits for its confirmation, a wake for its takeover.
#[test]
fn a_frozen_store_holds_answers_and_wakes() {
    let stand = Stand::allowed();
    assert_eq!(stand.increment(5), (5, 1));
    let get = || stand.call("get", json!([]));
    for generation in [1, 2] {
        stand.fault(&["freeze", "--for-ms", "600000"]);
        std::thread::scope(|scope| {
            let frozen = scope.spawn(get);
            for _ in 0..20 {
                let other = stand.program.call("counter/bob", "increment", &json!([1])).unwrap();
                assert_eq!(other.status, 200, "{}", other.body);
            }
            assert!(!frozen.is_finished(), "generation {generation}: answered by a frozen store");
            stand.fault(&["clear"]);
            let heard = frozen.join().unwrap();
            assert_eq!((heard.body, heard.generation), (json!({"ok": 5}), Some(generation)));
        });
        let stopped = format!("/admin/actors/{ALICE}/stop");
        assert_eq!(stand.program.admin_post(&stopped, &json!({})).unwrap().status, 200);
    }
}

#[test]
fn past_its_deadline_a_frozen_commit_is_indeterminate() {
    let stand = Stand::allowed();
    assert_eq!(stand.increment(5), (5, 1));
    stand.fault(&["freeze", "--for-ms", "600000"]);
    let lost = stand.call("increment", json!([7]));
    assert_error(&lost, 503, "depot.commit-lost");
    assert_eq!(lost.body["details"]["verdict"], "indeterminate", "{}", lost.body);
    assert_eq!(lost.body["retry"], "unknown-outcome");
    stand.fault(&["clear"]);
    assert_eq!(stand.increment(1).0, 6, "it was never sent");
}

#[test]
fn a_sleeping_actor_meets_faults_of_the_store_in_its_next_life() {
    let stand = Stand::allowed();
    assert_eq!(stand.increment(5), (5, 1));
    let stopped = format!("/admin/actors/{ALICE}/stop");
    assert_eq!(stand.program.admin_post(&stopped, &json!({})).unwrap().status, 200);
    for fault in ["crash", "fence"] {
        let (code, _, err) = stand.run(ALICE, &[fault]);
        assert_eq!(code, 1);
        assert!(err.contains("actor-asleep"), "{fault}: {err}");
    }
    stand.fault(&["lost-reply"]);
    assert_eq!(stand.increment(5), (10, 2));
    assert_eq!(stand.shown()["faults"], json!([]), "it has fired");

    let refused = |body: Json, status, code| {
        let route = format!("/admin/actors/{ALICE}/fault");
        assert_error(&stand.program.admin_post(&route, &body).unwrap(), status, code);
    };
    refused(json!({"fault": "freeze", "for_ms": 600_001}), 422, "request.invalid-fault");
    refused(json!({"fault": "melt"}), 400, "request.invalid-body");
    let nobody = "/admin/actors/counter/nobody/fault";
    let reply = stand.program.admin_post(nobody, &json!({"fault": "crash"})).unwrap();
    assert_error(&reply, 404, "request.actor-missing");
}

/// An example of a test of your own actors.
#[tokio::test(flavor = "multi_thread")]
async fn a_test_of_ones_own_uses_the_same_faults() {
    let site = Site::new();
    let host = site.host().allow_faults().start().await;
    host.deploy(guest::COUNTER).await;
    let alice: ActorId = actor(guest::COUNTER, "alice");
    let called = host.host.actor(&alice);
    let increment = || called.call("increment", Arguments::Json(json!([5])));
    assert_eq!(increment().await.unwrap().to_json(), json!({"ok": 5}));
    host.host.actor(&alice).fault(Fault::Fence).await.unwrap();
    assert!(matches!(increment().await, Err(CallError { cause: HostError::Fenced { .. }, .. })));
    host.host.actor(&alice).fault(Fault::LostReply { count: 1 }).await.unwrap();
    assert_eq!(increment().await.unwrap().to_json(), json!({"ok": 10}));
    assert_eq!(host.host.actor(&alice).clear_faults().await.unwrap(), []);

    let refused = site.host().start().await.host.actor(&alice).fault(Fault::Crash).await;
    assert!(matches!(refused, Err(HostError::FaultsNotAllowed)), "{refused:?}");
}
