//! Stores whose files are damaged: every call ends right or as `Corrupt`. No caller gets another
//! database's data, an older value or an empty database, and no other database changes.
//!
//! `flips` turns bits of stopped stores, `pages` moves and cuts their pages, `log` turns bits of
//! logs in use, `names` exchanges rows, `former` converts stores of older formats. `EVERY_BIT=1`
//! turns every bit of the cells that are otherwise sampled (an hour); `SEED=n` picks other cells.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]
#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "a test tells what it saw")]

mod btree;
mod flips;
mod former;
mod log;
mod names;
mod pages;
mod truth;
