//! A well-behaved actor beside hostile ones: its p99 during the attack over its p99 alone, in turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use stockade::{ActorId, Arguments, Host, Manifest};
use tokio::task::JoinSet;

use crate::stand::Stand;
use crate::summary::{Summary, median, quantile};

/// A method and its arguments.
pub type Means = (&'static str, fn() -> Json);

/// The attacks, all at the same time: as many loops and statements without end as a small machine
/// has threads for guests, growth of memory, a flood of log lines, patterns over large texts, and
/// leaked handles.
const ATTACKS: [Means; 8] = [
    ("spin", || json!([])),
    ("spin", || json!([])),
    ("spin-in-sql", || json!([])),
    ("spin-in-join", || json!([])),
    ("grow", || json!([])),
    ("flood-log", || json!([1_000, 1_000])),
    ("match-large-texts", || json!([4 << 20])),
    ("leak-handles", || json!([])),
];

pub async fn run(stand: &Stand, summary: &mut Summary) -> anyhow::Result<()> {
    stand.deploy("sql", "sqlite_bench").await?;
    let mut manifest = Manifest::default();
    // A short deadline, so that starts and ends of generations are part of the attack.
    manifest.limits.call_time_ms = 2_000;
    let wasm = stockade_tests::guest("hostile_loop")?;
    stand.host.deploy("hostile_loop", wasm, manifest).await?;
    let neighbour = ActorId::new("sql", "neighbour")?;
    stand.call(&neighbour, "setup", json!([crate::native::ROWS])).await?;

    let lasting = Duration::from_millis(if stand.quick { 300 } else { 3_000 });
    let rounds = if stand.quick { 1 } else { 5 };
    for (name, method) in
        [("hostile.neighbour_p99_ratio", "update"), ("hostile.neighbour_read_p99_ratio", "point")]
    {
        let (mut alone, mut attacked, mut attacks) = (Vec::new(), Vec::new(), 0);
        for _ in 0..rounds {
            alone.push(p99_ms(stand, &neighbour, method, lasting).await?);
            let attack = Attack::begin(&stand.host, &ATTACKS);
            attacked.push(p99_ms(stand, &neighbour, method, lasting).await?);
            attacks += attack.end().await;
        }
        let ratios = attacked.iter().zip(&alone).map(|(with, without)| with / without).collect();
        let made_from = format!(
            "`{method}` of one row: p99 {:.2} ms attacked, {:.2} ms alone; {attacks} hostile calls",
            median(attacked.clone()),
            median(alone.clone())
        );
        summary.add(name, median(ratios), &made_from);
    }
    Ok(())
}

/// Calls the neighbour again and again. Returns the 99th percentile in milliseconds.
pub async fn p99_ms(
    stand: &Stand,
    neighbour: &ActorId,
    method: &str,
    lasting: Duration,
) -> anyhow::Result<f64> {
    let mut took = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < lasting {
        let (each, _) = stand.call(neighbour, method, json!([1])).await?;
        took.push(each.as_secs_f64() * 1e3);
    }
    Ok(quantile(took, 0.99))
}

/// Hostile calls: one loop for each method, and a new actor for each call. No call waits for
/// another, or for a restart.
pub struct Attack {
    over: Arc<AtomicBool>,
    calls: Arc<AtomicU64>,
    attackers: JoinSet<()>,
}

impl Attack {
    /// Begins one loop for each of `means`.
    pub fn begin(host: &Host, means: &[Means]) -> Self {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        let (over, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut attackers = JoinSet::new();
        for &(method, arguments) in means {
            let (host, over, calls) = (host.clone(), Arc::clone(&over), Arc::clone(&calls));
            attackers.spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
                    let Ok(actor) = ActorId::new("hostile_loop", &format!("{method}-{serial}"))
                    else {
                        return;
                    };
                    // Most of these calls should be refused or ended.
                    drop(host.actor(&actor).call(method, Arguments::Json(arguments())).await);
                    calls.fetch_add(1, Ordering::Relaxed);
                    drop(host.actor(&actor).stop().await);
                }
            });
        }
        Self { over, calls, attackers }
    }

    /// Waits until the last calls have ended. Returns the number of calls.
    pub async fn end(mut self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        while self.attackers.join_next().await.is_some() {}
        self.calls.load(Ordering::Relaxed)
    }
}
