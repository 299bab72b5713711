//! A connection that is lost before, during and after a step: what was written has a verdict, and no
//! outcome is guessed (D3).

use std::sync::Arc;
use std::time::{Duration, Instant};

use stockade_depot::{Store, StoreError, Txid};
use stockade_remote::limits::{READ_DEADLINE, WRITE_DEADLINE};
use stockade_testkit::owner::{Owner, page};

use crate::kit::relay::{Cut, Relay};
use crate::{is_there, kit, served};

/// A store behind a relay, and an owner in it with one commit.
async fn relayed() -> (kit::Served, Relay, Arc<dyn Store>, Owner) {
    let served = served().await;
    let relay = Relay::start(served.server.address().port()).await;
    let store = kit::open(kit::at(relay.port, served.keys.client())).await;
    let mut owner = Owner::create(&store, "a").await;
    owner.commit(&[(1, 1)], 1).await;
    (served, relay, store, owner)
}

/// Until the line says nothing any more: acknowledgements of the step before, or its end.
async fn quiet() {
    tokio::time::sleep(Duration::from_millis(100)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_leaves_the_outcome_unknown_and_a_verdict() {
    let (_served, relay, store, mut owner) = relayed().await;
    for (version, when) in (2..).zip([Cut::Before, Cut::During, Cut::After]) {
        let step = owner.commit_step(&[(1, version)], 1);
        quiet().await;
        relay.cut(when);
        let sent = store.commit(step.clone()).await;
        assert!(relay.has_cut());
        assert!(matches!(sent, Err(StoreError::Unknown(_))), "{when:?}: {sent:?}");
        let there = is_there(&owner, step.content).await;
        match when {
            Cut::Before => assert!(!there),
            Cut::During | Cut::Silence => {}
            Cut::After => assert!(there),
        }
        match store.commit(step.clone()).await {
            Ok(()) => assert!(!there),
            // It was applied, or came late: the row says so.
            Err(StoreError::Fenced(_)) => assert!(is_there(&owner, step.content).await),
            Err(other) => panic!("{when:?}: {other:?}"),
        }
        owner = Owner::of(&store, owner.actor.clone(), &owner.head().await);
        assert_eq!(owner.txid, Txid(version));
        assert_eq!(owner.read_one(version, 1).await.unwrap(), page(1, version));
    }
    assert!(owner.verify().await.is_sound());
}

/// A read that is lost changes nothing and may be sent again; a takeover that is lost may be applied.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_read_is_unavailable_and_a_cut_takeover_unknown() {
    let (_served, relay, store, mut owner) = relayed().await;
    quiet().await;
    relay.cut(Cut::After);
    let read = owner.read_one(1, 1).await;
    assert!(matches!(read, Err(StoreError::Unavailable(_))), "{read:?}");
    quiet().await;
    assert_eq!(owner.read_one(1, 1).await.unwrap(), page(1, 1), "on a new connection");
    owner = owner.successor().await;
    let step = owner.takeover_step();
    quiet().await;
    relay.cut(Cut::After);
    let sent = store.take_over(step.clone()).await;
    assert!(matches!(sent, Err(StoreError::Unknown(_))), "{sent:?}");
    quiet().await;
    assert_eq!(owner.head().await.fence.token, step.token, "the head says that it is ours");
}

/// A machine that is gone without a word.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_ends_at_the_deadline() {
    let (_served, relay, store, mut owner) = relayed().await;
    let step = owner.commit_step(&[(1, 2)], 1);
    quiet().await;
    relay.cut(Cut::Silence);
    let begun = Instant::now();
    let sent = store.commit(step.clone()).await;
    assert!(matches!(sent, Err(StoreError::Unknown(_))), "{sent:?}");
    assert!(begun.elapsed() < WRITE_DEADLINE + Duration::from_secs(2), "{:?}", begun.elapsed());
    assert!(is_there(&owner, step.content).await, "a new connection is made");
    owner = Owner::of(&store, owner.actor.clone(), &owner.head().await);
    owner.commit(&[(1, 3)], 1).await;
}

/// The next step does not wait on a connection that was silent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_silence_a_step_has_another_connection() {
    let (_served, relay, _store, owner) = relayed().await;
    quiet().await;
    relay.cut(Cut::Silence);
    let read = owner.read_one(1, 1).await;
    assert!(matches!(read, Err(StoreError::Unavailable(_))), "{read:?}");
    let begun = Instant::now();
    assert_eq!(owner.read_one(1, 1).await.unwrap(), page(1, 1));
    assert!(begun.elapsed() < READ_DEADLINE / 2, "{:?}", begun.elapsed());
}

/// A slow server is waited for; one that is slower than the deadline is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_server_is_waited_for_within_the_deadline() {
    let (_served, relay, store, mut owner) = relayed().await;
    relay.slow(Duration::from_millis(300));
    let begun = Instant::now();
    owner.commit(&[(1, 2)], 1).await;
    assert!(begun.elapsed() >= Duration::from_millis(300));
    relay.slow(READ_DEADLINE * 3);
    let begun = Instant::now();
    let read = owner.read_one(2, 1).await;
    assert!(matches!(read, Err(StoreError::Unavailable(_))), "{read:?}");
    assert!(begun.elapsed() < READ_DEADLINE + Duration::from_secs(2), "{:?}", begun.elapsed());
    let step = owner.commit_step(&[(1, 3)], 1);
    let sent = store.commit(step).await;
    assert!(matches!(sent, Err(StoreError::Unknown(_) | StoreError::Unavailable(_))), "{sent:?}");
}
