//! `stockade messages`: what an actor has sent and what it has parked, shown, retried and removed.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::Context;
use super::failure::Failure;
use super::target::Target;
use super::waiting::Waiting;

/// List, retry and drop an actor's messages
///
/// A message waits at its sender until its receiver has it. One whose method has failed too often is
/// parked by its receiver, with its last error; one whose receiver was destroyed is parked by its
/// sender. In a copy of an actor (an import) messages are off. None of these commands wakes the actor; a
/// retry has the host wake it.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  stockade messages list account/alice
  stockade messages retry account/alice out-17   deliver it as soon as possible, with all of its tries
  stockade messages retry account/alice          all that are parked, wait for a try, or are off
  stockade messages drop account/alice out-17    it is never delivered, unless it was already")]
pub(super) struct Messages {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// List an actor's messages: those it has sent first, then those it has parked
    List {
        /// The actor, KIND/KEY
        actor: Target,
    },
    /// Have a message delivered or run again that is parked, waits for its next try, or is off
    Retry {
        /// The actor, KIND/KEY
        actor: Target,
        /// The message, by its id in the list; without it all of them
        id: Option<String>,
    },
    /// Remove a message
    Drop {
        /// The actor, KIND/KEY
        actor: Target,
        /// The message, by its id in the list
        id: String,
    },
}

pub(super) const MESSAGES: Waiting = Waiting {
    one: "message",
    several: "messages",
    name: "id",
    columns: &[
        ["id", "id"],
        ["direction", ""],
        ["actor", "actor"],
        ["method", "method"],
        ["state", "state"],
        ["next_ms", "next (ms)"],
        ["attempts", "tries"],
        ["error", "last error"],
    ],
    retried: "tried again",
    named_max: 5,
};

impl Messages {
    pub(super) fn run(&self, context: &Context) -> Result<ExitCode, Failure> {
        match &self.what {
            What::List { actor } => MESSAGES.list(context, actor),
            What::Retry { actor, id } => MESSAGES.retry(context, actor, id.as_deref()),
            What::Drop { actor, id } => MESSAGES.drop(context, actor, id),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;

    #[test]
    fn messages_that_do_not_wait_are_named() {
        let message = |id: &str, state: &str, error: Json| {
            json!({ "id": id, "direction": "to", "actor": "account/bob", "method": "deposit",
                    "state": state, "next_ms": null, "attempts": 8, "error": error, "bytes": 3 })
        };
        assert_eq!(MESSAGES.summary(&json!([])), None);
        let messages = json!([
            message("out-1", "waits", Json::Null),
            message("out-2", "parked", json!("no\nroom")),
            message("off-a1-3", "off", Json::Null),
        ]);
        let told = "3; out-2 is parked: no\\nroom; off-a1-3 is off";
        assert_eq!(MESSAGES.summary(&messages).as_deref(), Some(told));
        let shown = MESSAGES.shown(&json!({ "messages": messages, "more": true }));
        assert!(shown.contains("last error") && shown.ends_with("and more"), "{shown}");
    }
}
