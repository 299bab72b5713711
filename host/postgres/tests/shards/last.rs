//! The decisive step: a database is given away only if it is, to the letter, what was copied. Each of these
//! changes one thing after the last comparison at the target.

use std::time::{Duration, Instant};

use stockade_depot::store::{CommitRow, TakenOver};
use stockade_depot::{Shard, StoreError, Txid};
use stockade_postgres::{MoveError, MoveStep};
use stockade_testkit::owner::Owner;

use crate::stage::{Primaries, actor, actor_with, key_in, lives, stopped_at};

/// Of `a` in the beginning.
const SHARD: Shard = Shard(6);

fn complete(step: &MoveStep) -> bool {
    matches!(step, MoveStep::Complete(_))
}

/// Moves an actor with ten commits; at the last moment `statements` change the source.
async fn changed(statements: &[&str]) -> (Primaries, Owner, u64) {
    let primaries = Primaries::new(2).await;
    let node = primaries.open().await;
    let owner = actor(&node, SHARD, "a", 10).await;
    let mover = stopped_at(&node, SHARD, "b", complete);
    mover.stops().await.unwrap();
    for statement in statements {
        assert!(primaries.past(0, statement).await > 0, "{statement}");
    }
    let moved = mover.ends().await.unwrap();
    assert_eq!(node.keeper(SHARD).await, "b");
    (primaries, owner, moved.retaken)
}

