//! Bytes on the server's disk for each byte of pages, while all of them are rewritten and history is
//! trimmed.
//!
//! The store's clock runs [`TIMES`] times as fast as real time, so that commits grow old enough for
//! trimming within seconds; the server's cleaning does not. So the figure is larger than it would be in
//! real time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use stockade_depot::store::embedded::Clock;
use stockade_depot::store::{Keep, Store};
use stockade_depot::{ActorId, DbId, PAGE_SIZE, Session, retention};
use stockade_testkit::random::Random;
use tokio::task::JoinHandle;

use crate::Figure;
use crate::server::{Bench, COMPONENT, Way, depot, put};

const ACTORS: u32 = 64;
/// Pages of an actor.
const PAGES: u32 = 200;
/// Pages of a commit.
const WRITTEN: u32 = 3;
/// Commits of an actor in a second of real time.
const PER_SECOND: u64 = 6;
/// How much faster than real time the store's clock runs.
const TIMES: u64 = 3;
/// History that is kept: 40 commits, and 30 s of the store's time.
const KEEP: Keep = Keep { commits_min: 40, age_ms_min: 30_000 };
const CHURN: Duration = Duration::from_secs(60);
/// All tables of the store and their indexes.
const ON_DISK: &str = "SELECT sum(pg_total_relation_size(oid))::int8 FROM pg_class \
    WHERE relkind = 'r' AND relname IN ('page', 'commit', 'head', 'actor', 'stage')";

pub(crate) async fn run(quick: bool) -> anyhow::Result<Figure> {
    let churn = if quick { Duration::from_secs(1) } else { CHURN };
    let bench = Bench::new(Way::Direct)?;
    let begun = Instant::now();
    let clock = Clock::new(move || {
        let passed = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        1_000_000 + passed.saturating_mul(TIMES)
    });
    let store = bench.clocked(clock).await?;
    let here = depot(&store, 1);
    let stop = Arc::new(AtomicBool::new(false));
    let (mut writers, mut dbs) = (Vec::new(), Vec::new());
    for n in 0..ACTORS {
        let actor = ActorId::new("churn", &format!("{n}"))?;
        let session = here.create(&actor, COMPONENT).await?.session;
        put(&session, 1..=PAGES, 1)?;
        session.durable(session.mark()).await?;
        dbs.push(session.fence().db);
        writers.push(tokio::spawn(write(session, n.into(), Arc::clone(&stop))));
    }
    let trimmer = trim(Arc::clone(&store), dbs, Arc::clone(&stop));
    let client = bench.client().await?;
    let (end, mut most) = (Instant::now() + churn, 0);
    while Instant::now() < end {
        tokio::time::sleep(Duration::from_secs(1)).await;
        most = most.max(client.query_one(ON_DISK, &[]).await?.get::<_, i64>(0));
    }
    stop.store(true, Ordering::SeqCst);
    let mut commits = 0;
    for writer in writers {
        commits += writer.await??;
    }
    let trimmed = trimmer.await??;
    store.close().await;
    let live = f64::from(ACTORS) * f64::from(PAGES) * PAGE_SIZE as f64;
    #[allow(clippy::cast_precision_loss, reason = "a ratio")]
    let ratio = most as f64 / live;
    let told = format!("{commits} commits, {trimmed} rows trimmed; at most {} MiB", most >> 20);
    Ok(Figure::new("pg.bytes_per_page_byte", ratio, told))
}

/// Commits of random pages of one actor.
async fn write(session: Session, seed: u64, stop: Arc<AtomicBool>) -> anyhow::Result<u64> {
    let (mut random, mut commits) = (Random::new(seed), 0);
    let mut next = tokio::time::interval(Duration::from_millis(1000 / PER_SECOND));
    while !stop.load(Ordering::SeqCst) {
        next.tick().await;
        let first = 1 + u32::try_from(random.below(u64::from(PAGES - WRITTEN)))?;
        put(&session, first..first + WRITTEN, commits)?;
        session.durable(session.mark()).await?;
        commits += 1;
    }
    Ok(commits)
}

/// Trims all databases, one sweep after the other.
fn trim(
    store: Arc<dyn Store>,
    dbs: Vec<DbId>,
    stop: Arc<AtomicBool>,
) -> JoinHandle<anyhow::Result<u64>> {
    tokio::spawn(async move {
        let mut trimmed = 0;
        while !stop.load(Ordering::SeqCst) {
            let mut sweep = retention::Sweep::new(store.as_ref(), Duration::ZERO);
            for db in &dbs {
                sweep.look(*db, KEEP).await?;
            }
            trimmed += sweep.finish().await?.values().sum::<u64>();
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        Ok(trimmed)
    })
}
