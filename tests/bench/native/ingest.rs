//! The package index in rusqlite, with the parser and the statements of the `catalog` example.

// The bench, another binary, uses the same source file to cut its input.
#[path = "../chunks.rs"]
mod chunks;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use catalog_records::{records, sql};
use rusqlite::params;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use crate::{Locking, Native, Sync};
use chunks::chunks_of;

/// Reads the file of the errand in, one transaction for each chunk.
pub fn run(errand: &Json) -> anyhow::Result<Json> {
    let text = std::fs::read_to_string(errand["text"].as_str().context("a text")?)?;
    let mut chunks = chunks_of(&text);
    chunks.truncate(usize::deserialize(&errand["chunks"])?);
    let path = Path::new(errand["path"].as_str().context("a path")?);
    let (took, records) = ingest_natively(path, &chunks)?;
    Ok(json!({ "seconds": took.as_secs_f64(), "records": records }))
}

fn ingest_natively(path: &Path, chunks: &[&str]) -> anyhow::Result<(Duration, u64)> {
    let mut native = Native::open(path, Sync::Full, Locking::Normal)?;
    let begun = Instant::now();
    let connection = native.connection();
    connection.execute_batch(sql::SCHEMA)?;
    let mut count = 0;
    for chunk in chunks {
        let transaction = connection.transaction()?;
        {
            let mut insert = transaction.prepare_cached(sql::INSERT)?;
            for record in records(chunk) {
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
