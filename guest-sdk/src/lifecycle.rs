//! Hooks of a generation's life: a trait with defaults, and the macro that exports it.

use core::fmt;

use crate::bindings::exports::exports::stockade::actor::lifecycle as raw;

/// What a hook returns.
pub type Result<T = (), E = Error> = core::result::Result<T, E>;

/// Why a hook failed. The text is logged and shown to operators.
///
/// Every error converts into it, so hooks can use `?`:
///
/// ```no_run
/// use stockade_sdk::{Connection, lifecycle};
/// fn start() -> lifecycle::Result {
///     Connection::open()?.execute_script("CREATE TABLE IF NOT EXISTS person (name TEXT)")?;
///     Ok(())
/// }
/// ```
// It does not implement the error trait itself: that would forbid the conversion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// Anything. The text is for people.
    Other(String),
}

/// In-memory state that an earlier generation of this actor handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandedOver {
    /// The bytes that [`Lifecycle::snapshot`] returned.
    pub state: Vec<u8>,
    /// Whether nothing happened since: the preceding generation sealed the snapshot in order, no
    /// commit followed, and the component is the same. If false, the state may be older than the
    /// database.
    pub current: bool,
    /// The generation that made the snapshot.
    pub generation: u64,
}

/// Hooks of a generation's life. Each has a default that does nothing.
///
/// Order of hooks: `restore` (if a snapshot was handed over), `start`, any number of calls, `stop`,
/// `snapshot`. After a trap, a fence loss or a host crash no hook runs. Export them with
/// [`export_lifecycle!`](crate::export_lifecycle).
///
/// ```
/// use core::cell::Cell;
/// use stockade_sdk::lifecycle::{HandedOver, Lifecycle, Result};
///
/// thread_local! {
///     /// Calls since the actor was created. An actor has one thread and one instance.
///     static CALLS: Cell<u64> = const { Cell::new(0) };
/// }
///
/// struct Counter;
///
/// impl Lifecycle for Counter {
///     fn restore(snapshot: HandedOver) -> Result {
///         CALLS.set(u64::from_le_bytes(snapshot.state.as_slice().try_into()?));
///         Ok(())
///     }
///
///     fn snapshot() -> Result<Option<Vec<u8>>> {
///         Ok(Some(CALLS.get().to_le_bytes().to_vec()))
///     }
/// }
/// ```
pub trait Lifecycle {
    /// Takes over the in-memory state of an earlier generation. SQL works.
    ///
    /// # Errors
    /// If the state cannot be used; the generation ends and the caller gets an error.
    fn restore(snapshot: HandedOver) -> Result {
        drop(snapshot);
        Ok(())
    }

    /// Prepares for calls, for example migrates the schema. SQL works. Runs once per generation.
    ///
    /// # Errors
    /// If the actor cannot run; the generation ends and the caller gets an error.
    fn start() -> Result {
        Ok(())
    }

    /// The generation ends in order. SQL still works; by default for 5 seconds.
    ///
    /// # Errors
    /// Recorded with the generation's exit; the end continues.
    fn stop() -> Result {
        Ok(())
    }

    /// The in-memory state to hand over, or `None` for nothing. By default at most 1 MiB and 5
    /// seconds. SQL is already revoked: every call answers
    /// [`Error::Revoked`](crate::Error::Revoked).
    ///
    /// # Errors
    /// Recorded as a missed snapshot; the end continues.
    fn snapshot() -> Result<Option<Vec<u8>>> {
        Ok(None)
    }
}

/// Exports the hooks of a type that implements [`Lifecycle`](crate::lifecycle::Lifecycle). The
/// actor's own WIT need not mention them.
///
/// ```
/// use stockade_sdk::lifecycle::Lifecycle;
/// struct Counter;
/// impl Lifecycle for Counter {}
/// stockade_sdk::export_lifecycle!(Counter);
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! export_lifecycle {
    ($actor:ident) => {
        $crate::bindings::exports::export_hooks!($actor with_types_in $crate::bindings::exports);
    };
}

impl<E: core::error::Error> From<E> for Error {
    fn from(error: E) -> Self {
        Self::Other(error.to_string())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Other(text) => f.write_str(text),
        }
    }
}

impl<A: Lifecycle> raw::Guest for A {
    fn restore(snapshot: raw::HandedOver) -> Result<(), raw::Error> {
        let raw::HandedOver { state, current, generation } = snapshot;
        told(A::restore(HandedOver { state, current, generation }))
    }

    fn start() -> Result<(), raw::Error> {
        told(A::start())
    }

    fn stop() -> Result<(), raw::Error> {
        told(A::stop())
    }

    fn snapshot() -> Result<Option<Vec<u8>>, raw::Error> {
        told(A::snapshot())
    }
}

/// Turns a hook's result into the WIT result.
fn told<T>(result: Result<T>) -> Result<T, raw::Error> {
    result.map_err(|Error::Other(text)| raw::Error::Other(text))
}
