//! How a step is sent again: growing pauses, up to a deadline. The one place that sleeps.
//!
//! Each pause is drawn between its half and its whole length: many who lose the same store at the
//! same time do not come back at the same time.

use std::time::Duration;

use tokio::time::Instant;

use crate::error::StoreError;
use crate::limits::{RETRY_PAUSE_MAX, RETRY_PAUSE_MIN};
use crate::random::Random;

/// Sends again until a deadline.
#[derive(Debug)]
pub(crate) struct Retry {
    deadline: Instant,
    /// The longest that the next pause may be.
    longest: Duration,
    /// The next pause, once drawn: who was refused it is not given a shorter one.
    drawn: Option<Duration>,
    /// Why the store was unavailable when it was asked last.
    before: Option<String>,
    random: Random,
}

impl Retry {
    /// Tries for `limit` from now on, with pauses drawn from `random`.
    pub(crate) fn new(limit: Duration, random: &Random) -> Self {
        let deadline = Instant::now() + limit;
        Self {
            deadline,
            longest: RETRY_PAUSE_MIN,
            drawn: None,
            before: None,
            random: random.clone(),
        }
    }

    /// Waits before the next attempt. `false` at once if that would be past the deadline.
    pub(crate) async fn pause(&mut self) -> bool {
        let pause = self.drawn.unwrap_or_else(|| self.random.part_of(self.longest));
        self.drawn = Some(pause);
        if Instant::now() + pause >= self.deadline {
            return false;
        }
        tokio::time::sleep(pause).await;
        (self.longest, self.drawn) = ((self.longest * 2).min(RETRY_PAUSE_MAX), None);
        true
    }

    /// One answer of the store, or `Unknown` at the deadline: the step was sent, so it may have
    /// been applied.
    pub(crate) async fn ask<T>(
        &mut self,
        step: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let answer = tokio::time::timeout_at(self.deadline, step).await;
        let answer = answer.unwrap_or_else(|_| Err(StoreError::Unknown(self.silence())));
        if let Err(StoreError::Unavailable(why)) = &answer {
            self.before = Some(why.clone());
        }
        answer
    }

    fn silence(&self) -> String {
        let silence = "no answer before the deadline";
        match &self.before {
            None => silence.to_owned(),
            Some(before) => format!("{silence}; the answer before was: {before}"),
        }
    }
}

/// A pause between two steps of background work.
pub(crate) async fn pause(length: Duration) {
    tokio::time::sleep(length).await;
}

/// Whether a question that changes nothing may be asked again.
pub(crate) fn is_transient(error: &StoreError) -> bool {
    match error {
        StoreError::Unavailable(_) | StoreError::Unknown(_) => true,
        StoreError::Fenced(_)
        | StoreError::DatabaseMissing(_)
        | StoreError::Refused { .. }
        | StoreError::Corrupt(_)
        | StoreError::HistoryGone { .. }
        | StoreError::NoCommit { .. }
        | StoreError::HasForks(_)
        | StoreError::Full(_)
        | StoreError::Failed(_)
        | StoreError::Closed => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::*;

    /// A source whose draws are the same byte four times, from 0 on in steps of 51.
    fn stepping() -> Random {
        let next = AtomicU8::new(0);
        Random::new(move |bytes| bytes.fill(next.fetch_add(51, Ordering::Relaxed)))
    }

    #[test]
    fn a_pause_is_drawn_between_its_half_and_its_whole() {
        let (whole, random) = (Duration::from_millis(100), stepping());
        let drawn: Vec<_> = (0..6).map(|_| random.part_of(whole).as_millis()).collect();
        assert_eq!(drawn, [50, 60, 70, 80, 90, 100]);
        let system = Random::system();
        let drawn: Vec<_> = (0..64).map(|_| system.part_of(whole)).collect();
        assert!(drawn.iter().all(|pause| (whole / 2..=whole).contains(pause)), "{drawn:?}");
        assert!(drawn.iter().any(|pause| *pause != drawn[0]), "not drawn at all: {drawn:?}");
    }

    #[tokio::test]
    async fn pauses_are_drawn_and_end_before_the_deadline() {
        let draws = std::sync::Arc::new(AtomicU8::new(0));
        let counted = std::sync::Arc::clone(&draws);
        let random = Random::new(move |bytes| {
            counted.fetch_add(1, Ordering::Relaxed);
            bytes.fill(0);
        });
        let limit = Duration::from_millis(40);
        let (begun, mut retry) = (Instant::now(), Retry::new(limit, &random));
        let mut pauses = 0;
        while retry.pause().await {
            pauses += 1;
        }
        // 1, 2, 4, 8, 16 ms; the next one would go past the deadline. A slow machine has fewer.
        assert!((1..=5).contains(&pauses), "{pauses}");
        assert_eq!(draws.load(Ordering::Relaxed), pauses + 1, "each pause is drawn");
        assert!(begun.elapsed() >= Duration::from_millis(1));
    }

    /// A step that was given up is not sent again because a shorter pause came up.
    #[tokio::test]
    async fn who_was_refused_a_pause_is_refused_for_good() {
        let whole_first = AtomicU8::new(u8::MAX);
        let random = Random::new(move |bytes| bytes.fill(whole_first.swap(0, Ordering::Relaxed)));
        let mut retry = Retry::new(RETRY_PAUSE_MIN, &random);
        assert!(!retry.pause().await, "2 ms of 2 ms");
        assert!(!retry.pause().await, "the half was not offered");
    }
}
