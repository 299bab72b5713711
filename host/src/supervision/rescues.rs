//! How fast actors are taken over from processes that have died: at most [`RESCUES_MAX`] at a time,
//! and [`RESCUES_PER_S`] in a second.
//!
//! ```text
//!  calls  ──> a place, in their order ──> their turn: one after the other, 1 s / RESCUES_PER_S apart
//!  sweeps ──> is there a place, and no call that waits? ── no ──> in the next round
//! ```
//! Invariants:
//! - A sweep waits for nothing, and makes a call wait for one turn at most.
//! - A call that is given up while it waits wastes one turn at most.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use stockade_depot::broken::{self, Variant};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep_until};

use crate::limits::{RESCUES_MAX, RESCUES_PER_S};

/// Bounds the takeovers from processes that have died.
pub struct Rescues {
    places: Semaphore,
    pace: Mutex<Pace>,
    /// Calls that wait for a place or for their turn.
    waiting: AtomicUsize,
}

/// Turns, one after the other.
#[derive(Debug)]
struct Pace {
    apart: Duration,
    /// The first moment that is no one's turn.
    free: Option<Instant>,
}

impl Pace {
    fn new(per_s: u32) -> Self {
        Self { apart: Duration::from_secs(1) / per_s.max(1), free: None }
    }

    /// The next turn of one that comes now.
    fn turn(&mut self, now: Instant) -> Instant {
        let turn = self.free.map_or(now, |free| free.max(now));
        self.free = Some(turn + self.apart);
        turn
    }

    /// A turn that begins now, if no other one does.
    fn turn_now(&mut self, now: Instant) -> bool {
        let is_free = self.free.is_none_or(|free| free <= now);
        if is_free {
            self.free = Some(now + self.apart);
        }
        is_free
    }
}

impl Default for Rescues {
    fn default() -> Self {
        Self {
            places: Semaphore::new(RESCUES_MAX),
            pace: Mutex::new(Pace::new(RESCUES_PER_S)),
            waiting: AtomicUsize::new(0),
        }
    }
}

/// Counts a call as long as it waits.
struct Waits<'a>(&'a AtomicUsize);

impl<'a> Waits<'a> {
    fn new(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::AcqRel);
        Self(waiting)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Rescues {
    /// A place for one takeover that a call waits for, in the order of the calls. Held until the
    /// takeover is done.
    pub async fn for_call(&self) -> Option<SemaphorePermit<'_>> {
        if broken::is_off(Variant::RescueRoom) {
            return None;
        }
        let _waits = Waits::new(&self.waiting);
        // The semaphore is never closed.
        let place = self.places.acquire().await.ok();
        let turn = self.pace.lock().turn(Instant::now());
        sleep_until(turn).await;
        place
    }

    /// A place for one takeover that no caller waits for. `None`: a call waits for a place or has the
    /// turn; the sweep leaves the actor to its next round.
    pub fn for_sweep(&self) -> Option<SemaphorePermit<'_>> {
        self.for_sweep_at(Instant::now())
    }

    fn for_sweep_at(&self, now: Instant) -> Option<SemaphorePermit<'_>> {
        if self.waiting.load(Ordering::Acquire) > 0 {
            return None;
        }
        let place = self.places.try_acquire().ok()?;
        self.pace.lock().turn_now(now).then_some(place)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    /// However many come at the same time, and however late some are: by a clock that stands still
    /// unless the test moves it.
    #[test]
    fn turns_are_apart_and_a_pause_saves_none_up() {
        let mut pace = Pace::new(100);
        let begun = Instant::now();
        let ms = |ms: u64| begun + Duration::from_millis(ms);
        let turns: Vec<Instant> = (0..5).map(|_| pace.turn(begun)).collect();
        assert_eq!(turns, [ms(0), ms(10), ms(20), ms(30), ms(40)]);
        assert_eq!(pace.turn(ms(45)), ms(50), "the one before has until then");
        assert_eq!(pace.turn(ms(500)), ms(500), "after a pause: immediately");
        assert_eq!(pace.turn(ms(500)), ms(510), "and not two at a time");
        // In a second as many as may.
        let mut pace = Pace::new(RESCUES_PER_S);
        let second = begun + Duration::from_secs(1);
        let begun_in_it = (0..3 * RESCUES_PER_S).filter(|_| pace.turn(begun) < second).count();
        assert_eq!(begun_in_it, usize::try_from(RESCUES_PER_S).expect("few"));
    }

    #[test]
    fn a_sweep_has_a_turn_only_if_nobody_else_has() {
        let mut pace = Pace::new(100);
        let begun = Instant::now();
        let ms = |ms: u64| begun + Duration::from_millis(ms);
        assert!(pace.turn_now(begun));
        assert!(!pace.turn_now(ms(9)), "its own turn lasts");
        assert_eq!(pace.turn(ms(9)), ms(10), "a call waits for the rest of it");
        assert_eq!(pace.turn(ms(9)), ms(20));
        assert!(!pace.turn_now(ms(29)) && pace.turn_now(ms(30)));
    }

    /// There are places, and the next turn is that of a call.
    #[tokio::test]
    async fn a_call_that_waits_for_its_turn_is_before_sweeps() {
        let rescues = Rescues::default();
        let now = Instant::now();
        for _ in 0..RESCUES_PER_S {
            rescues.pace.lock().turn(now);
        }
        let mut call = Box::pin(rescues.for_call());
        assert!(call.as_mut().now_or_never().is_none(), "its turn is a second away");
        let later = now + Duration::from_secs(60);
        assert!(rescues.for_sweep_at(later).is_none());
        drop(call);
        assert!(rescues.for_sweep_at(later).is_some());
    }

    #[tokio::test]
    async fn calls_come_before_sweeps() {
        let rescues = Rescues::default();
        let mut places = Vec::new();
        for _ in 0..RESCUES_MAX {
            places.push(rescues.for_call().await.expect("a place"));
        }
        let mut next = Box::pin(rescues.for_call());
        assert!(next.as_mut().now_or_never().is_none(), "there is no place");
        let later = || Instant::now() + Duration::from_secs(60);
        assert!(rescues.for_sweep_at(later()).is_none(), "nor one for a sweep");
        places.pop();
        assert!(rescues.for_sweep_at(later()).is_none(), "it is that of the call which waits");
        let place = next.await.expect("a place");
        places.pop();
        assert!(rescues.for_sweep_at(later()).is_some(), "no call waits");
        drop(place);
        // One that is given up while it waits leaves nothing behind.
        drop(places);
        let all = u32::try_from(RESCUES_MAX).expect("few");
        let _all = rescues.places.acquire_many(all).await;
        let mut waits = Box::pin(rescues.for_call());
        assert!(waits.as_mut().now_or_never().is_none());
        assert_eq!(rescues.waiting.load(Ordering::Acquire), 1);
        drop(waits);
        assert_eq!(rescues.waiting.load(Ordering::Acquire), 0);
    }
}
