//! `stockade store`: the format of a data directory's store, and its conversion.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value as Json, json};
use stockade_depot::store::embedded::{
    EmbeddedConfig, OpenStoreError, UpgradeError, formats, upgrade,
};

use super::Context;
use super::failure::Failure;
use super::output::{cell, table};

/// The store in a data directory: its format, and its conversion to this program's
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  stockade store check --data-dir ./data
  stockade store upgrade --data-dir ./data     after every process was stopped, and a backup made")]
pub(super) struct Store {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Tell the format of each file, and whether the store must be converted; changes nothing
    ///
    /// Exits with 1 if it must be.
    Check(Of),
    /// Convert a store of an older format; ended at any moment, it goes on when it is given again
    ///
    /// Refused while a process serves the store. An older program cannot open it afterwards.
    Upgrade(Of),
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
            Action::Check(of) => check(context, &of.data_dir),
            Action::Upgrade(of) => convert(context, &of.data_dir),
        }
    }
}

fn config(data_dir: &Path) -> EmbeddedConfig {
    EmbeddedConfig::new(data_dir.join("store"))
}

fn check(context: &Context, data_dir: &Path) -> Result<ExitCode, Failure> {
    let found = formats(&config(data_dir)).map_err(|error| match error {
        OpenStoreError::Damaged(_) => Failure::damaged(error.to_string()),
        error => Failure::file("look at the store in", data_dir, &error),
    })?;
    let files = found
        .files
        .iter()
        .map(|(path, format)| json!({ "file": path.display().to_string(), "format": format }));
    let files: Vec<Json> = files.collect();
    let document = json!({ "ok": !found.is_older(), "reads": found.ours, "files": files });
    context.output.result(&document, |document| {
        let files = document["files"].as_array().map_or(&[][..], Vec::as_slice);
        let rows = files.iter().map(|file| vec![cell(&file["file"]), cell(&file["format"])]);
        let header = ["file", "format"].map(str::to_owned).to_vec();
        let what = if document["ok"] == true {
            format!("this program reads format {}", document["reads"])
        } else {
            format!("this program reads format {}: run `stockade store upgrade`", document["reads"])
        };
        format!("{}\n{what}", table(header, rows.collect()))
    })?;
    Ok(ExitCode::from(u8::from(found.is_older())))
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
