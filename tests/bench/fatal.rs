//! How soon a generation that has lost its database ends: from the loss to the caller's error.

use std::time::Instant;

use anyhow::{Context, bail};
use serde_json::{Value as Json, json};
use stockade::{Arguments, CallError, HostError};
use stockade_testkit::faulty_store::{Fault, Step};
use stockade_tests::guest::{self, Guest};
use stockade_tests::host::{Site, actor};

use crate::stand::Stand;
use crate::summary::{Summary, median, quantile};

/// A guest that does not end by itself: name, kind, method and arguments.
type Endless = (&'static str, Guest, &'static str, fn() -> Json);

/// Guests that write and then do not end by themselves: in wasm, in SQL, and in a wait of the host.
const ENDLESS: [Endless; 3] = [
    ("loop", guest::HOSTILE_WAIT, "write-and-spin", || json!([1])),
    ("sql", guest::HOSTILE_LOOP, "spin-in-sql", || json!([])),
    ("wait", guest::HOSTILE_WAIT, "write-and-nap", || json!([1, 3_600_000])),
];

pub async fn run(stand: &Stand, summary: &mut Summary) -> anyhow::Result<()> {
    let site = Site::new();
    let (old, new) = (site.host().start().await, site.usurper().start().await);
    old.deploy(guest::HOSTILE_WAIT).await;
    old.deploy(guest::HOSTILE_LOOP).await;
    let rounds = if stand.quick { 1 } else { 40 };
    let mut took = Vec::new();
    for round in 0..rounds {
        for (sort, kind, method, arguments) in ENDLESS {
            let id = actor(kind, &format!("{sort}-{round}"));
            let first = if kind.name == guest::HOSTILE_WAIT.name { "count" } else { "hello" };
            old.host.actor(&id).call(first, Arguments::Json(json!([]))).await?;
            let commit = old.store.arm(Step::Commit, 1, Fault::Hold);
            let running = {
                let (host, id) = (old.host.clone(), id.clone());
                tokio::spawn(async move {
                    let answer = host.actor(&id).call(method, Arguments::Json(arguments())).await;
                    (answer, Instant::now())
                })
            };
            commit.fired().await;
            new.take_over_and_call(&id, first, json!([])).await.context("take over")?;
            let lost = Instant::now();
            commit.release();
            match running.await? {
                (Err(CallError { cause: HostError::Fenced { .. }, .. }), told) => {
                    took.push(told.duration_since(lost).as_secs_f64() * 1e3);
                }
                (other, _) => bail!("{sort}: {:?}", other.map(|reply| reply.to_json())),
            }
            new.host.actor(&id).stop().await?;
        }
    }
    let made_from = format!(
        "{} losses, p50 {:.2} ms: from the release of the held commit to the caller's error",
        took.len(),
        median(took.clone())
    );
    summary.add("fatal.revoke_ms_p99", quantile(took, 0.99), &made_from);
    new.host.shutdown().await;
    old.host.shutdown().await;
    Ok(())
}
