//! What moves: everything of a database, as it was.

use stockade_depot::store::{Created, FORK_PIN_PREFIX, TakenOver, Wanted};
use stockade_depot::{Origin, Pgno, Shard, StoreError, Token, Txid};
use stockade_postgres::MoveError;
use stockade_testkit::contract::retention::{NOTHING, trim};
use stockade_testkit::contract::stage::large;
use stockade_testkit::owner::{Owner, actor_id, create_step};

use crate::stage::{Node, Primaries, actor, history_of, key_in, lives};

/// Of `a` in the beginning.
const SHARD: Shard = Shard(4);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_moves_with_all_of_its_history() {
    let primaries = Primaries::new(2).await;
    let node = primaries.open().await;
    // More pages than one step of a copy carries.
    let mut long = actor(&node, SHARD, "long", 3).await;
    let pages: Vec<(u32, u64)> = (1..=2100).map(|pgno| (pgno, 4)).collect();
    long.commit(&pages, 2100).await;
    for version in 5..=90 {
        long.commit(&[(version, version.into()), (2100, version.into())], 2100).await;
    }
    let mut staged = actor(&node, SHARD, "staged", 2).await;
    let (steps, commit) = large(&staged, &[&[(1, 3), (3, 3)], &[(4, 3)], &[(5, 3)]], 5);
    for step in steps {
        node.store.stage(step).await.unwrap();
    }
    staged.send(commit).await.unwrap();
    staged.commit(&[(5, 4)], 5).await;
    // A stage of a commit that is not made.
    let (steps, _) = large(&staged, &[&[(1, 5), (2, 5)], &[(3, 5)]], 5);
    node.store.stage(steps[0].clone()).await.unwrap();
    let mut trimmed = actor(&node, SHARD, "trimmed", 20).await;
    node.store.pin(trimmed.fence.db, Txid(7), "bookmark").await.unwrap();
    assert_eq!(trim(&trimmed, NOTHING).await.floor, Txid(7));
    trimmed.commit(&[(1, 21)], 1).await;
    let empty = actor(&node, SHARD, "empty", 0).await;

    let owners = [&long, &staged, &trimmed, &empty];
    let mut before = Vec::new();
    for owner in owners {
        before.push((owner.everything().await, history_of(&owner.head().await)));
    }
    let early = long.export(Some(3)).await;
    let moved = node.moves(SHARD, "b").await.unwrap();
    assert_eq!((moved.databases, moved.retaken, moved.was_there), (4, 0, false), "{moved:?}");
    assert!(moved.pages > 2100 && moved.bytes > 1 << 20, "{moved:?}");
    assert_eq!(node.keeper(SHARD).await, "b");
    for (owner, (everything, history)) in owners.into_iter().zip(before) {
        let (state, export, rows, contents) = everything;
        let (now, export_now, rows_now, contents_now) = owner.everything().await;
        let (state, now) = (state.unwrap(), now.unwrap());
        assert_eq!(now.row, state.row);
        assert_eq!((export_now, contents_now), (export, contents), "{}", owner.actor);
        // Uncommitted stages stay behind: three rows of the one database that has one.
        let behind = if owner.actor == staged.actor { 3 } else { 0 };
        assert_eq!(rows_now + behind, rows, "{}", owner.actor);
        assert_eq!(history_of(&owner.head().await), history);
        assert!(owner.verify().await.is_sound(), "{}", owner.actor);
    }
    assert_eq!(long.export(Some(3)).await, early);
    let gone = node.store.read_at(trimmed.fence.db, Txid(6), Pgno(1), 1).await;
    assert!(matches!(gone, Err(StoreError::HistoryGone { floor: Txid(7), .. })), "{gone:?}");
    assert_eq!(trim(&trimmed, NOTHING).await.floor, Txid(7), "the pin came along");
    node.store.unpin(trimmed.fence.db, Txid(7), "bookmark").await.unwrap();
    assert_eq!(trim(&trimmed, NOTHING).await.floor, Txid(21));
    for owner in owners {
        assert!(matches!(
            node.store.confirm(&[owner.fence]).await.unwrap()[0],
            Err(StoreError::Fenced(_))
        ));
        lives(&node, owner).await;
    }
    // Nothing is left at the source.
    for table in ["head", "page", "\"commit\"", "stage", "pin", "snapshot", "actor"] {
        let left = primaries.number(0, &format!("SELECT count(*) FROM {table}")).await;
        assert_eq!(left, 0, "{table}");
    }
}

