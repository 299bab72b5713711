//! The native side of a ratio, which is a program of its own: see `native/main.rs`.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use serde_json::{Value as Json, json};

use crate::child::number;

/// Rows of the table that point queries, scans and updates work on, on both sides.
pub const ROWS: u32 = 10_000;

/// How much is synced at a commit, and who else may open the file, as the program names them.
pub type Settings = (&'static str, &'static str);

/// Seconds of one loop.
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

/// The program's figures.
pub fn run(errand: &Json) -> anyhow::Result<Json> {
    let output = Command::new(env!("CARGO_BIN_EXE_native")).arg(errand.to_string()).output();
    let output = output.context("start the native side")?;
    ensure!(output.status.success(), "{errand}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("what the native side has printed")
}
