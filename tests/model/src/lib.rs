//! The protocol (`docs/protocol.md`) as state machines, small enough to visit every state.
//!
//! Nothing here is the product's code: it says what the product's steps *mean*, and the checker
//! tries them in every order, with answers lost, delayed and repeated, with crashes in between.
//! Nine machines, each with the rules that belong together:
//!
//! | machine | rules | what it leaves out |
//! |---|---|---|
//! | [`ownership`] | D1-D5, D12, the gate, the orderly end | what is in a page |
//! | [`pages`] | D1, D7, D8, the page cache | lost answers to takeovers and commits |
//! | [`history`] | D6, D10, D11 | readers' caches, verdicts |
//! | [`shards`] | D13, D3 and D4 over several primaries | what a generation does but commit |
//! | [`due`] | D14, the tries of alarms | clocks, repeating alarms |
//! | [`sweep`] | D14 (looks and wakes), crashes of due work | rates, backoff of refused wakes |
//! | [`messages`] | messages between actors | a sender that is restored or destroyed |
//! | [`records`] | call ids, records, `settle` | bytes of answers |
//! | [`circles`] | chains of calls and the probe | several calls of one actor at a time |
//!
//! Read each in the order `mod.rs` (the state), `store.rs` where there is one (what an atomic step
//! does), `actions.rs` (the actions of each party, with their rules), `properties.rs` (the
//! invariants).
//!
//! Every check that the product relies on can be switched off: a [`Variant`] is the machine without
//! one of them. `tests/check` asserts that the whole machine has no counterexample and that every
//! variant has one, to the property that the table says.

pub mod checking;
pub mod circles;
pub mod due;
pub mod history;
pub mod machine;
pub mod messages;
pub mod ownership;
pub mod pages;
pub mod records;
pub mod shards;
pub mod sweep;
mod variant;

pub use variant::Variant;
