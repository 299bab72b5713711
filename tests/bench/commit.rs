//! Durable commits: the disk alone, one actor, and 64 actors in parallel.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;
use stockade::{ActorId, Arguments};
use tokio::task::JoinSet;

use crate::stand::Stand;
use crate::summary::{Summary, median, quantile};

/// Actors that write in parallel.
pub const ACTORS: usize = 64;

pub async fn run(stand: &Stand, summary: &mut Summary) -> anyhow::Result<()> {
    let lasting = Duration::from_secs(if stand.quick { 1 } else { 5 });
    let syncs = fdatasyncs(stand.dir.path(), lasting)?;
    let sync_ms = median(syncs.clone());
    summary.add("disk.fdatasync_per_s", 1e3 / sync_ms, "4 KiB appended and synced, one thread");

    stand.deploy("sql", "sqlite_bench").await?;
    let one = ActorId::new("sql", "one")?;
    stand.call(&one, "setup", json!([100])).await?;
    let mut took = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < lasting {
        let (each, _) = stand.call(&one, "update", json!([1])).await?;
        took.push(each.as_secs_f64() * 1e3);
    }
    let p50 = median(took.clone());
    summary.add(
        "commit.sequential_ms_p50",
        p50,
        "one actor, one durable one-row call after another",
    );
    summary.add("commit.sequential_ms_p99", quantile(took, 0.99), "the same");
    summary.add("commit.sequential_over_fdatasync", p50 / sync_ms, "p50 over the disk's own p50");

    let per_s = durable_per_s(stand, lasting).await?;
    summary.add(
        "commit.durable_per_s.actors_64",
        per_s,
        "one-row calls, each durable when answered",
    );
    let ratio = per_s * sync_ms / 1e3;
    summary.add("commit.durable_over_fdatasync_rate", ratio, "over the disk's one-thread rate");
    Ok(())
}

/// Durable one-row calls in a second, of 64 actors, each one call after another. The kind `sql` is deployed.
pub async fn durable_per_s(stand: &Stand, lasting: Duration) -> anyhow::Result<f64> {
    for i in 0..ACTORS {
        stand.call(&ActorId::new("sql", &format!("many-{i}"))?, "setup", json!([100])).await?;
    }
    let begun = Instant::now();
    let mut writers = JoinSet::new();
    for i in 0..ACTORS {
        let host = stand.host.clone();
        let actor = ActorId::new("sql", &format!("many-{i}"))?;
        writers.spawn(async move {
            let mut written = 0u32;
            while begun.elapsed() < lasting {
                host.actor(&actor).call("update", Arguments::Json(json!([1]))).await?;
                written += 1;
            }
            anyhow::Ok(written)
        });
    }
    let mut written = 0u32;
    while let Some(count) = writers.join_next().await {
        written += count??;
    }
    Ok(f64::from(written) / begun.elapsed().as_secs_f64())
}

/// Appends 4 KiB and calls `fdatasync`, again and again. Returns the milliseconds of each.
fn fdatasyncs(dir: &Path, lasting: Duration) -> anyhow::Result<Vec<f64>> {
    let mut file = File::create(dir.join("fdatasync"))?;
    let page = [7u8; 4096];
    let mut took = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < lasting {
        let one = Instant::now();
        file.write_all(&page)?;
        file.sync_data()?;
        took.push(one.elapsed().as_secs_f64() * 1e3);
    }
    Ok(took)
}
