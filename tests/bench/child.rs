//! Errands: parts of the bench that run in a process of their own, without caches, memory or writes
//! of earlier parts.
//!
//! The child is this same program. A variable of its environment holds its errand, and the last
//! line of its output holds its figures.

use std::process::{Child, Command, Stdio};

use anyhow::{Context, ensure};
use serde_json::Value as Json;

use crate::summary::say;
use crate::{amplify, bodies, wake};

/// The errand of a child, as JSON.
const ERRAND: &str = "STOCKADE_BENCH_ERRAND";

/// Begins an errand in a child of the idle scheduling class: it has what others leave of the cores.
pub fn begin_idle(errand: &Json) -> anyhow::Result<Child> {
    Command::new("chrt")
        .args(["--idle", "0"])
        .arg(std::env::current_exe()?)
        .env(ERRAND, errand.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .context("start an idle child of the bench")
}

/// Runs an errand in a child. Returns its figures.
pub fn run(errand: &Json) -> anyhow::Result<Json> {
    let output = Command::new(std::env::current_exe()?)
        .env(ERRAND, errand.to_string())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("start a child of the bench")?;
    ensure!(output.status.success(), "errand {errand}: {}", output.status);
    let text = String::from_utf8(output.stdout)?;
    Ok(serde_json::from_str(text.lines().last().unwrap_or_default())?)
}

/// The errand of this process, if it is a child.
pub fn errand() -> anyhow::Result<Option<Json>> {
    match std::env::var(ERRAND) {
        Ok(text) => Ok(Some(serde_json::from_str(&text)?)),
        Err(_) => Ok(None),
    }
}

/// Runs the errand of this process, and prints its figures.
pub async fn serve(errand: &Json) -> anyhow::Result<()> {
    let figures = match errand["errand"].as_str() {
        Some("cold") => wake::cold(errand).await?,
        Some("storm") => wake::storm(errand).await?,
        Some("bodies") => bodies::send(errand)?,
        Some("amplify") => amplify::errand(errand).await?,
        other => anyhow::bail!("no such errand: {other:?}"),
    };
    say(&figures.to_string());
    Ok(())
}

/// Reads a count from an errand.
pub fn count(from: &Json, name: &str) -> anyhow::Result<u32> {
    let count = from[name].as_u64().and_then(|count| u32::try_from(count).ok());
    count.with_context(|| format!("{name} in {from}"))
}

/// Reads a number from an errand or from its figures.
pub fn number(from: &Json, name: &str) -> anyhow::Result<f64> {
    from[name].as_f64().with_context(|| format!("{name} in {from}"))
}
