//! `stockade nodes` and `stockade drain`: the processes that share a store, and the drain of one.

use std::process::ExitCode;

use clap::Args;
use serde_json::Value as Json;

use super::Context;
use super::client::Client;
use super::failure::Failure;
use super::output::{bytes, cell, table};

/// List the processes that share the store
///
/// Shows of each its addresses, version, load at its last sign of life, actors awake, how long ago
/// that sign was seen (the age of its lease), and whether it drains. `*` is the one that answers.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  stockade nodes
  stockade nodes --admin 10.0.0.1:7071 --json")]
pub(super) struct Nodes {}

impl Nodes {
    pub(super) fn run(&self, context: &Context) -> Result<ExitCode, Failure> {
        let document = context.admin()?.get("/admin/nodes")?.json()?;
        context.output.result(&document, text)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn text(document: &Json) -> String {
    let header =
        ["", "address", "peers", "version", "awake", "memory", "cpu", "lease age", "state"];
    let nodes = document["nodes"].as_array().map_or(&[][..], Vec::as_slice);
    table(header.map(str::to_owned).to_vec(), nodes.iter().map(row).collect())
}

fn row(node: &Json) -> Vec<String> {
    let or_none = |value: &Json| if value.is_null() { "-".to_owned() } else { cell(value) };
    let load = &node["load"];
    let memory = load["guest_bytes"].as_u64().map_or_else(|| "-".to_owned(), bytes);
    let cpu = load["cpu_permille"].as_u64().map_or_else(
        || "-".to_owned(),
        |permille| format!("{}.{} %", permille / 10, permille % 10),
    );
    let state = match (node["alive"] == true, node["draining"] == true) {
        (false, _) => "silent",
        (true, true) => "draining",
        (true, false) => "serving",
    };
    let age = format!("{} ms", cell(&node["lease_age_ms"]));
    vec![
        if node["answers"] == true { "*" } else { "" }.to_owned(),
        cell(&node["address"]),
        or_none(&node["peers"]),
        or_none(&node["version"]),
        or_none(&load["awake"]),
        memory,
        cpu,
        age,
        state.to_owned(),
    ]
}

/// Give the actors of a process up to the others, without an error for callers
///
/// The process begins no more actors; those that are awake finish their calls and end in order, and
/// their next calls begin them elsewhere. Waits until no actor is awake. The process still
/// answers for all actors by passing calls on; stop it when the drain is done, or undo the drain.
/// SIGTERM drains as well where other processes take actors over.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  stockade drain --admin 10.0.0.1:7071
  stockade drain --undo")]
pub(super) struct Drain {
    /// End the drain: actors begin here again
    #[arg(long)]
    undo: bool,
    /// Do not wait until no actor is awake
    #[arg(long, conflicts_with = "undo")]
    no_wait: bool,
}

impl Drain {
    pub(super) fn run(&self, context: &Context) -> Result<ExitCode, Failure> {
        let client = context.admin()?;
        let document = if self.undo {
            client.delete("/admin/drain")?.json()?
        } else {
            let begun = client.post("/admin/drain", &[], &[])?.json()?;
            if self.no_wait { begun } else { wait(context, &client, begun)? }
        };
        context.output.result(&document, |document| {
            let awake = &document["awake"];
            match document["draining"] == true {
                true => format!("drains; {awake} actors are awake"),
                false => format!("does not drain; {awake} actors are awake"),
            }
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Until no actor is awake, or another operator has ended the drain.
fn wait(context: &Context, client: &Client, begun: Json) -> Result<Json, Failure> {
    let total = begun["awake"].as_u64().unwrap_or(0);
    let bar = context.output.progress(Some(total), "{bar:40} {pos} of {len} actors given up");
    let mut document = begun;
    while document["draining"] == true && document["awake"] != 0 {
        document = client.get("/admin/drain?wait_ms=500")?.json()?;
        bar.set_position(total.saturating_sub(document["awake"].as_u64().unwrap_or(0)));
    }
    bar.finish_and_clear();
    Ok(document)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_process_that_reports_little_is_shown_all_the_same() {
        let former = json!({
            "address": "a:1", "peers": null, "version": null, "alive": true, "draining": false,
            "lease_age_ms": 40, "load": null, "answers": false,
        });
        assert_eq!(row(&former), ["", "a:1", "-", "-", "-", "-", "-", "40 ms", "serving"]);
        let load = json!({ "awake": 3, "guest_bytes": 1024, "cpu_permille": 125 });
        let own = json!({
            "address": "b:1", "peers": "b:2", "version": "0.2.0", "alive": true, "draining": true,
            "lease_age_ms": 40, "load": load, "answers": true,
        });
        let shown = row(&own);
        assert_eq!((shown[0].as_str(), shown[4].as_str(), shown[6].as_str()), ("*", "3", "12.5 %"));
        assert_eq!(shown[8], "draining");
    }
}
