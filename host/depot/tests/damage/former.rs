//! Stores of the formats before this one: refused, and converted by the command, whatever happens
//! to it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::types::Value;
use rusqlite::{Connection, params, params_from_iter};
use stockade_depot::chain::{self, Start};
use stockade_depot::store::Directory as _;
use stockade_depot::store::embedded::{OpenStoreError, UpgradeError, connection, formats, upgrade};
use stockade_depot::{EmbeddedStore, Store};
use stockade_testkit::owner::Owner;
use tempfile::TempDir;

use crate::truth::{Truth, config, scratch};

const FILES: [&str; 3] = ["shard-00.db", "shard-01.db", "global.db"];

/// The tables of format 2. Format 1 has no `stage` and no `page_stage`.
const SHARD_2: &str = r#"
CREATE TABLE head (db BLOB NOT NULL PRIMARY KEY, generation BIGINT NOT NULL, token BLOB NOT NULL,
    owner BLOB NOT NULL, txid BIGINT NOT NULL, page_count BIGINT NOT NULL, chain BLOB NOT NULL,
    sealed BIGINT NOT NULL, origin BIGINT NOT NULL, floor BIGINT NOT NULL, format BIGINT NOT NULL,
    base_db BLOB, base_txid BIGINT, time_ms BIGINT NOT NULL);
CREATE TABLE page (db BLOB NOT NULL, pgno BIGINT NOT NULL, txid BIGINT NOT NULL,
    stage BLOB NOT NULL, sum BLOB NOT NULL, bytes BLOB NOT NULL,
    PRIMARY KEY (db, pgno, txid, stage));
CREATE INDEX page_stage ON page (db, stage, pgno) WHERE length(stage) > 0;
CREATE TABLE stage (db BLOB NOT NULL, stage BLOB NOT NULL, txid BIGINT NOT NULL,
    generation BIGINT NOT NULL, chunks BIGINT NOT NULL, pages BIGINT NOT NULL,
    run_from BIGINT NOT NULL, last BIGINT NOT NULL, PRIMARY KEY (db, stage));
CREATE TABLE "commit" (db BLOB NOT NULL, txid BIGINT NOT NULL, generation BIGINT NOT NULL,
    page_count BIGINT NOT NULL, content BLOB NOT NULL, chain BLOB NOT NULL, stage BLOB NOT NULL,
    time_ms BIGINT NOT NULL, PRIMARY KEY (db, txid));
CREATE TABLE snapshot (db BLOB NOT NULL PRIMARY KEY, generation BIGINT NOT NULL,
    txid BIGINT NOT NULL, component BLOB NOT NULL, state BLOB NOT NULL);
CREATE TABLE pin (db BLOB NOT NULL, txid BIGINT NOT NULL, name TEXT NOT NULL,
    PRIMARY KEY (db, txid, name));
CREATE TABLE actor (kind TEXT NOT NULL, key TEXT NOT NULL, db BLOB NOT NULL UNIQUE,
    component BLOB NOT NULL, wanted BIGINT NOT NULL, restarts BIGINT NOT NULL, next_due BIGINT,
    PRIMARY KEY (kind, key));
CREATE INDEX actor_due ON actor (next_due) WHERE next_due IS NOT NULL;
CREATE INDEX actor_destroying ON actor (kind, key) WHERE wanted = 1;
CREATE INDEX head_base ON head (base_db) WHERE base_db IS NOT NULL;
CREATE TABLE meta (name TEXT NOT NULL PRIMARY KEY, value BLOB NOT NULL);
"#;
const GLOBAL_2: &str = "
CREATE TABLE node (session BLOB NOT NULL PRIMARY KEY, address TEXT NOT NULL,
    counter BIGINT NOT NULL);
CREATE TABLE component (digest BLOB NOT NULL PRIMARY KEY, wasm BLOB NOT NULL);
CREATE TABLE kind (name TEXT NOT NULL PRIMARY KEY, component BLOB NOT NULL, manifest TEXT NOT NULL,
    version BIGINT NOT NULL);
CREATE TABLE meta (name TEXT NOT NULL PRIMARY KEY, value BLOB NOT NULL);
";

