//! Decides whose turn is next: kinds share in proportion to weights, then first come, first served.
//!
//! Each kind has a *virtual time*: the time that its actors have used, divided by its weight. The
//! waiting kind with the least virtual time is next. A kind that has not waited for a while begins
//! at the virtual time of the newest turn, so that no kind saves turns up. An actor waits once at a
//! time, so first come, first served is round robin among the actors of a kind.
//!
//! Invariants:
//! - R1: while a kind waits, it stands in `order` once, under its virtual time.
//! - R2: a turn is charged as a whole slice when it begins and corrected when it ends, so that turns
//!   that run at the same time are shared as well.
//! - R3: virtual time of the newest turn never goes back.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::limits::CPU_WEIGHT_MAX;

/// The intended time of a turn.
pub(super) const SLICE: Duration = Duration::from_millis(2);

/// The waiting actors, by kind.
pub(super) struct Rota<T> {
    kinds: HashMap<Arc<str>, Kind<T>>,
    /// Waiting kinds, by their virtual time.
    order: BTreeSet<(u64, Arc<str>)>,
    /// Virtual time of the newest turn.
    now: u64,
    /// Turns that have begun and not ended.
    running: usize,
    waiting: usize,
}

struct Kind<T> {
    virtual_time: u64,
    weight: u64,
    waiting: VecDeque<T>,
}

/// A turn that has begun, to be charged when it ends.
pub(super) struct Begun {
    kind: Arc<str>,
    charged: u64,
}

impl<T> Default for Rota<T> {
    fn default() -> Self {
        let (kinds, order) = Default::default();
        Self { kinds, order, now: 0, running: 0, waiting: 0 }
    }
}

impl<T> Rota<T> {
    /// Adds a waiting actor of `kind`.
    pub(super) fn push(&mut self, kind: &Arc<str>, weight: u64, who: T) {
        let now = self.now;
        let entry = self.kinds.entry(Arc::clone(kind)).or_insert_with(|| Kind {
            virtual_time: now,
            weight,
            waiting: VecDeque::new(),
        });
        entry.weight = weight.clamp(1, CPU_WEIGHT_MAX);
        if entry.waiting.is_empty() {
            entry.virtual_time = entry.virtual_time.max(now);
            self.order.insert((entry.virtual_time, Arc::clone(kind)));
        }
        entry.waiting.push_back(who);
        self.waiting += 1;
    }

    /// Begins the next turn. Returns its actor.
    pub(super) fn pop(&mut self) -> Option<(T, Begun)> {
        let (virtual_time, kind) = self.order.pop_first()?;
        let entry = self.kinds.get_mut(&kind).expect("BUG: R1");
        let who = entry.waiting.pop_front().expect("BUG: R1");
        self.now = self.now.max(virtual_time);
        let charged = cost(SLICE, entry.weight);
        entry.virtual_time = virtual_time.saturating_add(charged);
        if !entry.waiting.is_empty() {
            self.order.insert((entry.virtual_time, Arc::clone(&kind)));
        }
        self.running += 1;
        self.waiting -= 1;
        Some((who, Begun { kind, charged }))
    }

    /// Ends a turn that took so long.
    pub(super) fn ended(&mut self, turn: Begun, took: Duration) {
        self.running -= 1;
        let entry = self.kinds.get_mut(&turn.kind).expect("BUG: kinds stay while turns run");
        let before = entry.virtual_time;
        entry.virtual_time =
            before.saturating_add(cost(took, entry.weight)).saturating_sub(turn.charged);
        if self.order.remove(&(before, Arc::clone(&turn.kind))) {
            self.order.insert((entry.virtual_time, turn.kind));
        }
        if self.running == 0 && self.waiting == 0 {
            // No kind competes: the time used is forgotten.
            self.kinds.clear();
        }
    }

    /// Removes the first waiting actor for which `is_meant` holds.
    pub(super) fn remove(&mut self, kind: &Arc<str>, is_meant: impl Fn(&T) -> bool) -> Option<T> {
        let entry = self.kinds.get_mut(kind)?;
        let at = entry.waiting.iter().position(is_meant)?;
        let who = entry.waiting.remove(at);
        if entry.waiting.is_empty() {
            self.order.remove(&(entry.virtual_time, Arc::clone(kind)));
        }
        self.waiting -= 1;
        who
    }

    /// Number of turns that have begun and not ended.
    pub(super) fn running(&self) -> usize {
        self.running
    }

    /// Number of waiting actors.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }
}

