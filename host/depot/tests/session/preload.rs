//! Pages read ahead after a takeover of a remote store: fewer answers to wait for, and no way
//! around the fence.

use stockade_depot::store::PreviousEnd;
use stockade_depot::{Cause, DepotLimits, Session};
use stockade_testkit::capture::capture;
use stockade_testkit::faulty_store::{Armed, Fault, Step};

use crate::world::{COMPONENT, World, byte_of, limits, put};

const PAGES: u8 = 40;

/// `here` has written 40 pages and sealed them; `there` knows nothing.
async fn asleep(world: &World) {
    let session = world.create().await;
    let pages: Vec<_> = (1..=PAGES).map(|n| (u32::from(n), n)).collect();
    session.durable(put(&session, &pages, u32::from(PAGES))).await.unwrap();
    session.seal(None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wake_from_a_remote_store_costs_one_read() {
    let world = World::new();
    asleep(&world).await;
    world.store.set_remote();
    let session = world.steal().await;
    assert_eq!(world.store.calls(Step::Read), 1);
    let ahead = limits().preload_pages_max;
    for pgno in 1..=ahead {
        assert_eq!(u32::from(byte_of(&session, pgno)), pgno);
    }
    assert_eq!(world.store.calls(Step::Read), 1, "all of them were read ahead");
    assert_eq!(u32::from(byte_of(&session, ahead + 1)), ahead + 1);
    assert_eq!(world.store.calls(Step::Read), 2, "and no more than that");
    // What is cached already is not asked for again.
    session.seal(None).await.unwrap();
    let again = world.steal().await;
    assert_eq!(world.store.calls(Step::Read), 2);
    assert_eq!(byte_of(&again, 1), 1);
}

/// An heir begins with what is cached of the generation before it; here nothing is any more.
#[tokio::test(flavor = "multi_thread")]
async fn an_heir_of_a_remote_store_reads_ahead_as_well() {
    let world = World::new();
    let session = world.create().await;
    session.durable(put(&session, &[(1, 1), (2, 2)], 2)).await.unwrap();
    session.seal_for_heir().await.unwrap();
    let state = world.state().await;
    world.store.set_remote();
    let heir = world.there.inherit(state).await.unwrap().session;
    assert_eq!(world.store.calls(Step::Read), 1);
    assert_eq!((byte_of(&heir, 1), byte_of(&heir, 2)), (1, 2));
    assert_eq!(world.store.calls(Step::Read), 1, "all of them were read ahead");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_at_hand_is_not_asked_ahead() {
    let world = World::new();
    asleep(&world).await;
    let session = world.steal().await;
    assert_eq!(world.store.calls(Step::Read), 0);
    assert_eq!(byte_of(&session, 1), 1);
    assert_eq!(world.store.calls(Step::Read), 1);
}

/// `there` wakes the actor and reads ahead with this fault; `meanwhile` runs once it has fired.
async fn wake_with(
    world: &World,
    fault: Fault,
    meanwhile: impl AsyncFnOnce(&Armed),
) -> (Session, Armed) {
    asleep(world).await;
    world.store.set_remote();
    let state = world.state().await;
    let armed = world.store.arm(Step::Read, 1, fault);
    let waking = tokio::spawn({
        let there = world.there.clone();
        async move { there.take_over(&state, COMPONENT, PreviousEnd::Orderly).await }
    });
    armed.fired().await;
    meanwhile(&armed).await;
    armed.release();
    (waking.await.unwrap().unwrap().session, armed)
}

#[tokio::test(flavor = "multi_thread")]
async fn fence_loss_while_reading_ahead_is_fatal_and_logged_once() {
    let log = capture();
    let world = World::named("preload-fenced");
    let (session, _armed) = wake_with(&world, Fault::Hold, async |_: &Armed| {
        world.take_over(&world.here).await.unwrap();
    })
    .await;
    let Some(Cause::Fenced(mismatch)) = session.cause() else { panic!("{:?}", session.cause()) };
    assert_eq!((mismatch.expected.0.0, mismatch.actual.0.0), (2, 3));
    let loud = log.loud(&["preload-fenced"]);
    assert_eq!(loud.len(), 1, "{loud:?}");
    let text = &loud[0].text;
    assert!(text.contains("during=\"preload\"") || text.contains("during=preload"), "{text}");
    assert!(text.contains("expected=(Generation(2)") && text.contains("actual=(Generation(3)"));
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_ahead_that_fails_is_made_up_for_by_reads() {
    let faults =
        [Fault::Unavailable, Fault::LostRequest, Fault::LostAnswer, Fault::Late, Fault::Twice];
    for fault in faults {
        let world = World::new();
        let (session, armed) = wake_with(&world, fault, async |_: &Armed| ()).await;
        assert!(!session.is_dead(), "{fault:?}: {:?}", session.cause());
        armed.deliver_if_any().await;
        assert_eq!((byte_of(&session, 1), byte_of(&session, 2)), (1, 2), "{fault:?}");
    }
}

/// A store that is slow to read ahead does not hold a wake up for longer than the limit says.
#[tokio::test(flavor = "multi_thread")]
async fn reading_ahead_that_hangs_does_not_hold_up_the_wake() {
    let world = World::with(DepotLimits {
        preload_deadline: std::time::Duration::from_millis(50),
        step_deadline: std::time::Duration::from_secs(60),
        ..limits()
    });
    asleep(&world).await;
    world.store.set_remote();
    let held = world.store.arm(Step::Read, 1, Fault::Hold);
    let waking = tokio::time::timeout(std::time::Duration::from_secs(10), world.steal()).await;
    let session = waking.expect("the wake waits for a read that hangs");
    assert_eq!(byte_of(&session, 1), 1);
    drop(held);
}

/// Read before a commit of the new owner and answered after it: such pages are not kept.
#[tokio::test(flavor = "multi_thread")]
async fn pages_that_a_successor_has_changed_are_not_served() {
    let world = World::new();
    let (former, _armed) = wake_with(&world, Fault::HoldAnswer, async |_: &Armed| {
        // Another generation of the same process writes before the answer arrives.
        let newer = world.steal().await;
        newer.durable(put(&newer, &[(1, 99)], u32::from(PAGES))).await.unwrap();
    })
    .await;
    assert!(former.confirm().await.is_err());
    let next = world.steal().await;
    assert_eq!(byte_of(&next, 1), 99);
}
