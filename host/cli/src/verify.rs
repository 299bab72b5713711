//! `stockade verify`: checks one actor's history or the whole store, and rebuilds what can be
//! rebuilt.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use indicatif::ProgressBar;
use serde_json::{Value as Json, json};
use stockade_depot::history;
use stockade_depot::store::Repair;

use super::Context;
use super::client::Client;
use super::failure::Failure;
use super::offline::{Offline, Place};
use super::output::{cell, table};
use super::target::{KindName, Target, segment};
use stockade::error::Body;
use stockade::host::{VerifyNews, verify_store};
use stockade_server::{news_to_json, verified_to_json};

const BAR: &str = "{bar:40} {pos}/{len} {msg}";
const SPINNER: &str = "{spinner} verifying {msg} ({elapsed})";

/// Check an actor's history, or everything in the store
///
/// Of an actor: every page, every commit, the chain over all of them. With --all also the store
/// itself: the engine's check of each file and its indexes, components against their digests,
/// settings of kinds, whether each name leads to its actor and each actor has its head. The check
/// continues past damage and reports its place.
///
/// Exits with 1 if anything is damaged.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  stockade verify counter/alice
  stockade verify --all
  stockade verify --all --kind counter
  stockade verify --all --data-dir ./data      without a server
  stockade verify --all --store ADDRESS        likewise, the store at this address
  stockade verify --all --repair --data-dir ./data

--repair makes a damaged file of a stopped server again from its rows, where every one of them can
still be read: indexes and free pages are made anew, no row is changed or left out. Then everything
is checked once more, and the exit code says whether all is well now. Damaged rows, pages of actors
and heads it cannot bring back: it says where they are, leaves the file as it is, and a backup is
what helps. Copy the data directory before you repair anything.")]
pub(super) struct Verify {
    /// The actor, KIND/KEY
    #[arg(conflicts_with = "all")]
    actor: Option<Target>,
    /// The store, and all actors
    #[arg(long)]
    all: bool,
    /// Of the actors, only those of this kind
    #[arg(long, requires = "all")]
    kind: Option<KindName>,
    /// Rebuild damaged files of a data directory from their rows, and check once more
    #[arg(long, requires = "all", requires = "data_dir", conflicts_with = "store")]
    repair: bool,
    #[command(flatten)]
    place: Place,
}

impl Verify {
    pub(super) fn run(&self, context: &Context) -> Result<ExitCode, Failure> {
        if self.actor.is_none() && !self.all {
            return Err(Failure::usage(
                "name an actor, KIND/KEY, or give --all for the whole store",
            ));
        }
        let document = match (&self.actor, self.place.data_dir()) {
            (None, Some(dir)) if self.repair => self.all_repaired(context, dir)?,
            (actor, _) => match (actor, self.place.open()?) {
                (Some(actor), Some(offline)) => one_offline(context, &offline, actor)?,
                (Some(actor), None) => one(context, &context.admin()?, actor)?,
                (None, Some(offline)) => self.all_offline(context, &offline)?,
                (None, None) => self.all_online(context, &context.admin()?)?,
            },
        };
        let ok = document["ok"] == true;
        context.output.result(&document, told)?;
        Ok(ExitCode::from(u8::from(!ok)))
    }

    fn all_online(&self, context: &Context, client: &Client) -> Result<Json, Failure> {
        let kind = self.kind.as_deref().map(|kind| format!("?kind={}", segment(kind)));
        let path = format!("/admin/verify{}", kind.unwrap_or_default());
        let mut all = All::new(context);
        let mut response = client.lines(&path)?;
        for line in BufReader::new(response.body_mut().as_reader()).lines() {
            let line = line.map_err(|error| Failure::broke_off(client.address(), &error))?;
            let news = serde_json::from_str(&line)
                .map_err(|error| Failure::strange_answer(client.address(), &error))?;
            if let Some(ok) = all.hear(&news)? {
                return Ok(all.document(ok));
            }
        }
        Err(Failure::broke_off(client.address(), &"the check has no end"))
    }

    fn all_repaired(&self, context: &Context, dir: &Path) -> Result<Json, Failure> {
        let check = || self.all_offline(context, &Offline::open(dir)?);
        let first = check();
        if first.as_ref().is_ok_and(|document| document["ok"] == true) {
            return first;
        }
        let repairs = Offline::repair(dir)?;
        let repairs: Vec<Json> = repairs
            .into_iter()
            .map(|Repair { file, failed }| json!({ "file": file, "failed": failed }))
            .collect();
        // A file that does not even open afterwards is reported as such.
        let mut document = check()?;
        document["repairs"] = repairs.into();
        document["found_before"] = first.map_or(Json::Null, |mut first| first["findings"].take());
        Ok(document)
    }

    fn all_offline(&self, context: &Context, offline: &Offline) -> Result<Json, Failure> {
        let mut all = All::new(context);
        let mut tell = |news: VerifyNews| drop(all.hear(&news_to_json(&news)));
        let check = verify_store(offline.store.as_ref(), self.kind.as_deref(), &mut tell);
        let verified = offline.runtime.block_on(check)?;
        Ok(all.document(verified.is_sound()))
    }
}

