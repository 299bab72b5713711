//! A target that has something of the shard already: of an earlier move, or of a mover that ended.

use stockade_depot::Shard;
use stockade_depot::store::Wanted;
use stockade_postgres::MoveStep;
use stockade_testkit::owner::Owner;

use crate::stage::{Primaries, actor, lives, stopped_at};

/// Of `a` in the beginning.
const SHARD: Shard = Shard(2);

/// A database that nothing leads to, with an actor, commits, pages and pins.
fn junk(sealed: u8, number: u8, key: &str) -> String {
    let db = format!("decode('{:02x}{number:02x}' || repeat('00', 14), 'hex')", SHARD.0);
    let (zeros, hash) = ("decode(repeat('00', 16), 'hex')", "decode(repeat('00', 32), 'hex')");
    format!(
        "INSERT INTO head (db, generation, token, owner, txid, page_count, chain, sealed, origin, floor, \
         format, time_ms, name) VALUES ({db}, 9, {zeros}, {zeros}, 1, 1, {hash}, {sealed}, 0, 0, 2, 1, \
         {zeros}); \
         INSERT INTO actor (kind, key, db, shard, component, wanted, restarts) \
         VALUES ('ledger', '{key}', {db}, {}, {hash}, 0, 0); \
         INSERT INTO \"commit\" (db, txid, generation, page_count, content, chain, stage, time_ms) \
         VALUES ({db}, 1, 9, 1, {hash}, {hash}, '', 1); \
         INSERT INTO page (db, pgno, txid, stage, sum, bytes) \
         SELECT {db}, n, 1, '', {zeros}, 'x' FROM generate_series(1, 4500) n; \
         INSERT INTO pin (db, txid, name) VALUES ({db}, 1, 'p')",
        SHARD.0
    )
}

async fn is_clean(primaries: &Primaries, node: &crate::stage::Node, owner: &Owner) {
    lives(node, owner).await;
    assert_eq!(primaries.number(1, "SELECT count(*) FROM head").await, 1);
    for table in ["page", "\"commit\"", "pin", "actor"] {
        let others = format!("SELECT count(*) FROM {table} WHERE db NOT IN (SELECT db FROM head)");
        assert_eq!(primaries.number(1, &others).await, 0, "{table}");
    }
    assert_eq!(primaries.number(1, "SELECT count(*) FROM pin").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_earlier_move_left_goes_first() {
    let primaries = Primaries::new(2).await;
    let node = primaries.open().await;
    let owner = actor(&node, SHARD, "a", 3).await;
    // Heads that route to where the shard went then, one with the name of an actor that lives.
    let client = primaries.client(1).await;
    client.batch_execute(&junk(3, 7, owner.actor.key())).await.unwrap();
    client.batch_execute(&junk(3, 8, "x")).await.unwrap();
    client.batch_execute(&junk(4, 9, "y")).await.unwrap();
    node.moves(SHARD, "b").await.unwrap();
    is_clean(&primaries, &node, &owner).await;
}

/// Copies of databases that were destroyed since, one with the name of an actor that lives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_of_what_is_gone_go() {
    let primaries = Primaries::new(2).await;
    let node = primaries.open().await;
    let owner = actor(&node, SHARD, "a", 3).await;
    let mover = stopped_at(&node, SHARD, "b", |step| matches!(step, MoveStep::Begun));
    mover.stops().await.unwrap();
    let client = primaries.client(1).await;
    client.batch_execute(&junk(4, 7, owner.actor.key())).await.unwrap();
    client.batch_execute(&junk(4, 8, "x")).await.unwrap();
    mover.ends().await.unwrap();
    is_clean(&primaries, &node, &owner).await;
}

/// A copy of the database itself, by a mover that ended, with pages that are not the database's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_a_mover_that_ended_is_made_again() {
    let primaries = Primaries::new(2).await;
    let node = primaries.open().await;
    let owner = actor(&node, SHARD, "a", 3).await;
    let mover = stopped_at(&node, SHARD, "b", |step| matches!(step, MoveStep::Copied(_)));
    mover.stops().await.unwrap();
    mover.dies().await;
    let wrong = "UPDATE page SET bytes = decode('00', 'hex') WHERE pgno = 1";
    assert_eq!(primaries.past(1, wrong).await, 3);
    let more = "INSERT INTO page (db, pgno, txid, stage, sum, bytes) \
        SELECT db, 9, 2, '', sum, bytes FROM page WHERE pgno = 1 AND txid = 2";
    assert_eq!(primaries.past(1, more).await, 1);
    node.moves(SHARD, "b").await.unwrap();
    assert_eq!(primaries.number(1, "SELECT count(*) FROM page").await, 6);
    is_clean(&primaries, &node, &owner).await;
}

