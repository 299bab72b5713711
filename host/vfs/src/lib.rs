//! SQLite's file interface over a fenced depot session: one transaction, one depot commit.
//!
//! ```text
//!  open       a connection with its settings, also before it has a database (seat: its file);
//!             handle: close, interrupt, typed causes
//!  pragma     settings that may not change
//!  vfs        what SQLite asks: translated, nothing is decided
//!  registry   which file belongs to which database: by its name, or by the thread
//!  main_file  the database: Idle -> Dirty -> Prepared -> Idle   (overlay: its written pages)
//!  spill      pages of a large transaction, in a nameless file until it is durable
//!  scratch    journals, temporary tables, sorts: bounded, memory first, then a nameless file
//!  ───────────────────────────────────────────────────────────────────────────────────────
//!  stockade_depot::Session
//! ```
//!
//! SQLite's side of the file interface, the heap and the memory pool are in `stockade-sqlite`.
//! Nothing here knows wasm. The dead flag is read at every file operation, but SQLite serves cached
//! pages without one: a caller that steps statements asks [`stockade_depot::Session::is_dead`]
//! first.

#![forbid(unsafe_code)]

mod context;
mod fault;
mod file;
mod handle;
mod main_file;
mod open;
mod options;
mod overlay;
mod pragma;
mod registry;
mod scratch;
mod seat;
mod spill;
#[cfg(test)]
mod test_context;
mod vfs;

pub use fault::Fault;
pub use handle::{Handle, HandleError};
pub use open::{OpenDatabase, OpenError, SeatGuard, Spare, open, open_with};
pub use options::VfsOptions;
pub use registry::ConnectionId;
pub use stockade_sqlite::{heap, memory};
