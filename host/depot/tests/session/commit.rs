//! Commits: one in flight, merged while it is, and the verdict of each lost answer.

use std::time::{Duration, Instant};

use stockade_depot::store::Versions as _;
use stockade_depot::{
    Cause, DepotLimits, PageCount, Pgno, PrepareError, ReadError, Reason, Session, Store,
    StoreError, Txid, Verdict,
};
use stockade_testkit::faulty_store::{Fault, Step};

use crate::world::{World, byte_of, late_put, limits, page, put};

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_becomes_durable_and_readable() {
    let world = World::new();
    let session = world.create().await;
    assert_eq!(session.page_count(), PageCount(0));
    let mark = put(&session, &[(1, 10), (2, 20)], 2);
    assert_eq!(session.durable(mark).await, Ok(Txid(1)));
    assert_eq!((byte_of(&session, 1), byte_of(&session, 2)), (10, 20));
    let head = world.state().await.head;
    assert_eq!((head.txid, head.page_count), (Txid(1), PageCount(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_commit_is_in_flight_and_the_rest_merges() {
    let world = World::new();
    let session = world.create().await;
    let hold = world.store.arm(Step::Commit, 1, Fault::Hold);
    let first = put(&session, &[(1, 1), (2, 2)], 2);
    hold.fired().await;
    for byte in 10..20 {
        put(&session, &[(1, byte), (3, byte)], 3);
    }
    let last = session.mark();
    assert_eq!(world.store.calls(Step::Commit), 1, "one step in flight");
    assert_eq!((byte_of(&session, 1), byte_of(&session, 2), byte_of(&session, 3)), (19, 2, 19));
    assert_eq!(session.durable_txid(), Txid(0));
    hold.release();
    assert!(session.durable(first).await.is_ok());
    assert_eq!(session.durable(last).await, Ok(Txid(2)), "ten transactions, one step");
    assert_eq!(world.store.calls(Step::Commit), 2);
    let written = world.store.commit_pages(session.fence().db, Txid(2), Pgno(0), 99).await.unwrap();
    let written: Vec<_> = written.iter().map(|page| (page.pgno.0, page.bytes[0])).collect();
    assert_eq!(written, [(1, 19), (3, 19)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn growth_fills_holes_with_zeros_and_cut_pages_never_come_back() {
    let world = World::new();
    let session = world.create().await;
    put(&session, &[(1, 1), (5, 5)], 5);
    assert_eq!(byte_of(&session, 3), 0);
    session.durable(session.mark()).await.unwrap();
    let hold = world.store.arm(Step::Commit, 1, Fault::Hold);
    put(&session, &[(1, 2)], 5);
    hold.fired().await;
    // Shrink and grow again within one merged step, then over two.
    put(&session, &[(1, 3)], 2);
    assert!(session.read(Pgno(5)).is_err());
    put(&session, &[(4, 4)], 6);
    hold.release();
    session.durable(session.mark()).await.unwrap();
    let check = |session: &Session| {
        let bytes: Vec<u8> = (1..=6).map(|pgno| byte_of(session, pgno)).collect();
        assert_eq!(bytes, [3, 0, 0, 4, 0, 0]);
    };
    check(&session);
    // As another process finds it.
    check(&world.steal().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_store_is_asked_again_with_the_same_bytes() {
    let world = World::new();
    let session = world.create().await;
    let faults: Vec<_> =
        (1..=3).map(|nth| world.store.arm(Step::Commit, nth, Fault::Unavailable)).collect();
    let mark = put(&session, &[(1, 1)], 1);
    assert_eq!(session.durable(mark).await, Ok(Txid(1)));
    assert_eq!((world.store.calls(Step::Commit), world.store.calls(Step::Verdict)), (4, 0));
    drop(faults);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_surely_refuses_past_the_deadline_is_not_committed() {
    let world = World::new();
    let session = world.create().await;
    let outage = world.store.outage(Step::Commit, Fault::Unavailable);
    let mark = put(&session, &[(1, 1)], 1);
    let cause = session.durable(mark).await.unwrap_err();
    assert_eq!(cause.verdict(), Verdict::NotCommitted);
    assert!(session.is_dead());
    drop(outage);
    assert_eq!(world.state().await.head.txid, Txid(0));
}

/// The user saw: a healthy actor died although no other process had taken it over, because one
/// reply of the store was lost and the resent commit was refused.
#[tokio::test(flavor = "multi_thread")]
async fn healthy_owner_survives_lost_reply() {
    for fault in [Fault::LostAnswer, Fault::LostRequest, Fault::Twice] {
        let world = World::new();
        let session = world.create().await;
        let lost = world.store.arm(Step::Commit, 1, fault);
        put(&session, &[(1, 1)], 1);
        lost.fired().await;
        put(&session, &[(1, 2)], 1);
        assert!(session.durable(session.mark()).await.is_ok(), "{fault:?}");
        assert!(!session.is_dead(), "{fault:?}: {:?}", session.cause());
        let rows = world.store.commits(session.fence().db, Txid(0), 10).await.unwrap();
        let txid = session.durable_txid();
        assert_eq!(rows.last().unwrap().txid, txid, "{fault:?}");
        assert_eq!(world.state().await.head.txid, txid, "{fault:?}");
        assert_eq!(byte_of(&world.steal().await, 1), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_first_send_is_found_by_the_verdict() {
    let world = World::new();
    let session = world.create().await;
    // The first send is late, the second too; the first lands before the third is sent.
    let late = world.store.arm(Step::Commit, 1, Fault::Late);
    let hold = world.store.arm(Step::Commit, 2, Fault::Hold);
    let mark = put(&session, &[(1, 1)], 1);
    hold.fired().await;
    late.deliver().await;
    hold.release();
    assert_eq!(session.durable(mark).await, Ok(Txid(1)));
    assert!(!session.is_dead());
    assert_eq!(world.store.commits(session.fence().db, Txid(0), 10).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn applied_then_taken_over_is_committed_and_then_fenced() {
    let world = World::new();
    let session = world.create().await;
    let lost = world.store.arm(Step::Commit, 1, Fault::LostAnswer);
    let hold = world.store.arm(Step::Verdict, 1, Fault::Hold);
    let first = put(&session, &[(1, 1)], 1);
    hold.fired().await;
    let second = put(&session, &[(1, 2)], 1);
    let thief = world.steal().await;
    hold.release();
    assert_eq!(session.durable(first).await, Ok(Txid(1)), "told fenced, but committed");
    let cause = session.durable(second).await.unwrap_err();
    assert!(matches!(cause, Cause::Fenced(_)), "{cause:?}");
    assert!(matches!(session.cause(), Some(Cause::Fenced(_))));
    assert_eq!(session.durable(first).await, Ok(Txid(1)), "what was durable stays so");
    assert_eq!(byte_of(&thief, 1), 1);
    drop(lost);
}

#[tokio::test(flavor = "multi_thread")]
async fn not_applied_and_taken_over_is_not_committed_for_good() {
    let world = World::new();
    let session = world.create().await;
    let late = world.store.arm(Step::Commit, 1, Fault::Late);
    let hold = world.store.arm(Step::Verdict, 1, Fault::Hold);
    let mark = put(&session, &[(1, 1)], 1);
    hold.fired().await;
    let thief = world.steal().await;
    hold.release();
    let cause = session.durable(mark).await.unwrap_err();
    assert_eq!(cause.verdict(), Verdict::NotCommitted);
    late.deliver().await;
    let head = world.state().await.head;
    assert_eq!((head.txid, head.fence), (Txid(0), thief.fence()), "the late send was refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_stays_away_leaves_the_outcome_indeterminate() {
    let world = World::new();
    let session = world.create().await;
    let lost = world.store.arm(Step::Commit, 1, Fault::LostAnswer);
    let outage = world.store.outage(Step::Verdict, Fault::Unavailable);
    let mark = put(&session, &[(1, 1)], 1);
    outage.fired().await;
    let never_sent = put(&session, &[(1, 2)], 1);
    let cause = session.durable(mark).await.unwrap_err();
    assert_eq!(cause.verdict(), Verdict::Indeterminate, "{cause:?}");
    let after = session.durable(never_sent).await.unwrap_err();
    assert_eq!(after.verdict(), Verdict::NotCommitted, "{after:?}");
    assert!(session.is_dead());
    drop((lost, outage));
}

/// Later sends are surely refused, but the first one is still on its way: "not committed" would be
/// a guess, and here a wrong one.
#[tokio::test(flavor = "multi_thread")]
async fn a_doubt_is_not_forgotten() {
    let world = World::new();
    let session = world.create().await;
    let late = world.store.arm(Step::Commit, 1, Fault::Late);
    let outage = world.store.outage(Step::Commit, Fault::Unavailable);
    let cause = session.durable(put(&session, &[(1, 1)], 1)).await.unwrap_err();
    assert_eq!(cause.verdict(), Verdict::Indeterminate, "{cause:?}");
    drop(outage);
    late.deliver().await;
    assert_eq!(world.state().await.head.txid, Txid(1));
}

/// The loss is known from a confirmation: the commit that the store keeps refusing is given up, and
/// its callers are answered, long before the deadline.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_session_sends_nothing_again() {
    let world = World::with(DepotLimits { step_deadline: Duration::from_secs(20), ..limits() });
    let session = world.create().await;
    let outage = world.store.outage(Step::Commit, Fault::Unavailable);
    let sent = put(&session, &[(1, 1)], 1);
    outage.fired().await;
    let collected = put(&session, &[(1, 2)], 1);
    world.steal().await;
    let known = Instant::now();
    let cause = session.confirm().await.unwrap_err();
    for mark in [sent, collected] {
        assert_eq!(session.durable(mark).await.unwrap_err().verdict(), Verdict::NotCommitted);
    }
    assert!(known.elapsed() < Duration::from_secs(5));
    assert_eq!(session.cause(), Some(cause));
    drop(outage);
}

#[tokio::test(flavor = "multi_thread")]
async fn old_generation_cannot_commit() {
    let world = World::new();
    let old = world.create().await;
    old.durable(put(&old, &[(1, 1)], 1)).await.unwrap();
    let new = world.steal().await;
    let cause = old.durable(put(&old, &[(1, 66)], 1)).await.unwrap_err();
    let Cause::Fenced(mismatch) = &cause else { panic!("{cause:?}") };
    assert_eq!(mismatch.expected.0, old.fence().generation);
    assert_eq!(mismatch.actual, (new.fence().generation, new.fence().token));
    assert_eq!(cause.verdict(), Verdict::NotCommitted);
    assert!(matches!(old.prepare(1, PageCount(1)), Err(PrepareError::Dead(Cause::Fenced(_)))));
    let dropped = late_put(&old, &[(1, 67)], 1);
    assert!(
        old.durable(dropped).await.is_err(),
        "a transaction on a dead session is never durable"
    );
    assert_eq!(byte_of(&new, 1), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn first_fatal_cause_is_kept() {
    let world = World::new();
    let old = world.create().await;
    old.durable(put(&old, &[(1, 1), (2, 2)], 2)).await.unwrap();
    world.steal().await;
    let first = old.confirm().await.unwrap_err();
    let Cause::Fenced(mismatch) = &first else { panic!("{first:?}") };
    assert_eq!(mismatch.actual_txid, Txid(1));
    // The thief continues, and is robbed as well: later refusals would name other heads.
    let again = world.take_over(&world.there).await.unwrap().session;
    again.durable(put(&again, &[(1, 3)], 2)).await.unwrap();
    old.close(Reason::Operator);
    assert_eq!(old.read(Pgno(2)).unwrap_err(), ReadError::Dead(first.clone()));
    assert_eq!(old.prepare(1, PageCount(2)).unwrap_err(), PrepareError::Dead(first.clone()));
    assert_eq!(old.confirm().await.unwrap_err(), first);
    assert_eq!(old.on_death().await, first);
    assert_eq!(old.cause(), Some(first));
}

#[tokio::test(flavor = "multi_thread")]
async fn prepare_refuses_what_is_too_large_and_the_session_goes_on() {
    let world = World::with(DepotLimits {
        commit_bytes_max: 8 * 4096,
        database_pages_max: 100,
        ..limits()
    });
    let session = world.create().await;
    assert_eq!(
        session.prepare(9 * 4096, PageCount(9)),
        Err(PrepareError::CommitTooLarge { bytes: 9 * 4096, max: 8 * 4096 })
    );
    assert_eq!(
        session.prepare(4096, PageCount(20)),
        Err(PrepareError::CommitTooLarge { bytes: 20 * 4096, max: 8 * 4096 }),
        "pages left out count too"
    );
    assert_eq!(
        session.prepare(4096, PageCount(u32::MAX)),
        Err(PrepareError::DatabaseFull { page_count: PageCount(u32::MAX), max: 100 })
    );
    session.durable(put(&session, &[(1, 1)], 1)).await.unwrap();
    assert!(!session.is_dead());
}

#[tokio::test(flavor = "multi_thread")]
async fn prepare_waits_while_the_pipeline_is_full() {
    let world = World::with(DepotLimits { pipeline_bytes_max: 2 * 4096, ..limits() });
    let session = world.create().await;
    let hold = world.store.arm(Step::Commit, 1, Fault::Hold);
    put(&session, &[(1, 1)], 1);
    hold.fired().await;
    put(&session, &[(1, 2), (2, 2)], 2);
    let waiting = {
        let session = session.clone();
        tokio::task::spawn_blocking(move || session.prepare(4096, PageCount(2)))
    };
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!waiting.is_finished(), "the pipeline is full");
    hold.release();
    assert_eq!(waiting.await.unwrap(), Ok(()));
    session.publish(vec![(Pgno(1), page(3))], PageCount(2));
    session.durable(session.mark()).await.unwrap();
    assert_eq!(byte_of(&session, 1), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prepare_that_waits_ends_with_the_session() {
    let world = World::with(DepotLimits { pipeline_bytes_max: 4096, ..limits() });
    let session = world.create().await;
    let hold = world.store.arm(Step::Commit, 1, Fault::Hold);
    put(&session, &[(1, 1)], 1);
    hold.fired().await;
    put(&session, &[(1, 2)], 1);
    let waiting = {
        let session = session.clone();
        tokio::task::spawn_blocking(move || session.prepare(4096, PageCount(1)))
    };
    tokio::time::sleep(Duration::from_millis(30)).await;
    session.close(Reason::Slept);
    assert!(matches!(waiting.await.unwrap(), Err(PrepareError::Dead(Cause::Closed(_)))));
    // What was accepted before runs to its verdict all the same.
    hold.release();
    assert_eq!(session.durable(session.mark()).await, Ok(Txid(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_the_store_is_not_committed() {
    let world = World::new();
    let session = world.create().await;
    world.store.close().await;
    let cause = session.durable(put(&session, &[(1, 1)], 1)).await.unwrap_err();
    assert_eq!(
        cause,
        Cause::CommitLost { verdict: Verdict::NotCommitted, error: StoreError::Closed }
    );
}

/// Prepare was skipped: the one thing that publish cannot take back ends the session.
#[tokio::test(flavor = "multi_thread")]
async fn a_publish_over_the_page_limit_kills() {
    let world = World::with(DepotLimits { database_pages_max: 100, ..limits() });
    let session = world.create().await;
    let mark = late_put(&session, &[(1, 1)], u32::MAX);
    let cause = session.durable(mark).await.unwrap_err();
    assert_eq!(cause.verdict(), Verdict::NotCommitted);
    assert_eq!(session.cause(), Some(cause));
    assert_eq!(world.store.calls(Step::Commit), 0);
}
