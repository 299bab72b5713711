//! The takeover of an actor whose owner has died and whose head is unsealed: from the call to its
//! reply.

use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use serde_json::json;
use stockade::{Arguments, CallError, HostError};
use stockade_tests::guest;
use stockade_tests::host::{Site, actor};

use crate::stand::Stand;
use crate::summary::{Summary, median, quantile};

pub async fn run(stand: &Stand, summary: &mut Summary) -> anyhow::Result<()> {
    let site = Site::new();
    let old = site.host().limits(|limits| limits.actors_awake_max = 300).start().await;
    let new = site.usurper().limits(|limits| limits.actors_awake_max = 300).start().await;
    old.deploy(guest::SQLITE_BENCH).await;
    let actors = if stand.quick { 3 } else { 200 };
    let id = |n: u32| actor(guest::SQLITE_BENCH, &format!("orphan-{n}"));
    for n in 0..=actors {
        let setup = Arguments::Json(json!([crate::native::ROWS]));
        old.host.actor(&id(n)).call("setup", setup).await?;
    }
    ensure!(old.host.awake() > actors as usize, "an orphan fell asleep: its head is sealed");
    // The first takeover waits until the owner is judged dead, and compiles the kind.
    new.take_over_and_call(&id(0), "point", json!([1])).await?;
    let mut took = Vec::new();
    for n in 1..=actors {
        let begun = Instant::now();
        let orphan = id(n);
        let each = loop {
            let asked = Instant::now();
            match new.host.actor(&orphan).call("point", Arguments::Json(json!([1]))).await {
                Ok(_) => break asked.elapsed(),
                // The owner renewed its lease in the meantime, and is not judged dead again yet.
                Err(CallError { cause: HostError::Elsewhere { .. }, .. })
                    if begun.elapsed() < Duration::from_secs(20) =>
                {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(error) => bail!("take over {orphan}: {error}"),
            }
        };
        took.push(each.as_secs_f64() * 1e3);
    }
    let p50 = median(took.clone());
    summary.add("takeover.ms_p50", p50, "10,000 rows, unsealed -> reply of the first SQL call");
    summary.add("takeover.ms_p99", quantile(took, 0.99), "the same");
    new.host.shutdown().await;
    old.host.shutdown().await;
    Ok(())
}
