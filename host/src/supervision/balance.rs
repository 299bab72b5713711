//! How many actors this process hands over to others: so many that it has its share, and a bounded
//! number in any minute.
//!
//! ```text
//!  share = all that are awake, in proportion to how many may be
//!                                  margin
//!  ├───────────────────────────┼───────────┤ more: hands over down to its share, coldest first
//!  0                         share
//! ```
//! Invariants:
//! - In any minute at most as many are handed over as the limit says.
//! - Reports of others are seconds old. So of this process, too, only what was awake at the last look
//!   counts: where all grow at the same time, none takes itself for the largest.
//! - What was handed over in the last minute counts as awake, since it may not be called yet: else
//!   each round would find a smaller share, and idle actors would be put to sleep for nothing.

use std::collections::VecDeque;
use std::time::Duration;

use stockade_depot::store::NodeLoad;
use tokio::time::Instant;

use crate::limits::{REBALANCE_ACTORS_MIN, REBALANCE_EVERY, REBALANCE_MARGIN_PERMILLE};

const MINUTE: Duration = Duration::from_secs(60);

/// The rule, with what was handed over in the last minute.
#[derive(Debug)]
pub struct Balance {
    per_min: u64,
    given: VecDeque<(Instant, u64)>,
    /// Awake at the last look.
    before: u64,
}

impl Balance {
    /// At most `per_min` actors in any minute.
    #[must_use]
    pub fn new(per_min: u64) -> Self {
        Self { per_min, given: VecDeque::new(), before: 0 }
    }

    /// How many actors to hand over now. `others`: the processes that would take them.
    pub fn due(&mut self, now: Instant, own: &NodeLoad, others: &[NodeLoad]) -> u64 {
        while self.given.front().is_some_and(|(at, _)| now - *at >= MINUTE) {
            self.given.pop_front();
        }
        let own_awake = own.awake.min(std::mem::replace(&mut self.before, own.awake));
        // One that does not say how many it may have has no share.
        let others = others.iter().filter(|load| load.awake_max > 0);
        let (awake, awake_max) = others.fold((own_awake, own.awake_max), |(awake, max), load| {
            (awake.saturating_add(load.awake), max.saturating_add(load.awake_max))
        });
        let given: u64 = self.given.iter().map(|(_, count)| count).sum();
        let all = u128::from(awake.saturating_add(given)) * u128::from(own.awake_max);
        let share = u64::try_from(all / u128::from(awake_max.max(1))).unwrap_or(u64::MAX);
        let margin = (share / 1000 * REBALANCE_MARGIN_PERMILLE
            + share % 1000 * REBALANCE_MARGIN_PERMILLE / 1000)
            .max(REBALANCE_ACTORS_MIN);
        if own_awake <= share.saturating_add(margin) {
            return 0;
        }
        // Spread over the minute.
        let rounds = MINUTE.as_secs() / REBALANCE_EVERY.as_secs().max(1);
        let at_once = self.per_min.div_ceil(rounds.max(1));
        (own_awake - share).min(at_once).min(self.per_min.saturating_sub(given))
    }

