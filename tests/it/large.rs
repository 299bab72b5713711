//! Transactions that do not fit into one step of the store, through real guests: atomic, in bounded
//! memory, refused above the limit, without a trace if the host dies in the middle.
//!
//! `MIB=n` sets the size; `make large` runs this module alone with 512, and then the process's
//! memory is measured too: beside other tests the figure would mean nothing.

use std::time::{Duration, Instant};

use serde_json::json;
use stockade_depot::ActorId;
use stockade_depot::store::{Directory, Ownership};
use stockade_testkit::faulty_store::{Fault, Step};
use stockade_tests::guest;
use stockade_tests::host::{Site, TestHost, actor};
use stockade_tests::program::Program;

/// Megabytes of the transaction without `MIB`: many steps, and quick.
const MIB: u64 = 48;
/// Megabytes by which the process may grow, whatever the transaction's size: the page cache (64),
/// the caches of the store's connections, one step on its way.
const GROWTH_MIB_MAX: u64 = 192;

fn given_mib() -> Option<u64> {
    std::env::var("MIB").ok().map(|mib| mib.parse().expect("MIB is a number"))
}

/// A value of this process's status file, in kibibytes.
fn status_kib(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Runs `work`; returns by how many megabytes the process grew at most, and how long it took.
async fn growth<T>(work: impl Future<Output = T>) -> (T, u64, Duration) {
    let before = status_kib("VmRSS:");
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let watch = std::thread::spawn(move || {
        let mut most = 0;
        while stopped.recv_timeout(Duration::from_millis(5))
            == Err(std::sync::mpsc::RecvTimeoutError::Timeout)
        {
            most = most.max(status_kib("VmRSS:"));
        }
        most
    });
    let begun = Instant::now();
    let done = work.await;
    let took = begun.elapsed();
    drop(stop);
    let most = watch.join().unwrap();
    (done, most.saturating_sub(before) / 1024, took)
}

/// A host whose kind may commit `mib` megabytes, and a little more for the tree around them.
async fn start(site: &Site, mib: u64) -> TestHost {
    let host = site.host().start().await;
    host.deploy_with(guest::HOSTILE_LOOP, |limits| {
        limits.commit_bytes_max = (mib + mib / 16 + 1) << 20;
        // The pages, the journal that undoes them, and the next transaction's beginning.
        limits.scratch_bytes_max = 3 * limits.commit_bytes_max;
        limits.call_time_ms = 900_000;
    })
    .await;
    host
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_transaction_is_one_commit_in_bounded_memory() {
    let mib = given_mib().unwrap_or(MIB);
    let site = Site::new();
    let host = start(&site, mib).await;
    let large = actor(guest::HOSTILE_LOOP, "large");
    host.ok(&large, "big-commit", json!([1])).await;
    host.ok(&large, "rewrite", json!([])).await;
    for (method, arguments) in [("big-commit", json!([mib - 1])), ("rewrite", json!([]))] {
        let (staged, made) = (host.store.calls(Step::Stage), host.store.calls(Step::Commit));
        let (_, grown, took) = growth(host.ok(&large, method, arguments)).await;
        let (staged, made) =
            (host.store.calls(Step::Stage) - staged, host.store.calls(Step::Commit) - made);
        println!("{method}: {mib} MiB, {staged} stages, grown by {grown} MiB, {took:?}");
        assert_eq!(made, 1, "{method} is one commit");
        assert!(staged >= (mib - 1) / 4, "{method}: {staged} stages");
        if given_mib().is_some() {
            assert!(grown <= GROWTH_MIB_MAX, "{method} took {grown} MiB of memory");
        }
    }
    host.assert_intact(&large).await;
    // Over the limit: refused, nothing changed, and the next transaction succeeds.
    let answer = host.call(&large, "big-commit", json!([mib + mib / 8 + 2])).await.unwrap();
    assert!(answer.to_string().contains("CommitTooLarge"), "{answer}");
    host.ok(&large, "big-commit", json!([1])).await;
    let copy = host.open_export(&large, site.path()).await;
    let rows: i64 = copy.query_row("SELECT count(*) FROM heap", [], |row| row.get(0)).unwrap();
    assert_eq!(u64::try_from(rows).unwrap(), mib + 1);
    host.assert_intact(&large).await;
    host.host.shutdown().await;
}

/// Another host takes over while a commit is half in the store: it sees the old state immediately,
/// and the staged rows are deleted.
#[tokio::test(flavor = "multi_thread")]
async fn a_takeover_in_the_middle_sees_the_old_state() {
    let site = Site::new();
    let host = start(&site, MIB).await;
    let large = actor(guest::HOSTILE_LOOP, "large");
    host.ok(&large, "big-commit", json!([1])).await;
    let before = rows_of(&host, &large).await;
    let hold = host.store.arm(Step::Stage, 5, Fault::Hold);
    let call = {
        let (host, large) = (host.host.clone(), large.clone());
        let arguments = stockade::Arguments::Json(json!([MIB - 1]));
        tokio::spawn(async move { host.actor(&large).call("big-commit", arguments).await })
    };
    hold.fired().await;
    assert!(rows_of(&host, &large).await > before + 4000, "half of it is there");
    let next = site.usurper().start().await;
    next.take_over_and_call(&large, "hello", json!([])).await.unwrap();
    let copy = next.open_export(&large, site.path()).await;
    let rows: i64 = copy.query_row("SELECT count(*) FROM heap", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 1);
    hold.release();
    let lost = call.await.unwrap().unwrap_err();
    assert!(format!("{lost:?}").contains("NotCommitted"), "{lost:?}");
    next.assert_intact(&large).await;
    wait_for(|| async { rows_of(&next, &large).await == before }).await;
    next.host.shutdown().await;
    host.host.shutdown().await;
}

/// The rows that the store has for an actor, over all tables.
async fn rows_of(host: &TestHost, actor: &ActorId) -> u64 {
    let db = host.store.actor(actor).await.unwrap().unwrap().row.db;
    host.store.rows_of(db).await.unwrap()
}

async fn wait_for<F: Future<Output = bool>>(mut done: impl FnMut() -> F) {
    let begun = Instant::now();
    while !done().await {
        assert!(begun.elapsed() < Duration::from_secs(60), "it never came");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The sum of a query's counts over all shards.
fn count(site: &std::path::Path, sql: &str) -> i64 {
    let mut rows = 0;
    for entry in std::fs::read_dir(site.join("store")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.starts_with("shard-") && name.ends_with(".db") {
            let conn = stockade_depot::store::embedded::connection(&path).unwrap();
            conn.busy_timeout(Duration::from_secs(10)).unwrap();
            rows += conn.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        }
    }
    rows
}

/// The program dies by SIGKILL with a commit half in the store.
#[test]
fn a_kill_in_the_middle_leaves_the_old_state_and_no_garbage() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let wasm = guest::HOSTILE_LOOP.wasm().unwrap();
    let program = Program::serve(&data).unwrap();
    program.deploy("hostile", &wasm).unwrap();
    let one = program.call("hostile/a", "big-commit", &json!([1])).unwrap();
    assert_eq!(one.status, 200, "{one:?}");
    let pages = count(&data, "SELECT count(*) FROM page");
    let program = std::sync::Arc::new(program);
    let call = {
        let program = std::sync::Arc::clone(&program);
        std::thread::spawn(move || program.call("hostile/a", "big-commit", &json!([40])))
    };
    let begun = Instant::now();
    while count(&data, "SELECT count(*) FROM stage") == 0 {
        assert!(begun.elapsed() < Duration::from_secs(60), "nothing was staged");
        assert!(!call.is_finished(), "it ended before anything was seen of it");
    }
    let killed =
        std::process::Command::new("kill").args(["-9", &program.id().to_string()]).status();
    assert!(killed.unwrap().success());
    let answer = call.join().unwrap();
    assert!(answer.is_err() || answer.is_ok_and(|reply| reply.status != 200), "not acknowledged");
    drop(program);
    assert!(count(&data, "SELECT count(*) FROM stage") == 1, "killed in the middle");
    let program = Program::serve(&data).unwrap();
    let hello = program.call("hostile/a", "hello", &json!([])).unwrap();
    assert_eq!(hello.status, 200, "{hello:?}");
    let begun = Instant::now();
    while count(&data, "SELECT count(*) FROM page") > pages {
        assert!(begun.elapsed() < Duration::from_secs(60), "the garbage stays");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(count(&data, "SELECT count(*) FROM page"), pages);
    let again = program.call("hostile/a", "big-commit", &json!([8])).unwrap();
    assert_eq!(again.status, 200, "{again:?}");
}
