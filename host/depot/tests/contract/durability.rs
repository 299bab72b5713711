//! What is about files: what survives, what is found out, what is refused at the door, what stays
//! bounded. And the rules that no step can set up yet: bases and stages, written with plain SQL.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rusqlite::{Connection, params};
use stockade_depot::history::Fault;
use stockade_depot::page::PageRecord;
use stockade_depot::store::Keep;
use stockade_depot::store::embedded::{Clock, EmbeddedConfig, OpenStoreError, connection};
use stockade_depot::{DbId, EmbeddedStore, Fence, Pgno, Shard, Store, StoreError, Txid};
use stockade_testkit::contract::clock;
use stockade_testkit::contract::heir::heir_of;
use stockade_testkit::contract::retention::{NOTHING, trim};
use stockade_testkit::owner::{NODE, Owner, actor_id, page};

fn config(directory: &Path) -> EmbeddedConfig {
    let mut config = EmbeddedConfig::new(directory);
    config.shards = 1;
    config
}

fn open(directory: &Path) -> Arc<dyn Store> {
    Arc::new(EmbeddedStore::open(&config(directory)).unwrap())
}

/// The same with a clock.
fn open_at(directory: &Path, clock: Clock) -> Arc<dyn Store> {
    let mut config = config(directory);
    config.clock = clock;
    Arc::new(EmbeddedStore::open(&config).unwrap())
}

/// A connection of an operator, beside the store.
fn operator(directory: &Path) -> Connection {
    let conn = connection(&directory.join("shard-00.db")).unwrap();
    conn.busy_timeout(Duration::from_secs(5)).unwrap();
    conn
}

async fn reopened(store: &Arc<dyn Store>, owner: &Owner) -> Owner {
    let state = store.actor(&owner.actor).await.unwrap().unwrap();
    Owner::of(store, owner.actor.clone(), &state.head)
}

