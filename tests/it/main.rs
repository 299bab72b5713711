//! The suites that need a guest, a thread, a crash or a look at the whole tree; one binary.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    missing_docs,
    reason = "a test fails by panicking and tells what it saw"
)]

mod tidy;
mod wit;