/// One value of the database's head at its new primary.
async fn at_target(primaries: &Primaries, column: &str) -> i64 {
    primaries.number(1, &format!("SELECT {column} FROM head")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_generation_keeps_it() {
    let (primaries, _, retaken) =
        changed(&["UPDATE head SET generation = generation + 5, sealed = 2"]).await;
    assert_eq!((retaken, at_target(&primaries, "generation").await), (1, 8));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_token_keeps_it() {
    let (_, _, retaken) =
        changed(&["UPDATE head SET token = decode(repeat('07', 16), 'hex')"]).await;
    assert_eq!(retaken, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_was_given_back_stays() {
    let (_, _, retaken) = changed(&["UPDATE head SET sealed = 1"]).await;
    assert_eq!(retaken, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_raised_floor_goes_along() {
    let (primaries, _, retaken) = changed(&["UPDATE head SET floor = 8"]).await;
    assert_eq!((retaken, at_target(&primaries, "floor").await), (1, 8));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pin_goes_along() {
    let pin = "INSERT INTO pin (db, txid, name) SELECT db, 5, 'late' FROM head";
    let (primaries, _, retaken) = changed(&[pin]).await;
    let pins = primaries.number(1, "SELECT count(*) FROM pin WHERE txid = 5").await;
    assert_eq!((retaken, pins), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pin_through_the_store_goes_along_or_is_elsewhere() {
    let primaries = Primaries::new(2).await;
    let node = primaries.open().await;
    let owner = actor(&node, SHARD, "a", 10).await;
    node.store.pin(owner.fence.db, Txid(3), "early").await.unwrap();
    let mover = stopped_at(&node, SHARD, "b", complete);
    mover.stops().await.unwrap();
    node.store.pin(owner.fence.db, Txid(4), "late").await.unwrap();
    node.store.unpin(owner.fence.db, Txid(3), "early").await.unwrap();
    assert_eq!(mover.ends().await.unwrap().retaken, 1);
    let pins = "SELECT count(*) FROM pin";
    assert_eq!((primaries.number(0, pins).await, primaries.number(1, pins).await), (0, 1));
    node.store.pin(owner.fence.db, Txid(5), "later").await.unwrap();
    node.store.unpin(owner.fence.db, Txid(4), "late").await.unwrap();
    let left = "SELECT count(*) FROM pin WHERE txid = 5";
    assert_eq!((primaries.number(1, pins).await, primaries.number(1, left).await), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wanted_goes_along() {
    let (primaries, _, retaken) = changed(&["UPDATE actor SET wanted = 1, restarts = 4"]).await;
    let restarts = primaries.number(1, "SELECT restarts + wanted FROM actor").await;
    assert_eq!((retaken, restarts), (1, 5));
}

/// A primary that lost its last commit, to a standby that did not have it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_commit_does_not_come_back() {
    let (primaries, owner, retaken) = changed(&[
        "UPDATE head SET txid = 9, chain = (SELECT chain FROM \"commit\" WHERE txid = 9)",
        "DELETE FROM page WHERE txid = 10",
        "DELETE FROM \"commit\" WHERE txid = 10",
    ])
    .await;
    assert!(retaken >= 1);
    assert_eq!(at_target(&primaries, "txid").await, 9);
    assert_eq!(primaries.number(1, "SELECT count(*) FROM page WHERE txid > 9").await, 0);
    assert!(owner.verify().await.is_sound());
}

/// The same, where another commit has its number by now.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_commit_of_the_same_number_is_copied() {
    let (primaries, _, retaken) = changed(&[
        "UPDATE head SET chain = decode(repeat('01', 32), 'hex')",
        "UPDATE \"commit\" SET chain = decode(repeat('01', 32), 'hex'), \
         content = decode(repeat('02', 32), 'hex') WHERE txid = 10",
        // Whether it follows from the ninth is another question: there is none.
        "DELETE FROM \"commit\" WHERE txid = 9",
    ])
    .await;
    assert!(retaken >= 1);
    let there = "SELECT count(*) FROM \"commit\" WHERE txid = 10 AND content = decode(repeat('02', 32), 'hex')";
    assert_eq!(primaries.number(1, there).await, 1);
}

/// A process takes the database over while the last step is on its way: what it commits is not lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_takeover_wins_after_its_wait() {
    let primaries = Primaries::new(2).await;
    let node = primaries.open().await;
    let owner = actor(&node, SHARD, "a", 10).await;
    let mover = stopped_at(&node, SHARD, "b", complete);
    mover.stops().await.unwrap();
    let begun = Instant::now();
    let mut next = node.takes(&owner).await;
    let waited = begun.elapsed();
    assert!(waited > Duration::from_secs(1) && waited < Duration::from_secs(4), "{waited:?}");
    next.commit(&[(1, 11)], 2).await;
    assert_eq!(mover.ends().await.unwrap().retaken, 1);
    assert!(matches!(next.try_commit(&[(1, 12)], 2).await, Err(StoreError::Fenced(_))));
    lives(&node, &next).await;
}

/// A takeover that comes while a database is held waits for the move, and has it there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_takeover_waits_for_the_move() {
    let primaries = Primaries::new(2).await;
    let node = primaries.open().await;
    let owner = actor(&node, SHARD, "a", 10).await;
    let mover = stopped_at(&node, SHARD, "b", complete);
    mover.stops().await.unwrap();
    let (taking, old) = (node.clone(), owner.clone());
    let taken = tokio::spawn(async move { taking.takes(&old).await });
    tokio::time::sleep(Duration::from_millis(400)).await;
    let moved = mover.ends().await.unwrap();
    let mut next = taken.await.unwrap();
    assert_eq!(moved.retaken, 0, "nobody took it from the mover");
    next.commit(&[(1, 11)], 2).await;
    assert_eq!(primaries.number(1, "SELECT count(*) FROM \"commit\" WHERE txid = 11").await, 1);
}

/// A mover that ended while it held a database: the next takeover has it, where it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_mover_blocks_nobody() {
    let primaries = Primaries::new(2).await;
    let node = primaries.open().await;
    for (shard, step) in [
        (SHARD, (|step| matches!(step, MoveStep::Taken(_))) as fn(&MoveStep) -> bool),
        (Shard(8), complete),
        (Shard(10), |step| matches!(step, MoveStep::Moved(_))),
        (Shard(12), |step| matches!(step, MoveStep::Gone)),
    ] {
        let owner = actor(&node, shard, "a", 3).await;
        let mover = stopped_at(&node, shard, "b", step);
        mover.stops().await.unwrap();
        mover.dies().await;
        let begun = Instant::now();
        let next = lives(&node, &owner).await;
        assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
        node.moves(shard, "b").await.unwrap();
        lives(&node, &next).await;
    }
}

/// Whether a commit whose answer was lost is in the store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_verdict_follows_the_database() {
    let primaries = Primaries::new(2).await;
    let (node, mover) = (primaries.open().await, primaries.open().await);
    let owner = actor(&node, SHARD, "a", 3).await;
    let (made, unmade) = (owner.commit_step(&[(1, 4)], 2), owner.commit_step(&[(1, 5)], 2));
    node.store.commit(made.clone()).await.unwrap();
    mover.moves(SHARD, "b").await.unwrap();
    let (head, row): (_, Option<CommitRow>) =
        node.store.verdict(owner.fence.db, Txid(4)).await.unwrap();
    assert_eq!(row.map(|row| row.content), Some(made.content));
    assert!(head.unwrap().fence.generation > owner.fence.generation);
    assert!(matches!(node.store.commit(unmade).await, Err(StoreError::Fenced(_))));
}

/// The copy lost a page, a commit, or got another chain, before it is compared.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_differs_is_made_again() {
    for (at, damage) in [
        "DELETE FROM page WHERE txid = 10 AND pgno = 2",
        "DELETE FROM page WHERE txid = 3",
        "DELETE FROM \"commit\" WHERE txid = 7",
        "UPDATE \"commit\" SET chain = content WHERE txid = 10",
        "INSERT INTO page (db, pgno, txid, stage, sum, bytes) \
         SELECT db, 3, 4, '', sum, bytes FROM page WHERE pgno = 1 AND txid = 4",
    ]
    .into_iter()
    .enumerate()
    {
        let primaries = Primaries::new(2).await;
        let node = primaries.open().await;
        let owner = actor(&node, SHARD, "a", 10).await;
        if at == 1 {
            primaries.past(0, "UPDATE head SET floor = 3").await;
        }
        let before = owner.export(None).await;
        let mover = stopped_at(&node, SHARD, "b", |step| matches!(step, MoveStep::Taken(_)));
        mover.stops().await.unwrap();
        assert!(primaries.past(1, damage).await > 0, "{damage}");
        mover.ends().await.unwrap();
        assert_eq!(owner.export(None).await, before, "{damage}");
        assert!(owner.verify().await.is_sound(), "{damage}");
        let pages = "SELECT count(*) FROM page";
        assert_eq!(primaries.number(1, pages).await, 20, "{damage}");
    }
}

/// Damage at the source is found on its way. Nothing moves, and the database stays as usable as it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_page_does_not_move() {
    let primaries = Primaries::new(2).await;
    let node = primaries.open().await;
    let owner = actor(&node, SHARD, "a", 3).await;
    let flip = "UPDATE page SET bytes = set_byte(bytes, 9, 1 - get_byte(bytes, 9) % 2) \
        WHERE pgno = 2 AND txid = 1";
    let keep = "CREATE TABLE kept AS SELECT * FROM page";
    primaries.client(0).await.batch_execute(keep).await.unwrap();
    assert_eq!(primaries.past(0, flip).await, 1);
    let refused = node.moves(SHARD, "b").await.unwrap_err();
    let MoveError::Store { primary, error: StoreError::Corrupt(what) } = &refused else {
        panic!("{refused:?}");
    };
    assert!(primary == "a" && what.contains("checksum"), "{refused}");
    let next = lives_unverified(&node, &owner).await;
    let repair = "UPDATE page SET bytes = k.bytes FROM kept k \
        WHERE page.pgno = k.pgno AND page.txid = k.txid";
    primaries.past(0, repair).await;
    node.moves(SHARD, "b").await.unwrap();
    lives(&node, &next).await;
}

async fn lives_unverified(node: &crate::stage::Node, owner: &Owner) -> Owner {
    let mut next = node.takes(owner).await;
    next.commit(&[(1, next.txid.0 + 1)], 2).await;
    next
}

/// A commit row at the source that does not follow from the one before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_chain_does_not_move() {
    let primaries = Primaries::new(2).await;
    let node = primaries.open().await;
    let owner = actor(&node, SHARD, "a", 5).await;
    let broken = "UPDATE \"commit\" SET content = chain WHERE txid = 3";
    assert_eq!(primaries.past(0, broken).await, 1);
    let refused = node.moves(SHARD, "b").await.unwrap_err();
    assert!(matches!(refused, MoveError::Differs { .. }), "{refused:?}");
    assert_eq!(node.takes(&owner).await.txid, Txid(5));
}

/// An actor that comes after the mover has passed its place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_actor_behind_the_mover_holds_the_shard() {
    let primaries = Primaries::new(2).await;
    let node = primaries.open().await;
    let owner = actor(&node, SHARD, "a", 1).await;
    let mover = stopped_at(&node, SHARD, "b", |step| matches!(step, MoveStep::Disposed(_)));
    mover.stops().await.unwrap();
    let least = stockade_depot::DbId::new(SHARD, [0; 15]);
    let late = actor_with(&node, &key_in(SHARD, "late", 0), least).await;
    assert_eq!(mover.ends().await.unwrap().databases, 2);
    lives(&node, &late).await;
    lives(&node, &owner).await;
}

/// Actors cannot be created where a shard has gone, whatever a process believes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_name_has_one_database() {
    let primaries = Primaries::new(2).await;
    let (node, old) = (primaries.open().await, primaries.open().await);
    let owner = actor(&node, SHARD, "a", 1).await;
    let mover = stopped_at(&node, SHARD, "b", |step| matches!(step, MoveStep::Disposed(_)));
    mover.stops().await.unwrap();
    let step = stockade_testkit::owner::create_step(old.store.as_ref(), owner.actor.key());
    let made = old.store.create(step).await.unwrap();
    assert!(matches!(made, stockade_depot::store::Created::Exists(_)), "{made:?}");
    mover.ends().await.unwrap();
    let late = Owner::create(&old.store, &key_in(SHARD, "b", 0)).await;
    assert_eq!(primaries.number(0, "SELECT count(*) FROM head").await, 0);
    lives(&node, &late).await;
    let taken = old.store.take_over(owner.takeover_step()).await.unwrap();
    assert!(matches!(taken, TakenOver::Moved(_)), "{taken:?}");
}
