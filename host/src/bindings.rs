//! Generated code for the guests' imports, and the types that the code uses. Nothing else.
#![allow(missing_docs, unreachable_pub, reason = "generated; the documentation is in wit/")]

use crate::schedule::Impossible;
use crate::sqlite::SqlError;

/// A guest's view of the generation's one connection.
#[derive(Debug)]
pub struct ConnectionHandle;

/// A guest's handle of a call that it has started: the number of the call.
#[derive(Debug)]
pub struct PendingHandle(pub u64);

/// The failure of a call of `actors`.
#[derive(Debug)]
pub enum NotCalled {
    /// The guest gets the error.
    Error(stockade::actor::actors::Error),
    /// The guest used a handle that it does not have.
    Trap(wasmtime::Error),
}

impl From<stockade::actor::actors::Error> for NotCalled {
    fn from(error: stockade::actor::actors::Error) -> Self {
        Self::Error(error)
    }
}

impl From<wasmtime::component::ResourceTableError> for NotCalled {
    fn from(error: wasmtime::component::ResourceTableError) -> Self {
        Self::Trap(error.into())
    }
}

/// The failure of a call of `sqlite`.
#[derive(Debug)]
pub enum Refusal {
    /// The guest gets the error.
    Error(SqlError),
    /// The guest used a handle that it does not have, or the host broke its own rule.
    Trap(wasmtime::Error),
}

impl From<SqlError> for Refusal {
    fn from(error: SqlError) -> Self {
        Self::Error(error)
    }
}

impl From<wasmtime::component::ResourceTableError> for Refusal {
    fn from(error: wasmtime::component::ResourceTableError) -> Self {
        Self::Trap(error.into())
    }
}

/// The failure of a call of `alarms`.
#[derive(Debug)]
pub enum AlarmRefusal {
    /// A name, a schedule or a zone that cannot be.
    Invalid(String),
    /// The component has no handler.
    NoHandler,
    /// As many alarms as there may be.
    TooMany,
    /// More bytes than a payload may have.
    PayloadTooLarge,
    /// The rows could not be read or written.
    Sql(SqlError),
}

impl From<SqlError> for AlarmRefusal {
    fn from(error: SqlError) -> Self {
        Self::Sql(error)
    }
}

impl From<Impossible> for AlarmRefusal {
    fn from(error: Impossible) -> Self {
        Self::Invalid(error.0)
    }
}

/// The failure of a call of `messages`.
#[derive(Debug)]
pub enum MessageRefusal {
    /// A name that cannot be, or arguments that are not JSON.
    Invalid(String),
    /// Not granted; the line that would.
    Denied(String),
    /// So many wait that there is no room.
    OutboxFull(u64),
    /// More bytes than arguments may have.
    TooLarge,
    /// The rows could not be read or written.
    Sql(SqlError),
}

impl From<SqlError> for MessageRefusal {
    fn from(error: SqlError) -> Self {
        Self::Sql(error)
    }
}

wasmtime::component::bindgen!({
    path: "wit",
    world: "imports",
    // One rule applies per function, so `trappable` is repeated.
    imports: {
        "stockade:actor/sqlite.[method]connection.flush": async | trappable,
        "stockade:actor/sqlite.[method]connection.bookmark": async | trappable,
        "stockade:actor/actors.call": async | trappable,
        "stockade:actor/actors.call-with-id": async | trappable,
        "stockade:actor/actors.outcome-of": async | trappable,
        "stockade:actor/actors.wait-any": async | trappable,
        "stockade:actor/actors.[method]pending.wait": async | trappable,
        default: trappable,
    },
    trappable_error_type: {
        "stockade:actor/sqlite.error" => Refusal,
        "stockade:actor/alarms.error" => AlarmRefusal,
        "stockade:actor/actors.error" => NotCalled,
        "stockade:actor/messages.error" => MessageRefusal,
    },
    with: {
        "stockade:actor/sqlite.connection": ConnectionHandle,
        "stockade:actor/sqlite.statement": crate::sqlite::StatementId,
        "stockade:actor/sqlite.cursor": crate::sqlite::CursorId,
        "stockade:actor/sqlite.transaction": crate::sqlite::TransactionId,
        "stockade:actor/sqlite.blob": crate::sqlite::Blob,
        "stockade:actor/actors.pending": PendingHandle,
    },
});
