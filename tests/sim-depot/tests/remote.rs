//! The store of another node: its protocol over a bad network.

use stockade_depot::broken::Variant;
use stockade_sim_depot::{run_remote, seeds};

/// Seeds of `make test`.
const SEEDS: u64 = 60;

#[test]
fn every_promise_holds_through_the_protocol() {
    seeds::check(run_remote, SEEDS);
}

#[test]
fn the_same_seed_sends_the_same_messages() {
    seeds::check_repeats(run_remote, &[1, 7, 42]);
}

#[test]
fn the_seeds_reach_what_the_protocol_is_for() {
    let wanted = [
        "acknowledges",
        "is sealed, heir true",
        "connection lost",
        "arrives again",
        "refused",
        "NotCommitted",
        "Indeterminate",
        "has destroyed",
        "has imported",
    ];
    seeds::check_reaches(run_remote, 1..61, &wanted);
}

#[test]
fn every_rule_of_the_protocol_that_is_switched_off_is_missed() {
    seeds::check_rules(run_remote, &Variant::OF_REMOTE, 400);
}
