//! What stores over a network cost: PostgreSQL, and the store of another node. Works on sessions of the depot over the store: nothing of wasm,
//! SQLite or HTTP is in these figures.
//!
//! ```text
//! commits   durable commits beside plain inserts of the same bytes, on the same server, in turn
//! trips     how often a process waits for the server, counted on the wire
//! primaries the trips over two primaries
//! growth    bytes on the server's disk for each byte of pages, while pages are rewritten and trimmed
//! remote    commits and steps through the protocol of another node, beside the same store without it
//! ```
//! `commits` and `trips` run twice: directly, and over a way on which each direction takes 1 ms
//! (`_1ms`). The machine is shared: ratios of neighbours and counts are meant to be compared, not times.
//! `tests/bench/README.md` says what each figure counts.

#![allow(clippy::disallowed_methods, reason = "a bench waits on the clock")]

mod commits;
mod growth;
mod primaries;
mod remote;
mod server;
mod trips;

/// One figure.
#[derive(Clone, Debug)]
pub struct Figure {
    /// Its name in `summary.json`.
    pub name: String,
    /// Its value.
    pub value: f64,
    /// What it is made from.
    pub made_from: String,
}

impl Figure {
    fn new(name: &str, value: f64, made_from: String) -> Self {
        Self { name: name.to_owned(), value, made_from }
    }
}

/// Measures all of them. `quick`: once, on little data.
///
/// # Errors
/// The server cannot be reached, or answers what it must not.
pub async fn run(quick: bool) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for way in [server::Way::Direct, server::Way::Slow] {
        let bench = server::Bench::new(way)?;
        figures.extend(commits::run(&bench, quick).await?);
        figures.extend(trips::run(&bench, quick).await?);
    }
    figures.extend(primaries::run(quick).await?);
    figures.push(growth::run(quick).await?);
    figures.extend(remote::run(quick).await?);
    Ok(figures)
}

/// The value in the middle.
fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
}
