//! `stockade deploy`: sends a component to the host.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Map, Value as Json, json};

use super::failure::Failure;
use super::target::{KindName, segment};
use super::{Context, output};
use stockade_server::MANIFEST_HEADER;

/// Deploy a component under a name, the kind of its actors
///
/// Live actors of the kind end in order, and their next call runs the new code. Their data stays.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  stockade deploy counter target/guest/wasm32-wasip1/guest/counter.wasm
  stockade deploy counter counter.wasm --limit call_time_ms=2000 --limit rows_max=1000
  stockade deploy counter counter.wasm --manifest counter.toml

A manifest is TOML; limits that it leaves out have the host's defaults. Methods are the functions of
interfaces that belong to a package, and those that it names:
  methods = [\"ping\", \"tools#ping\"]
  [limits]
  call_time_ms = 2000
  memory_bytes_max = 67108864
  cpu_weight = 3          # share of the processor beside other kinds, 1 to 100")]
pub(super) struct Deploy {
    /// Name of the kind: a-z, 0-9, '-', '_'
    kind: KindName,
    /// The component, or the core module that a compiler for wasm32-wasip1 emits
    file: PathBuf,
    /// Settings of the kind, TOML
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// One limit of the kind; overrides the manifest's
    #[arg(long = "limit", value_name = "NAME=NUMBER", value_parser = limit)]
    limits: Vec<(String, u64)>,
}

impl Deploy {
    pub(super) fn run(&self, context: &Context) -> Result<ExitCode, Failure> {
        let wasm = std::fs::read(&self.file)
            .map_err(|error| Failure::file("read the component", &self.file, &error))?;
        let manifest = self.manifest()?.to_string();
        let headers = [
            ("content-type", "application/wasm"),
            // An upload that the host refuses is not sent at all.
            ("expect", "100-continue"),
            (MANIFEST_HEADER, manifest.as_str()),
        ];
        let client = context.admin()?;
        let bar = context.output.progress(None, "{spinner} compiling {msg} ({elapsed})");
        bar.set_message(output::bytes(u64::try_from(wasm.len()).unwrap_or(u64::MAX)));
        let answer = client.put(&format!("/admin/kinds/{}", segment(&self.kind)), &headers, &wasm);
        bar.finish_and_clear();
        context.output.result(&answer?.json()?, describe)?;
        Ok(ExitCode::SUCCESS)
    }

    /// The manifest's file, with the single limits on top.
    fn manifest(&self) -> Result<Json, Failure> {
        let mut manifest = match &self.manifest {
            None => json!({}),
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|error| Failure::file("read the manifest", path, &error))?;
                toml::from_str(&text)
                    .map_err(|error| Failure::file("read the manifest", path, &error))?
            }
        };
        let Json::Object(fields) = &mut manifest else { return Ok(manifest) };
        if !self.limits.is_empty() {
            let limits = fields.entry("limits").or_insert_with(|| Json::Object(Map::new()));
            if let Json::Object(limits) = limits {
                let given = self.limits.iter();
                limits.extend(given.map(|(name, number)| (name.clone(), json!(number))));
            }
        }
        Ok(manifest)
    }
}

/// Reads `name=number`. Underscores and the suffixes k, m, g (powers of 1024) make numbers
/// readable.
pub(super) fn limit(text: &str) -> Result<(String, u64), String> {
    let wrong = || format!("{text:?} is not NAME=NUMBER, for example rows_max=1000 or 64m");
    let (name, number) = text.split_once('=').ok_or_else(wrong)?;
    let digits = number.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &number[digits.len()..] {
        "" => 1,
        "k" | "K" => 1024,
        "m" | "M" => 1024 * 1024,
        "g" | "G" => 1024 * 1024 * 1024,
        _ => return Err(wrong()),
    };
    let number: u64 = digits.replace('_', "").parse().map_err(|_| wrong())?;
    let number = number.checked_mul(factor).ok_or_else(wrong)?;
    Ok((name.to_owned(), number))
}

fn describe(deployed: &Json) -> String {
    let component: String = output::cell(&deployed["component"]).chars().take(12).collect();
    let mut text = format!(
        "deployed {} version {} ({component}, {} {})",
        output::cell(&deployed["kind"]),
        deployed["version"],
        deployed["methods"],
        if deployed["methods"] == 1 { "method" } else { "methods" },
    );
    match deployed["ended"].as_u64().unwrap_or(0) {
        0 => {}
        1 => text.push_str("; 1 live actor runs the new code at its next call"),
        ended => {
            text.push_str(&format!("; {ended} live actors run the new code at their next call"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_numbers_with_a_name() {
        assert_eq!(limit("rows_max=1_000"), Ok(("rows_max".to_owned(), 1000)));
        assert_eq!(limit("memory_bytes_max=64m"), Ok(("memory_bytes_max".to_owned(), 64 << 20)));
        for text in ["rows_max", "rows_max=", "rows_max=-1", "a=1t", "a=99999999999g"] {
            assert!(limit(text).is_err(), "{text}");
        }
    }

    #[test]
    fn single_limits_are_over_the_manifests() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("m.toml");
        std::fs::write(&path, "[limits]\nrows_max = 1\ncall_time_ms = 2\n").expect("write");
        let deploy = Deploy {
            kind: "a".parse().expect("a kind"),
            file: PathBuf::new(),
            manifest: Some(path),
            limits: vec![("rows_max".to_owned(), 3)],
        };
        let manifest = deploy.manifest().expect("reads");
        assert_eq!(manifest, json!({ "limits": { "rows_max": 3, "call_time_ms": 2 } }));
    }
}
