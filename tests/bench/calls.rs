//! Calls of one actor by another, beside the embedding API's own call of the same method.

use anyhow::Context;
use serde_json::json;
use stockade::{ActorId, Manifest};

use crate::stand::Stand;
use crate::summary::{Summary, median, quantile};

const KIND: &str = "relay";
/// Calls of the guest in one call of the bench, so that each round has some of both sides' slow moments.
const BATCH: u32 = 100;
/// Rows of the callee's table, which the called method counts.
const ROWS: u32 = 10;

pub async fn run(stand: &Stand, summary: &mut Summary) -> anyhow::Result<()> {
    let manifest = Manifest { calls: vec![KIND.to_owned()], ..Manifest::default() };
    stand.host.deploy(KIND, stockade_tests::guest("calls_relay")?, manifest).await?;
    let (caller, callee) = (ActorId::new(KIND, "caller")?, ActorId::new(KIND, "callee")?);
    stand.call(&callee, "prepare", json!([ROWS])).await?;
    // Both are awake, and each way was gone once.
    between(stand, &caller, BATCH).await?;

    let calls = stand.scaled(2_000).max(BATCH);
    let (mut ratios, mut all, mut embedded) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..stand.rounds() {
        let mut direct = Vec::new();
        for _ in 0..calls {
            let (took, _) = stand.call(&callee, "count", json!([])).await?;
            direct.push(took.as_secs_f64() * 1e6);
        }
        let mut guests = Vec::new();
        for _ in 0..calls / BATCH {
            guests.extend(between(stand, &caller, BATCH).await?);
        }
        ratios.push(median(guests.clone()) / median(direct.clone()));
        all.extend(guests);
        embedded.extend(direct);
    }
    summary.add(
        "call.actor_to_actor_us_p50",
        median(all.clone()),
        "as the calling guest measures it: a method that reads, both actors awake",
    );
    summary.add("call.actor_to_actor_us_p99", quantile(all, 0.99), "the same");
    summary.add("call.embedded_us_p50", median(embedded), "the same method from the embedding API");
    summary.add("call.actor_to_actor_over_embedded", median(ratios), "p50 over p50");
    Ok(())
}

/// Microseconds of each of so many calls that the guest makes.
async fn between(stand: &Stand, caller: &ActorId, calls: u32) -> anyhow::Result<Vec<f64>> {
    let (_, reply) = stand.call(caller, "timed", json!(["callee", calls])).await?;
    let answer = reply.to_json();
    let took = answer["ok"].as_array().with_context(|| format!("answered {answer}"))?;
    Ok(took.iter().filter_map(serde_json::Value::as_f64).map(|ns| ns / 1e3).collect())
}