#[tokio::test]
async fn everything_is_there_after_a_close_and_after_a_drop() {
    let directory = tempfile::tempdir().unwrap();
    let mut version = 0;
    for round in 0..4 {
        let store = open(directory.path());
        let mut owner = if round == 0 {
            Owner::create(&store, "a").await
        } else {
            let state = store.actor(&actor_id("a")).await.unwrap().unwrap();
            Owner::of(&store, actor_id("a"), &state.head)
        };
        assert_eq!(owner.txid, Txid(version));
        for _ in 0..5 {
            version += 1;
            owner.commit(&[(1, version), (2, version)], 2).await;
        }
        assert!(owner.verify().await.is_sound());
        if round % 2 == 0 {
            store.close().await;
            let log = directory.path().join("shard-00.db-wal");
            assert_eq!(std::fs::metadata(log).map_or(0, |log| log.len()), 0, "log is cut");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_stores_on_one_directory_fence_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let (here, there) = (open(directory.path()), open(directory.path()));
    let mut old = Owner::create(&here, "a").await;
    old.commit(&[(1, 1)], 1).await;
    let mut new = reopened(&there, &old).await.successor().await;
    assert!(matches!(old.try_commit(&[(1, 2)], 1).await, Err(StoreError::Fenced(_))));
    assert!(matches!(old.read_one(1, 1).await, Err(StoreError::Fenced(_))));
    let confirmed = here.confirm(&[old.fence, new.fence]).await.unwrap();
    assert!(matches!(confirmed[..], [Err(StoreError::Fenced(_)), Ok(())]), "{confirmed:?}");
    new.commit(&[(1, 3)], 1).await;
    assert_eq!(new.read_one(2, 1).await.unwrap(), page(1, 3));
    let mut tasks = Vec::new();
    for n in 0..8 {
        let store = Arc::clone(if n % 2 == 0 { &here } else { &there });
        tasks.push(tokio::spawn(async move {
            let mut owner = Owner::create(&store, &format!("writer {n}")).await;
            for version in 0..30 {
                owner.commit(&[(1, version)], 1).await;
            }
            assert!(owner.verify().await.is_sound());
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    // One closes; the other continues.
    here.close().await;
    new.commit(&[(1, 4)], 1).await;
}

const CHILD_DIRECTORY: &str = "STOCKADE_CONTRACT_DIRECTORY";

/// Writes without end into the directory it is given and says what was acknowledged. Without one it
/// writes a little into a directory of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_writer_that_gets_killed() {
    let own = tempfile::tempdir().unwrap();
    let given = std::env::var_os(CHILD_DIRECTORY);
    let rounds = if given.is_some() { u64::MAX } else { 3 };
    let store = open(given.as_ref().map_or(own.path(), Path::new));
    let mut tasks = Vec::new();
    for n in 0..4 {
        let store = Arc::clone(&store);
        let given = given.is_some();
        tasks.push(tokio::spawn(async move {
            let id = actor_id(&format!("victim {n}"));
            let mut owner = match store.actor(&id).await.unwrap() {
                Some(state) => Owner::of(&store, id, &state.head).successor().await,
                None => Owner::create(&store, &format!("victim {n}")).await,
            };
            for _ in 0..rounds {
                let version = owner.txid.0 + 1;
                owner.commit(&[(1, version), (2, version), (3, version)], 3).await;
                if given {
                    let line = format!("ack {n} {version}\n");
                    std::io::stdout().write_all(line.as_bytes()).unwrap();
                }
            }
            assert_eq!(owner.read_one(owner.txid.0, 3).await.unwrap(), page(3, owner.txid.0));
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
}

/// Starts the writer, kills it `after` the first commit that it acknowledged, and returns the last
/// one per actor.
fn kill_a_writer(directory: &Path, after: Duration) -> BTreeMap<u64, u64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "durability::the_writer_that_gets_killed", "--nocapture"])
        .env(CHILD_DIRECTORY, directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let (begun, begins) = std::sync::mpsc::channel();
    let killer = std::thread::spawn(move || {
        // A writer that ends before has hung up.
        if begins.recv().is_ok() {
            std::thread::sleep(after);
        }
        child.kill().unwrap();
        child.wait().unwrap();
    });
    let mut begun = Some(begun);
    let mut acknowledged = BTreeMap::new();
    for line in output.lines() {
        let line = line.unwrap();
        // The last line may be cut; the test harness writes lines of its own.
        let Some(ack) = line.split("ack ").nth(1) else { continue };
        if let Some((Ok(actor), Ok(txid))) =
            ack.split_once(' ').map(|(actor, txid)| (actor.parse(), txid.parse()))
        {
            acknowledged.insert(actor, txid);
            if let Some(begun) = begun.take() {
                begun.send(()).unwrap();
            }
        }
    }
    drop(begun);
    killer.join().unwrap();
    acknowledged
}

#[tokio::test]
async fn a_killed_process_loses_nothing_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeMap::new();
    for round in 0..5 {
        let before: u64 = acknowledged.values().sum();
        acknowledged
            .extend(kill_a_writer(directory.path(), Duration::from_millis(20 + round * 70)));
        assert!(acknowledged.values().sum::<u64>() > before, "round {round} wrote nothing");
        let store = open(directory.path());
        for (n, txid) in &acknowledged {
            let id = actor_id(&format!("victim {n}"));
            let state = store.actor(&id).await.unwrap().unwrap();
            assert!(state.head.txid >= Txid(*txid), "{n}: {state:?} lost {txid}");
            let owner = Owner::of(&store, id, &state.head);
            assert_eq!(owner.read_one(*txid, 2).await.unwrap(), page(2, *txid));
            let report = owner.verify().await;
            assert!(report.is_sound(), "{report:?}");
        }
    }
}

/// Writers that never pause, readers beside them: the log stays at its bound plus one group.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_log_stays_bounded_under_writers_that_never_pause() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = config(directory.path());
    config.wal_bytes_max = 2 << 20;
    config.wal_checkpoint_bytes = 512 << 10;
    config.group_bytes_max = 256 << 10;
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(&config).unwrap());
    let (done, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut tasks = Vec::new();
    for n in 0..8 {
        let (store, done, written) = (Arc::clone(&store), Arc::clone(&done), Arc::clone(&written));
        tasks.push(tokio::spawn(async move {
            let mut owner = Owner::create(&store, &format!("writer {n}")).await;
            while !done.load(Ordering::Relaxed) {
                let version = owner.txid.0 * 2;
                let pages: Vec<(u32, u64)> = (1..=8).map(|pgno| (pgno, version)).collect();
                owner.commit(&pages, 8).await;
                owner.read_one(owner.txid.0, 5).await.unwrap();
                written.fetch_add(8 * 4096, Ordering::Relaxed);
            }
        }));
    }
    let log = directory.path().join("shard-00.db-wal");
    let (mut largest, end) = (0, Instant::now() + Duration::from_secs(2));
    while Instant::now() < end {
        largest = largest.max(std::fs::metadata(&log).unwrap().len());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    done.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    let written = written.load(Ordering::Relaxed);
    let bound = config.wal_bytes_max + 4 * config.group_bytes_max;
    assert!(written > 2 * bound, "wrote only {written} bytes, which proves nothing");
    assert!(largest <= bound, "the log grew to {largest} of {bound}; {written} were written");
}

/// An operator's forgotten transaction must not make the log grow; steps are refused, then
/// continue.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_stays_makes_steps_unavailable_not_the_log_endless() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = config(directory.path());
    config.wal_bytes_max = 256 << 10;
    config.wal_checkpoint_bytes = 64 << 10;
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(&config).unwrap());
    let mut owner = Owner::create(&store, "a").await;
    owner.commit(&[(1, 0)], 1).await;
    let conn = operator(directory.path());
    conn.execute_batch("BEGIN; SELECT count(*) FROM head").unwrap();
    let mut refused = None;
    for version in 1..2000 {
        if let Err(error) = owner.try_commit(&[(1, version * 2 + 1)], 1).await {
            refused = Some(error);
            break;
        }
    }
    assert!(matches!(refused, Some(StoreError::Unavailable(_))), "{refused:?}");
    let log = std::fs::metadata(directory.path().join("shard-00.db-wal")).unwrap().len();
    let grows_by = 256 << 10;
    assert!(log <= 2 * config.wal_bytes_max + grows_by, "the log grew to {log}");
    let before = owner.head().await.txid;
    assert_eq!(before, owner.txid, "a refused step was not applied");
    conn.execute_batch("COMMIT").unwrap();
    owner.commit(&[(1, 1)], 1).await;
}

#[tokio::test]
async fn steps_queued_before_a_close_are_finished() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let mut owners = Vec::new();
    for n in 0..20 {
        owners.push(Owner::create(&store, &format!("actor {n}")).await);
    }
    let mut tasks = Vec::new();
    for mut owner in owners.clone() {
        tasks.push(tokio::spawn(async move { owner.try_commit(&[(1, 1)], 1).await }));
    }
    tokio::task::yield_now().await;
    store.close().await;
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.unwrap());
    }
    let store = open(directory.path());
    for (owner, answer) in owners.iter().zip(answers) {
        let txid = reopened(&store, owner).await.txid;
        match answer {
            Ok(()) => assert_eq!(txid, Txid(1)),
            Err(StoreError::Closed) => assert_eq!(txid, Txid(0)),
            Err(other) => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_full_store_refuses_and_keeps_what_it_has() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = config(directory.path());
    config.file_bytes_max = Some(512 << 10);
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(&config).unwrap());
    let mut owner = Owner::create(&store, "a").await;
    let mut other = Owner::create(&store, "b").await;
    let refused = loop {
        let version = owner.txid.0 * 2 + 1;
        if let Err(error) = owner.try_commit(&[(1, version), (2, version + 1)], 2).await {
            break error;
        }
        assert!(owner.txid < Txid(500), "the store never fills");
    };
    let path = directory.path().join("shard-00.db");
    let full = |error: &_| matches!(error, StoreError::Full(full) if full.path == path);
    assert!(full(&refused), "{refused:?}");
    assert_eq!(owner.head().await.txid, owner.txid);
    assert!(owner.verify().await.is_sound());
    let many: Vec<(u32, u64)> = (1..=100).map(|pgno| (pgno, u64::from(pgno))).collect();
    assert!(full(&other.try_commit(&many, 100).await.unwrap_err()));
    // Reads and confirmations continue.
    assert_eq!(store.confirm(&[owner.fence]).await.unwrap(), [Ok(())]);
}

#[tokio::test]
async fn times_rise_when_the_clock_does_not() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = config(directory.path());
    let now = Arc::new(AtomicU64::new(1000));
    let clock = Arc::clone(&now);
    config.clock = Clock::new(move || clock.load(Ordering::Relaxed));
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(&config).unwrap());
    let mut owner = Owner::create(&store, "a").await;
    for (version, time) in [1000, 1000, 5000, 400, 6000].into_iter().enumerate() {
        now.store(time, Ordering::Relaxed);
        owner.commit(&[(1, u64::try_from(version).unwrap())], 1).await;
    }
    let rows = store.commits(owner.fence.db, Txid(0), 10).await.unwrap();
    let times: Vec<u64> = rows.iter().map(|row| row.time_ms).collect();
    assert_eq!(times, [1001, 1002, 5000, 5001, 6000]);
}

