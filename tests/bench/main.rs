//! `make bench`: measures, prints, and writes `target/bench/summary.json`, one flat object.
//!
//! Both sides of a ratio are measured in this run, in turn. A ratio is the median over its rounds.
//! README.md beside this file says what each figure counts, and the settings of both sides.
//!
//! `STOCKADE_BENCH_QUICK=1` runs each part once on little data: for the tests of the bench itself.

#![allow(
    unreachable_pub,
    clippy::disallowed_methods,
    reason = "one binary whose parts share everything; it waits on the clock"
)]

mod alarms;
mod amplify;
mod bodies;
mod calls;
mod child;
mod chunks;
mod commit;
mod fatal;
mod growth;
mod hogs;
mod hostile;
mod ingest;
mod large;
mod memory;
mod messages;
mod native;
mod pg;
mod process;
mod report;
mod sql;
mod stand;
mod summary;
mod takeover;
mod wake;

use anyhow::Context;
use stand::Stand;
use summary::Summary;

/// The allocator of the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The parts of the bench, in their order.
const PARTS: [&str; 17] = [
    "sql", "commit", "calls", "alarms", "messages", "wake", "takeover", "fatal", "hostile", "hogs",
    "bodies", "memory", "growth", "amplify", "ingest", "pg", LARGE,
];
/// The part of `make bench-large`: it takes minutes, and gigabytes of disk.
const LARGE: &str = "large";
/// MiB of the large database of `growth`.
const GROWN_MIB: u64 = 256;

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if let Some(errand) = child::errand()? {
        return runtime.block_on(child::serve(&errand));
    }
    // `cargo bench` passes flags as well; only a filter is used here.
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let quick = std::env::var_os("STOCKADE_BENCH_QUICK").is_some();
    let mut summary = Summary::default();
    runtime.block_on(async {
        // `cargo bench --bench figures -- PART` runs one part.
        for part in PARTS {
            // The large part runs only on request.
            if filter.as_deref().map_or(part == LARGE, |wanted| wanted != part) {
                continue;
            }
            let stand = Stand::new(quick).await?;
            match part {
                "sql" => sql::run(&stand, &mut summary).await,
                "commit" => commit::run(&stand, &mut summary).await,
                "calls" => calls::run(&stand, &mut summary).await,
                "alarms" => alarms::run(&stand, &mut summary).await,
                "messages" => messages::run(&stand, &mut summary).await,
                "wake" => wake::run(&stand, &mut summary).await,
                "takeover" => takeover::run(&stand, &mut summary).await,
                "fatal" => fatal::run(&stand, &mut summary).await,
                "hostile" => hostile::run(&stand, &mut summary).await,
                "hogs" => hogs::run(&stand, &mut summary).await,
                "bodies" => bodies::run(&stand, &mut summary).await,
                "memory" => memory::run(&stand, &mut summary).await,
                "growth" => growth::run(&stand, &mut summary, GROWN_MIB).await,
                "amplify" => amplify::run(&stand, &mut summary).await,
                "pg" => pg::run(&stand, &mut summary).await,
                LARGE => large::run(&stand, &mut summary).await,
                _ => ingest::run(&stand, &mut summary).await,
            }
            .with_context(|| format!("bench part {part}"))?;
            stand.host.shutdown().await;
        }
        anyhow::Ok(())
    })?;
    let file = if filter.as_deref() == Some(LARGE) { "large.json" } else { "summary.json" };
    summary.write(file)?;
    report::write(&summary::figures_dir())
}
