//! Opening a store of which something is lost: it is refused with what is known, or everything that
//! was acknowledged is there. What a crash leaves is never refused.
//!
//! A killed process is a copy of the directory of a live store, with the index of each log or, as
//! after a machine has stopped, without.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a test fails by panicking; it may wait on the clock"
)]

mod accepted;
mod cuts;
mod files;
mod flips;
mod marks;
mod modes;
mod world;