/// Changes stored rows with `sql` and returns what `verify` then says of the owner's database.
async fn damage(sql: &str) -> (Owner, Vec<Fault>, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let mut owner = Owner::create(&store, "a").await;
    owner.commit(&[(1, 1), (2, 1), (3, 1)], 3).await;
    owner.commit(&[(2, 2)], 3).await;
    owner.commit(&[(1, 3)], 3).await;
    assert!(operator(directory.path()).execute(sql, []).unwrap() > 0, "{sql} changed nothing");
    let faults = owner.verify().await.faults;
    (owner, faults, directory)
}

#[tokio::test]
async fn a_damaged_page_is_an_error_never_wrong_bytes() {
    let flip = "UPDATE page SET bytes = CAST(substr(bytes, 1, 9) || x'5A' || substr(bytes, 11) \
                AS BLOB) WHERE pgno = 2 AND txid = 2";
    let swapped = "UPDATE page SET (sum, bytes) = (SELECT p.sum, p.bytes FROM page p \
                   WHERE p.pgno = 2 AND p.txid = 1) WHERE pgno = 2 AND txid = 2";
    let short = "UPDATE page SET bytes = x'00' WHERE pgno = 2 AND txid = 2";
    let text = "UPDATE page SET bytes = 'text' WHERE pgno = 2 AND txid = 2";
    let sum = "UPDATE page SET sum = x'00' WHERE pgno = 2 AND txid = 2";
    for sql in [flip, swapped, short, text, sum] {
        let (owner, faults, _directory) = damage(sql).await;
        for pages in [&[Pgno(2)][..], &[Pgno(1), Pgno(2)]] {
            let read = owner.store.read(owner.fence, Txid(3), pages).await;
            assert!(matches!(read, Err(StoreError::Corrupt(_))), "{sql}: {read:?}");
        }
        // What is not damaged is still served.
        assert_eq!(owner.read_one(3, 1).await.unwrap(), page(1, 3));
        assert_eq!(owner.read_one(1, 2).await.unwrap(), page(2, 1));
        assert!(matches!(faults[0], Fault::CommitPages { txid: Txid(2), .. }), "{sql}: {faults:?}");
        assert!(matches!(faults[1], Fault::Page { pgno: Pgno(2), .. }), "{sql}: {faults:?}");
        assert_eq!(faults.len(), 2, "{sql}: {faults:?}");
    }
}

