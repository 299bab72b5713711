//! Calls between actors on several hosts: fixed seeds, more seeds, one seed, the same seed twice, and rules
//! switched off.

use stockade_depot::broken::Variant;
use stockade_sim_depot::seeds;
use stockade_sim_hosts::relay::run;

/// Seeds, unless `SEEDS` says how many.
const SEEDS: u64 = 40;
/// Seeds within which each rule that is switched off is missed.
const MISSED_WITHIN: u64 = 300;

#[test]
fn every_promise_holds_for_every_seed() {
    seeds::check(run, SEEDS);
}

#[test]
fn the_same_seed_writes_the_same_log() {
    seeds::check_repeats(run, &[1, 2, 3]);
}

#[test]
fn the_seeds_reach_what_they_are_for() {
    let wanted = [
        "ends: Done",
        "ends: NotDone",
        "ends: Open",
        "CallCycle",
        "UnknownOutcome",
        "Never",
        "NotSeen",
        "Committed",
        "call-settled",
        "a chain ends",
        "is opened by 1",
        "a call without end took",
        "fence mismatch",
        "connection lost",
        "crashes",
        "cut off: true",
        "a thief has",
        "shuts down",
        "drains",
        "is refused by",
    ];
    seeds::check_reaches(run, 1..21, &wanted);
}

#[test]
fn rules_that_are_switched_off_are_missed() {
    seeds::check_rules(run, &Variant::OF_CALLS, MISSED_WITHIN);
}
