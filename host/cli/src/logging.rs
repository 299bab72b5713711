//! Log lines: to stderr, as text or JSON.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use super::failure::Failure;
use super::record::{Form, Records};

/// Starts logging. `filter` is what `RUST_LOG` takes.
pub(super) fn start(filter: &str, json: bool) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(filter)
        .map_err(|error| Failure::usage(format!("--log {filter:?}: {error}")))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .event_format(Records(if json { Form::Json } else { Form::Text }));
    log.try_init().map_err(|error| Failure::local(format!("cannot log: {error}")))
}
