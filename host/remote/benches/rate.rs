//! What the protocol costs: commits and reads of an embedded store on files, called directly and through
//! the protocol over loopback TLS.
//!
//! ```text
//! remote.commit_over_embedded   commits a second of 64 writers, through the protocol over directly
//! remote.commit_extra_ms        what one commit of one writer takes longer
//! remote.read_extra_ms          what one read of one page takes longer
//! remote.wake_round_trips       round trips of a wake: its steps through the protocol
//! ```
//! The machine is shared, so only ratios of neighbours count: a slice of one comes directly before each
//! slice of the other. `PAIRS` of them, the median and the quartiles.

#![allow(clippy::unwrap_used, reason = "a bench ends at the first surprise")]
#![allow(clippy::disallowed_methods, reason = "a bench waits on the clock")]
#![allow(clippy::print_stdout, reason = "a bench reports")]

#[path = "../tests/kit/mod.rs"]
#[allow(dead_code, reason = "shared with the tests")]
mod kit;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use stockade_depot::store::PreviousEnd;
use stockade_depot::store::embedded::EmbeddedConfig;
use stockade_depot::{Depot, DepotLimits, EmbeddedStore, NodeSession, Store, TokioParker};
use stockade_remote::Terms;
use stockade_testkit::faulty_store::{FaultyStore, Step};
use stockade_testkit::owner::{self, Owner};
use tokio::runtime::Handle;

const CLIENTS: u64 = 64;
const SLICE: Duration = Duration::from_millis(500);

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
    let directory = tempfile::tempdir().unwrap();
    let direct: Arc<dyn Store> =
        Arc::new(EmbeddedStore::open(&EmbeddedConfig::new(directory.path())).unwrap());
    let served = kit::Served::start(Arc::clone(&direct), Terms::ours()).await;
    let remote = kit::open(served.config()).await;
    let (mut here, mut there) = (owners(&direct, "d").await, owners(&remote, "r").await);
    let mut ratios = Vec::new();
    for pair in 0..=pairs {
        let (directly, through);
        (here, directly) = commits(here).await;
        (there, through) = commits(there).await;
        let ratio = through / directly;
        println!("pair {pair}: {directly:.0} commits/s, {through:.0} through, ratio {ratio:.2}");
        // The first one warms up.
        if pair > 0 {
            ratios.push(ratio);
        }
    }
    let [low, middle, high] = quartiles(ratios);
    println!("remote.commit_over_embedded {middle:.2} ({low:.2} to {high:.2})");
    let rounds = if is_test { 10 } else { 500 };
    let ms =
        |direct: Duration, through: Duration| (through.as_secs_f64() - direct.as_secs_f64()) * 1e3;
    let (commit, read) = alone(&mut here[0], &mut there[0], rounds).await;
    println!("one writer: {commit:?} and {read:?}, directly and through (medians)");
    println!("remote.commit_extra_ms {:.3}", ms(commit.0, commit.1));
    println!("remote.read_extra_ms {:.3}", ms(read.0, read.1));
    println!("remote.wake_round_trips {}", wake().await);
}

async fn owners(store: &Arc<dyn Store>, prefix: &str) -> Vec<Owner> {
    let mut owners = Vec::new();
    for n in 0..CLIENTS {
        owners.push(Owner::create(store, &format!("{prefix} {n}")).await);
    }
    owners
}

fn quartiles(mut all: Vec<f64>) -> [f64; 3] {
    all.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| all[(all.len() - 1) * quarter / 4])
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
    tokio::time::sleep(Duration::from_millis(50)).await;
    let (begun, before) = (Instant::now(), done.load(Ordering::Relaxed));
    tokio::time::sleep(SLICE).await;
    let made = done.load(Ordering::Relaxed) - before;
    let passed = begun.elapsed().as_secs_f64();
    stop.store(true, Ordering::Relaxed);
    let mut owners = Vec::new();
    for task in tasks {
        owners.push(task.await.unwrap());
    }
    (owners, f64::from(u32::try_from(made).unwrap()) / passed)
}

type Medians = (Duration, Duration);

/// Medians of one commit and of one read, directly and through, in turn.
async fn alone(here: &mut Owner, there: &mut Owner, rounds: usize) -> (Medians, Medians) {
    let mut took = [const { Vec::new() }; 4];
    for _ in 0..rounds {
        for (at, owner) in [&mut *here, &mut *there].into_iter().enumerate() {
            let step = owner.commit_step(&[(1, owner.txid.0)], 1);
            let begun = Instant::now();
            owner.send(step).await.unwrap();
            took[at].push(begun.elapsed());
            let begun = Instant::now();
            owner.read_one(owner.txid.0, 1).await.unwrap();
            took[2 + at].push(begun.elapsed());
        }
    }
    let [a, b, c, d] = took.map(|mut all| {
        all.sort_unstable();
        all[rounds / 2]
    });
    ((a, b), (c, d))
}

/// Steps that cross when a depot takes an actor over, with its first pages read ahead.
async fn wake() -> u64 {
    let counted = FaultyStore::new(Arc::new(EmbeddedStore::in_memory(3).unwrap()));
    let served = kit::Served::start(Arc::clone(&counted) as _, Terms::ours()).await;
    let store = kit::open(served.config()).await;
    let mut owner = Owner::create(&store, "a").await;
    owner.commit(&[(1, 1), (2, 1)], 2).await;
    let all = || Step::ALL.into_iter().map(|step| counted.calls(step)).sum::<u64>();
    let parker = Arc::new(TokioParker(Handle::current()));
    let (limits, runtime) = (DepotLimits::default(), Handle::current());
    let depot = Depot::new(Arc::clone(&store), NodeSession([7; 16]), limits, parker, runtime);
    let before = all();
    let state = store.actor(&owner.actor).await.unwrap().unwrap();
    let opened = depot.take_over(&state, owner::COMPONENT, PreviousEnd::Neutral).await;
    let steps = all() - before;
    drop(opened.unwrap());
    steps
}
