//! When an alarm runs: once, periodically, or at the times of a cron expression in a time zone.
//!
//! ```text
//!  clocks set forward   fixed time of day: the first moment after the missing hour
//!                       `*` and steps: their times in that hour are left out
//!  clocks set back      fixed time of day: the first of both; `*` and steps: in both hours
//! ```
//! Invariant: the time zones are those of this build, not of the machine, so that every node of one
//! version computes the same times.

use std::sync::LazyLock;

use cronexpr::{Crontab, MakeTimestamp, parse_crontab};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone, TimeZoneDatabase};

use crate::limits::{
    ALARM_EVERY_MS_MIN, ALARM_TIME_MS_MAX, CRON_BYTES_MAX, CRON_MISSED_MAX, ZONE_BYTES_MAX,
};

static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// When an alarm runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// Once.
    Once,
    /// Again and again, so many milliseconds apart.
    Every(i64),
    /// At the times of a cron expression of five fields.
    Cron {
        /// The expression.
        expression: String,
        /// The name of its time zone.
        zone: String,
    },
}

/// Why a schedule cannot be: a sentence. It may name what the guest has written, shortened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Impossible(pub String);

/// A cron expression that was read.
struct Times {
    /// The times as a clock on a wall shows them, where each day has 24 hours.
    civil: Crontab,
    /// Whether it names fixed times of day: neither minutes nor hours have `*` or a step.
    fixed: bool,
    zone: TimeZone,
}

/// How far the clocks of a zone are set at most, in milliseconds, with room. 3 hours.
const SET_BY_MS: i64 = 3 * 3_600_000;
const DAY_MS: i64 = 24 * 3_600_000;

impl Schedule {
    /// A period.
    ///
    /// # Errors
    /// `Impossible` if it is too short or too long.
    pub fn every(period_ms: u64) -> Result<Self, Impossible> {
        if period_ms < ALARM_EVERY_MS_MIN {
            return Err(Impossible(format!(
                "a period of {period_ms} ms is shorter than {ALARM_EVERY_MS_MIN} ms"
            )));
        }
        time(period_ms).map(Self::Every)
    }

    /// A cron expression, which is guest-controlled, and its first time after now.
    ///
    /// # Errors
    /// `Impossible` names what is wrong with it, or that it has no time.
    pub fn cron(expression: &str, zone: &str, now_ms: i64) -> Result<(Self, i64), Impossible> {
        let first = Times::read(expression, zone)?.after(now_ms);
        let none = || Impossible(format!("cron expression {}: no such time", shown(expression)));
        let schedule = Self::Cron { expression: expression.to_owned(), zone: zone.to_owned() };
        Ok((schedule, first.ok_or_else(none)?))
    }

    /// The first time after the one that was due which is not over; `None`: there is none.
    #[must_use]
    pub fn next(&self, due_ms: i64, now_ms: i64) -> Option<i64> {
        let from = due_ms.max(now_ms);
        match self {
            Self::Once => None,
            Self::Every(period) => {
                let passed = from.saturating_sub(due_ms) / (*period).max(1);
                let next = due_ms.checked_add(period.checked_mul(passed.checked_add(1)?)?)?;
                (next <= ALARM_TIME_MS_MAX).then_some(next)
            }
            Self::Cron { expression, zone } => Times::read(expression, zone).ok()?.after(from),
        }
    }

    /// How many times after the one that was due have passed as well.
    #[must_use]
    pub fn missed(&self, due_ms: i64, now_ms: i64) -> u64 {
        match self {
            Self::Once => 0,
            Self::Every(period) => {
                let passed = now_ms.saturating_sub(due_ms) / (*period).max(1);
                u64::try_from(passed).unwrap_or_default()
            }
            Self::Cron { expression, zone } => {
                let Ok(times) = Times::read(expression, zone) else { return 0 };
                let mut at = due_ms;
                let mut missed = 0;
                while missed < CRON_MISSED_MAX
                    && let Some(next) = times.after(at)
                    && next <= now_ms
                {
                    (at, missed) = (next, missed + 1);
                }
                missed
            }
        }
    }
}

/// A time or a period that a guest gives, in milliseconds.
///
/// # Errors
/// `Impossible` if it is after the year 9999.
pub fn time(ms: u64) -> Result<i64, Impossible> {
    let time = i64::try_from(ms).ok().filter(|ms| *ms <= ALARM_TIME_MS_MAX);
    time.ok_or_else(|| Impossible(format!("{ms} ms is after the year 9999")))
}

