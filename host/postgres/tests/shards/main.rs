//! A shard moves between two primaries: what moves, movers that end at any moment, several of them, frozen
//! ones, processes that use its actors in the meantime.
//!
//! The two primaries are two databases of one server. What a mover's check prevents is brought about
//! past the store, by statements of the tests, where no store does it.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]
#![allow(clippy::disallowed_methods, reason = "a test may start threads and wait on the clock")]
#![allow(clippy::print_stdout, reason = "a test tells what it has seen")]

mod edges;
mod ends;
mod frozen;
#[path = "../kit/mod.rs"]
#[allow(dead_code, reason = "shared with the tests of the server")]
mod kit;
mod last;
mod leftovers;
mod load;
mod old;
mod several;
mod stage;
mod whole;
