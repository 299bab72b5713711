//! How a step is sent until the store has answered, or until its outcome is known: with growing
//! pauses, up to a deadline. The one place that sleeps, and that says which failures may pass.
//!
//! ```text
//! until_answered   send ─┬─ may pass ──────> pause, send again
//!                        └─ anything else ─> that is the answer
//! until_settled    send ─┬─ an answer ─────> the end that it means, or pause and send again
//!                        ├─ outcome open ──> look ─┬─ the end that it shows
//!                        │                         └─ nothing of the step: pause, send again
//!                        ├─ may pass ──────> pause, send again
//!                        └─ refused ───────> given up, as at the deadline
//! ```
//! Each pause is drawn between its half and its whole length: many callers that lose the same store
//! at the same time do not come back at the same time.

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::error::StoreError;
use crate::limits::{RETRY_PAUSE_MAX, RETRY_PAUSE_MIN};
use crate::random::Random;

/// An answer of the store that is on its way.
pub(crate) type Asking<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// A step that may have been applied although its answer is lost. What the store shows afterwards
/// tells.
pub(crate) trait Settle {
    /// What the store answers.
    type Answer;
    /// What the store shows of the outcome.
    type Seen;
    /// How the step ends.
    type End;
    /// What follows when the store does not show it.
    const UNSEEN: Unseen = Unseen::SendIfTransient;

    /// Comes before each send. An error gives the step up.
    fn prepare(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Sends the step.
    fn send(&mut self) -> Asking<'_, Self::Answer>;

    /// The end that an answer means. An error: nothing was done, and the step is sent again.
    fn answered(&mut self, answer: Self::Answer) -> Result<Self::End, StoreError>;

    /// Whether a failed send leaves the outcome open.
    fn is_open(&mut self, error: &StoreError, _sent_before: bool) -> bool {
        matches!(error, StoreError::Unknown(_))
    }

    /// Asks for the outcome.
    fn look(&self) -> Asking<'_, Self::Seen>;

    /// The end that the outcome shows; `None`: the step was not applied, and is sent again.
    fn seen(&mut self, seen: Self::Seen, error: &StoreError) -> Option<Self::End>;

    /// Whether the step may be sent once more.
    fn may_send_again(&self) -> bool {
        true
    }

    /// The end of a step that was refused, or whose time is over.
    fn given_up(&mut self, error: StoreError) -> Self::End;
}

/// What follows when the store does not show an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unseen {
    /// The step is sent again.
    Send,
    /// The step is sent again if the failure may pass, and given up otherwise.
    SendIfTransient,
    /// The store is asked again while the failure may pass; then the step is given up.
    Look,
}

/// Sends again until a deadline.
#[derive(Debug)]
pub(crate) struct Retry {
    deadline: Instant,
    /// The longest that the next pause may be.
    longest: Duration,
    /// The next pause, once drawn: a caller that was refused this pause gets no shorter one.
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

