//! Shards that move under open stores, by hand: old maps are refused and corrected, nothing is absent
//! where a shard is not, and nothing is made there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use stockade_depot::store::{Created, Keep, Pages as _, TakenOver, Versions as _};
use stockade_depot::{
    DbId, Fence, Generation, Origin, PageCount, Pgno, Shard, Store, StoreError, Token, Txid,
};
use stockade_testkit::owner::{Owner, actor_id, create_step};

use crate::world::{World, key_in};

/// A shard that begins at `a`.
const SHARD: Shard = Shard(0);
/// One that begins at `b`.
const OTHER: Shard = Shard(1);

const HERE: u8 = 0;
const LEAVING: u8 = 1;
const GONE: u8 = 2;
const COMING: u8 = 3;

fn is_elsewhere<T>(told: &Result<T, StoreError>) -> bool {
    matches!(told, Err(StoreError::Elsewhere { primary: None, .. }))
}

/// How many actors of this key a primary has.
async fn count(world: &World, schema: &str, key: &str) -> i64 {
    world.number(&format!("SELECT count(*) FROM {schema}.actor WHERE key = '{key}'")).await
}

/// Who may say that something of the shard is absent, and where it is made: `a`, `b`, or neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keeper {
    A,
    B,
    Nobody,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_absent_or_made_where_a_shard_is_not() {
    let world = World::new().await;
    let cases = [
        ((HERE, 0), (GONE, 0), Keeper::A),
        ((LEAVING, 1), (COMING, 1), Keeper::A),
        ((LEAVING, 1), (GONE, 0), Keeper::A),
        ((HERE, 0), (COMING, 1), Keeper::A),
        // The word of `a` counts at `b`, and only for the move that `a` speaks of.
        ((GONE, 1), (COMING, 1), Keeper::B),
        ((GONE, 1), (HERE, 1), Keeper::B),
        ((GONE, 1), (COMING, 3), Keeper::Nobody),
        ((GONE, 1), (GONE, 0), Keeper::Nobody),
        ((COMING, 2), (COMING, 1), Keeper::Nobody),
        ((COMING, 2), (LEAVING, 2), Keeper::B),
        ((COMING, 2), (HERE, 1), Keeper::B),
        ((COMING, 2), (GONE, 2), Keeper::A),
        ((COMING, 2), (GONE, 1), Keeper::Nobody),
    ];
    for (number, (a, b, keeper)) in (0..).zip(cases) {
        world.say(SHARD, a, b).await;
        let key = key_in(SHARD, 100 * number);
        for (program, from) in [("a", HERE), ("b", GONE)] {
            // Programs whose maps name one and the other.
            let (here, gone) = ((from, 0), (GONE - from, 0));
            world.say(SHARD, here, gone).await;
            let store: Arc<dyn Store> = Arc::new(world.another().await);
            world.say(SHARD, a, b).await;
            let case = format!("a {a:?}, b {b:?}, map {program}");
            let absent = store.actor(&actor_id(&key)).await;
            let db = DbId::new(SHARD, [5; 15]);
            let missing = [
                store.history(db).await.map(|it| it.is_none()),
                store.commits(db, Txid(0), 9).await.map(|it| it.is_empty()),
                store.commit_pages(db, Txid(1), Pgno(0), 9).await.map(|it| it.is_empty()),
                store.verdict(db, Txid(0)).await.map(|it| it == (None, None)),
                store.rows_of(db).await.map(|rows| rows == 0),
                store.unpin(db, Txid(0), "p").await.map(|()| true),
                store.count("ledger", SHARD, "").await.map(|it| it.actors == 0),
            ];
            let fence = Fence { db, generation: Generation(1), token: Token([1; 16]) };
            let confirmed = store.confirm(&[fence]).await.unwrap().remove(0);
            let read = store.read_at(db, Txid(0), Pgno(1), 1).await;
            if keeper == Keeper::Nobody {
                assert!(is_elsewhere(&absent), "{case}: {absent:?}");
                assert!(missing.iter().all(is_elsewhere), "{case}: {missing:?}");
                assert!(is_elsewhere(&confirmed) && is_elsewhere(&read), "{case}: {confirmed:?}");
            } else {
                assert_eq!(absent, Ok(None), "{case}");
                assert!(missing.iter().all(|told| *told == Ok(true)), "{case}: {missing:?}");
                assert_eq!(confirmed, Err(StoreError::DatabaseMissing(db)), "{case}");
                assert_eq!(read, Err(StoreError::DatabaseMissing(db)), "{case}");
            }
            let created = store.create(create_step(store.as_ref(), &key)).await;
            assert_eq!(is_elsewhere(&created), keeper == Keeper::Nobody, "{case}: {created:?}");
            let places = (count(&world, "A", &key).await, count(&world, "B", &key).await);
            let due = match keeper {
                Keeper::A => (1, 0),
                Keeper::B => (0, 1),
                Keeper::Nobody => (0, 0),
            };
            assert_eq!(places, due, "{case}");
            world
                .run(
                    "DELETE FROM A.head; DELETE FROM A.actor; DELETE FROM B.head; \
                DELETE FROM B.actor",
                )
                .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_with_an_old_map_finds_what_has_moved() {
    let world = World::new().await;
    let mut owner = Owner::create(&world.store, &key_in(SHARD, 0)).await;
    owner.commit(&[(1, 1), (2, 2)], 2).await;
    world.store.pin(owner.fence.db, Txid(1), "kept").await.unwrap();
    let before = owner.clone();
    world.say(SHARD, (LEAVING, 1), (COMING, 1)).await;
    world.carry(&owner).await;
    let db = owner.fence.db;
    // The database is at `b`, its shard is not.
    let state = owner.state().await.unwrap();
    assert!(state.head.sealed && state.head.txid == Txid(1));
    assert!(matches!(owner.try_commit(&[(1, 9)], 2).await, Err(StoreError::Fenced(_))));
    owner = Owner::of(&world.store, owner.actor.clone(), &state.head).successor().await;
    owner.commit(&[(1, 3)], 2).await;
    assert!(owner.verify().await.is_sound());
    let told = world.store.confirm(&[owner.fence, before.fence]).await.unwrap();
    assert!(told[0].is_ok() && matches!(told[1], Err(StoreError::Fenced(_))), "{told:?}");
    assert_eq!(world.number("SELECT max(txid) FROM A.head").await, 1);
    assert_eq!(world.number("SELECT max(txid) FROM B.head").await, 2);
    // Nothing is answered from what is left behind, also without a fence.
    let other = async || world.another().await;
    let history = other().await.history(db).await.unwrap().unwrap();
    assert_eq!(history.head, Txid(2));
    assert_eq!(other().await.commits(db, Txid(0), 9).await.unwrap().len(), 2);
    assert_eq!(other().await.commit_pages(db, Txid(2), Pgno(0), 9).await.unwrap().len(), 1);
    assert_eq!(other().await.read_at(db, Txid(2), Pgno(1), 9).await.unwrap()[0].txid, Txid(2));
    assert_eq!(other().await.verdict(db, Txid(2)).await.unwrap().0.unwrap().txid, Txid(2));
    let keep = Keep { commits_min: 0, age_ms_min: 0 };
    assert_eq!(other().await.raise_floor(db, keep).await.unwrap().head, Txid(2));
    other().await.pin(db, Txid(2), "late").await.unwrap();
    other().await.unpin(db, Txid(2), "late").await.unwrap();
    other().await.pin(db, Txid(2), "late").await.unwrap();
    let pins = (
        world.number("SELECT count(*) FROM A.pin").await,
        world.number("SELECT count(*) FROM B.pin").await,
    );
    assert_eq!(pins, (1, 2));
    // A name that has moved is taken, wherever it is asked for.
    let again = world.store.create(create_step(world.store.as_ref(), owner.actor.key())).await;
    assert!(matches!(again, Ok(Created::Exists(_))), "{again:?}");
    // The shard follows, and another program has the map of the beginning.
    let stale: Arc<dyn Store> = Arc::new(world.another().await);
    world.say(SHARD, (GONE, 1), (HERE, 1)).await;
    world.clean(SHARD).await;
    for store in [&stale, &world.store] {
        owner.store = Arc::clone(store);
        owner.commit(&[(2, owner.txid.0 + 5)], 2).await;
        assert_eq!(store.history(db).await.unwrap().unwrap().head, owner.txid);
        assert!(store.rows_of(db).await.unwrap() > 3);
        store.unpin(db, Txid(1), "kept").await.unwrap();
        store.pin(db, owner.txid, "kept").await.unwrap();
        assert!(owner.verify().await.is_sound());
        assert_eq!(store.count("ledger", SHARD, "").await.unwrap().actors, 1);
    }
    let sealed = world.store.seal(owner.seal_step(Some(b"state"))).await.unwrap();
    let TakenOver::Owned { head, snapshot, .. } =
        stale.take_over(owner.takeover_step()).await.unwrap()
    else {
        panic!("nobody stood in the way");
    };
    assert_eq!((head.txid, snapshot.unwrap().state), (sealed.txid, b"state".to_vec()));
}

/// It has left no row at the source, as one that has moved has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_was_made_at_the_target_is_found() {
    let world = World::new().await;
    let former = Owner::create(&world.store, &key_in(SHARD, 0)).await;
    world.say(SHARD, (LEAVING, 1), (COMING, 1)).await;
    world.carry(&former).await;
    // Destroyed there, and made again.
    world.run("DELETE FROM B.head; DELETE FROM B.actor").await;
    let mut owner = Owner::create(&world.store, &key_in(SHARD, 0)).await;
    assert_ne!(owner.fence.db, former.fence.db);
    assert_eq!(world.number("SELECT count(*) FROM B.head").await, 1);
    // Programs whose maps name the source, the creator's among them.
    for _ in 0..2 {
        owner.commit(&[(1, owner.txid.0)], 1).await;
        let (head, commit) = owner.store.verdict(owner.fence.db, owner.txid).await.unwrap();
        assert!(head.is_some() && commit.is_some());
        assert!(owner.verify().await.is_sound());
        owner.store = Arc::new(world.another().await);
    }
    let state = owner.state().await.unwrap();
    let successor = Owner::of(&owner.store, owner.actor.clone(), &state.head).successor().await;
    assert_eq!(successor.txid, owner.txid);
}

/// It is not made valid, and does not keep the name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_whose_original_was_destroyed_goes() {
    let world = World::new().await;
    let owner = Owner::create(&world.store, &key_in(SHARD, 0)).await;
    let key = owner.actor.key().to_owned();
    world.say(SHARD, (LEAVING, 1), (COMING, 1)).await;
    world.copy(&owner).await;
    world.run("DELETE FROM A.head; DELETE FROM A.actor").await;
    // A copy of a later move is not of this one.
    world.say(SHARD, (GONE, 1), (COMING, 3)).await;
    let told = world.store.actor(&owner.actor).await;
    assert!(is_elsewhere(&told), "{told:?}");
    assert_eq!(count(&world, "B", &key).await, 1);
    // The mover died behind the last step at the source.
    world.say(SHARD, (GONE, 1), (COMING, 1)).await;
    assert_eq!(world.store.actor(&owner.actor).await, Ok(None));
    assert_eq!(world.number("SELECT count(*) FROM B.head").await, 0);
    let made = world.store.create(create_step(world.store.as_ref(), &key)).await;
    assert!(matches!(made, Ok(Created::Made(_))), "{made:?}");
    assert_eq!(count(&world, "B", &key).await, 1);
    // A mover that was late has claimed what had moved and was destroyed.
    world.run("DELETE FROM B.head; DELETE FROM B.actor").await;
    world.say(SHARD, (LEAVING, 1), (COMING, 1)).await;
    let source: Arc<dyn Store> = Arc::new(world.another().await);
    let other = Owner::create(&source, &key_in(SHARD, 100)).await;
    world.copy(&other).await;
    world.seal("A", &other, 3).await;
    world.run("UPDATE B.head SET generation = 0").await;
    assert_eq!(source.actor(&other.actor).await, Ok(None));
    assert_eq!(world.number("SELECT count(*) FROM B.head").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_is_valid_once_its_original_has_moved() {
    let world = World::new().await;
    let mut owner = Owner::create(&world.store, &key_in(SHARD, 0)).await;
    owner.commit(&[(1, 1)], 1).await;
    world.say(SHARD, (LEAVING, 1), (COMING, 1)).await;
    world.copy(&owner).await;
    // A mover is on its way: it is read where it was.
    assert!(owner.head().await.sealed);
    assert_eq!(world.store.read_at(owner.fence.db, Txid(1), Pgno(1), 9).await.unwrap().len(), 1);
    assert_eq!(world.number("SELECT sealed FROM B.head").await, 4);
    // Nor is the copy made valid for a program whose map is wrong.
    world.say(SHARD, (GONE, 1), (HERE, 1)).await;
    let wrong: Arc<dyn Store> = Arc::new(world.another().await);
    world.say(SHARD, (LEAVING, 1), (COMING, 1)).await;
    assert!(wrong.actor(&owner.actor).await.unwrap().unwrap().head.sealed);
    assert_eq!(world.number("SELECT sealed FROM B.head").await, 4);
    // A mover died behind the moment of the move: the next step helps.
    world.seal("A", &owner, 3).await;
    let state = world.store.actor(&owner.actor).await.unwrap().unwrap();
    assert_eq!(world.number("SELECT sealed FROM B.head").await, 1);
    let mut owner = Owner::of(&world.store, owner.actor, &state.head).successor().await;
    owner.commit(&[(1, 2)], 1).await;
    assert!(owner.verify().await.is_sound());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_takeover_waits_for_a_mover_and_not_longer_than_two_seconds() {
    let world = World::new().await;
    for gives_back in [true, false] {
        let key = key_in(SHARD, if gives_back { 0 } else { 1000 });
        let mut owner = Owner::create(&world.store, &key).await;
        owner.commit(&[(1, 1)], 1).await;
        world.seal("A", &owner, 2).await;
        let (begun, store, step) =
            (Instant::now(), Arc::clone(&world.store), owner.takeover_step());
        let taking = tokio::spawn(async move { store.take_over(step).await });
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(!taking.is_finished(), "the mover has it");
        if gives_back {
            world.seal("A", &owner, 1).await;
        }
        let taken = taking.await.unwrap().unwrap();
        assert!(matches!(taken, TakenOver::Owned { .. }), "{taken:?}");
        assert_eq!(begun.elapsed() < Duration::from_secs(2), gives_back);
    }
    // The same of an import.
    let mut step = create_step(world.store.as_ref(), &key_in(SHARD, 2000));
    step.origin = Origin::Importing;
    let Ok(Created::Made(head)) = world.store.create(step.clone()).await else {
        panic!("nobody stood in the way");
    };
    let owner = Owner::of(&world.store, step.actor, &head);
    world.seal("A", &owner, 2).await;
    let begun = Instant::now();
    let taken = world.store.take_over_import(owner.takeover_step()).await.unwrap();
    assert!(matches!(taken, TakenOver::Owned { .. }), "{taken:?}");
    assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
}

/// What waits for a mover's last step sees what that has changed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_in_flight_is_waited_for() {
    let world = World::new().await;
    let mut owner = Owner::create(&world.store, &key_in(SHARD, 0)).await;
    owner.commit(&[(1, 1)], 1).await;
    let db = owner.fence.db;
    world.store.pin(db, Txid(1), "kept").await.unwrap();
    world.say(SHARD, (LEAVING, 1), (COMING, 1)).await;
    let watcher = world.databases[0].client().await;
    // An unpin waits for the head, and is done where the database is then.
    world.copy(&owner).await;
    world.run("BEGIN; UPDATE A.head SET sealed = 3; UPDATE B.head SET sealed = 1").await;
    let store = Arc::clone(&world.store);
    let unpin = tokio::spawn(async move { store.unpin(db, Txid(1), "kept").await });
    crate::until_one_waits(&watcher, "Lock").await;
    world.run("COMMIT").await;
    unpin.await.unwrap().unwrap();
    assert_eq!(world.number("SELECT count(*) FROM A.pin").await, 1);
    assert_eq!(world.number("SELECT count(*) FROM B.pin").await, 0);
    // A create waits for the shard, and makes nothing where that is not any more.
    let [a, b] = ["A", "B"].map(|schema| {
        let (state, peer) = if schema == "A" { (GONE, "'b'") } else { (HERE, "NULL") };
        format!(
            "UPDATE {schema}.shard SET state = {state}, peer = {peer} WHERE number = {}",
            SHARD.0
        )
    });
    world.run(&format!("BEGIN; {a}; {b}")).await;
    let (store, key) = (Arc::clone(&world.store), key_in(SHARD, 1000));
    let step = create_step(store.as_ref(), &key);
    let create = tokio::spawn(async move { store.create(step).await });
    crate::until_one_waits(&watcher, "Lock").await;
    world.run("COMMIT").await;
    assert!(matches!(create.await.unwrap(), Ok(Created::Made(_))));
    assert_eq!((count(&world, "A", &key).await, count(&world, "B", &key).await), (0, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_are_whole_while_shards_move() {
    let world = World::new().await;
    let mut owners = Vec::new();
    for number in 0..24 {
        let shard = Shard(number % 4);
        let mut owner = Owner::create(&world.store, &key_in(shard, 50 * u32::from(number))).await;
        owner.commit(&[(1, 1)], 1).await;
        owners.push(owner);
    }
    owners.sort_by(|a, b| a.actor.cmp(&b.actor));
    let due: Vec<String> = owners.iter().map(|owner| owner.actor.to_string()).collect();
    let stale: Arc<dyn Store> = Arc::new(world.another().await);
    let check = async |what: &str| {
        for (store, max) in [(&world.store, 1000), (&stale, 3), (&world.store, 1)] {
            let (mut all, mut after) = (Vec::new(), None);
            loop {
                let page = store.actors(Some("ledger"), after.as_ref(), max).await.unwrap();
                let Some(last) = page.last() else { break };
                after = Some(last.row.actor.clone());
                all.extend(page.iter().map(|state| state.row.actor.to_string()));
            }
            assert_eq!(all, due, "{what}, {max} at a time");
        }
    };
    check("nothing moves").await;
    world.say(SHARD, (LEAVING, 1), (COMING, 1)).await;
    let of_shard: Vec<&Owner> =
        owners.iter().filter(|owner| owner.fence.db.shard() == SHARD).collect();
    world.carry(of_shard[0]).await;
    world.carry(of_shard[2]).await;
    check("some have moved").await;
    let key = of_shard[0].actor.key();
    let condemned = |schema| format!("UPDATE {schema}.actor SET wanted = 1 WHERE key = '{key}';");
    world.run(&(condemned("A") + &condemned("B"))).await;
    let destroying = world.store.destroying(9).await.unwrap();
    assert!(destroying.len() == 1 && destroying[0].row.actor == of_shard[0].actor);
    world.copy(of_shard[1]).await;
    check("one is being moved").await;
    world.seal("A", of_shard[1], 3).await;
    check("one is not valid yet").await;
    for owner in &of_shard[3..] {
        world.carry(owner).await;
    }
    world.say(SHARD, (GONE, 1), (COMING, 1)).await;
    check("the shard has gone").await;
    world.say(SHARD, (GONE, 1), (HERE, 1)).await;
    check("the shard is there").await;
    world.clean(SHARD).await;
    check("the rows have gone").await;
    world.say(OTHER, (GONE, 0), (GONE, 1)).await;
    let told = world.store.actors(None, None, 9).await;
    assert!(matches!(told, Err(StoreError::Unavailable(_))), "a shard is nowhere: {told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_base_answers_from_its_own_primary() {
    let world = World::new().await;
    let mut base = Owner::create(&world.store, &key_in(SHARD, 0)).await;
    base.commit(&[(1, 1), (2, 2)], 2).await;
    let mut child = Owner::create(&world.store, &key_in(OTHER, 0)).await;
    let (db, of) = (hex::encode(base.fence.db.0), hex::encode(child.fence.db.0));
    world
        .run(&format!(
            "UPDATE B.head SET base_db = '\\x{db}', base_txid = 1, page_count = 2 WHERE db = '\\x{of}'"
        ))
        .await;
    child.page_count = PageCount(2);
    child.commit(&[(2, 7)], 2).await;
    let pages = [Pgno(2), Pgno(1)];
    let read = world.store.read(child.fence, Txid(1), &pages).await.unwrap();
    let base_read = base.read_one(1, 1).await.unwrap();
    assert_eq!((read.pages[0].txid, &read.pages[1].bytes), (Txid(1), &base_read));
    // The base has moved in between.
    world.say(SHARD, (GONE, 1), (HERE, 1)).await;
    world.carry(&base).await;
    world.run("DELETE FROM A.page").await;
    assert_eq!(world.store.read(child.fence, Txid(1), &pages).await.unwrap(), read);
}
