//! Calls between actors: chains, circles, deadlines and ids, on several hosts whose network and
//! ownership fail.
//!
//! ```text
//!  world   the storm: calls with ids, questions, circles; then calm, where each call has a time
//!  judge   what must hold of calls with ids
//!  asker   one call of an actor, and how it ended
//! ```

mod asker;
mod judge;
mod world;

pub use world::run;
