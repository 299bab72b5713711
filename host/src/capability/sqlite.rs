//! `stockade:actor/sqlite`: the guest's handles, and the one translation of errors to the WIT.
//!
//! The handles' work is in [`crate::sqlite`]; here they are counted, looked up and dropped. A
//! handle that the guest does not have is a trap, everything else a typed error. Drops work after a
//! revocation, and after the connection is gone.

use stockade_depot::{Mark, Reason};
use wasmtime::component::Resource;

use super::State;
use crate::bindings::stockade::actor::sqlite as wit;
use crate::bindings::{ConnectionHandle, Refusal};
use crate::sqlite::{
    self, Blob, Connection, ConstraintFailure, ConstraintKind, CursorId, RowSet, SqlError,
    SqlLimit, StatementFailure, StatementId, TransactionId, TransactionMode, Value,
};

impl State {
    /// The connection, which may be gone.
    pub(super) fn sql(&mut self) -> Result<&mut Connection, SqlError> {
        if self.sqlite.is_none() {
            // The grip was revoked before the connection was closed; the grip counts calls that
            // come too late.
            self.sql_grip.enter()?;
        }
        self.sqlite.as_mut().ok_or(SqlError::Revoked(Reason::Storage))
    }

    /// Whether the guest may have one more handle. Checked before the handle's object is made; a
    /// revoked generation gets `revoked`, however many handles it has.
    fn room(&mut self) -> Result<(), SqlError> {
        self.sql()?.mark()?;
        if self.handles < self.limits.handles_max {
            Ok(())
        } else {
            Err(SqlError::LimitExceeded(SqlLimit::Handles))
        }
    }

    fn give<T: Send + 'static>(&mut self, value: T) -> Result<Resource<T>, Refusal> {
        let handle = self.table.push(value)?;
        self.handles += 1;
        Ok(handle)
    }

    fn take<T: Send + 'static>(&mut self, handle: Resource<T>) -> wasmtime::Result<T> {
        let value = self.table.delete(handle)?;
        self.handles -= 1;
        Ok(value)
    }

    fn id<T: Copy + Send + 'static>(&self, handle: &Resource<T>) -> Result<T, Refusal> {
        Ok(*self.table.get(handle)?)
    }

    /// Whether the guest has this connection; there is only one behind all of them.
    fn connection(
        &mut self,
        handle: &Resource<ConnectionHandle>,
    ) -> Result<&mut Connection, Refusal> {
        self.table.get(handle)?;
        Ok(self.sql()?)
    }

    /// Waits without a guard, since a revocation waits for guards; the grip is checked afterwards
    /// instead.
    async fn durable(&mut self, mark: Mark) -> Result<stockade_depot::Txid, SqlError> {
        let session = self.sql()?.session().clone();
        let durable = session.durable(mark).await;
        // The reason of the revocation comes first, if there was one.
        self.sql()?.mark()?;
        durable.map_err(|cause| SqlError::Revoked(cause.reason()))
    }
}

impl wit::Host for State {
    fn open(&mut self) -> Result<Resource<ConnectionHandle>, Refusal> {
        self.room()?;
        self.give(ConnectionHandle)
    }

    fn convert_error(&mut self, refusal: Refusal) -> wasmtime::Result<wit::Error> {
        match refusal {
            Refusal::Error(error) => Ok(error.into()),
            Refusal::Trap(trap) => Err(trap),
        }
    }
}

impl wit::HostConnection for State {
    fn execute(
        &mut self,
        this: Resource<ConnectionHandle>,
        sql: String,
        parameters: Vec<wit::Value>,
    ) -> Result<wit::Changes, Refusal> {
        let parameters = values(parameters);
        Ok(self.connection(&this)?.execute(&sql, &parameters)?.into())
    }

    fn query(
        &mut self,
        this: Resource<ConnectionHandle>,
        sql: String,
        parameters: Vec<wit::Value>,
    ) -> Result<wit::RowSet, Refusal> {
        let parameters = values(parameters);
        Ok(self.connection(&this)?.query(&sql, &parameters)?.into())
    }

    fn prepare(
        &mut self,
        this: Resource<ConnectionHandle>,
        sql: String,
    ) -> Result<Resource<StatementId>, Refusal> {
        self.room()?;
        let id = self.connection(&this)?.prepare(&sql)?;
        self.give(id)
    }

    fn begin(
        &mut self,
        this: Resource<ConnectionHandle>,
        mode: wit::TransactionMode,
    ) -> Result<Resource<TransactionId>, Refusal> {
        self.room()?;
        let mode = match mode {
            wit::TransactionMode::Deferred => TransactionMode::Deferred,
            wit::TransactionMode::Immediate => TransactionMode::Immediate,
        };
        let id = self.connection(&this)?.begin(mode)?;
        self.give(id)
    }

