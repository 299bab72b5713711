//! The whole protocol has no counterexample, at the sizes of `sizes.rs`.
//!
//! States are distinguished by 64-bit fingerprints: the probability that two of them share one, and
//! a state is missed, is about n² / 2^65 for n states, far below one in a million here.

use std::fmt::Debug;
use std::hash::Hash;

use stateright::Model;
use stockade_model::checking::visit_all;
use stockade_model::circles::Circles;
use stockade_model::due::Due;
use stockade_model::history::History;
use stockade_model::messages::Messages;
use stockade_model::ownership::Ownership;
use stockade_model::pages::Pages;
use stockade_model::records::Records;
use stockade_model::shards::Shards;
use stockade_model::sweep::Sweep;

use super::sizes::{self, Scale};

/// Visits every state: none breaks a property, everything that must happen does, and there are at
/// least `states_min` of them, so that a machine that stands still does not pass.
fn check<M>(name: &str, model: M, states_min: usize)
where
    M: Model + Clone + Send + Sync + 'static,
    M::State: Hash + Clone + PartialEq + Send + Sync + 'static,
    M::Action: Clone + PartialEq + Debug,
{
    let report = visit_all(model);
    println!(
        "{name}: {} states, {} transitions, {} actions deep",
        report.states, report.transitions, report.depth
    );
    for (property, trace) in &report.violated {
        println!("violated: {property}\n  {}", trace.join("\n  "));
    }
    assert!(report.violated.is_empty(), "{name}: a property does not hold");
    assert!(report.missing.is_empty(), "{name}: never happens: {:?}", report.missing);
    assert!(report.states >= states_min, "{name}: only {} states", report.states);
}

#[test]
fn two_hosts_race_for_an_actor() {
    check("races", Ownership::whole(sizes::races(Scale::asked())), 4_000_000);
}

#[test]
fn answers_are_lost_again_and_again() {
    check("losses", Ownership::whole(sizes::losses(Scale::asked())), 500_000);
}

#[test]
fn commits_are_refused_until_their_deadline() {
    check("refusals", Ownership::whole(sizes::refusals(Scale::asked())), 600_000);
}

#[test]
fn generations_end_in_order() {
    check("endings", Ownership::whole(sizes::endings(Scale::asked())), 1_500_000);
}

#[test]
fn heirs_begin_where_they_were_appointed() {
    check("heirs", Ownership::whole(sizes::heirs(Scale::asked())), 1_000_000);
}

#[test]
fn the_store_crashes_over_a_group() {
    check("store crash", Ownership::whole(sizes::store_crash(Scale::asked())), 1_000_000);
}

#[test]
fn stages_are_seen_when_committed() {
    check("staging", Pages::whole(sizes::staging(Scale::asked())), 300_000);
}

#[test]
fn caches_serve_the_newest_page() {
    check("caching", Pages::whole(sizes::caching(Scale::asked())), 1_000_000);
}

#[test]
fn history_is_kept_or_gone() {
    check("lives", History::whole(sizes::lives(Scale::asked())), 1_000_000);
}

#[test]
fn a_shard_moves_under_its_callers() {
    check("moving", Shards::whole(sizes::moving(Scale::asked())), 700_000);
}

#[test]
fn callers_are_sent_on() {
    check("callers", Shards::whole(sizes::callers(Scale::asked())), 200_000);
}

#[test]
fn two_movers_do_not_harm_each_other() {
    check("movers", Shards::whole(sizes::movers(Scale::asked())), 60_000);
}

#[test]
fn a_shard_is_moved_back() {
    check("returning", Shards::whole(sizes::returning(Scale::asked())), 80_000);
}

#[test]
fn an_actor_is_made_again_during_a_move() {
    check("remaking", Shards::whole(sizes::remaking(Scale::asked())), 140_000);
}

#[test]
fn an_actor_is_made_at_one_primary() {
    check("making", Shards::whole(sizes::making(Scale::asked())), 50_000);
}

#[test]
fn movers_do_not_agree_where_to() {
    check("targets", Shards::whole(sizes::targets(Scale::asked())), 80_000);
}

#[test]
fn due_times_are_those_of_commits() {
    check("saying", Due::whole(sizes::saying(Scale::asked())), 100_000);
}

#[test]
fn tries_are_counted_and_end() {
    check("trying", Due::whole(sizes::trying(Scale::asked())), 40_000);
}

#[test]
fn alarms_are_put_on_again() {
    check("ordering", Due::whole(sizes::ordering(Scale::asked())), 15_000);
}

#[test]
fn due_actors_are_found() {
    check("looking", Sweep::whole(sizes::looking(Scale::asked())), 20_000);
}

#[test]
fn messages_are_handled_once_in_order() {
    check("talking", Messages::whole(sizes::talking(Scale::asked())), 300_000);
}

#[test]
fn a_fork_has_conversations_of_its_own() {
    check("forking", Messages::whole(sizes::forking(Scale::asked())), 20_000);
}

#[test]
fn a_receiver_is_restored() {
    check("restoring", Messages::whole(sizes::restoring(Scale::asked())), 300_000);
}

#[test]
fn keys_belong_to_their_callers() {
    check("keys", Records::whole(sizes::keys(Scale::asked())), 25_000);
}

#[test]
fn a_call_that_was_settled_never_runs() {
    check("settling", Records::whole(sizes::settling(Scale::asked())), 2_500);
}

#[test]
fn a_call_that_was_begun_is_not_run_again() {
    check("stepping", Records::whole(sizes::stepping(Scale::asked())), 12_000);
}

#[test]
fn calls_of_two_generations_differ() {
    check("calling", Records::whole(sizes::calling(Scale::asked())), 400);
}

#[test]
fn two_actors_do_not_wait_for_each_other() {
    check("pairs", Circles::whole(sizes::pairs(Scale::asked())), 130_000);
}

#[test]
fn three_actors_do_not_wait_for_each_other() {
    check("rings", Circles::whole(sizes::rings(Scale::asked())), 1_500_000);
}
