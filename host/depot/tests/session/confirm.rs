//! Confirmations: batched over sessions, and never answered by a question sent before the request.

use std::sync::Arc;
use std::time::{Duration, Instant};

use stockade_depot::{ActorId, Cause, Reason, Session};
use stockade_testkit::faulty_store::{Fault, Step};

use crate::world::{COMPONENT, World, put};

async fn sessions(world: &World, count: usize) -> Vec<Session> {
    let mut sessions = Vec::new();
    for n in 0..count {
        let actor = ActorId::new("counter", &format!("many-{n}")).unwrap();
        sessions.push(world.here.create(&actor, COMPONENT).await.unwrap().session);
    }
    sessions
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_is_confirmed_and_a_former_owner_dies() {
    let world = World::new();
    let session = world.create().await;
    assert_eq!(session.confirm().await, Ok(()));
    let new = world.steal().await;
    let cause = session.confirm().await.unwrap_err();
    assert!(matches!(cause, Cause::Fenced(_)), "{cause:?}");
    assert_eq!(session.cause(), Some(cause));
    assert_eq!(new.confirm().await, Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_sessions_share_few_rounds() {
    let world = World::new();
    let sessions = sessions(&world, 50).await;
    let hold = world.store.arm(Step::Confirm, 1, Fault::Hold);
    let waiting: Vec<_> = sessions
        .iter()
        .cloned()
        .map(|session| tokio::spawn(async move { session.confirm().await }))
        .collect();
    hold.fired().await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    hold.release();
    for answer in waiting {
        assert_eq!(answer.await.unwrap(), Ok(()));
    }
    assert_eq!(world.store.calls(Step::Confirm), 2, "the first, and everyone who came meanwhile");
}

/// A takeover that lands while a question is on its way: a request made after it must not live off
/// that question's answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_waits_for_the_next_round() {
    let world = World::new();
    let session = world.create().await;
    let hold = world.store.arm(Step::Confirm, 1, Fault::HoldAnswer);
    let early = {
        let session = session.clone();
        tokio::spawn(async move { session.confirm().await })
    };
    hold.fired().await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    world.steal().await;
    let late = {
        let session = session.clone();
        tokio::spawn(async move { session.confirm().await })
    };
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(world.store.calls(Step::Confirm), 1);
    hold.release();
    assert!(matches!(late.await.unwrap(), Err(Cause::Fenced(_))));
    // The early one was answered truly, or met the death that the late one brought.
    assert!(matches!(early.await.unwrap(), Ok(()) | Err(Cause::Fenced(_))));
    assert_eq!(world.store.calls(Step::Confirm), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_fenced_session_does_not_harm_the_others_of_its_round() {
    let world = World::new();
    let fenced = world.create().await;
    let others = sessions(&world, 5).await;
    world.steal().await;
    let hold = world.store.arm(Step::Confirm, 1, Fault::Hold);
    let first = {
        let session = others[0].clone();
        tokio::spawn(async move { session.confirm().await })
    };
    hold.fired().await;
    let waiting: Vec<_> = std::iter::once(&fenced)
        .chain(&others)
        .cloned()
        .map(|session| tokio::spawn(async move { session.confirm().await }))
        .collect();
    tokio::time::sleep(Duration::from_millis(20)).await;
    hold.release();
    assert_eq!(first.await.unwrap(), Ok(()));
    for (n, answer) in waiting.into_iter().enumerate() {
        assert_eq!(answer.await.unwrap().is_err(), n == 0);
    }
    assert!(others.iter().all(|session| !session.is_dead()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_is_asked_again_and_does_not_kill() {
    let world = World::new();
    let session = world.create().await;
    let faults = [
        world.store.arm(Step::Confirm, 1, Fault::Unavailable),
        world.store.arm(Step::Confirm, 2, Fault::LostAnswer),
    ];
    assert_eq!(session.confirm().await, Ok(()));
    drop(faults);
    let outage = world.store.outage(Step::Confirm, Fault::Unavailable);
    let begun = Instant::now();
    let cause = session.confirm().await.unwrap_err();
    assert!(matches!(cause, Cause::Unconfirmed(_)), "{cause:?}");
    assert!(begun.elapsed() < Duration::from_secs(3));
    drop(outage);
    assert!(!session.is_dead());
    assert_eq!(session.confirm().await, Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_gets_lost_holds_up_nobody_for_ever() {
    let world = World::new();
    let sessions = sessions(&world, 2).await;
    let hold = world.store.arm(Step::Confirm, 1, Fault::Hold);
    let first = {
        let session = sessions[0].clone();
        tokio::spawn(async move { session.confirm().await })
    };
    hold.fired().await;
    assert_eq!(sessions[1].confirm().await, Ok(()), "in a round of its own, after the deadline");
    assert_eq!(first.await.unwrap(), Ok(()), "asked again");
}

#[tokio::test(flavor = "multi_thread")]
async fn death_ends_the_wait_for_a_confirmation() {
    let world = World::new();
    let session = world.create().await;
    let hold = world.store.arm(Step::Confirm, 1, Fault::Hold);
    let waiting = {
        let session = session.clone();
        tokio::spawn(async move { session.confirm().await })
    };
    hold.fired().await;
    let closed = Instant::now();
    session.close(Reason::Storage);
    assert_eq!(waiting.await.unwrap(), Err(Cause::Closed(Reason::Storage)));
    assert!(closed.elapsed() < Duration::from_millis(100));
}

/// A call trapped; the effects of the calls before it still wait for their confirmation.
#[tokio::test(flavor = "multi_thread")]
async fn effects_of_earlier_calls_can_be_confirmed_after_a_trap() {
    let world = World::new();
    let session = world.create().await;
    let mark = put(&session, &[(1, 1)], 1);
    session.close(Reason::Trapped);
    assert!(session.durable(mark).await.is_ok());
    assert_eq!(session.confirm().await, Ok(()));
    world.steal().await;
    assert_eq!(session.confirm().await, Err(Cause::Closed(Reason::Trapped)));
}

#[tokio::test(flavor = "multi_thread")]
async fn confirmations_from_many_threads_all_get_an_answer() {
    let world = World::new();
    let sessions = Arc::new(sessions(&world, 8).await);
    let tasks: Vec<_> = (0..8)
        .map(|n| {
            let sessions = Arc::clone(&sessions);
            tokio::spawn(async move {
                for _ in 0..300 {
                    sessions[n].confirm().await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}
