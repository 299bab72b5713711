//! Opens a session's database as a SQLite connection. Writes nothing.

use std::sync::Arc;

use rusqlite::{Connection, OpenFlags};
use stockade_depot::Session;
use stockade_sqlite::vfs::register;

use crate::fault::Fault;
use crate::handle::{Handle, HandleError};
use crate::options::VfsOptions;
use crate::pragma::Settings;
use crate::registry::{ConnectionId, Lease};
use crate::vfs::Databases;

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

/// An open database: SQLite's connection and what belongs to it. Has one owner; all other threads
/// use the [`Handle`].
///
/// Statements made with SQLite's C interface must be finalized before this is dropped.
pub struct OpenDatabase {
    // Dropped in this order: SQLite closes its files, then their names are given up.
    connection: Connection,
    lease: Lease,
    handle: Arc<Handle>,
}

/// Keeps the names of a connection's files. Dropped after the connection.
pub struct SeatGuard {
    _lease: Lease,
    _handle: Arc<Handle>,
}

/// Opens the database of `session`. See [`open_with`] if another thread must be able to close the
/// database before it is open.
///
/// # Errors
/// The session is dead or cannot be read, or its first page is not SQLite's.
pub fn open(session: Session, options: &VfsOptions) -> Result<OpenDatabase, OpenError> {
    open_with(&Handle::new(session, options))
}

/// Opens the database of a handle, once.
///
/// # Errors
/// As [`open`]; `Handle(Closed)` if it was closed before or in the meantime.
pub fn open_with(handle: &Arc<Handle>) -> Result<OpenDatabase, OpenError> {
    handle.may_open()?;
    Spare::new().map_err(OpenError::Sqlite)?.settle(handle)
}

/// A SQLite connection without a database: the part of opening that does not depend on the database
/// is done. The connection serves one database, once.
pub struct Spare {
    // In this order, as in `OpenDatabase`.
    connection: Connection,
    lease: Lease,
}

impl Spare {
    /// Opens a connection without a database. Nothing that reads one may be run on it.
    ///
    /// # Errors
    /// SQLite's: no memory.
    pub fn new() -> rusqlite::Result<Self> {
        let vfs = register::<Databases>().map_err(|code| {
            rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None)
        })?;
        let lease = Lease::new();
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags_and_vfs(lease.name(), flags, vfs)?;
        connection.execute_batch(&Settings::script_before())?;
        Ok(Self { connection, lease })
    }

    /// SQLite's connection, to register functions on.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Gives the connection the database of a handle, which opens once.
    ///
    /// # Errors
    /// As [`open_with`].
    pub fn settle(self, handle: &Arc<Handle>) -> Result<OpenDatabase, OpenError> {
        handle.may_open()?;
        let context = handle.context();
        context.alive().map_err(OpenError::Fault)?;
        if !self.lease.lend(context) {
            return Err(HandleError::Open.into());
        }
        // SQLite reads lazily: these read the schema, so that the caller learns what is wrong.
        let script = context.settings.script();
        let settled = self.lease.id().within(|| self.connection.execute_batch(&script));
        settled.map_err(|error| match handle.take_fault() {
            Some(fault) => OpenError::Fault(fault),
            None => OpenError::Sqlite(error),
        })?;
        handle.opened(self.connection.get_interrupt_handle())?;
        let Self { connection, lease } = self;
        Ok(OpenDatabase { connection, lease, handle: Arc::clone(handle) })
    }
}

impl OpenDatabase {
    /// SQLite's connection. Statements run [`Self::within`], or SQLite gets no temporary file.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Runs `work`, whose statements are those of this connection.
    pub fn within<T>(&self, work: impl FnOnce() -> T) -> T {
        self.id().within(work)
    }

    /// Names the connection.
    #[must_use]
    pub fn id(&self) -> ConnectionId {
        self.lease.id()
    }

    /// SQLite's connection, for what needs it alone.
    pub fn connection_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// The connection by itself, and what keeps its files' names: to be dropped after it.
    #[must_use]
    pub fn into_parts(self) -> (Connection, SeatGuard) {
        (self.connection, SeatGuard { _lease: self.lease, _handle: self.handle })
    }

    /// The handle, which other threads may hold.
    #[must_use]
    pub fn handle(&self) -> &Arc<Handle> {
        &self.handle
    }
}
