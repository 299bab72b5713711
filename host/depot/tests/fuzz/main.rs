//! Generated records and rows: what the store's files may hold after damage, or after another
//! program wrote into them. Never a panic, never a hang; a typed error, or a value that keeps its
//! promises.
//!
//! `tests/kit/src/cases.rs` says how to repeat a case and how to run more. The generator knows the
//! formats; it is not guided by coverage.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a test fails by panicking and tells what it saw"
)]

use std::path::Path;
use std::sync::Arc;

use rusqlite::types::Value;
use stockade_depot::page::{PageRecord, decode};
use stockade_depot::store::NodeBeat;
use stockade_depot::store::embedded::{EmbeddedConfig, connection};
use stockade_depot::{
    DbId, EmbeddedStore, PAGE_SIZE, PageBytes, Pgno, Store, StoreError, Txid, history,
};
use stockade_testkit::owner::{self, Owner};
use stockade_testkit::random::Random;

fn cases(name: &str, count: u64, case: impl FnMut(&mut Random)) {
    stockade_testkit::cases::cases("cargo test -p stockade-depot --test fuzz", name, count, case);
}

fn bytes(random: &mut Random, len_max: u64) -> Vec<u8> {
    let len = random.below(len_max + 1);
    // Runs and noise: both sides of the packing.
    let noisy = random.below(2) == 0;
    let byte = random.next().to_le_bytes()[0];
    (0..len).map(|_| if noisy { random.next().to_le_bytes()[0] } else { byte }).collect()
}

/// The checksum of a page's row, from its description alone.
fn sum_of(db: DbId, pgno: Pgno, txid: Txid, stored: &[u8]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"stockade page 1").update(&db.0).update(&pgno.0.to_le_bytes());
    hasher.update(&txid.0.to_le_bytes()).update(stored);
    hasher.finalize().as_bytes()[..16].try_into().unwrap()
}

#[test]
fn page_records() {
    cases("page_records", 3_000, |random| {
        let db = DbId([7; 16]);
        let pgno = Pgno(u32::try_from(random.below(1 << 32)).unwrap());
        let txid = Txid(random.next());
        let mut page = bytes(random, PAGE_SIZE as u64);
        page.resize(PAGE_SIZE, 0);
        let page: PageBytes = page.into();
        let record = PageRecord::encode(db, pgno, txid, &page).unwrap();
        assert_eq!(decode(db, pgno, txid, &record.bytes, &record.sum), Ok(page));

        // Any change is seen, under any other key as well.
        let mut damaged = record.bytes.to_vec();
        let at = usize::try_from(random.below(damaged.len() as u64)).unwrap();
        damaged[at] ^= 1 << random.below(8);
        for found in [
            decode(db, pgno, txid, &damaged, &record.sum),
            decode(db, pgno, Txid(txid.0.wrapping_add(1)), &record.bytes, &record.sum),
            decode(db, pgno, txid, &record.bytes, &record.sum[..15]),
        ] {
            assert!(matches!(found, Err(StoreError::Corrupt(_))), "{found:?}");
        }
        // Whatever was stored on purpose unpacks to a page or is refused.
        let strange = if random.below(2) == 0 { damaged } else { bytes(random, 6_000) };
        let sum = sum_of(db, pgno, txid, &strange);
        match decode(db, pgno, txid, &strange, &sum) {
            Ok(page) => assert_eq!(page.len(), PAGE_SIZE),
            Err(error) => assert!(matches!(error, StoreError::Corrupt(_)), "{error}"),
        }
    });
}

fn config(directory: &Path) -> EmbeddedConfig {
    let mut config = EmbeddedConfig::new(directory);
    config.shards = 1;
    config
}

async fn open(directory: &Path) -> Arc<dyn Store> {
    Arc::new(EmbeddedStore::open(&config(directory)).unwrap())
}

