//! The fatal end, from outside: however the loss of a fence becomes known, it is logged once with
//! both fences, every caller gets the cause with the verdict of its own writes, no hook runs, and
//! nothing of that generation continues to run, however its guest behaves.

use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use stockade::error::{Retry, Verdict};
use stockade::{ActorId, Arguments, CallError, HostError, Reply};
use stockade_depot::{Generation, Reason};
use stockade_testkit::capture::{Capture, capture};
use stockade_testkit::faulty_store::{Fault, Step};
use stockade_tests::guest;
use stockade_tests::host::{Site, TestHost, actor};
use tokio::task::JoinHandle;

/// A bound on liveness, not on speed: the bench measures how long the end takes
/// (`fatal.revoke_ms_p99`).
const SOON: Duration = Duration::from_secs(8);

/// An awake actor in `old`, and a host that takes it over on demand.
struct Loss {
    _site: Site,
    old: TestHost,
    new: TestHost,
    actor: ActorId,
    log: Capture,
}

impl Loss {
    /// Gives the actor some pages of rows, none of which `old` has read.
    async fn new(key: &str) -> Self {
        let (site, log) = (Site::new(), capture());
        let first = site.host().start().await;
        // The guests of these tests log a lot.
        let lines = |limits: &mut stockade::limits::Limits| limits.log_lines_max = 1_000_000;
        first.deploy_with(guest::HOSTILE_WAIT, lines).await;
        let actor = actor(guest::HOSTILE_WAIT, key);
        first.ok(&actor, "write", json!([2_000])).await;
        first.host.shutdown().await;
        let old = site.host().start().await;
        old.call(&actor, "nap", json!([0])).await.unwrap();
        let new = site.usurper().start().await;
        Self { _site: site, old, new, actor, log }
    }

    fn call(&self, method: &str, arguments: Json) -> JoinHandle<Result<Reply, CallError>> {
        let (host, actor) = (self.old.host.clone(), self.actor.clone());
        let method = method.to_owned();
        tokio::spawn(
            async move { host.actor(&actor).call(&method, Arguments::Json(arguments)).await },
        )
    }

    /// Makes the new host take the actor over.
    async fn take_over(&self) {
        self.new.take_over_and_call(&self.actor, "nap", json!([0])).await.unwrap();
    }

    /// Signs of life of the generation that lost.
    fn beats(&self, of: Generation) -> usize {
        self.log.lines(&["beat", self.actor.key(), &format!("generation={}", of.0)]).len()
    }