/// Whether a snapshot is current, as a takeover decides.
async fn is_current(node: &Node, owner: &Owner) -> Option<bool> {
    let state = node.store.actor(&owner.actor).await.unwrap().unwrap();
    let found = Owner::of(&node.store, owner.actor.clone(), &state.head);
    let TakenOver::Owned { head, snapshot, .. } =
        node.store.take_over(found.takeover_step()).await.unwrap()
    else {
        panic!("nobody stands in the way");
    };
    let current = |of: stockade_depot::store::Snapshot| {
        of.generation == state.head.fence.generation && of.txid == head.txid
    };
    snapshot.map(current)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_stays_current_and_an_old_one_old() {
    let primaries = Primaries::new(2).await;
    let node = primaries.open().await;
    let sealed = actor(&node, SHARD, "sealed", 2).await;
    node.store.seal(sealed.seal_step(Some(b"in memory"))).await.unwrap();
    let old = actor(&node, SHARD, "old", 2).await;
    node.store.seal(old.seal_step(Some(b"before"))).await.unwrap();
    // It runs, and would not get the state again.
    let old = old.successor().await;
    let heir = actor(&node, SHARD, "heir", 1).await;
    let mut step = heir.seal_step(None);
    step.heir = Some(Token([3; 16]));
    node.store.seal(step).await.unwrap();
    node.moves(SHARD, "b").await.unwrap();
    assert_eq!(is_current(&node, &sealed).await, Some(true));
    assert_eq!(is_current(&node, &old).await, Some(false));
    assert_eq!(is_current(&node, &heir).await, None);
}

/// The same through a mover that took it and ended, and one that took it from that one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_stays_current_through_two_movers() {
    use stockade_postgres::MoveStep;
    let primaries = Primaries::new(2).await;
    let node = primaries.open().await;
    let sealed = actor(&node, SHARD, "sealed", 2).await;
    node.store.seal(sealed.seal_step(Some(b"in memory"))).await.unwrap();
    let mover =
        crate::stage::stopped_at(&node, SHARD, "b", |step| matches!(step, MoveStep::Complete(_)));
    mover.stops().await.unwrap();
    mover.dies().await;
    node.moves(SHARD, "b").await.unwrap();
    assert_eq!(is_current(&node, &sealed).await, Some(true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_imported_or_destroyed_moves_as_it_is() {
    let primaries = Primaries::new(2).await;
    let node = primaries.open().await;
    let key = key_in(SHARD, "imported", 0);
    let mut step = create_step(node.store.as_ref(), &key);
    step.origin = Origin::Importing;
    let Created::Made(head) = node.store.create(step).await.unwrap() else { panic!("{key}") };
    let mut import = Owner::of(&node.store, actor_id(&key), &head);
    import.commit(&[(1, 1), (2, 1)], 2).await;
    let condemned = actor(&node, SHARD, "condemned", 2).await;
    let mut step = condemned.takeover_step();
    step.destroying = true;
    node.store.take_over(step).await.unwrap();
    let base = actor(&node, SHARD, "base", 1).await;
    let fork = format!("{FORK_PIN_PREFIX}child");
    node.store.pin(base.fence.db, Txid(1), &fork).await.unwrap();
    node.moves(SHARD, "b").await.unwrap();

    let head = import.head().await;
    assert_eq!((head.origin, head.txid), (Origin::Importing, Txid(1)));
    let found = Owner::of(&node.store, import.actor.clone(), &head);
    let taken = node.store.take_over_import(found.takeover_step()).await.unwrap();
    let TakenOver::Owned { head, .. } = taken else { panic!("{taken:?}") };
    node.store.finish_import(head.fence, Txid(1)).await.unwrap();
    lives(&node, &import).await;

    let state = node.store.actor(&condemned.actor).await.unwrap().unwrap();
    assert_eq!(state.row.wanted, Wanted::Destroying);
    assert_eq!(node.store.destroying(10).await.unwrap().len(), 1);
    let mut step = Owner::of(&node.store, base.actor.clone(), &base.head().await).takeover_step();
    step.destroying = true;
    let has_forks = node.store.take_over(step).await;
    assert_eq!(has_forks, Err(StoreError::HasForks(base.fence.db)));
}

/// Actors are created in the shard all the time, behind the mover's list and in front of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_with_many_actors_moves_while_more_come() {
    let primaries = Primaries::new(2).await;
    let node = primaries.open().await;
    for n in 0..300 {
        let mut owner = Owner::create(&node.store, &key_in(SHARD, "many", n)).await;
        if n % 10 == 0 {
            owner.commit(&[(1, 1)], 1).await;
        }
        if n > 30 && n % 100 != 0 {
            break;
        }
    }
    let creating = node.clone();
    let create = tokio::spawn(async move {
        let mut made = Vec::new();
        for n in 0..60 {
            made.push(Owner::create(&creating.store, &key_in(SHARD, "more", n)).await);
        }
        made
    });
    node.moves(SHARD, "b").await.unwrap();
    let made = create.await.unwrap();
    assert_eq!(node.keeper(SHARD).await, "b");
    for owner in made {
        lives(&node, &owner).await;
    }
    assert_eq!(primaries.number(0, "SELECT count(*) FROM head").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_that_cannot_be_is_refused() {
    let primaries = Primaries::new(2).await;
    let node = primaries.open().await;
    let there = node.moves(SHARD, "a").await.unwrap();
    assert!(there.was_there && there.databases == 0);
    let unknown = node.moves(SHARD, "x").await.unwrap_err();
    assert!(matches!(&unknown, MoveError::UnknownPrimary { known, .. } if known == &["a", "b"]));
    assert_eq!(unknown.to_string(), "no primary is called \"x\": this process knows a, b");
    // A program that would make actors in a shard that has gone.
    let former = "INSERT INTO node (session, address, counter, pid, version, format_min, format_max) \
        VALUES (decode('00112233445566778899aabbccddeeff', 'hex'), 'here:1', 1, 1, '0.1.0', 2, 2)";
    primaries.past(0, former).await;
    let refused = node.moves(SHARD, "b").await.unwrap_err();
    assert!(
        matches!(&refused, MoveError::Former { address, .. } if address == "here:1"),
        "{refused}"
    );
}
