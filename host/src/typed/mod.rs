//! Typed methods: every function that a component exports from its own interfaces, called with
//! JSON, WAVE text or component values that are checked before the guest runs.
//!
//! ```text
//!  component ── table ──> method ──┬─ arguments ─┬─ json::read ──┐
//!              (names)   (shapes)  │             ├─ wave ────────┼─> values, exactly of the type
//!                                  │             └─ check ───────┘   or an ArgumentError that
//!                                  └─ json::write, to_wave, decode   names the place
//!  types of a caller ── signature ──> the same as those of the method, or the place that differs
//! ```
//!
//! Invariants:
//! - T1: a value that leaves `arguments` has exactly the shape of its parameter; an argument that
//!   does not fit never reaches the guest.
//! - T2: no number loses a digit in either direction, or the argument is refused.
//! - T3: work and memory are bounded by [`bounds`], whatever the caller or the component sends:
//!   shapes are finite and counted, values are charged before they are made.

mod arguments;
pub mod bounds;
mod check;
mod decode;
mod describe;
mod digest;
mod example;
pub mod json;
mod method;
mod parameter;
mod place;
mod shape;
mod signature;
mod size;
mod table;
mod wave;

pub use arguments::{Arguments, IntoArguments};
pub use decode::ResultError;
pub(crate) use decode::decode;
pub(crate) use digest::digest;
pub use json::{INFINITY, MINUS_INFINITY};
pub use method::Method;
pub(crate) use method::signature;
pub use parameter::Parameter;
pub use place::ArgumentError;
pub use place::Room;
pub(crate) use place::{shortened, similar};
pub(crate) use shape::ShapeRoom;
pub use shape::{Case, Field, Shape, Unsupported};
pub use signature::{Difference, Expected, Signature};
pub use size::Size;
pub use table::{Excluded, MethodTable, NotFound, TooManyFunctions, UnknownMethod};
pub(crate) use table::{parameter_of, parameters};

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod round_trips;
#[cfg(test)]
pub(crate) mod samples;