/// Virtual time of so much time. Weights divide [`CPU_WEIGHT_MAX`] nanoseconds without a loss that
/// matters.
fn cost(took: Duration, weight: u64) -> u64 {
    let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
    nanos.saturating_mul(CPU_WEIGHT_MAX) / weight
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Actors that want turns without end: the actor of each of `turns`, with so many at the same
    /// time.
    fn served(
        actors: &[(&str, u64, u32)],
        at_once: usize,
        turns: usize,
        took: impl Fn(&str) -> Duration,
    ) -> Vec<(String, u32)> {
        let mut rota = Rota::default();
        for (kind, weight, count) in actors {
            for actor in 0..*count {
                rota.push(&Arc::from(*kind), *weight, (*kind, *weight, actor));
            }
        }
        let (mut running, mut served) = (VecDeque::new(), Vec::new());
        while served.len() < turns {
            while running.len() < at_once
                && let Some((who, begun)) = rota.pop()
            {
                served.push((who.0.to_owned(), who.2));
                running.push_back((who, begun));
            }
            let (who, begun) = running.pop_front().expect("somebody runs");
            rota.push(&Arc::from(who.0), who.1, who);
            rota.ended(begun, took(who.0));
        }
        served
    }

    fn of<'s>(served: &'s [(String, u32)], kind: &str) -> Vec<&'s (String, u32)> {
        served.iter().filter(|(of, _)| of == kind).collect()
    }

    #[test]
    fn kinds_share_alike_however_many_actors_they_have() {
        for at_once in [1, 3] {
            let served = served(&[("a", 1, 5), ("b", 1, 16)], at_once, 1_000, |_| SLICE);
            let share = of(&served, "a").len();
            assert!((490..=510).contains(&share), "{share} of 1000 with {at_once} at once");
        }
        let alone = served(&[("a", 1, 1), ("b", 1, 16)], 1, 1_000, |_| SLICE);
        assert_eq!(of(&alone, "a").len(), 500);
    }

    #[test]
    fn actors_of_a_kind_take_turns() {
        let served = served(&[("a", 1, 3), ("b", 1, 4)], 1, 24, |_| SLICE);
        let actors: Vec<u32> = of(&served, "b").iter().map(|(_, actor)| *actor).collect();
        assert_eq!(actors, [0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3]);
    }

    #[test]
    fn weights_are_proportions() {
        let served = served(&[("a", 3, 2), ("b", 1, 2)], 1, 400, |_| SLICE);
        let share = of(&served, "a").len();
        assert!((297..=303).contains(&share), "{share} of 400");
    }

    #[test]
    fn nobody_starves_beside_the_greatest_weight() {
        let served = served(&[("a", CPU_WEIGHT_MAX, 50), ("b", 1, 2)], 1, 1_000, |_| SLICE);
        assert!(of(&served, "b").len() >= 9, "{}", of(&served, "b").len());
    }

    #[test]
    fn time_is_shared_not_turns() {
        let took = |kind: &str| if kind == "a" { SLICE * 4 } else { SLICE };
        let served = served(&[("a", 1, 2), ("b", 1, 2)], 1, 500, took);
        let share = of(&served, "a").len();
        assert!((98..=102).contains(&share), "{share} of 500 turns, each of four slices");
    }

    /// The actors of so many turns. Each turn takes a slice, and its actor is back immediately.
    fn turns(rota: &mut Rota<&'static str>, count: usize) -> Vec<&'static str> {
        let turn = |_| {
            let (who, begun) = rota.pop().expect("somebody waits");
            rota.ended(begun, SLICE);
            rota.push(&Arc::from(who), 1, who);
            who
        };
        (0..count).map(turn).collect()
    }

    #[test]
    fn who_has_not_waited_has_saved_nothing_and_owes_what_it_used() {
        let mut rota = Rota::default();
        let [a, b]: [Arc<str>; 2] = ["a", "b"].map(Arc::from);
        let share = |turns: &[&str]| turns.iter().filter(|who| **who == "a").count();
        // An actor always runs or waits, so that nothing is forgotten.
        rota.push(&b, 1, "b");
        rota.push(&b, 1, "b");
        turns(&mut rota, 100);
        // `a` comes late: it has no hundred turns in hand. It may be one slice ahead, that of the
        // newest.
        rota.push(&a, 1, "a");
        let served = turns(&mut rota, 8);
        assert!((4..=5).contains(&share(&served)), "{served:?}");
        // Nor has it after it was away for a while.
        rota.remove(&a, |_| true).expect("it waits");
        turns(&mut rota, 100);
        rota.push(&a, 1, "a");
        let served = turns(&mut rota, 8);
        assert!((4..=5).contains(&share(&served)), "{served:?}");
    }

    #[test]
    fn turns_that_run_at_the_same_time_are_shared_as_well() {
        let served = served(&[("a", 1, 4), ("b", 1, 4)], 4, 4, |_| SLICE);
        assert_eq!(of(&served, "a").len(), 2);
    }

    #[test]
    fn time_that_was_used_while_no_other_kind_was_there_is_forgotten() {
        let mut rota = Rota::default();
        let [a, b]: [Arc<str>; 2] = ["a", "b"].map(Arc::from);
        rota.push(&a, 1, "a");
        let (_, begun) = rota.pop().expect("it waits");
        rota.ended(begun, SLICE * 100);
        rota.push(&b, 1, "b");
        rota.push(&a, 1, "a");
        let served = turns(&mut rota, 8);
        assert_eq!(served.iter().filter(|who| **who == "a").count(), 4);
    }

    #[test]
    fn who_is_taken_out_gets_no_turn() {
        let mut rota = Rota::default();
        let a: Arc<str> = Arc::from("a");
        rota.push(&a, 1, 1);
        rota.push(&a, 1, 2);
        assert_eq!(rota.remove(&a, |who| *who == 1), Some(1));
        assert_eq!(rota.remove(&a, |who| *who == 1), None);
        assert_eq!(rota.pop().map(|(who, _)| who), Some(2));
        assert!(rota.pop().is_none());
        assert_eq!(rota.waiting(), 0);
    }
}