fn column(conn: &Connection, sql: &str) -> Vec<String> {
    let mut found = conn.prepare(sql).unwrap();
    found.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

/// Makes a stopped file one of an older format. All that it has stays in its log.
fn age(path: &Path, format: i32) {
    let (new, aged) = (connection(path).unwrap(), path.with_extension("aged"));
    let old = Connection::open(&aged).unwrap();
    old.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
    let (page_bytes, later) = match format {
        1 => (4096, "DROP TABLE IF EXISTS stage; DROP INDEX IF EXISTS page_stage;"),
        _ => (2048, ""),
    };
    let schema = if path.ends_with("global.db") { GLOBAL_2 } else { SHARD_2 };
    old.execute_batch(&format!(
        "PRAGMA page_size = {page_bytes}; PRAGMA journal_mode = WAL; BEGIN; {schema} {later} \
         PRAGMA application_id = 0x53544b44; PRAGMA user_version = {format}; COMMIT"
    ))
    .unwrap();
    for table in column(&old, "SELECT name FROM sqlite_schema WHERE type = 'table'") {
        let names = column(&old, &format!("SELECT name FROM pragma_table_info('{table}')"));
        let places: Vec<String> = (1..=names.len()).map(|n| format!("?{n}")).collect();
        let insert = format!("INSERT INTO \"{table}\" VALUES ({})", places.join(", "));
        let mut rows =
            new.prepare(&format!("SELECT {} FROM \"{table}\"", names.join(", "))).unwrap();
        let mut rows = rows.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let values = (0..names.len()).map(|at| row.get::<_, Value>(at).unwrap());
            old.execute(&insert, params_from_iter(values)).unwrap();
        }
    }
    if !path.ends_with("global.db") {
        old.execute("UPDATE head SET format = ?1", [format]).unwrap();
        chain_from_zeros(&old);
    }
    drop((old, new));
    for suffix in ["-wal", "-shm"] {
        let log = |path: &Path| PathBuf::from(format!("{}{suffix}", path.display()));
        let _ = std::fs::remove_file(log(path));
        if suffix == "-wal" {
            std::fs::rename(log(&aged), log(path)).unwrap();
        }
    }
    std::fs::rename(&aged, path).unwrap();
}

fn chain_from_zeros(conn: &Connection) {
    let mut heads = conn.prepare("SELECT db FROM head").unwrap();
    let heads: Vec<Vec<u8>> =
        heads.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    for db in heads {
        let sql = "SELECT txid, content FROM \"commit\" WHERE db = ?1 ORDER BY txid";
        let mut rows = conn.prepare(sql).unwrap();
        let rows: Vec<(i64, [u8; 32])> = rows
            .query_map([&db], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let mut last = [0; 32];
        for (txid, content) in rows {
            last = chain::next(&last, &content);
            let sql = "UPDATE \"commit\" SET chain = ?3 WHERE db = ?1 AND txid = ?2";
            conn.execute(sql, params![db, txid, &last[..]]).unwrap();
        }
        conn.execute("UPDATE head SET chain = ?2 WHERE db = ?1", params![db, &last[..]]).unwrap();
    }
}

/// A stopped store of an older format, and what it held.
async fn aged(format: i32) -> Truth {
    let truth = Truth::new().await;
    truth.restore();
    for file in FILES {
        age(&truth.path(file), format);
    }
    truth
}

fn copy(from: &Path) -> TempDir {
    let directory = scratch();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, directory.path().join(path.file_name().unwrap())).unwrap();
    }
    directory
}

fn refused(directory: &Path) -> i32 {
    match EmbeddedStore::open(&config(directory)) {
        Err(OpenStoreError::Format { found, .. }) => found,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("a store of an older format was opened"),
    }
}

/// Everything is there, is proved, and continues to work.
async fn check_converted(truth: &Truth, directory: TempDir) {
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(&config(directory.path())).unwrap());
    let converted = Truth::of(directory, &store).await;
    assert!(converted.is_but_for_chains(truth));
    for state in store.actors(None, None, 1000).await.unwrap() {
        assert_eq!(
            (state.head.start, state.head.name),
            (Start::Zeros, state.row.actor.name_hash())
        );
        let mut owner = Owner::of(&store, state.row.actor.clone(), &state.head).successor().await;
        assert!(owner.verify().await.is_sound(), "{}", state.row.actor);
        while store.collect_stages(owner.fence).await.unwrap().more {}
        owner.commit(&[(1, 5)], 1).await;
        assert!(owner.verify().await.is_sound(), "{}", state.row.actor);
    }
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn is_refused_and_converted() {
    for format in [1, 2] {
        let truth = aged(format).await;
        let directory = copy(truth.directory.path());
        let config = config(directory.path());
        assert_eq!(refused(directory.path()), format);
        let looked = formats(&config).unwrap();
        assert!(looked.is_older() && looked.files.iter().all(|(_, found)| *found == format));
        let files = FILES.map(|file| directory.path().join(file));
        assert_eq!(upgrade(&config).unwrap(), files);
        assert_eq!(upgrade(&config).unwrap(), [] as [PathBuf; 0], "again");
        assert!(!formats(&config).unwrap().is_older());
        check_converted(&truth, directory).await;
    }
}

/// After each file, with the next one half written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn goes_on_where_it_was_ended() {
    let truth = aged(2).await;
    let whole = copy(truth.directory.path());
    upgrade(&config(whole.path())).unwrap();
    for done in 0..=FILES.len() {
        let directory = copy(truth.directory.path());
        for file in &FILES[..done] {
            std::fs::copy(whole.path().join(file), directory.path().join(file)).unwrap();
            let log = directory.path().join(format!("{file}-wal"));
            std::fs::remove_file(log).unwrap();
        }
        if let Some(next) = FILES.get(done) {
            let half = directory.path().join(format!("{next}.new"));
            std::fs::write(&half, [1; 5_000]).unwrap();
            assert_eq!(refused(directory.path()), 2, "after {done} files");
        }
        let left = upgrade(&config(directory.path())).unwrap();
        assert_eq!(left.len(), FILES.len() - done);
        for file in FILES {
            assert!(!directory.path().join(format!("{file}.new")).exists());
        }
        check_converted(&truth, directory).await;
    }
}

