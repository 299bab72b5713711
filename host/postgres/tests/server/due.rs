//! Due work over primaries: shards that move, a primary that is away, a schema of before.

use std::sync::Arc;

use stockade_depot::store::{Due, DueActor, DueLook};
use stockade_depot::{Shard, Store, StoreError};
use stockade_postgres::{PgStores, SCHEMA_VERSION};
use stockade_testkit::owner::Owner;

use crate::kit::relay::Relay;
use crate::kit::{self, config};
use crate::open;
use crate::world::{SHARDS, World, key_in};

/// A shard that begins at `a`.
const SHARD: Shard = Shard(0);
/// One that begins at `b`.
const OTHER: Shard = Shard(1);

async fn commit(owner: &mut Owner, due: Due) {
    let mut step = owner.commit_step(&[(1, owner.txid.0 + 1)], 1);
    step.due = due;
    owner.send(step).await.unwrap();
}

async fn try_due(store: &Arc<dyn Store>) -> Result<Vec<DueActor>, StoreError> {
    let shards = Shard::all(store.shards()).collect();
    let look = DueLook { shards, until: i64::MAX, after: None, limit: 100 };
    store.due(look).await.map(|page| page.rows)
}

/// What is due, by key and time.
async fn due(store: &Arc<dyn Store>) -> Vec<(String, i64)> {
    let rows = try_due(store).await.unwrap();
    rows.iter().map(|row| (row.actor.key().to_owned(), row.at)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_actor_that_moves_is_due_where_it_is() {
    let world = World::new().await;
    let key = key_in(SHARD, 0);
    let at = |at: i64| vec![(key.clone(), at)];
    let mut owner = Owner::create(&world.store, &key).await;
    commit(&mut owner, Due::At(5)).await;
    world.say(SHARD, (1, 1), (3, 1)).await;
    world.copy(&owner).await;
    assert_eq!(due(&world.store).await, at(5), "a copy is no second actor");
    world.seal("A", &owner, 3).await;
    assert_eq!(due(&world.store).await, at(5), "nor is it missing before it is valid");
    world.seal("B", &owner, 1).await;
    assert_eq!(due(&world.store).await, at(5));
    let state = owner.state().await.unwrap();
    owner = Owner::of(&world.store, owner.actor.clone(), &state.head).successor().await;
    commit(&mut owner, Due::At(9)).await;
    assert_eq!(due(&world.store).await, at(9), "what it has left says nothing");
    commit(&mut owner, Due::Nothing).await;
    assert_eq!(due(&world.store).await, []);
    commit(&mut owner, Due::At(9)).await;
    world.say(SHARD, (2, 1), (0, 1)).await;
    assert_eq!(due(&world.store).await, at(9));
    world.clean(SHARD).await;
    assert_eq!(due(&world.store).await, at(9));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_is_away_hides_its_own_actors_only() {
    let databases = [kit::server().schema().await, kit::server().schema().await];
    let relay = Relay::start(databases[1].port).await;
    let mut configs =
        vec![config(&databases[0], "&name=a"), kit::at(relay.port, &databases[1], "&name=b")];
    configs.iter_mut().for_each(|config| config.shards = SHARDS);
    let store: Arc<dyn Store> = Arc::new(PgStores::open(&configs).await.unwrap());
    let (here, there) = (key_in(SHARD, 0), key_in(OTHER, 0));
    for (key, at) in [(&here, 5), (&there, 4)] {
        commit(&mut Owner::create(&store, key).await, Due::At(at)).await;
    }
    assert_eq!(due(&store).await, [(there, 4), (here.clone(), 5)]);
    relay.shut(true);
    let client = databases[0].client().await;
    let ends = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1";
    client.query(ends, &[&databases[1].user]).await.unwrap();
    assert_eq!(due(&store).await, [(here, 5)]);
    client.query(ends, &[&databases[0].user]).await.unwrap();
    let renamed = format!("ALTER ROLE {} NOLOGIN", databases[0].user);
    client.batch_execute(&renamed).await.unwrap();
    assert!(try_due(&store).await.is_err(), "that nothing is due is an answer of none");
}

/// An owner's rewrite that is on its way when its commit comes, with the same time as before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rewrite_in_flight_does_not_outlast_the_commit_behind_it() {
    let (store, database) = crate::store().await;
    let mut owner = Owner::create(&store, "a").await;
    commit(&mut owner, Due::At(5)).await;
    let (client, watcher) = (database.client().await, database.client().await);
    let db = &owner.fence.db.0[..];
    client.batch_execute("BEGIN").await.unwrap();
    let lock = "SELECT 1 FROM head WHERE db = $1 FOR UPDATE";
    client.query_one(lock, &[&db]).await.unwrap();
    client.execute("UPDATE actor SET next_due = NULL WHERE db = $1", &[&db]).await.unwrap();
    let mut committing = owner.clone();
    let committed = tokio::spawn(async move { commit(&mut committing, Due::At(5)).await });
    crate::until_one_waits(&watcher, "Lock").await;
    client.batch_execute("COMMIT").await.unwrap();
    committed.await.unwrap();
    assert_eq!(due(&store).await, [("a".to_owned(), 5)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_of_version_3_gets_the_index_of_due_work() {
    let database = kit::server().database().await;
    let store = open(&config(&database, "")).await;
    let mut owner = Owner::create(&store, "a").await;
    let client = database.client().await;
    let former = "DROP INDEX actor_shard_due; \
        CREATE INDEX actor_due ON actor (next_due) WHERE next_due IS NOT NULL; \
        UPDATE stockade_schema SET version = 3, program = '0.2.0'";
    client.batch_execute(former).await.unwrap();
    let starts: Vec<_> = (0..3)
        .map(|_| {
            let config = config(&database, "");
            tokio::spawn(async move { open(&config).await })
        })
        .collect();
    for start in starts {
        start.await.unwrap();
    }
    let row = client.query_one("SELECT version FROM stockade_schema", &[]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), i64::from(SCHEMA_VERSION));
    let indexes = "SELECT indexname FROM pg_indexes WHERE indexname LIKE '%due'";
    let rows = client.query(indexes, &[]).await.unwrap();
    let names: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(names, ["actor_shard_due"]);
    // A program of before that runs beside this one.
    commit(&mut owner, Due::At(7)).await;
    assert_eq!(due(&store).await, [("a".to_owned(), 7)]);
}
