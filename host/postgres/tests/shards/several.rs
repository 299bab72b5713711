//! Several movers of one shard at the same time, and several moves of it one after the other.

use stockade_depot::Shard;
use stockade_postgres::{MoveError, MoveStep};
use stockade_testkit::owner::Owner;

use crate::stage::{Node, Primaries, key_in, lives, stopped_at};

/// Of `a` in the beginning, of two primaries and of three.
const SHARD: Shard = Shard(6);

/// Some actors with a few commits each.
async fn actors(node: &Node, count: usize) -> Vec<Owner> {
    let mut owners = Vec::new();
    for n in 0..count {
        let mut owner = Owner::create(&node.store, &key_in(SHARD, "s", n)).await;
        for version in 1..=5 {
            owner.commit(&[(1, version), (2, version)], 2).await;
        }
        owners.push(owner);
    }
    owners
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_movers_with_one_target_do_it_once() {
    let primaries = Primaries::new(2).await;
    let (one, two) = (primaries.open().await, primaries.open().await);
    let owners = actors(&one, 12).await;
    for to in ["b", "a", "b"] {
        let (first, second) = tokio::join!(one.moves(SHARD, to), two.moves(SHARD, to));
        let (first, second) = (first.unwrap(), second.unwrap());
        println!("{first:?} {second:?}");
        assert_eq!(one.keeper(SHARD).await, to);
    }
    for owner in owners {
        lives(&two, &owner).await;
    }
    for at in [0, 1] {
        assert_eq!(primaries.number(at, "SELECT count(*) FROM head WHERE sealed > 1").await, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_target_is_refused_until_the_move_is_over() {
    let primaries = Primaries::new(3).await;
    let (one, two) = (primaries.open().await, primaries.open().await);
    let owners = actors(&one, 3).await;
    for step in [
        (|step| matches!(step, MoveStep::Begun)) as fn(&MoveStep) -> bool,
        |step| matches!(step, MoveStep::Complete(_)),
        |step| matches!(step, MoveStep::Gone),
    ] {
        let mover = stopped_at(&one, SHARD, "b", step);
        mover.stops().await.unwrap();
        let refused = two.moves(SHARD, "c").await.unwrap_err();
        assert_eq!(refused, MoveError::InProgress { shard: SHARD, to: "b".to_owned() });
        let refused = two.moves(SHARD, "a").await.unwrap_err();
        assert_eq!(refused, MoveError::InProgress { shard: SHARD, to: "b".to_owned() });
        mover.dies().await;
        two.moves(SHARD, "b").await.unwrap();
        two.moves(SHARD, "c").await.unwrap();
        two.moves(SHARD, "a").await.unwrap();
    }
    for owner in owners {
        lives(&one, &owner).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_movers_with_two_targets_agree_on_one() {
    let primaries = Primaries::new(3).await;
    let (one, two) = (primaries.open().await, primaries.open().await);
    let owners = actors(&one, 3).await;
    let (mut refused, mut both) = (0, 0);
    for _ in 0..10 {
        let (first, second) = tokio::join!(one.moves(SHARD, "b"), two.moves(SHARD, "c"));
        match (&first, &second) {
            // One after the other.
            (Ok(_), Ok(_)) => both += 1,
            (Ok(_), Err(MoveError::InProgress { to, .. })) => {
                refused += 1;
                assert_eq!((to.as_str(), one.keeper(SHARD).await.as_str()), ("b", "b"));
            }
            (Err(MoveError::InProgress { to, .. }), Ok(_)) => {
                refused += 1;
                assert_eq!((to.as_str(), one.keeper(SHARD).await.as_str()), ("c", "c"));
            }
            other => panic!("{other:?}"),
        }
        one.moves(SHARD, "a").await.unwrap();
    }
    println!("{refused} refused, {both} one after the other");
    for owner in owners {
        lives(&two, &owner).await;
    }
}
