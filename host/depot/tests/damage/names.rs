//! Rows that are whole and stand in each other's place: only names tell.

use std::path::Path;
use std::sync::Arc;

use stockade_depot::history::{self, Fault};
use stockade_depot::store::TakenOver;
use stockade_depot::store::embedded::{EmbeddedConfig, connection};
use stockade_depot::{EmbeddedStore, Store, StoreError, Txid};
use stockade_testkit::owner::{Owner, actor_id};
use tempfile::TempDir;

use crate::truth::scratch;

const KEYS: [&str; 3] = ["a", "b", "c"];

/// Three actors with some commits, and the store's rows changed by `sql`.
async fn changed(sql: &str) -> (TempDir, Arc<dyn Store>, Vec<Owner>) {
    let directory = scratch();
    let mut config = EmbeddedConfig::new(directory.path());
    config.shards = 1;
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(&config).unwrap());
    let mut owners = Vec::new();
    for (n, key) in KEYS.iter().enumerate() {
        let mut owner = Owner::create(&store, key).await;
        for version in 0..3 {
            owner.commit(&[(1, u64::try_from(n).unwrap() * 10 + version)], 1).await;
        }
        owners.push(owner);
    }
    let conn = connection(&directory.path().join("shard-00.db")).unwrap();
    conn.execute_batch(sql).unwrap();
    (directory, store, owners)
}

fn is_corrupt<T: std::fmt::Debug>(found: &Result<T, StoreError>, what: &str) {
    assert!(matches!(found, Err(StoreError::Corrupt(_))), "{what}: {found:?}");
}

/// Each call of `keys` is refused; the others are served.
async fn check_refused(sql: &str, keys: &[&str]) {
    let (_directory, store, owners) = changed(sql).await;
    for owner in &owners {
        let found = store.actor(&owner.actor).await;
        let step = owner.takeover_step();
        let create = stockade_testkit::owner::create_step(store.as_ref(), owner.actor.key());
        if !keys.contains(&owner.actor.key()) {
            assert_eq!(found.unwrap().unwrap().head.fence, owner.fence, "{sql}");
            continue;
        }
        is_corrupt(&found, sql);
        is_corrupt(&store.create(create).await, sql);
        let taken = store.take_over(step).await;
        let refused = matches!(
            taken,
            Err(StoreError::Corrupt(_) | StoreError::DatabaseMissing(_)) | Ok(TakenOver::Moved(_))
        );
        assert!(refused, "{sql}: {taken:?}");
    }
    is_corrupt(&store.actors(None, None, 10).await, sql);
}

const EXCHANGE_ACTORS: &str = "CREATE TEMP TABLE t AS SELECT key, db FROM actor;
    UPDATE actor SET db = zeroblob(16) WHERE key = 'a';
    UPDATE actor SET db = (SELECT db FROM t WHERE key = 'a') WHERE key = 'b';
    UPDATE actor SET db = (SELECT db FROM t WHERE key = 'b') WHERE key = 'a';";
const EXCHANGE_HEADS: &str = "CREATE TEMP TABLE t AS SELECT key, db FROM actor;
    UPDATE head SET db = zeroblob(16) WHERE db = (SELECT db FROM t WHERE key = 'a');
    UPDATE head SET db = (SELECT db FROM t WHERE key = 'a')
        WHERE db = (SELECT db FROM t WHERE key = 'b');
    UPDATE head SET db = (SELECT db FROM t WHERE key = 'b') WHERE db = zeroblob(16);";
const KEEP_NAMES: &str = "CREATE TEMP TABLE n AS SELECT a.key, h.name FROM actor a
        JOIN head h ON h.db = a.db;";