    /// Records how many were handed over.
    pub fn gave(&mut self, now: Instant, count: u64) {
        if count > 0 {
            self.given.push_back((now, count));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(awake: u64) -> NodeLoad {
        NodeLoad { awake, awake_max: 20_000, ..NodeLoad::default() }
    }

    /// The clock stands still unless the test moves it.
    #[test]
    fn one_that_joins_gets_actors_a_bounded_number_a_minute_until_shares_are_even() {
        let begun = Instant::now();
        let mut balance = Balance::new(600);
        let (mut own, mut joined, mut handed) = (6_000, 0, 0);
        let mut minutes = vec![0_u64; 10];
        assert_eq!(balance.due(begun, &load(own), &[load(joined)]), 0, "the first look");
        for round in 0..120_u64 {
            let now = begun + REBALANCE_EVERY * u32::try_from(round).expect("few");
            let due = balance.due(now, &load(own), &[load(joined)]);
            balance.gave(now, due);
            own -= due;
            handed += due;
            minutes[usize::try_from(round / 12).expect("few")] += due;
            // They are called there a minute later: until then they count as given.
            if round >= 12 {
                joined = handed - minutes[usize::try_from(round / 12).expect("few")];
            }
        }
        assert!(minutes.iter().all(|given| *given <= 600), "{minutes:?}");
        assert_eq!(minutes[0], 600, "{minutes:?}");
        assert!((2_000..=3_000 + 750 + 600).contains(&own), "{own} are left");
        assert_eq!(minutes.last(), Some(&0), "{minutes:?}");
    }

    /// However often it is asked, and however many are too many.
    #[test]
    fn a_minute_is_bounded_and_spread_over_its_rounds() {
        let begun = Instant::now();
        let mut balance = Balance::new(600);
        balance.due(begun, &load(9_000), &[load(0)]);
        let dues = (0..60).map(|second| {
            let now = begun + Duration::from_secs(second);
            let due = balance.due(now, &load(9_000), &[load(0)]);
            balance.gave(now, due);
            due
        });
        let dues: Vec<u64> = dues.collect();
        assert!(dues.iter().all(|due| *due <= 50), "{dues:?}");
        assert_eq!(dues.iter().sum::<u64>(), 600, "{dues:?}");
    }

    #[test]
    fn few_more_than_the_share_stay() {
        let now = Instant::now();
        let due = |own: u64, others: &[NodeLoad]| {
            let mut balance = Balance::new(600);
            balance.due(now, &load(own), others);
            balance.due(now, &load(own), others)
        };
        assert_eq!(due(20, &[load(0)]), 0, "few actors are worth no move");
        assert_eq!(due(60, &[load(0)]), 0);
        assert!(due(80, &[load(0)]) > 0);
        assert_eq!(due(1_200, &[load(1_000)]), 0, "within the margin");
        assert!(due(2_000, &[load(1_000)]) > 0);
        assert_eq!(due(5_000, &[]), 0, "there is no other one");
        assert_eq!(due(5_000, &[NodeLoad::default()]), 0, "nor one that says what it may have");
        assert_eq!(due(100, &[load(5_000)]), 0, "the other one has more");
        // In proportion to how many may be awake.
        let small = NodeLoad { awake: 0, awake_max: 20, ..NodeLoad::default() };
        assert_eq!(due(5_000, &[small]), 0, "its share is small");
    }

    #[test]
    fn actors_that_are_not_called_are_not_put_to_sleep_for_nothing() {
        let begun = Instant::now();
        let mut balance = Balance::new(10_000);
        let mut own = 1_000;
        balance.due(begun, &load(own), &[load(0)]);
        for round in 0..12_u32 {
            let now = begun + REBALANCE_EVERY * round;
            let due = balance.due(now, &load(own), &[load(0)]);
            balance.gave(now, due);
            own -= due;
        }
        assert_eq!(own, 500, "half of them, although the others have none awake");
    }

    /// The reports that this process has of the others are as old as its own last look.
    #[test]
    fn processes_that_grow_at_the_same_time_hand_nothing_over() {
        let begun = Instant::now();
        let mut balance = Balance::new(600);
        for round in 0..20_u32 {
            let own = u64::from(round) * 100;
            let reported = load(own.saturating_sub(100));
            let due = balance.due(begun + REBALANCE_EVERY * round, &load(own), &[reported; 3]);
            assert_eq!(due, 0, "{own} are awake");
        }
    }

    #[test]
    fn without_a_number_nothing_moves() {
        let mut balance = Balance::new(0);
        let due = |_| balance.due(Instant::now(), &load(9_000), &[load(0)]);
        assert_eq!([0, 1].map(due), [0, 0]);
    }
}
