//! Crash policy: how soon an actor that crashed is started again, and when calls are refused.
//!
//! A crash is an end by trap or budget, `restore` and `start` included. Crashes are counted *in a
//! row*: the row ends with an orderly end, a reset, a new component, or one call since the last
//! start that was answered well and whose answer was delivered.
//!
//! ```text
//!  crash 1              the next call starts it immediately
//!  crash 2 .. max - 1   calls wait: backoff, doubled by each crash
//!  crash max ..         the breaker is open: calls are `actor.crash-looping` until the
//!                       backoff is over; then one call is let through as a trial (half-open)
//! ```
//! One answered call proves a generation, so that a bad input that one caller sends cannot count
//! against the others for longer than the longest backoff. Only one trial runs at a time, because
//! an actor has one slot, and a slot runs one call at a time.
//!
//! The count is durable and has one writer, the takeover: the takeover gets the end of the
//! generation that it replaces. What no takeover has written yet is kept here, with the time of the
//! crash. When the breaker opens, the count is written immediately, by a takeover of its own, so
//! that a restart of the host finds the breaker open. The backoff of a crash that this process did
//! not see begins with the process: clocks of two processes are not compared.

use std::time::Duration;

use parking_lot::Mutex;
use stockade_depot::store::{ActorState, PreviousEnd};
use stockade_depot::{ActorId, DbId, Digest, Fence, Generation};
use tokio::time::Instant;

use super::recent::Recent;
use crate::limits::Limits;

/// Actors whose last crash is remembered. 10,000: about 2 MiB; a forgotten actor loses its backoff,
/// and its last crash if that was not written yet.
const ACTORS_MAX: usize = 10_000;

/// The last crash of each actor, as this process saw it.
pub struct Crashes {
    /// Stands for the time of a crash that this process did not see.
    begun: Instant,
    last: Mutex<Recent<Crash>>,
}

/// A crash that this process saw.
#[derive(Clone, Copy, Debug)]
struct Crash {
    db: DbId,
    generation: Generation,
    at: Instant,
    /// What the next takeover has to count for the crash.
    end: PreviousEnd,
}

/// The crash state of an actor: what the next start must wait for, and count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Crashes in a row, the last one included.
    pub crashes: u32,
    /// What a takeover now has to count.
    pub end: PreviousEnd,
    /// When the actor may start; `None`: at any time.
    pub not_before: Option<Instant>,
    /// Whether calls are refused until then, instead of waiting.
    pub open: bool,
}

impl Standing {
    /// No crash stands against the actor.
    const CLEAN: Self =
        Self { crashes: 0, end: PreviousEnd::Orderly, not_before: None, open: false };

    /// How long the next start still has to wait.
    #[must_use]
    pub fn wait(&self, now: Instant) -> Option<Duration> {
        let wait = self.not_before?.saturating_duration_since(now);
        (!wait.is_zero()).then_some(wait)
    }
}

impl Default for Crashes {
    fn default() -> Self {
        Self { begun: Instant::now(), last: Mutex::new(Recent::new(ACTORS_MAX)) }
    }
}

impl Crashes {
    /// Notes the crash of a generation. `proven`: the generation had answered a call well.
    pub fn note(&self, actor: &ActorId, db: DbId, generation: Generation, proven: bool) {
        let end = if proven { PreviousEnd::FirstCrash } else { PreviousEnd::Crashed };
        self.last.lock().put(actor, Crash { db, generation, at: Instant::now(), end });
    }

    /// A takeover by this process that ran no generation has counted the last crash.
    pub fn counted(&self, actor: &ActorId, fence: &Fence) {
        if let Some(crash) = self.last.lock().get_mut(actor) {
            crash.generation = fence.generation;
            crash.end = PreviousEnd::Neutral;
        }
    }

    /// Forgets the crashes of an actor.
    pub fn forget(&self, actor: &ActorId) {
        self.last.lock().forget(actor);
    }

    /// Whether a crash of the actor was seen here.
    #[must_use]
    pub fn has(&self, actor: &ActorId) -> bool {
        self.last.lock().get(actor).is_some()
    }

    /// The crash state of an actor. `ended`: its last generation ended in order. `component`: what
    /// its next generation runs.
    #[must_use]
    pub fn standing(
        &self,
        state: &ActorState,
        ended: bool,
        component: Digest,
        limits: &Limits,
    ) -> Standing {
        let head = &state.head;
        if ended || state.row.component != component {
            return Standing::CLEAN;
        }
        let seen = self.last.lock().get(&state.row.actor).copied();
        let seen = seen
            .filter(|seen| (seen.db, seen.generation) == (head.fence.db, head.fence.generation));
        // A generation that this process did not see end counts for nothing: its process died, or
        // it was replaced.
        let end = seen.map_or(PreviousEnd::Neutral, |seen| seen.end);
        let crashes = match end {
            PreviousEnd::Orderly => 0,
            PreviousEnd::FirstCrash => 1,
            PreviousEnd::Crashed => state.row.restarts.saturating_add(1),
            PreviousEnd::Neutral => state.row.restarts,
        };
        let open = u64::from(crashes) >= limits.crashes_max.max(1);
        let not_before = if open || seen.is_some() {
            let at = seen.map_or(self.begun, |seen| seen.at);
            at.checked_add(backoff(crashes, limits))
        } else {
            None
        };
        Standing { crashes, end, not_before, open }
    }
}

