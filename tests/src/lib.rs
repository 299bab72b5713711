//! The kit of the test suites: hosts and programs to start, guests to deploy, stores with faults.
//!
//! - [`mod@guest`] names every built test guest and example. A missing guest toolchain is told by
//!   the test that needs the guest, never skipped.
//! - [`host`] starts hosts in this process: several over one store, each with faults of its own.
//! - [`mod@program`] starts the real `stockade`, to be killed and started again.
//! - [`mod@capture`] keeps what was logged.
//! - [`faulty_store`] wraps a store and fails its Nth step of a sort. Faults enter here only: the
//!   VFS and SQLite are real.
//! - [`recorder`] notes the steps of endings in the order in which a host does them.

#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test fails by panicking and tells what it saw; it may wait on the clock"
)]

pub mod capture;
pub mod faulty_store;
pub mod guest;
pub mod host;
pub mod program;
pub mod recorder;

/// Programs in documents, which are compiled.
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
/// It does not build.
pub fn program() -> anyhow::Result<std::path::PathBuf> {
    program::path()
}