    fn run_batch(
        &mut self,
        this: Resource<ConnectionHandle>,
        statements: Vec<(String, Vec<wit::Value>)>,
    ) -> Result<Vec<wit::Changes>, Refusal> {
        let statements: Vec<_> =
            statements.into_iter().map(|(sql, parameters)| (sql, values(parameters))).collect();
        let changes = self.connection(&this)?.run_batch(&statements)?;
        Ok(changes.into_iter().map(Into::into).collect())
    }

    fn execute_script(
        &mut self,
        this: Resource<ConnectionHandle>,
        sql: String,
    ) -> Result<(), Refusal> {
        Ok(self.connection(&this)?.execute_script(&sql)?)
    }

    async fn flush(&mut self, this: Resource<ConnectionHandle>) -> Result<(), Refusal> {
        let mark = self.connection(&this)?.mark()?;
        self.durable(mark).await?;
        Ok(())
    }

    async fn bookmark(
        &mut self,
        this: Resource<ConnectionHandle>,
    ) -> Result<wit::Bookmark, Refusal> {
        let connection = self.connection(&this)?;
        let mark = connection.mark_outside_transaction()?;
        let db = connection.session().fence().db;
        let txid = self.durable(mark).await?;
        Ok(wit::Bookmark { db: db.to_string(), txid: txid.0 })
    }

    fn changes(&mut self, this: Resource<ConnectionHandle>) -> Result<wit::Changes, Refusal> {
        Ok(self.connection(&this)?.changes()?.into())
    }

    fn open_blob(
        &mut self,
        this: Resource<ConnectionHandle>,
        table: String,
        column: String,
        rowid: i64,
        writable: bool,
    ) -> Result<Resource<Blob>, Refusal> {
        self.room()?;
        let blob = self.connection(&this)?.open_blob(&table, &column, rowid, writable)?;
        self.give(blob)
    }

    fn drop(&mut self, this: Resource<ConnectionHandle>) -> wasmtime::Result<()> {
        self.take(this).map(|ConnectionHandle| ())
    }
}

impl wit::HostStatement for State {
    fn bind(
        &mut self,
        this: Resource<StatementId>,
        position: u32,
        value: wit::Value,
    ) -> Result<(), Refusal> {
        let id = self.id(&this)?;
        Ok(self.sql()?.bind(id, position, &value.into())?)
    }

    fn bind_name(
        &mut self,
        this: Resource<StatementId>,
        name: String,
        value: wit::Value,
    ) -> Result<(), Refusal> {
        let id = self.id(&this)?;
        Ok(self.sql()?.bind_name(id, &name, &value.into())?)
    }

    fn clear_bindings(&mut self, this: Resource<StatementId>) -> Result<(), Refusal> {
        let id = self.id(&this)?;
        Ok(self.sql()?.clear_bindings(id)?)
    }

    fn parameters(&mut self, this: Resource<StatementId>) -> Result<Vec<String>, Refusal> {
        let id = self.id(&this)?;
        Ok(self.sql()?.parameters(id)?)
    }

    fn columns(&mut self, this: Resource<StatementId>) -> Result<Vec<wit::Column>, Refusal> {
        let id = self.id(&this)?;
        let column = |column: sqlite::ColumnInfo| wit::Column {
            name: column.name,
            declared_type: column.declared_type,
        };
        Ok(self.sql()?.columns(id)?.into_iter().map(column).collect())
    }

    fn execute(
        &mut self,
        this: Resource<StatementId>,
        parameters: Vec<u8>,
    ) -> Result<wit::Changes, Refusal> {
        let id = self.id(&this)?;
        Ok(self.sql()?.execute_statement(id, parameters)?.into())
    }

    fn execute_many(
        &mut self,
        this: Resource<StatementId>,
        rows: Vec<u8>,
    ) -> Result<wit::Changes, Refusal> {
        let id = self.id(&this)?;
        Ok(self.sql()?.execute_many(id, rows)?.into())
    }

    fn query(
        &mut self,
        this: Resource<StatementId>,
        parameters: Vec<u8>,
        bytes_max: u32,
    ) -> Result<wit::Batch, Refusal> {
        let id = self.id(&this)?;
        Ok(self.sql()?.query_statement(id, parameters, bytes_max)?.into())
    }

    fn next(&mut self, this: Resource<StatementId>, bytes_max: u32) -> Result<wit::Batch, Refusal> {
        let id = self.id(&this)?;
        Ok(self.sql()?.next(id, bytes_max)?.into())
    }

