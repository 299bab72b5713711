//! Messages between actors: how many in a second arrive, each exactly once.
//!
//! ```text
//!  64 senders, each with a receiver of its own ── transfer-many ──> outbox ──> deposit
//!  from the first send until every receiver has all of its messages
//! ```

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::{Value as Json, json};
use stockade::{ActorId, Arguments, Manifest};
use tokio::task::JoinSet;

use crate::commit;
use crate::stand::Stand;
use crate::summary::{Summary, median};

const KIND: &str = "bank";
/// Rounds: each takes seconds.
const ROUNDS: usize = 3;
/// Between two looks at a receiver.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How long the bench waits for messages that do not arrive.
const PATIENCE: Duration = Duration::from_secs(120);

pub async fn run(stand: &Stand, summary: &mut Summary) -> anyhow::Result<()> {
    stand.deploy("sql", "sqlite_bench").await?;
    let manifest = Manifest { calls: vec![KIND.to_owned()], ..Manifest::default() };
    stand.host.deploy(KIND, stockade_tests::guest("bank")?, manifest).await?;
    let lasting = Duration::from_secs(if stand.quick { 1 } else { 5 });
    let each = stand.scaled(500).max(10);
    for pair in 0..commit::ACTORS {
        stand.call(&id("sender", pair)?, "pay-in", json!([each * 10])).await?;
        stand.call(&id("receiver", pair)?, "look", json!([])).await?;
    }
    let (mut rates, mut ratios) = (Vec::new(), Vec::new());
    for round in 1..=stand.rounds().min(ROUNDS) {
        let durable_per_s = commit::durable_per_s(stand, lasting).await?;
        let begun = Instant::now();
        let mut senders = JoinSet::new();
        for pair in 0..commit::ACTORS {
            let (host, sender) = (stand.host.clone(), id("sender", pair)?);
            senders.spawn(async move {
                let arguments = Arguments::Json(json!([format!("receiver-{pair}"), 1, each]));
                let reply = host.actor(&sender).call("transfer-many", arguments).await?;
                let answer = reply.to_json();
                ensure!(answer["ok"] == json!(each), "{sender} answered {answer}");
                anyhow::Ok(())
            });
        }
        while let Some(sent) = senders.join_next().await {
            sent??;
        }
        let expected = i64::from(each) * i64::try_from(round)?;
        for pair in 0..commit::ACTORS {
            while received(stand, pair).await? < expected {
                ensure!(begun.elapsed() < PATIENCE, "messages do not arrive");
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
        let per_s = f64::from(each) * commit::ACTORS as f64 / begun.elapsed().as_secs_f64();
        rates.push(per_s);
        ratios.push(per_s / durable_per_s);
        for pair in 0..commit::ACTORS {
            let arrived = received(stand, pair).await?;
            ensure!(arrived == expected, "{arrived} of {expected} messages have run");
        }
    }
    let made_from = format!(
        "{} pairs, {each} messages each: the first send to the last deposit, all exactly once",
        commit::ACTORS
    );
    summary.add("message.per_s", median(rates), &made_from);
    let made_from = "over durable calls of as many actors, in turn";
    summary.add("message.per_s_over_durable", median(ratios), made_from);
    Ok(())
}

/// Messages that have run at a receiver.
async fn received(stand: &Stand, pair: usize) -> anyhow::Result<i64> {
    let (_, reply) = stand.call(&id("receiver", pair)?, "look", json!([])).await?;
    let answer: Json = reply.to_json();
    answer["ok"]["received-count"].as_i64().with_context(|| format!("answered {answer}"))
}

fn id(name: &str, number: usize) -> anyhow::Result<ActorId> {
    Ok(ActorId::new(KIND, &format!("{name}-{number}"))?)
}
