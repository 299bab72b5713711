//! `stockade store`: the format of a store, the conversion of one in a data directory, and the shards
//! of one over several primaries.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value as Json, json};
use stockade_depot::store::NodeRow;
use stockade_depot::store::embedded::{
    EmbeddedConfig, OpenStoreError, UpgradeError, formats, upgrade,
};

use super::Context;
use super::backend::StoreArgs;
use super::failure::Failure;
use super::output::{cell, table};
use super::shards::{MoveShard, Shards};

/// A store: its format, the conversion of one in a data directory to this program's, and which
/// primary keeps which shards
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  stockade store check --data-dir ./data
  stockade store check --store ADDRESS         the store at this address
  stockade store upgrade --data-dir ./data     after every process was stopped, and a backup made
  stockade store shards --store ADDRESS --store ADDRESS            what each primary keeps
  stockade store move-shard 7 --to west --store ADDRESS --store ADDRESS")]
pub(super) struct Store {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Report whether `stockade serve` would open the store, and which processes have it open;
    /// changes nothing
    ///
    /// Reads the format of each file and, if no process has the store open, checks its logs. Also
    /// `stockade serve --check-store`. With --store it reads the version of the schema.
    ///
    /// Exits with 0 if the store would be opened as it is; with 1 if it is refused: of an older
    /// format (to be converted), of a later one, damaged, or missing. An empty database, and a schema
    /// of an earlier version, are opened: `stockade serve` makes or converts the schema itself.
    Check(Checked),
    /// Convert a store in a data directory of an older format; after an interruption, the same
    /// command continues
    ///
    /// Refused while a process serves the store. An older program cannot open the store afterwards.
    /// A store of --store is converted by the first `stockade serve` of a later program.
    Upgrade(Of),
    Shards(Shards),
    MoveShard(MoveShard),
}

#[derive(Args)]
struct Checked {
    /// The data directory of `stockade serve`
    #[arg(long, value_name = "DIR", conflicts_with = "store", required_unless_present = "store")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Args)]
struct Of {
    /// The data directory of `stockade serve`
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
}

impl Store {
    pub(super) fn run(&self, context: &Context) -> Result<ExitCode, Failure> {
        match &self.action {
            Action::Check(of) => match (of.store.named()?, &of.data_dir) {
                (Some(backend), _) => backend.check(context),
                (None, Some(data_dir)) => check(context, data_dir),
                (None, None) => Err(Failure::usage("give --data-dir or --store")),
            },
            Action::Upgrade(of) => convert(context, &of.data_dir),
            Action::Shards(shards) => shards.run(context),
            Action::MoveShard(shard) => shard.run(context),
        }
    }
}

fn config(data_dir: &Path) -> EmbeddedConfig {
    EmbeddedConfig::new(data_dir.join("store"))
}

/// Reports whether `stockade serve` would open the store, and which processes have it open; changes
/// nothing.
pub(super) fn check(context: &Context, data_dir: &Path) -> Result<ExitCode, Failure> {
    let found = formats(&config(data_dir)).map_err(|error| match error {
        OpenStoreError::Damaged(_) => Failure::damaged(error.to_string()),
        error => Failure::file("look at the store in", data_dir, &error),
    })?;
    let files = found.files.iter();
    let files: Vec<Json> = files
        .map(|(path, format)| json!({ "file": path.display().to_string(), "format": format }))
        .collect();
    let processes: Vec<Json> = found.nodes.iter().map(process).collect();
    let verdict = match (found.is_newer(), found.is_older()) {
        (true, _) => "newer",
        (false, true) => "older",
        (false, false) => "opens",
    };
    let document = json!({
        "ok": verdict == "opens",
        "verdict": verdict,
        "reads": found.ours,
        "files": files,
        "used_by": found.users,
        "processes": processes,
    });
    context.output.result(&document, text)?;
    Ok(ExitCode::from(u8::from(verdict != "opens")))
}

/// A process that is registered in the store.
pub(super) fn process(node: &NodeRow) -> Json {
    let process = node.process.as_ref();
    json!({
        "address": node.address,
        "pid": process.map(|it| it.pid),
        "version": process.map(|it| it.version.clone()),
        "formats": process.map(|it| [it.formats.0, it.formats.1]),
    })
}

/// What a check has found, for people.
pub(super) fn text(document: &Json) -> String {
    let list = |name: &str| document[name].as_array().cloned().unwrap_or_default();
    let header = ["file", "format"].map(str::to_owned).to_vec();
    let rows =
        list("files").iter().map(|it| vec![cell(&it["file"]), cell(&it["format"])]).collect();
    let mut text = match document.get("store") {
        Some(store) => cell(store),
        None => table(header, rows),
    };
    let users: Vec<String> = list("used_by").iter().map(Json::to_string).collect();
    if !users.is_empty() {
        text.push_str(&format!("\nin use by process {}", users.join(", ")));
    }
    for process in list("processes") {
        let of = |name: &str| match &process[name] {
            Json::Null => "not told".to_owned(),
            value => cell(value),
        };
        let (at, pid, version) = (of("address"), of("pid"), of("version"));
        text.push_str(&format!("\n  {at}: process {pid}, version {version}"));
    }
    let ours = &document["reads"];
    text.push_str(&match document["verdict"].as_str() {
        Some("newer") if document.get("store").is_some() => format!(
            "\nof format {}: this program reads format {ours}; run stockade {} or a later one",
            cell(&document["format"]),
            cell(&document["made_by"])
        ),
        Some("newer") => format!(
            "\nwritten by a later program: this one reads format {ours}, and cannot go back"
        ),
        Some("empty") => "\nholds no store: `stockade serve` makes it".to_owned(),
        Some("converts") => format!(
            "\nof format {}: `stockade serve` converts it to format {ours}",
            cell(&document["format"])
        ),
        Some("older") => format!(
            "\nthis program reads format {ours}: stop every process, make a backup, run \
             `stockade store upgrade`; nothing is converted before that"
        ),
        _ => format!("\nthis program reads format {ours}: `stockade serve` opens it"),
    });
    text
}

fn convert(context: &Context, data_dir: &Path) -> Result<ExitCode, Failure> {
    let converted = upgrade(&config(data_dir)).map_err(|error| match error {
        UpgradeError::Open(OpenStoreError::Damaged(_)) => Failure::damaged(error.to_string()),
        error => Failure::file("upgrade the store in", data_dir, &error),
    })?;
    let files: Vec<String> = converted.iter().map(|path| path.display().to_string()).collect();
    context.output.result(&json!({ "converted": files }), |document| {
        let files = document["converted"].as_array().map_or(&[][..], Vec::as_slice);
        match files {
            [] => "nothing to convert".to_owned(),
            files => {
                let lines: Vec<String> =
                    files.iter().map(|file| format!("converted {}", cell(file))).collect();
                lines.join("\n")
            }
        }
    })?;
    Ok(ExitCode::SUCCESS)
}
