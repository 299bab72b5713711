//! A caller that follows the advice runs its call once: with every failure of the store, alone and
//! with another host that takes the actor over in the meantime.

use std::time::Duration;

use serde_json::{Value as Json, json};
use stockade::error::{Retry, Verdict};
use stockade::{ActorId, CallError, HostError};
use stockade_testkit::faulty_store::{Armed, Fault, Point, Step, points_of};
use stockade_tests::guest;
use stockade_tests::host::{Site, TestHost, actor};

/// Far more often than any fault makes necessary.
const TRIES_MAX: usize = 400;

/// How a caller's attempts ended.
#[derive(Debug)]
enum End {
    /// Acknowledged.
    Done,
    /// Advised not to send the call again, with this verdict.
    Stopped(Option<Verdict>),
}

/// A caller that knows both hosts and does only what the advice says.
async fn follow_advice(hosts: [&TestHost; 2], actor: &ActorId) -> End {
    let mut at = 0;
    for _ in 0..TRIES_MAX {
        let error = match hosts[at].call(actor, "write", json!([1])).await {
            Ok(answer) if answer.get("ok").is_some() => return End::Done,
            Ok(refused) => panic!("{refused}"),
            Err(error) => error,
        };
        match error.retry() {
            Retry::Retry => {}
            Retry::Reroute => at = 1 - at,
            Retry::Fix | Retry::Never | Retry::UnknownOutcome => {
                return End::Stopped(error.verdict);
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the advice leads nowhere");
}

/// The rows that are there in the end, read from whichever host answers.
async fn rows(hosts: [&TestHost; 2], actor: &ActorId) -> u64 {
    for _ in 0..TRIES_MAX {
        for host in hosts {
            if let Ok(answer) = host.call(actor, "count", json!([])).await
                && let Some(rows) = answer["ok"].as_u64()
            {
                return rows;
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("nobody answers");
}

async fn check(point: Point, rival: bool) {
    let what = format!("{point:?}, rival: {rival}");
    let site = Site::new();
    let old = site.host().start().await;
    old.deploy(guest::HOSTILE_WAIT).await;
    let actor = actor(guest::HOSTILE_WAIT, "one");
    assert_eq!(old.ok(&actor, "count", json!([])).await, Json::from(0));
    if point.step == Step::TakeOver || point.step == Step::Seal {
        old.host.actor(&actor).stop().await.unwrap();
    }
    let new = site.usurper().start().await;
    let armed = old.store.arm_point(point);
    // A call that writes asks for no confirmation; a call beside it does.
    let asking = (point.step == Step::Confirm).then(|| {
        let (host, actor) = (old.host.clone(), actor.clone());
        tokio::spawn(async move {
            let arguments = stockade::Arguments::Json(json!([]));
            host.actor(&actor).call("count", arguments).await.map(drop)
        })
    });
    let rival = async {
        armed.fired().await;
        if rival {
            take_over(&new, &actor).await;
        }
        armed.release();
    };
    let (end, ()) = tokio::join!(follow_advice([&old, &new], &actor), rival);
    if let Some(asking) = asking {
        drop(asking.await.unwrap());
    }
    deliver(&armed).await;
    let rows = rows([&new, &old], &actor).await;
    match end {
        End::Done => assert_eq!(rows, 1, "{what}: acknowledged"),
        End::Stopped(Some(Verdict::Committed)) => assert_eq!(rows, 1, "{what}"),
        End::Stopped(Some(Verdict::NotCommitted)) => assert_eq!(rows, 0, "{what}"),
        End::Stopped(Some(Verdict::Indeterminate) | None) => assert!(rows <= 1, "{what}: {rows}"),
    }
    old.host.shutdown().await;
    new.host.shutdown().await;
}

async fn take_over(new: &TestHost, actor: &ActorId) {
    match new.take_over_and_call(actor, "count", json!([])).await {
        Ok(_)
        | Err(CallError {
            cause: HostError::Superseded { .. } | HostError::Fenced { .. }, ..
        }) => {}
        Err(error) => panic!("{error:?}"),
    }
}

async fn deliver(armed: &Armed) {
    armed.deliver_if_any().await;
}

async fn walk(step: Step) {
    for point in points_of(step) {
        for rival in [false, true] {
            check(point, rival).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn advice_never_runs_a_call_twice_when_a_commit_fails() {
    walk(Step::Commit).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn advice_never_runs_a_call_twice_when_a_confirmation_fails() {
    walk(Step::Confirm).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn advice_never_runs_a_call_twice_when_a_takeover_fails() {
    walk(Step::TakeOver).await;
}

/// Two sends of one commit, the first of which arrives when the second is answered: one row.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_arrives_after_its_copy_changes_nothing() {
    let (_site, host) = Site::hosting(guest::HOSTILE_WAIT).await;
    let actor = actor(guest::HOSTILE_WAIT, "one");
    host.ok(&actor, "count", json!([])).await;
    let late = host.store.arm(Step::Commit, 1, Fault::Late);
    host.ok(&actor, "write", json!([1])).await;
    late.deliver().await;
    assert_eq!(host.ok(&actor, "count", json!([])).await, json!(1));
    host.assert_intact(&actor).await;
    host.host.shutdown().await;
}