#[tokio::test]
async fn a_damaged_engine_file_is_corrupt() {
    use std::os::unix::fs::FileExt;
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let mut owner = Owner::create(&store, "a").await;
    let many: Vec<(u32, u64)> = (1..=200).map(|pgno| (pgno, u64::from(pgno))).collect();
    owner.commit(&many, 200).await;
    store.close().await;
    let path = directory.path().join("shard-00.db");
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    // Everything but the schema's pages.
    let pages = std::fs::metadata(&path).unwrap().len() / 4096;
    for page in 30..pages {
        file.write_all_at(&[0xEE; 4096], page * 4096).unwrap();
    }
    let store = open(directory.path());
    for pgno in 1..=200 {
        let read = store.read(owner.fence, Txid(1), &[Pgno(pgno)]).await;
        match read {
            Ok(read) => assert_eq!(read.pages[0].bytes, page(pgno, u64::from(pgno))),
            Err(error) => assert!(matches!(error, StoreError::Corrupt(_)), "{error:?}"),
        }
    }
    let read = store.read(owner.fence, Txid(1), &[Pgno(150)]).await;
    assert!(matches!(read, Err(StoreError::Corrupt(_))), "{read:?}");
}

#[tokio::test]
async fn verify_names_what_is_wrong() {
    let (owner, faults, _directory) = damage("DELETE FROM page WHERE pgno = 3").await;
    assert!(matches!(owner.read_one(3, 3).await, Err(StoreError::Corrupt(_))));
    assert_eq!(faults[0], Fault::Content { txid: Txid(1) });
    assert!(matches!(faults[1], Fault::Page { pgno: Pgno(3), .. }), "{faults:?}");
    let (_, faults, _directory) = damage("DELETE FROM \"commit\" WHERE txid = 2").await;
    assert_eq!(faults, [Fault::Gap { after: Txid(1) }]);
    let (_, faults, _directory) =
        damage("UPDATE \"commit\" SET generation = 7 WHERE txid = 2").await;
    assert_eq!(faults, [Fault::Content { txid: Txid(2) }]);
    let (_, faults, _directory) =
        damage("UPDATE \"commit\" SET chain = zeroblob(32) WHERE txid = 2").await;
    assert_eq!(faults, [Fault::Chain { txid: Txid(2) }, Fault::Chain { txid: Txid(3) }]);
    let (_, faults, _directory) = damage("UPDATE head SET chain = zeroblob(32)").await;
    assert_eq!(faults, [Fault::Head]);
    // An old version that was lost: the head is whole, history is not.
    let (owner, faults, _directory) = damage("DELETE FROM page WHERE pgno = 2 AND txid = 2").await;
    assert_eq!(faults, [Fault::Content { txid: Txid(2) }]);
    assert_eq!(owner.read_one(3, 1).await.unwrap(), page(1, 3));
}

