//! `stockade actors`: list, show, stop, reset, destroy.

use std::io::{BufRead, IsTerminal, Write};
use std::num::NonZeroUsize;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value as Json, json};

use super::Context;
use super::client::Client;
use super::failure::Failure;
use super::output::{bytes, cell, table};
use super::target::{Target, segment};

/// Actors asked for at once.
const PAGE: usize = 500;

/// List, show, stop, reset and destroy actors
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  stockade actors list --kind counter
  stockade actors show counter/alice
  stockade actors stop counter/alice
  stockade actors reset counter/alice
  stockade actors destroy counter/alice")]
pub(super) struct Actors {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// List actors, in order of kind and key
    List(List),
    /// Show one actor
    Show {
        /// The actor, KIND/KEY
        actor: Target,
    },
    /// End an actor's generation in order; its data stays, its next call starts a new one
    Stop {
        /// The actor, KIND/KEY
        actor: Target,
    },
    /// Forget an actor's crashes, so that its next call starts it at once
    ///
    /// An actor that crashes again and again, with no call answered in between, is crash-looping:
    /// its calls are refused, and one is let through as a trial at longer and longer intervals.
    /// Deploying another component ends that, too.
    Reset {
        /// The actor, KIND/KEY
        actor: Target,
    },
    /// Destroy an actor and everything it has stored
    Destroy {
        /// The actor, KIND/KEY
        actor: Target,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

#[derive(Args)]
struct List {
    /// Only of this kind
    #[arg(long)]
    kind: Option<String>,
    /// Only those after this one
    #[arg(long, value_name = "KIND/KEY")]
    after: Option<Target>,
    /// At most so many
    #[arg(long, default_value = "1000")]
    limit: NonZeroUsize,
}

impl Actors {
    pub(super) fn run(&self, context: &Context) -> Result<ExitCode, Failure> {
        let client = context.admin()?;
        match &self.what {
            What::List(list) => list.run(context, &client)?,
            What::Show { actor } => {
                let document = client.get(&path(actor))?.json()?;
                context.output.result(&document, show)?;
            }
            What::Stop { actor } => {
                let document = client.post(&format!("{}/stop", path(actor)), &[], &[])?.json()?;
                context.output.result(&document, stopped)?;
            }
            What::Reset { actor } => {
                let document = client.post(&format!("{}/reset", path(actor)), &[], &[])?.json()?;
                let text = |_: &Json| format!("{}: crashes forgotten", actor.0);
                context.output.result(&document, text)?;
            }
            What::Destroy { actor, yes } => {
                if !yes {
                    // Asked first, so that a typing error does not get as far as the question.
                    let document = client.get(&path(actor))?.json()?;
                    confirm(actor, &document)?;
                }
                let document = client.delete(&path(actor))?.json()?;
                context.output.result(&document, |_| format!("{} is destroyed", actor.0))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl List {
    fn run(&self, context: &Context, client: &Client) -> Result<(), Failure> {
        let after = self.after.as_ref().map(|after| after.0.to_string());
        let (actors, next) = all(client, self.kind.as_deref(), after, self.limit.get())?;
        let document = json!({ "actors": actors, "next": next });
        context.output.result(&document, list)?;
        if let Some(next) = next {
            context.output.note(&format!("there are more: --after {next:?}"));
        }
        Ok(())
    }
}

/// Actors page by page, at most `max`, and where to go on.
pub(super) fn all(
    client: &Client,
    kind: Option<&str>,
    mut after: Option<String>,
    max: usize,
) -> Result<(Vec<Json>, Option<String>), Failure> {
    let mut actors = Vec::new();
    loop {
        let mut path = format!("/admin/actors?limit={}", PAGE.min(max - actors.len()).max(1));
        for (name, value) in [("kind", kind), ("after", after.as_deref())] {
            if let Some(value) = value {
                path.push_str(&format!("&{name}={}", segment(value)));
            }
        }
        let mut page = client.get(&path)?.json()?;
        if let Json::Array(more) = page["actors"].take() {
            actors.extend(more);
        }
        after = page["next"].as_str().map(str::to_owned);
        if after.is_none() || actors.len() >= max {
            return Ok((actors, after));
        }
    }
}

fn path(actor: &Target) -> String {
    format!("/admin/actors{}", actor.path())
}

fn list(document: &Json) -> String {
    let actors = document["actors"].as_array().map_or(&[][..], Vec::as_slice);
    if actors.is_empty() {
        return "no actors: the first call of a method creates one".to_owned();
    }
    let header = ["actor", "state", "generation", "txid", "size"].map(str::to_owned).to_vec();
    table(header, actors.iter().map(row).collect())
}

fn row(actor: &Json) -> Vec<String> {
    vec![
        cell(&actor["actor"]),
        cell(&actor["state"]),
        cell(&actor["generation"]),
        cell(&actor["txid"]),
        bytes(actor["bytes"].as_u64().unwrap_or(0)),
    ]
}

fn show(actor: &Json) -> String {
    let mut text = format!("{}\n", cell(&actor["actor"]));
    let mut line = |name: &str, value: String| text.push_str(&format!("  {name:<12}{value}\n"));
    line("state", cell(&actor["state"]));
    line("generation", cell(&actor["generation"]));
    line("txid", cell(&actor["txid"]));
    let size = bytes(actor["bytes"].as_u64().unwrap_or(0));
    line("size", format!("{size} ({} pages)", actor["pages"]));
    line("component", cell(&actor["component"]));
    line("database", cell(&actor["db"]));
    line("restarts", cell(&actor["restarts"]));
    if let Some(wait) = actor["next_attempt_ms"].as_u64() {
        line("next try", format!("in {wait} ms"));
    }
    if let Some(snapshot) = snapshot(actor) {
        line("snapshot", snapshot);
    }
    if !actor["last_exit"].is_null() {
        line("last exit", exit(&actor["last_exit"]));
        // Guest-controlled: further lines are indented, so that none poses as one of ours.
        for (name, said) in [("last words", "last_words"), ("backtrace", "backtrace")] {
            if let Some(said) = actor["last_exit"][said].as_str().filter(|said| !said.is_empty()) {
                line(name, said.replace('\n', &format!("\n{:14}", "")));
            }
        }
    }
    for fault in actor["faults"].as_array().into_iter().flatten() {
        line("fault", super::fault::armed(fault));
    }
    text
}

/// What became of in-memory state: what the generation that runs was started from, or what the one
/// that ended has handed over.
fn snapshot(actor: &Json) -> Option<String> {
    let from = &actor["started_from"];
    if let Some(generation) = from["generation"].as_u64() {
        let current = if from["current"] == true { "" } else { ", not current" };
        return Some(format!("started from snapshot of generation {generation}{current}"));
    }
    let (last, kept) = (actor["generation"].as_u64()?, actor["snapshot_of"].as_u64());
    match (actor["sealed"].as_bool()?, kept) {
        (true, None) => Some(format!("generation {last} ended without handing one over")),
        (true, Some(kept)) if kept == last => Some(format!("handed over by generation {kept}")),
        (_, Some(kept)) => Some(format!("of generation {kept}, older than generation {last}")),
        (false, None) => None,
    }
}

fn stopped(document: &Json) -> String {
    let actor = cell(&document["actor"]);
    match &document["exit"] {
        Json::Null => format!("{actor} was not awake"),
        ended => format!("{actor} is stopped: {}", exit(ended)),
    }
}

pub(super) fn exit(exit: &Json) -> String {
    let mut text = format!("generation {} ended: {}", exit["generation"], cell(&exit["reason"]));
    let snapshot = &exit["snapshot"];
    match (snapshot["bytes"].as_u64(), snapshot["why"].as_str()) {
        (Some(taken), _) => {
            text.push_str(&format!(", snapshot of {}", bytes(taken)));
            if let Some(late) = snapshot["late_sql"].as_u64() {
                text.push_str(&format!(" (made after {late} SQL calls that came too late)"));
            }
        }
        (None, Some(why)) => text.push_str(&format!(", snapshot missed: {why}")),
        (None, None) => {}
    }
    if let Some(message) = exit["message"].as_str() {
        text.push_str(&format!("; {message}"));
    }
    text
}

fn confirm(actor: &Target, document: &Json) -> Result<(), Failure> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(Failure::usage("destroy asks on a terminal; elsewhere give --yes"));
    }
    let size = bytes(document["bytes"].as_u64().unwrap_or(0));
    let mut err = std::io::stderr().lock();
    let asked = write!(err, "Destroy {} with its {size} of data? Type its key: ", actor.0);
    let mut typed = String::new();
    asked
        .and_then(|()| err.flush())
        .and_then(|()| stdin.lock().read_line(&mut typed))
        .map_err(|error| Failure::local(format!("cannot ask: {error}")))?;
    if typed.trim() == actor.0.key() {
        Ok(())
    } else {
        Err(Failure::usage("not destroyed: that is not its key"))
    }
}
