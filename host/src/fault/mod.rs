//! Faults on purpose: an operator or a test makes something go wrong for one actor, to see how its
//! code and its callers react.
//!
//! Only a host that was started with faults allowed has any of this: without it the store is not
//! wrapped and nothing can be armed.
//!
//! ```text
//! crash        the live generation's instance dies, as by a trap           after-durable
//! fence        another owner takes the database over                       before-durable
//! lost-reply   the next commits are applied and their answers lost         ambiguous
//! slow-store   steps of the store take longer                              read-only
//! store-full   commits are refused: no room                                before-durable
//! freeze       the store does not answer                                   before-durable
//! ```
//! `crash` and `fence` happen immediately, to the generation that is awake. The others are armed in
//! the store's wrapper for steps of the actor's database, of this generation or the next, until
//! they are used up, over, or cleared.

mod armed;
mod store;

use serde::{Deserialize, Serialize};

use crate::limits::{FAULT_COUNT_MAX, FAULT_DELAY_MS_MAX, FAULT_FOR_MS_MAX};

pub use armed::Faults;
pub use store::FaultingStore;

/// A fault that is made to happen to one actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Fault {
    /// The live generation's instance dies, as by a trap. A call in progress is `actor.trapped`;
    /// commits run to their verdict, in-memory state is lost, the next call starts a generation.
    Crash,
    /// Another owner takes the database over. The live generation finds out at its next commit or
    /// confirmation and ends fatally: `depot.head-fence-mismatch`, also for calls that have queued
    /// up by then. The next generation recovers.
    Fence,
    /// Commits are applied and their answers lost. Callers get a success, a little later: the
    /// commit row proves it.
    LostReply {
        /// Number of commits. At most 100.
        #[serde(default = "once")]
        count: u32,
    },
    /// Steps of the store wait before they are sent. Calls take longer; nothing else changes as
    /// long as they keep their deadlines.
    SlowStore {
        /// How long each step waits, in milliseconds. At most 5,000.
        #[serde(default = "delay_ms")]
        delay_ms: u64,
        /// Number of steps; `None`: all of them while the fault lasts.
        #[serde(default)]
        count: Option<u32>,
        /// How long the fault lasts, in milliseconds. At most 600,000.
        #[serde(default = "for_ms")]
        for_ms: u64,
    },
    /// Commits are refused, as by a full disk. The guest's commits are lost, so its generation
    /// ends: `depot.full`. Reads continue.
    StoreFull {
        /// How long the fault lasts, in milliseconds. At most 600,000.
        #[serde(default = "for_ms")]
        for_ms: u64,
    },
    /// The store does not answer: reads, commits, confirmations and takeovers wait until the fault
    /// is over. Past the host's deadlines calls fail, and a commit that was on its way is
    /// indeterminate.
    Freeze {
        /// How long the fault lasts, in milliseconds. At most 600,000.
        #[serde(default = "for_ms")]
        for_ms: u64,
    },
}

fn once() -> u32 {
    1
}

fn delay_ms() -> u64 {
    200
}

fn for_ms() -> u64 {
    10_000
}

/// Where a fault strikes, relative to the commit that it affects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultClass {
    /// Before anything was applied: the commit is not made.
    BeforeDurable,
    /// The commit may have been made, and its caller gets no confirmation.
    Ambiguous,
    /// After a commit was handed over: commits are kept.
    AfterDurable,
    /// The fault takes away no commit and no answer.
    ReadOnly,
}

impl FaultClass {
    /// The word for the fault.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BeforeDurable => "before-durable",
            Self::Ambiguous => "ambiguous",
            Self::AfterDurable => "after-durable",
            Self::ReadOnly => "read-only",
        }
    }
}

impl Fault {
    /// The word for the place.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::Fence => "fence",
            Self::LostReply { .. } => "lost-reply",
            Self::SlowStore { .. } => "slow-store",
            Self::StoreFull { .. } => "store-full",
            Self::Freeze { .. } => "freeze",
        }
    }

    /// Where the fault strikes.
    #[must_use]
    pub fn class(&self) -> FaultClass {
        match self {
            Self::Crash => FaultClass::AfterDurable,
            Self::LostReply { .. } => FaultClass::Ambiguous,
            Self::SlowStore { .. } => FaultClass::ReadOnly,
            Self::Fence | Self::StoreFull { .. } | Self::Freeze { .. } => FaultClass::BeforeDurable,
        }
    }

    /// Checks that the fault's numbers are within their bounds.
    ///
    /// # Errors
    /// The number that is out of bounds, and its bounds.
    pub fn check(&self) -> Result<(), String> {
        let bounded = |name: &str, value: u64, max: u64| {
            if (1..=max).contains(&value) {
                return Ok(());
            }
            Err(format!("{name} of {value} is not from 1 to {max}"))
        };
        let count_max = u64::from(FAULT_COUNT_MAX);
        match *self {
            Self::Crash | Self::Fence => Ok(()),
            Self::LostReply { count } => bounded("count", u64::from(count), count_max),
            Self::SlowStore { delay_ms, count, for_ms } => {
                bounded("delay_ms", delay_ms, FAULT_DELAY_MS_MAX)?;
                bounded("count", u64::from(count.unwrap_or(1)), count_max)?;
                bounded("for_ms", for_ms, FAULT_FOR_MS_MAX)
            }
            Self::StoreFull { for_ms } | Self::Freeze { for_ms } => {
                bounded("for_ms", for_ms, FAULT_FOR_MS_MAX)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(json: serde_json::Value) -> Result<Fault, String> {
        let fault: Fault = serde_json::from_value(json).map_err(|error| error.to_string())?;
        fault.check().map(|()| fault)
    }

    #[test]
    fn a_fault_reads_with_its_defaults() {
        assert_eq!(read(json!({"fault": "crash"})), Ok(Fault::Crash));
        assert_eq!(read(json!({"fault": "lost-reply"})), Ok(Fault::LostReply { count: 1 }));
        assert_eq!(
            read(json!({"fault": "slow-store", "delay_ms": 7})),
            Ok(Fault::SlowStore { delay_ms: 7, count: None, for_ms: 10_000 })
        );
    }

    #[test]
    fn every_number_has_its_bound() {
        for json in [
            json!({"fault": "lost-reply", "count": 0}),
            json!({"fault": "lost-reply", "count": 101}),
            json!({"fault": "slow-store", "delay_ms": 5_001}),
            json!({"fault": "slow-store", "count": 0}),
            json!({"fault": "store-full", "for_ms": 600_001}),
            json!({"fault": "freeze", "for_ms": 0}),
        ] {
            let refused = read(json.clone()).expect_err("out of bounds");
            assert!(refused.contains("is not from 1 to"), "{json}: {refused}");
        }
        for json in [json!({"fault": "melt"}), json!({"fault": "freeze", "count": 1})] {
            assert!(read(json.clone()).is_err(), "{json}");
        }
    }

    #[test]
    fn words_are_those_of_the_json() {
        for fault in [
            Fault::Crash,
            Fault::Fence,
            Fault::LostReply { count: 1 },
            Fault::SlowStore { delay_ms: 1, count: None, for_ms: 1 },
            Fault::StoreFull { for_ms: 1 },
            Fault::Freeze { for_ms: 1 },
        ] {
            let json = serde_json::to_value(fault).expect("serializes");
            assert_eq!(json["fault"], fault.as_str());
            let class = serde_json::to_value(fault.class()).expect("serializes");
            assert_eq!(class, fault.class().as_str());
        }
    }
}
