//! Memory of a host with nothing deployed. `wake` measures the memory of awake actors.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::stand::Stand;
use crate::summary::{Summary, median};

pub async fn run(stand: &Stand, summary: &mut Summary) -> anyhow::Result<()> {
    let rounds = (0..if stand.quick { 1 } else { 5 }).map(|_| idle_host_kib(stand));
    let idle = median(rounds.collect::<anyhow::Result<_>>()?);
    summary.add("host.idle_rss_mib", idle / 1024.0, "`stockade serve`, nothing deployed");
    Ok(())
}

/// Starts the program in its release build, and reads its resident memory one second after it is
/// ready.
fn idle_host_kib(stand: &Stand) -> anyhow::Result<f64> {
    let program = stockade_tests::program()?;
    let ready = stand.dir.path().join("ready.json");
    let mut child = Command::new(&program)
        .args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
        .arg("--data-dir")
        .arg(stand.dir.path().join("idle"))
        .arg("--ready-file")
        .arg(&ready)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("start {}", program.display()))?;
    let begun = Instant::now();
    while !ready.exists() && begun.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_secs(1));
    let kib = rss_kib(&child.id().to_string());
    child.kill()?;
    child.wait()?;
    std::fs::remove_file(&ready)?;
    kib
}

/// Resident memory of a process in KiB.
pub fn rss_kib(process: &str) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("VmRSS")?;
    Ok(line.split_whitespace().nth(1).context("a number")?.parse()?)
}

/// The number of memory maps of this process.
pub fn maps() -> anyhow::Result<usize> {
    Ok(std::fs::read_to_string("/proc/self/maps")?.lines().count())
}