#[tokio::test]
async fn stored_nonsense_is_corrupt_never_a_panic() {
    for sql in [
        "UPDATE head SET generation = -1",
        "UPDATE head SET token = x'00'",
        "UPDATE head SET txid = -5",
        "UPDATE head SET page_count = 5000000000",
        "UPDATE head SET sealed = 2",
        "UPDATE head SET origin = 9",
        "UPDATE head SET chain = 'text'",
        "UPDATE head SET owner = 1.5",
        "UPDATE head SET name = x''",
        "UPDATE head SET name = zeroblob(16)",
        "UPDATE head SET format = format + 7",
        "UPDATE head SET format = 0",
        "UPDATE actor SET component = x''",
        "UPDATE actor SET wanted = 7",
        "UPDATE actor SET restarts = -1",
    ] {
        let (owner, _directory) = {
            let directory = tempfile::tempdir().unwrap();
            let store = open(directory.path());
            let owner = Owner::create(&store, "a").await;
            operator(directory.path()).execute(sql, []).unwrap();
            (owner, directory)
        };
        let found = owner.store.actor(&owner.actor).await;
        assert!(matches!(found, Err(StoreError::Corrupt(_))), "{sql}: {found:?}");
    }
}

/// Inserts a page row as a staged chunk writes it.
fn insert_page(conn: &Connection, db: DbId, pgno: u32, txid: u64, stage: &[u8], version: u64) {
    let record = PageRecord::encode(db, Pgno(pgno), Txid(txid), &page(pgno, version)).unwrap();
    conn.execute(
        "INSERT INTO page (db, pgno, txid, stage, sum, bytes) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            &db.0[..],
            pgno,
            i64::try_from(txid).unwrap(),
            stage,
            &record.sum[..],
            &record.bytes[..]
        ],
    )
    .unwrap();
}

#[tokio::test]
async fn a_staged_page_is_seen_once_its_commit_names_its_stage() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let mut owner = Owner::create(&store, "a").await;
    owner.commit(&[(1, 1), (2, 1)], 2).await;
    let conn = operator(directory.path());
    let db = owner.fence.db;
    insert_page(&conn, db, 1, 2, b"mine", 50);
    insert_page(&conn, db, 1, 2, b"leftover", 60);
    insert_page(&conn, db, 2, 9, b"future", 70);
    // The head moves to 2 by an ordinary commit: no commit has named a stage.
    owner.commit(&[(2, 2)], 2).await;
    let both = [Pgno(1), Pgno(2)];
    let read = |at: u64| store.read(owner.fence, Txid(at), &both);
    assert_eq!(read(2).await.unwrap().pages[0].bytes, page(1, 1));
    assert_eq!(owner.read_one(2, 1).await.unwrap(), page(1, 1));
    assert_eq!(store.commit_pages(db, Txid(2), Pgno(0), 9).await.unwrap().len(), 1);
    conn.execute("UPDATE \"commit\" SET stage = ?1 WHERE txid = 2", [&b"mine"[..]]).unwrap();
    assert_eq!(read(2).await.unwrap().pages[0].bytes, page(1, 50));
    assert_eq!(owner.read_one(2, 1).await.unwrap(), page(1, 50));
    assert_eq!(owner.read_one(1, 1).await.unwrap(), page(1, 1));
    assert_eq!(store.read_at(db, Txid(2), Pgno(1), 2).await.unwrap()[0].bytes, page(1, 50));
    assert_eq!(store.commit_pages(db, Txid(2), Pgno(0), 9).await.unwrap().len(), 2);
}

