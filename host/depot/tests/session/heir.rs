//! Heirs: begun once, by a process that knows the token, and only while no other owner has come.

use stockade_depot::store::ActorState;
use stockade_depot::store::Ownership as _;
use stockade_depot::{NodeSession, OpenError, Reason, SealError, Session, Txid};
use stockade_testkit::faulty_store::{Fault, Step};

use crate::world::{World, byte_of, put};

/// An actor that fell asleep here with one page, as its seal left it.
async fn asleep(world: &World) -> ActorState {
    let session = world.create().await;
    session.durable(put(&session, &[(1, 7)], 1)).await.unwrap();
    left(world, &session).await
}

/// Puts a generation to sleep.
async fn left(world: &World, session: &Session) -> ActorState {
    let head = session.seal_for_heir().await.unwrap();
    let state = world.state().await;
    assert_eq!(state.head, head);
    assert!(head.is_heir(), "{head:?}");
    state
}

#[tokio::test(flavor = "multi_thread")]
async fn an_heir_begins_without_a_step() {
    let world = World::new();
    let mut state = asleep(&world).await;
    for life in 2..5 {
        let before = world.store.calls(Step::TakeOver);
        let opened = world.here.inherit(state).await.unwrap();
        assert_eq!(opened.session.fence().generation.0, life);
        assert_eq!((opened.restarts, opened.snapshot), (0, None));
        assert_eq!(world.store.calls(Step::TakeOver), before);
        assert_eq!(opened.session.confirm().await, Ok(()));
        assert_eq!(byte_of(&opened.session, 1), 5 + u8::try_from(life).unwrap());
        let byte = 6 + u8::try_from(life).unwrap();
        opened.session.durable(put(&opened.session, &[(1, byte)], 1)).await.unwrap();
        state = left(&world, &opened.session).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_heir_that_was_replaced_does_not_begin() {
    let world = World::new();
    let state = asleep(&world).await;
    let theirs = world.steal().await;
    theirs.durable(put(&theirs, &[(1, 9)], 1)).await.unwrap();
    let refused = world.here.inherit(state).await.unwrap_err();
    let OpenError::Superseded { winner } = refused else { panic!("{refused:?}") };
    assert_eq!((winner.fence, winner.txid), (theirs.fence(), Txid(2)));
    assert_eq!(theirs.confirm().await, Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_heir_that_somebody_has_claimed_does_not_begin() {
    let world = World::new();
    let state = asleep(&world).await;
    world.store.claim(NodeSession([1; 16]), &[state.head.fence]).await.unwrap();
    let refused = world.here.inherit(state).await.unwrap_err();
    assert!(matches!(refused, OpenError::Superseded { .. }), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_heir_of_a_destroyed_actor_is_missing() {
    let world = World::new();
    let state = asleep(&world).await;
    world.there.destroy(&state).await.unwrap();
    let db = state.row.db;
    assert_eq!(world.here.inherit(state).await.unwrap_err(), OpenError::DatabaseMissing(db));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_heir_that_lives_loses_its_database_to_whoever_takes_it_over() {
    let world = World::new();
    let opened = world.here.inherit(asleep(&world).await).await.unwrap();
    // Cached by now: an heir that does not learn of its loss could continue to read this page.
    assert_eq!(byte_of(&opened.session, 1), 7);
    let theirs = world.steal().await;
    assert!(opened.session.confirm().await.is_err());
    assert_eq!(opened.session.cause().unwrap().reason(), Reason::Fenced);
    theirs.durable(put(&theirs, &[(1, 9)], 1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_stumbles_is_asked_again() {
    let world = World::new();
    let state = asleep(&world).await;
    let fault = world.store.arm(Step::Verdict, 1, Fault::Unavailable);
    assert!(world.here.inherit(state.clone()).await.is_ok());
    drop(fault);
    let away = world.store.outage(Step::Verdict, Fault::Unavailable);
    let error = world.here.inherit(state).await.unwrap_err();
    assert!(matches!(error, OpenError::Store(_)), "{error:?}");
    drop(away);
}

/// An answer is lost, and the head tells whose it is: ours while no other owner has taken the heir.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_to_a_seal_is_settled_by_the_heir() {
    for fault in [Fault::LostAnswer, Fault::LostRequest, Fault::Unavailable, Fault::Twice] {
        let world = World::new();
        let session = world.create().await;
        session.durable(put(&session, &[(1, 7)], 1)).await.unwrap();
        let lost = world.store.arm(Step::Seal, 1, fault);
        let state = left(&world, &session).await;
        drop(lost);
        let heir = world.here.inherit(state).await.unwrap().session;
        assert_eq!(byte_of(&heir, 1), 7, "{fault:?}");
        let again = session.seal_for_heir().await;
        assert!(matches!(again, Err(SealError::Dead(_))), "{again:?}");
        assert_eq!(heir.confirm().await, Ok(()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seal_that_lands_late_appoints_nobody_over_a_successor() {
    let world = World::new();
    let session = world.create().await;
    session.durable(put(&session, &[(1, 7)], 1)).await.unwrap();
    let late = world.store.arm(Step::Seal, 1, Fault::Late);
    let hold = world.store.arm(Step::Verdict, 1, Fault::Hold);
    let sealing = tokio::spawn(async move { session.seal_for_heir().await });
    hold.fired().await;
    let theirs = world.steal().await;
    hold.release();
    let told = sealing.await.unwrap();
    assert!(matches!(told, Err(SealError::Dead(_))), "{told:?}");
    late.deliver().await;
    assert_eq!(theirs.confirm().await, Ok(()));
    assert_eq!(world.state().await.head.fence, theirs.fence());
}
