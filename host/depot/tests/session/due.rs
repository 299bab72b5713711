//! An actor's due time: carried by the transaction that it was found in, and rewritten only as of the
//! newest commit.

use std::sync::Arc;
use std::time::Duration;

use stockade_depot::store::{DueLook, DueWork as _};
use stockade_depot::{
    Cause, DepotLimits, LargePages, PageBytes, PageCount, Pgno, PrepareError, Reason, Session,
    Shard, Store as _, Txid,
};
use stockade_testkit::faulty_store::{Fault, Step};

use crate::world::{World, late_put, limits, page, put};

/// The actor's due time, as the store has it.
async fn due(world: &World) -> Option<i64> {
    let shards = Shard::all(world.store.shards()).collect();
    let look = DueLook { shards, until: i64::MAX, after: None, limit: 9 };
    let found = world.store.due(look).await.unwrap().rows;
    assert!(found.iter().all(|row| row.actor == world.actor), "{found:?}");
    found.first().map(|row| row.at)
}

/// Commits a transaction that has touched due work.
fn put_due(session: &Session, byte: u8, due: Option<i64>) {
    session.set_due(due);
    put(session, &[(1, byte)], 1);
    session.forget_due();
}

async fn settled(session: &Session) {
    session.durable(session.mark()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_carries_its_due_time_and_no_other_does() {
    let world = World::new();
    let session = world.create().await;
    put_due(&session, 1, Some(7));
    settled(&session).await;
    assert_eq!(due(&world).await, Some(7));
    put(&session, &[(1, 2)], 1);
    settled(&session).await;
    assert_eq!(due(&world).await, Some(7), "not touched");
    session.set_due(Some(8));
    session.set_due(Some(9));
    put(&session, &[(1, 3)], 1);
    settled(&session).await;
    assert_eq!(due(&world).await, Some(9), "the last word before the commit");
    put_due(&session, 4, None);
    settled(&session).await;
    assert_eq!(due(&world).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn merged_transactions_say_what_the_last_one_has_found() {
    for (said, found) in [
        ([Some(Some(2)), None, None], Some(2)),
        ([Some(Some(2)), Some(Some(3)), None], Some(3)),
        ([Some(Some(2)), Some(None), None], None),
        ([None, Some(None), Some(Some(4))], Some(4)),
        ([None, None, None], Some(1)),
    ] {
        let world = World::new();
        let session = world.create().await;
        put_due(&session, 1, Some(1));
        settled(&session).await;
        let hold = world.store.arm(Step::Commit, 1, Fault::Hold);
        put(&session, &[(1, 2)], 1);
        hold.fired().await;
        for (byte, due) in (3..).zip(said) {
            match due {
                Some(due) => put_due(&session, byte, due),
                None => {
                    put(&session, &[(1, byte)], 1);
                }
            }
        }
        hold.release();
        settled(&session).await;
        assert_eq!(session.durable_txid(), Txid(3), "three transactions, one commit");
        assert_eq!(due(&world).await, found, "{said:?}");
    }
}

/// Pages as a file keeps them.
#[derive(Debug)]
struct Large(u32);

impl LargePages for Large {
    fn pgnos(&self) -> Vec<Pgno> {
        (1..=self.0).map(Pgno).collect()
    }

    fn read(&self, _: Pgno) -> std::io::Result<Option<PageBytes>> {
        Ok(Some(page(9)))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_transaction_carries_its_due_time_too() {
    let world = World::with(DepotLimits { step_bytes_max: 4 * 4096, ..limits() });
    let session = world.create().await;
    session.set_due(Some(7));
    session.publish_large(Arc::new(Large(11)), PageCount(11));
    session.forget_due();
    put(&session, &[(1, 2)], 11);
    settled(&session).await;
    assert!(world.store.calls(Step::Stage) > 0);
    assert_eq!(due(&world).await, Some(7));
    // In memory, and too large for one step.
    session.set_due(Some(8));
    put(&session, &(1..=9).map(|pgno| (pgno, 3)).collect::<Vec<_>>(), 11);
    settled(&session).await;
    assert_eq!(due(&world).await, Some(8));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_committed_says_nothing() {
    let world = World::with(DepotLimits { commit_bytes_max: 8 * 4096, ..limits() });
    let session = world.create().await;
    put_due(&session, 1, Some(7));
    // Refused in its prepare.
    session.set_due(Some(1));
    let refused = session.prepare(1 << 30, PageCount(1));
    assert!(matches!(refused, Err(PrepareError::CommitTooLarge { .. })), "{refused:?}");
    put(&session, &[(1, 2)], 1);
    // Refused by SQLite before that.
    session.set_due(None);
    session.forget_due();
    put(&session, &[(1, 3)], 1);
    settled(&session).await;
    assert_eq!(due(&world).await, Some(7));
    // Too late.
    session.close(Reason::Slept);
    session.set_due(Some(2));
    late_put(&session, &[(1, 4)], 1);
    assert!(session.seal(None).await.is_ok());
    assert_eq!(due(&world).await, Some(7));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_due_time_is_rewritten_as_of_the_newest_commit_only() {
    let world = World::new();
    let session = world.create().await;
    assert_eq!(session.settle_due(session.mark(), Some(3)).await, Ok(true), "before any commit");
    assert_eq!(due(&world).await, Some(3));
    let before = session.mark();
    let hold = world.store.arm(Step::Commit, 1, Fault::Hold);
    put_due(&session, 1, Some(7));
    hold.fired().await;
    assert_eq!(session.settle_due(before, None).await, Ok(false), "one came after the look");
    assert_eq!(session.settle_due(session.mark(), None).await, Ok(false), "it is on its way");
    hold.release();
    settled(&session).await;
    assert_eq!(session.settle_due(before, None).await, Ok(false));
    assert_eq!(world.store.calls(Step::SettleDue), 1, "the session knows without asking");
    assert_eq!(due(&world).await, Some(7));
    assert_eq!(session.settle_due(session.mark(), None).await, Ok(true));
    assert_eq!(due(&world).await, None);
    // A commit that comes in between.
    let hold = world.store.arm(Step::SettleDue, 1, Fault::Hold);
    let settling = tokio::spawn({
        let (session, mark) = (session.clone(), session.mark());
        async move { session.settle_due(mark, Some(1)).await }
    });
    hold.fired().await;
    put_due(&session, 2, Some(9));
    settled(&session).await;
    hold.release();
    assert_eq!(settling.await.unwrap(), Ok(false));
    assert!(!session.is_dead());
    assert_eq!(due(&world).await, Some(9));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_of_a_rewrite_does_no_harm() {
    for fault in [Fault::Unavailable, Fault::LostRequest, Fault::LostAnswer, Fault::Twice] {
        let world = World::new();
        let session = world.create().await;
        put_due(&session, 1, Some(7));
        settled(&session).await;
        let lost = world.store.arm(Step::SettleDue, 1, fault);
        assert_eq!(session.settle_due(session.mark(), Some(5)).await, Ok(true), "{fault:?}");
        assert_eq!(due(&world).await, Some(5), "{fault:?}");
        drop(lost);
    }
    // One that comes after the next commit, or after the next owner.
    for owner_changes in [false, true] {
        let world = World::with(DepotLimits { step_deadline: Duration::from_secs(20), ..limits() });
        let session = world.create().await;
        put_due(&session, 1, Some(7));
        settled(&session).await;
        let late = world.store.arm(Step::SettleDue, 1, Fault::Late);
        assert_eq!(session.settle_due(session.mark(), Some(5)).await, Ok(true));
        let owner = if owner_changes { world.steal().await } else { session };
        put_due(&owner, 2, Some(9));
        settled(&owner).await;
        late.deliver().await;
        assert_eq!(due(&world).await, Some(9));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_former_owner_rewrites_nothing_and_dies() {
    let world = World::new();
    let session = world.create().await;
    put_due(&session, 1, Some(7));
    settled(&session).await;
    let next = world.steal().await;
    let refused = session.settle_due(session.mark(), None).await;
    assert!(matches!(refused, Err(Cause::Fenced(_))), "{refused:?}");
    assert!(session.is_dead());
    assert_eq!(due(&world).await, Some(7));
    // A store that is away ends no session.
    let away = world.store.outage(Step::SettleDue, Fault::Unavailable);
    let unheard = next.settle_due(next.mark(), None).await;
    assert!(matches!(unheard, Err(Cause::Unconfirmed(_))), "{unheard:?}");
    drop(away);
    assert!(!next.is_dead());
    assert_eq!(next.settle_due(next.mark(), None).await, Ok(true));
    assert_eq!(due(&world).await, None);
}
