//! A mover that is frozen between two steps, while the shard moves on: there, back, and there again. When
//! it continues it changes nothing that is true by then.

use std::sync::Arc;

use stockade_depot::Shard;
use stockade_postgres::MoveStep;
use tokio::task::JoinSet;

use crate::stage::{Node, Primaries, actor, lives, stopped_at};

/// Whether a step is the one that is meant.
type Is = fn(&MoveStep) -> bool;

const STEPS: [(u8, Is); 10] = [
    (0, |step| matches!(step, MoveStep::Begun)),
    (2, |step| matches!(step, MoveStep::Claimed(_))),
    (4, |step| matches!(step, MoveStep::Copied(_))),
    (6, |step| matches!(step, MoveStep::Taken(_))),
    (8, |step| matches!(step, MoveStep::Complete(_))),
    (10, |step| matches!(step, MoveStep::Moved(_))),
    (12, |step| matches!(step, MoveStep::Arrived(_))),
    (14, |step| matches!(step, MoveStep::Disposed(_))),
    (16, |step| matches!(step, MoveStep::Gone)),
    (18, |step| matches!(step, MoveStep::Here)),
];

/// How far the others are when the frozen mover continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meanwhile {
    /// The move is over.
    There,
    /// The shard is back.
    Back,
    /// It is on its way there again.
    Again,
    /// It is there again.
    ThereAgain,
}

async fn frozen(meanwhile: Meanwhile) {
    let primaries = Arc::new(Primaries::new(2).await);
    let (node, other) = (primaries.open().await, primaries.open().await);
    let mut stories = JoinSet::new();
    for (shard, step) in STEPS {
        let (node, other) = (node.clone(), other.clone());
        stories.spawn(story(Arc::clone(&primaries), node, other, Shard(shard), step, meanwhile));
    }
    stories.join_all().await;
}

/// One mover that is frozen behind `step`.
async fn story(
    primaries: Arc<Primaries>,
    node: Node,
    other: Node,
    shard: Shard,
    step: fn(&MoveStep) -> bool,
    meanwhile: Meanwhile,
) {
    let mut owner = actor(&node, shard, "a", 4).await;
    let mover = stopped_at(&node, shard, "b", step);
    let stopped = mover.stops().await.unwrap();
    let mut second = None;
    for to in ["b", "a", "b"] {
        if meanwhile == Meanwhile::Again && owner.txid.0 > 5 {
            let again =
                stopped_at(&other, shard, "b", |step| matches!(step, MoveStep::Complete(_)));
            again.stops().await.unwrap();
            second = Some(again);
            break;
        }
        other.moves(shard, to).await.unwrap();
        owner = lives(&other, &owner).await;
        let is_there = meanwhile == Meanwhile::There && to == "b";
        if is_there || meanwhile == Meanwhile::Back && to == "a" {
            break;
        }
    }
    // Whatever it says.
    let ended = mover.ends().await;
    println!("{stopped:?}, {meanwhile:?}: {ended:?}");
    if let Some(second) = second {
        second.ends().await.unwrap();
    }
    let owner = lives(&other, &owner).await;
    other.moves(shard, "b").await.unwrap();
    let owner = lives(&node, &owner).await;
    assert_eq!(other.keeper(shard).await, "b");
    for at in [0, 1] {
        let stray = format!(
            "SELECT count(*) FROM head WHERE sealed > 1 \
             AND substr(db, 1, 1) = decode('{:02x}', 'hex')",
            shard.0
        );
        assert_eq!(primaries.number(at, &stray).await, 0, "{stopped:?}");
    }
    assert!(owner.verify().await.is_sound());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn while_the_move_ends() {
    frozen(Meanwhile::There).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn while_the_shard_comes_back() {
    frozen(Meanwhile::Back).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn while_the_shard_is_on_its_way_again() {
    frozen(Meanwhile::Again).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn while_the_shard_goes_there_and_back_and_there() {
    frozen(Meanwhile::ThereAgain).await;
}