    /// Waits before the next attempt. `false` immediately if that would be past the deadline.
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
        match &answer {
            Err(StoreError::Unavailable(why)) => self.before = Some(why.clone()),
            Err(error @ StoreError::Elsewhere { .. }) => self.before = Some(error.to_string()),
            _ => {}
        }
        answer
    }

    /// Sends until the store answers something that does not pass.
    pub(crate) async fn until_answered<T, F>(&mut self, send: impl FnMut() -> F) -> F::Output
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        self.until_answered_while(|| true, send).await
    }

    /// [`Retry::until_answered`], with no further send once `may` says no.
    pub(crate) async fn until_answered_while<T, F>(
        &mut self,
        may: impl Fn() -> bool,
        mut send: impl FnMut() -> F,
    ) -> F::Output
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        loop {
            match self.ask(send()).await {
                Err(error) if is_transient(&error) && may() && self.pause().await => {}
                answer => return answer,
            }
        }
    }

    /// Sends until the outcome is known, or the step is given up.
    pub(crate) async fn until_settled<S: Settle>(&mut self, step: &mut S) -> S::End {
        let mut sent_before = false;
        loop {
            if let Err(error) = step.prepare() {
                return step.given_up(error);
            }
            let mut error = match self.ask(step.send()).await {
                Ok(answer) => match step.answered(answer) {
                    Ok(end) => return end,
                    Err(error) => error,
                },
                Err(error) => error,
            };
            let refused = !is_transient(&error);
            if step.is_open(&error, sent_before) {
                match self.see(step).await {
                    Ok(seen) => match step.seen(seen, &error) {
                        Some(end) => return end,
                        // A limit or a closed store refuses the next send as well.
                        None if refused && !matches!(error, StoreError::Fenced(_)) => {
                            return step.given_up(error);
                        }
                        None => {}
                    },
                    Err(unseen) if S::UNSEEN != Unseen::Send && !is_transient(&unseen) => {
                        return step.given_up(unseen);
                    }
                    Err(unseen) => error = unseen,
                }
            } else if refused {
                return step.given_up(error);
            }
            sent_before = true;
            if !step.may_send_again() || !self.pause().await {
                return step.given_up(error);
            }
        }
    }

    async fn see<S: Settle>(&mut self, step: &S) -> Result<S::Seen, StoreError> {
        match S::UNSEEN {
            Unseen::Send | Unseen::SendIfTransient => self.ask(step.look()).await,
            Unseen::Look => self.until_answered(|| step.look()).await,
        }
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

/// Whether a question that changes nothing may be asked again. A server that this process does not know
/// is known only after a restart: the caller gets its name now, and not after the deadline.
pub(crate) fn is_transient(error: &StoreError) -> bool {
    match error {
        StoreError::Unavailable(_)
        | StoreError::Unknown(_)
        | StoreError::Elsewhere { primary: None, .. } => true,
        StoreError::Elsewhere { primary: Some(_), .. }
        | StoreError::Fenced(_)
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

    use parking_lot::Mutex;

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

    fn away() -> StoreError {
        StoreError::Unavailable("away".into())
    }

    #[tokio::test]
    async fn a_step_is_sent_until_the_answer_does_not_pass() {
        let mut answers = vec![Err(StoreError::Closed), Err(away()), Err(away())];
        let mut retry = Retry::new(Duration::from_secs(5), &Random::system());
        let answer: Result<(), _> =
            retry.until_answered(|| std::future::ready(answers.pop().unwrap())).await;
        assert_eq!(answer, Err(StoreError::Closed));
        let mut sent = 0;
        let answer = retry.until_answered_while(
            || false,
            || {
                sent += 1;
                std::future::ready(Err::<(), _>(away()))
            },
        );
        assert_eq!((answer.await, sent), (Err(away()), 1));
    }

    type Said = Result<&'static str, StoreError>;

    /// A step that says what was done with it.
    struct Told {
        sends: Vec<Said>,
        looks: Mutex<Vec<Result<bool, StoreError>>>,
        log: Mutex<Vec<&'static str>>,
    }

    impl Settle for Told {
        type Answer = &'static str;
        type Seen = bool;
        type End = Said;

        fn send(&mut self) -> Asking<'_, &'static str> {
            self.log.lock().push("send");
            let said = self.sends.pop().unwrap();
            Box::pin(std::future::ready(said))
        }

        fn answered(&mut self, answer: &'static str) -> Result<Said, StoreError> {
            Ok(Ok(answer))
        }

        fn look(&self) -> Asking<'_, bool> {
            self.log.lock().push("look");
            let seen = self.looks.lock().pop().unwrap();
            Box::pin(std::future::ready(seen))
        }

        fn seen(&mut self, seen: bool, _: &StoreError) -> Option<Said> {
            seen.then_some(Ok("seen"))
        }

        fn given_up(&mut self, error: StoreError) -> Said {
            Err(error)
        }
    }

    async fn check_settled(
        mut sends: Vec<Said>,
        mut looks: Vec<Result<bool, StoreError>>,
        end: Said,
        log: &[&str],
    ) {
        sends.reverse();
        looks.reverse();
        let mut step = Told { sends, looks: looks.into(), log: Mutex::default() };
        let mut retry = Retry::new(Duration::from_secs(5), &Random::system());
        assert_eq!(retry.until_settled(&mut step).await, end);
        assert_eq!(*step.log.lock(), log);
    }

    #[tokio::test]
    async fn a_step_is_sent_until_its_outcome_is_known() {
        let lost = || Err(StoreError::Unknown("lost".into()));
        check_settled(vec![Err(away()), Ok("done")], vec![], Ok("done"), &["send", "send"]).await;
        check_settled(vec![lost()], vec![Ok(true)], Ok("seen"), &["send", "look"]).await;
        let again = ["send", "look", "send"];
        check_settled(vec![lost(), Ok("done")], vec![Ok(false)], Ok("done"), &again).await;
        check_settled(vec![lost(), Ok("done")], vec![Err(away())], Ok("done"), &again).await;
        let closed = || Err(StoreError::Closed);
        check_settled(vec![closed()], vec![], closed(), &["send"]).await;
        let looked = vec![Err(StoreError::Closed)];
        check_settled(vec![lost()], looked, closed(), &["send", "look"]).await;
    }
}