impl Times {
    fn read(expression: &str, zone: &str) -> Result<Self, Impossible> {
        for (what, text, max) in
            [("cron expression", expression, CRON_BYTES_MAX), ("time zone", zone, ZONE_BYTES_MAX)]
        {
            if text.len() > max {
                let bytes = text.len();
                return Err(Impossible(format!(
                    "{what} of {bytes} bytes, over the limit of {max}"
                )));
            }
        }
        let wrong = |why: String| {
            let why: String = why.chars().take(200).collect();
            Impossible(format!("cron expression {}: {why}", shown(expression)))
        };
        let fields: Vec<&str> = expression.split_whitespace().collect();
        if fields.len() != 5 {
            return Err(wrong("it has five fields".to_owned()));
        }
        let civil = parse_crontab(&format!("{expression} UTC"));
        let civil = civil.map_err(|error| wrong(error.to_string()))?;
        let fixed = fields[..2].iter().all(|field| !field.contains(['*', '/']));
        let zone = ZONES.get(zone).map_err(|_| {
            Impossible(format!("{} is no name of the IANA time zone database", shown(zone)))
        })?;
        Ok(Self { civil, fixed, zone })
    }

    /// The first time after this one.
    fn after(&self, ms: i64) -> Option<i64> {
        let shown = self.shown(ms)?;
        let next = self.next_shown(shown)?;
        let steady = self.offset(ms.saturating_sub(DAY_MS))? == self.offset(ms)?;
        let found = match self.real(next)? {
            (AmbiguousOffset::Unambiguous { offset }, at)
                if steady && Some(offset) == self.offset(ms) =>
            {
                Some(at)
            }
            _ => self.after_a_change(ms, shown),
        };
        found.filter(|at| *at <= ALARM_TIME_MS_MAX)
    }

    /// The same, where the clocks may have been set between then and now: looks from before that on.
    fn after_a_change(&self, ms: i64, shown: i64) -> Option<i64> {
        let mut first: Option<i64> = None;
        let mut note = |at: i64| {
            if at > ms {
                first = Some(first.map_or(at, |first| first.min(at)));
            }
        };
        let mut at = shown.saturating_sub(if self.fixed { DAY_MS } else { SET_BY_MS });
        loop {
            at = self.next_shown(at)?;
            match self.real(at)? {
                (AmbiguousOffset::Unambiguous { .. }, real) => {
                    note(real);
                    if real > ms {
                        return first;
                    }
                }
                (AmbiguousOffset::Gap { .. }, real) if self.fixed => {
                    // The clocks were set just before.
                    let set = Timestamp::from_millisecond(real.checked_add(1)?).ok()?;
                    note(self.zone.preceding(set).next()?.timestamp().as_millisecond());
                }
                (AmbiguousOffset::Gap { .. }, _) => {}
                (AmbiguousOffset::Fold { after, .. }, earlier) => {
                    note(earlier);
                    if !self.fixed {
                        note(real(at, after)?);
                    }
                }
            }
        }
    }

    /// What a clock on a wall shows, as if it were one of UTC.
    fn shown(&self, ms: i64) -> Option<i64> {
        let zoned = Timestamp::from_millisecond(ms).ok()?.to_zoned(self.zone.clone());
        Some(Offset::UTC.to_timestamp(zoned.datetime()).ok()?.as_millisecond())
    }

    fn offset(&self, ms: i64) -> Option<Offset> {
        Some(self.zone.to_offset(Timestamp::from_millisecond(ms).ok()?))
    }

    /// The next time of the expression on a clock that is never set.
    fn next_shown(&self, shown: i64) -> Option<i64> {
        let from = MakeTimestamp::from_millisecond(shown).ok()?;
        Some(self.civil.find_next(from).ok()?.timestamp().as_millisecond())
    }

    /// When the clock on the wall shows that: by the offset before, where it does not do so once.
    fn real(&self, shown: i64) -> Option<(AmbiguousOffset, i64)> {
        let found = self.zone.to_ambiguous_timestamp(civil(shown)?).offset();
        let offset = match found {
            AmbiguousOffset::Unambiguous { offset } => offset,
            AmbiguousOffset::Gap { before, .. } | AmbiguousOffset::Fold { before, .. } => before,
        };
        Some((found, real(shown, offset)?))
    }
}

