//! What callers know of one counter, recorded outside of every server, and what must hold for it.
//!
//! Invariants of a counter that starts at `base` and to which each call adds 1:
//! - what was acknowledged is there, once: `base + acknowledged <= value`;
//! - nothing is there twice: `value <= base + acknowledged + unknown`;
//! - no value is acknowledged twice, and none that is not above each value that was acknowledged
//!   before its call began: both would be answers of an owner that had lost the actor.

use std::collections::HashSet;
use std::time::Instant;

use parking_lot::Mutex;

use crate::wire::{Called, Known};

/// The calls of one counter.
#[derive(Default)]
pub struct Tally(Mutex<Calls>);

#[derive(Default)]
struct Calls {
    base: u64,
    values: HashSet<u64>,
    highest: u64,
    unknown: u64,
    not_done: u64,
    silent: u64,
    /// When each acknowledged call began, and when its answer came.
    answered: Vec<(Instant, Instant)>,
    faults: Vec<String>,
}

/// How many calls of a counter ended in which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Acknowledged.
    pub acknowledged: u64,
    /// With an unknown outcome, those without any answer included.
    pub unknown: u64,
    /// Not done.
    pub not_done: u64,
    /// Without any answer.
    pub silent: u64,
}

impl Counts {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            acknowledged: self.acknowledged + other.acknowledged,
            unknown: self.unknown + other.unknown,
            not_done: self.not_done + other.not_done,
            silent: self.silent + other.silent,
        }
    }
}

impl Tally {
    /// Of a counter that has this value.
    #[must_use]
    pub fn from(base: u64) -> Self {
        Self(Mutex::new(Calls { base, highest: base, ..Calls::default() }))
    }

    /// A call begins. What it must exceed.
    #[must_use]
    pub fn begin(&self) -> u64 {
        self.0.lock().highest
    }

    /// A call that began with `before` has ended.
    pub fn end(&self, before: u64, called: &Called) {
        let mut calls = self.0.lock();
        match &called.known {
            Known::Done(value) => {
                let value = value.as_u64().unwrap_or(0);
                if value <= before {
                    calls.faults.push(format!("{value} was acknowledged after {before}"));
                }
                if !calls.values.insert(value) {
                    calls.faults.push(format!("{value} was acknowledged twice"));
                }
                calls.highest = calls.highest.max(value);
                let now = Instant::now();
                calls.answered.push((now.checked_sub(called.took).unwrap_or(now), now));
            }
            Known::NotDone(_) => calls.not_done += 1,
            Known::Unknown(_) => calls.unknown += 1,
            Known::Silent => {
                calls.silent += 1;
                calls.unknown += 1;
            }
            Known::Wrong(what) => calls.faults.push(what.clone()),
        }
    }

    /// When the first answer came of a call that began at `since` or later.
    #[must_use]
    pub fn first_after(&self, since: Instant) -> Option<Instant> {
        let calls = self.0.lock();
        calls.answered.iter().filter(|(began, _)| *began >= since).map(|(_, came)| *came).min()
    }

    /// How the calls ended.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.0.lock().counts()
    }

    /// What is wrong, if the counter has this value in the end.
    #[must_use]
    pub fn faults(&self, value: u64) -> Vec<String> {
        let calls = self.0.lock();
        let counts = calls.counts();
        let least = calls.base + counts.acknowledged;
        let most = least + counts.unknown;
        let mut faults = calls.faults.clone();
        if value < least || value < calls.highest {
            faults.push(format!("lost: it is {value}, at least {least} was acknowledged"));
        }
        if value > most {
            faults.push(format!("doubled: it is {value}, at most {most} was called for"));
        }
        faults
    }
}

impl Calls {
    fn counts(&self) -> Counts {
        let acknowledged = u64::try_from(self.values.len()).unwrap_or(u64::MAX);
        let Self { unknown, not_done, silent, .. } = *self;
        Counts { acknowledged, unknown, not_done, silent }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn called(known: Known) -> Called {
        Called { known, took: Duration::ZERO, kept: true, generation: None }
    }

    #[test]
    fn a_counter_is_judged_by_what_its_callers_know() {
        let tally = Tally::from(2);
        for known in [
            Known::Done(json!(3)),
            Known::NotDone("busy".to_owned()),
            Known::Unknown("lost".to_owned()),
            Known::Done(json!(5)),
        ] {
            tally.end(tally.begin(), &called(known));
        }
        assert_eq!(tally.faults(5), Vec::<String>::new());
        assert!(tally.faults(4)[0].contains("lost"), "an acknowledged value");
        assert!(tally.faults(6)[0].contains("doubled"), "more than was called for");
        tally.end(0, &called(Known::Done(json!(5))));
        assert!(tally.faults(5).iter().any(|fault| fault.contains("twice")));
        let stale = Tally::from(7);
        stale.end(stale.begin(), &called(Known::Done(json!(7))));
        assert!(stale.faults(8)[0].contains("after 7"));
    }
}
