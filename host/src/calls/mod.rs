//! What is known of calls between actors while they wait: who waits for whom, and since when.
//!
//! ```text
//!  chain       the actors that wait for a call, first to last, and the age of that chain
//!  allowance   what a call may use of its caller's budget
//!  waits       calls made here and calls that arrived here
//!  key         the id that a caller gives a call
//!  probe       follows the waits from an actor that is called, and ends a circle
//! ```
//! An actor works on one call at a time, so a circle of waits would never end. A chain that comes
//! back is seen by its caller, since the chain travels with the call. Chains that cross are found by
//! a probe, which begins wherever a call arrives: the call that closes a circle is the last of it to
//! arrive, and the others were noted before.
//!
//! **Absence:** nothing here runs a guest or knows a network.

mod allowance;
mod chain;
mod key;
mod probe;
#[cfg(test)]
mod tests;
mod waits;

pub use allowance::Allowance;
pub use chain::{Age, CallId, Chain, Cycle};
pub use key::{CallKey, InvalidCallKey};
pub use probe::{Look, probe};
pub use waits::{Arrived, Edge, Making, Refusal, Waits, Working};
