//! A mover that ends anywhere: its future is dropped at each of its awaits, one after the other, in the
//! middle of whatever it has under way. Another mover continues, and processes use the actor.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::stream::{StreamExt as _, iter};
use stockade_depot::{Shard, StoreError, Txid};
use stockade_testkit::owner::Owner;

use crate::stage::{Node, Primaries, actor, lives};

/// A future that is polled so many times at most; then it has ended, without a result.
struct Ends<F> {
    work: Pin<Box<F>>,
    left: u32,
    polled: Arc<std::sync::atomic::AtomicU32>,
}

impl<F: Future> Future for Ends<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.left -= 1;
        self.polled.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        self.work.as_mut().poll(context).map(Some)
    }
}

/// Moves a shard and ends after so many polls. How many there were.
async fn move_until(node: &Node, shard: Shard, to: &str, most: u32) -> u32 {
    let polled = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let work = Box::pin(node.stores.move_shard(shard, to, &|_| {}));
    let ended = Ends { work, left: most, polled: Arc::clone(&polled) }.await;
    if let Some(moved) = ended {
        moved.unwrap();
    }
    polled.load(std::sync::atomic::Ordering::SeqCst)
}

/// An actor with commits, a pin, and a state that was handed over.
async fn furnished(node: &Node, shard: Shard) -> Owner {
    let owner = actor(node, shard, "a", 4).await;
    node.store.pin(owner.fence.db, Txid(2), "bookmark").await.unwrap();
    node.store.seal(owner.seal_step(Some(b"in memory"))).await.unwrap();
    owner
}

/// One mover ends after `most` polls, then the rest of the story.
async fn story(node: Node, other: Node, shard: Shard, most: u32) {
    let to = if shard.0.is_multiple_of(2) { "b" } else { "a" };
    let mut owner = furnished(&node, shard).await;
    let before = owner.export(None).await;
    move_until(&node, shard, to, most).await;
    // A process uses it, wherever it is now.
    if most.is_multiple_of(3) {
        owner = lives(&other, &owner).await;
    }
    if most.is_multiple_of(2) {
        // One more that ends, a little later.
        move_until(&other, shard, to, most + 7).await;
    }
    if most.is_multiple_of(5) {
        let (one, two) = tokio::join!(node.moves(shard, to), other.moves(shard, to));
        one.unwrap();
        two.unwrap();
    } else {
        other.moves(shard, to).await.unwrap();
    }
    let rows = node.stores.shard_map().await.unwrap();
    let keepers: Vec<_> = rows.iter().filter(|row| row.shard == shard).collect();
    assert!(keepers.len() == 1 && keepers[0].primary == to, "{most}: {keepers:?}");
    if !most.is_multiple_of(3) {
        assert_eq!(owner.export(None).await, before, "{most}");
        let state = node.store.actor(&owner.actor).await.unwrap().unwrap();
        assert_eq!(state.handed_over, Some(state.head.fence.generation), "{most}: current still");
    }
    let db = owner.fence.db;
    let pin = node.store.raise_floor(db, stockade_testkit::contract::retention::NOTHING).await;
    assert!(pin.unwrap().floor <= Txid(2), "{most}: the pin came along");
    let owner = lives(&node, &owner).await;
    let confirmed = other.store.confirm(&[owner.fence]).await.unwrap();
    assert_eq!(confirmed, [Ok::<(), StoreError>(())], "{most}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mover_that_ends_anywhere_is_continued() {
    let primaries = Primaries::new(2).await;
    let (node, other) = (primaries.open().await, primaries.open().await);
    furnished(&node, Shard(0)).await;
    let all = move_until(&node, Shard(0), "b", u32::MAX).await;
    println!("a move of one database has {all} awaits");
    assert!(all > 30 && all < 250, "{all}");
    let stories = (1..=all + 4).map(|most| {
        let (node, other) = (node.clone(), other.clone());
        let shard = Shard(u8::try_from(most).unwrap());
        async move { tokio::spawn(story(node, other, shard, most)).await.unwrap() }
    });
    iter(stories).buffer_unordered(16).collect::<Vec<()>>().await;
    // Nothing is left where nothing belongs.
    for at in [0, 1] {
        let stray = "SELECT count(*) FROM head WHERE sealed > 1";
        assert_eq!(primaries.number(at, stray).await, 0);
    }
}
