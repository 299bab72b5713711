//! A fleet: a hundred nodes with a hundred thousand actors, of which some nodes are lost at the same
//! time, on one thread and under a paused clock.
//!
//! ```text
//!  world    starts the nodes, begins the actors, loses some nodes, waits until all have answered
//!  callers  one for each actor: what it asks, and what it knows
//!  ledger   the guest, in Rust          load    the store, and how long its steps take
//!  size     how large everything is     report  a table, and what must hold
//! ```
//! Real are whole hosts (`stockade::Host`), with the default lease: registration, signs of life, lease
//! and load (`membership`), the place of a call, routes and releases (`host/places.rs`,
//! `host/routing.rs`), slots and their queues, admission, eviction, takeovers and their bound
//! (`supervision`), sessions, cache, preload and gate (`stockade-depot`), upkeep, and the embedded
//! store, in memory.
//!
//! Made up are:
//! - guests: Rust code on pages of the session ([`ledger`]) instead of an instance and SQL, since one
//!   process cannot have so many instances. So processor time and memory of nodes are not shown, and
//!   a page that is not cached ends a call instead of letting it wait;
//! - HTTP between nodes, and from callers: `crate::forward`. A lost node answers nothing, and its
//!   connections are not reset: a call that was sent there ends with its caller's time;
//! - the time that the store takes: [`load`];
//! - the balancer in front of the nodes: [`callers`].
//!
//! The same seed gives the same answers, in the same order.

pub mod callers;
pub mod ledger;
pub mod load;
pub mod report;
pub mod size;
pub mod world;

pub use report::Report;
pub use size::Size;
pub use world::run;
