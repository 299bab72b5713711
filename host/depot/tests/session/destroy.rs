//! Destroy: a mark, a takeover, bounded steps, and then nothing is left.

use std::time::Duration;

use stockade_depot::store::{Directory as _, Ownership as _, Versions as _};
use stockade_depot::store::{PreviousEnd, Wanted};
use stockade_depot::{Cause, OpenError, Pgno, ReadError, Session, StoreError};
use stockade_testkit::faulty_store::{Fault, Step};

use crate::world::{COMPONENT, World, put};

async fn filled(world: &World) -> Session {
    let session = world.create().await;
    for byte in 1..20 {
        session.durable(put(&session, &[(1, byte), (2, byte)], 2)).await.unwrap();
    }
    session
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destroyed_actor_leaves_nothing_and_its_sessions_die() {
    let world = World::new();
    let session = filled(&world).await;
    let state = world.state().await;
    world.there.destroy(&state).await.unwrap();
    assert!(world.store.actor(&world.actor).await.unwrap().is_none());
    assert_eq!(world.store.rows_of(session.fence().db).await, Ok(0));
    let cause = session.confirm().await.unwrap_err();
    assert!(matches!(cause, Cause::Gone(_) | Cause::Fenced(_)), "{cause:?}");
    assert_eq!(session.read(Pgno(1)), Err(ReadError::Dead(cause)));
    // The name is free again, for another database.
    let again = world.create().await;
    assert_ne!(again.fence().db, session.fence().db);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destroy_that_stopped_is_marked_and_goes_on() {
    let world = World::new();
    filled(&world).await;
    let state = world.state().await;
    let outage = world.store.outage(Step::Destroy, Fault::Unavailable);
    assert!(matches!(world.here.destroy(&state).await, Err(OpenError::Store(_))));
    drop(outage);
    let marked = world.state().await;
    assert_eq!(marked.row.wanted, Wanted::Destroying);
    let opened = world.here.take_over(&marked, COMPONENT, PreviousEnd::Neutral).await;
    assert!(matches!(opened, Err(OpenError::Destroying)), "{opened:?}");
    let made = world.here.create(&world.actor, COMPONENT).await;
    assert!(matches!(made, Err(OpenError::Destroying)), "{made:?}");
    world.there.destroy(&marked).await.unwrap();
    assert!(world.store.actor(&world.actor).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_answers_of_a_destroy_are_settled() {
    for step in [Step::TakeOver, Step::Destroy] {
        for fault in [Fault::LostAnswer, Fault::LostRequest, Fault::Unavailable, Fault::Twice] {
            let world = World::new();
            let db = filled(&world).await.fence().db;
            let state = world.state().await;
            let lost = world.store.arm(step, 1, fault);
            let done = world.here.destroy(&state).await;
            assert_eq!(done, Ok(()), "{fault:?} of {step:?}");
            assert_eq!(world.store.rows_of(db).await, Ok(0));
            drop(lost);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_destroyers_one_finishes_and_nothing_is_left() {
    let world = World::new();
    let db = filled(&world).await.fence().db;
    let state = world.state().await;
    let hold = world.store.arm(Step::Destroy, 1, Fault::Hold);
    let slow = {
        let (depot, state) = (world.here.clone(), state.clone());
        tokio::spawn(async move { depot.destroy(&state).await })
    };
    hold.fired().await;
    let error = world.there.destroy(&state).await.unwrap_err();
    assert!(matches!(error, OpenError::Superseded { .. }), "{error:?}");
    world.there.destroy(&world.state().await).await.unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    hold.release();
    assert_eq!(slow.await.unwrap(), Ok(()), "nothing is left to do");
    assert_eq!(world.store.rows_of(db).await, Ok(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_view_destroys_nothing() {
    let world = World::new();
    filled(&world).await;
    let stale = world.state().await;
    let owner = world.steal().await;
    let error = world.here.destroy(&stale).await.unwrap_err();
    assert!(matches!(error, OpenError::Superseded { .. }), "{error:?}");
    assert_eq!(owner.confirm().await, Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_actor_goes_in_bounded_steps() {
    let world = World::new();
    let session = world.create().await;
    session.durable(put(&session, &[(1, 1)], 5000)).await.unwrap();
    world.here.destroy(&world.state().await).await.unwrap();
    assert!(world.store.calls(Step::Destroy) > 1);
    assert!(world.store.actor(&world.actor).await.unwrap().is_none());
}

/// Given up in front of, or behind, each of its steps: the list of what is being destroyed has it,
/// and another process finishes it.
#[tokio::test(flavor = "multi_thread")]
async fn a_destroy_that_is_cut_off_at_any_step_is_found_and_finished() {
    for (step, nth) in [(Step::TakeOver, 1), (Step::Destroy, 1), (Step::Destroy, 2)] {
        for fault in [Fault::Hold, Fault::HoldAnswer] {
            let what = format!("{fault:?} at {step:?} {nth}");
            let world = World::new();
            let session = world.create().await;
            session.durable(put(&session, &[(1, 1)], 2500)).await.unwrap();
            let (db, state) = (session.fence().db, world.state().await);
            let held = world.store.arm(step, nth, fault);
            tokio::select! {
                _ = world.here.destroy(&state) => panic!("{what} did not hold"),
                () = held.fired() => {}
            }
            drop(held);
            let listed = world.store.destroying(10).await.unwrap();
            let over = (step, fault) == (Step::Destroy, Fault::HoldAnswer) && nth == 2;
            match (step, fault) {
                // It was not marked yet: it continues as if nothing had been asked.
                (Step::TakeOver, Fault::Hold) => assert_eq!(listed, []),
                _ => assert_eq!(listed.len(), usize::from(!over), "{what}"),
            }
            for state in listed {
                world.there.destroy(&state).await.unwrap();
            }
            let left = world.store.rows_of(db).await.unwrap();
            assert_eq!(left == 0, (step, fault) != (Step::TakeOver, Fault::Hold), "{what}: {left}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_with_forks_is_refused_and_lives_on() {
    let world = World::new();
    let session = filled(&world).await;
    let db = session.fence().db;
    world.store.pin(db, session.durable_txid(), "fork/child").await.unwrap();
    let refused = world.here.destroy(&world.state().await).await;
    assert_eq!(refused, Err(OpenError::Store(StoreError::HasForks(db))));
    assert_eq!(world.state().await.row.wanted, Wanted::Present);
    assert_eq!(session.confirm().await, Ok(()));
}

/// A create was sent, its answer did not come, and it was sent again; the actor lived and was
/// destroyed. Then the first one arrives: the name is taken, but nothing of the old life comes
/// back, and its session, which has not asked since, owns nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_create_that_lands_after_a_destroy_brings_nothing_back() {
    let world = World::new();
    let late = world.store.arm(Step::Create, 1, Fault::Late);
    let session = filled(&world).await;
    world.there.destroy(&world.state().await).await.unwrap();
    late.deliver().await;
    assert_ne!(world.state().await.head.fence.db, session.fence().db);
    assert_eq!(world.store.rows_of(session.fence().db).await, Ok(0));
    let cause = session.confirm().await.unwrap_err();
    assert!(matches!(cause, Cause::Gone(_) | Cause::Fenced(_)), "{cause:?}");
    // The owner of the empty one that came late is a ghost, and is taken over.
    let next = world.take_over(&world.there).await.unwrap();
    assert_eq!(next.head.txid.0, 0);
}
