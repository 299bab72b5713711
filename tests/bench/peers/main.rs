//! `make bench-peers`: measures Stockade and the peers in turn, with the same actor, calls, client
//! and disk. Writes `target/bench/peers.json`, one flat object, and the report.
//!
//! A *turn* has one side alone on the machine: it is started in an empty directory, its actors are
//! made, it is warmed, measured and killed. A round is a turn of ours and a turn of the peer; a
//! ratio is the median over the rounds of the ratio of a round. ../README.md says what each figure
//! counts, the settings of the sides, and what would make a figure unfair.
//!
//! `STOCKADE_BENCH_QUICK=1` runs one short round of each.

#![allow(
    unreachable_pub,
    clippy::disallowed_methods,
    reason = "one binary whose parts share everything; it waits on the clock"
)]

mod load;
// The modules with a path are source files of `make bench`, another binary.
#[path = "../process.rs"]
mod process;
#[path = "../report.rs"]
mod report;
mod side;
#[path = "../summary.rs"]
mod summary;

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use load::Connection;
use process::cpu_us;
use side::{SLEEP_AFTER_MS, Side, Who, Work};
use summary::{Summary, median, quantile};

/// Connections, each with an actor of its own.
const CONNECTIONS: usize = 32;
/// Rows of an actor's table. The actor's methods use ids below this.
const ROWS: u32 = 10_000;
/// Calls of another actor in one call, so that HTTP is a small part of the time.
const CALLS: u32 = 20;
/// Rows of the table that the other actor counts.
const CALLEE_ROWS: u32 = 10;
/// Rows of a sleeping actor's table, so that its database has 1 MiB.
const SLEEPER_ROWS: u32 = 36_600;

/// The amount of work of a run.
#[derive(Clone, Copy)]
struct Scale {
    rounds: usize,
    rivet_rounds: usize,
    warm: Duration,
    lasting: Duration,
    sleepers: usize,
    /// Whether calls between actors and alarms are measured as well.
    works: bool,
}

const FULL: Scale = Scale {
    rounds: 5,
    rivet_rounds: 3,
    warm: Duration::from_secs(1),
    lasting: Duration::from_secs(4),
    sleepers: 40,
    works: true,
};

const QUICK: Scale = Scale {
    rounds: 1,
    rivet_rounds: 1,
    warm: Duration::from_millis(200),
    lasting: Duration::from_millis(500),
    sleepers: 2,
    works: true,
};

fn main() -> anyhow::Result<()> {
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let scale = if std::env::var_os("STOCKADE_BENCH_QUICK").is_some() { QUICK } else { FULL };
    // One thread, to leave the other cores to the server.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // `cargo bench --bench peers -- alone` runs our side only, for a profiler.
    if filter.as_deref() == Some("alone") {
        let scale = Scale { sleepers: 0, works: false, ..scale };
        return runtime.block_on(turn(Who::Stockade, scale)).map(drop);
    }
    let mut summary = Summary::default();
    // `cargo bench --bench peers -- PEER` runs one peer.
    for peer in ["workerd", "rivet"] {
        if filter.as_deref().is_none_or(|wanted| wanted == peer) {
            let compared = runtime.block_on(async {
                match peer {
                    "workerd" => workerd(scale, &mut summary).await,
                    _ => rivet(scale, &mut summary).await,
                }
            });
            compared.with_context(|| format!("beside {peer}"))?;
        }
    }
    summary.write("peers.json")?;
    report::write(&summary::figures_dir())
}

