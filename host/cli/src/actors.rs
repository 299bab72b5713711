//! `stockade actors`: list, show, stop, reset, destroy.

use std::num::NonZeroUsize;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value as Json, json};

use super::Context;
use super::client::Client;
use super::failure::Failure;
use super::output::{bytes, cell, table};
use super::target::{KindName, Target, segment};

/// Actors per request of a listing.
const PAGE: usize = 500;

/// List, show, stop, reset and destroy actors
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  stockade actors list --kind counter
  stockade actors list --kind counter --prefix al --state awake
  stockade actors list --sort size --limit 10
  stockade actors list --kind counter --count
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
    /// Forget an actor's crashes, so that its next call starts it immediately
    ///
    /// An actor that crashes again and again, with no answered call in between, is crash-looping:
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
        /// Destroy without a question
        #[arg(long, short)]
        yes: bool,
        /// Destroy also if it has sent messages that their receivers do not have: they are lost
        #[arg(long)]
        with_outbox: bool,
    },
}

#[derive(Args)]
struct List {
    /// Only actors of this kind
    #[arg(long)]
    kind: Option<KindName>,
    /// Only actors whose key begins with this text
    #[arg(long, value_name = "TEXT", requires = "kind")]
    prefix: Option<String>,
    /// Only actors in this state: asleep, awake, elsewhere, crash-looping, destroying
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
    /// Sort by size, restarts or txid (commits), largest first; without it by kind and key
    #[arg(long, value_name = "ORDER", conflicts_with = "after")]
    sort: Option<String>,
    /// Print only how many actors there are, and how much they store
    #[arg(long, conflicts_with_all = ["after", "sort", "limit"])]
    count: bool,
    /// Only actors after this one
    #[arg(long, value_name = "KIND/KEY")]
    after: Option<Target>,
    /// At most this many actors; 1000 if they are sorted
    #[arg(long, default_value = "1000")]
    limit: NonZeroUsize,
}

