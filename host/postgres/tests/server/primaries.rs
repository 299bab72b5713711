//! Opening a list of primaries: they are one store, or become one, or are refused.

use std::sync::Arc;

use stockade_depot::Store;
use stockade_postgres::limits::PRIMARIES_MAX;
use stockade_postgres::{OpenPgError, PgConfig, PgStores, SCHEMA_VERSION, ShardState};
use stockade_testkit::owner::{Owner, page};

use crate::kit::{self, Server, config};
use crate::world::{World, key_in};

async fn refused(configs: &[PgConfig]) -> OpenPgError {
    PgStores::open(configs).await.map(drop).unwrap_err()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_that_start_at_once_make_one_store() {
    for _ in 0..3 {
        let databases = [
            kit::server().schema().await,
            kit::server().schema().await,
            kit::server().schema().await,
        ];
        let configs: Vec<PgConfig> = databases
            .iter()
            .zip(["c", "a", "b"])
            .map(|(database, name)| config(database, &format!("&name={name}")))
            .collect();
        let starts: Vec<_> = (0..4)
            .map(|turn| {
                let mut configs = configs.clone();
                configs.rotate_left(turn % 3);
                tokio::spawn(async move { PgStores::open(&configs).await.unwrap() })
            })
            .collect();
        let mut maps = Vec::new();
        for start in starts {
            let store = start.await.unwrap();
            assert_eq!(store.shards(), 256);
            maps.push(store.shard_map().await.unwrap());
        }
        assert!(maps.windows(2).all(|pair| pair[0] == pair[1]), "{maps:?}");
        assert_eq!(maps[0].len(), 256);
        let of = |name: &str| maps[0].iter().filter(|row| row.primary == name).count();
        assert_eq!((of("a"), of("b"), of("c")), (86, 85, 85));
        assert!(maps[0].iter().all(|row| row.state == ShardState::Here && row.version == 0));
    }
}

/// With its shards spread evenly; and none more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_has_as_many_primaries_as_it_may() {
    let server = Server::start(&["max_connections=200"]);
    let mut configs = Vec::new();
    for number in 0..=PRIMARIES_MAX {
        configs.push(config(&server.schema().await, &format!("&name=p{number}")));
    }
    let asked = PRIMARIES_MAX + 1;
    let error = refused(&configs).await;
    assert!(
        matches!(error, OpenPgError::Primaries { asked: found } if found == asked),
        "{error:?}"
    );
    configs.truncate(PRIMARIES_MAX);
    let store: Arc<dyn Store> = Arc::new(PgStores::open(&configs).await.unwrap());
    let mut owner = Owner::create(&store, "a").await;
    owner.commit(&[(1, 1)], 1).await;
    assert_eq!(owner.read_one(1, 1).await.unwrap(), page(1, 1));
    let map = PgStores::open(&configs).await.unwrap().shard_map().await.unwrap();
    for config in &configs {
        let name = config.name.as_deref().unwrap();
        let shards = map.iter().filter(|row| row.primary == name).count();
        assert_eq!(shards, 256 / PRIMARIES_MAX, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_that_is_not_one_store_is_refused() {
    let world = World::new().await;
    let [a, b] = [world.configs[0].clone(), world.configs[1].clone()];
    let empty = kit::server().schema().await;
    let named =
        |config: &PgConfig, name: &str| PgConfig { name: Some(name.to_owned()), ..config.clone() };
    let fresh = |name: &str| config(&empty, &format!("&name={name}"));
    // Names.
    let error = refused(&[a.clone(), PgConfig { name: None, ..b.clone() }]).await;
    assert!(matches!(error, OpenPgError::Unnamed { .. }), "{error:?}");
    let error = refused(&[a.clone(), named(&b, "a")]).await;
    assert!(matches!(error, OpenPgError::SameName { .. }), "{error:?}");
    let error = refused(&[a.clone(), named(&b, "c")]).await;
    assert!(
        matches!(&error, OpenPgError::OtherName { recorded, asked, .. } if recorded == "b" && asked == "c"),
        "{error:?}"
    );
    // Primaries that are missing.
    let error = refused(std::slice::from_ref(&a)).await;
    assert!(matches!(&error, OpenPgError::Unlisted { name, .. } if name == "b"), "{error:?}");
    let error = refused(std::slice::from_ref(&b)).await;
    assert!(matches!(&error, OpenPgError::NoRoot { root } if root == "a"), "{error:?}");
    let error = refused(&[b.clone(), fresh("c")]).await;
    assert!(matches!(&error, OpenPgError::NoRoot { root } if root == "a"), "{error:?}");
    assert!(matches!(refused(&[]).await, OpenPgError::Primaries { asked: 0 }));
    // Databases that are not the ones that were made.
    for (list, lost) in [(vec![a.clone(), fresh("b")], "b"), (vec![fresh("a"), b.clone()], "a")] {
        let error = refused(&list).await;
        assert!(matches!(&error, OpenPgError::Lost { name, .. } if name == lost), "{error:?}");
    }
    let other = World::new().await;
    let error = refused(&[a.clone(), other.configs[1].clone()]).await;
    assert!(matches!(error, OpenPgError::OtherStore { .. }), "{error:?}");
    // A shard that is on its way to a primary that is not in the list.
    world.run("UPDATE A.shard SET state = 1, peer = 'z', version = 1 WHERE number = 0").await;
    let error = refused(&[a.clone(), b.clone()]).await;
    assert!(matches!(&error, OpenPgError::Unlisted { name, shard: 0 } if name == "z"), "{error:?}");
    world.run("UPDATE A.shard SET state = 0, peer = NULL, version = 0 WHERE number = 0").await;
    // An empty one with a new name joins, without shards, and is known from then on.
    let store = PgStores::open(&[fresh("c"), b.clone(), a.clone()]).await.unwrap();
    let map = store.shard_map().await.unwrap();
    assert!(map.len() == 4 && map.iter().all(|row| row.primary != "c"), "{map:?}");
    let another = kit::server().schema().await;
    let error = refused(&[a.clone(), b.clone(), config(&another, "&name=c")]).await;
    assert!(matches!(&error, OpenPgError::Lost { name, .. } if name == "c"), "{error:?}");
    drop(PgStores::open(&[a, b]).await.unwrap());
}

/// A copy of a primary's database under its name is another database than the one that is noted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_was_made_again_is_refused() {
    let world = World::new().await;
    world.run("UPDATE B.stockade_schema SET own = decode(md5(own), 'hex')").await;
    let error = refused(&world.configs).await;
    assert!(matches!(&error, OpenPgError::Lost { name, .. } if name == "b"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_of_version_2_is_converted_with_its_shards() {
    let database = kit::server().schema().await;
    let mut former = config(&database, "");
    former.shards = 16;
    let store: Arc<dyn Store> = Arc::new(PgStores::open(&[former]).await.unwrap());
    let mut owner = Owner::create(&store, "a").await;
    owner.commit(&[(1, 1)], 1).await;
    let client = database.client().await;
    let schema = &database.user;
    client
        .batch_execute(&format!(
            "SET search_path = {schema}; DROP TABLE shard, member; ALTER TABLE stockade_schema \
             DROP COLUMN store, DROP COLUMN own, DROP COLUMN name, DROP COLUMN root; \
             UPDATE stockade_schema SET version = 2, program = '0.2.0'"
        ))
        .await
        .unwrap();
    let starts: Vec<_> = (0..3)
        .map(|_| {
            let config = config(&database, "");
            tokio::spawn(async move { PgStores::open(&[config]).await.unwrap() })
        })
        .collect();
    for start in starts {
        let store = start.await.unwrap();
        let map = store.shard_map().await.unwrap();
        assert_eq!((store.shards(), map.len()), (16, 16));
        assert!(map.iter().all(|row| row.primary == "main" && row.state == ShardState::Here));
        owner.store = Arc::new(store);
        owner.commit(&[(1, owner.txid.0 + 1)], 1).await;
        assert_eq!(owner.state().await.unwrap().head.fence, owner.fence);
    }
    let row = client.query_one("SELECT version FROM stockade_schema", &[]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), i64::from(SCHEMA_VERSION));
    // It has a name by which others join.
    let second = kit::server().schema().await;
    let list = [config(&database, "&name=main"), config(&second, "&name=b")];
    let store: Arc<dyn Store> = Arc::new(PgStores::open(&list).await.unwrap());
    owner.store = Arc::clone(&store);
    owner.commit(&[(1, 9)], 1).await;
    assert!(owner.verify().await.is_sound());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_found_names_each_primary() {
    let world = World::new().await;
    Owner::create(&world.store, &key_in(stockade_depot::Shard(1), 0)).await;
    let found = PgStores::look(&world.configs).await.unwrap();
    let names: Vec<_> = found.iter().map(|found| found.name.as_deref()).collect();
    assert_eq!(names, [Some("a"), Some("b")]);
}
