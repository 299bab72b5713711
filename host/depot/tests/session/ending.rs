//! Seal and close: the last step of a generation, and that nothing comes after it.

use std::time::{Duration, Instant};

use stockade_depot::{
    Cause, DepotLimits, Mark, PageCount, Pgno, PrepareError, ReadError, Reason, SealError, Store,
    Txid,
};
use stockade_testkit::faulty_store::{Fault, Step};

use crate::world::{World, byte_of, late_put, limits, put};

#[tokio::test(flavor = "multi_thread")]
async fn a_seal_waits_for_the_pipeline_and_ends_the_session() {
    let world = World::new();
    let session = world.create().await;
    let hold = world.store.arm(Step::Commit, 1, Fault::Hold);
    put(&session, &[(1, 1)], 1);
    hold.fired().await;
    let mark = put(&session, &[(1, 2)], 1);
    let sealing = {
        let session = session.clone();
        tokio::spawn(async move { session.seal(None).await })
    };
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert_eq!(world.store.calls(Step::Seal), 0);
    hold.release();
    let head = sealing.await.unwrap().unwrap();
    assert!(head.sealed);
    assert_eq!((head.txid, head.fence), (Txid(2), session.fence()));
    assert_eq!(session.durable(mark).await, Ok(Txid(2)));
    assert_eq!(session.cause(), Some(Cause::Sealed));
    assert_eq!(world.state().await.head, head);
}

