//! Runs the cases of a fuzz test, and says how to repeat one that fails. The generators know the
//! formats; they are not guided by coverage.
//!
//! `SEED=n` repeats a case, `FUZZ_SECONDS=n` runs cases for so long (`make fuzz`). Without it a
//! fixed number of cases runs.

use std::time::{Duration, Instant};

use crate::random::Random;

/// Longest that one case may take: a machine may be busy, but a hang has no end.
const CASE_MAX: Duration = Duration::from_secs(60);

/// Runs cases, each from a seed of its own. `command` and `name` run the test again.
pub fn cases(command: &str, name: &str, count: u64, mut case: impl FnMut(&mut Random)) {
    let seconds = number("FUZZ_SECONDS");
    let seed = number("SEED");
    let begun = Instant::now();
    let mut number = seed.unwrap_or(1);
    let mut done = 0;
    loop {
        let more = match (seed, seconds) {
            (Some(_), _) => done < 1,
            (None, Some(seconds)) => begun.elapsed() < Duration::from_secs(seconds),
            (None, None) => done < count,
        };
        if !more {
            println!("{name}: {done} cases");
            return;
        }
        let told = Told(format!("SEED={number} {command} {name}"));
        let since = Instant::now();
        case(&mut Random::new(number));
        assert!(since.elapsed() < CASE_MAX, "{}: hangs", told.0);
        drop(told);
        number += 1;
        done += 1;
    }
}

/// As [`cases`], of a unit test. `name` is the test's path.
pub fn unit_cases(name: &str, count: u64, case: impl FnMut(&mut Random)) {
    cases("cargo test --lib", name, count, case);
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

/// Says how to repeat a case that panics.
struct Told(String);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("repeat it with: {}", self.0);
        }
    }
}
