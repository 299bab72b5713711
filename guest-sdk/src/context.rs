//! Who the actor is, why it runs, and what its call may still use.

use core::fmt;

use crate::bindings::context as raw;

/// Why the host did not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// Anything. The text is for people and may change at any time.
    Other(String),
}

/// Who the actor is. The same throughout a generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Which component answers to this actor's name: 1 to 64 bytes.
    pub kind: String,
    /// Which actor of its kind: 1 to 256 bytes.
    pub key: String,
    /// The number of this generation, counted by the store from 1. It only rises.
    pub generation: u64,
    /// SHA-256 of the component, in hex.
    pub component_digest: String,
}

/// Why this generation was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartReason {
    /// The actor did not exist before.
    Created,
    /// A call woke it from sleep, or the host was started again.
    Woken,
    /// The generation before it ended by trap, fence loss or a failure of its host.
    Recovered,
    /// A new component was deployed.
    Upgraded,
}

/// What the call in progress may still use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Milliseconds until the call is ended.
    pub time_ms: u64,
    /// Steps of SQLite's virtual machine.
    pub sql_steps: u64,
    /// Rows that the call may still read.
    pub rows: u64,
    /// Bytes of rows that the call may still read.
    pub row_bytes: u64,
    /// Pages of the database that the call may still read.
    pub pages: u64,
}

/// Who the actor is. Never blocks.
///
/// # Errors
/// None today; the result leaves room for hosts that can refuse.
///
/// # Panics
/// Outside an actor: see [Test an actor](crate#test-an-actor).
///
/// ```no_run
/// # fn f() -> Result<(), stockade_sdk::context::Error> {
/// let me = stockade_sdk::context::identity()?;
/// log::info!("{}/{}, generation {}", me.kind, me.key, me.generation);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn identity() -> Result<Identity, Error> {
    crate::outside::needs_host();
    let identity = raw::get_identity()?;
    Ok(Identity {
        kind: identity.kind,
        key: identity.key,
        generation: identity.generation,
        component_digest: identity.component_digest,
    })
}

/// Why this generation was started. Never blocks.
///
/// # Errors
/// None today; the result leaves room for hosts that can refuse.
///
/// # Panics
/// Outside an actor: see [Test an actor](crate#test-an-actor).
///
/// ```no_run
/// use stockade_sdk::context::{self, StartReason};
/// # fn f() -> Result<(), context::Error> {
/// if context::start_reason()? == StartReason::Recovered {
///     log::warn!("the generation before this one did not end in order");
/// }
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn start_reason() -> Result<StartReason, Error> {
    crate::outside::needs_host();
    Ok(match raw::get_start_reason()? {
        raw::StartReason::Created => StartReason::Created,
        raw::StartReason::Woken => StartReason::Woken,
        raw::StartReason::Recovered => StartReason::Recovered,
        raw::StartReason::Upgraded => StartReason::Upgraded,
    })
}

/// What the call in progress may still use. Never blocks.
///
/// # Errors
/// None today; the result leaves room for hosts that can refuse.
///
/// # Panics
/// Outside an actor: see [Test an actor](crate#test-an-actor).
///
/// ```no_run
/// # fn f() -> Result<bool, stockade_sdk::context::Error> {
/// let time_to_stop = stockade_sdk::context::budget()?.time_ms < 100;
/// # Ok(time_to_stop)
/// # }
/// ```
#[track_caller]
pub fn budget() -> Result<Budget, Error> {
    crate::outside::needs_host();
    let budget = raw::get_budget()?;
    Ok(Budget {
        time_ms: budget.time_ms,
        sql_steps: budget.sql_steps,
        rows: budget.rows,
        row_bytes: budget.row_bytes,
        pages: budget.pages,
    })
}

impl core::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Other(text) => f.write_str(text),
        }
    }
}

impl From<raw::Error> for Error {
    fn from(error: raw::Error) -> Self {
        match error {
            raw::Error::Other(text) => Self::Other(text),
        }
    }
}
