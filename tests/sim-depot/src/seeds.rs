//! Runs seeds, as tests and `make simulate` ask for them.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use stockade_depot::broken::Variant;

use crate::journal::Report;

/// A simulation: a seed, and the rule that is switched off.
pub type Run<R = Variant> = fn(u64, Option<R>) -> Report;

/// A rule that can be switched off.
pub trait Rule: Copy + Send + 'static {
    /// Its name in tables.
    fn name(self) -> &'static str;
}

impl Rule for Variant {
    fn name(self) -> &'static str {
        Self::name(self)
    }
}

/// Failures after which no further seed is begun.
const FAILURES_MAX: usize = 3;

/// Runs the seeds that were asked for: `SEED=n` that one, with its log; `SEEDS=n` so many, from
/// `FROM` on; else the first `usual`.
///
/// # Panics
/// With every failure, if a promise is broken.
#[allow(clippy::print_stdout, reason = "whoever asks for one seed reads its log")]
pub fn check<R: Rule>(run: Run<R>, usual: u64) {
    if let Some(seed) = number("SEED") {
        let report = run(seed, None);
        println!("{}", report.log);
        assert!(report.broken.is_none(), "{}", report.failure().unwrap_or_default());
        return;
    }
    let from = number("FROM").unwrap_or(1);
    check_all(run, from..from + number("SEEDS").unwrap_or(usual));
}

/// Runs seeds on so many threads as there are cores.
fn check_all<R: Rule>(run: Run<R>, seeds: Range<u64>) {
    let next = AtomicU64::new(seeds.start);
    let failures = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= seeds.end || failures.lock().unwrap().len() > FAILURES_MAX {
                        return;
                    }
                    let failure = run(seed, None).failure();
                    failures.lock().unwrap().extend(failure);
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

/// The same seed writes the same log, and another one another.
///
/// # Panics
/// If it does not.
pub fn check_repeats<R: Rule>(run: Run<R>, seeds: &[u64]) {
    for seed in seeds {
        let (one, two) = (run(*seed, None), run(*seed, None));
        let differ = one.log.lines().zip(two.log.lines()).position(|(one, two)| one != two);
        let lines = differ.map(|at| (one.log.lines().nth(at), two.log.lines().nth(at)));
        assert!(one.log == two.log, "seed {seed} differs at line {differ:?}: {lines:?}");
        assert!(one.log != run(seed + 1000, None).log, "seed {seed} writes what another writes");
    }
}

/// A run in which nothing happens proves nothing: each of `wanted` is in some log.
///
/// # Panics
/// If one is not.
pub fn check_reaches<R: Rule>(run: Run<R>, seeds: Range<u64>, wanted: &[&str]) {
    let mut logs = String::new();
    for seed in seeds {
        logs.push_str(&run(seed, None).log);
    }
    let missing: Vec<_> = wanted.iter().filter(|what| !logs.contains(**what)).collect();
    assert!(missing.is_empty(), "never seen: {missing:?}");
}

/// Each rule is switched off in turn and must be missed within `seeds_max` seeds, by a seed that
/// holds with it. `OFF=name,name` tries those alone, and tells their traces.
///
/// # Panics
/// With the names of those that are not.
#[allow(clippy::print_stdout, reason = "tells what each rule was missed by")]
pub fn check_rules<R: Rule>(run: Run<R>, rules: &[R], seeds_max: u64) {
    let only = std::env::var("OFF").ok();
    let mut not_missed = Vec::new();
    for rule in rules {
        let name = rule.name();
        if only.as_ref().is_some_and(|only| !only.split(',').any(|only| only == name)) {
            continue;
        }
        let missed = (1..=seeds_max).find_map(|seed| {
            let report = run(seed, Some(*rule));
            if only.is_some() {
                println!("{}", report.failure().unwrap_or_else(|| format!("seed {seed} holds")));
            }
            report.broken.map(|what| (seed, what))
        });
        let Some((seed, what)) = missed else {
            println!("{name:<20} NOT CAUGHT");
            not_missed.push(name);
            continue;
        };
        println!("{name:<20} caught by simulation, seed {seed}: {what}");
        let sound = run(seed, None);
        assert!(sound.broken.is_none(), "{name}: {}", sound.failure().unwrap_or_default());
    }
    assert!(not_missed.is_empty(), "switched off and not missed: {not_missed:?}");
}
