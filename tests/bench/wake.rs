//! Wakes of sleeping actors: one after the other, ten thousand in a storm, and the memory that
//! awake actors take.
//!
//! One process makes the actors and puts them to sleep, another process wakes them: only the
//! operating system has cached pages of them.

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

/// Rows of a database of somewhat over 1 MiB.
const ROWS_OF_1_MIB: u32 = 40_000;
/// Rows of a database of three pages, as in a storm.
const ROWS_OF_SMALL: u32 = 10;
/// Processes that each wake all the actors. The figures are the medians of these processes.
const PROCESSES: usize = 5;
/// Calls in flight.
const AT_ONCE: usize = 256;

pub async fn run(stand: &Stand, summary: &mut Summary) -> anyhow::Result<()> {
    stand.deploy("sql", "sqlite_bench").await?;
    let (cold, many) = (stand.scaled(200), stand.scaled(10_000));
    make_sleepers(&stand.host, "cold", cold, ROWS_OF_1_MIB).await?;
    make_sleepers(&stand.host, "sleeper", many, ROWS_OF_SMALL).await?;
    let bytes = stand.host.actor(&id("cold", 0)?).export().await?.bytes();
    ensure!(bytes >= 1 << 20, "a database of {bytes} bytes is below 1 MiB");
    let small = stand.host.actor(&id("sleeper", 0)?).export().await?.bytes();
    stand.host.shutdown().await;

    let dir = stand.host_dir();
    let in_processes = stand.rounds().min(PROCESSES);
    let cold = Medians::of(in_processes, &json!({ "errand": "cold", "dir": dir, "actors": cold }))?;
    let made_from = format!(
        "asleep -> reply of the first SQL call, database of {:.2} MiB, none of it in our caches",
        bytes as f64 / f64::from(1 << 20)
    );
    summary.add("wake.cold_ms_p50", cold.get("p50")?, &made_from);
    summary.add("wake.cold_ms_p99", cold.get("p99")?, "the same");
    let made_from = "the same, put to sleep by the process that wakes it";
    summary.add("wake.again_ms_p50", cold.get("again_p50")?, made_from);
    summary.add("wake.again_ms_p99", cold.get("again_p99")?, "the same");

    growth::by_actors(stand, summary, many).await?;

    let storms =
        Medians::of(in_processes, &json!({ "errand": "storm", "dir": dir, "actors": many }))?;
    let made_from = format!(
        "{many} asleep, databases of {} KiB, {AT_ONCE} calls at a time, {:.0} us of CPU each, \
         {in_processes} storms",
        small / 1024,
        storms.get("cpu_us")?,
    );
    summary.add("wake.storm_per_s", storms.get("per_s")?, &made_from);
    let made_from = format!(
        "the same, put to sleep by the process that wakes them, {:.0} us of CPU each",
        storms.get("again_cpu_us")?
    );
    summary.add("wake.again_storm_per_s", storms.get("again_per_s")?, &made_from);
    let made_from = format!(
        "{} awake, databases of {} KiB open; {} maps of {} allowed; mimalloc, pooled instances",
        storms.get("awake")?,
        small / 1024,
        storms.get("maps")?,
        std::fs::read_to_string("/proc/sys/vm/max_map_count")?.trim()
    );
    summary.add("resident.kib_per_actor", storms.get("kib_each")?, &made_from);
    Ok(())
}

/// The figures of several processes for one errand.
struct Medians(Vec<Json>);

impl Medians {
    fn of(processes: usize, errand: &Json) -> anyhow::Result<Self> {
        (0..processes).map(|_| child::run(errand)).collect::<Result<_, _>>().map(Self)
    }

    fn get(&self, name: &str) -> anyhow::Result<f64> {
        Ok(median(self.0.iter().map(|of_one| number(of_one, name)).collect::<Result<_, _>>()?))
    }
}

/// Makes `count` actors with tables of `rows` rows, and puts them to sleep.
pub async fn make_sleepers(host: &Host, name: &str, count: u32, rows: u32) -> anyhow::Result<()> {
    let make = |i| async move {
        let actor = id(name, i)?;
        host.actor(&actor).call("setup", Arguments::Json(json!([rows]))).await?;
        host.actor(&actor).stop().await?.context("it was awake")?;
        anyhow::Ok(())
    };
    stream::iter(0..count).map(make).buffer_unordered(AT_ONCE).try_collect().await
}

