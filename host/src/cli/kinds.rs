//! `stockade kinds` and `stockade describe`: what is deployed, and how to call it.

use std::process::ExitCode;

use clap::Args;
use serde_json::Value as Json;

use super::Context;
use super::failure::Failure;
use super::output::{cell, table};
use super::target::segment;

/// List what is deployed
#[derive(Args)]
#[command(after_long_help = "Example:\n  stockade kinds")]
pub(super) struct Kinds {}

/// Show the methods of a kind, with their types and an example each
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  stockade describe counter
  stockade describe counter --json")]
pub(super) struct Describe {
    /// Name of the kind
    kind: String,
}

impl Kinds {
    #[expect(clippy::unused_self, reason = "every command runs the same way")]
    pub(super) fn run(&self, context: &Context) -> Result<ExitCode, Failure> {
        let document = context.admin()?.get("/admin/kinds")?.json()?;
        context.output.result(&document, |document| {
            let kinds = document["kinds"].as_array().map_or(&[][..], Vec::as_slice);
            if kinds.is_empty() {
                return "nothing is deployed: stockade deploy KIND FILE.wasm".to_owned();
            }
            let header = ["kind", "version", "methods", "component"].map(str::to_owned).to_vec();
            table(header, kinds.iter().map(row).collect())
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

fn row(kind: &Json) -> Vec<String> {
    let methods = kind["methods"].as_array().map_or(0, Vec::len);
    let component = cell(&kind["component"]).chars().take(12).collect();
    vec![cell(&kind["kind"]), cell(&kind["version"]), methods.to_string(), component]
}

impl Describe {
    pub(super) fn run(&self, context: &Context) -> Result<ExitCode, Failure> {
        let path = format!("/admin/kinds/{}", segment(&self.kind));
        let document = context.admin()?.get(&path)?.json()?;
        context.output.result(&document, |document| describe(&self.kind, document))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Arguments that fit, quoted for a shell.
fn example(method: &Json) -> String {
    match &method["example"] {
        Json::Object(none) if none.is_empty() => String::new(),
        example => {
            let quoted = example.to_string().replace('\'', "'\\''");
            format!(" --json-args '{quoted}'")
        }
    }
}

fn describe(kind: &str, document: &Json) -> String {
    let list = |name: &str| document[name].as_array().cloned().unwrap_or_default();
    let mut text = format!(
        "{kind}, version {}, component {}\n",
        document["version"],
        cell(&document["component"])
    );
    let mut interface = String::new();
    for method in list("methods") {
        let of = cell(&method["interface"]);
        if of != interface {
            text.push_str(&format!("\ninterface {of}\n"));
            interface = of;
        }
        let name = cell(&method["name"]);
        text.push_str(&format!("  {name}: {}\n", cell(&method["signature"])));
        text.push_str(&format!("    stockade call {kind}/KEY {name}{}\n", example(&method)));
    }
    for left_out in list("excluded") {
        let (name, why) = (cell(&left_out["name"]), cell(&left_out["why"]));
        text.push_str(&format!("\nnot callable: {name}: {why}"));
    }
    text
}
