//! Takeover and create: one owner, whatever gets lost.

use stockade_depot::store::Ownership as _;
use stockade_depot::store::{PreviousEnd, Wanted};
use stockade_depot::{
    ActorId, Cause, Digest, Generation, OpenError, PageCount, Reason, Session, Txid,
};
use stockade_testkit::faulty_store::{Fault, Step};

use crate::world::{COMPONENT, World, byte_of, put};

/// Whether the session is the one that the head names, and can work.
async fn assert_owner(world: &World, session: &Session) {
    assert_eq!(world.state().await.head.fence, session.fence());
    assert_eq!(session.confirm().await, Ok(()));
    session.durable(put(session, &[(1, 42)], 1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn create_is_the_only_way_to_exist_and_works_once() {
    let world = World::new();
    let opened = world.here.create(&world.actor, COMPONENT).await.unwrap();
    assert_eq!(opened.head.fence.generation, Generation(1));
    assert_eq!((opened.head.txid, opened.restarts), (Txid(0), 0));
    assert!(opened.snapshot.is_none());
    let error = world.there.create(&world.actor, COMPONENT).await.unwrap_err();
    let OpenError::Exists(state) = error else { panic!("{error:?}") };
    assert_eq!(*state, world.state().await);
    assert_owner(&world, &opened.session).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_create_answer_has_one_owner() {
    for fault in [Fault::LostAnswer, Fault::LostRequest, Fault::Unavailable, Fault::Twice] {
        let world = World::new();
        let lost = world.store.arm(Step::Create, 1, fault);
        let session = world.create().await;
        assert_owner(&world, &session).await;
        assert!(matches!(
            world.there.create(&world.actor, COMPONENT).await,
            Err(OpenError::Exists(_))
        ));
        drop(lost);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_that_lands_late_behind_another_is_not_ours() {
    let world = World::new();
    let late = world.store.arm(Step::Create, 1, Fault::Late);
    let hold = world.store.arm(Step::Actor, 1, Fault::Hold);
    let (ours, theirs) = tokio::join!(world.here.create(&world.actor, COMPONENT), async {
        hold.fired().await;
        let theirs = world.there.create(&world.actor, COMPONENT).await.unwrap();
        hold.release();
        theirs
    });
    assert!(matches!(ours, Err(OpenError::Exists(_))), "{ours:?}");
    late.deliver().await;
    assert_owner(&world, &theirs.session).await;
}

/// Two processes read the same head; both try. Each way of losing an answer, for either of them:
/// never two owners, and never none.
#[tokio::test(flavor = "multi_thread")]
async fn lost_takeover_answer_has_one_owner() {
    let faults =
        [Fault::LostAnswer, Fault::LostRequest, Fault::Unavailable, Fault::Twice, Fault::Hold];
    for fault in faults {
        for nth in 1..=2 {
            let world = World::new();
            let old = world.create().await;
            old.durable(put(&old, &[(1, 1)], 1)).await.unwrap();
            let state = world.state().await;
            let lost = world.store.arm(Step::TakeOver, nth, fault);
            let (here, there, ()) = tokio::join!(
                world.here.take_over(&state, COMPONENT, PreviousEnd::Neutral),
                world.there.take_over(&state, COMPONENT, PreviousEnd::Neutral),
                async {
                    if fault == Fault::Hold {
                        lost.fired().await;
                        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                        lost.release();
                    }
                }
            );
            let what = format!("{fault:?} at call {nth}");
            let (owner, loser) = match (here, there) {
                (Ok(owner), Err(loser)) | (Err(loser), Ok(owner)) => (owner, loser),
                other => panic!("{what}: {other:?}"),
            };
            let OpenError::Superseded { winner } = &loser else { panic!("{what}: {loser:?}") };
            assert_eq!(winner.fence.token, owner.session.fence().token, "{what}");
            assert_owner(&world, &owner.session).await;
            assert!(matches!(old.confirm().await, Err(Cause::Fenced(_))));
        }
    }
}

/// The mirror image: the winner's answer is lost and the head has moved on before it looks.
#[tokio::test(flavor = "multi_thread")]
async fn the_winner_finds_itself_although_the_old_owner_had_committed() {
    let world = World::new();
    let old = world.create().await;
    let state = world.state().await;
    old.durable(put(&old, &[(1, 9)], 1)).await.unwrap();
    let lost = world.store.arm(Step::TakeOver, 1, Fault::LostAnswer);
    let opened = world.there.take_over(&state, COMPONENT, PreviousEnd::Neutral).await.unwrap();
    assert_eq!(opened.head.txid, Txid(1), "a busy owner cannot starve its successor");
    assert_eq!(byte_of(&opened.session, 1), 9);
    assert_owner(&world, &opened.session).await;
    drop(lost);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_loser_never_raises_what_it_expects() {
    let world = World::new();
    world.create().await;
    let state = world.state().await;
    let winner = world.steal().await;
    for _ in 0..3 {
        let error =
            world.here.take_over(&state, COMPONENT, PreviousEnd::Neutral).await.unwrap_err();
        assert!(matches!(error, OpenError::Superseded { .. }), "{error:?}");
    }
    assert_owner(&world, &winner).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_starters_have_one_owner() {
    let world = World::new();
    let session = world.create().await;
    session.seal(None).await.unwrap();
    let state = world.state().await;
    let starters: Vec<_> = (0..8)
        .map(|n| {
            let depot = if n % 2 == 0 { world.here.clone() } else { world.there.clone() };
            let state = state.clone();
            tokio::spawn(
                async move { depot.take_over(&state, COMPONENT, PreviousEnd::Orderly).await },
            )
        })
        .collect();
    let mut owners = Vec::new();
    for starter in starters {
        match starter.await.unwrap() {
            Ok(opened) => owners.push(opened.session),
            Err(error) => assert!(matches!(error, OpenError::Superseded { .. }), "{error:?}"),
        }
    }
    assert_eq!(owners.len(), 1);
    assert_eq!(owners[0].fence().generation, Generation(2));
    assert_owner(&world, &owners[0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_database_is_not_made_by_opening_it() {
    let world = World::new();
    world.create().await;
    let mut state = world.state().await;
    state.row.actor = ActorId::new("counter", "nobody").unwrap();
    state.head.fence.db.0[15] ^= 1;
    let error = world.here.take_over(&state, COMPONENT, PreviousEnd::Neutral).await.unwrap_err();
    assert_eq!(error, OpenError::DatabaseMissing(state.head.fence.db));
    assert!(world.store.actor(&state.row.actor).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_opened_is_refused() {
    let world = World::new();
    world.create().await;
    let mut state = world.state().await;
    state.row.wanted = Wanted::Destroying;
    let open = |state| async move {
        world.here.take_over(&state, COMPONENT, PreviousEnd::Neutral).await.map(drop).unwrap_err()
    };
    assert_eq!(open(state.clone()).await, OpenError::Destroying);
}

#[tokio::test(flavor = "multi_thread")]
async fn restarts_are_counted_by_the_takeover() {
    let world = World::new();
    world.create().await;
    let ends = [
        (PreviousEnd::Crashed, 1),
        (PreviousEnd::Crashed, 2),
        (PreviousEnd::Neutral, 2),
        (PreviousEnd::Orderly, 0),
    ];
    for (end, restarts) in ends {
        let state = world.state().await;
        let opened = world.here.take_over(&state, COMPONENT, end).await.unwrap();
        assert_eq!(opened.restarts, restarts, "{end:?}");
    }
    // A lost answer does not count twice.
    let state = world.state().await;
    let lost = world.store.arm(Step::TakeOver, 1, Fault::LostAnswer);
    let opened = world.here.take_over(&state, COMPONENT, PreviousEnd::Crashed).await.unwrap();
    assert_eq!(opened.restarts, 1);
    drop(lost);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_current_only_right_after_its_seal() {
    let world = World::new();
    let session = world.create().await;
    session.durable(put(&session, &[(1, 1)], 1)).await.unwrap();
    session.seal(Some(b"state".to_vec())).await.unwrap();

    // The next generation gets it, also when the answer of the takeover is lost.
    let lost = world.store.arm(Step::TakeOver, 1, Fault::LostAnswer);
    let opened = world.take_over(&world.there).await.unwrap();
    drop(lost);
    let handed = opened.snapshot.unwrap();
    assert!(handed.current);
    assert_eq!(handed.snapshot.state, b"state");

    // It ends without a seal: its successor learns that the snapshot is old.
    opened.session.close(Reason::Trapped);
    let opened = world.take_over(&world.here).await.unwrap();
    assert!(opened.snapshot.is_none_or(|handed| !handed.current));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_of_another_component_is_not_current() {
    let world = World::new();
    let session = world.create().await;
    session.seal(Some(b"state".to_vec())).await.unwrap();
    let state = world.state().await;
    let other = Digest([8; 32]);
    let opened = world.here.take_over(&state, other, PreviousEnd::Orderly).await.unwrap();
    assert!(!opened.snapshot.unwrap().current);
    assert_eq!(opened.session.page_count(), PageCount(0));
}
