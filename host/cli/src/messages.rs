//! `stockade messages`: what an actor has sent and what it has parked, shown, retried and removed.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value as Json, json};

use super::Context;
use super::failure::Failure;
use super::output::{cell, table};
use super::target::Target;

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

impl Messages {
    pub(super) fn run(&self, context: &Context) -> Result<ExitCode, Failure> {
        let client = context.admin()?;
        let path = |actor: &Target| format!("/admin/actors{}/messages", actor.path());
        match &self.what {
            What::List { actor } => {
                let document = client.get(&path(actor))?.json()?;
                context.output.result(&document, list)?;
            }
            What::Retry { actor, id } => {
                let to = format!("{}/retry", path(actor));
                let document = client.post_json(&to, &json!({ "id": id }))?.json()?;
                let text = |it: &Json| format!("{} tried again\n{}", count(it), list(it));
                context.output.result(&document, text)?;
            }
            What::Drop { actor, id } => {
                let to = format!("{}/drop", path(actor));
                let document = client.post_json(&to, &json!({ "id": id }))?.json()?;
                let text = |it: &Json| format!("{} removed\n{}", count(it), list(it));
                context.output.result(&document, text)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn count(document: &Json) -> String {
    match document["changed"].as_u64().unwrap_or(0) {
        1 => "1 message".to_owned(),
        count => format!("{count} messages"),
    }
}

fn list(document: &Json) -> String {
    let messages = document["messages"].as_array().map_or(&[][..], Vec::as_slice);
    if messages.is_empty() {
        return "no messages".to_owned();
    }
    let fields = ["id", "direction", "actor", "method", "state", "next_ms", "attempts", "error"];
    let header = ["id", "", "actor", "method", "state", "next (ms)", "tries", "last error"];
    let row = |message: &Json| fields.iter().map(|field| cell(&message[*field])).collect();
    let rows = messages.iter().map(row).collect();
    let shown = table(header.map(str::to_owned).to_vec(), rows);
    if document["more"] == true { format!("{shown}\nand more") } else { shown }
}

/// How many messages there are, and what is wrong with those that do not wait for their turn.
pub(super) fn summary(messages: &Json) -> Option<String> {
    const NAMED: usize = 5;
    let messages = messages.as_array().filter(|messages| !messages.is_empty())?;
    let mut text = messages.len().to_string();
    let stuck: Vec<&Json> = messages.iter().filter(|it| it["state"] != "waits").collect();
    for message in stuck.iter().take(NAMED) {
        let (id, state) = (cell(&message["id"]), cell(&message["state"]));
        text.push_str(&format!("; {id} is {state}"));
        if !message["error"].is_null() {
            text.push_str(&format!(": {}", cell(&message["error"])));
        }
    }
    if stuck.len() > NAMED {
        text.push_str(&format!("; and {} more", stuck.len() - NAMED));
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_that_do_not_wait_are_named() {
        let message = |id: &str, state: &str, error: Json| {
            json!({ "id": id, "direction": "to", "actor": "account/bob", "method": "deposit",
                    "state": state, "next_ms": null, "attempts": 8, "error": error, "bytes": 3 })
        };
        assert_eq!(summary(&json!([])), None);
        let messages = json!([
            message("out-1", "waits", Json::Null),
            message("out-2", "parked", json!("no\nroom")),
            message("off-a1-3", "off", Json::Null),
        ]);
        let told = "3; out-2 is parked: no\\nroom; off-a1-3 is off";
        assert_eq!(summary(&messages).as_deref(), Some(told));
        let shown = list(&json!({ "messages": messages, "more": true }));
        assert!(shown.contains("last error") && shown.ends_with("and more"), "{shown}");
    }
}