#[tokio::test]
async fn pages_come_from_the_base_as_of_its_txid() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let mut root = Owner::create(&store, "root").await;
    root.commit(&[(1, 1), (2, 1), (3, 1)], 3).await;
    root.commit(&[(2, 2)], 3).await;
    let mut middle = Owner::create(&store, "middle").await;
    let mut leaf = Owner::create(&store, "leaf").await;
    let conn = operator(directory.path());
    let fork = |of: &Owner, child: &mut Owner, at: u64| {
        conn.execute(
            "UPDATE head SET base_db = ?2, base_txid = ?3, txid = ?3, page_count = 3 WHERE db = ?1",
            params![&child.fence.db.0[..], &of.fence.db.0[..], i64::try_from(at).unwrap()],
        )
        .unwrap();
        (child.txid, child.page_count) = (Txid(at), of.page_count);
    };
    fork(&root, &mut middle, 1);
    middle.commit(&[(3, 10)], 3).await;
    fork(&middle, &mut leaf, 2);
    leaf.commit(&[(1, 20)], 3).await;
    root.commit(&[(1, 9), (2, 9), (3, 9)], 3).await;
    let all = [Pgno(3), Pgno(2), Pgno(1), Pgno(2)];
    let read = store.read(leaf.fence, leaf.txid, &all).await.unwrap();
    let found: Vec<_> = read.pages.iter().map(|page| page.bytes.clone()).collect();
    // Page 2 as the root had it at txid 1, two bases down.
    assert_eq!(found, [page(3, 10), page(2, 1), page(1, 20), page(2, 1)]);
    assert_eq!(leaf.read_one(leaf.txid.0, 2).await.unwrap(), page(2, 1));
    let at = store.read_at(leaf.fence.db, leaf.txid, Pgno(1), 10).await.unwrap();
    assert_eq!(at.len(), 3);
    assert_eq!(at[1].bytes, page(2, 1));
    let outside = store.read(leaf.fence, leaf.txid, &[Pgno(4)]).await;
    assert!(matches!(outside, Err(StoreError::Corrupt(_))), "{outside:?}");
    // Its head tells that to any reader.
    let base = Some((middle.fence.db, Txid(2)));
    assert_eq!((leaf.head().await.base, root.head().await.base), (base, None));
    // A ring of bases ends, too.
    fork(&leaf, &mut root, 3);
    let ring = store.read(leaf.fence, leaf.txid, &[Pgno(4)]).await;
    assert!(matches!(ring, Err(StoreError::Corrupt(_))), "{ring:?}");
}

/// What a fork needs of its base is held by its pin, also when the base's pages are overwritten.
#[tokio::test]
async fn trimming_spares_what_a_fork_needs() {
    let directory = tempfile::tempdir().unwrap();
    let store = open_at(directory.path(), clock::clock());
    let mut root = Owner::create(&store, "root").await;
    root.commit(&[(1, 1), (2, 1)], 2).await;
    store.pin(root.fence.db, Txid(1), "fork/leaf").await.unwrap();
    let leaf = Owner::create(&store, "leaf").await;
    let conn = operator(directory.path());
    conn.execute(
        "UPDATE head SET base_db = ?2, base_txid = 1, txid = 1, page_count = 2 WHERE db = ?1",
        params![&leaf.fence.db.0[..], &root.fence.db.0[..]],
    )
    .unwrap();
    for version in 2..=9 {
        root.commit(&[(1, version), (2, version)], 2).await;
    }
    assert_eq!(trim(&root, NOTHING).await.floor, Txid(1));
    assert_eq!(leaf.read_one(1, 2).await.unwrap(), page(2, 1));
    // A base without a pin is refused, never read from the wrong version.
    conn.execute("DELETE FROM pin", []).unwrap();
    trim(&root, NOTHING).await;
    let lost = leaf.read_one(1, 2).await;
    assert!(matches!(lost, Err(StoreError::HistoryGone { .. })), "{lost:?}");
    // Without its pin, too, a base is known by the head that names it.
    let mut step = root.takeover_step();
    step.destroying = true;
    assert_eq!(store.take_over(step).await, Err(StoreError::HasForks(root.fence.db)));
}

