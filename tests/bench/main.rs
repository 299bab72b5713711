//! `make bench`: measures, prints, and writes `target/bench/summary.json`, one flat object.
//!
//! Every ratio has both sides in this run, in turn, and is the median over its rounds. What is
//! counted and how both sides are set is in README.md beside this file.
//!
//! `STOCKADE_BENCH_QUICK=1` runs each part once on little data: for the tests of the bench itself.

#![allow(
    unreachable_pub,
    clippy::disallowed_methods,
    reason = "one binary whose parts share everything; it waits on the clock"
)]

mod commit;
mod fatal;
mod hostile;
mod ingest;
mod memory;
mod native;
mod report;
mod sql;
mod stand;
mod summary;
mod takeover;
mod wake;

use anyhow::Context;
use stand::Stand;
use summary::Summary;

fn main() -> anyhow::Result<()> {
    // The harness of `cargo bench` passes flags; only a filter is of use here.
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let quick = std::env::var_os("STOCKADE_BENCH_QUICK").is_some();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut summary = Summary::default();
    runtime.block_on(async {
        // `cargo bench --bench figures -- PART` runs one of them.
        let parts: [&str; 8] =
            ["sql", "commit", "wake", "takeover", "fatal", "hostile", "memory", "ingest"];
        for part in parts {
            if filter.as_deref().is_some_and(|wanted| wanted != part) {
                continue;
            }
            let stand = Stand::new(quick).await?;
            match part {
                "sql" => sql::run(&stand, &mut summary).await,
                "commit" => commit::run(&stand, &mut summary).await,
                "wake" => wake::run(&stand, &mut summary).await,
                "takeover" => takeover::run(&stand, &mut summary).await,
                "fatal" => fatal::run(&stand, &mut summary).await,
                "hostile" => hostile::run(&stand, &mut summary).await,
                "memory" => memory::run(&stand, &mut summary).await,
                _ => ingest::run(&stand, &mut summary).await,
            }
            .with_context(|| format!("bench part {part}"))?;
            stand.host.shutdown().await;
        }
        anyhow::Ok(())
    })?;
    summary.write("summary.json")?;
    report::write(&summary::figures_dir())
}