impl Actors {
    pub(super) fn run(&self, context: &Context) -> Result<ExitCode, Failure> {
        let client = context.admin()?;
        match &self.what {
            What::List(list) => list.run(context, &client)?,
            What::Show { actor } => {
                let mut document = client.get(&path(actor))?.json()?;
                // Asked of an actor that runs: to open a sleeping one takes its database over, and leaves
                // another last exit.
                if document["state"] == "awake" {
                    let alarms = client.get(&format!("{}/alarms", path(actor)))?.json()?;
                    document["alarms"] = alarms["alarms"].clone();
                    let messages = client.get(&format!("{}/messages", path(actor)))?.json()?;
                    document["messages"] = messages["messages"].clone();
                }
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
            What::Destroy { actor, yes, with_outbox } => {
                if !yes {
                    // Read first, so that a mistyped name fails before the question.
                    let document = client.get(&path(actor))?.json()?;
                    let size = bytes(document["bytes"].as_u64().unwrap_or(0));
                    let what = format!("{} with its {size} of data", actor.0);
                    context.output.confirm(&what, "its key", actor.0.key())?;
                }
                let query = if *with_outbox { "?with_outbox=true" } else { "" };
                let document = client.delete(&format!("{}{query}", path(actor)))?.json()?;
                context.output.result(&document, |_| format!("{} is destroyed", actor.0))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl List {
    fn run(&self, context: &Context, client: &Client) -> Result<(), Failure> {
        if self.count {
            let document = client.get(&self.path(&[("count", "true")]))?.json()?;
            return context.output.result(&document, counted);
        }
        if let Some(order) = &self.sort {
            let limit = self.limit.to_string();
            let path = self.path(&[("sort", order), ("limit", &limit)]);
            let document = client.get(&path)?.json()?;
            context.output.result(&document, list)?;
            if document["complete"] == false {
                context.output.note(
                    "only the first 200,000 in the order of kind and key were looked at: \
                     --kind, --prefix",
                );
            }
            return Ok(());
        }
        let (actors, next) = self.pages(client)?;
        let document = json!({ "actors": actors, "next": next });
        context.output.result(&document, list)?;
        if let Some(next) = next {
            context.output.note(&format!("there are more: --after {next:?}"));
        }
        Ok(())
    }

    /// Reads the pages of a listing. Returns the actors, and the key after which the next page
    /// begins.
    fn pages(&self, client: &Client) -> Result<(Vec<Json>, Option<String>), Failure> {
        let mut after = self.after.as_ref().map(|after| after.0.to_string());
        let (mut actors, max) = (Vec::new(), self.limit.get());
        loop {
            let limit = PAGE.min(max - actors.len()).max(1).to_string();
            let mut query = vec![("limit", limit.as_str())];
            query.extend(after.as_deref().map(|after| ("after", after)));
            let mut page = client.get(&self.path(&query))?.json()?;
            if let Json::Array(more) = page["actors"].take() {
                actors.extend(more);
            }
            after = page["next"].as_str().map(str::to_owned);
            if after.is_none() || actors.len() >= max {
                return Ok((actors, after));
            }
        }
    }

    /// The route of a listing with its filters, and `how` to read it.
    fn path(&self, how: &[(&str, &str)]) -> String {
        let wanted = [
            ("kind", self.kind.as_deref()),
            ("prefix", self.prefix.as_deref()),
            ("state", self.state.as_deref()),
        ];
        let wanted = wanted.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let query: Vec<String> = wanted
            .chain(how.iter().copied())
            .map(|(name, value)| format!("{name}={}", segment(value)))
            .collect();
        format!("/admin/actors?{}", query.join("&"))
    }
}

fn counted(document: &Json) -> String {
    let size = bytes(document["bytes"].as_u64().unwrap_or(0));
    let more = if document["complete"] == true { "" } else { " or more" };
    format!("{}{more} actors, {size}", document["count"])
}

fn path(actor: &Target) -> String {
    format!("/admin/actors{}", actor.path())
}

fn list(document: &Json) -> String {
    let actors = document["actors"].as_array().map_or(&[][..], Vec::as_slice);
    if actors.is_empty() {
        return "no actors: the first call of a method creates one".to_owned();
    }
    let header =
        ["actor", "state", "generation", "txid", "size", "idle"].map(str::to_owned).to_vec();
    table(header, actors.iter().map(row).collect())
}

fn row(actor: &Json) -> Vec<String> {
    vec![
        cell(&actor["actor"]),
        cell(&actor["state"]),
        cell(&actor["generation"]),
        cell(&actor["txid"]),
        bytes(actor["bytes"].as_u64().unwrap_or(0)),
        actor["idle_ms"].as_u64().map(idle).unwrap_or_default(),
    ]
}

/// How long an awake actor has been idle.
fn idle(ms: u64) -> String {
    if ms < 1000 { format!("{ms} ms") } else { format!("{} s", ms / 1000) }
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
    if let Some(ms) = actor["idle_ms"].as_u64() {
        line("idle", idle(ms));
    }
    let holder = &actor["store_held_by"];
    if let Some(pid) = holder["pid"].as_u64() {
        let at = holder["address"].as_str().map(|at| format!(", at {at}")).unwrap_or_default();
        line("locked by", format!("process {pid}{at}: {}", cell(&holder["file"])));
    }
    if let Some(snapshot) = snapshot(actor) {
        line("snapshot", snapshot);
    }
    if !actor["last_exit"].is_null() {
        line("last exit", exit(&actor["last_exit"]));
        // Guest-controlled: further lines are indented, so that none looks like a line of the host.
        for (name, said) in [("last words", "last_words"), ("backtrace", "backtrace")] {
            if let Some(said) = actor["last_exit"][said].as_str().filter(|said| !said.is_empty()) {
                line(name, said.replace('\n', &format!("\n{:14}", "")));
            }
        }
    }
    if let Some(alarms) = super::alarms::ALARMS.summary(&actor["alarms"]) {
        line("alarms", alarms);
    } else if actor["due_work"] == true && actor["state"] != "awake" {
        let name = cell(&actor["actor"]);
        line("alarms", format!("not awake: `stockade alarms list {name}` reads them"));
    }
    if let Some(messages) = super::messages::MESSAGES.summary(&actor["messages"]) {
        line("messages", messages);
    }
    for fault in actor["faults"].as_array().into_iter().flatten() {
        line("fault", super::fault::armed(fault));
    }
    text
}

/// The state of the actor's memory: the snapshot from which the running generation started, or the
/// one that the ended generation handed over.
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
