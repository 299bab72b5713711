//! The kit of the test suites: hosts and programs to start, guests to deploy, stores with faults.
//!
//! - [`guest`] names every built test guest and example; a missing guest toolchain is told by the
//!   test that needs the guest, never skipped.
//! - [`faulty_store`] wraps a store and fails its Nth step of a sort. Faults enter here only: the
//!   VFS and SQLite are real.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test fails by panicking and tells what it saw"
)]

pub mod faulty_store;
