//! Shards that move while their actors are in use.

use stockade_sim_depot::shards::ShardRule;
use stockade_sim_depot::{run_with_moves, seeds};

/// Seeds of `make test`.
const SEEDS: u64 = 100;

#[test]
fn every_promise_holds_while_shards_move() {
    seeds::check(run_with_moves, SEEDS);
}

#[test]
fn the_same_seed_moves_the_same_way() {
    seeds::check_repeats(run_with_moves, &[1, 7, 42]);
}

#[test]
fn the_seeds_reach_what_moves_are_for() {
    let wanted = [
        "leaves a, version 1",
        "leaves b, version 2",
        "is kept: it is in use",
        "is given away",
        "has moved",
        "connection lost",
        "arrive ",
        "has destroyed",
        "has imported",
        "inherits",
        "NotCommitted",
    ];
    seeds::check_reaches(run_with_moves, 1..61, &wanted);
}

#[test]
fn every_rule_of_moves_that_is_switched_off_is_missed() {
    seeds::check_rules(run_with_moves, &ShardRule::ALL, 200);
}

/// `OFF=held cargo test -p stockade-sim-depot --test moves rare -- --nocapture` looks for one.
#[test]
fn a_rare_rule_is_looked_for_when_it_is_asked_for() {
    if std::env::var_os("OFF").is_some() {
        seeds::check_rules(run_with_moves, &ShardRule::RARE, 4_000);
    }
}
