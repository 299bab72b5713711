//! Deterministic simulation of whole hosts that run a wasm guest and share a store over a bad
//! network, on one thread and under a paused clock.
//!
//! ```text
//!  world    a scheduler that calls, stops, destroys, steals, drains, cuts off, crashes, shuts down
//!           and starts
//!  machine  a host, and how others reach it
//!  client   calls to one host, and the answers
//!  judge    invariants over the answers that clients get
//!  code     the guests, compiled once
//!  seed     one run, from an empty folder to its report
//!  forward  what one host passes on to another, without HTTP
//!  thief    a takeover that the owner does not learn of
//!  fleet    many hosts and very many actors, with guests in Rust
//!
//!  site     machines under one clock, for simulations of what actors do with each other
//!  carrier  calls and messages of actors, from one host to another
//!  caller   calls to one host, without a judge
//!  mail     messages between actors
//!  relay    calls between actors
//! ```
//! Network, dice, log and the lock step of threads are those of `stockade-sim-depot`. The host is
//! real in full: router, slots, hooks, gate, upkeep, shutdown. Only the host's environment
//! (`internal::Ground`) is simulated: one runtime, random numbers from the seed, and a thread for
//! each actor's task, in lock step, since SQLite waits for pages inside a guest's call.
//!
//! The same seed gives the same bytes of log. Deadlines of guests run on the paused clock, and the
//! epoch does not advance: a guest that waits is ended in time, one that computes is not.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a test kit fails by panicking")]

pub mod caller;
pub mod carrier;
pub mod client;
pub mod code;
pub mod fleet;
pub mod forward;
pub mod judge;
pub mod machine;
pub mod mail;
pub mod relay;
mod seed;
pub mod site;
pub mod thief;
pub mod world;

pub use world::run;