/// The errand `cold`: wakes the actors one by one, puts them to sleep, and wakes them again.
pub async fn cold(errand: &Json) -> anyhow::Result<Json> {
    let host = host_of(errand).await?;
    let actors = count(errand, "actors")?;
    let mut rounds = Vec::new();
    for _ in 0..2 {
        let mut took = Vec::new();
        for i in 0..actors {
            took.push(woken_ms(&host, &id("cold", i)?).await?);
        }
        rounds.push(took);
        for i in 0..actors {
            host.actor(&id("cold", i)?).stop().await?.context("it was awake")?;
        }
    }
    host.shutdown().await;
    let [cold, again] = rounds.try_into().expect("BUG: two rounds");
    Ok(json!({
        "p50": median(cold.clone()), "p99": quantile(cold, 0.99),
        "again_p50": median(again.clone()), "again_p99": quantile(again, 0.99),
    }))
}

/// The errand `storm`: wakes the actors in parallel, measures their memory, puts them to sleep, and
/// wakes them again.
pub async fn storm(errand: &Json) -> anyhow::Result<Json> {
    let host = host_of(errand).await?;
    let actors = count(errand, "actors")?;
    let before = rss_kib("self")?;
    let first = wake_all(&host, actors).await?;
    // Until the host is idle and has done its deferred work.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let awake = host.awake();
    ensure!(awake > actors as usize, "{awake} of {actors} are awake");
    let (kib_each, maps) = ((rss_kib("self")? - before) / f64::from(actors), maps()?);
    let stop = |i| {
        let host = host.clone();
        async move { host.actor(&id("sleeper", i)?).stop().await?.context("it was awake") }
    };
    let stopped = stream::iter(0..actors).map(stop).buffer_unordered(AT_ONCE);
    stopped.try_for_each(|_| std::future::ready(Ok(()))).await?;
    let again = wake_all(&host, actors).await?;
    host.shutdown().await;
    Ok(json!({
        "per_s": first.per_s, "cpu_us": first.cpu_us,
        "again_per_s": again.per_s, "again_cpu_us": again.cpu_us,
        "kib_each": kib_each, "awake": awake, "maps": maps,
    }))
}

struct Storm {
    per_s: f64,
    cpu_us: f64,
}

async fn wake_all(host: &Host, actors: u32) -> anyhow::Result<Storm> {
    let (cpu, begun) = (cpu_us("self")?, Instant::now());
    let wake = |i| {
        let host = host.clone();
        async move { woken_ms(&host, &id("sleeper", i)?).await }
    };
    let woken = stream::iter(0..actors).map(wake).buffer_unordered(AT_ONCE);
    woken.try_for_each(|_| std::future::ready(Ok(()))).await?;
    let per_s = f64::from(actors) / begun.elapsed().as_secs_f64();
    Ok(Storm { per_s, cpu_us: (cpu_us("self")? - cpu) / f64::from(actors) })
}

/// Calls a sleeping actor. Returns the milliseconds until its answer.
pub async fn woken_ms(host: &Host, actor: &ActorId) -> anyhow::Result<f64> {
    let begun = Instant::now();
    host.actor(actor).call("point", Arguments::Json(json!([1]))).await?;
    Ok(begun.elapsed().as_secs_f64() * 1e3)
}

/// An actor of the bench's kind.
pub fn id(name: &str, number: u32) -> anyhow::Result<ActorId> {
    Ok(ActorId::new("sql", &format!("{name}-{number}"))?)
}

/// Starts a host in the directory of an errand. A call to a new actor has loaded the kind.
async fn host_of(errand: &Json) -> anyhow::Result<Host> {
    let dir = errand["dir"].as_str().context("dir")?;
    let host = Host::start(HostConfig::new(Path::new(dir))).await?;
    host.actor(&id("first", 0)?).call("setup", Arguments::Json(json!([ROWS_OF_SMALL]))).await?;
    Ok(host)
}
