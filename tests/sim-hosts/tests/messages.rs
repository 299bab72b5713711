//! Messages between actors on several hosts: fixed seeds, more seeds, one seed, the same seed twice, and
//! rules switched off. And one pair of actors under a clock that is far ahead of the machine's.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test fails by panicking")]

mod paused;

use serde_json::{Value as Json, json};
use stockade::{ActorId, Arguments, Host, Manifest};
use stockade_depot::broken::Variant;
use stockade_sim_depot::seeds;
use stockade_sim_hosts::mail::run;
use stockade_tests::guest;

use paused::wait;

/// Seeds, unless `SEEDS` says how many.
const SEEDS: u64 = 40;
/// Seeds within which each rule that is switched off is missed.
const MISSED_WITHIN: u64 = 300;

const KIND: &str = "mail";

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
        "Transfer",
        "Never",
        "Fails(0)",
        "Fails(3)",
        "delivery 1",
        "delivery 3",
        "re: ",
        "says Delivered to a copy",
        "says Opened to a copy",
        "an hour passes",
        "fence mismatch",
        "connection lost",
        "crashes",
        "cut off: true",
        "a thief has",
        "shuts down",
        "drains",
        "is refused by",
        "NotKept",
        "Open:",
        "transfers have arrived",
    ];
    seeds::check_reaches(run, 1..21, &wanted);
}

#[test]
fn rules_that_are_switched_off_are_missed() {
    let rules = [&[Variant::GateDurable][..], &Variant::OF_MESSAGES].concat();
    seeds::check_rules(run, &rules, MISSED_WITHIN);
}

async fn call(host: &Host, key: &str, method: &str, arguments: Json) -> Json {
    let actor = ActorId::new(KIND, key).unwrap();
    let called = host.actor(&actor).call(method, Arguments::Json(arguments)).await;
    called.unwrap().to_json()["ok"].clone()
}

/// A regression: the time of a parcel was taken from the machine's clock and waited for on the paused
/// one. Once that was two minutes ahead, every parcel was late when it left, and none arrived.
#[test]
fn a_message_arrives_however_far_the_clock_is_ahead() {
    paused::under_a_paused_clock(async |paused| {
        let host = paused.host(0).await;
        let mut manifest = Manifest { calls: vec![KIND.to_owned()], ..Manifest::default() };
        manifest.limits.memory_bytes_max = 16 << 20;
        host.deploy(KIND, guest::MESSAGES_MAIL.wasm().unwrap(), manifest).await.unwrap();
        let mut expected = Vec::new();
        for (text, rest_ms) in [("one", 1_000), ("two", 600_000), ("three", 86_400_000)] {
            wait(rest_ms).await;
            call(&host, "a", "together", json!(["commit", "b", text])).await;
            wait(1_000).await;
            expected.push(format!("{text} a 1"));
            assert_eq!(call(&host, "b", "received", json!([])).await, json!(expected));
        }
        host.shutdown().await;
    });
}
