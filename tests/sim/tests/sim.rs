//! Fixed seeds, more seeds, one seed, and the same seed twice.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and tells"
)]

use stockade_sim::run;

/// Seeds of `make test`.
const SEEDS: u64 = 200;

/// Runs seeds on so many threads as there are cores; fails with the first failure of each.
fn check(seeds: std::ops::Range<u64>) {
    let next = std::sync::atomic::AtomicU64::new(seeds.start);
    let failures = std::sync::Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    if seed >= seeds.end || failures.lock().unwrap().len() > 3 {
                        return;
                    }
                    failures.lock().unwrap().extend(run(seed, None).failure());
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number"))
}

/// `SEED=n` runs that one and prints its log; `SEEDS=n` runs so many, from `FROM` on.
#[test]
fn every_promise_holds_for_every_seed() {
    if let Some(seed) = number("SEED") {
        let report = run(seed, None);
        println!("{}", report.log);
        assert!(report.broken.is_none(), "{}", report.failure().unwrap());
        return;
    }
    let from = number("FROM").unwrap_or(1);
    check(from..from + number("SEEDS").unwrap_or(SEEDS));
}

#[test]
fn the_same_seed_writes_the_same_log() {
    for seed in [1, 7, 42] {
        let (one, two) = (run(seed, None), run(seed, None));
        let differ = one.log.lines().zip(two.log.lines()).position(|(one, two)| one != two);
        assert!(one.log == two.log, "seed {seed} differs at line {differ:?}");
        assert!(one.log != run(seed + 1000, None).log, "seed {seed} writes what another writes");
    }
}

/// A run in which nothing happens proves nothing.
#[test]
fn the_seeds_reach_what_they_are_for() {
    let wanted = [
        "acknowledges",
        "answers version",
        "is sealed",
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
    ];
    let mut logs = String::new();
    for seed in 1..=40 {
        logs.push_str(&run(seed, None).log);
    }
    let missing: Vec<_> = wanted.iter().filter(|what| !logs.contains(**what)).collect();
    assert!(missing.is_empty(), "never seen: {missing:?}");
}
