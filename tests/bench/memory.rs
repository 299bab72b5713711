//! Memory: of an awake idle actor with its database open, and of a host with nothing loaded.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::json;
use stockade::ActorId;

use crate::stand::Stand;
use crate::summary::Summary;

pub async fn run(stand: &Stand, summary: &mut Summary) -> anyhow::Result<()> {
    let idle = idle_host_kib(stand)?;
    summary.add("host.idle_rss_mib", idle / 1024.0, "`stockade serve`, nothing deployed");

    stand.deploy("sql", "sqlite_bench").await?;
    let first = ActorId::new("sql", "first")?;
    stand.call(&first, "setup", json!([10])).await?;
    let count = stand.scaled(2_000);
    let before = rss_kib("self")?;
    for i in 0..count {
        let actor = ActorId::new("sql", &format!("awake-{i}"))?;
        stand.call(&actor, "setup", json!([10])).await?;
    }
    let awake = stand.host.awake();
    let each = (rss_kib("self")? - before) / f64::from(count);
    summary.add(
        "resident.kib_per_actor",
        each,
        &format!("{awake} awake, one table of 10 rows each"),
    );
    Ok(())
}

/// Starts the program in its release build and reads its resident memory when it is ready.
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
    kib
}

fn rss_kib(process: &str) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("VmRSS")?;
    Ok(line.split_whitespace().nth(1).context("a number")?.parse()?)
}
