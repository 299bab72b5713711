//! A store of two primaries, in two schemas of one database, and the moves of a mover by hand.

use std::sync::Arc;

use stockade_depot::{Shard, Store};
use stockade_postgres::{PgConfig, PgStores};
use stockade_testkit::owner::{Owner, actor_id};
use tokio_postgres::Client;

use crate::kit;
use crate::kit::server::Database;

/// Two primaries, called `a` and `b`, with every second shard each.
pub(crate) struct World {
    pub(crate) databases: [Database; 2],
    /// A connection past the store.
    pub(crate) client: Client,
    pub(crate) configs: Vec<PgConfig>,
    /// A program that has the map as it was in the beginning.
    pub(crate) store: Arc<dyn Store>,
}

/// Shards of a new store: as few as that is found where they are.
pub(crate) const SHARDS: u16 = 4;

impl World {
    pub(crate) async fn new() -> Self {
        let databases = [kit::server().schema().await, kit::server().schema().await];
        let config = |database: &Database, name| {
            let mut config = kit::config(database, name);
            config.shards = SHARDS;
            config
        };
        let configs = vec![config(&databases[0], "&name=a"), config(&databases[1], "&name=b")];
        let store: Arc<dyn Store> = Arc::new(PgStores::open(&configs).await.unwrap());
        Self { client: databases[0].client().await, databases, configs, store }
    }

    /// Another program.
    pub(crate) async fn another(&self) -> PgStores {
        PgStores::open(&self.configs).await.unwrap()
    }

    /// Runs statements, in which `A.` and `B.` are the schemas.
    pub(crate) async fn run(&self, sql: &str) {
        self.client.batch_execute(&self.named(sql)).await.unwrap();
    }

    /// A number.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        self.client.query_one(&self.named(sql), &[]).await.unwrap().get(0)
    }

    fn named(&self, sql: &str) -> String {
        let [a, b] = &self.databases;
        sql.replace("A.", &format!("{}.", a.user)).replace("B.", &format!("{}.", b.user))
    }

    /// What both say of a shard: state, peer and version.
    pub(crate) async fn say(&self, shard: Shard, a: (u8, u64), b: (u8, u64)) {
        for (schema, peer, (state, version)) in [("A", "b", a), ("B", "a", b)] {
            let peer = if state == 0 { "NULL".to_owned() } else { format!("'{peer}'") };
            let shard = shard.0;
            self.run(&format!(
                "UPDATE {schema}.shard SET state = {state}, peer = {peer}, version = {version} \
                 WHERE number = {shard}"
            ))
            .await;
        }
    }

    /// Copies a database from `a` to `b`, not valid yet; the original is held by the mover.
    pub(crate) async fn copy(&self, of: &Owner) {
        let db = hex::encode(of.fence.db.0);
        let mut all = format!(
            "UPDATE A.head SET sealed = 2, generation = generation + 1, \
             token = decode(md5(token), 'hex') WHERE db = '\\x{db}';"
        );
        for table in ["head", "actor", "page", "\"commit\"", "pin", "snapshot"] {
            all += &format!("INSERT INTO B.{table} SELECT * FROM A.{table} WHERE db = '\\x{db}';");
        }
        all += &format!("UPDATE B.head SET sealed = 4 WHERE db = '\\x{db}'");
        self.run(&all).await;
    }

    /// The state of a database's head.
    pub(crate) async fn seal(&self, schema: &str, of: &Owner, sealed: u8) {
        let db = hex::encode(of.fence.db.0);
        self.run(&format!("UPDATE {schema}.head SET sealed = {sealed} WHERE db = '\\x{db}'")).await;
    }

    /// Moves a database as far as its shard may go.
    pub(crate) async fn carry(&self, of: &Owner) {
        self.copy(of).await;
        self.seal("A", of, 3).await;
        self.seal("B", of, 1).await;
    }

    /// The end of a move: the source's rows of the shard go.
    pub(crate) async fn clean(&self, shard: Shard) {
        let shard = shard.0;
        self.run(&format!(
            "DELETE FROM A.head WHERE db IN (SELECT db FROM A.actor WHERE shard = {shard}); \
             DELETE FROM A.actor WHERE shard = {shard}"
        ))
        .await;
    }
}

/// The first key after `after` whose actor is in this shard.
pub(crate) fn key_in(shard: Shard, after: u32) -> String {
    let keys = (after..).map(|number| format!("k{number}"));
    let mut here = keys.filter(|key| actor_id(key).shard(SHARDS) == shard);
    here.next().unwrap()
}
