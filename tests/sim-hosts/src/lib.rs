//! Deterministic simulation of whole hosts, with a wasm guest, that share a store over a bad network:
//! on one thread and under a paused clock.
//!
//! ```text
//!  world    machines with a host each, and a scheduler that calls, stops, destroys, steals, cuts off,
//!           crashes, shuts down and starts
//!  client   one question to one host, and what is heard of it
//!  judge    what must hold, from what clients hear
//!  code     the guest, compiled once
//! ```
//! Network, dice, log and the lock step of threads are those of `stockade-sim-depot`. Everything of
//! the host is real: router, slots, hooks, gate, upkeep, shutdown. What is made up is what a host stands
//! on (`internal::Ground`): one runtime, chance from the seed, and each actor's task on a thread of its
//! own in lock step, since SQLite waits for pages inside a guest's call.
//!
//! The same seed gives the same bytes of log. Deadlines of guests run on the machine's clock; they
//! are so long here that none strikes, and the epoch does not move.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a test kit fails by panicking")]

pub mod client;
pub mod code;
pub mod judge;
pub mod world;

pub use world::run;
