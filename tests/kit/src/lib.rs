//! What the tests of several packages share.
//!
//! - [`faulty_store`] wraps a store and fails its Nth step of a sort. Faults enter here only: the
//!   VFS and SQLite are real.
//! - [`mod@capture`] keeps what was logged.
//! - [`contract`] has the cases that every store must pass.
//! - [`owner`] is an owner of one database: a fence, and what its owner knows of the head.
//! - [`postgres`] starts a PostgreSQL server for the process that asks.
//! - [`random`] has the numbers that a seed repeats, [`cases`] runs generated cases and says how to
//!   repeat one, [`mutated`] changes the inputs of a corpus.
//!
//! **Invariant:** of the packages of the product only `stockade-depot` stands below this one.
//! Integration tests of the depot use the kit through a dependency that goes in a circle. Unit tests
//! of the depot cannot: cargo compiles the depot a second time for them, and the kit's types are
//! those of the first. Unit tests of every other package can.

#![allow(
    clippy::unwrap_used,
    clippy::missing_errors_doc,
    clippy::missing_panics_doc,
    clippy::print_stdout,
    reason = "a test fails by panicking and tells what it saw"
)]

pub mod capture;
pub mod cases;
pub mod contract;
pub mod faulty_store;
pub mod mutated;
pub mod owner;
pub mod postgres;
pub mod random;
pub mod relay;
