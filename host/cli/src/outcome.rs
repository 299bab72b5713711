//! `stockade outcome`: what became of a call that has an id.

use std::process::ExitCode;

use clap::Args;
use serde_json::Value as Json;

use super::Context;
use super::failure::Failure;
use super::output::{cell, printable};
use super::target::{Target, segment};

/// Say what became of a call that has an id
///
/// The answer is `committed`, with the method's answer if it was kept; `partial`: the call has begun and
/// has not ended; `never`; `not-seen`: nothing is recorded, and the call may still come; `expired`: the
/// time in its id is more than a day ago. The question waits behind the calls that the actor has, and
/// does not wake it.
///
/// An id counts for one caller: ask with the token that the call was made with.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  stockade call ledger/bank transfer alice bob 30 --id 1764561101000-order-17
  stockade outcome ledger/bank 1764561101000-order-17
  stockade outcome ledger/bank 1764561101000-order-17 --settle")]
pub(super) struct Ask {
    /// The actor, KIND/KEY
    actor: Target,
    /// The id of the call
    id: String,
    /// For good: if nothing is recorded, the call is refused from now on, and the answer is `never`
    #[arg(long)]
    settle: bool,
}

impl Ask {
    pub(super) fn run(&self, context: &Context) -> Result<ExitCode, Failure> {
        let path = format!("/actors{}/calls/{}", self.actor.path(), segment(&self.id));
        let client = context.server()?;
        let answer = if self.settle { client.post(&path, &[], &[])? } else { client.get(&path)? };
        context.output.result(&answer.json()?, told)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn told(document: &Json) -> String {
    let (outcome, txid) = (cell(&document["outcome"]), cell(&document["txid"]));
    match (outcome.as_str(), document["answer_kept"].as_bool()) {
        ("committed", Some(true)) => {
            let answer = document["answer"].to_string();
            format!("committed, as of commit {txid}: {}", printable(&answer))
        }
        ("committed", _) => format!("committed, as of commit {txid}; the answer was not kept"),
        _ => format!("{outcome}, as of commit {txid}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_outcome_is_a_line() {
        for (document, line) in [
            (
                json!({ "outcome": "committed", "txid": 7, "answer_kept": true, "answer": { "ok": "a\u{1b}" } }),
                "committed, as of commit 7: {\"ok\":\"a\\u001b\"}",
            ),
            (
                json!({ "outcome": "committed", "txid": 7, "answer_kept": false }),
                "committed, as of commit 7; the answer was not kept",
            ),
            (json!({ "outcome": "not-seen", "txid": 7 }), "not-seen, as of commit 7"),
        ] {
            assert_eq!(told(&document), line);
        }
    }
}
