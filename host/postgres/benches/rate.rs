//! Durable commits of one row a second, beside plain inserts on the same server.
//!
//! ```text
//! insert  64 clients on 64 connections: one autocommit row each, all pages of a commit as one value
//! store   64 writers: commits of one page each, through a store with its usual settings
//! ```
//! The machine is shared and the disk as well, so only ratios of neighbours count: a slice of inserts
//! comes directly before each slice of the store. `PAIRS` of them, the median and the quartiles. Then
//! one client alone, both in turn: the time of one commit over that of one insert.

#![allow(clippy::unwrap_used, reason = "a bench ends at the first surprise")]
#![allow(clippy::disallowed_methods, reason = "a bench waits on the clock")]
#![allow(clippy::print_stdout, reason = "a bench reports")]

#[path = "../tests/kit/mod.rs"]
#[allow(dead_code, reason = "shared with the tests")]
mod kit;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use stockade_depot::Store;
use stockade_postgres::PgStore;
use stockade_testkit::owner::{self, Owner};
use tokio_postgres::Client;

const CLIENTS: u64 = 64;
const SLICE: Duration = Duration::from_millis(500);
const INSERT: &str = "INSERT INTO plain (bytes) VALUES ($1)";

#[tokio::main]
async fn main() {
    // `cargo test` runs benches, too, to see that they run at all.
    let is_test = std::env::args().any(|arg| arg == "--test")
        || !std::env::args().any(|arg| arg == "--bench");
    let pairs: usize = match std::env::var("PAIRS") {
        Ok(pairs) => pairs.parse().expect("PAIRS is a number"),
        Err(_) => {
            if is_test {
                1
            } else {
                9
            }
        }
    };
    let server = kit::Server::start(&["shared_buffers=256MB", "max_wal_size=4GB"]);
    let database = server.database().await;
    let store: Arc<dyn Store> = Arc::new(PgStore::open(&kit::config(&database, "")).await.unwrap());
    let client = database.client().await;
    client
        .batch_execute(
            "CREATE TABLE plain (id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, bytes BYTEA)",
        )
        .await
        .unwrap();
    let mut owners = Vec::new();
    for n in 0..CLIENTS {
        owners.push(Owner::create(&store, &format!("actor {n}")).await);
    }
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(Arc::new(database.client().await));
    }
    let mut ratios = Vec::new();
    for pair in 0..=pairs {
        let inserts = inserts(&clients).await;
        let commits;
        (owners, commits) = self::commits(owners).await;
        let ratio = commits / inserts;
        println!("pair {pair}: {inserts:.0} inserts/s, {commits:.0} commits/s, ratio {ratio:.2}");
        // The first one warms up.
        if pair > 0 {
            ratios.push(ratio);
        }
    }
    let [low, middle, high] = quartiles(ratios);
    println!("{CLIENTS} writers: commits over inserts {middle:.2} ({low:.2} to {high:.2})");
    let rounds = if is_test { 10 } else { 500 };
    let (insert, commit) = alone(&clients[0], &mut owners[0], rounds).await;
    println!("one writer: insert {insert:?}, commit {commit:?} (medians)");
}

fn quartiles(mut all: Vec<f64>) -> [f64; 3] {
    all.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| all[(all.len() - 1) * quarter / 4])
}

/// Rows a second.
async fn inserts(clients: &[Arc<Client>]) -> f64 {
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut tasks = Vec::new();
    for (n, client) in (0..).zip(clients) {
        let (client, stop, done) = (Arc::clone(client), Arc::clone(&stop), Arc::clone(&done));
        tasks.push(tokio::spawn(async move {
            let statement = client.prepare(INSERT).await.unwrap();
            for version in 0.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let page = owner::page(n, version);
                client.execute(&statement, &[&&page[..]]).await.unwrap();
                done.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    rate(&stop, &done, async || {
        for task in tasks {
            task.await.unwrap()
        }
    })
    .await
}

/// Commits a second.
async fn commits(owners: Vec<Owner>) -> (Vec<Owner>, f64) {
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut tasks = Vec::new();
    for mut owner in owners {
        let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
        tasks.push(tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                owner.commit(&[(1, owner.txid.0)], 1).await;
                done.fetch_add(1, Ordering::Relaxed);
            }
            owner
        }));
    }
    let mut owners = Vec::new();
    let rate = rate(&stop, &done, async || {
        for task in tasks {
            owners.push(task.await.unwrap());
        }
    })
    .await;
    (owners, rate)
}

async fn rate(stop: &AtomicBool, done: &AtomicU64, end: impl AsyncFnOnce()) -> f64 {
    tokio::time::sleep(Duration::from_millis(50)).await;
    let (begun, before) = (Instant::now(), done.load(Ordering::Relaxed));
    tokio::time::sleep(SLICE).await;
    let made = done.load(Ordering::Relaxed) - before;
    let passed = begun.elapsed().as_secs_f64();
    stop.store(true, Ordering::Relaxed);
    end().await;
    f64::from(u32::try_from(made).unwrap()) / passed
}

/// Medians of one insert and of one commit, in turn.
async fn alone(client: &Client, owner: &mut Owner, rounds: usize) -> (Duration, Duration) {
    let statement = client.prepare(INSERT).await.unwrap();
    let (mut of_insert, mut of_commit) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let page = owner::page(1, owner.txid.0);
        let begun = Instant::now();
        client.execute(&statement, &[&&page[..]]).await.unwrap();
        of_insert.push(begun.elapsed());
        let step = owner.commit_step(&[(1, owner.txid.0)], 1);
        let begun = Instant::now();
        owner.send(step).await.unwrap();
        of_commit.push(begun.elapsed());
    }
    of_insert.sort_unstable();
    of_commit.sort_unstable();
    (of_insert[rounds / 2], of_commit[rounds / 2])
}
