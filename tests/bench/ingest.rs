//! Reads Debian's package index into tables and a full-text index: the `catalog` example beside the
//! same parser and statements in rusqlite.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, ensure};
use futures_util::{StreamExt as _, stream};
use serde_json::json;
use stockade::ActorId;

use crate::child::number;
use crate::chunks::chunks_of;
use crate::native;
use crate::stand::Stand;
use crate::summary::{Summary, median};

/// Calls in flight, as with any client that streams: one transaction runs while the former becomes
/// durable. The native side has one thread, which waits for the disk.
const CALLS: usize = 2;

pub async fn run(stand: &Stand, summary: &mut Summary) -> anyhow::Result<()> {
    let text = package_index()?;
    let mut chunks = chunks_of(&text);
    if stand.quick {
        chunks.truncate(1);
    }
    let file = stand.dir.path().join("index");
    std::fs::write(&file, &text)?;
    stand.deploy("catalog", "catalog").await?;
    let (mut guest_s, mut one_by_one_s, mut native_s) = (Vec::new(), Vec::new(), Vec::new());
    let mut records = 0;
    for round in 0..if stand.quick { 1 } else { 5 } {
        for (calls, took) in [(CALLS, &mut guest_s), (1, &mut one_by_one_s)] {
            let actor = ActorId::new("catalog", &format!("debian-{round}-{calls}"))?;
            let begun = Instant::now();
            records = ingest(stand, &actor, &chunks, calls).await?;
            took.push(begun.elapsed().as_secs_f64());
        }
        let path = stand.dir.path().join(format!("native-{round}.db"));
        let figures = native::run(&json!({ "text": file, "path": path, "chunks": chunks.len() }))?;
        ensure!(figures["records"] == records, "the guest has {records} records, native {figures}");
        native_s.push(number(&figures, "seconds")?);
    }
    let sides = [
        ("ingest.catalog_over_native", guest_s, CALLS),
        ("ingest.catalog_one_by_one_over_native", one_by_one_s, 1),
    ];
    for (name, guest_s, calls) in sides {
        let ratios = guest_s.iter().zip(&native_s).map(|(guest, native)| guest / native).collect();
        let made_from = format!(
            "{records} records, {calls} calls in flight, guest {:.2} s, native {:.2} s (WAL, FULL)",
            median(guest_s.clone()),
            median(native_s.clone())
        );
        summary.add(name, median(ratios), &made_from);
    }
    Ok(())
}

/// Sends all chunks in order, with `calls` calls in flight. Returns the number of records.
async fn ingest(
    stand: &Stand,
    actor: &ActorId,
    chunks: &[&str],
    calls: usize,
) -> anyhow::Result<u64> {
    let sent = chunks.iter().map(|chunk| stand.call(actor, "ingest", json!([chunk])));
    let mut answers = stream::iter(sent).buffered(calls);
    let mut records = 0;
    while let Some(answer) = answers.next().await {
        records += answer?.1.to_json()["ok"].as_u64().context("ingested records")?;
    }
    Ok(records)
}

fn package_index() -> anyhow::Result<String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/catalog/fetch-index.sh");
    let output = Command::new("bash").arg(script).output().context("fetch the package index")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}
