//! Two hosts over one store: whatever an older generation still does is refused by the store and
//! reaches no caller, and its handles are dead.

use std::time::Duration;

use serde_json::{Value as Json, json};
use stockade::{ActorId, Arguments, CallError, HostError, Reply};
use stockade_depot::store::Ownership;
use stockade_depot::{Generation, Reason};
use stockade_testkit::faulty_store::{Fault, Step};
use stockade_tests::guest;
use stockade_tests::host::{Site, TestHost, actor, unwrap_ok};

/// An awake actor in `old`, with the value 1 in its database and in SQLite's cache; and a host that
/// takes it over on demand.
struct Duel {
    site: Site,
    old: TestHost,
    new: TestHost,
    actor: ActorId,
}

impl Duel {
    async fn new() -> Self {
        let site = Site::new();
        let old = site.host().start().await;
        old.deploy(guest::REVOKE_HOARDER).await;
        let actor = actor(guest::REVOKE_HOARDER, "one");
        old.ok(&actor, "put", json!([1])).await;
        assert_eq!(old.ok(&actor, "get", json!([])).await, json!(1));
        let new = site.usurper().start().await;
        Self { site, old, new, actor }
    }

    /// Makes the new host take the actor over and write 2.
    async fn take_over(&self) {
        let answer = self.new.take_over_and_call(&self.actor, "put", json!([2])).await.unwrap();
        unwrap_ok(&answer, "put");
    }

    /// Asserts that the value is `expected` in the newest generation and in an exported file.
    async fn end(self, expected: i64) {
        assert_eq!(self.new.ok(&self.actor, "get", json!([])).await, json!(expected));
        let copy = self.new.open_export(&self.actor, self.site.path()).await;
        let value: i64 = copy.query_row("SELECT v FROM t WHERE id = 1", [], |r| r.get(0)).unwrap();
        assert_eq!(value, expected);
        self.new.assert_intact(&self.actor).await;
        self.new.host.shutdown().await;
        self.old.host.shutdown().await;
    }
}

