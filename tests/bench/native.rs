//! Runs the native side of a ratio, a program of its own: see `native/main.rs`.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use serde_json::{Value as Json, json};

use crate::child::number;

/// Rows of the table of point queries, scans and updates, on both sides.
pub const ROWS: u32 = 10_000;

/// The native program's settings `Sync` and `Locking`, by their names.
pub type Settings = (&'static str, &'static str);

/// Runs one loop of the native program. Returns its seconds.
pub fn seconds(
    path: &Path,
    (sync, locking): Settings,
    method: &str,
    count: u32,
) -> anyhow::Result<f64> {
    let errand = json!({
        "path": path, "sync": sync, "locking": locking, "method": method, "count": count,
    });
    number(&run(&errand)?, "seconds")
}

/// Runs the native program. Returns its figures.
pub fn run(errand: &Json) -> anyhow::Result<Json> {
    let output = Command::new(env!("CARGO_BIN_EXE_native")).arg(errand.to_string()).output();
    let output = output.context("start the native side")?;
    ensure!(output.status.success(), "{errand}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("read the figures of the native side")
}