fn one(context: &Context, client: &Client, actor: &Target) -> Result<Json, Failure> {
    // The host reports no progress within one actor.
    let bar = context.output.progress(None, SPINNER);
    bar.set_message(actor.0.to_string());
    let path = format!("/admin/actors{}/verify", actor.path());
    let report = client.post(&path, &[], &[]).and_then(|answer| answer.json());
    bar.finish_and_clear();
    Ok(of_one(actor, report?))
}

fn one_offline(context: &Context, offline: &Offline, actor: &Target) -> Result<Json, Failure> {
    let state = offline.actor(&actor.0)?;
    let bar = context.output.progress(Some(0), BAR);
    let told = bar.clone();
    let mut tell = move |progress: history::Progress| {
        told.set_length(progress.total);
        told.set_position(progress.done);
    };
    let report = history::verify(offline.store.as_ref(), state.row.db, &mut tell);
    let report = offline.runtime.block_on(report);
    bar.finish_and_clear();
    let report = report.map_err(|error| stockade::HostError::from(error).of(&actor.0))?;
    Ok(of_one(actor, verified_to_json(&report)))
}

fn of_one(actor: &Target, mut report: Json) -> Json {
    report["actor"] = actor.0.to_string().into();
    json!({ "ok": report["ok"], "actors": [report], "findings": [], "accepted_losses": [] })
}

/// What a check of the whole store has reported so far.
struct All {
    actors: Vec<Json>,
    findings: Vec<Json>,
    /// Losses that an operator accepted earlier.
    accepted: Vec<Json>,
    bar: ProgressBar,
}

impl All {
    fn new(context: &Context) -> Self {
        let bar = context.output.progress(Some(1), BAR);
        Self { actors: Vec::new(), findings: Vec::new(), accepted: Vec::new(), bar }
    }

    /// Takes a line of the answer. `Some`: it was the last line, and whether all is well.
    fn hear(&mut self, news: &Json) -> Result<Option<bool>, Failure> {
        if let Some(progress) = news.get("progress") {
            self.bar.set_length(progress["total"].as_u64().unwrap_or(1));
            self.bar.set_position(progress["done"].as_u64().unwrap_or(0));
            self.bar.set_message(cell(&progress["what"]));
        } else if let Some(finding) = news.get("finding") {
            self.findings.push(finding.clone());
        } else if let Some(finding) = news.get("accepted") {
            self.accepted.push(finding.clone());
        } else if let Some(actor) = news.get("actor") {
            self.bar.set_message(cell(&actor["actor"]));
            self.actors.push(actor.clone());
        } else if let Some(end) = news.get("end") {
            return Ok(Some(end["ok"] == true));
        } else if let Some(error) = news.get("error") {
            let body: Option<Body> = serde_json::from_value(error.clone()).ok();
            let strange = || Failure::strange_answer("the host", &"an error without its fields");
            return Err(body.map_or_else(strange, Failure::answered));
        }
        Ok(None)
    }

    fn document(self, ok: bool) -> Json {
        self.bar.finish_and_clear();
        let Self { actors, findings, accepted, .. } = self;
        json!({ "ok": ok, "actors": actors, "findings": findings, "accepted_losses": accepted })
    }
}

fn told(document: &Json) -> String {
    let list = |value: &Json| value.as_array().cloned().unwrap_or_default();
    let mut parts = Vec::new();
    let repairs = list(&document["repairs"]);
    if !repairs.is_empty() {
        let header = ["file", "repair"].map(str::to_owned).to_vec();
        let rows = repairs.iter().map(|repair| {
            let done = match &repair["failed"] {
                Json::Null => "made again from its rows".to_owned(),
                why => format!("left as it is: {}", cell(why)),
            };
            vec![cell(&repair["file"]), done]
        });
        parts.push(table(header, rows.collect()));
    }
    let reports = list(&document["actors"]);
    let rows = reports.iter().map(|report| {
        let found = if report["ok"] == true { "ok".to_owned() } else { damage(report) };
        vec![cell(&report["actor"]), cell(&report["commits"]), cell(&report["pages"]), found]
    });
    let header = ["actor", "commits", "pages", "found"].map(str::to_owned).to_vec();
    parts.push(table(header, rows.collect()));
    for (part, last) in [("accepted_losses", "lost earlier, and accepted"), ("findings", "found")] {
        let findings = list(&document[part]);
        if findings.is_empty() {
            continue;
        }
        let header = ["file", "table", "actor", last].map(str::to_owned).to_vec();
        let columns = ["file", "table", "actor", "what"];
        let rows = findings.iter().map(|finding| columns.map(|name| cell(&finding[name])).to_vec());
        parts.push(table(header, rows.collect()));
    }
    parts.join("\n")
}

fn damage(report: &Json) -> String {
    let problems = report["problems"].as_array().map_or(&[][..], Vec::as_slice);
    let shown: Vec<String> = problems.iter().take(3).map(cell).collect();
    format!("{} faults: {}", report["fault_count"], shown.join("; "))
}
