//! Generated code for the guests' imports, and the types that the code uses. Nothing else.
#![allow(missing_docs, unreachable_pub, reason = "generated; the documentation is in wit/")]

use crate::sqlite::SqlError;

/// A guest's view of the generation's one connection.
#[derive(Debug)]
pub struct ConnectionHandle;

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

wasmtime::component::bindgen!({
    path: "wit",
    world: "imports",
    // One rule applies per function, so `trappable` is repeated.
    imports: {
        "stockade:actor/sqlite.[method]connection.flush": async | trappable,
        "stockade:actor/sqlite.[method]connection.bookmark": async | trappable,
        default: trappable,
    },
    trappable_error_type: {
        "stockade:actor/sqlite.error" => Refusal,
    },
    with: {
        "stockade:actor/sqlite.connection": ConnectionHandle,
        "stockade:actor/sqlite.statement": crate::sqlite::StatementId,
        "stockade:actor/sqlite.cursor": crate::sqlite::CursorId,
        "stockade:actor/sqlite.transaction": crate::sqlite::TransactionId,
        "stockade:actor/sqlite.blob": crate::sqlite::Blob,
    },
});
