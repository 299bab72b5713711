//! The part `pg` of `make bench`, alone. `STOCKADE_BENCH_QUICK=1` runs it once on little data.

#![allow(clippy::print_stdout, reason = "a bench reports")]

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // `cargo test` runs benches, too, to see that they run at all.
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    let quick = !is_bench || std::env::var_os("STOCKADE_BENCH_QUICK").is_some();
    for figure in stockade_figures_pg::run(quick).await? {
        println!("{:42} {:>12.3}   {}", figure.name, figure.value, figure.made_from);
    }
    Ok(())
}