    fn reset(&mut self, this: Resource<StatementId>) -> Result<(), Refusal> {
        let id = self.id(&this)?;
        Ok(self.sql()?.reset(id)?)
    }

    fn open_cursor(
        &mut self,
        this: Resource<StatementId>,
        parameters: Vec<u8>,
    ) -> Result<Resource<CursorId>, Refusal> {
        let id = self.id(&this)?;
        self.room()?;
        let cursor = self.sql()?.open_cursor(id, parameters)?;
        self.give(cursor)
    }

    fn drop(&mut self, this: Resource<StatementId>) -> wasmtime::Result<()> {
        let id = self.take(this)?;
        if let Some(connection) = &mut self.sqlite {
            connection.drop_statement(id);
        }
        Ok(())
    }
}

impl wit::HostCursor for State {
    fn next(&mut self, this: Resource<CursorId>, bytes_max: u32) -> Result<wit::Batch, Refusal> {
        let id = self.id(&this)?;
        Ok(self.sql()?.cursor_next(id, bytes_max)?.into())
    }

    fn drop(&mut self, this: Resource<CursorId>) -> wasmtime::Result<()> {
        let id = self.take(this)?;
        if let Some(connection) = &mut self.sqlite {
            connection.drop_cursor(id);
        }
        Ok(())
    }
}

impl wit::HostTransaction for State {
    fn commit(&mut self, this: Resource<TransactionId>) -> Result<(), Refusal> {
        let id = self.id(&this)?;
        Ok(self.sql()?.commit(id)?)
    }

    fn rollback(&mut self, this: Resource<TransactionId>) -> Result<(), Refusal> {
        let id = self.id(&this)?;
        Ok(self.sql()?.rollback(id)?)
    }

    fn drop(&mut self, this: Resource<TransactionId>) -> wasmtime::Result<()> {
        let id = self.take(this)?;
        if let Some(connection) = &mut self.sqlite {
            connection.drop_transaction(id);
        }
        Ok(())
    }
}

impl wit::HostBlob for State {
    fn size(&mut self, this: Resource<Blob>) -> Result<u64, Refusal> {
        let blob = self.table.get(&this)?.clone();
        Ok(self.sql()?.blob_bytes(&blob)?)
    }

    fn read(&mut self, this: Resource<Blob>, offset: u64, length: u64) -> Result<Vec<u8>, Refusal> {
        let blob = self.table.get(&this)?.clone();
        Ok(self.sql()?.blob_read(&blob, offset, length)?)
    }

    fn write(&mut self, this: Resource<Blob>, offset: u64, bytes: Vec<u8>) -> Result<(), Refusal> {
        let blob = self.table.get(&this)?.clone();
        Ok(self.sql()?.blob_write(&blob, offset, &bytes)?)
    }

    fn drop(&mut self, this: Resource<Blob>) -> wasmtime::Result<()> {
        self.take(this).map(drop)
    }
}

// --- values, in and out ---------------------------------------------------------------------------

fn values(values: Vec<wit::Value>) -> Vec<Value> {
    values.into_iter().map(Into::into).collect()
}

impl From<wit::Value> for Value {
    fn from(value: wit::Value) -> Self {
        match value {
            wit::Value::Null => Self::Null,
            wit::Value::Integer(value) => Self::Integer(value),
            wit::Value::Real(value) => Self::Real(value),
            wit::Value::Text(text) => Self::Text(text),
            wit::Value::Blob(bytes) => Self::Blob(bytes),
        }
    }
}

impl From<Value> for wit::Value {
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Integer(value) => Self::Integer(value),
            Value::Real(value) => Self::Real(value),
            Value::Text(text) => Self::Text(text),
            Value::Blob(bytes) => Self::Blob(bytes),
        }
    }
}

impl From<sqlite::Changes> for wit::Changes {
    fn from(changes: sqlite::Changes) -> Self {
        Self { rows: changes.rows, last_insert_rowid: changes.last_insert_rowid }
    }
}

impl From<sqlite::Batch> for wit::Batch {
    fn from(batch: sqlite::Batch) -> Self {
        let sqlite::Batch { rows, count, columns, done } = batch;
        Self { rows, count, columns, done }
    }
}

impl From<RowSet> for wit::RowSet {
    fn from(set: RowSet) -> Self {
        let row = |row: Vec<Value>| row.into_iter().map(Into::into).collect();
        Self { columns: set.columns, rows: set.rows.into_iter().map(row).collect() }
    }
}

// --- errors, out ----------------------------------------------------------------------------------

