//! The `sqlite` interface: one file per resource, and the values that pass through them.

mod error;
mod pack;
mod value;

mod from_sql;
mod params;
mod to_sql;

mod row;

mod batch_run;
mod blob;
mod connection;
mod cursor;
mod rows;
mod statement;
mod transaction;

pub use self::batch_run::Batch;
pub use self::blob::Blob;
pub use self::connection::{Bookmark, Connection};
pub use self::cursor::{Cursor, RowBatch};
pub use self::error::{
    ConstraintFailure, ConstraintKind, Error, Limit, OptionalRow, ReadError, Reason, Result,
    RowCause, RowFailure, StatementFailure, Type,
};
pub use self::from_sql::FromSql;
pub use self::params::Params;
pub use self::row::{ColumnIndex, Row};
pub use self::rows::{MappedRows, Rows};
pub use self::statement::{Column, Statement};
pub use self::to_sql::{Null, ToSql, ToSqlOutput};
pub use self::transaction::{Transaction, TransactionMode};
pub use self::value::{Value, ValueRef};
