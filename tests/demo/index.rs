//! Debian's package index, cut at empty lines and sent to the catalog actor, with a progress bar.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use stockade_tests::program::Program;

use crate::{ok_of, say};

/// Bytes of text in one call: one transaction, one commit.
const CHUNK_BYTES: usize = 1 << 20;

/// Sends the index to the catalog. Returns how many packages the catalog has then.
pub(crate) fn ingest(host: &Program, dir: &Path) -> Result<u64> {
    let text = fetch(&dir.join("Packages"))?;
    let bar = ProgressBar::new(u64::try_from(text.len())?);
    let style = "   {bar:40} {bytes}/{total_bytes} {bytes_per_sec} {msg}";
    bar.set_style(ProgressStyle::with_template(style)?);
    let begun = Instant::now();
    let mut records = 0;
    let mut rest = text.as_str();
    while !rest.trim().is_empty() {
        let (chunk, after) = rest.split_at(cut(rest));
        let reply = host.call("catalog/debian", "ingest", &json!([chunk]))?;
        ensure!(reply.status == 200, "ingest: {}", reply.body);
        records += ok_of(&reply.body)?.as_u64().context("a count")?;
        bar.inc(u64::try_from(chunk.len())?);
        bar.set_message(format!("{records} records"));
        rest = after;
    }
    bar.finish_and_clear();
    let took = begun.elapsed().as_secs_f64();
    let count = host.call("catalog/debian", "count", &json!([]))?;
    let packages = ok_of(&count.body)?.as_u64().context("a count")?;
    say(&format!(
        "{records} records taken in, {packages} packages, {took:.1} s, each call durable"
    ));
    Ok(packages)
}

/// Runs the example's script. The index is tens of megabytes of text.
fn fetch(to: &Path) -> Result<String> {
    say("$ examples/catalog/fetch-index.sh > Packages");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/catalog/fetch-index.sh");
    let file = std::fs::File::create(to)?;
    let status = Command::new("bash").arg(script).stdout(Stdio::from(file)).status()?;
    ensure!(status.success(), "fetch-index.sh ended with {status}");
    let text = String::from_utf8(std::fs::read(to)?).context("the index is UTF-8")?;
    ensure!(!text.trim().is_empty(), "the index is empty");
    Ok(text)
}

/// Where to cut the text: after the last whole record that fits, or after the first record if none
/// fits.
fn cut(text: &str) -> usize {
    if text.len() <= CHUNK_BYTES {
        return text.len();
    }
    let mut end = CHUNK_BYTES;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let last = text[..end].rfind("\n\n");
    let first = || text.find("\n\n");
    last.or_else(first).map_or(text.len(), |at| at + 2)
}
