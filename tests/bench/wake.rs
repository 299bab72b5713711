//! Sleeping actors: one that is woken, ten thousand that are woken at once, and what they take while
//! they are awake.
//!
//! All are made and put to sleep by one process and woken by another, so that no page is cached
//! but by the operating system.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::{Value as Json, json};
use stockade::{ActorId, Arguments, Host, HostConfig};

use crate::child::{self, count, number};
use crate::growth;
use crate::memory::{maps, rss_kib};
use crate::process::cpu_us;
use crate::stand::Stand;
use crate::summary::{Summary, median, quantile};

/// Rows with which a database is somewhat over 1 MiB.
const ROWS_OF_1_MIB: u32 = 40_000;
/// Rows of the databases of a storm: three pages.
const ROWS_OF_SMALL: u32 = 10;
/// Storms, each over a process of its own; the figures are their medians.
const STORMS: usize = 5;
/// Calls at a time.
const AT_ONCE: usize = 256;

pub async fn run(stand: &Stand, summary: &mut Summary) -> anyhow::Result<()> {
    stand.deploy("sql", "sqlite_bench").await?;
    let (cold, many) = (stand.scaled(200), stand.scaled(10_000));
    make_sleepers(&stand.host, "cold", cold, ROWS_OF_1_MIB).await?;
    make_sleepers(&stand.host, "sleeper", many, ROWS_OF_SMALL).await?;
    let bytes = stand.host.export(&id("cold", 0)?).await?.bytes();
    ensure!(bytes >= 1 << 20, "a database of {bytes} bytes is below 1 MiB");
    let small = stand.host.export(&id("sleeper", 0)?).await?.bytes();
    stand.host.shutdown().await;

    let dir = stand.host_dir();
    let figures = child::run(&json!({ "errand": "cold", "dir": dir, "actors": cold }))?;
    let p50 = number(&figures, "p50")?;
    let made_from = format!(
        "asleep -> reply of its first SQL call, database of {:.2} MiB, none of it in our caches",
        bytes as f64 / f64::from(1 << 20)
    );
    summary.add("wake.cold_ms_p50", p50, &made_from);
    summary.add("wake.cold_ms_p99", number(&figures, "p99")?, "the same");

    growth::by_actors(stand, summary, many).await?;

    let errand = json!({ "errand": "storm", "dir": dir, "actors": many });
    let storms = stand.rounds().min(STORMS);
    let storms: Vec<Json> = (0..storms).map(|_| child::run(&errand)).collect::<Result<_, _>>()?;
    let median_of = |name| -> anyhow::Result<f64> {
        Ok(median(storms.iter().map(|of_one| number(of_one, name)).collect::<Result<_, _>>()?))
    };
    let made_from = format!(
        "{many} asleep, databases of {} KiB, {AT_ONCE} calls at a time, {:.0} us of CPU each, {} storms",
        small / 1024,
        median_of("cpu_us")?,
        storms.len()
    );
    summary.add("wake.storm_per_s", median_of("per_s")?, &made_from);
    let made_from = format!(
        "{} awake, databases of {} KiB open; {} maps of {} allowed; mimalloc, pooled instances",
        median_of("awake")?,
        small / 1024,
        median_of("maps")?,
        std::fs::read_to_string("/proc/sys/vm/max_map_count")?.trim()
    );
    summary.add("resident.kib_per_actor", median_of("kib_each")?, &made_from);
    Ok(())
}

/// Makes actors with tables of `rows` rows, and puts them to sleep.
pub async fn make_sleepers(host: &Host, name: &str, count: u32, rows: u32) -> anyhow::Result<()> {
    let make = |i| async move {
        let actor = id(name, i)?;
        host.call(&actor, "setup", Arguments::Json(json!([rows]))).await?;
        host.stop(&actor).await?.context("it was awake")?;
        anyhow::Ok(())
    };
    stream::iter(0..count).map(make).buffer_unordered(AT_ONCE).try_collect().await
}

/// Wakes one after the other.
pub async fn cold(errand: &Json) -> anyhow::Result<Json> {
    let host = host_of(errand).await?;
    let mut took = Vec::new();
    for i in 0..count(errand, "actors")? {
        took.push(woken_ms(&host, &id("cold", i)?).await?);
    }
    host.shutdown().await;
    Ok(json!({ "p50": median(took.clone()), "p99": quantile(took, 0.99) }))
}

/// Wakes many at once, and looks at what they take.
pub async fn storm(errand: &Json) -> anyhow::Result<Json> {
    let host = host_of(errand).await?;
    let actors = count(errand, "actors")?;
    let (before, cpu) = (rss_kib("self")?, cpu_us("self")?);
    let begun = Instant::now();
    let wake = |i| {
        let host = host.clone();
        async move { woken_ms(&host, &id("sleeper", i)?).await }
    };
    let woken = stream::iter(0..actors).map(wake).buffer_unordered(AT_ONCE);
    woken.try_for_each(|_| std::future::ready(Ok(()))).await?;
    let (took, cpu) = (begun.elapsed(), cpu_us("self")? - cpu);
    // Idle, and what was put off has been done.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let awake = host.awake();
    ensure!(awake > actors as usize, "{awake} of {actors} are awake");
    let each = |all: f64| all / f64::from(actors);
    let figures = json!({
        "per_s": f64::from(actors) / took.as_secs_f64(),
        "cpu_us": each(cpu),
        "kib_each": each(rss_kib("self")? - before),
        "awake": awake,
        "maps": maps()?,
    });
    host.shutdown().await;
    Ok(figures)
}

/// Calls an actor that is asleep; how long the answer took.
pub async fn woken_ms(host: &Host, actor: &ActorId) -> anyhow::Result<f64> {
    let begun = Instant::now();
    host.call(actor, "point", Arguments::Json(json!([1]))).await?;
    Ok(begun.elapsed().as_secs_f64() * 1e3)
}

/// An actor of the bench's kind.
pub fn id(name: &str, number: u32) -> anyhow::Result<ActorId> {
    Ok(ActorId::new("sql", &format!("{name}-{number}"))?)
}

/// A host in the directory of an errand. Its kind is loaded: an actor that was not there is awake.
async fn host_of(errand: &Json) -> anyhow::Result<Host> {
    let dir = errand["dir"].as_str().context("dir")?;
    let host = Host::start(HostConfig::new(Path::new(dir))).await?;
    host.call(&id("first", 0)?, "setup", Arguments::Json(json!([ROWS_OF_SMALL]))).await?;
    Ok(host)
}