const EXCHANGE_NAMES: &str = "
    UPDATE head SET name = (SELECT name FROM n WHERE key = 'a')
        WHERE db = (SELECT db FROM actor WHERE key = 'a');
    UPDATE head SET name = (SELECT name FROM n WHERE key = 'b')
        WHERE db = (SELECT db FROM actor WHERE key = 'b');";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exchanged_databases_are_refused() {
    check_refused(EXCHANGE_ACTORS, &["a", "b"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exchanged_heads_are_refused() {
    check_refused(EXCHANGE_HEADS, &["a", "b"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renamed_actor_is_refused() {
    let (_directory, store, _) = changed("UPDATE actor SET key = 'x' WHERE key = 'a'").await;
    is_corrupt(&store.actor(&actor_id("x")).await, "x");
    is_corrupt(&store.actors(None, None, 10).await, "the list");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_format_is_refused_for_its_database_alone() {
    let sql = "UPDATE head SET format = format + 7
               WHERE db = (SELECT db FROM actor WHERE key = 'b')";
    let (_directory, store, owners) = changed(sql).await;
    let text =
        format!("database {} has format 9, this program reads formats 1 to 4", owners[1].fence.db);
    let refused = StoreError::Corrupt(text);
    let (fence, db) = (owners[1].fence, owners[1].fence.db);
    assert_eq!(store.actor(&owners[1].actor).await, Err(refused.clone()));
    assert_eq!(store.take_over(owners[1].takeover_step()).await, Err(refused.clone()));
    assert_eq!(store.verdict(db, Txid(1)).await, Err(refused.clone()));
    assert_eq!(store.read(fence, Txid(3), &[stockade_depot::Pgno(1)]).await, Err(refused.clone()));
    assert_eq!(store.seal(owners[1].seal_step(None)).await, Err(refused.clone()));
    assert_eq!(history::verify(store.as_ref(), db, &mut |_| {}).await, Err(refused));
    for owner in [&owners[0], &owners[2]] {
        assert_eq!(store.actor(&owner.actor).await.unwrap().unwrap().head.fence, owner.fence);
    }
}

/// With the names exchanged as well each call finds what it asks for; the chain does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_chain_tells_whose_history_it_is() {
    let sql = format!("{KEEP_NAMES} {EXCHANGE_ACTORS} {EXCHANGE_NAMES}");
    let (_directory, store, owners) = changed(&sql).await;
    for (n, owner) in owners.iter().enumerate() {
        let state = store.actor(&owner.actor).await.unwrap().unwrap();
        let report = history::verify(store.as_ref(), state.row.db, &mut |_| {}).await.unwrap();
        let faults: &[Fault] = if n == 2 { &[] } else { &[Fault::Chain { txid: Txid(1) }] };
        assert_eq!(report.faults, faults, "{}", owner.actor);
    }
}

/// Without a commit the head alone has the chain.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_database_is_bound_to_its_name_as_well() {
    let directory = scratch();
    let mut config = EmbeddedConfig::new(directory.path());
    config.shards = 1;
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(&config).unwrap());
    let (one, other) = (Owner::create(&store, "a").await, Owner::create(&store, "b").await);
    assert!(one.verify().await.is_sound() && other.verify().await.is_sound());
    let conn = connection(&directory.path().join("shard-00.db")).unwrap();
    conn.execute_batch(&format!("{KEEP_NAMES} {EXCHANGE_ACTORS} {EXCHANGE_NAMES}")).unwrap();
    for owner in [one, other] {
        assert_eq!(owner.verify().await.faults, [Fault::Head]);
    }
}

/// Puts the rows of `table` in each other's place, below an index that stays as it is: each page is
/// whole, and the index leads to another row. `key` is the column that is exchanged.
fn exchange_below_index(path: &Path, table: &str, key: &str) {
    let conn = connection(path).unwrap();
    conn.execute_batch(&format!(
        "CREATE TABLE other AS SELECT * FROM {table} ORDER BY rowid;
         UPDATE other SET {key} = (SELECT t.{key} FROM {table} t
             WHERE t.rowid = (SELECT count(*) FROM {table}) + 1 - other.rowid)"
    ))
    .unwrap();
    let root = |of: &str| -> i64 {
        let sql = "SELECT rootpage FROM sqlite_schema WHERE name = ?1";
        conn.query_row(sql, [of], |row| row.get(0)).unwrap()
    };
    let (rows, exchanged) = (root(table), root("other"));
    conn.execute_batch(&format!(
        "PRAGMA writable_schema = ON;
         UPDATE sqlite_schema SET rootpage = {exchanged} WHERE name = '{table}';
         UPDATE sqlite_schema SET rootpage = {rows} WHERE name = 'other';
         PRAGMA writable_schema = RESET"
    ))
    .unwrap();
}

fn open_one_shard(directory: &Path) -> Arc<dyn Store> {
    let mut config = EmbeddedConfig::new(directory);
    config.shards = 1;
    Arc::new(EmbeddedStore::open(&config).unwrap())
}

/// Tables that have their key in an index beside them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_an_index_finds_in_the_place_of_another_is_refused() {
    let directory = scratch();
    let store = open_one_shard(directory.path());
    for kind in ["chat", "ledger"] {
        let manifest = format!("{{\"of\":\"{kind}\"}}");
        store.put_kind(kind, stockade_testkit::owner::COMPONENT, &manifest).await.unwrap();
    }
    let mut owners = Vec::new();
    for key in ["a", "b"] {
        let owner = Owner::create(&store, key).await;
        store.seal(owner.seal_step(Some(key.as_bytes()))).await.unwrap();
        owners.push(owner);
    }
    store.close().await;
    drop(store);
    exchange_below_index(&directory.path().join("global.db"), "kind", "name");
    exchange_below_index(&directory.path().join("shard-00.db"), "snapshot", "db");
    let store = open_one_shard(directory.path());
    is_corrupt(&store.kind("chat").await, "a kind");
    is_corrupt(&store.kinds(None, 9).await, "the list of kinds");
    is_corrupt(&store.put_kind("chat", stockade_testkit::owner::COMPONENT, "{}").await, "a deploy");
    for owner in &owners {
        is_corrupt(&store.actor(&owner.actor).await, "whose snapshot is kept");
        is_corrupt(&store.take_over(owner.takeover_step()).await, "a snapshot that is handed over");
    }
    is_corrupt(&store.actors(None, None, 10).await, "the list of actors");
}
