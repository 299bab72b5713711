//! Groups of commits: who is in one, who is refused in one, and who fails in one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use stockade_depot::{Fence, StoreError, Txid};
use stockade_postgres::PgStores;
use stockade_testkit::owner::{Owner, page};
use stockade_testkit::relay::Relay;

use crate::kit::{self, config};
use crate::open;

/// Owners whose commits go through one committer.
async fn owners(count: u64) -> (Vec<Owner>, kit::server::Database) {
    let database = kit::server().database().await;
    let mut config = config(&database, "");
    config.committers = 1;
    let store = open(&config).await;
    let mut owners = Vec::new();
    for n in 0..count {
        let mut owner = Owner::create(&store, &format!("actor {n}")).await;
        owner.commit(&[(1, 1), (2, 1)], 2).await;
        owners.push(owner);
    }
    (owners, database)
}

/// Holds the committer up: the first of a batch waits for a head, the others gather behind it.
async fn behind(client: &tokio_postgres::Client, held: Fence, work: impl AsyncFnOnce()) {
    client.batch_execute("BEGIN").await.unwrap();
    let lock = "SELECT 1 FROM head WHERE db = $1 FOR UPDATE";
    client.query_one(lock, &[&&held.db.0[..]]).await.unwrap();
    work().await;
    client.batch_execute("COMMIT").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_refused_of_a_group_stop_nobody() {
    let (mut owners, database) = owners(24).await;
    let client = database.client().await;
    let watcher = database.client().await;
    let mut tasks = Vec::new();
    let first = owners[0].fence;
    behind(&client, first, async || {
        let mut lead = owners.remove(0);
        tasks.push((0, tokio::spawn(async move { lead.try_commit(&[(1, 2)], 2).await })));
        crate::until_one_waits(&watcher, "Lock").await;
        for (n, owner) in (1..).zip(&owners) {
            let mut owner = owner.clone();
            // Stale, with holes, malformed token, or right.
            match n % 4 {
                1 => owner.txid = Txid(0),
                2 => owner.fence.token.0[0] ^= 1,
                _ => {}
            }
            let count = if n % 4 == 3 { 5 } else { 2 };
            let step = async move { owner.try_commit(&[(1, 2)], count).await };
            tasks.push((n, tokio::spawn(step)));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    })
    .await;
    for (n, task) in tasks {
        let told = task.await.unwrap();
        match n % 4 {
            1 | 2 => assert!(matches!(told, Err(StoreError::Fenced(_))), "{n}: {told:?}"),
            3 => assert!(matches!(told, Err(StoreError::Corrupt(_))), "{n}: {told:?}"),
            _ => assert_eq!(told, Ok(()), "{n}"),
        }
    }
    for (n, owner) in (1..).zip(&owners) {
        let due = if n % 4 == 0 { 2 } else { 1 };
        let head = owner.head().await;
        assert_eq!(head.txid, Txid(due), "{n}");
        assert_eq!(owner.read_one(due, 1).await.unwrap(), page(1, due), "{n}");
        assert!(owner.verify().await.is_sound());
    }
}

/// A takeover that is in flight when a group comes to its head: the group waits, and only that member
/// is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_takeover_in_flight_refuses_one_of_a_group() {
    let (owners, database) = owners(8).await;
    let client = database.client().await;
    let watcher = database.client().await;
    let (taken, first) = (owners[5].fence, owners[0].fence);
    let mut tasks = Vec::new();
    client.batch_execute("BEGIN").await.unwrap();
    let raise = "UPDATE head SET generation = generation + 1, token = $2 WHERE db = $1";
    client.execute(raise, &[&&taken.db.0[..], &&[7_u8; 16][..]]).await.unwrap();
    // The committer is held up by another head first, so that the rest is one group.
    let holder = database.client().await;
    behind(&holder, first, async || {
        let mut lead = owners[0].clone();
        tasks.push(tokio::spawn(async move { lead.try_commit(&[(1, 2)], 2).await }));
        crate::until_one_waits(&watcher, "Lock").await;
        for owner in &owners[1..] {
            let mut owner = owner.clone();
            tasks.push(tokio::spawn(async move { owner.try_commit(&[(1, 2)], 2).await }));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    })
    .await;
    crate::until_one_waits(&watcher, "Lock").await;
    client.batch_execute("COMMIT").await.unwrap();
    for (n, task) in tasks.into_iter().enumerate() {
        let told = task.await.unwrap();
        if n == 5 {
            assert!(matches!(told, Err(StoreError::Fenced(_))), "{told:?}");
        } else {
            assert_eq!(told, Ok(()), "{n}");
        }
    }
    assert_eq!(owners[5].head().await.txid, Txid(1));
    assert_eq!(owners[5].store.rows_of(taken.db).await, Ok(5), "nothing of it was written");
}

/// A statement that fails because of one member is tried member by member.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_fails_does_not_fail_its_group() {
    let (owners, database) = owners(6).await;
    let client = database.client().await;
    let watcher = database.client().await;
    let bad = hex::encode(owners[3].fence.db.0);
    let trigger = format!(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN
           IF NEW.db = '\\x{bad}'::bytea THEN RAISE EXCEPTION 'made up' USING ERRCODE = '22000';
           END IF; RETURN NEW; END $f$;
         CREATE TRIGGER refuse BEFORE INSERT ON page FOR EACH ROW EXECUTE FUNCTION refuse();"
    );
    client.batch_execute(&trigger).await.unwrap();
    let mut tasks = Vec::new();
    behind(&client, owners[0].fence, async || {
        let mut lead = owners[0].clone();
        tasks.push(tokio::spawn(async move { lead.try_commit(&[(1, 2)], 2).await }));
        crate::until_one_waits(&watcher, "Lock").await;
        for owner in &owners[1..] {
            let mut owner = owner.clone();
            tasks.push(tokio::spawn(async move { owner.try_commit(&[(1, 2)], 2).await }));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    })
    .await;
    for (n, task) in tasks.into_iter().enumerate() {
        let told = task.await.unwrap();
        if n == 3 {
            assert!(matches!(told, Err(StoreError::Unavailable(_))), "{told:?}");
        } else {
            assert_eq!(told, Ok(()), "{n}");
        }
    }
}

/// A pool that is used up says so, after a while; commits and reads have connections of their own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_that_is_used_up_says_so() {
    let database = kit::server().database().await;
    let mut config = config(&database, "");
    config.connections = 1;
    let store: Arc<dyn stockade_depot::Store> =
        Arc::new(PgStores::open(std::slice::from_ref(&config)).await.unwrap());
    let mut owner = Owner::create(&store, "a").await;
    let other = Owner::create(&store, "b").await;
    let client = database.client().await;
    let watcher = database.client().await;
    behind(&client, other.fence, async || {
        let taken = tokio::spawn({
            let other = other.clone();
            async move { other.store.take_over(other.takeover_step()).await }
        });
        crate::until_one_waits(&watcher, "Lock").await;
        owner.commit(&[(1, 1)], 1).await;
        assert_eq!(owner.read_one(1, 1).await.unwrap(), page(1, 1));
        let told = owner.store.confirm(&[owner.fence]).await.unwrap();
        assert!(
            matches!(&told[..], [Err(StoreError::Unavailable(what))] if what.contains("in use")),
            "{told:?}"
        );
        taken.abort();
    })
    .await;
    assert_eq!(owner.store.confirm(&[owner.fence]).await.unwrap(), [Ok(())]);
}

/// A flight takes 200 ms, and making a connection two of them: longer than some callers wait. One after
/// the other the reads would take 8 s.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_share_a_connection_while_all_are_in_use() {
    let database = kit::server().database().await;
    let relay = Relay::start("127.0.0.1", &format!("127.0.0.1:{}", database.port)).unwrap();
    let mut config = kit::at(relay.address.port(), &database, "");
    (config.connections, config.committers) = (1, 1);
    let store = open(&config).await;
    let mut owner = Owner::create(&store, "a").await;
    owner.commit(&[(1, 1)], 1).await;
    let other = Owner::create(&store, "b").await;
    let client = database.client().await;
    let watcher = database.client().await;
    behind(&client, other.fence, async || {
        let taken = tokio::spawn({
            let other = other.clone();
            async move { other.store.take_over(other.takeover_step()).await }
        });
        crate::until_one_waits(&watcher, "Lock").await;
        relay.slow(Duration::from_millis(100));
        // Given up before the connection is made, which is not made once more.
        for _ in 0..2 {
            let hasty = tokio::time::timeout(Duration::from_millis(100), owner.read_one(1, 1));
            assert!(hasty.await.is_err());
        }
        let begun = Instant::now();
        let reads: Vec<_> = (0..40)
            .map(|_| {
                let owner = owner.clone();
                tokio::spawn(async move { owner.read_one(1, 1).await })
            })
            .collect();
        for read in reads {
            assert_eq!(read.await.unwrap().unwrap(), page(1, 1));
        }
        assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
        let connections = "SELECT count(*) FROM pg_stat_activity \
            WHERE datname = current_database() AND application_name = 'stockade'";
        let connections: i64 = watcher.query_one(connections, &[]).await.unwrap().get(0);
        assert_eq!(connections, 3, "the step's, the committer's, and one for all reads");
        taken.abort();
    })
    .await;
}

