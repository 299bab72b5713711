//! The loss of a fence on each way that it can become known: logged once with both fences, the
//! first cause kept, nothing served afterwards.

use stockade_depot::{Cause, Pgno, PrepareError, ReadError, Reason, SealError, Session};
use stockade_testkit::capture::capture;
use stockade_testkit::faulty_store::{Fault, Step};

use crate::world::{World, late_put, put};

/// Exactly one line tells of the loss, with both fences and the way in which it became known.
#[track_caller]
fn assert_logged_once(key: &str, during: &str) {
    let loud = capture().loud(&[key]);
    assert_eq!(loud.len(), 1, "{loud:#?}");
    let text = &loud[0].text;
    for word in ["session fenced", "expected=(Generation(2)", "actual=(Generation(3)", during] {
        assert!(text.contains(word), "{word} is not in: {text}");
    }
}

/// Everything that a session can be asked answers with the first cause.
async fn assert_dead(session: &Session) {
    let cause = session.cause().expect("dead");
    assert!(matches!(cause, Cause::Fenced(_)), "{cause:?}");
    assert_eq!(session.read(Pgno(1)), Err(ReadError::Dead(cause.clone())));
    assert_eq!(session.prepare(4096, session.page_count()), Err(PrepareError::Dead(cause.clone())));
    assert_eq!(session.confirm().await, Err(cause.clone()));
    let lost = session.durable(late_put(session, &[(1, 66)], 1)).await.unwrap_err();
    assert_eq!(lost, cause);
    session.close(Reason::Shutdown);
    let sealed = session.seal(None).await;
    assert_eq!(sealed.map(drop), Err(SealError::Dead(cause.clone())));
    assert_eq!(session.on_death().await, cause);
    assert_eq!(session.cause(), Some(cause), "the first one");
}

/// Generation 2, over pages that its process has not seen.
async fn owner(key: &str) -> (World, Session) {
    capture();
    let world = World::named(key);
    let former = world.create().await;
    former.durable(put(&former, &[(1, 1), (2, 2)], 2)).await.unwrap();
    former.seal(None).await.unwrap();
    let session = world.steal().await;
    (world, session)
}

/// Another process takes the actor over.
async fn lose(world: &World) -> Session {
    world.take_over(&world.here).await.unwrap().session
}

#[tokio::test(flavor = "multi_thread")]
async fn known_by_a_read() {
    let (world, session) = owner("fatal-by-read").await;
    let thief = lose(&world).await;
    assert!(matches!(session.read(Pgno(2)), Err(ReadError::Dead(Cause::Fenced(_)))));
    assert_dead(&session).await;
    assert_logged_once("fatal-by-read", "read of page 2");
    assert_eq!(thief.confirm().await, Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn known_by_a_commit() {
    let (world, session) = owner("fatal-by-commit").await;
    lose(&world).await;
    let first = put(&session, &[(1, 3)], 2);
    let second = late_put(&session, &[(1, 4)], 2);
    for mark in [first, second] {
        let cause = session.durable(mark).await.unwrap_err();
        assert!(matches!(cause, Cause::Fenced(_)), "{cause:?}");
    }
    assert_dead(&session).await;
    assert_logged_once("fatal-by-commit", "commit 2 of 1 pages");
}

#[tokio::test(flavor = "multi_thread")]
async fn known_by_a_confirmation() {
    let (world, session) = owner("fatal-by-confirm").await;
    lose(&world).await;
    // Many ask at the same time: one of them is the first to know.
    let asking: Vec<_> = (0..16)
        .map(|_| {
            let session = session.clone();
            tokio::spawn(async move { session.confirm().await })
        })
        .collect();
    for one in asking {
        assert!(matches!(one.await.unwrap(), Err(Cause::Fenced(_))));
    }
    assert_dead(&session).await;
    assert_logged_once("fatal-by-confirm", "confirm");
}

#[tokio::test(flavor = "multi_thread")]
async fn known_by_the_seal() {
    let (world, session) = owner("fatal-by-seal").await;
    lose(&world).await;
    let sealed = session.seal(Some(b"state".to_vec())).await;
    assert!(matches!(sealed, Err(SealError::Dead(Cause::Fenced(_)))), "{sealed:?}");
    assert_dead(&session).await;
    assert_logged_once("fatal-by-seal", "seal");
}

/// Closed first, in order; its last commit then meets the next owner. The first cause stays, and
/// the loss is reported all the same.
#[tokio::test(flavor = "multi_thread")]
async fn known_after_a_close() {
    let (world, session) = owner("fatal-after-close").await;
    let held = world.store.arm(Step::Commit, 1, Fault::Hold);
    let mark = put(&session, &[(1, 3)], 2);
    held.fired().await;
    session.close(Reason::Slept);
    lose(&world).await;
    held.release();
    let lost = session.durable(mark).await.unwrap_err();
    assert!(matches!(lost, Cause::Fenced(_)), "{lost:?}");
    assert_eq!(session.cause(), Some(Cause::Closed(Reason::Slept)), "the first one");
    let sealed = session.seal(None).await;
    assert!(matches!(sealed, Err(SealError::Dead(Cause::Fenced(_)))), "{sealed:?}");
    assert_logged_once("fatal-after-close", "commit 2 of 1 pages");
}

/// Read, commit and confirmation find out at the same time: one of them tells.
#[tokio::test(flavor = "multi_thread")]
async fn known_by_all_at_once() {
    for round in 0..20 {
        let key = format!("fatal-at-once-{round}-");
        let (world, session) = owner(&key).await;
        lose(&world).await;
        let confirming = tokio::spawn({
            let session = session.clone();
            async move { session.confirm().await.is_err() }
        });
        let reading = tokio::task::spawn_blocking({
            let session = session.clone();
            move || session.read(Pgno(2)).is_err()
        });
        let mark = late_put(&session, &[(1, 3)], 2);
        assert!(session.durable(mark).await.is_err());
        assert!(confirming.await.unwrap() && reading.await.unwrap());
        let loud = capture().loud(&[&key]);
        assert_eq!(loud.len(), 1, "{loud:#?}");
    }
}

/// A successor that comes after the seal is the order of things.
#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_session_has_nothing_to_tell() {
    let (world, session) = owner("fatal-none").await;
    session.seal(None).await.unwrap();
    lose(&world).await;
    assert!(session.confirm().await.is_err());
    assert!(session.durable(late_put(&session, &[(1, 3)], 2)).await.is_err());
    assert_eq!(session.cause(), Some(Cause::Sealed));
    let loud = capture().loud(&["fatal-none"]);
    assert!(loud.is_empty(), "{loud:#?}");
}
