//! `stockade store shards` and `stockade store move-shard`: which primary keeps which shards.

use std::process::ExitCode;

use clap::Args;
use serde_json::Value as Json;

use super::Context;
use super::backend::StoreArgs;
use super::failure::Failure;
use super::output::{bytes, cell, table};

const COUNTING: &str = "{spinner} counting actors ({elapsed})";

/// Show which primary of a store keeps which shards; changes nothing
///
/// A store in PostgreSQL servers has 256 shards (16 if it was made by a former version), and each
/// actor is in one of them, by its name. A primary keeps a shard (here), gives it away (leaving), or
/// gets it (coming); a shard that is both leaving and coming is being moved, and its actors are
/// served. Actors are counted at the primary that gives the shard away until the move is complete.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  stockade store shards --store 'postgres://stockade@db1/stockade?name=east&sslrootcert=ca.pem' \\
    --store 'postgres://stockade@db2/stockade?name=west&sslrootcert=ca.pem' \\
    --store-password-file store-password
  stockade store shards --all --store ADDRESS --store ADDRESS      each shard
  stockade store shards --json --store ADDRESS --store ADDRESS     the same as JSON")]
pub(super) struct Shards {
    /// List each shard as well, with its actors
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// Move a shard to another primary while its actors are in use; after an interruption, the same
/// command continues
///
/// Each database is copied, taken from its owner, and given to the other primary, a few at the same
/// time. A call of an actor that is moved at that moment waits until the actor is there, or gets an
/// error that says that it was not committed and may be sent again: nothing that was acknowledged is
/// lost. Every `stockade serve` of the store must have been started with `--store` for the other
/// primary, and none may be of a version that knows of no moves.
///
/// Ctrl-C ends the command; so may anything else. Actors of a shard that is half moved are served
/// by both primaries, each by one of them, until the same command is run again. To move a shard
/// back, finish the move first.
///
/// Exits with 0 if the shard is at that primary now, or was there already.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  stockade store move-shard 7 --to west \\
    --store 'postgres://stockade@db1/stockade?name=east&sslrootcert=ca.pem' \\
    --store 'postgres://stockade@db2/stockade?name=west&sslrootcert=ca.pem' \\
    --store-password-file store-password
  for n in $(seq 0 63); do stockade store move-shard $n --to west --store .. --store ..; done")]
pub(super) struct MoveShard {
    /// The number of the shard, from 0
    shard: u8,
    /// The name of the primary that is to keep it
    #[arg(long, value_name = "NAME")]
    to: String,
    #[command(flatten)]
    store: StoreArgs,
}

impl Shards {
    pub(super) fn run(&self, context: &Context) -> Result<ExitCode, Failure> {
        let primaries = self.store.primaries()?;
        let bar = context.output.progress(None, COUNTING);
        let found = primaries.shards();
        bar.finish_and_clear();
        context.output.result(&found?, |document| text(document, self.all))?;
        Ok(ExitCode::SUCCESS)
    }
}

impl MoveShard {
    pub(super) fn run(&self, context: &Context) -> Result<ExitCode, Failure> {
        let primaries = self.store.primaries()?;
        let document = primaries.move_shard(self.shard, &self.to, context.output)?;
        context.output.result(&document, moved)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn list<'d>(document: &'d Json, name: &str) -> &'d [Json] {
    document[name].as_array().map_or(&[], Vec::as_slice)
}

fn stored(of: &Json) -> String {
    bytes(of["stored_bytes"].as_u64().unwrap_or(0))
}

fn text(document: &Json, all: bool) -> String {
    let header = ["primary", "address", "here", "leaving", "coming", "actors", "stored"];
    let row = |it: &Json| {
        let mut cells: Vec<String> = header[..6].iter().map(|&name| cell(&it[name])).collect();
        cells.push(stored(it));
        cells
    };
    let rows = list(document, "primaries").iter().map(row).collect();
    let mut text = table(header.map(str::to_owned).to_vec(), rows);
    if all {
        let header = ["shard", "primary", "state", "peer", "moves", "actors", "stored"];
        let row = |it: &Json| {
            let named = ["shard", "primary", "state", "peer", "version", "actors"];
            let mut cells: Vec<String> = named.iter().map(|&name| cell(&it[name])).collect();
            cells.push(if it["stored_bytes"].is_null() { String::new() } else { stored(it) });
            cells
        };
        let rows = list(document, "shards").iter().map(row).collect();
        text.push_str(&format!("\n{}", table(header.map(str::to_owned).to_vec(), rows)));
    }
    let leaving = list(document, "shards").iter().filter(|it| it["state"] == "leaving");
    for it in leaving {
        let (shard, from, to) = (cell(&it["shard"]), cell(&it["primary"]), cell(&it["peer"]));
        text.push_str(&format!(
            "\nshard {shard} is being moved from {from} to {to}: `stockade store move-shard {shard} \
             --to {to}` continues, unless it runs"
        ));
    }
    text
}

fn moved(document: &Json) -> String {
    let (shard, to) = (cell(&document["shard"]), cell(&document["to"]));
    if document["was_there"] == true {
        return format!("shard {shard} is at {to} already");
    }
    let databases = cell(&document["databases"]);
    let size = bytes(document["bytes"].as_u64().unwrap_or(0));
    let seconds = document["seconds"].as_f64().unwrap_or(0.0);
    let again = match document["retaken"].as_u64() {
        Some(0) | None => String::new(),
        Some(count) => format!("; taken from their owners again: {count}"),
    };
    format!("shard {shard} is at {to}: {databases} databases, {size} in {seconds:.1} s{again}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_move_under_way_says_how_it_continues() {
        let shard = |shard: u8, primary: &str, state: &str, peer: Option<&str>| {
            json!({
                "shard": shard, "primary": primary, "state": state, "peer": peer, "version": 1,
                "actors": 3, "stored_bytes": 4096,
            })
        };
        let primary = |name: &str| {
            json!({
                "primary": name, "address": format!("postgres://{name}:1/d"), "here": 1,
                "leaving": 0, "coming": 0, "actors": 3, "stored_bytes": 4096,
            })
        };
        let mut document = json!({
            "primaries": [primary("east"), primary("west")],
            "shards": [shard(0, "east", "here", None), shard(1, "west", "here", None)],
        });
        let shown = text(&document, false);
        assert!(shown.contains("postgres://west:1/d") && !shown.contains("move-shard"), "{shown}");
        document["shards"] = json!([
            shard(7, "east", "leaving", Some("west")),
            shard(7, "west", "coming", Some("east")),
        ]);
        for all in [false, true] {
            let shown = text(&document, all);
            assert!(shown.contains("move-shard 7 --to west` continues"), "{shown}");
            assert_eq!(shown.contains("coming │") || shown.contains("moves"), all, "{shown}");
        }
    }

    #[test]
    fn a_moved_shard_says_what_was_moved() {
        let mut document = json!({
            "shard": 7, "to": "west", "was_there": true, "databases": 2, "pages": 3,
            "bytes": 8192, "retaken": 0, "seconds": 1.25,
        });
        assert_eq!(moved(&document), "shard 7 is at west already");
        document["was_there"] = json!(false);
        assert_eq!(moved(&document), "shard 7 is at west: 2 databases, 8.00 KiB in 1.2 s");
        document["retaken"] = json!(1);
        assert!(moved(&document).ends_with("again: 1"), "{}", moved(&document));
    }
}
