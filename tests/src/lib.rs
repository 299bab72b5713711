//! The kit of the test suites: hosts and programs to start, guests to deploy, stores with faults.
//!
//! - [`mod@guest`] names every built test guest and example. If the guest toolchain is missing,
//!   each test that needs a guest fails with that message; no test is skipped.
//! - [`host`] starts hosts in this process: several over one store, each with faults of its own.
//! - [`mod@program`] starts the real `stockade`, to be killed and started again.
//! - [`node`] starts several of them over one store, with keys and fixed addresses; [`wire`] is a
//!   caller with one connection, [`tally`] what callers know of a counter.
//! - [`net`] makes networks of machines out of namespaces, whose packets can be dropped and delayed.
//! - [`recorder`] notes the steps of endings in the order in which a host does them.
//!
//! What other packages need as well, stores with faults first of all, is in `stockade-testkit`.

#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test fails by panicking and tells what it saw; it may wait on the clock"
)]

pub mod guest;
pub mod host;
pub mod net;
pub mod node;
pub mod program;
pub mod recorder;
pub mod tally;
pub mod wire;

/// The programs in documents, compiled.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../../README.md")]
    struct Readme;
    #[doc = include_str!("../../host/README.md")]
    struct Package;
    #[doc = include_str!("../../docs/reference/cli.md")]
    struct Cli;
}

use anyhow::Context;

/// The component of a guest by the name of its folder.
///
/// # Errors
/// There is no such guest, or it was not built.
pub fn guest(name: &str) -> anyhow::Result<Vec<u8>> {
    let found = guest::ALL.iter().find(|guest| guest.name == name);
    found.with_context(|| format!("there is no guest {name}"))?.wasm()
}

/// The `stockade` program, built from this tree with the profile of the caller.
///
/// # Errors
/// The program does not build.
pub fn program() -> anyhow::Result<std::path::PathBuf> {
    program::path()
}
