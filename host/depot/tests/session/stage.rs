//! Transactions that do not fit into one step: staged, one commit, under the same verdict rules.

use std::sync::Arc;
use std::time::Duration;

use stockade_depot::store::Directory as _;
use stockade_depot::{
    Cause, DepotLimits, LargePages, Mark, PageBytes, PageCount, Pgno, PrepareError, Reason,
    Session, StoreError, Txid, Verdict, history,
};
use stockade_testkit::faulty_store::{Fault, Step};

use crate::world::{World, byte_of, limits, page, put};

/// Four pages a step.
fn small_steps() -> DepotLimits {
    DepotLimits { step_bytes_max: 4 * 4096, ..limits() }
}

/// Commits pages 1 to `count`, all full of `byte`.
fn put_all(session: &Session, byte: u8, count: u32) -> Mark {
    let pages: Vec<(u32, u8)> = (1..=count).map(|pgno| (pgno, byte)).collect();
    put(session, &pages, count)
}

#[track_caller]
fn assert_all(session: &Session, byte: u8, count: u32) {
    assert_eq!(session.page_count(), PageCount(count));
    for pgno in 1..=count {
        assert_eq!(byte_of(session, pgno), byte, "page {pgno}");
    }
}

async fn rows(world: &World, session: &Session) -> u64 {
    world.store.rows_of(session.fence().db).await.unwrap()
}

async fn assert_sound(world: &World, session: &Session) {
    let db = session.fence().db;
    let report = history::verify(world.store.as_ref(), db, &mut |_| {}).await.unwrap();
    assert!(report.is_sound(), "{report:?}");
}