/// Rows of a stage that no commit names supersede nothing, and those of a commit in flight stay.
#[tokio::test]
async fn trimming_looks_at_committed_rows_only() {
    let directory = tempfile::tempdir().unwrap();
    let store = open_at(directory.path(), clock::clock());
    let mut owner = Owner::create(&store, "a").await;
    let conn = operator(directory.path());
    let db = owner.fence.db;
    owner.commit(&[(1, 1), (2, 1)], 2).await;
    insert_page(&conn, db, 1, 2, b"leftover", 60);
    owner.commit(&[(2, 2)], 2).await;
    insert_page(&conn, db, 1, 3, b"flying", 70);
    trim(&owner, NOTHING).await;
    assert_eq!(owner.read_one(2, 1).await.unwrap(), page(1, 1));
    assert_eq!(owner.read_one(2, 2).await.unwrap(), page(2, 2));
    // The commit in flight lands: its pages are there, and its row, which makes them visible,
    // stays.
    owner.commit(&[], 2).await;
    conn.execute("UPDATE \"commit\" SET stage = ?1 WHERE txid = 3", [&b"flying"[..]]).unwrap();
    for version in 4..=6 {
        owner.commit(&[(2, version)], 2).await;
    }
    trim(&owner, NOTHING).await;
    assert_eq!(owner.read_one(6, 1).await.unwrap(), page(1, 70));
    assert_eq!(owner.head().await.floor, Txid(6));
    // Nothing is left to do: another pass finds the staged commit's row, and leaves it.
    assert_eq!(trim(&owner, NOTHING).await.looked, 0);
    // When the last of its pages is superseded, it goes: head, actor, two pages, one commit.
    owner.commit(&[(1, 80)], 2).await;
    trim(&owner, NOTHING).await;
    assert_eq!(store.rows_of(db).await, Ok(5));
}

/// D3: the row of a young commit is some caller's verdict, whatever retention is asked for.
#[tokio::test]
async fn young_commits_are_kept_whatever_is_asked() {
    let directory = tempfile::tempdir().unwrap();
    let now = Arc::new(AtomicU64::new(1_000_000));
    let told = Arc::clone(&now);
    let store = open_at(directory.path(), Clock::new(move || told.load(Ordering::Relaxed)));
    let mut owner = Owner::create(&store, "a").await;
    for version in 1..=4 {
        owner.commit(&[(1, version)], 1).await;
        now.fetch_add(10_000, Ordering::Relaxed);
    }
    // 40, 30, 20 and 10 seconds old.
    let history = store.raise_floor(owner.fence.db, NOTHING).await.unwrap();
    assert_eq!((history.floor, history.head), (Txid(2), Txid(4)));
    let longer = Keep { commits_min: 0, age_ms_min: 60_000 };
    now.fetch_add(10_000, Ordering::Relaxed);
    assert_eq!(store.raise_floor(owner.fence.db, longer).await.unwrap().floor, Txid(2));
    assert_eq!(store.raise_floor(owner.fence.db, NOTHING).await.unwrap().floor, Txid(3));
}

/// Steady overwrites: freed pages of the file are used again, so it stops growing.
#[tokio::test]
async fn a_file_stays_bounded_under_steady_overwrites() {
    const PAGES: u32 = 40;
    let directory = tempfile::tempdir().unwrap();
    let mut config = config(directory.path());
    config.clock = clock::clock();
    (config.wal_checkpoint_bytes, config.wal_bytes_max) = (1 << 20, 4 << 20);
    config.reserve_bytes = 0;
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(&config).unwrap());
    let mut owner = Owner::create(&store, "a").await;
    let size = || {
        let of =
            |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().metadata().unwrap().len();
        std::fs::read_dir(directory.path()).unwrap().map(of).sum::<u64>()
    };
    let mut sizes = Vec::new();
    for round in 0..12_u64 {
        for commit in 0..25_u64 {
            let version = 2 * (round * 25 + commit) + 1;
            let pages: Vec<(u32, u64)> = (1..=PAGES).map(|pgno| (pgno, version)).collect();
            owner.commit(&pages, PAGES).await;
        }
        let report = trim(&owner, NOTHING).await;
        assert_eq!(store.rows_of(owner.fence.db).await, Ok(u64::from(PAGES) + 3));
        assert!(report.rows >= 24 * u64::from(PAGES));
        sizes.push(size());
    }
    let most = |rounds: &[u64]| rounds.iter().copied().max().unwrap();
    let (first, last) = (most(&sizes[..4]), most(&sizes[4..]));
    println!("bytes of the store after each round of 1000 page versions: {sizes:?}");
    assert!(last <= first + first / 10, "{sizes:?}");
    assert!(owner.verify().await.is_sound());
}