/// While the seal is on its way a commit would move the head from under it.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_accepted_once_the_seal_has_begun() {
    let world = World::new();
    let session = world.create().await;
    session.durable(put(&session, &[(1, 1)], 1)).await.unwrap();
    let hold = world.store.arm(Step::Seal, 1, Fault::Hold);
    let sealing = tokio::spawn({
        let session = session.clone();
        async move { session.seal(Some(b"state".to_vec())).await }
    });
    hold.fired().await;
    let commits = world.store.calls(Step::Commit);
    assert_eq!(session.prepare(4096, PageCount(1)), Err(PrepareError::Dead(Cause::Sealed)));
    let late = late_put(&session, &[(1, 66)], 1);
    hold.release();
    assert!(sealing.await.unwrap().unwrap().sealed);
    assert_eq!(session.durable(late).await, Err(Cause::Sealed));
    assert_eq!(world.store.calls(Step::Commit), commits, "it was sent");
    let opened = world.take_over(&world.there).await.unwrap();
    assert!(opened.snapshot.unwrap().current);
    assert_eq!(byte_of(&opened.session, 1), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn late_commit_after_seal_is_refused() {
    let world = World::new();
    let session = world.create().await;
    session.durable(put(&session, &[(1, 1)], 1)).await.unwrap();
    session.seal(None).await.unwrap();
    let late = late_put(&session, &[(1, 66)], 1);
    assert_eq!(session.durable(late).await, Err(Cause::Sealed));
    assert_eq!(session.prepare(4096, PageCount(1)), Err(PrepareError::Dead(Cause::Sealed)));
    assert_eq!(world.state().await.head.txid, Txid(1));
    assert_eq!(byte_of(&world.steal().await, 1), 1);
}

/// The session refuses by itself; this is the store's half: a commit step that a stuck thread
/// sends past the seal.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_held_up_past_the_seal_is_refused_by_the_store() {
    let world = World::new();
    let session = world.create().await;
    let late = world.store.arm(Step::Commit, 1, Fault::Late);
    let mark = put(&session, &[(1, 1)], 1);
    // Unknown, then sent again and committed: what is still on its way is a duplicate.
    assert_eq!(session.durable(mark).await, Ok(Txid(1)));
    session.seal(None).await.unwrap();
    late.deliver().await;
    let head = world.state().await.head;
    assert!(head.sealed);
    assert_eq!(head.txid, Txid(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_of_the_seal_is_settled_by_the_head() {
    for fault in [Fault::LostAnswer, Fault::LostRequest, Fault::Unavailable, Fault::Twice] {
        let world = World::new();
        let session = world.create().await;
        session.durable(put(&session, &[(1, 1)], 1)).await.unwrap();
        let lost = world.store.arm(Step::Seal, 1, fault);
        let head = session.seal(Some(vec![1, 2, 3])).await;
        // Twice: the answer that arrives is a refusal, but it names ourselves as the owner.
        let head = head.unwrap_or_else(|error| panic!("{fault:?}: {error:?}"));
        assert!(head.sealed, "{fault:?}");
        let opened = world.take_over(&world.there).await.unwrap();
        assert!(opened.snapshot.unwrap().current, "{fault:?}");
        drop(lost);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fenced_generation_cannot_seal() {
    let world = World::new();
    let session = world.create().await;
    let new = world.steal().await;
    let error = session.seal(Some(vec![1])).await.unwrap_err();
    assert!(matches!(error, SealError::Dead(Cause::Fenced(_))), "{error:?}");
    assert!(!world.state().await.head.sealed);
    assert_eq!(new.confirm().await, Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seal_after_a_lost_commit_tells_of_the_commit() {
    let world = World::new();
    let session = world.create().await;
    world.steal().await;
    put(&session, &[(1, 1)], 1);
    let error = session.seal(None).await.unwrap_err();
    assert!(matches!(error, SealError::Dead(Cause::Fenced(_))), "{error:?}");
    assert_eq!(world.store.calls(Step::Seal), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_is_too_large_leaves_the_session_alive() {
    let world = World::with(DepotLimits { snapshot_bytes_max: 10, ..limits() });
    let session = world.create().await;
    let error = session.seal(Some(vec![0; 11])).await.unwrap_err();
    assert_eq!(error, SealError::SnapshotTooLarge { bytes: 11, max: 10 });
    session.durable(put(&session, &[(1, 1)], 1)).await.unwrap();
    assert!(session.seal(None).await.unwrap().sealed);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_one_seal() {
    let world = World::new();
    let session = world.create().await;
    let (one, two) = tokio::join!(session.seal(None), session.seal(None));
    assert_eq!(usize::from(one.is_ok()) + usize::from(two.is_ok()), 1);
    assert_eq!(world.store.calls(Step::Seal), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_session_refuses_and_runs_what_it_accepted() {
    let world = World::new();
    let session = world.create().await;
    let hold = world.store.arm(Step::Commit, 1, Fault::Hold);
    let accepted = put(&session, &[(1, 1)], 1);
    hold.fired().await;
    session.close(Reason::Slept);
    let cause = Cause::Closed(Reason::Slept);
    assert_eq!(session.read(Pgno(1)), Err(ReadError::Dead(cause.clone())));
    assert_eq!(session.prepare(1, PageCount(1)), Err(PrepareError::Dead(cause.clone())));
    let dropped = late_put(&session, &[(1, 2)], 1);
    assert_eq!(session.durable(dropped).await, Err(cause));
    hold.release();
    assert_eq!(session.durable(accepted).await, Ok(Txid(1)));
    assert_eq!(session.durable(Mark::default()).await, Ok(Txid(1)));
    // The host revokes SQLite first and seals then; a snapshot from before the dropped transaction
    // would tell of data that do not exist.
    assert_eq!(session.seal(Some(vec![1])).await, Err(SealError::SnapshotStale));
    assert_eq!(session.seal(None).await.unwrap().txid, Txid(1));
    assert_eq!(session.cause(), Some(Cause::Closed(Reason::Slept)), "the first cause stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_death_tells_the_first_cause_at_once() {
    let world = World::new();
    let session = world.create().await;
    let dying = tokio::spawn(session.on_death());
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert!(!dying.is_finished());
    let closed = Instant::now();
    session.close(Reason::Operator);
    assert_eq!(dying.await.unwrap(), Cause::Closed(Reason::Operator));
    assert!(closed.elapsed() < Duration::from_millis(100));
    assert!(session.is_dead());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_store_is_an_error_and_no_panic() {
    let world = World::new();
    let session = world.create().await;
    world.store.close().await;
    assert!(matches!(session.seal(None).await, Err(SealError::Dead(Cause::CommitLost { .. }))));
}
