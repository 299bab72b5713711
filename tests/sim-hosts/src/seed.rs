//! A run of one seed, from an empty folder to its report: what all simulations of whole hosts have in
//! common.
//!
//! Invariant: nothing of a run is left when its report is made.

use std::path::PathBuf;
use std::sync::Arc;

use stockade_depot::broken::{Off, Variant};
use stockade_sim_depot::journal::{Journal, Report};
use tokio::runtime::Builder;

use crate::code::Guest;

/// Runs one seed of what unfolds in a folder with the guest's compiled code, under a paused clock. `off`:
/// the rule that is switched off.
pub(crate) fn run(
    seed: u64,
    off: Option<Variant>,
    guest: &Guest,
    unfold: impl AsyncFnOnce(PathBuf) -> Arc<Journal>,
) -> Report {
    let _off = Off::new(off);
    let scratch = tempfile::tempdir().unwrap();
    guest.provide(scratch.path());
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let journal = runtime.block_on(unfold(scratch.path().to_owned()));
    drop(runtime);
    journal.into_report(seed)
}
