//! `stockade call`: calls a method of an actor.

use std::io::Read;
use std::process::ExitCode;

use clap::Args;

use super::Context;
use super::failure::Failure;
use super::output::printable;
use super::target::{Target, segment};
use stockade_server::{
    BILL_HEADER, GENERATION_HEADER, KEY_HEADER, RESULT_HEADER, TXID_HEADER, WAVE_CONTENT_TYPE,
    WORDS_CONTENT_TYPE,
};

/// Call a method of an actor; the first call creates it
///
/// Arguments and result are WAVE, the text form of component values: 5, "text", [1, 2], {name: "x",
/// age: 3}, some(1), ok("done"). With --json the result is printed as JSON. The quotes around an
/// argument that is one string may be left out.
///
/// A method that answers err(...) has run and answered: the exit code is 0 unless --fail-on-err.
#[derive(Args)]
#[command(after_long_help = r#"Examples:
  stockade call counter/alice increment 5
  stockade call ledger/bank transfer alice bob 30
  stockade call ledger/bank transfer --json-args '["alice", "bob", 30]'
  stockade call ledger/bank transfer --json-args '{"source": "alice", "target": "bob", "amount": 30}'
  stockade call catalog/debian ingest @part-of-Packages
  generate | stockade call catalog/debian ingest -

A string that begins with ", @ or - is given as WAVE inside the shell's quotes: '"@home"'.
`stockade describe KIND` shows methods, their types and an example of each."#)]
pub(super) struct Call {
    /// The actor, KIND/KEY
    actor: Target,
    /// The method; with its interface in front if several methods have this name
    method: String,
    /// Arguments as WAVE, one each; `@FILE` is the text in a file, `-` the text from stdin
    #[arg(allow_negative_numbers = true, value_name = "ARGS")]
    arguments: Vec<String>,
    /// All arguments as one JSON array or object: text, `@FILE`, or `-` for stdin
    #[arg(long, value_name = "JSON", conflicts_with = "arguments", allow_hyphen_values = true)]
    json_args: Option<String>,
    /// An id for the call: with the same one it runs once at most, and a repeat gets the same answer.
    /// `stockade outcome` says what became of it
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Exit with 1 if the method answers err(...)
    #[arg(long)]
    fail_on_err: bool,
    /// Print generation, txid and the cost of the call to stderr
    #[arg(long)]
    bill: bool,
}

impl Call {
    #[cfg(test)]
    pub(super) fn arguments(&self) -> &[String] {
        &self.arguments
    }

    pub(super) fn run(&self, context: &Context) -> Result<ExitCode, Failure> {
        let (content_type, body) = self.body()?;
        let accept = if context.output.is_json() { "application/json" } else { WAVE_CONTENT_TYPE };
        let path = format!("/actors{}/{}", self.actor.path(), segment(&self.method));
        let mut headers = vec![("content-type", content_type), ("accept", accept)];
        headers.extend(self.id.as_deref().map(|id| (KEY_HEADER, id)));
        let answer = context.server()?.post(&path, &headers, &body)?;
        if self.bill {
            context.output.note(&format!(
                "generation={};txid={};{}",
                answer.header(GENERATION_HEADER),
                answer.header(TXID_HEADER),
                answer.header(BILL_HEADER)
            ));
        }
        let refused = answer.header(RESULT_HEADER) == "err";
        let text = answer.text()?;
        if context.output.is_json() || !text.is_empty() {
            context.output.line(&printable(&text))?;
        }
        Ok(ExitCode::from(u8::from(refused && self.fail_on_err)))
    }

    fn body(&self) -> Result<(&'static str, Vec<u8>), Failure> {
        if let Some(json) = &self.json_args {
            return Ok(("application/json", indirect(json)?));
        }
        if self.arguments.is_empty() {
            return Ok((WORDS_CONTENT_TYPE, Vec::new()));
        }
        let words = self.arguments.iter().map(|argument| word(argument));
        let words: Vec<String> = words.collect::<Result<_, _>>()?;
        let body = serde_json::to_vec(&words).expect("BUG: texts are JSON");
        Ok((WORDS_CONTENT_TYPE, body))
    }
}

/// An argument as text.
fn word(argument: &str) -> Result<String, Failure> {
    String::from_utf8(indirect(argument)?)
        .map_err(|error| Failure::usage(format!("the argument {argument} is not UTF-8: {error}")))
}

/// The text itself, or the text that `@file` or `-` stands for.
fn indirect(text: &str) -> Result<Vec<u8>, Failure> {
    if let Some(path) = text.strip_prefix('@') {
        return std::fs::read(path)
            .map_err(|error| Failure::file("read arguments from", path.as_ref(), &error));
    }
    if text == "-" {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes).map_err(|error| {
            Failure::local(format!("cannot read arguments from stdin: {error}"))
        })?;
        return Ok(bytes);
    }
    Ok(text.as_bytes().to_vec())
}