const CHILD_DIRECTORY: &str = "STOCKADE_UPGRADE_DIRECTORY";

/// Converts the store that it is given, if it is given one.
#[test]
fn the_upgrade_that_gets_killed() {
    if let Some(directory) = std::env::var_os(CHILD_DIRECTORY) {
        upgrade(&config(Path::new(&directory))).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_upgrade_loses_nothing() {
    let truth = aged(2).await;
    let directory = copy(truth.directory.path());
    let mut killed = 0;
    for ms in (0..60).step_by(4) {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "former::the_upgrade_that_gets_killed"])
            .env(CHILD_DIRECTORY, directory.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(ms));
        child.kill().unwrap();
        killed += u32::from(!child.wait().unwrap().success());
        match EmbeddedStore::open(&config(directory.path())) {
            Ok(_) => break,
            Err(OpenStoreError::Format { found: 2, .. }) => {}
            Err(error) => panic!("killed after {ms} ms: {error}"),
        }
    }
    assert!(killed > 0, "none was killed");
    upgrade(&config(directory.path())).unwrap();
    check_converted(&truth, directory).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_use_is_left_alone() {
    let truth = aged(2).await;
    let mut config = config(truth.directory.path());
    config.busy_wait = Duration::from_millis(50);
    for file in FILES {
        let reader = Connection::open(truth.path(file)).unwrap();
        reader.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
        reader.execute_batch("BEGIN; SELECT count(*) FROM meta").unwrap();
        let found = upgrade(&config);
        let path = truth.path(file);
        assert!(
            matches!(&found, Err(UpgradeError::InUse { path: it, .. }) if *it == path),
            "{found:?}"
        );
        let kept: i64 = reader.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
        assert_eq!(kept, 2);
    }
    // By a store of our format.
    let directory = scratch();
    let _open = EmbeddedStore::open(&crate::truth::config(directory.path())).unwrap();
    let found = upgrade(&crate::truth::config(directory.path()));
    assert!(
        matches!(&found, Err(UpgradeError::InUse { path, .. }) if path == directory.path()),
        "{found:?}"
    );
}

/// Nothing is made of what is not ours, of another format or store, or has lost something.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_strange_or_damaged_is_not_converted() {
    let (truth, another) = (aged(2).await, aged(2).await);
    let run = |directory: &Path, file: &str, sql: &str| {
        Connection::open(directory.join(file)).unwrap().execute_batch(sql).unwrap();
    };
    type Change<'a> = Box<dyn Fn(&Path) + 'a>;
    let cases: [(&str, &str, Change<'_>); 5] = [
        (
            "shard-01.db",
            "application id 0x7",
            Box::new(|directory| {
                run(directory, "shard-01.db", "PRAGMA application_id = 7");
            }),
        ),
        (
            "global.db",
            "application id 0x7",
            Box::new(|directory| {
                run(directory, "global.db", "PRAGMA application_id = 7");
            }),
        ),
        (
            "shard-01.db",
            "has format 9",
            Box::new(|directory| {
                run(directory, "shard-01.db", "PRAGMA user_version = 9");
            }),
        ),
        (
            "shard-01.db",
            "belongs to another store",
            Box::new(|directory| {
                for file in ["shard-01.db", "shard-01.db-wal"] {
                    std::fs::copy(another.path(file), directory.join(file)).unwrap();
                }
            }),
        ),
        (
            "shard-01.db-wal",
            "is damaged at frame 6",
            Box::new(|directory| {
                let log = directory.join("shard-01.db-wal");
                let mut bytes = std::fs::read(&log).unwrap();
                bytes[32 + 5 * (24 + 2048) + 300] ^= 4;
                std::fs::write(log, bytes).unwrap();
            }),
        ),
    ];
    for (file, why, change) in cases {
        let directory = copy(truth.directory.path());
        change(directory.path());
        let refused = upgrade(&config(directory.path())).unwrap_err().to_string();
        assert!(refused.contains(file) && refused.contains(why), "{refused}");
        if why.starts_with("application") {
            let refused = formats(&config(directory.path())).unwrap_err().to_string();
            assert!(refused.contains(file) && refused.contains(why), "{refused}");
        }
        // The store does not open before everything was converted.
        assert!(EmbeddedStore::open(&config(directory.path())).is_err(), "{why}");
    }
}

/// A head of a format that no program has written is not taken for one of zeros.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_formats_of_heads_stay_refused() {
    let truth = aged(2).await;
    let conn = Connection::open(truth.path("shard-00.db")).unwrap();
    assert!(conn.execute("UPDATE head SET format = 9", []).unwrap() > 0);
    drop(conn);
    upgrade(&config(truth.directory.path())).unwrap();
    let store = EmbeddedStore::open(&config(truth.directory.path())).unwrap();
    let found = store.actors(None, None, 1000).await;
    assert!(found.unwrap_err().to_string().contains("has format 9"));
}
