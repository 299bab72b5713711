//! Transactions that are held back: one step for all of them, and no wait for what is not sent.

use std::time::Duration;

use stockade_depot::{DepotLimits, PageCount, Reason, Txid};
use stockade_testkit::faulty_store::{Fault, Step};
use tokio::time::timeout;

use crate::world::{World, limits, put};

/// Long enough for a loaded machine.
const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_back_becomes_one_step() {
    let world = World::new();
    let session = world.create().await;
    let gathering = session.gather();
    session.set_due(Some(7));
    put(&session, &[(1, 1)], 1);
    session.forget_due();
    let last = put(&session, &[(1, 2), (2, 2)], 2);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(world.store.calls(Step::Commit), 0, "held back");
    drop(gathering);
    assert_eq!(session.durable(last).await, Ok(Txid(1)));
    // As ever from then on.
    let mark = put(&session, &[(1, 3)], 2);
    assert_eq!(session.durable(mark).await, Ok(Txid(2)));
    assert_eq!(world.store.calls(Step::Commit), 2);
    // With nothing held back there is nothing to send.
    drop(session.gather());
    assert_eq!(session.durable_txid(), Txid(2));
    assert!(session.seal(None).await.is_ok());
}

/// Work that gathers may wait for its own commits, and for anything else.
#[tokio::test(flavor = "multi_thread")]
async fn a_wait_sends_what_is_held_back() {
    let world = World::new();
    let session = world.create().await;
    let gathering = session.gather();
    let work = gathering.until_it_waits(async {
        put(&session, &[(1, 1)], 1);
        let mark = put(&session, &[(1, 2)], 1);
        let durable = session.durable(mark).await;
        // Nothing is held back after the first wait.
        let later = put(&session, &[(1, 3)], 1);
        while session.durable_txid() < Txid(2) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        (durable, session.durable(later).await)
    });
    let waited = timeout(PATIENCE, work).await.expect("its wait ends");
    assert_eq!(waited, (Ok(Txid(1)), Ok(Txid(2))));
}

/// What waits for room waits for what is held back.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_without_room_sends_what_is_held_back() {
    let world = World::with(DepotLimits { step_bytes_max: 4 * 4096, ..limits() });
    let session = world.create().await;
    let gathering = session.gather();
    put(&session, &[(1, 1), (2, 1), (3, 1)], 3);
    let last = put(&session, &[(1, 2), (2, 2), (3, 2)], 3);
    drop(gathering);
    assert_eq!(session.durable(last).await, Ok(Txid(2)));
}

/// A session that is closed, or sealed, or whose database is lost keeps its promises for what is held back.
#[tokio::test(flavor = "multi_thread")]
async fn an_end_sends_what_is_held_back() {
    for seals in [false, true] {
        let world = World::new();
        let session = world.create().await;
        let gathering = session.gather();
        let mark = put(&session, &[(1, 1)], 1);
        if seals {
            assert!(session.seal(None).await.is_ok());
        } else {
            session.close(Reason::Slept);
        }
        let durable = timeout(PATIENCE, session.durable(mark)).await;
        assert_eq!(durable.expect("it has a verdict"), Ok(Txid(1)), "{seals}");
        drop(gathering);
    }
    let world = World::new();
    let session = world.create().await;
    let gathering = session.gather();
    let mark = put(&session, &[(1, 1)], 1);
    world.steal().await;
    assert!(session.confirm().await.is_err());
    let lost = timeout(PATIENCE, session.durable(mark)).await.expect("it has a verdict");
    assert!(lost.is_err(), "{lost:?}");
    drop(gathering);
    assert_eq!(world.store.calls(Step::Commit), 0, "nothing is sent of a dead session");
    assert_eq!(world.state().await.head.page_count, PageCount(0));
}

/// Of a step that is in flight when the holding back begins nothing is held back.
#[tokio::test(flavor = "multi_thread")]
async fn a_step_in_flight_is_followed_as_ever() {
    let world = World::new();
    let session = world.create().await;
    let hold = world.store.arm(Step::Commit, 1, Fault::Hold);
    let first = put(&session, &[(1, 1)], 1);
    hold.fired().await;
    let gathering = session.gather();
    let second = put(&session, &[(1, 2)], 1);
    hold.release();
    assert!(session.durable(first).await.is_ok());
    drop(gathering);
    assert_eq!(session.durable(second).await, Ok(Txid(2)));
}
