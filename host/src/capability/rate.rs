//! Bounds how many bytes a second guests may log: each actor, and all of a host together.
//!
//! A bucket holds the bytes of one second and is refilled with time. A line that does not fit is
//! dropped and counted; the count is logged with the next line that fits, once a second at most.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Between two reports of the lines dropped.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// A bucket of bytes.
#[derive(Debug)]
pub struct Rate {
    bytes_per_s: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Bytes that may be written now.
    left: f64,
    filled: Instant,
    dropped: u64,
    told: Option<Instant>,
}

/// The fate of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The line is written.
    Written,
    /// The line is dropped. The number of lines dropped since the last report; `None`: a report was
    /// made a moment ago.
    Dropped(Option<u64>),
}

impl Rate {
    /// A full bucket.
    #[must_use]
    pub fn new(bytes_per_s: u64) -> Self {
        let state =
            State { left: second(bytes_per_s), filled: Instant::now(), dropped: 0, told: None };
        Self { bytes_per_s, state: Mutex::new(state) }
    }

    /// Takes the bytes of a line, if they are there.
    pub fn take(&self, bytes: usize) -> Fate {
        self.take_at(bytes, Instant::now())
    }

    fn take_at(&self, bytes: usize, now: Instant) -> Fate {
        let mut state = self.state.lock();
        let passed = now.saturating_duration_since(state.filled).as_secs_f64();
        let full = second(self.bytes_per_s);
        state.left = passed.mul_add(full, state.left).min(full);
        state.filled = now;
        #[allow(clippy::cast_precision_loss, reason = "lines are far below 2^52 bytes")]
        let bytes = bytes as f64;
        if bytes <= state.left {
            state.left -= bytes;
            return Fate::Written;
        }
        state.dropped += 1;
        let is_due = state.told.is_none_or(|told| now.duration_since(told) >= TOLD_EVERY);
        if !is_due {
            return Fate::Dropped(None);
        }
        state.told = Some(now);
        Fate::Dropped(Some(std::mem::take(&mut state.dropped)))
    }
}

#[allow(clippy::cast_precision_loss, reason = "rates are far below 2^52 bytes")]
fn second(bytes_per_s: u64) -> f64 {
    bytes_per_s as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_may_have_its_bytes_and_the_rest_is_counted_once_a_second() {
        let rate = Rate::new(1_000);
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        assert_eq!(rate.take_at(600, at(0)), Fate::Written);
        assert_eq!(rate.take_at(600, at(1)), Fate::Dropped(Some(1)));
        for ms in 2..100 {
            assert_eq!(rate.take_at(600, at(ms)), Fate::Dropped(None));
        }
        assert_eq!(rate.take_at(600, at(300)), Fate::Written, "filled as time goes by");
        assert_eq!(rate.take_at(2_000, at(1_400)), Fate::Dropped(Some(99)), "more than a second");
        let written = (0..10_000).filter(|n| rate.take_at(100, at(2_000 + n)) == Fate::Written);
        assert!((90..=120).contains(&written.count()));
    }
}
