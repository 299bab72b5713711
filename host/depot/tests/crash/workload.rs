//! The fixed workload: every sort of step, through checkpoints, each acknowledged before the next.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags};
use stockade_depot::store::embedded::{Clock, EmbeddedConfig};
use stockade_depot::store::{Destroyed, NodeBeat, TakenOver};
use stockade_depot::{Digest, EmbeddedStore, Store};
use stockade_testkit::owner::{NODE, Owner};

use crate::journal::{Journal, Op};
use crate::recorder;

/// The files with the store's rows.
pub(crate) const FILES: [&str; 2] = ["global.db", "shard-00.db"];

/// All rows of all tables, one hash per table with its name.
pub(crate) type Dump = Vec<(String, [u8; 32])>;

/// What a run of the workload did to its files.
#[derive(Clone)]
pub(crate) struct Recording {
    pub(crate) ops: Vec<Op>,
    /// After how many operations each step was acknowledged; the first is the store's opening.
    pub(crate) acknowledged: Vec<usize>,
    /// All rows after each step.
    pub(crate) states: Vec<Dump>,
}

/// A store whose log is small, so that a short workload checkpoints it and starts it over.
pub(crate) fn config(directory: &Path) -> EmbeddedConfig {
    static NOW_MS: AtomicU64 = AtomicU64::new(1_000_000);
    let mut config = EmbeddedConfig::new(directory);
    config.shards = 1;
    config.wal_checkpoint_bytes = 160 << 10;
    config.wal_bytes_max = 400 << 10;
    config.clock = Clock::new(|| NOW_MS.fetch_add(7, Ordering::Relaxed));
    config
}

struct Recorder {
    journal: Arc<Journal>,
    directory: PathBuf,
    acknowledged: Vec<usize>,
    states: Vec<Dump>,
}

impl Recorder {
    /// The last step was acknowledged.
    fn done(&mut self) {
        self.acknowledged.push(self.journal.len());
        self.states.push(dump(&self.directory));
    }
}

/// Runs the workload and writes down what reaches its files.
pub(crate) async fn record() -> Recording {
    let directory = crate::scratch();
    let journal = Arc::new(Journal::default());
    let mut config = config(directory.path());
    config.vfs = Some(recorder::register(Arc::clone(&journal)));
    let mut recorder = Recorder {
        journal: Arc::clone(&journal),
        directory: directory.path().to_owned(),
        acknowledged: Vec::new(),
        states: Vec::new(),
    };
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(&config).unwrap());
    recorder.done();
    run(&store, &mut recorder).await;
    store.close().await;
    drop(store);
    let Recorder { acknowledged, states, .. } = recorder;
    Recording { ops: journal.take(), acknowledged, states }
}

async fn run(store: &Arc<dyn Store>, recorder: &mut Recorder) {
    store.node_beat(NODE, &NodeBeat::at("here")).await.unwrap();
    recorder.done();
    let wasm: Vec<u8> = (0..20_000u32).flat_map(u32::to_le_bytes).collect();
    let digest = Digest(<[u8; 32]>::from(<sha2::Sha256 as sha2::Digest>::digest(&wasm)));
    store.put_component(digest, wasm).await.unwrap();
    recorder.done();
    store.put_kind("ledger", digest, "{}").await.unwrap();
    recorder.done();

    let mut first = Owner::create(store, "first").await;
    recorder.done();
    let mut second = Owner::create(store, "second").await;
    recorder.done();
    for version in 1..=6 {
        let pages = [(1, version), (2, version), (3, version + 1)];
        first.commit(&pages, 3).await;
        recorder.done();
        second.commit(&[(1, version), (2, version)], 2).await;
        recorder.done();
    }
    // Longer, then shorter.
    let many: Vec<(u32, u64)> = (4..=16).map(|pgno| (pgno, 7)).collect();
    first.commit(&many, 16).await;
    recorder.done();
    first.commit(&[(1, 8)], 2).await;
    recorder.done();
    store.seal(first.seal_step(Some(b"what was in memory"))).await.unwrap();
    recorder.done();
    let mut first = first.successor().await;
    recorder.done();
    for version in 10..16 {
        first.commit(&[(1, version), (2, version), (3, version)], 3).await;
        recorder.done();
    }
    store.put_kind("ledger", digest, "{\"limits\":{}}").await.unwrap();
    recorder.done();

    let mut step = second.takeover_step();
    step.destroying = true;
    let TakenOver::Owned { head, .. } = store.take_over(step).await.unwrap() else {
        panic!("nobody else is there")
    };
    recorder.done();
    loop {
        let destroyed = store.destroy(&second.actor, head.fence).await.unwrap();
        recorder.done();
        if destroyed == Destroyed::Gone {
            break;
        }
    }
    store.seal(first.seal_step(None)).await.unwrap();
    recorder.done();
    store.node_gone(NODE).await.unwrap();
    recorder.done();
}

/// All rows of the store's files, read by stock SQLite.
pub(crate) fn dump(directory: &Path) -> Dump {
    let mut tables = Vec::new();
    for file in FILES {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(directory.join(file), flags).unwrap();
        conn.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
        // Marks are raised beside the steps; what they are after a crash is checked by the opening.
        let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' \
             AND name NOT IN ('own', 'seen') ORDER BY name";
        let mut names = conn.prepare(sql).unwrap();
        let names: Vec<String> =
            names.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        for name in names {
            tables.push((format!("{file} {name}"), hash_of(&conn, &name)));
        }
    }
    tables
}

fn hash_of(conn: &Connection, table: &str) -> [u8; 32] {
    let mut statement = conn.prepare(&format!("SELECT * FROM \"{table}\"")).unwrap();
    let columns = statement.column_count();
    let mut rows: Vec<[u8; 32]> = statement
        .query_map([], |row| {
            let mut hash = blake3::Hasher::new();
            for column in 0..columns {
                hash.update(format!("{:?};", row.get::<_, Value>(column)?).as_bytes());
            }
            Ok(*hash.finalize().as_bytes())
        })
        .unwrap()
        .map(Result::unwrap)
        .collect();
    rows.sort_unstable();
    let mut hash = blake3::Hasher::new();
    for row in &rows {
        hash.update(row);
    }
    *hash.finalize().as_bytes()
}
