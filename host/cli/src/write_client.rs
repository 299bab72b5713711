//! `stockade client`: writes the WIT with which programs call the actors of a kind by typed functions.
//!
//! ```text
//!  KIND ──> its component and settings from the host ──┐
//!  FILE.wasm, FILE.wit, FOLDER ────────────────────────┴──> package stockade-client:KIND
//! ```
//! The component is read here, not by the host: its author is not trusted there.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use stockade_componentize::{ClientError, Interfaces, client};

use super::Context;
use super::failure::Failure;
use super::target::{KindName, segment};

/// Write the WIT with which other actors call those of a kind through typed functions
///
/// The callee's methods become functions of a resource that is made of a key. A component that imports
/// the interface calls them as ordinary functions, in any language; no JSON is written or read by it. The
/// host compares the types at each call.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  stockade client counter                              of a kind that is deployed
  stockade client counter -o wit/deps/counter.wit
  stockade client counter.wasm                         of a component, without a server
  stockade client world.wit --kind counter             of WIT, before there is a component

Rust, with the SDK:
  stockade client counter -o counter.wit
  stockade_sdk::client!(\"counter.wit\", counter);")]
pub(super) struct WriteClient {
    /// A deployed kind; or a component, a WIT file, or a folder with WIT and its dependencies
    #[arg(value_name = "KIND|FILE")]
    of: String,
    /// Where to write [default: stdout]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The kind under which the component of a file is deployed [default: the name of the file]
    #[arg(long)]
    kind: Option<KindName>,
    /// Which world of a WIT file the component has, if there are several
    #[arg(long, value_name = "NAME")]
    world: Option<String>,
    /// A function without a package that is a method, as the manifest has it; only for a file
    #[arg(long = "method", value_name = "NAME")]
    methods: Vec<String>,
}

impl WriteClient {
    pub(super) fn run(&self, context: &Context) -> Result<ExitCode, Failure> {
        // Neither a dot nor a slash is in the name of a kind.
        let (kind, text) = match self.of.contains(['.', '/']) {
            true => self.of_file(Path::new(&self.of))?,
            false => self.of_kind(context)?,
        };
        let file = self.output.as_ref().map(|path| path.display().to_string());
        if let Some(path) = &self.output {
            std::fs::write(path, &text)
                .map_err(|error| Failure::file("write the client to", path, &error))?;
        }
        let document = json!({ "kind": kind, "file": file, "wit": text });
        context.output.result(&document, |_| match file {
            Some(file) => format!("wrote the client of {kind} to {file}"),
            None => text.clone(),
        })?;
        Ok(ExitCode::SUCCESS)
    }

    fn of_kind(&self, context: &Context) -> Result<(String, String), Failure> {
        if self.kind.is_some() || self.world.is_some() || !self.methods.is_empty() {
            let words =
                "--kind, --world and --method are for a file; a kind that is deployed has them";
            return Err(Failure::usage(words));
        }
        let kind: KindName = self.of.parse().map_err(Failure::usage)?;
        let host = context.admin()?;
        let path = format!("/admin/kinds/{}", segment(&kind));
        let described = host.get(&path)?.json()?;
        let named = described["manifest"]["methods"].as_array().into_iter().flatten();
        let named: Vec<String> = named.filter_map(|name| Some(name.as_str()?.to_owned())).collect();
        let wasm = host.get(&format!("{path}/component"))?.into_bytes();
        let text = Interfaces::of_component(&wasm).and_then(|read| client(&kind, &read, &named));
        Ok((
            kind.to_string(),
            text.map_err(|error| refused(&format!("the kind {}", &*kind), &error))?,
        ))
    }

    fn of_file(&self, path: &Path) -> Result<(String, String), Failure> {
        let kind = match &self.kind {
            Some(kind) => kind.to_string(),
            None => {
                let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
                let kind: Result<KindName, String> = stem.parse();
                let words = "the name of the file is no kind: --kind says the kind";
                kind.map_err(|_| Failure::usage(words))?.to_string()
            }
        };
        let read = match path.extension().is_some_and(|extension| extension == "wasm") {
            true if self.world.is_some() => {
                return Err(Failure::usage("--world is for WIT; a component has one"));
            }
            true => {
                let wasm = std::fs::read(path)
                    .map_err(|error| Failure::file("read the component", path, &error))?;
                Interfaces::of_component(&wasm)
            }
            false => Interfaces::of_wit(path, self.world.as_deref()),
        };
        let text = read.and_then(|read| client(&kind, &read, &self.methods));
        let text = text.map_err(|error| refused(&path.display().to_string(), &error))?;
        Ok((kind, text))
    }
}

fn refused(what: &str, error: &ClientError) -> Failure {
    Failure::local(format!("{what} has no client: {error}"))
}
