//! The VFS of SQLite under a store's files: it proves what it reads, and writes the log in one
//! piece.
//!
//! ```text
//!             xWrite                          xRead
//! page        `pages`: stamps a copy          `pages`: whole, of this file, at its place
//! log frame   `combine`: waits for the sync   `frames`: follows the frame before it
//! the rest    as the VFS behind               as the VFS behind
//! ```
//!
//! A page is stamped on its way from the log into the file, so the log's frames have no stamp: what
//! is read from the log is proved by the log's own checksums, which SQLite looks at only when it
//! recovers. A checkpoint reads frames the same way, so a damaged one never becomes a page with a
//! good stamp.
//!
//! Damage reaches SQLite as a code of its own (`damage`), and the store as `Corrupt` with file and
//! page.

mod combine;
mod damage;
mod files;
mod frames;
mod pages;
mod stamp;

use rusqlite::ffi::SQLITE_OK;

pub(super) use damage::find as damage_of;
pub use damage::{Damage, Fault, Place};
pub(super) use files::{check_page, offer_key, over, page_key, reserve, reserved};
pub(super) use stamp::{Key, PAGE_BYTES, STAMP_BYTES};

/// A file as the VFS behind has it. The answers are SQLite's codes.
trait Behind {
    /// Fills `into` from byte `at` on; what the file does not have is zeros and a short read.
    fn read(&mut self, at: u64, into: &mut [u8]) -> i32;
    /// Writes `bytes` at byte `at`.
    fn write(&mut self, at: u64, bytes: &[u8]) -> i32;
}

/// Whether a code is an answer.
fn is_ok(code: i32) -> bool {
    code == SQLITE_OK
}