    async fn await_beat(&self, of: Generation) {
        let begun = Instant::now();
        while self.beats(of) == 0 {
            assert!(begun.elapsed() < SOON, "the guest does not run");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Asserts what holds for the generation `of` once its loss is known. `during` names what found
    /// it.
    async fn assert_ended(&self, of: Generation, during: &str) {
        let exit = self.old.exit_of(&self.actor).await;
        assert_eq!((exit.reason, exit.generation, exit.sealed), (Reason::Fenced, of, false));
        // Nothing continues to run: the guest has shown its last sign of life.
        let beats = self.beats(of);
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(self.beats(of), beats, "the guest runs on after its end");
        let generation = format!("generation={}", of.0);
        let hooks = self.log.lines(&["hook s", self.actor.key(), &generation]);
        let ran: Vec<_> = hooks.iter().filter(|line| !line.text.contains("hook start")).collect();
        assert!(ran.is_empty(), "a hook ran: {ran:?}");
        // The session logs the loss, with both fences, and nothing else logs it.
        let loud = self.log.loud(&[self.actor.key(), &generation]);
        assert_eq!(loud.len(), 1, "{loud:#?}");
        let next = of.0 + 1;
        let both =
            [format!("expected=(Generation({})", of.0), format!("actual=(Generation({next})")];
        for word in both.iter().map(String::as_str).chain(["session fenced", during]) {
            assert!(loud[0].text.contains(word), "{word} is not in: {}", loud[0].text);
        }
    }

    async fn end(self) {
        self.old.host.shutdown().await;
        self.new.host.shutdown().await;
    }
}

async fn told(what: &str, call: JoinHandle<Result<Reply, CallError>>) -> CallError {
    match tokio::time::timeout(SOON, call).await.unwrap_or_else(|_| panic!("{what} hangs")) {
        Ok(Err(error)) => error,
        Ok(Ok(reply)) => panic!("{what}: a fenced generation was heard: {}", reply.to_json()),
        Err(error) => panic!("{what}: {error}"),
    }
}

/// Asserts that the caller knows: another generation owns the database, and the caller's own call
/// wrote nothing that was kept, or nothing at all.
fn assert_fenced(what: &str, error: &CallError, verdict: Option<Verdict>) {
    assert!(matches!(error.cause, HostError::Fenced { .. }), "{what}: {error:?}");
    assert_eq!(error.verdict, verdict, "{what}: {error:?}");
    let advice = if verdict.is_some() { Retry::UnknownOutcome } else { Retry::Reroute };
    assert_eq!(error.retry(), advice, "{what}");
}

/// A guest in an endless loop that swallows every refusal, one in endless SQL, one that sleeps.
#[tokio::test(flavor = "multi_thread")]
async fn known_by_a_commit() {
    for (method, arguments) in [
        ("write-and-chat", json!([1])),
        ("write-and-query", json!([1])),
        ("write-and-nap", json!([1, 3_600_000])),
    ] {
        let loss = Loss::new(&format!("by-commit-{method}")).await;
        let commit = loss.old.store.arm(Step::Commit, 1, Fault::Hold);
        let running = loss.call(method, arguments);
        commit.fired().await;
        let queued = [loss.call("count", json!([])), loss.call("write", json!([1]))];
        if method != "write-and-nap" {
            loss.await_beat(Generation(2)).await;
        }
        loss.take_over().await;
        commit.release();
        let error = told(method, running).await;
        assert_fenced(method, &error, Some(Verdict::NotCommitted));
        for (n, call) in queued.into_iter().enumerate() {
            let what = format!("{method}, queued call {n}");
            match told(&what, call).await {
                // The call arrived when the end was over already.
                CallError { cause: HostError::Elsewhere { .. }, .. } => {}
                error => assert_fenced(&what, &error, None),
            }
        }
        loss.assert_ended(Generation(2), "commit").await;
        loss.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn known_by_a_read() {
    let loss = Loss::new("by-read").await;
    let read = loss.old.store.arm(Step::Read, 1, Fault::Hold);
    let running = loss.call("write-and-chat", json!([0]));
    read.fired().await;
    let queued = loss.call("count", json!([]));
    loss.take_over().await;
    read.release();
    assert_fenced("running", &told("running", running).await, None);
    match told("queued", queued).await {
        CallError { cause: HostError::Elsewhere { .. }, .. } => {}
        error => assert_fenced("queued", &error, None),
    }
    loss.assert_ended(Generation(2), "read of page").await;
    loss.end().await;
}

/// Another call's answer asks for the confirmation while an endless call runs.
#[tokio::test(flavor = "multi_thread")]
async fn known_by_a_confirmation() {
    let loss = Loss::new("by-confirm").await;
    let confirm = loss.old.store.arm(Step::Confirm, 1, Fault::Hold);
    let answered = loss.call("count", json!([]));
    confirm.fired().await;
    let running = loss.call("write-and-chat", json!([0]));
    loss.await_beat(Generation(2)).await;
    loss.take_over().await;
    confirm.release();
    assert_fenced("answered", &told("answered", answered).await, None);
    // The endless call still has to be stopped, and this call waits behind it. This call was made
    // after the loss was known, so it does not get the loss as its answer: it waits for the next
    // generation, which is elsewhere.
    let after = loss.call("count", json!([]));
    assert_fenced("running", &told("running", running).await, None);
    let error = told("after", after).await;
    assert!(matches!(error.cause, HostError::Elsewhere { .. }), "{error:?}");
    loss.assert_ended(Generation(2), "confirm").await;
    loss.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn known_by_the_seal() {
    let loss = Loss::new("by-seal").await;
    let seal = loss.old.store.arm(Step::Seal, 1, Fault::Hold);
    let stopping = tokio::spawn({
        let (host, actor) = (loss.old.host.clone(), loss.actor.clone());
        async move { host.actor(&actor).stop().await }
    });
    seal.fired().await;
    loss.take_over().await;
    seal.release();
    let exit = stopping.await.unwrap().unwrap().expect("it was awake");
    assert_eq!((exit.reason, exit.sealed), (Reason::Fenced, false), "{exit:?}");
    let snapshot = serde_json::to_value(&exit.snapshot).unwrap();
    assert_eq!(snapshot["outcome"], "missed", "{snapshot}");
    let loud = loss.log.loud(&[loss.actor.key(), "generation=2"]);
    assert_eq!(loud.len(), 1, "{loud:#?}");
    assert!(loud[0].text.contains("session fenced") && loud[0].text.contains("seal"));
    loss.end().await;
}

/// A generation that died between two calls begins no further call: its guest does not run at all.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_generation_begins_no_call() {
    let loss = Loss::new("by-none").await;
    let commit = loss.old.store.arm(Step::Commit, 1, Fault::Hold);
    let writing = loss.call("write", json!([1]));
    commit.fired().await;
    let chats: Vec<_> = (0..4).map(|_| loss.call("nap", json!([3_600_000]))).collect();
    loss.take_over().await;
    commit.release();
    assert_fenced("writing", &told("writing", writing).await, Some(Verdict::NotCommitted));
    for chat in chats {
        match told("queued", chat).await {
            CallError { cause: HostError::Elsewhere { .. }, .. } => {}
            error => assert_fenced("queued", &error, None),
        }
    }
    loss.assert_ended(Generation(2), "commit").await;
    loss.end().await;
}
