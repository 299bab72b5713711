//! Messages: actors on several hosts send each other amounts while hosts, network and ownership fail.
//!
//! ```text
//!  world   sends, looks, troubles, late copies of parcels, an hour without messages; then calm
//!  sender  one send of an actor, and what its caller gets
//!  judge   what must hold of what has arrived
//! ```

mod judge;
mod sender;
mod world;

pub use world::run;
