//! Each rule is switched off in turn, and the simulation must miss it.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and tells"
)]

use stockade_depot::broken::Variant;
use stockade_sim::run;

/// Seeds that are tried before a rule counts as not missed.
const SEEDS_MAX: u64 = 400;

/// The first seed whose run breaks a promise, and which.
fn caught(variant: Variant) -> Option<(u64, String)> {
    (1..=SEEDS_MAX).find_map(|seed| {
        let report = run(seed, Some(variant));
        if std::env::var_os("OFF").is_some() {
            println!("{}", report.failure().unwrap_or_else(|| format!("seed {seed} holds")));
        }
        report.broken.map(|what| (seed, what))
    })
}

/// `OFF=name,name` tries those alone, and tells their traces.
#[test]
fn every_rule_that_is_switched_off_is_missed() {
    let mut not_caught = Vec::new();
    let only = std::env::var("OFF").ok();
    for variant in Variant::ALL {
        let name = variant.name();
        if only.as_ref().is_some_and(|only| !only.split(',').any(|only| only == name)) {
            continue;
        }
        match caught(variant) {
            Some((seed, what)) => {
                println!("{name:<20} caught by simulation, seed {seed}: {what}");
                let sound = run(seed, None);
                assert!(sound.broken.is_none(), "{name}: {}", sound.failure().unwrap());
            }
            None => {
                println!("{name:<20} NOT CAUGHT");
                not_caught.push(name);
            }
        }
    }
    assert!(not_caught.is_empty(), "switched off and not missed: {not_caught:?}");
}