/// The wait between the last of `crashes` in a row and the next start.
fn backoff(crashes: u32, limits: &Limits) -> Duration {
    let Some(doublings) = crashes.checked_sub(2) else { return Duration::ZERO };
    let factor = 1_u64.checked_shl(doublings).unwrap_or(u64::MAX);
    let ms = limits.crash_backoff_ms.saturating_mul(factor).min(limits.crash_backoff_ms_max);
    Duration::from_millis(ms)
}

#[cfg(test)]
mod tests {
    use stockade_depot::chain::Start;
    use stockade_depot::store::{ActorRow, Wanted};
    use stockade_depot::{Head, NameHash, NodeSession, Origin, PageCount, Token, Txid};

    use super::*;

    const COMPONENT: Digest = Digest([1; 32]);

    fn actor() -> ActorId {
        ActorId::new("kind", "key").expect("a name")
    }

    fn state(restarts: u32, generation: u64, sealed: bool) -> ActorState {
        let db = DbId([7; 16]);
        ActorState {
            row: ActorRow {
                actor: actor(),
                db,
                component: COMPONENT,
                wanted: Wanted::Present,
                restarts,
            },
            head: Head {
                fence: Fence { db, generation: Generation(generation), token: Token([2; 16]) },
                owner: NodeSession([3; 16]),
                txid: Txid(1),
                page_count: PageCount(1),
                chain: [0; 32],
                sealed,
                origin: Origin::Native,
                floor: Txid(0),
                base: None,
                name: NameHash([0; 16]),
                start: Start::Name,
                due_work: false,
            },
            handed_over: None,
        }
    }

    fn standing(crashes: &Crashes, state: &ActorState) -> Standing {
        crashes.standing(state, state.head.sealed, COMPONENT, &Limits::default())
    }

    #[test]
    fn the_backoff_doubles_up_to_its_bound() {
        let limits = Limits::default();
        let ms: Vec<u128> = (0..9).map(|n| backoff(n, &limits).as_millis()).collect();
        assert_eq!(ms, [0, 0, 250, 500, 1_000, 2_000, 4_000, 8_000, 16_000]);
        for many in [20, 70, u32::MAX] {
            assert_eq!(backoff(many, &limits).as_millis(), 60_000, "{many}");
        }
    }

    #[test]
    fn a_crash_counts_for_the_generation_it_ended_and_no_other() {
        let crashes = Crashes::default();
        let state = state(2, 5, false);
        assert_eq!(standing(&crashes, &state).end, PreviousEnd::Neutral, "nothing was seen");
        assert_eq!(standing(&crashes, &state).wait(Instant::now()), None);
        for (generation, end, count) in [(4, PreviousEnd::Neutral, 2), (5, PreviousEnd::Crashed, 3)]
        {
            crashes.note(&actor(), state.head.fence.db, Generation(generation), false);
            let standing = standing(&crashes, &state);
            assert_eq!((standing.end, standing.crashes), (end, count), "{generation}");
        }
        assert!(standing(&crashes, &state).wait(Instant::now()).is_some());
        crashes.note(&actor(), state.head.fence.db, Generation(5), true);
        let proven = standing(&crashes, &state);
        assert_eq!((proven.end, proven.crashes, proven.open), (PreviousEnd::FirstCrash, 1, false));
        assert_eq!(proven.wait(Instant::now()), None, "a first crash costs no wait");
    }

    #[test]
    fn the_breaker_opens_at_the_limit_and_stays_open_for_a_new_process() {
        let crashes = Crashes::default();
        let below = state(3, 5, false);
        crashes.note(&actor(), below.head.fence.db, Generation(5), false);
        assert!(!standing(&crashes, &below).open);
        let at = state(4, 5, false);
        assert!(standing(&crashes, &at).open);
        let counted = state(5, 6, false);
        crashes.counted(&actor(), &counted.head.fence);
        let after = standing(&crashes, &counted);
        assert_eq!((after.crashes, after.end, after.open), (5, PreviousEnd::Neutral, true));
        let elsewhere = Crashes::default();
        let fresh = standing(&elsewhere, &counted);
        assert!(fresh.open && fresh.wait(Instant::now()).is_some());
    }

    #[test]
    fn an_orderly_end_and_a_new_component_clear_it() {
        let crashes = Crashes::default();
        assert_eq!(standing(&crashes, &state(9, 5, true)), Standing::CLEAN);
        let other =
            crashes.standing(&state(9, 5, false), false, Digest([8; 32]), &Limits::default());
        assert_eq!(other, Standing::CLEAN);
    }
}
