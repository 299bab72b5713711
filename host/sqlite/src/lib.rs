//! SQLite's C interface in safe terms. All `unsafe` that touches SQLite is here.
//!
//! ```text
//!  whole      all parts of one connection, which move between threads together
//!  database   an open connection       statement  compiled; bindings and rows
//!  blob       one value of a row        function   SQL functions of ours
//!  vfs        files of our own, and layers over the files of another VFS
//!  heap       what SQLite allocates for one database: bounded
//!  memory     what all databases of a host may hold together
//! ```
//!
//! Nothing here knows a store, a session or wasm. Each file decides nothing but how SQLite is called.

// Each block says why it is sound; the packages above forbid `unsafe`.
#![allow(unsafe_code, reason = "SQLite's interface is C")]

mod blob;
mod database;
mod function;
pub mod heap;
pub mod memory;
mod raw;
mod statement;
pub mod vfs;
mod whole;

pub use blob::Blob;
pub use database::{Database, Prepared, limit_of};
pub use function::{Answer, Arguments, Function, Kind, Look, PATTERN_TOO_LONG};
pub use statement::{Column, Statement, Step};
pub use whole::Whole;

/// SQLite's result code, an extended one.
pub type Code = std::ffi::c_int;
