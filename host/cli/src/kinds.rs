//! `stockade kinds` and `stockade describe`: the deployed kinds, their methods, and their removal.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value as Json, json};

use super::Context;
use super::client::Client;
use super::failure::Failure;
use super::output::{bytes, cell, table};
use super::target::{KindName, segment};

/// Kinds per request of a listing.
const PAGE: usize = 200;

/// List the deployed kinds, or remove one
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  stockade kinds
  stockade kinds rm counter
  stockade kinds rm counter --with-actors --yes")]
pub(super) struct Kinds {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Subcommand)]
enum What {
    /// List the deployed kinds: the same as without a command
    List,
    /// Remove a kind: no actor can be called under its name until it is deployed again
    ///
    /// Refused while the kind has actors, asleep or awake, unless they are to be destroyed with it.
    /// Live actors of the kind end in order, here immediately and in other processes on the same
    /// data within a second. The component stays in the store.
    Rm(Remove),
}

#[derive(Args)]
struct Remove {
    /// Name of the kind
    kind: KindName,
    /// Destroy its actors, and everything that they have stored
    #[arg(long)]
    with_actors: bool,
    /// Destroy actors without a question
    #[arg(long, short, requires = "with_actors")]
    yes: bool,
}

/// Show the methods of a kind, with their types and an example each
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  stockade describe counter
  stockade describe counter --json")]
pub(super) struct Describe {
    /// Name of the kind
    kind: KindName,
}

impl Kinds {
    pub(super) fn run(&self, context: &Context) -> Result<ExitCode, Failure> {
        let client = context.admin()?;
        match &self.what {
            None | Some(What::List) => list(context, &client)?,
            Some(What::Rm(remove)) => remove.run(context, &client)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn list(context: &Context, client: &Client) -> Result<(), Failure> {
    let (mut kinds, mut after) = (Vec::new(), None::<String>);
    loop {
        let from = after.map(|after| format!("&after={}", segment(&after))).unwrap_or_default();
        let mut page = client.get(&format!("/admin/kinds?limit={PAGE}{from}"))?.json()?;
        if let Json::Array(more) = page["kinds"].take() {
            kinds.extend(more);
        }
        after = page["next"].as_str().map(str::to_owned);
        if after.is_none() {
            break;
        }
    }
    context.output.result(&json!({ "kinds": kinds }), |document| {
        let kinds = document["kinds"].as_array().map_or(&[][..], Vec::as_slice);
        if kinds.is_empty() {
            return "nothing is deployed: stockade deploy KIND FILE.wasm".to_owned();
        }
        let header = ["kind", "version", "methods", "component"].map(str::to_owned).to_vec();
        table(header, kinds.iter().map(row).collect())
    })
}

fn row(kind: &Json) -> Vec<String> {
    let methods = kind["methods"].as_array().map_or(0, Vec::len);
    let component = cell(&kind["component"]).chars().take(12).collect();
    vec![cell(&kind["kind"]), cell(&kind["version"]), methods.to_string(), component]
}

impl Remove {
    fn run(&self, context: &Context, client: &Client) -> Result<(), Failure> {
        let kind = &*self.kind;
        if self.with_actors && !self.yes {
            let count = format!("/admin/actors?count=true&kind={}", segment(kind));
            let found = client.get(&count)?.json()?;
            let size = bytes(found["bytes"].as_u64().unwrap_or(0));
            let more = if found["complete"] == true { "" } else { " or more" };
            let what =
                format!("kind {kind} with {}{more} actors and {size} of data", found["count"]);
            context.output.confirm(&what, "the kind's name", kind)?;
        }
        let path = format!("/admin/kinds/{}?with_actors={}", segment(kind), self.with_actors);
        let document = client.delete(&path)?.json()?;
        context.output.result(&document, |document| {
            let (ended, destroyed) = (&document["ended"], &document["destroyed"]);
            format!("{kind} is removed; {ended} live actors ended, {destroyed} actors destroyed")
        })
    }
}

impl Describe {
    pub(super) fn run(&self, context: &Context) -> Result<ExitCode, Failure> {
        let path = format!("/admin/kinds/{}", segment(&self.kind));
        let document = context.admin()?.get(&path)?.json()?;
        context.output.result(&document, |document| describe(&self.kind, document))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Arguments that fit the method, quoted for a shell.
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
    if let Some(actors) = document["usage"]["actors"].as_u64() {
        let stored = bytes(document["usage"]["stored_bytes"].as_u64().unwrap_or(0));
        text.push_str(&format!("{actors} actors, {stored} stored\n"));
    }
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
