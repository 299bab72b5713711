//! One generation of an actor: a component instance, an open database, a fence.
//!
//! ```text
//!  start::start      ──> call* ──> ending::orderly ──> Exit
//!                          │  └──> ending::fatal   ──> Exit   fence lost, storage
//!                          └─────> ending::crashed ──> Exit   trap, budget
//!  Visit::open ──> run ──> Found::end                           an operator, the actor asleep
//! ```
//! One task owns a generation (see `router::slot`); nothing here is shared between tasks but the
//! grips, the meter and the session, which are made for it.

pub mod alarm;
pub mod answer;
pub mod answers;
pub mod asker;
pub mod bill;
mod body;
pub mod call;
pub mod crash;
pub mod ending;
pub mod exit;
pub mod floor;
pub mod framed;
mod framing;
pub mod generation;
pub mod hooks;
pub mod identified;
pub mod message;
pub mod recorded;
pub mod reply;
pub mod results;
mod seal;
pub mod sending;
pub mod start;
pub mod statements;
pub mod trace;
pub mod visit;
pub mod wanted;
mod watch;
