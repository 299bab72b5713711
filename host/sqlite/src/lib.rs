//! SQLite's C interface in safe terms. All `unsafe` that touches SQLite is here.
//!
//! ```text
//!  vfs        files of our own, and layers over the files of another VFS
//!  heap       what SQLite allocates for one database: bounded
//!  memory     what all databases of a host may hold together
//! ```
//!
//! Nothing here knows a store, a session or wasm. Each file decides nothing but how SQLite is called.

// Each block says why it is sound; the packages above forbid `unsafe`.
#![allow(unsafe_code, reason = "SQLite's interface is C")]

pub mod heap;
pub mod memory;
pub mod vfs;

/// SQLite's result code, an extended one.
pub type Code = std::ffi::c_int;
