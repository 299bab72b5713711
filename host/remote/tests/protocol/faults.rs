//! Faults behind the server: what its store says crosses as it is; what is late, doubled or lost there
//! is settled by the verdict.

use std::sync::Arc;
use std::time::Duration;

use stockade_depot::{Store, StoreError, Txid};
use stockade_remote::Terms;
use stockade_testkit::faulty_store::{Fault, FaultyStore, Step};
use stockade_testkit::owner::{Owner, page};

use crate::{embedded, is_there, kit};

async fn faulty() -> (kit::Served, Arc<FaultyStore>, Arc<dyn Store>, Owner) {
    let faulty = FaultyStore::new(embedded());
    let served = kit::Served::start(Arc::clone(&faulty) as _, Terms::ours()).await;
    let store = kit::open(served.config()).await;
    let mut owner = Owner::create(&store, "a").await;
    owner.commit(&[(1, 1)], 1).await;
    (served, faulty, store, owner)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_store_says_crosses_as_it_is() {
    let (_served, faulty, store, owner) = faulty().await;
    let step = owner.commit_step(&[(1, 2)], 1);
    let armed = faulty.arm(Step::Commit, 1, Fault::Unavailable);
    let sent = store.commit(step.clone()).await;
    assert!(matches!(sent, Err(StoreError::Unavailable(_))), "{sent:?}");
    drop(armed);
    assert!(!is_there(&owner, step.content).await);
    let armed = faulty.arm(Step::Commit, 1, Fault::LostAnswer);
    let sent = store.commit(step.clone()).await;
    assert!(matches!(sent, Err(StoreError::Unknown(_))), "{sent:?}");
    drop(armed);
    assert!(is_there(&owner, step.content).await);
    // The fence mismatch of a resend has both fences, as the store saw them.
    let Err(StoreError::Fenced(found)) = store.commit(step).await else { panic!("fenced") };
    let own = (owner.fence.generation, owner.fence.token);
    assert_eq!((found.db, found.expected, found.actual), (owner.fence.db, own, own));
    assert_eq!((found.expected_txid, found.actual_txid, found.sealed), (Txid(1), Txid(2), false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_doubled_step_is_applied_once_and_a_late_one_is_seen() {
    let (_served, faulty, store, owner) = faulty().await;
    let step = owner.commit_step(&[(1, 2)], 1);
    let armed = faulty.arm(Step::Commit, 1, Fault::Twice);
    // The second answer is a refusal; the row says that the first was applied.
    let sent = store.commit(step.clone()).await;
    assert!(matches!(sent, Err(StoreError::Fenced(_))), "{sent:?}");
    drop(armed);
    assert!(is_there(&owner, step.content).await);
    let owner = Owner::of(&store, owner.actor.clone(), &owner.head().await);
    assert_eq!(owner.txid, Txid(2));

    let step = owner.commit_step(&[(1, 3)], 1);
    let armed = faulty.arm(Step::Commit, 1, Fault::Late);
    let sent = store.commit(step.clone()).await;
    assert!(matches!(sent, Err(StoreError::Unknown(_))), "{sent:?}");
    assert!(!is_there(&owner, step.content).await, "none yet: the same bytes are sent again");
    store.commit(step.clone()).await.unwrap();
    armed.deliver().await;
    drop(armed);
    let owner = Owner::of(&store, owner.actor.clone(), &owner.head().await);
    assert_eq!(owner.txid, Txid(3), "the late one is refused by the fence");
    assert_eq!(owner.read_one(3, 1).await.unwrap(), page(1, 3));
    assert!(owner.verify().await.is_sound());
}

/// A step whose caller has given up is not begun by a server that knows how long the caller waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_gives_up_takes_its_step_along() {
    let (_served, faulty, store, owner) = faulty().await;
    let step = owner.commit_step(&[(1, 2)], 1);
    let armed = faulty.arm(Step::Commit, 1, Fault::Hold);
    let sending = tokio::spawn({
        let (store, step) = (Arc::clone(&store), step.clone());
        async move { store.commit(step).await }
    });
    armed.fired().await;
    sending.abort();
    assert!(sending.await.is_err());
    tokio::time::sleep(Duration::from_millis(200)).await;
    armed.release();
    drop(armed);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!is_there(&owner, step.content).await, "the stream's end ended the step");
    store.commit(step).await.unwrap();
}
