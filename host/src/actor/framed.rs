//! A method inside a transaction of the host: what the host notes of the call, and what the method
//! writes, are one commit.
//!
//! ```text
//!  enter ──> method ─┬─ ok, or no result ──> its writes stay ──────┐
//!    │               ├─ error case ────────> its writes are undone ┼─> leave ──> commit ──> gate
//!    │               └─ trap, budget, SQLite has rolled back ──────┼─> nothing is committed
//!    └─ Skip: the method does not run ─────────────────────────────┴─> commit ──> gate
//!
//!  apart:  enter ──> commit, durable ──> method, which commits as it likes ──> leave ──> commit
//! ```
//! Invariants:
//! - The answer leaves through the gate like any other, behind the commit of the frame.
//! - A method in a frame calls no other actor: a transaction is open.
//! - A failure of the host's part, or of the commit, is the call's error, and nothing is kept.
//! - Apart, the method runs only once what the host has written before it is durable.

use wasmtime::component::Val;

use crate::error::HostError;
use crate::sqlite::{Connection, Frame, SqlError};

/// What the host does in the transaction in which it runs a method.
pub trait Framed: Send {
    /// Whether the host's parts are commits of their own, before and after the method, which then runs
    /// in no transaction but its own.
    fn is_apart(&self) -> bool {
        false
    }

    /// Before the method, in the transaction. `now`: in milliseconds since 1970.
    ///
    /// # Errors
    /// As for a statement: nothing is kept, and the method does not run.
    fn enter(&mut self, sqlite: &mut Connection, now: i64) -> Result<Entry, SqlError>;

    /// After the method has answered; the transaction commits what this writes. Of an answer that is
    /// the error case of a `result` (see [`is_refusal`]) the method's own writes are undone already.
    ///
    /// # Errors
    /// As for a statement: nothing is kept.
    fn leave(&mut self, sqlite: &mut Connection, answer: &[Val], now: i64) -> Result<(), SqlError>;
}

/// Whether the method runs.
pub enum Entry {
    /// The method runs.
    Run,
    /// It does not: what was written on entering is committed, and this is the call's outcome.
    Skip(Result<Vec<Val>, HostError>),
}

/// Whether an answer is the error case of the method's `result`.
#[must_use]
pub fn is_refusal(answer: &[Val]) -> bool {
    matches!(answer, [Val::Result(Err(_))])
}

/// A frame that was entered.
pub(super) enum Inside {
    /// The method runs in its transaction.
    One(Frame),
    /// What was written before the method is durable.
    Apart,
}
