//! Bytes written to the disk for each byte of a changed page, with history kept and trimmed.
//!
//! A child measures the figure: the kernel counts the writes of a process, and nothing else may
//! write in that process. The store's clock and the upkeep run ten times as fast as real time, so
//! that the writers outlast the retention of history within seconds.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use parking_lot::Mutex;
use serde_json::{Value as Json, json};
use stockade::limits::HostLimits;
use stockade::{ActorId, Arguments, Host, HostConfig};
use stockade_depot::page::PAGE_SIZE;
use stockade_depot::store::embedded::{Clock, EmbeddedConfig, EmbeddedStore};
use tokio::task::JoinSet;

use crate::child::{self, number};
use crate::growth::{Dice, ROWS_PER_MIB, make_wide};
use crate::stand::Stand;
use crate::summary::{Summary, median, quantile};
use crate::wake::id;

const ACTORS: u32 = 64;
/// How much faster than real time the store's clock and the upkeep run.
const FASTER: u32 = 10;

pub async fn run(stand: &Stand, summary: &mut Summary) -> anyhow::Result<()> {
    stand.host.shutdown().await;
    for (name, method, what) in [
        ("store.write_amplification", "touch", "rows of text and numbers"),
        ("store.write_amplification_random", "wide-touch", "pages of random bytes"),
    ] {
        // Seconds of real time. The store's clock runs ten times as fast: history of 60 s begins to
        // be trimmed after 6 s. A window contains one round of the upkeep that trims all databases.
        let (warm_up, window, windows) = if stand.quick { (1, 1, 1) } else { (8, 6, 5) };
        let figures = child::run(&json!({
            "errand": "amplify", "dir": stand.dir.path().join(method), "method": method,
            "warm_up_s": warm_up, "window_s": window, "windows": windows,
        }))?;
        let made_from = format!(
            "{what}: {:.1} KiB written for {:.2} pages a commit, {:.0} commits/s of {ACTORS} actors, p99 {:.1} ms; windows of {:.1} to {:.1}",
            number(&figures, "kib_each")?,
            number(&figures, "pages_each")?,
            number(&figures, "per_s")?,
            number(&figures, "p99_ms")?,
            number(&figures, "ratio_min")?,
            number(&figures, "ratio_max")?,
        );
        summary.add(name, number(&figures, "ratio")?, &made_from);
    }
    Ok(())
}

/// Counts of all writers.
#[derive(Default)]
struct Done {
    commits: AtomicU64,
    pages: AtomicU64,
    took_ms: Mutex<Vec<f64>>,
    over: AtomicBool,
}

/// The errand of the child: updates single rows of all actors for the given time. Returns the
/// figures.
pub async fn errand(errand: &Json) -> anyhow::Result<Json> {
    let dir = Path::new(errand["dir"].as_str().context("dir")?);
    let method = errand["method"].as_str().context("method")?;
    let seconds = |name| number(errand, name).map(Duration::from_secs_f64);
    let host = host_in_a_hurry(dir).await?;
    host.deploy("sql", stockade_tests::guest("sqlite_bench")?, host.manifest()).await?;
    let rows = make_actors(&host, dir, method).await?;

    let done = Arc::new(Done::default());
    let mut writers = JoinSet::new();
    for i in 0..ACTORS {
        let (host, actor, done) = (host.clone(), id("writer", i)?, Arc::clone(&done));
        let (method, dice) = (method.to_owned(), Dice(i.into()));
        writers.spawn(async move { write(&host, &actor, &method, rows, dice, &done).await });
    }
    tokio::time::sleep(seconds("warm_up_s")?).await;
    let look = || {
        let count = |of: &AtomicU64| of.load(Ordering::Relaxed) as f64;
        anyhow::Ok((written_bytes()?, count(&done.pages), count(&done.commits), Instant::now()))
    };
    let (bytes, pages, commits, begun) = look()?;
    done.took_ms.lock().clear();
    let mut ratios = Vec::new();
    let mut last = (bytes, pages);
    for _ in 0..errand["windows"].as_u64().context("windows")? {
        tokio::time::sleep(seconds("window_s")?).await;
        let (bytes, pages, ..) = look()?;
        ratios.push((bytes - last.0) / ((pages - last.1) * PAGE_SIZE as f64));
        last = (bytes, pages);
    }
    let (bytes, pages, commits, took) = {
        let now = look()?;
        (now.0 - bytes, now.1 - pages, now.2 - commits, begun.elapsed())
    };
    let took_ms = std::mem::take(&mut *done.took_ms.lock());
    done.over.store(true, Ordering::Relaxed);
    while let Some(written) = writers.join_next().await {
        written??;
    }
    host.shutdown().await;
    Ok(json!({
        "ratio": median(ratios.clone()),
        "ratio_min": ratios.iter().copied().fold(f64::INFINITY, f64::min),
        "ratio_max": ratios.iter().copied().fold(0.0, f64::max),
        "kib_each": bytes / commits / 1024.0,
        "pages_each": pages / commits,
        "p99_ms": quantile(took_ms, 0.99),
        "per_s": commits / took.as_secs_f64(),
    }))
}

async fn write(
    host: &Host,
    actor: &ActorId,
    method: &str,
    rows: u64,
    mut dice: Dice,
    done: &Done,
) -> anyhow::Result<()> {
    while !done.over.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let reply =
            host.actor(actor).call(method, Arguments::Json(json!([dice.below(rows)]))).await?;
        done.took_ms.lock().push(begun.elapsed().as_secs_f64() * 1e3);
        done.commits.fetch_add(1, Ordering::Relaxed);
        done.pages.fetch_add(reply.bill.pages_written, Ordering::Relaxed);
    }
    Ok(())
}

/// Makes the writing actors with the table for `method`. Returns the number of rows of each.
async fn make_actors(host: &Host, dir: &Path, method: &str) -> anyhow::Result<u64> {
    let file = dir.join("wide.db");
    make_wide(&file, 1)?;
    for i in 0..ACTORS {
        let actor = id("writer", i)?;
        if method == "wide-touch" {
            host.actor(&actor).import(&file, &mut |_| {}).await?;
        } else {
            let rows = json!([crate::native::ROWS]);
            host.actor(&actor).call("setup", Arguments::Json(rows)).await?;
        }
    }
    Ok(if method == "wide-touch" { ROWS_PER_MIB } else { crate::native::ROWS.into() })
}

/// Starts a host whose store's clock and upkeep run faster than real time.
async fn host_in_a_hurry(dir: &Path) -> anyhow::Result<Host> {
    std::fs::create_dir_all(dir)?;
    // Must come before the first use of SQLite.
    stockade_vfs::heap::install();
    let (since, begun) = (SystemTime::now().duration_since(UNIX_EPOCH)?, Instant::now());
    let mut files = EmbeddedConfig::new(dir.join("files"));
    files.clock = Clock::new(move || {
        u64::try_from((since + begun.elapsed() * FASTER).as_millis()).unwrap_or(u64::MAX)
    });
    let store = Arc::new(EmbeddedStore::open(&files)?);
    let mut limits = HostLimits::default();
    limits.upkeep_every /= FASTER;
    let config = HostConfig::new(dir.join("host"))
        .with_limits(limits)
        .advanced(|settings| settings.with_store(store));
    Ok(Host::start(config).await?)
}

/// Bytes that this process has written to the disk, in whole pages of 4 KiB.
fn written_bytes() -> anyhow::Result<f64> {
    let io = std::fs::read_to_string("/proc/self/io")?;
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    Ok(line.context("write_bytes")?.parse()?)
}