async fn workerd(scale: Scale, summary: &mut Summary) -> anyhow::Result<()> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..scale.rounds {
        ours.push(turn(Who::Stockade, scale).await?);
        theirs.push(turn(Who::Workerd, scale).await?);
    }
    let at_once = "32 connections over 32 actors";
    let mut compare = |name: &str, unit: &str, what: &str, figure: fn(&Turn) -> f64| {
        let [ours, theirs] = [&ours, &theirs].map(|turns| turns.iter().map(figure));
        let ratios = ours.clone().zip(theirs.clone()).map(|(ours, theirs)| ours / theirs);
        summary.add(&format!("http.{name}_over_workerd"), median(ratios.collect()), what);
        summary.add(&format!("http.{name}_{unit}"), median(ours.collect()), "ours");
        summary.add(&format!("workerd.{name}_{unit}"), median(theirs.collect()), "theirs");
    };
    compare("write", "per_s", &format!("durable one-row writes, {at_once}"), |t| t.write_per_s);
    compare("read", "per_s", &format!("one-row reads, {at_once}"), |t| t.read_per_s);
    compare("write_p50", "ms", "latency of one connection's writes", |t| t.write_p50_ms);
    compare("write_p99", "ms", "the same", |t| t.write_p99_ms);
    compare("write_cpu", "us", "server CPU time of one write, 32 clients", |t| t.write_cpu_us);
    compare("read_cpu", "us", "server CPU time of one read, 32 clients", |t| t.read_cpu_us);
    let names = ["calls", "alarms"];
    let what = [
        format!("calls of an actor by another one, {CALLS} in each call over HTTP, {at_once}"),
        format!("runs of alarms that set themselves again, {CONNECTIONS} actors"),
    ];
    let figures: [fn(&Works) -> f64; 2] = [|works| works.calls_per_s, |works| works.alarms_per_s];
    for ((name, what), figure) in names.iter().zip(&what).zip(figures) {
        let [ours, theirs] = [&ours, &theirs]
            .map(|turns| turns.iter().filter_map(|turn| turn.works.as_ref()).map(figure));
        let ratios = ours.clone().zip(theirs.clone()).map(|(ours, theirs)| ours / theirs);
        summary.add(&format!("actors.{name}_over_workerd"), median(ratios.collect()), what);
        summary.add(&format!("actors.{name}_per_s"), median(ours.collect()), "ours");
        summary.add(&format!("workerd.{name}_per_s"), median(theirs.collect()), "theirs");
    }
    let client = ours.iter().map(|turn| turn.client_cpu_us).collect();
    summary.add("http.client_cpu_us", median(client), "the client's, of one of our writes");
    let wakes = |turns: &[Turn]| turns.iter().map(|turn| turn.wake_ms).collect::<Vec<_>>();
    let [ours, theirs] = [wakes(&ours), wakes(&theirs)];
    let ratios = ours.iter().zip(&theirs).map(|(ours, theirs)| ours / theirs).collect();
    let what = "asleep -> reply of its first SQL call over HTTP, 1 MiB, p50";
    summary.add("wake.cold_over_workerd", median(ratios), what);
    summary.add("wake.cold_http_ms_p50", median(ours), "ours");
    summary.add("workerd.cold_http_ms_p50", median(theirs), "theirs");
    Ok(())
}

async fn rivet(scale: Scale, summary: &mut Summary) -> anyhow::Result<()> {
    let scale = Scale { sleepers: 0, works: false, ..scale };
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..scale.rivet_rounds {
        ours.push(turn(Who::Stockade, scale).await?);
        theirs.push(turn(Who::Rivet, scale).await?);
    }
    for (name, figure) in
        [("write", (|turn| turn.write_per_s) as fn(&Turn) -> f64), ("read", |turn| turn.read_per_s)]
    {
        let [ours, theirs] = [&ours, &theirs].map(|turns| turns.iter().map(figure));
        let ratios = ours.zip(theirs.clone()).map(|(ours, theirs)| ours / theirs);
        let what = "32 connections over 32 actors; theirs syncs nothing";
        summary.add(&format!("http.{name}_over_rivet"), median(ratios.collect()), what);
        summary.add(&format!("rivet.{name}_per_s"), median(theirs.collect()), "theirs");
    }
    let p50 = theirs.iter().map(|turn| turn.write_p50_ms).collect();
    summary.add("rivet.write_p50_ms", median(p50), "one connection");
    Ok(())
}