#[test]
fn the_directory_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("deep").join("store");
    EmbeddedStore::open(&config(&directory)).unwrap();
    let mode = std::fs::metadata(&directory).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn a_store_keeps_its_number_of_shards() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = config(directory.path());
    for (asked, due) in [(3, 3), (1, 3), (64, 3)] {
        config.shards = asked;
        assert_eq!(EmbeddedStore::open(&config).unwrap().shards(), due);
    }
    let store = EmbeddedStore::open(&config).unwrap();
    assert!(store.shard_path(Shard(2)).unwrap().exists());
    assert_eq!(store.shard_path(Shard(3)), None);
    for shards in [0, 65] {
        config.shards = shards;
        assert!(matches!(EmbeddedStore::open(&config), Err(OpenStoreError::Shards { .. })));
        assert!(EmbeddedStore::in_memory(shards).is_err());
    }
}

#[tokio::test]
async fn what_is_missing_or_foreign_is_refused_at_the_door() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = config(directory.path());
    config.shards = 2;
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(&config).unwrap());
    for n in 0..8 {
        Owner::create(&store, &format!("actor {n}")).await;
    }
    store.close().await;
    drop(store);
    let refused = |config: &EmbeddedConfig| EmbeddedStore::open(config).err().unwrap();
    let (file, aside) = (directory.path().join("shard-01.db"), directory.path().join("aside"));
    std::fs::rename(&file, &aside).unwrap();
    assert!(matches!(refused(&config), OpenStoreError::Missing(path) if path == file));
    assert!(!file.exists(), "a missing shard was made anew");
    // Another store's shard in its place.
    let foreign = tempfile::tempdir().unwrap();
    let mut other = EmbeddedConfig::new(foreign.path());
    other.shards = 2;
    drop(EmbeddedStore::open(&other).unwrap());
    std::fs::copy(foreign.path().join("shard-01.db"), &file).unwrap();
    assert!(matches!(refused(&config), OpenStoreError::Foreign { .. }));
    // Some other program's database.
    std::fs::remove_file(&file).unwrap();
    Connection::open(&file).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
    assert!(matches!(refused(&config), OpenStoreError::Foreign { .. }));
    std::fs::remove_file(&file).unwrap();
    std::fs::rename(&aside, &file).unwrap();
    let version = |version: &str| {
        let conn = connection(&file).unwrap();
        conn.pragma_update(None, "user_version", version).unwrap();
    };
    for (found, format) in [(0, "0"), (2, "2"), (4, "4"), (99, "99")] {
        version(format);
        let refused = refused(&config);
        assert!(matches!(refused, OpenStoreError::Format { found: it, .. } if it == found));
    }
    version("3");
    // Without the file that says what the shards are, they are not taken for a new store's.
    let global = directory.path().join("global.db");
    std::fs::rename(&global, &aside).unwrap();
    assert!(matches!(refused(&config), OpenStoreError::Missing(path) if path == global));
    for name in ["global.db", "global.db-wal", "global.db-shm"] {
        let _ = std::fs::remove_file(directory.path().join(name));
    }
    std::fs::rename(&aside, &global).unwrap();
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(&config).unwrap());
    assert_eq!(store.actors(None, None, 100).await.unwrap().len(), 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn processes_that_start_at_once_make_one_store() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let path = path.clone();
            std::thread::spawn(move || EmbeddedStore::open(&EmbeddedConfig::new(&path)).unwrap())
        })
        .collect();
    let stores: Vec<Arc<dyn Store>> = threads
        .into_iter()
        .map(|thread| Arc::new(thread.join().unwrap()) as Arc<dyn Store>)
        .collect();
    let owner = Owner::create(&stores[0], "a").await;
    for store in &stores {
        assert_eq!(store.actor(&owner.actor).await.unwrap().unwrap().head.fence, owner.fence);
    }
}

/// A file that cannot be written speaks for its own databases only.
#[tokio::test]
async fn heirs_of_other_shards_are_claimed_past_one_that_is_held() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = EmbeddedConfig::new(directory.path());
    (config.shards, config.busy_wait) = (2, Duration::from_millis(100));
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(&config).unwrap());
    let mut heirs = Vec::new();
    for n in 0..20 {
        let owner = Owner::create(&store, &format!("actor {n}")).await;
        heirs.push(heir_of(&owner).await.0);
    }
    let fences: Vec<Fence> = heirs.iter().map(|heir| heir.fence).collect();
    let held = operator(directory.path());
    held.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert!(store.claim(NODE, &fences).await.is_err());
    for heir in &heirs {
        assert_eq!(heir.head().await.is_heir(), heir.fence.db.shard() == Shard(0));
    }
    held.execute_batch("ROLLBACK").unwrap();
    store.claim(NODE, &fences).await.unwrap();
    for heir in &heirs {
        assert_eq!(heir.head().await.owner, NODE);
    }
    store.close().await;
}
