//! A process whose store file fails gives up its actors and ends; another process on the same data
//! serves them.
//!
//! Two real programs over one data directory; system calls of the first are made to fail, or its
//! files are removed. Then, each time: its `/ready` reports the failure, it ends by itself with the
//! name of the file and the cause, the other program answers for every actor, no acknowledged write
//! is lost and none is done twice.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::json;
use stockade::error::{Code, Retry};
use stockade_depot::store::Cluster;
use stockade_depot::{FailureCause, StoreFailure};
use stockade_tests::guest;
use stockade_tests::host::{Site, actor};
use stockade_tests::program::{Caller, HttpReply, Program};

const LEASE_MS: u64 = 2_000;
/// Enough actors for each shard to have some.
const ACTORS: u64 = 12;
/// How long probes may take to report a failure once it has happened.
const TOLD_WITHIN: Duration = Duration::from_secs(1);
/// How long removed or replaced files may go unnoticed.
const NOTICED_WITHIN: Duration = Duration::from_secs(5);
/// A liveness bound for everything else, on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the callers of an actor know.
#[derive(Clone, Copy, Default)]
struct Ledger {
    acknowledged: u64,
    unknown: u64,
}

type Ledgers = Arc<Mutex<BTreeMap<u64, Ledger>>>;

/// The two programs, and callers that write to the first one until it is gone.
struct Stand {
    dir: tempfile::TempDir,
    failing: Program,
    healthy: Program,
    ledgers: Ledgers,
    stop: Arc<AtomicBool>,
    writers: Vec<JoinHandle<()>>,
}

fn name(actor: u64) -> String {
    format!("counter/{actor:02}")
}

/// The library that makes system calls fail.
fn shim(dir: &Path) -> PathBuf {
    let (source, library) = (dir.join("shim.c"), dir.join("shim.so"));
    std::fs::write(&source, include_str!("failed/shim.c")).unwrap();
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .args([&library, &source])
        .output()
        .expect("`make setup` installs a C compiler");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    library
}