/// The figures of one side in one turn.
struct Turn {
    write_per_s: f64,
    read_per_s: f64,
    write_p50_ms: f64,
    write_p99_ms: f64,
    write_cpu_us: f64,
    read_cpu_us: f64,
    client_cpu_us: f64,
    /// NaN if there were no sleeping actors.
    wake_ms: f64,
    works: Option<Works>,
}

/// The figures of actors that do more than answer.
struct Works {
    calls_per_s: f64,
    alarms_per_s: f64,
}

async fn turn(who: Who, scale: Scale) -> anyhow::Result<Turn> {
    let dir = tempfile::Builder::new().prefix("peers-").tempdir_in(summary::target_dir())?;
    let side = Side::start(who, &dir.path().join("side")).await?;
    let turn = measure(&side, scale).await.with_context(|| format!("{who:?}, {:?}", dir.path()));
    if turn.is_err() {
        // The logs and databases of a failed turn are kept.
        drop(dir.keep());
    }
    let turn = turn?;
    let wake =
        if turn.wake_ms.is_nan() { "none".to_owned() } else { format!("{:.2} ms", turn.wake_ms) };
    if let Some(Works { calls_per_s, alarms_per_s }) = &turn.works {
        summary::say(&format!(
            "{who:?}: {calls_per_s:.0} calls between actors/s, {alarms_per_s:.0} alarms/s"
        ));
    }
    summary::say(&format!(
        "{who:?}: {:.0} writes/s, {:.0} reads/s, one connection {:.2} ms p50 {:.2} ms p99, wake {wake}; \
         CPU {:.0} us a write, {:.0} a read, client {:.0}",
        turn.write_per_s,
        turn.read_per_s,
        turn.write_p50_ms,
        turn.write_p99_ms,
        turn.write_cpu_us,
        turn.read_cpu_us,
        turn.client_cpu_us,
    ));
    Ok(turn)
}

async fn measure(side: &Side, scale: Scale) -> anyhow::Result<Turn> {
    let mut connection = Connection::open(side.address).await?;
    let mut sleepers = Vec::new();
    for i in 0..scale.sleepers {
        sleepers.push(side.make(&mut connection, &format!("sleeper-{i}"), SLEEPER_ROWS).await?);
    }
    let idle_since = Instant::now();
    let (mut updates, mut points) = (Vec::new(), Vec::new());
    for i in 0..CONNECTIONS {
        let path = side.make(&mut connection, &format!("writer-{i}"), ROWS).await?;
        updates.push(format!("{path}update"));
        points.push(format!("{path}point"));
    }
    load::run(side.address, &updates, 1, scale.warm).await?;
    let before = Cpu::now(side)?;
    let writes = load::run(side.address, &updates, 1, scale.lasting).await?;
    let between = Cpu::now(side)?;
    load::run(side.address, &points, 1, scale.warm).await?;
    let again = Cpu::now(side)?;
    let reads = load::run(side.address, &points, 1, scale.lasting).await?;
    let after = Cpu::now(side)?;
    load::run(side.address, &updates[..1], 1, scale.warm).await?;
    let alone = load::run(side.address, &updates[..1], 1, scale.lasting).await?;
    let wake_ms =
        if sleepers.is_empty() { f64::NAN } else { wake(side, &sleepers, idle_since).await? };
    let works = if scale.works { Some(measure_works(side, scale).await?) } else { None };
    let each = |us: f64, of: &load::Measured| us / of.ms.len() as f64;
    Ok(Turn {
        write_per_s: writes.per_s,
        read_per_s: reads.per_s,
        write_p50_ms: median(alone.ms.clone()),
        write_p99_ms: quantile(alone.ms, 0.99),
        write_cpu_us: each(between.server_us - before.server_us, &writes),
        read_cpu_us: each(after.server_us - again.server_us, &reads),
        client_cpu_us: each(between.client_us - before.client_us, &writes),
        wake_ms,
        works,
    })
}