/// A mover that claims a copy long after the database has arrived, and was destroyed there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_claim_brings_nothing_back() {
    let primaries = Primaries::new(2).await;
    let (node, other) = (primaries.open().await, primaries.open().await);
    let owner = actor(&node, SHARD, "a", 3).await;
    let mover = stopped_at(&node, SHARD, "b", |step| matches!(step, MoveStep::Disposed(_)));
    mover.stops().await.unwrap();
    let owner = lives(&other, &owner).await;
    let late = "CREATE TABLE late AS SELECT * FROM head";
    primaries.client(1).await.batch_execute(late).await.unwrap();
    let mut step = owner.takeover_step();
    step.destroying = true;
    let taken = other.store.take_over(step).await.unwrap();
    let stockade_depot::store::TakenOver::Owned { head, .. } = taken else { panic!("{taken:?}") };
    while other.store.destroy(&owner.actor, head.fence).await.unwrap()
        != stockade_depot::store::Destroyed::Gone
    {}
    primaries.past(1, "UPDATE late SET sealed = 4, generation = 0, txid = 3").await;
    primaries.past(1, "INSERT INTO head SELECT * FROM late").await;
    mover.ends().await.unwrap();
    assert_eq!(primaries.number(1, "SELECT count(*) FROM head").await, 0);
    assert_eq!(node.store.actor(&owner.actor).await.unwrap(), None);
    assert_eq!(node.keeper(SHARD).await, "b");
}

/// An actor is destroyed, and made again with its name, while its database is on its way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_is_used_again_moves() {
    let primaries = Primaries::new(2).await;
    let (node, other) = (primaries.open().await, primaries.open().await);
    let owner = actor(&node, SHARD, "a", 3).await;
    let mover = stopped_at(&node, SHARD, "b", |step| matches!(step, MoveStep::Complete(_)));
    mover.stops().await.unwrap();
    let owner = other.takes(&owner).await;
    let mut step = owner.takeover_step();
    step.destroying = true;
    let taken = other.store.take_over(step).await.unwrap();
    let stockade_depot::store::TakenOver::Owned { head, .. } = taken else { panic!("{taken:?}") };
    while other.store.destroy(&owner.actor, head.fence).await.unwrap()
        != stockade_depot::store::Destroyed::Gone
    {}
    let mut again = Owner::create(&other.store, owner.actor.key()).await;
    again.commit(&[(1, 1)], 1).await;
    mover.ends().await.unwrap();
    let state = node.store.actor(&owner.actor).await.unwrap().unwrap();
    assert_eq!((state.row.db, state.row.wanted), (again.fence.db, Wanted::Present));
    is_clean(&primaries, &node, &again).await;
}

/// An import begins again between two tries of a mover: its commits have the numbers of the first ones.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_that_begins_again_moves_as_it_is() {
    use stockade_depot::store::{Created, Emptied, TakenOver};
    use stockade_depot::{Origin, Txid};
    use stockade_testkit::owner::{actor_id, create_step, page};
    let primaries = Primaries::new(2).await;
    let (node, other) = (primaries.open().await, primaries.open().await);
    let key = crate::stage::key_in(SHARD, "import", 0);
    let mut step = create_step(node.store.as_ref(), &key);
    step.origin = Origin::Importing;
    let Created::Made(head) = node.store.create(step).await.unwrap() else { panic!("{key}") };
    let mut import = Owner::of(&node.store, actor_id(&key), &head);
    import.commit(&[(1, 1), (2, 1), (3, 1)], 3).await;
    let mover = stopped_at(&node, SHARD, "b", |step| matches!(step, MoveStep::Complete(_)));
    mover.stops().await.unwrap();
    let head = import.head().await;
    let found = Owner::of(&other.store, import.actor.clone(), &head);
    let taken = other.store.take_over_import(found.takeover_step()).await.unwrap();
    let TakenOver::Owned { head, .. } = taken else { panic!("{taken:?}") };
    while other.store.empty_import(head.fence).await.unwrap() == Emptied::More {}
    let empty = other.store.verdict(head.fence.db, Txid(0)).await.unwrap().0.unwrap();
    let mut import = Owner::of(&other.store, import.actor.clone(), &empty);
    import.commit(&[(1, 2), (2, 2)], 2).await;
    other.store.finish_import(import.fence, Txid(1)).await.unwrap();
    mover.ends().await.unwrap();
    let expected: Vec<u8> = [page(1, 2), page(2, 2)].concat();
    assert_eq!(import.export(None).await, expected);
    is_clean(&primaries, &node, &import).await;
}
