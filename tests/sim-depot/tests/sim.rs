//! Fixed seeds, more seeds, one seed, and the same seed twice.

use stockade_sim_depot::{run, seeds};

/// Seeds of `make test`.
const SEEDS: u64 = 200;

#[test]
fn every_promise_holds_for_every_seed() {
    seeds::check(run, SEEDS);
}

#[test]
fn the_same_seed_writes_the_same_log() {
    seeds::check_repeats(run, &[1, 7, 42]);
}

#[test]
fn the_seeds_reach_what_they_are_for() {
    let wanted = [
        "acknowledges",
        "answers version",
        "is sealed, heir true",
        "inherits",
        "does not inherit",
        "superseded",
        "connection lost",
        "refused",
        "crashes",
        "cut off: true",
        "applied again",
        "NotCommitted",
        "Indeterminate",
        "fence mismatch",
        "moved generation",
        "ends at version",
        "rewrites its due time",
        "has destroyed",
        "does not destroy",
        "has imported",
        "does not import",
        "has an unfinished",
    ];
    seeds::check_reaches(run, 1..61, &wanted);
}
