//! Deterministic simulation of nodes that share a store over a bad network, on one thread and under
//! a paused clock.
//!
//! ```text
//!  world       nodes, and a scheduler that starts, steals, cuts off, crashes and shuts down
//!  generation  one life of an actor: calls behind the real gate, real SQLite over the real VFS
//!  historian   trims, pins and exports the past at the same time
//!  reaper      destroys actors, and imports them
//!  remote      the store of another node, through its protocol
//!  shards      a store of two primaries, between which shards move
//!  network     delays, reordering, doubles, losses, deaths: between depots and the real store
//!  judge       what must hold, with plain SQLite as oracle
//!  baton       SQLite's threads in lock step with the scheduler
//!  bank        the transactions;  dice  the seed;  journal  the log;  seeds  runs many
//! ```
//! The same seed gives the same bytes of log. Only the network, the clock, chance and the guest are
//! made up; a guest is native code here, and the order of an orderly end is written once more.

#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    clippy::missing_errors_doc,
    reason = "a test kit fails by panicking"
)]

pub mod bank;
pub mod baton;
pub mod dice;
pub mod generation;
pub mod historian;
pub mod journal;
pub mod judge;
pub mod network;
pub mod reaper;
pub mod remote;
pub mod seeds;
pub mod shards;
pub mod world;

pub use world::{run, run_remote, run_with_moves};