/// Calls between actors, then alarms that set themselves again: until the side is killed.
async fn measure_works(side: &Side, scale: Scale) -> anyhow::Result<Works> {
    let mut connection = Connection::open(side.address).await?;
    let mut asks = Vec::new();
    for i in 0..CONNECTIONS {
        let callee = side.path(Work::Calls, &format!("caller-{i}-callee"));
        called(&mut connection, &format!("{callee}prepare"), CALLEE_ROWS).await?;
        asks.push(format!("{}ask", side.path(Work::Calls, &format!("caller-{i}"))));
    }
    load::run(side.address, &asks, CALLS, scale.warm).await?;
    let asked = load::run(side.address, &asks, CALLS, scale.lasting).await?;
    let mut paths = Vec::new();
    for i in 0..CONNECTIONS {
        let path = side.path(Work::Alarms, &format!("ticker-{i}"));
        called(&mut connection, &format!("{path}tick"), 0).await?;
        paths.push(path);
    }
    tokio::time::sleep(scale.warm).await;
    let (before, begun) = (runs(&mut connection, &paths).await?, Instant::now());
    tokio::time::sleep(scale.lasting).await;
    let (after, lasted) = (runs(&mut connection, &paths).await?, begun.elapsed());
    Ok(Works {
        calls_per_s: asked.per_s * f64::from(CALLS),
        alarms_per_s: (after - before) / lasted.as_secs_f64(),
    })
}

/// Alarms that have run so far, of all these actors.
async fn runs(connection: &mut Connection, paths: &[String]) -> anyhow::Result<f64> {
    let mut runs = 0.0;
    for path in paths {
        let answer = called(connection, &format!("{path}ran"), 0).await?;
        let number = answer.strip_prefix("{\"ok\":").and_then(|text| text.strip_suffix('}'));
        runs += number.context("a number")?.parse::<f64>()?;
    }
    Ok(runs)
}

async fn called(connection: &mut Connection, path: &str, argument: u32) -> anyhow::Result<String> {
    let answer = connection.call(path, argument).await?;
    ensure!(answer.status == 200, "{path}: {answer:?}");
    Ok(answer.body)
}

/// Wakes each sleeping actor once. Returns the median in milliseconds. Fails if an actor was awake.
async fn wake(side: &Side, sleepers: &[String], idle_since: Instant) -> anyhow::Result<f64> {
    // Peers look for idle actors at intervals, so the wait is longer by half.
    let asleep = Duration::from_millis(SLEEP_AFTER_MS * 3 / 2);
    tokio::time::sleep(asleep.saturating_sub(idle_since.elapsed())).await;
    // A new connection: servers close connections that were idle for seconds.
    let mut connection = Connection::open(side.address).await?;
    let mut ms = Vec::new();
    for path in sleepers {
        let begun = Instant::now();
        let answer = connection.call(&format!("{path}point"), 1).await?;
        ms.push(begun.elapsed().as_secs_f64() * 1e3);
        ensure!(answer.status == 200, "wake {path}: {answer:?}");
        let slept = match side.who {
            // The actor's second generation.
            Who::Stockade => answer.header("stockade-generation") == Some("2"),
            // The first call since the object was constructed.
            _ => connection.call(&format!("{path}calls"), 0).await?.body == "{\"ok\":1}",
        };
        ensure!(slept, "{path} was awake: {answer:?}");
    }
    Ok(median(ms))
}

/// CPU time used so far, in microseconds.
struct Cpu {
    server_us: f64,
    client_us: f64,
}

impl Cpu {
    fn now(side: &Side) -> anyhow::Result<Self> {
        let mut server_us = 0.0;
        for id in side.processes() {
            server_us += cpu_us(&id.to_string())?;
        }
        Ok(Self { server_us, client_us: cpu_us("self")? })
    }
}
