//! Whole hosts: fixed seeds, more seeds, one seed, the same seed twice, and rules switched off.

use stockade_depot::broken::Variant;
use stockade_sim_depot::seeds;
use stockade_sim_hosts::run;

/// Seeds of `make test`.
const SEEDS: u64 = 40;

#[test]
fn every_promise_holds_for_every_seed() {
    seeds::check(run, SEEDS);
}

#[test]
fn the_same_seed_writes_the_same_log() {
    seeds::check_repeats(run, &[1, 2, 3, 4, 5, 6, 7, 8]);
}

#[test]
fn the_seeds_reach_what_they_are_for() {
    let wanted = [
        "acknowledges",
        "shows version",
        "fence mismatch",
        "connection lost",
        "crashes",
        "cut off: true",
        "applied again",
        "NotCommitted",
        "Indeterminate",
        "Reroute",
        "Retry",
        "a thief has",
        "shuts down",
        "has ended, 0",
        "sealed true",
        "is destroyed",
        "does not destroy",
        "does not start",
        "TrimPages",
        "Claim",
        "passed on",
        "does not run that generation",
        "could not show in time",
        "has given up its actors",
        "it begins no actors",
        "unanswered",
    ];
    seeds::check_reaches(run, 1..31, &wanted);
}

#[test]
fn rules_that_are_switched_off_are_missed() {
    let rules = [
        Variant::ConfirmFence,
        Variant::GateConfirm,
        Variant::GateDurable,
        Variant::Join,
        Variant::HeirAsked,
        Variant::LeaseEnd,
        Variant::RouteSession,
        Variant::DrainRefuses,
    ];
    seeds::check_rules(run, &rules, 400);
}
