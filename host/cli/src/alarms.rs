//! `stockade alarms`: an actor's alarms, shown, retried and removed.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::Context;
use super::failure::Failure;
use super::target::Target;
use super::waiting::Waiting;

/// List, retry and drop an actor's alarms
///
/// An alarm is work that an actor has asked for at a time. One that has failed too often is parked: it
/// stays with its last error and runs no more. In a copy of an actor (an import) alarms are off. None of
/// these commands wakes the actor; a retry has the host wake it.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  stockade alarms list reminders/alice
  stockade alarms retry reminders/alice tea      as soon as it is due, with all of its tries
  stockade alarms retry reminders/alice          all that are parked, wait for a try, or are off
  stockade alarms drop reminders/alice tea")]
pub(super) struct Alarms {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// List an actor's alarms, in the order of their names
    List {
        /// The actor, KIND/KEY
        actor: Target,
    },
    /// Run an alarm again that is parked, waits for its next try, or is off
    Retry {
        /// The actor, KIND/KEY
        actor: Target,
        /// The alarm; without it all of them
        name: Option<String>,
    },
    /// Remove an alarm
    Drop {
        /// The actor, KIND/KEY
        actor: Target,
        /// The alarm
        name: String,
    },
}

pub(super) const ALARMS: Waiting = Waiting {
    one: "alarm",
    several: "alarms",
    name: "name",
    columns: &[
        ["name", "name"],
        ["schedule", "schedule"],
        ["state", "state"],
        ["next_ms", "next (ms)"],
        ["attempts", "tries"],
        ["error", "last error"],
    ],
    retried: "run again",
    named_max: usize::MAX,
};

impl Alarms {
    pub(super) fn run(&self, context: &Context) -> Result<ExitCode, Failure> {
        match &self.what {
            What::List { actor } => ALARMS.list(context, actor),
            What::Retry { actor, name } => ALARMS.retry(context, actor, name.as_deref()),
            What::Drop { actor, name } => ALARMS.drop(context, actor, name),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;

    #[test]
    fn alarms_that_do_not_run_are_named() {
        let alarm = |name: &str, state: &str, error: Json| {
            json!({ "name": name, "schedule": "once", "state": state, "next_ms": null,
                    "attempts": 8, "error": error, "payload_bytes": 0 })
        };
        assert_eq!(ALARMS.summary(&json!([])), None);
        let alarms = json!([
            alarm("a", "waits", Json::Null),
            alarm("b", "parked", json!("no\ntea")),
            alarm("c", "off", Json::Null),
        ]);
        assert_eq!(ALARMS.summary(&alarms).as_deref(), Some("3; b is parked: no\\ntea; c is off"));
        let shown = ALARMS.shown(&json!({ "alarms": alarms }));
        assert!(shown.contains("last error") && shown.contains("parked"), "{shown}");
    }
}
