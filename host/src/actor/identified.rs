//! The id of a call, how its time lies to the present, and the question what became of the call.
//!
//! ```text
//!     ahead: refused │ <── a day ──> now <── a day ──> │ past: refused, unless recorded
//! ```
//! Invariant: a record is kept until its id is refused for its age.

use stockade_depot::ActorId;

use crate::calls::CallKey;
use crate::limits::CALL_RECORD_MS;
use crate::sqlite::{CallName, Question};

/// A call's id, and the digest of its arguments.
#[derive(Clone, Debug)]
pub struct Identified {
    /// The id, and its caller.
    pub key: CallKey,
    /// The digest.
    pub arguments: [u8; 32],
}

/// How the time of an id lies to the present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Age {
    /// More than a day ago: its record may be gone.
    Past,
    Present,
    /// More than a day ahead.
    Ahead,
}

/// An id without a time is always of the present.
pub(super) fn age(key: &CallKey, now: i64) -> Age {
    match key.first_ms() {
        Some(first) if first < now.saturating_sub(CALL_RECORD_MS) => Age::Past,
        Some(first) if first > now.saturating_add(CALL_RECORD_MS) => Age::Ahead,
        Some(_) | None => Age::Present,
    }
}

/// Whether the record of an id may be gone because the id is too old.
#[must_use]
pub fn is_expired(key: &CallKey, now: i64) -> bool {
    age(key, now) == Age::Past
}

/// The question of a caller about its call.
#[must_use]
pub fn question(actor: &ActorId, key: &CallKey, settle: bool, now: i64) -> Question {
    // What is too old is refused without a row, and what is too far ahead as well.
    let settles = settle && age(key, now) == Age::Present;
    Question { of: name(actor, key), settle_until: settles.then(|| kept_until(key, now)) }
}

/// How much longer a record is kept than its id is good for: the clock of another node may be behind.
/// 5 minutes, much more than clocks of nodes that keep time are apart.
const KEPT_LONGER_MS: i64 = 5 * 60 * 1_000;

/// A record outlives the time at which its id is refused for its age.
pub(super) fn kept_until(key: &CallKey, now: i64) -> i64 {
    let first = key.first_ms().map_or(now, |first| first.max(now));
    first.saturating_add(CALL_RECORD_MS).saturating_add(KEPT_LONGER_MS)
}

pub(super) fn name(actor: &ActorId, key: &CallKey) -> CallName {
    CallName {
        name: actor.to_string(),
        principal: key.principal().to_owned(),
        id: key.id().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = CALL_RECORD_MS;

    fn key(id: &str) -> CallKey {
        CallKey::new(id).expect("an id")
    }

    #[test]
    fn an_id_is_of_the_present_within_a_day() {
        let at = 1_764_561_101_000;
        let timed = key("1764561101000-x");
        for (now, expected) in [
            (at, Age::Present),
            (at + DAY, Age::Present),
            (at + DAY + 1, Age::Past),
            (at - DAY, Age::Present),
            (at - DAY - 1, Age::Ahead),
        ] {
            assert_eq!(age(&timed, now), expected, "{now}");
            assert_eq!(age(&key("x"), now), Age::Present);
        }
    }

    #[test]
    fn a_record_stays_until_its_id_is_refused_by_its_age() {
        let at = 1_764_561_101_000;
        for id in ["1764561101000-x", "x"] {
            for now in [at - DAY, at - 1, at, at + DAY] {
                let until = kept_until(&key(id), now);
                assert!(until >= now + DAY, "{id}");
                assert!(id == "x" || age(&key(id), until + 1) == Age::Past, "{id} {now}");
            }
        }
    }

    #[test]
    fn only_what_may_still_come_is_settled() {
        let actor = ActorId::new("account", "a").expect("a name");
        let settles = |id: &str, now| question(&actor, &key(id), true, now).settle_until.is_some();
        let at = 1_764_561_101_000;
        assert!(settles("1764561101000-x", at) && settles("x", at));
        assert!(!settles("1764561101000-x", at + DAY + 1));
        assert!(question(&actor, &key("x"), false, at).settle_until.is_none());
    }
}
