//! Opens a session's database as a SQLite connection. Writes nothing.

use std::sync::Arc;

use rusqlite::{Connection, OpenFlags};
use stockade_depot::Session;

use crate::fault::Fault;
use crate::handle::{Handle, HandleError};
use crate::options::VfsOptions;
use crate::registry::Lease;

/// Why a database was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The handle was closed, or used before.
    #[error(transparent)]
    Handle(#[from] HandleError),
    /// The session could not serve the first page.
    #[error(transparent)]
    Fault(Fault),
    /// SQLite refused: not a database, no memory.
    #[error(transparent)]
    Sqlite(rusqlite::Error),
}

/// An open database: SQLite's connection and what belongs to it. Has one owner; the [`Handle`] is
/// for everyone else.
///
/// Statements made with SQLite's C interface must be finalized before this is dropped.
pub struct OpenDatabase {
    // Dropped in this order: SQLite closes its files, then the VFS goes to somebody else.
    connection: Connection,
    _lease: Lease,
    handle: Arc<Handle>,
}

/// Opens the database of `session`. See [`open_with`] if somebody else must be able to close it
/// before it is open.
///
/// # Errors
/// The session is dead or cannot be read, or its first page is not SQLite's.
pub fn open(session: Session, options: &VfsOptions) -> Result<OpenDatabase, OpenError> {
    open_with(&Handle::new(session, options))
}

/// Opens the database of a handle, once.
///
/// # Errors
/// As [`open`]; `Handle(Closed)` if it was closed before or meanwhile.
pub fn open_with(handle: &Arc<Handle>) -> Result<OpenDatabase, OpenError> {
    handle.may_open()?;
    let context = handle.context();
    context.alive().map_err(OpenError::Fault)?;
    let typed = |error| match handle.take_fault() {
        Some(fault) => OpenError::Fault(fault),
        None => OpenError::Sqlite(error),
    };
    let lease = Lease::take(Arc::clone(context)).map_err(|code| {
        OpenError::Sqlite(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None))
    })?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection =
        Connection::open_with_flags_and_vfs(lease.name(), flags, lease.name()).map_err(typed)?;
    connection.execute_batch(&context.settings.script()).map_err(typed)?;
    // SQLite opens lazily: read the first page now, so that whoever opens learns of it.
    connection.query_row("PRAGMA schema_version", [], |row| row.get::<_, i64>(0)).map_err(typed)?;
    handle.opened(connection.get_interrupt_handle())?;
    Ok(OpenDatabase { connection, _lease: lease, handle: Arc::clone(handle) })
}

impl OpenDatabase {
    /// SQLite's connection.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// SQLite's connection, for what needs it alone.
    pub fn connection_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// What others may hold.
    #[must_use]
    pub fn handle(&self) -> &Arc<Handle> {
        &self.handle
    }
}