impl From<SqlError> for wit::Error {
    fn from(error: SqlError) -> Self {
        match error {
            SqlError::Constraint(failure) => Self::Constraint(failure.into()),
            SqlError::Busy => Self::Busy,
            SqlError::Denied(what) => Self::Denied(what),
            SqlError::Interrupted => Self::Interrupted,
            SqlError::LimitExceeded(limit) => Self::LimitExceeded(limit.into()),
            SqlError::Full => Self::Full,
            SqlError::CommitTooLarge(max) => Self::CommitTooLarge(max),
            SqlError::Revoked(reason) => Self::Revoked(reason.into()),
            SqlError::NotOpen => Self::NotOpen,
            SqlError::Statement(failure) => Self::Statement(failure.into()),
            SqlError::Unavailable => Self::Unavailable,
            SqlError::InvalidArgument(what) => Self::InvalidArgument(what),
            SqlError::RowFailed { row, cause } => {
                Self::RowFailed(wit::RowFailure { row, cause: row_cause(*cause) })
            }
            SqlError::Other(words) => Self::Other(words),
        }
    }
}

/// Cases that name no row are passed through before this function; their texts would remain.
fn row_cause(error: SqlError) -> wit::RowCause {
    match error {
        SqlError::Constraint(failure) => wit::RowCause::Constraint(failure.into()),
        SqlError::Interrupted => wit::RowCause::Interrupted,
        SqlError::LimitExceeded(limit) => wit::RowCause::LimitExceeded(limit.into()),
        SqlError::Full => wit::RowCause::Full,
        SqlError::CommitTooLarge(max) => wit::RowCause::CommitTooLarge(max),
        SqlError::Statement(failure) => wit::RowCause::Statement(failure.into()),
        SqlError::Other(words) => wit::RowCause::Other(words),
        error @ (SqlError::Busy
        | SqlError::Denied(_)
        | SqlError::Revoked(_)
        | SqlError::NotOpen
        | SqlError::Unavailable
        | SqlError::InvalidArgument(_)
        | SqlError::RowFailed { .. }) => wit::RowCause::Other(error.to_string()),
    }
}

impl From<ConstraintFailure> for wit::ConstraintFailure {
    fn from(failure: ConstraintFailure) -> Self {
        let kind = match failure.kind {
            ConstraintKind::Check => wit::ConstraintKind::Check,
            ConstraintKind::ForeignKey => wit::ConstraintKind::ForeignKey,
            ConstraintKind::NotNull => wit::ConstraintKind::NotNull,
            ConstraintKind::PrimaryKey => wit::ConstraintKind::PrimaryKey,
            ConstraintKind::Rowid => wit::ConstraintKind::Rowid,
            ConstraintKind::Unique => wit::ConstraintKind::Unique,
            ConstraintKind::Trigger => wit::ConstraintKind::Trigger,
            ConstraintKind::Datatype => wit::ConstraintKind::Datatype,
            ConstraintKind::Other => wit::ConstraintKind::Other,
        };
        Self { kind, table: failure.table, columns: failure.columns, message: failure.message }
    }
}

impl From<StatementFailure> for wit::StatementFailure {
    fn from(failure: StatementFailure) -> Self {
        Self { code: failure.code, message: failure.message, offset: failure.offset }
    }
}

impl From<SqlLimit> for wit::Limit {
    fn from(limit: SqlLimit) -> Self {
        match limit {
            SqlLimit::SqlSteps => Self::SqlSteps,
            SqlLimit::Rows => Self::Rows,
            SqlLimit::RowBytes => Self::RowBytes,
            SqlLimit::ValueBytes => Self::ValueBytes,
            SqlLimit::StatementBytes => Self::StatementBytes,
            SqlLimit::Parameters => Self::Parameters,
            SqlLimit::PackedBytes => Self::PackedBytes,
            SqlLimit::Handles => Self::Handles,
            SqlLimit::ScratchBytes => Self::ScratchBytes,
            SqlLimit::Memory => Self::Memory,
            SqlLimit::Pages => Self::Pages,
            SqlLimit::Columns => Self::Columns,
            SqlLimit::Depth => Self::Depth,
            SqlLimit::PatternBytes => Self::PatternBytes,
        }
    }
}

impl From<Reason> for wit::Reason {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Shutdown => Self::Shutdown,
            Reason::Slept => Self::Slept,
            Reason::Fenced => Self::Fenced,
            Reason::Trapped => Self::Trapped,
            Reason::Budget => Self::Budget,
            Reason::Upgraded => Self::Upgraded,
            Reason::Destroyed => Self::Destroyed,
            Reason::Storage => Self::Storage,
            Reason::Operator => Self::Operator,
        }
    }
}
