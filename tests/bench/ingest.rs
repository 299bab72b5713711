//! Debian's package index into tables and a full-text index: the `catalog` example beside the very
//! same parser and statements in rusqlite.

#[allow(unused_imports, reason = "its unit tests run in its own package")]
#[path = "../../examples/catalog/src/index.rs"]
#[allow(dead_code, reason = "the guest's file, used as it is")]
mod index;
#[path = "../../examples/catalog/src/sql.rs"]
#[allow(dead_code, reason = "the guest's file, used as it is")]
mod statements;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rusqlite::params;
use serde_json::{Value as Json, json};
use stockade::ActorId;

use crate::child::{self, number};
use crate::native::{Locking, Native, Sync};
use crate::stand::Stand;
use crate::summary::{Summary, median};

/// Text of one call and of one native transaction.
const CHUNK_BYTES: usize = 2 << 20;

pub async fn run(stand: &Stand, summary: &mut Summary) -> anyhow::Result<()> {
    let text = package_index()?;
    let mut chunks = chunks_of(&text);
    if stand.quick {
        chunks.truncate(1);
    }
    let file = stand.dir.path().join("index");
    std::fs::write(&file, &text)?;
    stand.deploy("catalog", "catalog").await?;
    let (mut guest_s, mut native_s, mut records) = (Vec::new(), Vec::new(), 0);
    for round in 0..if stand.quick { 1 } else { 5 } {
        let actor = ActorId::new("catalog", &format!("debian-{round}"))?;
        let begun = Instant::now();
        records = 0;
        for chunk in &chunks {
            let (_, reply) = stand.call(&actor, "ingest", json!([chunk])).await?;
            records += reply.to_json()["ok"].as_u64().context("ingested records")?;
        }
        guest_s.push(begun.elapsed().as_secs_f64());
        let path = stand.dir.path().join(format!("native-{round}.db"));
        let figures = child::run(&json!({
            "errand": "ingest", "text": file, "path": path, "chunks": chunks.len(),
        }))?;
        ensure!(figures["records"] == records, "guest took in {records} records, native {figures}");
        native_s.push(number(&figures, "seconds")?);
    }
    let ratios = guest_s.iter().zip(&native_s).map(|(guest, native)| guest / native).collect();
    let made_from = format!(
        "{records} records, guest {:.2} s, native {:.2} s (WAL, FULL)",
        median(guest_s.clone()),
        median(native_s.clone())
    );
    summary.add("ingest.catalog_over_native", median(ratios), &made_from);
    Ok(())
}

/// The native side, in a process of its own.
pub fn errand(errand: &Json) -> anyhow::Result<Json> {
    let text = std::fs::read_to_string(errand["text"].as_str().context("a text")?)?;
    let mut chunks = chunks_of(&text);
    chunks.truncate(number(errand, "chunks")? as usize);
    let path = Path::new(errand["path"].as_str().context("a path")?);
    let (took, records) = ingest_natively(path, &chunks)?;
    Ok(json!({ "seconds": took.as_secs_f64(), "records": records }))
}

fn ingest_natively(path: &Path, chunks: &[&str]) -> anyhow::Result<(Duration, u64)> {
    let mut native = Native::open(path, Sync::Full, Locking::Normal)?;
    let begun = Instant::now();
    let connection = native.connection();
    connection.execute_batch(statements::SCHEMA)?;
    let mut count = 0;
    for chunk in chunks {
        let transaction = connection.transaction()?;
        {
            let mut insert = transaction.prepare_cached(statements::INSERT)?;
            for record in index::records(chunk) {
                let r = record.context("a whole record")?;
                insert.execute(params![
                    r.name,
                    r.version,
                    r.architecture,
                    r.section,
                    r.priority,
                    r.size,
                    r.installed_size,
                    r.maintainer,
                    r.homepage,
                    r.depends,
                    r.description,
                ])?;
                count += 1;
            }
        }
        transaction.commit()?;
    }
    Ok((begun.elapsed(), count))
}

fn package_index() -> anyhow::Result<String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/catalog/fetch-index.sh");
    let output = Command::new("bash").arg(script).output().context("fetch the package index")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// Pieces of whole records.
fn chunks_of(text: &str) -> Vec<&str> {
    let mut chunks = Vec::new();
    let mut rest = text;
    while rest.len() > CHUNK_BYTES {
        let before = (0..=CHUNK_BYTES).rev().find(|at| rest.is_char_boundary(*at)).unwrap_or(0);
        let cut = rest[..before].rfind("\n\n").map_or(rest.len(), |at| at + 2);
        let (chunk, after) = rest.split_at(cut);
        chunks.push(chunk);
        rest = after;
    }
    chunks.push(rest);
    chunks
}