/// A caller that gives up while a connection is made for it leaves it to the next one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_is_made_for_callers_that_do_not_wait_as_long() {
    let database = kit::server().database().await;
    let relay = Relay::start("127.0.0.1", &format!("127.0.0.1:{}", database.port)).unwrap();
    let store = open(&kit::at(relay.address.port(), &database, "")).await;
    relay.slow(Duration::from_millis(100));
    // Two flights to connect, and one each to prepare the statement and to ask.
    for tries in 0.. {
        assert!(tries < 10, "no connection is left");
        let hasty = tokio::time::timeout(Duration::from_millis(500), store.kinds(None, 1));
        if hasty.await.is_ok() {
            break;
        }
    }
}

/// A flight takes 800 ms. What comes while a group is under way is sent behind it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_are_sent_before_the_one_before_them_is_answered() {
    let database = kit::server().database().await;
    let relay = Relay::start("127.0.0.1", &format!("127.0.0.1:{}", database.port)).unwrap();
    let mut config = kit::at(relay.address.port(), &database, "");
    config.committers = 1;
    let store = open(&config).await;
    let mut owners = Vec::new();
    for n in 0..4 {
        let mut owner = Owner::create(&store, &format!("actor {n}")).await;
        owner.commit(&[(1, 1)], 1).await;
        owners.push(owner);
    }
    relay.slow(Duration::from_millis(400));
    let mut tasks = Vec::new();
    for mut owner in owners {
        tasks.push(tokio::spawn(async move {
            let begun = Instant::now();
            owner.commit(&[(1, 2)], 1).await;
            (owner, begun.elapsed())
        }));
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    for task in tasks {
        let (owner, took) = task.await.unwrap();
        // Behind the first group it would be 1.35 s.
        assert!(took < Duration::from_millis(1_200), "{took:?}");
        assert!(owner.verify().await.is_sound());
    }
}

