//! The suites that need a guest, a thread, a crash or a look at the whole tree; one binary.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a test fails by panicking and tells what it saw; it may wait on the clock"
)]

mod core;
mod crashes;
mod damage;
mod edge;
mod endings;
mod failed;
mod fatal;
mod fault;
mod fence;
mod frozen;
mod full;
mod gateway;
mod heirs;
mod history;
mod hostile;
mod import;
mod kill;
mod large;
mod lifecycle;
mod moved;
mod opening;
mod report;
mod retention;
mod revoke;
mod shutdown;
mod silent;
mod sql;
mod sqlite;
mod tidy;
mod typed;
mod verdicts;
mod wit;