fn assert_fenced(answer: &Result<Json, CallError>) {
    match answer {
        Err(CallError { cause: HostError::Fenced { mismatch, .. }, .. }) => {
            assert!(mismatch.actual.0 > mismatch.expected.0, "{mismatch:?}");
        }
        other => panic!("expected a fence mismatch, heard {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn old_generation_cannot_commit() {
    let duel = Duel::new().await;
    duel.take_over().await;
    let answer = duel.old.call(&duel.actor, "put", json!([3])).await;
    assert_fenced(&answer);
    let exit = duel.old.exit_of(&duel.actor).await;
    assert_eq!((exit.reason, exit.generation, exit.sealed), (Reason::Fenced, Generation(1), false));
    duel.end(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn old_generation_cannot_read_even_from_cache() {
    let duel = Duel::new().await;
    let reads = duel.old.store.calls(Step::Read);
    duel.take_over().await;
    let answer = duel.old.call(&duel.actor, "get", json!([])).await;
    assert_fenced(&answer);
    // SQLite's cache could have answered: the store was asked for no page.
    assert_eq!(duel.old.store.calls(Step::Read), reads);
    duel.end(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn read_only_reply_of_a_fenced_generation_is_never_heard() {
    let duel = Duel::new().await;
    // The guest has read 1 and answered; its answer waits in front of the gate.
    let confirm = duel.old.store.arm(Step::Confirm, 1, Fault::Hold);
    let (host, actor) = (duel.old.host.clone(), duel.actor.clone());
    let reading =
        tokio::spawn(
            async move { host.actor(&actor).call("get", Arguments::Json(json!([]))).await },
        );
    confirm.fired().await;
    duel.take_over().await;
    confirm.release();
    let answer = reading.await.unwrap().map(|reply| reply.to_json());
    assert_fenced(&answer);
    duel.end(2).await;
}

/// The answer of the call that wakes an actor needs no confirmation: the takeover was sent after
/// the call began. The next call asks again.
#[tokio::test(flavor = "multi_thread")]
async fn takeover_confirms_the_call_that_it_was_made_for() {
    let duel = Duel::new().await;
    let old = &duel.old;
    let stopped = old.host.actor(&duel.actor).stop().await.unwrap().unwrap();
    assert_eq!(stopped.generation, Generation(1));
    let asked = || (old.store.calls(Step::TakeOver), old.store.calls(Step::Confirm));
    let before = asked();
    assert_eq!(old.ok(&duel.actor, "get", json!([])).await, json!(1));
    assert_eq!(asked(), (before.0 + 1, before.1), "it asked, or nothing was taken over");
    assert_eq!(old.ok(&duel.actor, "get", json!([])).await, json!(1));
    assert_eq!(asked(), (before.0 + 1, before.1 + 1), "an older life was heard unasked");
    duel.take_over().await;
    assert_fenced(&old.call(&duel.actor, "get", json!([])).await);
    duel.end(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fence_mismatch_ends_the_generation_once() {
    let duel = Duel::new().await;
    duel.take_over().await;
    let mut calls = tokio::task::JoinSet::new();
    for value in 10..18 {
        let (host, actor) = (duel.old.host.clone(), duel.actor.clone());
        calls.spawn(async move {
            host.actor(&actor).call("put", Arguments::Json(json!([value]))).await
        });
    }
    let mut fenced = 0;
    while let Some(answer) = calls.join_next().await {
        match answer.unwrap() {
            Err(CallError { cause: HostError::Fenced { .. }, .. }) => fenced += 1,
            Err(CallError { cause: HostError::Elsewhere { .. }, .. }) => {}
            other => panic!("a fenced generation was heard: {:?}", other.map(|r| r.to_json())),
        }
    }
    assert!(fenced >= 1);
    let exit = duel.old.exit_of(&duel.actor).await;
    assert_eq!((exit.reason, exit.generation), (Reason::Fenced, Generation(1)));
    // The end is recorded once, seals nothing, and nothing more is sent for that generation.
    let commits = duel.old.store.calls(Step::Commit);
    let later = duel.old.call(&duel.actor, "put", json!([99])).await;
    assert!(
        matches!(later, Err(CallError { cause: HostError::Elsewhere { .. }, .. })),
        "{later:?}"
    );
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(duel.old.store.calls(Step::Commit), commits);
    assert_eq!(duel.old.store.calls(Step::Seal), 0);
    assert_eq!(duel.old.exit_of(&duel.actor).await, exit);
    duel.end(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn first_fatal_cause_is_kept() {
    let duel = Duel::new().await;
    // A commit is on its way when the fence is lost; an operator stops the actor at the same time,
    // and from then on the store is away. The first cause is the fence.
    let commit = duel.old.store.arm(Step::Commit, 1, Fault::Hold);
    let (host, actor) = (duel.old.host.clone(), duel.actor.clone());
    let writing =
        tokio::spawn(
            async move { host.actor(&actor).call("put", Arguments::Json(json!([3]))).await },
        );
    commit.fired().await;
    duel.take_over().await;
    let (host, actor) = (duel.old.host.clone(), duel.actor.clone());
    let stopping = tokio::spawn(async move { host.actor(&actor).stop().await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    commit.release();
    assert_fenced(&writing.await.unwrap().map(|reply| reply.to_json()));
    let exit = stopping.await.unwrap().unwrap();
    let exit = match exit {
        Some(exit) => exit,
        None => duel.old.exit_of(&duel.actor).await,
    };
    assert_eq!(exit.reason, Reason::Fenced, "{exit:?}");
    duel.old.host.shutdown().await;
    duel.end(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reply_waits_for_durability() {
    for fault in [Fault::Hold, Fault::HoldAnswer] {
        let duel = Duel::new().await;
        let commit = duel.old.store.arm(Step::Commit, 1, fault);
        let (host, actor) = (duel.old.host.clone(), duel.actor.clone());
        let mut writing = tokio::spawn(async move {
            host.actor(&actor).call("put", Arguments::Json(json!([5]))).await
        });
        commit.fired().await;
        let heard = tokio::time::timeout(Duration::from_millis(300), &mut writing).await;
        assert!(heard.is_err(), "a reply was heard before its commit was durable ({fault:?})");
        commit.release();
        let reply = writing.await.unwrap().unwrap();
        unwrap_ok(&reply.to_json(), "put");
        let head = duel.old.store.actor(&duel.actor).await.unwrap().unwrap().head;
        assert_eq!(reply.txid, head.txid, "the reply names its own commit");
        duel.new.host.shutdown().await;
        assert_eq!(duel.old.ok(&duel.actor, "get", json!([])).await, json!(5));
        duel.old.host.shutdown().await;
    }
}

/// Commits whose request or answer is lost or repeated happen once, and the caller gets a success.
#[tokio::test(flavor = "multi_thread")]
async fn lost_and_repeated_commits_happen_once() {
    for fault in [Fault::LostAnswer, Fault::LostRequest, Fault::Twice, Fault::Unavailable] {
        let duel = Duel::new().await;
        let before = duel.old.store.actor(&duel.actor).await.unwrap().unwrap().head.txid;
        let armed = duel.old.store.arm(Step::Commit, 1, fault);
        let answer = duel.old.call(&duel.actor, "put", json!([7])).await.unwrap();
        unwrap_ok(&answer, "put");
        drop(armed);
        let after = duel.old.store.actor(&duel.actor).await.unwrap().unwrap().head.txid;
        assert_eq!(after, before.next(), "{fault:?}");
        assert_eq!(duel.old.ok(&duel.actor, "get", json!([])).await, json!(7), "{fault:?}");
        duel.old.assert_intact(&duel.actor).await;
        duel.old.host.shutdown().await;
        duel.new.host.shutdown().await;
    }
}

/// The commit is applied, its answer lost, and the actor taken over before the verdict is read: the
/// caller must not get "not committed".
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_was_applied_is_never_called_lost() {
    let duel = Duel::new().await;
    let verdict = duel.old.store.arm(Step::Verdict, 1, Fault::Hold);
    let lost = duel.old.store.arm(Step::Commit, 1, Fault::LostAnswer);
    let (host, actor) = (duel.old.host.clone(), duel.actor.clone());
    let writing =
        tokio::spawn(
            async move { host.actor(&actor).call("put", Arguments::Json(json!([8]))).await },
        );
    verdict.fired().await;
    assert_eq!(
        duel.new.take_over_and_call(&duel.actor, "get", json!([])).await.unwrap(),
        json!({"ok": 8})
    );
    verdict.release();
    match writing.await.unwrap() {
        Ok(reply) => drop(unwrap_ok(&reply.to_json(), "put")),
        Err(error) => {
            let text = format!("{error:?}");
            assert!(!text.contains("NotCommitted"), "{text}");
        }
    }
    drop(lost);
    duel.end(8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_takeover_answer_has_one_owner() {
    for fault in [Fault::LostAnswer, Fault::LostRequest, Fault::Twice] {
        let Duel { site, old, new: usurper, actor } = Duel::new().await;
        // Asleep: the host that is called first takes the actor over, and then the other one does.
        old.host.actor(&actor).stop().await.unwrap();
        let first = site.host().start().await;
        let armed = first.store.arm(Step::TakeOver, 1, fault);
        let call = |host: &TestHost, value: i64| {
            let (host, actor) = (host.host.clone(), actor.clone());
            async move { host.actor(&actor).call("put", Arguments::Json(json!([value]))).await }
        };
        let attempt = tokio::spawn(call(&first, 20));
        armed.fired().await;
        let mut answers = Vec::new();
        let begun = std::time::Instant::now();
        loop {
            match call(&usurper, 30).await {
                Err(CallError { cause: HostError::Elsewhere { .. }, .. })
                    if begun.elapsed() < Duration::from_secs(20) =>
                {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                answer => break answers.push((30, answer)),
            }
        }
        answers.push((20, attempt.await.unwrap()));
        let mut heard: Vec<(i64, Reply)> = Vec::new();
        for answer in answers {
            match answer {
                (value, Ok(reply)) => heard.push((value, reply)),
                (
                    _,
                    Err(CallError {
                        cause: HostError::Fenced { .. } | HostError::Superseded { .. },
                        ..
                    }),
                ) => {}
                (
                    _,
                    Err(CallError {
                        cause: HostError::Elsewhere { .. } | HostError::Ended { .. },
                        ..
                    }),
                ) => {}
                (value, Err(error)) => panic!("{fault:?} {value}: {error:?}"),
            }
        }
        drop(armed);
        assert!(!heard.is_empty(), "{fault:?}: nobody serves");
        let mut generations: Vec<Generation> =
            heard.iter().map(|(_, reply)| reply.generation).collect();
        generations.dedup();
        assert_eq!(generations.len(), heard.len(), "{fault:?}: two owners of one generation");
        // The last acknowledged value is what the newest generation reads.
        let (value, _) = heard.iter().max_by_key(|(_, reply)| reply.txid).unwrap();
        let answer = old.take_over_or_ask(&actor, &[&usurper, &first]).await;
        assert_eq!(answer, json!(value), "{fault:?}");
        for host in [&old, &usurper, &first] {
            host.host.shutdown().await;
        }
    }
}

/// Asks whichever host answers.
trait AskAny {
    async fn take_over_or_ask(&self, actor: &ActorId, others: &[&TestHost]) -> Json;
}

impl AskAny for TestHost {
    async fn take_over_or_ask(&self, actor: &ActorId, others: &[&TestHost]) -> Json {
        for _ in 0..200 {
            for host in others.iter().copied().chain([self]) {
                if let Ok(answer) = host.call(actor, "get", json!([])).await {
                    return unwrap_ok(&answer, "get");
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("nobody answers for {actor}")
    }
}

/// A guest that never returns to its host is stopped by the loss of its fence all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_running_call_is_stopped_by_the_loss_of_its_fence() {
    let duel = Duel::new().await;
    let (host, actor) = (duel.old.host.clone(), duel.actor.clone());
    let writing = tokio::spawn(async move {
        host.actor(&actor).call("write-slowly", Arguments::Json(json!([1_000_000]))).await
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    duel.take_over().await;
    let begun = std::time::Instant::now();
    let answer = writing.await.unwrap().map(|reply| reply.to_json());
    assert!(begun.elapsed() < Duration::from_secs(5), "it ran on for {:?}", begun.elapsed());
    assert_fenced(&answer);
    duel.end(2).await;
}

/// While a host is alive, a patient host leaves its actors alone; after its shutdown it does not.
#[tokio::test(flavor = "multi_thread")]
async fn a_live_owner_is_left_alone() {
    let site = Site::new();
    let first = site.host().start().await;
    let second = site.host().start().await;
    first.deploy(guest::REVOKE_HOARDER).await;
    let actor = actor(guest::REVOKE_HOARDER, "one");
    first.ok(&actor, "put", json!([1])).await;
    match second.call(&actor, "get", json!([])).await {
        Err(CallError { cause: HostError::Elsewhere { address, .. }, .. }) => {
            assert_eq!(address, "host-0")
        }
        other => panic!("{other:?}"),
    }
    // An operator of the other host does not get "asleep" as the state.
    let stopped = second.host.actor(&actor).stop().await;
    assert!(matches!(stopped, Err(HostError::Elsewhere { .. })), "{stopped:?}");
    // Also on a host that has not seen the owner yet: the owner may have started a moment ago.
    let newcomer = site.host().start().await;
    let young = self::actor(guest::REVOKE_HOARDER, "young");
    newcomer.ok(&young, "put", json!([2])).await;
    let answer = first.call(&young, "get", json!([])).await;
    assert!(
        matches!(answer, Err(CallError { cause: HostError::Elsewhere { .. }, .. })),
        "{answer:?}"
    );
    newcomer.host.shutdown().await;
    assert_eq!(first.ok(&young, "get", json!([])).await, json!(2));

    first.host.shutdown().await;
    assert_eq!(second.ok(&actor, "get", json!([])).await, json!(1));
    second.host.shutdown().await;
}
