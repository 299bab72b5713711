//! `stockade verify`: checks what the store has of an actor against its hashes.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use indicatif::ProgressBar;
use serde_json::{Value as Json, json};
use stockade_depot::history;

use super::Context;
use super::actors;
use super::client::Client;
use super::failure::Failure;
use super::offline::{Offline, failure};
use super::output::{cell, table};
use super::target::Target;
use crate::gateway::verified_to_json;

const BAR: &str = "{bar:40} {pos}/{len} {msg}";
const SPINNER: &str = "{spinner} verifying {msg} ({elapsed})";

/// Check an actor's history: every page, every commit, the chain over all of them
///
/// Exits with 1 if anything is damaged.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  stockade verify counter/alice
  stockade verify --all
  stockade verify --all --kind counter
  stockade verify --all --data-dir ./data      without a server")]
pub(super) struct Verify {
    /// The actor, KIND/KEY
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    actor: Option<Target>,
    /// All actors
    #[arg(long)]
    all: bool,
    /// Of these, only those of this kind
    #[arg(long, requires = "all")]
    kind: Option<String>,
    /// Read the store in this directory instead of asking a server
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl Verify {
    pub(super) fn run(&self, context: &Context) -> Result<ExitCode, Failure> {
        let verified = match &self.data_dir {
            Some(dir) => self.offline(context, dir)?,
            None => self.online(context, &context.admin()?)?,
        };
        let ok = verified.iter().all(|report| report["ok"] == true);
        let document = json!({ "ok": ok, "actors": verified });
        context.output.result(&document, told)?;
        Ok(ExitCode::from(u8::from(!ok)))
    }

    fn online(&self, context: &Context, client: &Client) -> Result<Vec<Json>, Failure> {
        let targets = match &self.actor {
            Some(actor) => vec![actor.clone()],
            None => {
                let (actors, _) = actors::all(client, self.kind.as_deref(), None, usize::MAX)?;
                actors.iter().map(|actor| named(client, actor)).collect::<Result<_, _>>()?
            }
        };
        let bar = match targets.len() {
            // How far the host is with one actor is not told.
            1 => context.output.progress(None, SPINNER),
            many => self.bar(context, many),
        };
        let mut verified = Vec::with_capacity(targets.len());
        for target in &targets {
            bar.set_message(target.0.to_string());
            let path = format!("/admin/actors{}/verify", target.path());
            verified.push(of(target, client.post(&path, &[], &[])?.json()?));
            bar.inc(1);
        }
        bar.finish_and_clear();
        Ok(verified)
    }

    fn offline(&self, context: &Context, dir: &Path) -> Result<Vec<Json>, Failure> {
        let offline = Offline::open(dir)?;
        let states = match &self.actor {
            Some(actor) => vec![offline.actor(&actor.0)?],
            None => offline.actors(self.kind.as_deref())?,
        };
        let bar = self.bar(context, states.len());
        let mut verified = Vec::with_capacity(states.len());
        for state in states {
            let target = Target(state.row.actor);
            bar.set_message(target.0.to_string());
            let one = states_of_one(&bar, self.all);
            let mut tell = move |progress: history::Progress| {
                if let Some(bar) = &one {
                    bar.set_length(progress.total);
                    bar.set_position(progress.done);
                }
            };
            let report = history::verify(offline.store.as_ref(), state.row.db, &mut tell);
            let report = offline.runtime.block_on(report).map_err(failure)?;
            verified.push(of(&target, verified_to_json(&report)));
            if self.all {
                bar.inc(1);
            }
        }
        bar.finish_and_clear();
        Ok(verified)
    }

    fn bar(&self, context: &Context, actors: usize) -> ProgressBar {
        let bar = context.output.progress(u64::try_from(actors).ok(), BAR);
        bar.set_position(0);
        bar
    }
}

/// One actor's bar counts its pages; the bar of many counts actors.
fn states_of_one(bar: &ProgressBar, all: bool) -> Option<ProgressBar> {
    (!all).then(|| bar.clone())
}

fn named(client: &Client, actor: &Json) -> Result<Target, Failure> {
    let name = actor["actor"].as_str().unwrap_or("");
    name.parse().map_err(|error: String| Failure::strange_answer(client.address(), &error))
}

fn of(target: &Target, mut report: Json) -> Json {
    report["actor"] = target.0.to_string().into();
    report
}

fn told(document: &Json) -> String {
    let reports = document["actors"].as_array().map_or(&[][..], Vec::as_slice);
    let rows = reports.iter().map(|report| {
        let found = if report["ok"] == true { "ok".to_owned() } else { damage(report) };
        vec![cell(&report["actor"]), cell(&report["commits"]), cell(&report["pages"]), found]
    });
    let header = ["actor", "commits", "pages", "found"].map(str::to_owned).to_vec();
    table(header, rows.collect())
}

fn damage(report: &Json) -> String {
    let problems = report["problems"].as_array().map_or(&[][..], Vec::as_slice);
    let shown: Vec<String> = problems.iter().take(3).map(cell).collect();
    format!("{} faults: {}", report["fault_count"], shown.join("; "))
}
