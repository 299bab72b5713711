//! VFSs of SQLite in safe terms: files of our own, and layers over the files of another VFS.
//!
//! Invariants, which are SQLite's contract:
//! - V1: a registered VFS is valid for the life of the process, and only SQLite writes to it.
//! - V2: an open file keeps the methods that it was opened with. What stands behind them is a value
//!   of ours, which may change as it likes.
//! - V3: SQLite calls one method of a file at a time, and never from within another, so a method
//!   has its file alone.

mod files;
mod layer;
mod list;
mod question;

pub use files::{File, Operation, Vfs, register};
pub use layer::{Below, Layer, LayerFile, register_over};
pub use list::{Registered, registered};
pub use question::{Question, ask, reserve_bytes, reserved_bytes};