fn civil(shown: i64) -> Option<DateTime> {
    Some(Offset::UTC.to_datetime(Timestamp::from_millisecond(shown).ok()?))
}

fn real(shown: i64, offset: Offset) -> Option<i64> {
    Some(offset.to_timestamp(civil(shown)?).ok()?.as_millisecond())
}

/// A guest's text, short enough for an error.
fn shown(text: &str) -> String {
    format!("{:?}", text.chars().take(80).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(time: &str) -> i64 {
        time.parse::<Timestamp>().expect("a time").as_millisecond()
    }

    fn cron(expression: &str, zone: &str) -> Schedule {
        Schedule::cron(expression, zone, ms("2026-01-01T00:00:00Z")).expect("a schedule").0
    }

    /// The times of an expression after one.
    #[track_caller]
    fn check(expression: &str, zone: &str, from: &str, times: &[&str]) {
        let schedule = cron(expression, zone);
        let mut at = ms(from);
        for expected in times {
            at = schedule.next(at, at).expect("a next time");
            let found = Timestamp::from_millisecond(at).expect("a time").to_string();
            assert_eq!(found, *expected, "{expression} in {zone}");
        }
    }

    #[test]
    fn times_of_a_cron_expression() {
        check("*/15 * * * *", "UTC", "2026-05-01T10:07:00Z", &["2026-05-01T10:15:00Z"]);
        check("0 9 * * MON", "UTC", "2026-12-01T00:00:00Z", &["2026-12-07T09:00:00Z"]);
        check("0 9 * * *", "Asia/Tokyo", "2026-05-01T00:00:00Z", &["2026-05-02T00:00:00Z"]);
        check("0 0 29 2 *", "UTC", "2026-01-01T00:00:00Z", &["2028-02-29T00:00:00Z"]);
    }

    /// On 29 March 2026 the clocks of Berlin go from 2:00 to 3:00, which is 1:00 UTC.
    #[test]
    fn an_hour_that_is_skipped() {
        let to = ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"];
        check("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z", &to);
        let to = ["2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"];
        check("*/30 * * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", &to);
    }

    /// On 25 October 2026 the clocks of Berlin go from 3:00 to 2:00, which is 1:00 UTC.
    #[test]
    fn an_hour_that_is_doubled() {
        let to = ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"];
        check("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", &to);
        let to = ["2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z"];
        check("*/30 * * * *", "Europe/Berlin", "2026-10-25T00:00:00Z", &to);
    }

    #[test]
    fn what_was_missed_is_one_run() {
        let hourly = Schedule::every(3_600_000).expect("a period");
        let (due, now) = (ms("2026-05-01T10:00:00Z"), ms("2026-05-01T13:30:00Z"));
        for schedule in [hourly, cron("0 * * * *", "UTC")] {
            assert_eq!(schedule.missed(due, now), 3, "{schedule:?}");
            assert_eq!(schedule.next(due, now), Some(ms("2026-05-01T14:00:00Z")), "{schedule:?}");
            assert_eq!(schedule.missed(due, due), 0, "{schedule:?}");
        }
        let minutely = cron("* * * * *", "UTC");
        assert_eq!(minutely.missed(due, due + 86_400_000), CRON_MISSED_MAX);
        assert_eq!(Schedule::Once.next(due, now), None);
    }

    #[test]
    fn what_cannot_be_is_named() {
        for (expression, zone, named) in [
            ("* * * *", "UTC", "five fields"),
            ("0 * * * * *", "UTC", "five fields"),
            ("61 * * * *", "UTC", "61 * * * *"),
            ("@daily", "UTC", "five fields"),
            ("0 0 30 2 *", "UTC", "no such time"),
            ("0 0 * * *", "Mars/Olympus", "Mars/Olympus"),
            (&"1,".repeat(80), "UTC", "over the limit"),
        ] {
            let error = Schedule::cron(expression, zone, 0).expect_err("refused");
            assert!(error.0.contains(named), "{error}");
        }
        assert!(Schedule::every(999).is_err() && Schedule::every(u64::MAX).is_err());
        assert!(Schedule::every(1_000).is_ok());
    }
}
