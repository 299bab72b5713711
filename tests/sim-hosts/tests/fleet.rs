//! A fleet that loses nodes: a small one here, a large one with `make simulate-fleet`, and rules switched
//! off.

#![allow(clippy::print_stdout, reason = "what is seen is printed")]

use std::time::Instant;

use stockade_depot::broken::Variant;
use stockade_sim_hosts::fleet::{Report, Size, run};
use stockade_tests::node::target;

/// Seeds of the small fleets.
const SEEDS: u64 = 2;

fn check(report: &Report) {
    assert!(report.broken().is_empty(), "{report}");
}

#[test]
fn every_actor_of_a_lost_node_answers_again_and_none_loses_or_repeats_a_call() {
    for seed in 1..=SEEDS {
        for size in [Size::SMALL, Size::BURST, Size::CROWDED] {
            check(&run(seed, size, None));
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_answers() {
    let [one, two] = [1, 1].map(|seed| run(seed, Size::SMALL, None));
    let differ = one.answers().iter().zip(two.answers()).position(|(one, two)| one != two);
    let lines = differ.map(|at| (one.answers()[at], two.answers()[at]));
    assert_eq!(one.hash(), two.hash(), "answer {differ:?}: {lines:?}");
    assert_eq!(one.to_json(), two.to_json());
    assert_ne!(one.hash(), run(2, Size::SMALL, None).hash());
}

/// A fleet that holds with the rule must not hold without it.
fn misses(size: Size, rule: Variant, what: &str) {
    let report = run(1, size, Some(rule));
    let seen = report.broken().iter().find(|broken| broken.contains(what));
    println!("{:<20} caught: {seen:?}", rule.name());
    assert!(seen.is_some(), "{} is switched off and not missed:\n{report}", rule.name());
}

#[test]
fn takeovers_without_a_bound_are_missed() {
    misses(Size::BURST, Variant::RescueRoom, "takeovers at the same time");
}

#[test]
fn a_placement_that_knows_no_load_is_missed() {
    misses(Size::CROWDED, Variant::PlaceByLoad, "put to sleep to make room");
}

#[test]
fn a_look_at_the_nodes_for_each_call_is_missed() {
    misses(Size::BURST, Variant::LooksShared, "nodes are listed");
}

/// `make simulate-fleet`: `FLEET=large`, and `SEED=n` for another seed. Otherwise the small fleet, so
/// that the table and the file are tried as well.
#[test]
fn a_report_is_printed_and_written() {
    let is_large = std::env::var("FLEET").is_ok_and(|fleet| fleet == "large");
    let seed = std::env::var("SEED").map_or(1, |seed| seed.parse().unwrap());
    let begun = Instant::now();
    let report = run(seed, if is_large { Size::LARGE } else { Size::SMALL }, None);
    println!("{report}\n{:.0} s on this machine", begun.elapsed().as_secs_f64());
    let name = if is_large { "fleet" } else { "fleet-small" };
    let folder = target().unwrap();
    let json = serde_json::to_string_pretty(&report.to_json()).unwrap();
    std::fs::write(folder.join(format!("{name}.json")), json).unwrap();
    std::fs::write(folder.join(format!("{name}.md")), report.to_string()).unwrap();
    check(&report);
}