/// A commit that is sent again while the first is under way waits for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_commit_of_a_database_is_under_way() {
    let (mut owners, database) = owners(2).await;
    let client = database.client().await;
    let watcher = database.client().await;
    let mut lead = owners.remove(0);
    let (held, mut again) = (lead.fence, lead.clone());
    let mut both = Vec::new();
    behind(&client, held, async || {
        both.push(tokio::spawn(async move { lead.try_commit(&[(1, 2)], 2).await }));
        crate::until_one_waits(&watcher, "Lock").await;
        both.push(tokio::spawn(async move { again.try_commit(&[(1, 2)], 2).await }));
        tokio::time::sleep(Duration::from_millis(300)).await;
    })
    .await;
    let mut ends = Vec::new();
    for one in both {
        ends.push(one.await.unwrap());
    }
    assert!(matches!(ends[..], [Ok(()), Err(StoreError::Fenced(_))]), "{ends:?}");
    owners[0].commit(&[(1, 2)], 2).await;
}

/// What another process changes of a head that stays its owner's, while a group waits for it, is kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_floor_in_flight_is_kept_by_a_group() {
    let (owners, database) = owners(8).await;
    let client = database.client().await;
    let watcher = database.client().await;
    let raised = owners[5].fence.db;
    client.batch_execute("BEGIN").await.unwrap();
    let raise = "UPDATE head SET floor = 1 WHERE db = $1";
    client.execute(raise, &[&&raised.0[..]]).await.unwrap();
    let holder = database.client().await;
    let mut tasks = Vec::new();
    behind(&holder, owners[0].fence, async || {
        for (n, owner) in owners.iter().enumerate() {
            let mut owner = owner.clone();
            tasks.push(tokio::spawn(async move { owner.try_commit(&[(1, 2)], 2).await }));
            if n == 0 {
                crate::until_one_waits(&watcher, "Lock").await;
            }
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    })
    .await;
    crate::until_one_waits(&watcher, "Lock").await;
    client.batch_execute("COMMIT").await.unwrap();
    for task in tasks {
        assert_eq!(task.await.unwrap(), Ok(()));
    }
    let head = owners[5].head().await;
    assert_eq!((head.txid, head.floor), (Txid(2), Txid(1)));
    assert!(owners[5].verify().await.is_sound());
}