/// A store with some of everything.
async fn fill(directory: &Path) -> DbId {
    let store = open(directory).await;
    let mut owner = Owner::create(&store, "a").await;
    for version in 1..=5 {
        owner.commit(&[(1, version), (2, version), (3, version)], 3).await;
    }
    owner.commit(&[(1, 9)], 2).await;
    store.seal(owner.seal_step(Some(b"state"))).await.unwrap();
    let mut other = Owner::create(&store, "b").await;
    other.commit(&[(1, 1)], 1).await;
    store.put_kind("ledger", owner::COMPONENT, "{}").await.unwrap();
    store.node_beat(owner::NODE, &NodeBeat::at("here")).await.unwrap();
    store.close().await;
    owner.fence.db
}

/// Changes some columns of some rows.
fn damage(directory: &Path, random: &mut Random) {
    let file = if random.below(4) == 0 { "global.db" } else { "shard-00.db" };
    let conn = connection(&directory.join(file)).unwrap();
    let mut names = conn
        .prepare(
            "SELECT t.name, c.name FROM sqlite_schema t JOIN pragma_table_info(t.name) c \
             WHERE t.type = 'table' AND t.name NOT IN ('meta', 'own', 'seen')",
        )
        .unwrap();
    let columns: Vec<(String, String)> = names
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    for _ in 0..=random.below(3) {
        let at = usize::try_from(random.below(columns.len() as u64)).unwrap();
        let (table, column) = &columns[at];
        let value = match random.below(6) {
            0 => Value::Null,
            1 => Value::Integer(i64::from_le_bytes(random.next().to_le_bytes())),
            2 => {
                let edges = [0, -1, 1, i64::MAX, i64::MIN];
                Value::Integer(edges[usize::try_from(random.below(5)).unwrap()])
            }
            3 => Value::Text(String::from_utf8_lossy(&bytes(random, 20)).into_owned()),
            4 => Value::Real(0.5),
            _ => Value::Blob(bytes(random, 5_000)),
        };
        // A row at random; a rule of the schema may refuse the value.
        let key: String = conn
            .query_row(
                "SELECT group_concat(name, ', ') FROM pragma_table_info(?1) WHERE pk > 0",
                [table],
                |row| row.get(0),
            )
            .unwrap();
        let sql = format!(
            "UPDATE \"{table}\" SET \"{column}\" = ?1 WHERE ({key}) IN \
             (SELECT {key} FROM \"{table}\" ORDER BY {key} LIMIT 1 OFFSET ?2)"
        );
        let row = i64::try_from(random.below(8)).unwrap();
        drop(conn.execute(&sql, rusqlite::params![value, row]));
    }
}

/// Asks everything that reads, and takes over. The answers may be errors.
async fn ask(store: &Arc<dyn Store>, db: DbId) {
    drop(store.kinds(None, 9).await);
    drop(store.kind("ledger").await);
    drop(store.nodes().await);
    drop(store.component(owner::COMPONENT).await);
    drop(store.actors(None, None, 100).await);
    drop(store.destroying(100).await);
    drop(store.history(db).await);
    drop(store.commits(db, Txid(0), 100).await);
    for txid in 0..=7 {
        drop(store.commit_pages(db, Txid(txid), Pgno(0), 100).await);
        drop(store.verdict(db, Txid(txid)).await);
        if let Ok(pages) = store.read_at(db, Txid(txid), Pgno(1), 100).await {
            assert!(pages.iter().all(|page| page.bytes.len() == PAGE_SIZE));
        }
    }
    drop(history::verify(store.as_ref(), db, &mut |_| {}).await);
    let mut file = Vec::new();
    drop(history::export(store.as_ref(), db, None, &mut file, &mut |_| {}).await);
    for key in ["a", "b"] {
        let Ok(Some(state)) = store.actor(&owner::actor_id(key)).await else { continue };
        let old = Owner::of(store, owner::actor_id(key), &state.head);
        drop(store.confirm(&[old.fence]).await);
        drop(store.read(old.fence, old.txid, &[Pgno(1), Pgno(2)]).await);
        drop(store.take_over(old.takeover_step()).await);
        drop(store.rows_of(old.fence.db).await);
    }
}

#[test]
fn stored_rows() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let whole = tempfile::tempdir().unwrap();
    let db = runtime.block_on(fill(whole.path()));
    cases("stored_rows", 150, |random| {
        let copy = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(whole.path()).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
        damage(copy.path(), random);
        runtime.block_on(async {
            let store = open(copy.path()).await;
            ask(&store, db).await;
        });
    });
}
