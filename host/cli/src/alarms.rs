//! `stockade alarms`: an actor's alarms, shown, retried and removed.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value as Json, json};

use super::Context;
use super::failure::Failure;
use super::output::{cell, table};
use super::target::Target;

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

impl Alarms {
    pub(super) fn run(&self, context: &Context) -> Result<ExitCode, Failure> {
        let client = context.admin()?;
        let path = |actor: &Target| format!("/admin/actors{}/alarms", actor.path());
        match &self.what {
            What::List { actor } => {
                let document = client.get(&path(actor))?.json()?;
                context.output.result(&document, list)?;
            }
            What::Retry { actor, name } => {
                let to = format!("{}/retry", path(actor));
                let document = client.post_json(&to, &json!({ "name": name }))?.json()?;
                let text = |it: &Json| format!("{} run again\n{}", count(it), list(it));
                context.output.result(&document, text)?;
            }
            What::Drop { actor, name } => {
                let to = format!("{}/drop", path(actor));
                let document = client.post_json(&to, &json!({ "name": name }))?.json()?;
                let text = |it: &Json| format!("{} removed\n{}", count(it), list(it));
                context.output.result(&document, text)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn count(document: &Json) -> String {
    match document["changed"].as_u64().unwrap_or(0) {
        1 => "1 alarm".to_owned(),
        count => format!("{count} alarms"),
    }
}

fn list(document: &Json) -> String {
    let alarms = document["alarms"].as_array().map_or(&[][..], Vec::as_slice);
    if alarms.is_empty() {
        return "no alarms".to_owned();
    }
    let fields = ["name", "schedule", "state", "next_ms", "attempts", "error"];
    let header = ["name", "schedule", "state", "next (ms)", "tries", "last error"];
    let row = |alarm: &Json| fields.iter().map(|field| cell(&alarm[*field])).collect();
    table(header.map(str::to_owned).to_vec(), alarms.iter().map(row).collect())
}

/// How many alarms there are, and what is wrong with those that do not run.
pub(super) fn summary(alarms: &Json) -> Option<String> {
    let alarms = alarms.as_array().filter(|alarms| !alarms.is_empty())?;
    let mut text = alarms.len().to_string();
    for alarm in alarms.iter().filter(|alarm| alarm["state"] != "waits") {
        let (name, state) = (cell(&alarm["name"]), cell(&alarm["state"]));
        text.push_str(&format!("; {name} is {state}"));
        if !alarm["error"].is_null() {
            text.push_str(&format!(": {}", cell(&alarm["error"])));
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alarms_that_do_not_run_are_named() {
        let alarm = |name: &str, state: &str, error: Json| {
            json!({ "name": name, "schedule": "once", "state": state, "next_ms": null,
                    "attempts": 8, "error": error, "payload_bytes": 0 })
        };
        assert_eq!(summary(&json!([])), None);
        let alarms = json!([
            alarm("a", "waits", Json::Null),
            alarm("b", "parked", json!("no\ntea")),
            alarm("c", "off", Json::Null),
        ]);
        assert_eq!(summary(&alarms).as_deref(), Some("3; b is parked: no\\ntea; c is off"));
        let shown = list(&json!({ "alarms": alarms }));
        assert!(shown.contains("last error") && shown.contains("parked"), "{shown}");
    }
}