/// Waits until nothing is left of stages that came to nothing.
async fn collected(world: &World, session: &Session, due: u64) {
    for _ in 0..500 {
        if rows(world, session).await == due {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{} rows where {due} are due", rows(world, session).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_transaction_is_one_commit() {
    let world = World::with(small_steps());
    let session = world.create().await;
    let hold = world.store.arm(Step::Stage, 2, Fault::Hold);
    let mark = put_all(&session, 1, 19);
    hold.fired().await;
    assert_all(&session, 1, 19);
    assert_eq!(session.durable_txid(), Txid(0), "nothing is visible yet");
    // What comes in the meantime is the next commit, on top of it; its growth brings zeros.
    put(&session, &[(2, 7)], 21);
    assert_eq!((byte_of(&session, 2), byte_of(&session, 3), byte_of(&session, 21)), (7, 1, 0));
    hold.release();
    session.durable(mark).await.unwrap();
    assert_eq!(session.durable(session.mark()).await, Ok(Txid(2)));
    assert_eq!((world.store.calls(Step::Stage), world.store.calls(Step::Commit)), (4, 2));
    assert_eq!((byte_of(&session, 2), byte_of(&session, 3), byte_of(&session, 21)), (7, 1, 0));
    assert_sound(&world, &session).await;
    let next = world.steal().await;
    assert_eq!((byte_of(&next, 2), byte_of(&next, 19), byte_of(&next, 20)), (7, 1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn few_pages_and_much_growth_are_staged_too() {
    let world = World::with(small_steps());
    let session = world.create().await;
    session.durable(put(&session, &[(1, 1), (30, 2)], 30)).await.unwrap();
    assert_eq!(world.store.calls(Step::Stage), 7);
    for (pgno, byte) in [(1, 1), (2, 0), (29, 0), (30, 2)] {
        assert_eq!(byte_of(&session, pgno), byte);
    }
    // Cut off and grown again, in large steps: nothing of before shows through.
    put(&session, &[(1, 3)], 2);
    session.durable(put(&session, &[(1, 4)], 40)).await.unwrap();
    assert_eq!((byte_of(&session, 30), byte_of(&session, 40)), (0, 0));
    assert_sound(&world, &session).await;
}

/// Whatever happens to one step, on its way or back: one commit, reported as committed.
#[tokio::test(flavor = "multi_thread")]
async fn lost_and_repeated_steps_are_one_commit() {
    for step in [Step::Stage, Step::Commit] {
        for nth in if step == Step::Stage { 1..=3 } else { 1..=1 } {
            for fault in [
                Fault::Unavailable,
                Fault::LostRequest,
                Fault::LostAnswer,
                Fault::Twice,
                Fault::Late,
            ] {
                let world = World::with(small_steps());
                let session = world.create().await;
                let before = rows(&world, &session).await;
                let armed = world.store.arm(step, nth, fault);
                let mark = put_all(&session, 5, 16);
                assert_eq!(session.durable(mark).await, Ok(Txid(1)), "{fault:?} at {step:?} {nth}");
                armed.deliver_if_any().await;
                drop(armed);
                assert_all(&session, 5, 16);
                assert_eq!(rows(&world, &session).await, before + 16 + 1);
                assert_sound(&world, &session).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fenced_in_the_middle_of_staging_is_not_committed() {
    for nth in 1..=4 {
        let world = World::with(small_steps());
        let session = world.create().await;
        session.durable(put(&session, &[(1, 1)], 1)).await.unwrap();
        let before = rows(&world, &session).await;
        // The fourth is the commit itself.
        let (step, nth) = if nth == 4 { (Step::Commit, 1) } else { (Step::Stage, nth) };
        let hold = world.store.arm(step, nth, Fault::Hold);
        let mark = put_all(&session, 5, 16);
        hold.fired().await;
        let next = world.steal().await;
        assert_all(&next, 1, 1);
        hold.release();
        let cause = session.durable(mark).await.unwrap_err();
        assert_eq!(cause.verdict(), Verdict::NotCommitted);
        assert!(matches!(cause, Cause::Fenced(_)), "{cause:?}");
        assert!(matches!(session.cause(), Some(Cause::Fenced(_))));
        assert_all(&next, 1, 1);
        next.durable(put_all(&next, 2, 3)).await.unwrap();
        assert_sound(&world, &next).await;
        // The generation that took over may have looked before the last rows came.
        let last = world.take_over(&world.here).await.unwrap().session;
        collected(&world, &last, before + 3 + 1).await;
        assert_all(&last, 2, 3);
        assert_sound(&world, &last).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_stays_away_while_staging_is_not_committed() {
    let world =
        World::with(DepotLimits { step_deadline: Duration::from_millis(100), ..small_steps() });
    let session = world.create().await;
    let outage = world.store.outage(Step::Stage, Fault::LostAnswer);
    let cause = session.durable(put_all(&session, 5, 16)).await.unwrap_err();
    assert_eq!(cause.verdict(), Verdict::NotCommitted, "no commit was ever sent: {cause:?}");
    drop(outage);
    assert_eq!(world.store.calls(Step::Commit), 0);
    let next = world.steal().await;
    assert_eq!(next.page_count(), PageCount(0));
    next.durable(put_all(&next, 1, 9)).await.unwrap();
    collected(&world, &next, 2 + 9 + 1).await;
    assert_sound(&world, &next).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_commit_that_landed_before_the_fence_was_lost_is_committed() {
    let world = World::with(small_steps());
    let session = world.create().await;
    let lost = world.store.arm(Step::Commit, 1, Fault::LostAnswer);
    let hold = world.store.arm(Step::Verdict, 1, Fault::Hold);
    let mark = put_all(&session, 5, 16);
    hold.fired().await;
    let next = world.steal().await;
    hold.release();
    assert_eq!(session.durable(mark).await, Ok(Txid(1)));
    drop(lost);
    assert_all(&next, 5, 16);
    collected(&world, &next, 2 + 16 + 1).await;
    assert_sound(&world, &next).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn seal_and_close_wait_for_a_large_commit() {
    let world = World::with(small_steps());
    let session = world.create().await;
    let hold = world.store.arm(Step::Stage, 2, Fault::Hold);
    let mark = put_all(&session, 5, 16);
    hold.fired().await;
    session.close(Reason::Slept);
    let sealing = {
        let session = session.clone();
        tokio::spawn(async move { session.seal(None).await })
    };
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert!(!sealing.is_finished(), "sealed in the middle of a commit");
    hold.release();
    let head = sealing.await.unwrap().unwrap();
    assert_eq!((head.txid, head.page_count, head.sealed), (Txid(1), PageCount(16), true));
    assert_eq!(session.durable(mark).await, Ok(Txid(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn over_the_limit_is_refused_and_the_next_one_is_fine() {
    let world = World::with(DepotLimits { commit_bytes_max: 10 * 4096, ..small_steps() });
    let session = world.create().await;
    assert_eq!(
        session.prepare(11 * 4096, PageCount(11)),
        Err(PrepareError::CommitTooLarge { bytes: 11 * 4096, max: 10 * 4096 })
    );
    assert_eq!(world.store.calls(Step::Stage), 0);
    assert_eq!(session.durable(put_all(&session, 1, 10)).await, Ok(Txid(1)));
    assert_eq!(session.durable(put(&session, &[(1, 2)], 10)).await, Ok(Txid(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_one_large_transaction_at_a_time() {
    let world = World::with(small_steps());
    let session = world.create().await;
    session.room_for_large().unwrap();
    let hold = world.store.arm(Step::Stage, 1, Fault::Hold);
    put_all(&session, 1, 16);
    hold.fired().await;
    let waiting = {
        let session = session.clone();
        tokio::task::spawn_blocking(move || session.room_for_large())
    };
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert!(!waiting.is_finished(), "two at a time");
    hold.release();
    assert_eq!(waiting.await.unwrap(), Ok(()));
    assert_eq!(session.durable_txid(), Txid(1));
}

/// Pages that cannot be read back from page 9 on.
#[derive(Debug)]
struct Broken;

impl LargePages for Broken {
    fn pgnos(&self) -> Vec<Pgno> {
        (1..=16).rev().map(Pgno).collect()
    }

    fn read(&self, pgno: Pgno) -> std::io::Result<Option<PageBytes>> {
        if pgno.0 < 9 { Ok(Some(page(3))) } else { Err(std::io::Error::other("gone")) }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_cannot_be_read_back_is_not_committed() {
    let world = World::with(small_steps());
    let session = world.create().await;
    session.publish_large(Arc::new(Broken), PageCount(16));
    let cause = session.durable(session.mark()).await.unwrap_err();
    assert!(
        matches!(
            &cause,
            Cause::CommitLost {
                verdict: Verdict::NotCommitted,
                error: StoreError::Unavailable(why),
            } if why.contains("gone")
        ),
        "{cause:?}"
    );
    assert_eq!(world.store.calls(Step::Commit), 0);
    let next = world.steal().await;
    collected(&world, &next, 2).await;
}

/// A generation that begins with much to collect is not held up by it.
#[tokio::test(flavor = "multi_thread")]
async fn commits_go_before_the_collection_of_leftovers() {
    let world = World::with(small_steps());
    let session = world.create().await;
    let fenced = world.store.arm(Step::Commit, 1, Fault::Hold);
    put_all(&session, 5, 100);
    fenced.fired().await;
    let hold = world.store.arm(Step::CollectStages, 1, Fault::Hold);
    let next = world.steal().await;
    hold.fired().await;
    let mark = put(&next, &[(1, 1)], 1);
    hold.release();
    next.durable(mark).await.unwrap();
    collected(&world, &next, 2 + 1 + 1).await;
    fenced.release();
    session.durable(session.mark()).await.unwrap_err();
    assert_all(&next, 1, 1);
    assert_sound(&world, &next).await;
}