impl Stand {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (data, lease) = (dir.path().join("data"), LEASE_MS.to_string());
        let flags = ["--lease-ms", &lease];
        let (library, fault) = (shim(dir.path()), dir.path().join("fault"));
        let environment = [("LD_PRELOAD", library.as_path()), ("STOCKADE_FAULT", fault.as_path())];
        let failing = Program::serve_in(&data, &flags, &environment).unwrap();
        failing.deploy("counter", &guest::COUNTER.wasm().unwrap()).unwrap();
        let ledgers = Ledgers::default();
        for actor in 0..ACTORS {
            let made = failing.call(&name(actor), "increment", &json!([1])).unwrap();
            assert_eq!(made.status, 200, "{}", made.body);
            ledgers.lock().unwrap().insert(actor, Ledger { acknowledged: 1, unknown: 0 });
        }
        let healthy = Program::serve_with(&data, &flags).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let writers = (0..3).map(|part| {
            let (ledgers, stop) = (Arc::clone(&ledgers), Arc::clone(&stop));
            let address = failing.listen.clone();
            std::thread::spawn(move || write(part, &address, &ledgers, &stop))
        });
        let writers = writers.collect();
        Self { dir, failing, healthy, ledgers, stop, writers }
    }

    fn store(&self, file: &str) -> PathBuf {
        self.dir.path().join("data/store").join(file)
    }

    /// Makes calls fail from now on. Returns when one has failed.
    fn fault(&self, what: &str, provoke: fn(&Program)) {
        let fault = self.dir.path().join("fault");
        std::fs::write(fault.with_extension("new"), what).unwrap();
        std::fs::rename(fault.with_extension("new"), &fault).unwrap();
        let begun = Instant::now();
        while !fault.with_extension("fired").exists() {
            assert!(begun.elapsed() < PATIENCE, "{what}: not fired\n{}", self.failing.autopsy());
            provoke(&self.failing);
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Asserts what has to follow a failure that has just happened.
    fn check(self, file: &str, why: &str) {
        let (begun, path) = (Instant::now(), self.store(file));
        let ready = loop {
            let ready = self.failing.get("/ready").unwrap();
            if ready.status != 200 {
                break ready;
            }
            assert!(begun.elapsed() < TOLD_WITHIN, "{:?}: {}", begun.elapsed(), ready.body);
            std::thread::sleep(Duration::from_millis(10));
        };
        let failed = Instant::now();
        assert_eq!((ready.status, &ready.body["ready"]), (503, &json!(false)), "{}", ready.body);
        let told = &ready.body["failed"];
        let expected = (json!(path.to_str().unwrap()), json!(why));
        assert_eq!((&told["file"], &told["why"]), (&expected.0, &expected.1), "{}", ready.body);
        // Callers get the same error, and may repeat the call. An actor in a file that works may
        // answer until it is given up.
        let refused = loop {
            let answer = self.failing.call(&name(0), "get", &json!([])).unwrap();
            if answer.status != 200 {
                break answer;
            }
            assert!(failed.elapsed() < TOLD_WITHIN, "{:?}: {}", failed.elapsed(), answer.body);
            std::thread::sleep(Duration::from_millis(10));
        };
        assert_eq!(refused.status, 503, "{}", refused.body);
        assert_eq!(
            (&refused.body["group"], &refused.body["code"]),
            (&json!("depot"), &json!("closed"))
        );
        assert_eq!(refused.body["retry"], "retry");
        assert_eq!(refused.body["details"]["file"], expected.0);
        // The other program answers for all actors.
        for actor in 0..ACTORS {
            let served = loop {
                let answer = self.healthy.call(&name(actor), "increment", &json!([1])).unwrap();
                let late = failed.elapsed() > Duration::from_millis(LEASE_MS + 1_000);
                if answer.status == 200 || late {
                    break answer;
                }
                std::thread::sleep(Duration::from_millis(10));
            };
            assert_eq!(served.status, 200, "{} after {:?}", served.body, failed.elapsed());
            self.ledgers.lock().unwrap().get_mut(&actor).unwrap().acknowledged += 1;
        }
        println!("{file} {why}: served by the other one after {:?}", failed.elapsed());
        self.stop.store(true, Ordering::SeqCst);
        self.writers.into_iter().for_each(|writer| writer.join().unwrap());
        let log = self.failing.log().to_owned();
        assert_eq!(self.failing.exit_code().unwrap(), 1);
        let log = std::fs::read_to_string(log).unwrap();
        let last = log.lines().last().unwrap_or_default();
        assert!(last.starts_with("error: ") && last.contains(path.to_str().unwrap()), "{log}");
        assert_kept(&self.healthy, &self.ledgers.lock().unwrap());
        self.healthy.stop().unwrap();
    }
}

/// Writes to some of the actors, and records the answers, until it has to stop.
fn write(part: u64, address: &str, ledgers: &Ledgers, stop: &AtomicBool) {
    let caller = Caller::new(Duration::from_secs(30));
    for n in 0.. {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let actor = (n % (ACTORS / 3)) * 3 + part;
        let answer = caller.call(address, &name(actor), "increment", &json!([1]));
        let mut ledgers = ledgers.lock().unwrap();
        let ledger = ledgers.get_mut(&actor).unwrap();
        match answer {
            Ok(HttpReply { status: 200, .. }) => ledger.acknowledged += 1,
            Ok(reply) if matches!(reply.body["retry"].as_str(), Some("retry" | "reroute")) => {}
            Ok(_) | Err(_) => ledger.unknown += 1,
        }
        drop(ledgers);
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Writes random bytes into databases of both shards, until the store checkpoints a log.
fn fill(program: &Program) {
    let sql = "CREATE TABLE IF NOT EXISTS pad (x); INSERT INTO pad VALUES (randomblob(1000000))";
    let request = json!({ "sql": sql, "write": true });
    for actor in 0..4 {
        drop(program.admin_post(&format!("/admin/actors/{}/sql", name(actor)), &request));
    }
}

#[test]
fn a_commit_that_cannot_be_synced_ends_the_process_and_no_actor() {
    let stand = Stand::start();
    stand.fault("sync shard-01.db-wal", |_| ());
    stand.check("shard-01.db", "commit");
}

#[test]
fn a_checkpoint_that_fails_ends_the_process_and_no_actor() {
    let stand = Stand::start();
    stand.fault("sync shard-00.db", fill);
    stand.check("shard-00.db", "checkpoint");
}

#[test]
fn a_file_that_cannot_be_read_ends_the_process_and_no_actor() {
    let stand = Stand::start();
    stand.fault("read shard-00.db-wal", |_| ());
    stand.check("shard-00.db", "io");
}

#[test]
fn the_file_of_all_shards_ends_the_process_as_well() {
    let stand = Stand::start();
    stand.fault("sync global.db-wal", |_| ());
    stand.check("global.db", "commit");
}

/// Runs one program whose file `change` removes or replaces. Returns what its callers know, and its
/// data.
/// its data.
fn changed(path: &str, why: &str, change: fn(&Path)) -> (BTreeMap<u64, Ledger>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let program = Program::serve(&dir.path().join("data")).unwrap();
    program.deploy("counter", &guest::COUNTER.wasm().unwrap()).unwrap();
    let path = dir.path().join("data/store").join(path);
    let mut ledgers: BTreeMap<u64, Ledger> = BTreeMap::new();
    let (mut since, mut refused) = (None, false);
    for round in 0.. {
        for actor in 0..ACTORS {
            let ledger = ledgers.entry(actor).or_default();
            let answer = program.call(&name(actor), "increment", &json!([1])).unwrap();
            match answer.body["retry"].as_str() {
                None => ledger.acknowledged += 1,
                Some("retry") => refused |= answer.body["code"] == "closed",
                Some(_) => ledger.unknown += 1,
            }
        }
        if round == 3 {
            change(&path);
            since = Some(Instant::now());
        }
        if refused {
            break;
        }
        assert!(since.is_none_or(|since| since.elapsed() < NOTICED_WITHIN), "not noticed");
    }
    let ready = program.get("/ready").unwrap();
    assert_eq!((ready.status, &ready.body["failed"]["why"]), (503, &json!(why)), "{}", ready.body);
    let log = program.log().to_owned();
    assert_eq!(program.exit_code().unwrap(), 1);
    let log = std::fs::read_to_string(log).unwrap();
    let last = log.lines().last().unwrap_or_default();
    assert!(last.starts_with("error: ") && last.contains(path.to_str().unwrap()), "{log}");
    (ledgers, dir)
}

/// Asserts that each value is the acknowledged one, or one that may have been written after it.
fn assert_kept(program: &Program, ledgers: &BTreeMap<u64, Ledger>) {
    for (actor, Ledger { acknowledged, unknown }) in ledgers {
        let got = program.call(&name(*actor), "get", &json!([])).unwrap();
        let value = got.body["ok"].as_u64().unwrap_or_else(|| panic!("{}", got.body));
        let right = *acknowledged..=acknowledged + unknown;
        assert!(right.contains(&value), "{}: {value}, not of {right:?}", name(*actor));
    }
}

/// The removed log holds acknowledged writes: they are saved before the process ends.
#[test]
fn a_removed_log_ends_the_process_and_loses_nothing() {
    let remove = |path: &Path| std::fs::remove_file(path).unwrap();
    let (ledgers, dir) = changed("shard-00.db-wal", "removed", remove);
    let program = Program::serve(&dir.path().join("data")).unwrap();
    assert_kept(&program, &ledgers);
    program.stop().unwrap();
}

#[test]
fn a_file_that_is_replaced_ends_the_process() {
    changed("shard-01.db", "replaced", |path| {
        let copy = path.with_extension("copy");
        std::fs::copy(path, &copy).unwrap();
        std::fs::rename(&copy, path).unwrap();
    });
}

#[test]
fn a_removed_file_and_a_removed_index_end_the_process() {
    for path in ["global.db", "shard-00.db-shm"] {
        changed(path, "removed", |path| std::fs::remove_file(path).unwrap());
    }
}

/// A host without a program around it, and with a layer between it and its store.
#[tokio::test(flavor = "multi_thread")]
async fn an_embedder_hears_of_a_failed_file() {
    let (site, host) = Site::hosting(guest::SQLITE_BENCH).await;
    let actor = actor(guest::SQLITE_BENCH, "a");
    host.ok(&actor, "setup", json!([10])).await;
    assert!(host.host.ready() && host.host.failure().is_none());
    let index = site.store_dir().join("shard-00.db-shm");
    std::fs::remove_file(&index).unwrap();
    let failure = tokio::time::timeout(NOTICED_WITHIN, host.host.failed()).await.expect("noticed");
    let expected = StoreFailure {
        file: site.store_dir().join("shard-00.db"),
        cause: FailureCause::Removed(index),
    };
    assert_eq!((&failure, host.host.failure()), (&expected, Some(expected.clone())));
    assert!(!host.host.ready());
    let refused = host.call(&actor, "scan", json!([1])).await.unwrap_err();
    assert_eq!((refused.code(), refused.retry()), (Code::StoreClosed, Retry::Retry), "{refused}");
    assert!(host.store.nodes().await.unwrap().is_empty(), "its row is gone");
    assert!(!host.host.shutdown().await.orderly);
}
