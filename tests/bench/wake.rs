//! A sleeping actor's first SQL call: takeover, instance, SQLite open, query, gate.

use serde_json::json;
use stockade::ActorId;

use crate::stand::Stand;
use crate::summary::{Summary, median, quantile};

pub async fn run(stand: &Stand, summary: &mut Summary) -> anyhow::Result<()> {
    stand.deploy("sql", "sqlite_bench").await?;
    let actors = stand.scaled(200);
    let mut took = Vec::new();
    for i in 0..actors {
        let actor = ActorId::new("sql", &format!("sleeper-{i}"))?;
        // 10,000 rows make a database of somewhat under 1 MiB.
        stand.call(&actor, "setup", json!([crate::native::ROWS])).await?;
        stand.host.stop(&actor).await?;
    }
    for i in 0..actors {
        let actor = ActorId::new("sql", &format!("sleeper-{i}"))?;
        let (each, _) = stand.call(&actor, "point", json!([1])).await?;
        took.push(each.as_secs_f64() * 1e3);
    }
    let p50 = median(took.clone());
    summary.add("wake.cold_ms_p50", p50, "asleep -> reply of its first SQL call, host running");
    summary.add("wake.cold_ms_p99", quantile(took, 0.99), "the same");
    Ok(())
}
