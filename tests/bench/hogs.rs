//! Long calls beside other calls: how they slow a well-behaved actor, how much of the processor
//! they get, and how kinds share it.

use std::time::{Duration, Instant};

use serde_json::json;
use stockade::{ActorId, Arguments, Manifest};
use stockade_tests::guest;
use tokio::task::JoinSet;

use crate::child::number;
use crate::hostile::{Attack, Means, p99_ms};
use crate::process::cpu_us;
use crate::stand::Stand;
use crate::summary::{Summary, median};

/// For wasm and for SQL: the name in figures, an endless loop, and the method of a loop that ends.
const SORTS: [(&str, Means, &str); 2] = [
    ("wasm", ("spin", || json!([])), "work"),
    ("sql", ("spin-in-sql", || json!([])), "work-in-sql"),
];

/// The figures of the well-behaved actor, and the method that each measures.
const METHODS: [(&str, &str); 2] = [("neighbour", "update"), ("neighbour_read", "point")];

/// The p99 of one method in each round, in milliseconds.
#[derive(Default)]
struct Measured {
    alone: Vec<f64>,
    attacked: Vec<f64>,
}

/// How long it takes until each of 128 calls has used up its time as a short call.
const WARM: Duration = Duration::from_secs(1);
/// A deadline that calls with an end do not reach.
const LONG: Duration = Duration::from_secs(60);

/// Actors of the greedy kind, beside one actor of the modest kind.
const GREEDY: usize = 16;

pub async fn run(stand: &Stand, summary: &mut Summary) -> anyhow::Result<()> {
    stand.deploy("sql", "sqlite_bench").await?;
    for (kind, call_time) in
        [("hostile_loop", WARM * 3 / 2 + lasting(stand) * 2), ("greedy", LONG), ("modest", LONG)]
    {
        let mut manifest = Manifest::default();
        manifest.limits.call_time_ms = u64::try_from(call_time.as_millis())?;
        stand.host.deploy(kind, guest::HOSTILE_LOOP.wasm()?, manifest).await?;
    }
    for (sort, attack, work) in SORTS {
        plain_neighbour(stand, summary, sort)?;
        neighbours(stand, summary, sort, attack).await?;
        idle_cores(stand, summary, sort, attack).await?;
        fair_share(stand, summary, sort, work).await?;
    }
    Ok(())
}

/// The duration of one phase.
fn lasting(stand: &Stand) -> Duration {
    Duration::from_millis(if stand.quick { 300 } else { 1_500 })
}

/// Cores that long calls may use: as many as there are turns.
fn turns() -> u32 {
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    u32::try_from(cores).unwrap_or(u32::MAX).saturating_sub(1).max(1)
}

/// The same write on plain SQLite, beside one busy thread for each turn, right before ours is
/// measured: the slowdown that the kernel's scheduler alone causes on this machine.
fn plain_neighbour(stand: &Stand, summary: &mut Summary, sort: &str) -> anyhow::Result<()> {
    let path = stand.dir.path().join("neighbour.db");
    let milliseconds = u64::try_from(lasting(stand).as_millis())?;
    let p99_ms = |hogs: u32| {
        let errand = json!({
            "path": path, "sync": "Full", "locking": "Exclusive",
            "hogs": hogs, "milliseconds": milliseconds,
        });
        number(&crate::native::run(&errand)?, "p99_ms")
    };
    let mut ratios = Vec::new();
    for _ in 0..if stand.quick { 1 } else { 3 } {
        ratios.push(p99_ms(turns())? / p99_ms(0)?);
    }
    let made_from =
        format!("plain SQLite's update beside {} endless threads, before {sort}", turns());
    summary.add(&format!("hostile.plain_p99_ratio_{sort}"), median(ratios), &made_from);
    Ok(())
}

async fn neighbours(
    stand: &Stand,
    summary: &mut Summary,
    sort: &str,
    attack: Means,
) -> anyhow::Result<()> {
    let neighbour = ActorId::new("sql", "neighbour")?;
    stand.call(&neighbour, "setup", json!([crate::native::ROWS])).await?;
    let rounds = if stand.quick { 1 } else { 3 };
    for hogs in [8, 128] {
        let mut measured = METHODS.map(|_| Measured::default());
        for _ in 0..rounds {
            for (method, to) in METHODS.iter().zip(&mut measured) {
                to.alone.push(p99_ms(stand, &neighbour, method.1, lasting(stand)).await?);
            }
            let attack = Attack::begin(&stand.host, &vec![attack; hogs]);
            // Until the calls are long.
            tokio::time::sleep(WARM).await;
            for (method, to) in METHODS.iter().zip(&mut measured) {
                to.attacked.push(p99_ms(stand, &neighbour, method.1, lasting(stand)).await?);
            }
            attack.end().await;
        }
        for ((name, method), Measured { alone, attacked }) in METHODS.iter().zip(measured) {
            let ratios = attacked.iter().zip(&alone).map(|(with, without)| with / without);
            let ratio = median(ratios.collect());
            let made_from = format!(
                "`{method}` of one row beside {hogs} long calls in {sort}: p99 {:.2} ms, {:.2} alone",
                median(attacked),
                median(alone)
            );
            summary.add(&format!("hostile.{name}_p99_ratio_{hogs}_{sort}"), ratio, &made_from);
        }
    }
    Ok(())
}

/// How much long calls use of the cores that they may use, while nothing else runs.
async fn idle_cores(
    stand: &Stand,
    summary: &mut Summary,
    sort: &str,
    attack: Means,
) -> anyhow::Result<()> {
    let hogs = Attack::begin(&stand.host, &[attack; 8]);
    tokio::time::sleep(WARM).await;
    let (begun, before) = (Instant::now(), cpu_us("self")?);
    tokio::time::sleep(lasting(stand)).await;
    let (wall, used) = (begun.elapsed().as_secs_f64() * 1e6, cpu_us("self")? - before);
    hogs.end().await;
    let made_from =
        format!("CPU of the process beside 8 long calls in {sort}, of {} cores", turns());
    summary.add(
        &format!("hostile.idle_cores_used_{sort}"),
        used / wall / f64::from(turns()),
        &made_from,
    );
    Ok(())
}

/// One actor of a kind beside many of another kind: the work that it gets done, over its fair half.
async fn fair_share(
    stand: &Stand,
    summary: &mut Summary,
    sort: &str,
    work: &'static str,
) -> anyhow::Result<()> {
    let mut workers = JoinSet::new();
    let milliseconds = u64::try_from(lasting(stand).as_millis())? * 2;
    for n in 0..=GREEDY {
        let kind = if n == 0 { "modest" } else { "greedy" };
        let (host, actor) = (stand.host.clone(), ActorId::new(kind, &format!("{work}-{n}"))?);
        stand.call(&actor, "hello", json!([])).await?;
        workers.spawn(async move {
            let arguments = Arguments::Json(json!([milliseconds]));
            let done = host.actor(&actor).call(work, arguments).await?.to_json();
            let done = done.get("ok").unwrap_or(&done).as_f64().unwrap_or(0.0);
            anyhow::Ok((n, done))
        });
    }
    let (mut modest, mut all) = (0.0, 0.0);
    while let Some(done) = workers.join_next().await {
        let (n, done) = done??;
        all += done;
        if n == 0 {
            modest = done;
        }
    }
    // One actor cannot use more than one core.
    let fair = (1.0 / f64::from(turns())).min(0.5);
    let made_from = format!("1 actor of a kind beside {GREEDY} of another, in {sort}");
    summary.add(&format!("hostile.fair_share_{sort}"), modest / all / fair, &made_from);
    Ok(())
}
