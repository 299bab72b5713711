//! Why a database call failed: the `error` of the WIT contract, and the errors of reading a row.
//!
//! Every case of the WIT variant is one case here with the same name and payload. The one
//! additional case, [`Error::Read`], never comes from the host: this package returns it when a row
//! does not hold what the caller asks for.

use core::fmt;

use crate::bindings::sqlite as raw;

/// What a database call returns.
pub type Result<T, E = Error> = core::result::Result<T, E>;

/// Why a database call failed.
///
/// ```
/// use stockade_sdk::{Error, Limit};
/// let error = Error::LimitExceeded(Limit::Rows);
/// assert!(!error.is_revoked());
/// assert_eq!(error.to_string(), "a limit of the host was reached: rows read in one call");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum Error {
    /// A write broke a rule of the schema. The same call will fail again.
    Constraint(ConstraintFailure),
    /// Another statement of this actor is in the way, for example an open cursor. Finish it and
    /// try again.
    Busy,
    /// The host forbids this statement, pragma or function. The text names it.
    Denied(String),
    /// The statement was stopped at the call's deadline or because the generation ends.
    Interrupted,
    /// A limit of the host was reached. The same call will fail again.
    LimitExceeded(Limit),
    /// The database has reached its size limit, or those of its kind together have. Delete rows,
    /// then try again.
    Full,
    /// The transaction changed more than one commit may carry, in bytes. Nothing of it was kept.
    CommitTooLarge(u64),
    /// The handles of this generation were revoked. Every later call returns the same error; never
    /// retry.
    Revoked(Reason),
    /// The cursor, transaction or blob has ended, or was never opened. From a statement: SQLite has
    /// rolled back the open [`Transaction`](crate::Transaction), none of it was kept, and the
    /// statement did not run.
    NotOpen,
    /// SQLite rejected the statement. The same call will fail again.
    Statement(StatementFailure),
    /// The store did not answer in time, the memory that all actors of the host share is used up, or
    /// too many long statements run. The same may succeed a little later.
    Unavailable,
    /// An argument is malformed, or a parameter does not exist. The text says which.
    InvalidArgument(String),
    /// A row of [`Statement::execute_many`](crate::Statement::execute_many) failed. Rows before it
    /// took effect, unless a transaction around them is rolled back.
    RowFailed(RowFailure),
    /// Anything else. The text is for people and may change at any time.
    Other(String),
    /// A row does not hold what the caller asked for. Found by this package, not by the host.
    Read(ReadError),
}

impl Error {
    /// Whether this generation has lost its database: stop, nothing can succeed any more.
    ///
    /// ```
    /// use stockade_sdk::{Error, Reason};
    /// assert!(Error::Revoked(Reason::Fenced).is_revoked());
    /// ```
    #[must_use]
    pub fn is_revoked(&self) -> bool {
        matches!(self, Self::Revoked(_))
    }

    /// Whether a rule of the schema was broken, also inside
    /// [`Statement::execute_many`](crate::Statement::execute_many).
    ///
    /// ```
    /// assert!(!stockade_sdk::Error::Busy.is_constraint());
    /// ```
    #[must_use]
    pub fn is_constraint(&self) -> bool {
        self.constraint().is_some()
    }

    /// The broken rule, if a rule was broken.
    ///
    /// ```
    /// # fn insert() -> stockade_sdk::Result<()> { Err(stockade_sdk::Error::Busy) }
    /// use stockade_sdk::ConstraintKind;
    /// if let Err(error) = insert() {
    ///     let taken = error.constraint().is_some_and(|c| c.kind == ConstraintKind::Unique);
    ///     assert!(!taken);
    /// }
    /// ```
    #[must_use]
    pub fn constraint(&self) -> Option<&ConstraintFailure> {
        match self {
            Self::Constraint(failure) => Some(failure),
            Self::RowFailed(RowFailure { cause: RowCause::Constraint(failure), .. }) => {
                Some(failure)
            }
            _ => None,
        }
    }

    /// Whether the query returned no row although the caller wanted one.
    ///
    /// ```
    /// use stockade_sdk::{Error, ReadError};
    /// assert!(Error::Read(ReadError::NoRow).is_no_row());
    /// ```
    #[must_use]
    pub fn is_no_row(&self) -> bool {
        matches!(self, Self::Read(ReadError::NoRow))
    }

    /// Whether the same call may succeed later in this generation.
    ///
    /// ```
    /// assert!(stockade_sdk::Error::Unavailable.is_retryable());
    /// ```
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Busy | Self::Unavailable)
    }
}

/// Turns "no row" into `None`.
pub trait OptionalRow<T> {
    /// `Ok(None)` if the query had no row, and the result itself otherwise.
    ///
    /// # Errors
    /// Every error but [`ReadError::NoRow`].
    ///
    /// ```no_run
    /// use stockade_sdk::{Connection, OptionalRow, Result};
    /// fn name(id: i64) -> Result<Option<String>> {
    ///     Connection::open()?
    ///         .query_row("SELECT name FROM person WHERE id = ?", [id], |row| row.get(0))
    ///         .optional()
    /// }
    /// ```
    fn optional(self) -> Result<Option<T>>;
}

impl<T> OptionalRow<T> for Result<T> {
    fn optional(self) -> Result<Option<T>> {
        match self {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.is_no_row() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// One of SQLite's types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// NULL.
    Null,
    /// INTEGER.
    Integer,
    /// REAL.
    Real,
    /// TEXT.
    Text,
    /// BLOB.
    Blob,
}

/// A row does not hold what the caller asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// The query returned no row.
    NoRow,
    /// The row has no column at this place.
    NoColumn(usize),
    /// The row has no column of this name.
    NoColumnNamed(String),
    /// The value has another type.
    Type {
        /// The type that the caller asked for.
        expected: Type,
        /// The type it has.
        found: Type,
    },
    /// The integer does not fit the type that the caller asked for.
    Range(i64),
    /// The value has no meaning for the type that the caller asked for. The text says why.
    Meaning(String),
    /// The text is not UTF-8. Hosts promise that it is.
    Utf8,
    /// The rows do not follow the packed format. Hosts promise that they do.
    Malformed,
}

/// Which rule of the schema a write broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConstraintKind {
    /// CHECK.
    Check,
    /// FOREIGN KEY.
    ForeignKey,
    /// NOT NULL.
    NotNull,
    /// PRIMARY KEY.
    PrimaryKey,
    /// The rowid is taken.
    Rowid,
    /// UNIQUE.
    Unique,
    /// RAISE(ABORT, ..) in a trigger.
    Trigger,
    /// A column of a STRICT table got another type.
    Datatype,
    /// Any other rule.
    Other,
}

/// A write broke a rule of the schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConstraintFailure {
    /// Which rule.
    pub kind: ConstraintKind,
    /// The table, if SQLite names it.
    pub table: Option<String>,
    /// The columns, if SQLite names them.
    pub columns: Vec<String>,
    /// SQLite's own words.
    pub message: String,
}

/// SQLite rejected a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatementFailure {
    /// SQLite's extended result code.
    pub code: i32,
    /// SQLite's own words.
    pub message: String,
    /// Byte offset in the statement's text, if known.
    pub offset: Option<u32>,
}

/// A limit of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Steps of SQLite's virtual machine in one call.
    SqlSteps,
    /// Rows read in one call.
    Rows,
    /// Bytes of rows read in one call.
    RowBytes,
    /// Bytes of one value or one row, 16 MiB by default.
    ValueBytes,
    /// Bytes of a statement's text, 1 MiB by default.
    StatementBytes,
    /// Parameters of a statement.
    Parameters,
    /// Bytes of one packed argument, 16 MiB by default.
    PackedBytes,
    /// Open statements, cursors, transactions and blobs of a generation.
    Handles,
    /// Scratch space of sorts, temporary tables and journals.
    ScratchBytes,
    /// Memory that SQLite may use for this database, 128 MiB.
    Memory,
    /// Pages of the database that SQLite read in one call because its cache lacked them.
    Pages,
    /// Columns of a table, an index or a result, terms of ORDER BY or GROUP BY: 1,000. Beyond
    /// SQLite's own 2,000 it is [`Error::Statement`].
    Columns,
    /// How deep expressions, subqueries, views and triggers are nested, all together: 1 MiB of
    /// SQLite's stack. Each of them alone may be as deep as in SQLite.
    Depth,
    /// Bytes of a pattern of LIKE or GLOB: 50,000.
    PatternBytes,
}

/// Why a generation's handles were revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The host is shutting down.
    Shutdown,
    /// The actor goes to sleep.
    Slept,
    /// Another generation owns the database.
    Fenced,
    /// The component trapped.
    Trapped,
    /// A call used up its budget.
    Budget,
    /// A new component was deployed.
    Upgraded,
    /// The actor is being destroyed.
    Destroyed,
    /// The store failed, or a commit could not be made durable.
    Storage,
    /// An operator stopped the actor.
    Operator,
}

/// Which row of several failed, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct RowFailure {
    /// Index of the row among all given rows, from 0.
    pub row: u64,
    /// The reason.
    pub cause: RowCause,
}

/// Why a row failed: the cases of [`Error`] that one row can cause.
#[derive(Clone, Debug, PartialEq)]
pub enum RowCause {
    /// As in [`Error::Constraint`].
    Constraint(ConstraintFailure),
    /// As in [`Error::Interrupted`].
    Interrupted,
    /// As in [`Error::LimitExceeded`].
    LimitExceeded(Limit),
    /// As in [`Error::Full`].
    Full,
    /// As in [`Error::CommitTooLarge`].
    CommitTooLarge(u64),
    /// As in [`Error::Statement`].
    Statement(StatementFailure),
    /// As in [`Error::Other`].
    Other(String),
}

impl core::error::Error for Error {}
impl core::error::Error for ReadError {}

impl From<ReadError> for Error {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constraint(failure) => f.write_str(&failure.message),
            Self::Busy => f.write_str("another statement of this actor is in the way"),
            Self::Denied(what) => write!(f, "the host forbids it: {what}"),
            Self::Interrupted => f.write_str("the statement was stopped"),
            Self::LimitExceeded(limit) => write!(f, "a limit of the host was reached: {limit}"),
            Self::Full => f.write_str("the database has reached its size limit, or its kind has"),
            Self::CommitTooLarge(bytes) => {
                write!(f, "the transaction is too large for one commit: {bytes} bytes")
            }
            Self::Revoked(reason) => write!(f, "the generation has lost its database: {reason}"),
            Self::NotOpen => f.write_str("it has ended, or was never opened"),
            Self::Statement(failure) => f.write_str(&failure.message),
            Self::Unavailable => f.write_str(
                "the store did not answer in time, or the host has no room for the statement now",
            ),
            Self::InvalidArgument(text) => write!(f, "invalid argument: {text}"),
            Self::RowFailed(failure) => write!(f, "row {}: {}", failure.row, failure.cause),
            Self::Other(text) => f.write_str(text),
            Self::Read(error) => error.fmt(f),
        }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRow => f.write_str("the query returned no row"),
            Self::NoColumn(index) => write!(f, "the row has no column {index}"),
            Self::NoColumnNamed(name) => write!(f, "the row has no column named `{name}`"),
            Self::Type { expected, found } => {
                write!(f, "expected a value of type {expected}, found {found}")
            }
            Self::Range(n) => write!(f, "the integer {n} does not fit"),
            Self::Meaning(why) => write!(f, "the value cannot be used: {why}"),
            Self::Utf8 => f.write_str("the text is not UTF-8"),
            Self::Malformed => f.write_str("the rows do not follow the packed format"),
        }
    }
}

impl fmt::Display for RowCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constraint(failure) => f.write_str(&failure.message),
            Self::Interrupted => Error::Interrupted.fmt(f),
            Self::LimitExceeded(limit) => Error::LimitExceeded(*limit).fmt(f),
            Self::Full => Error::Full.fmt(f),
            Self::CommitTooLarge(bytes) => Error::CommitTooLarge(*bytes).fmt(f),
            Self::Statement(failure) => f.write_str(&failure.message),
            Self::Other(text) => f.write_str(text),
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Null => "null",
            Self::Integer => "integer",
            Self::Real => "real",
            Self::Text => "text",
            Self::Blob => "blob",
        })
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SqlSteps => "steps of SQLite in one call",
            Self::Rows => "rows read in one call",
            Self::RowBytes => "bytes of rows read in one call",
            Self::ValueBytes => "bytes of one value or row",
            Self::StatementBytes => "bytes of a statement's text",
            Self::Parameters => "parameters of a statement",
            Self::PackedBytes => "bytes of one packed argument",
            Self::Handles => "open handles of a generation",
            Self::ScratchBytes => "scratch space",
            Self::Memory => "memory of SQLite",
            Self::Pages => "pages read in one call",
            Self::Columns => "columns (at most 1,000)",
            Self::Depth => "depth of a statement and what it uses (1 MiB of stack)",
            Self::PatternBytes => "bytes of a pattern of LIKE or GLOB (at most 50,000)",
        })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Shutdown => "shutdown",
            Self::Slept => "slept",
            Self::Fenced => "fenced",
            Self::Trapped => "trapped",
            Self::Budget => "budget",
            Self::Upgraded => "upgraded",
            Self::Destroyed => "destroyed",
            Self::Storage => "storage",
            Self::Operator => "operator",
        })
    }
}

// The one translation of this boundary: exhaustive, so that a new case of the contract does not
// compile.

impl From<raw::Error> for Error {
    fn from(error: raw::Error) -> Self {
        match error {
            raw::Error::Constraint(failure) => Self::Constraint(failure.into()),
            raw::Error::Busy => Self::Busy,
            raw::Error::Denied(what) => Self::Denied(what),
            raw::Error::Interrupted => Self::Interrupted,
            raw::Error::LimitExceeded(limit) => Self::LimitExceeded(limit.into()),
            raw::Error::Full => Self::Full,
            raw::Error::CommitTooLarge(bytes) => Self::CommitTooLarge(bytes),
            raw::Error::Revoked(reason) => Self::Revoked(reason.into()),
            raw::Error::NotOpen => Self::NotOpen,
            raw::Error::Statement(failure) => Self::Statement(failure.into()),
            raw::Error::Unavailable => Self::Unavailable,
            raw::Error::InvalidArgument(text) => Self::InvalidArgument(text),
            raw::Error::RowFailed(failure) => {
                Self::RowFailed(RowFailure { row: failure.row, cause: failure.cause.into() })
            }
            raw::Error::Other(text) => Self::Other(text),
        }
    }
}

impl From<raw::RowCause> for RowCause {
    fn from(cause: raw::RowCause) -> Self {
        match cause {
            raw::RowCause::Constraint(failure) => Self::Constraint(failure.into()),
            raw::RowCause::Interrupted => Self::Interrupted,
            raw::RowCause::LimitExceeded(limit) => Self::LimitExceeded(limit.into()),
            raw::RowCause::Full => Self::Full,
            raw::RowCause::CommitTooLarge(bytes) => Self::CommitTooLarge(bytes),
            raw::RowCause::Statement(failure) => Self::Statement(failure.into()),
            raw::RowCause::Other(text) => Self::Other(text),
        }
    }
}

impl From<raw::ConstraintFailure> for ConstraintFailure {
    fn from(failure: raw::ConstraintFailure) -> Self {
        let kind = match failure.kind {
            raw::ConstraintKind::Check => ConstraintKind::Check,
            raw::ConstraintKind::ForeignKey => ConstraintKind::ForeignKey,
            raw::ConstraintKind::NotNull => ConstraintKind::NotNull,
            raw::ConstraintKind::PrimaryKey => ConstraintKind::PrimaryKey,
            raw::ConstraintKind::Rowid => ConstraintKind::Rowid,
            raw::ConstraintKind::Unique => ConstraintKind::Unique,
            raw::ConstraintKind::Trigger => ConstraintKind::Trigger,
            raw::ConstraintKind::Datatype => ConstraintKind::Datatype,
            raw::ConstraintKind::Other => ConstraintKind::Other,
        };
        Self { kind, table: failure.table, columns: failure.columns, message: failure.message }
    }
}

impl From<raw::StatementFailure> for StatementFailure {
    fn from(failure: raw::StatementFailure) -> Self {
        Self { code: failure.code, message: failure.message, offset: failure.offset }
    }
}

impl From<raw::Limit> for Limit {
    fn from(limit: raw::Limit) -> Self {
        match limit {
            raw::Limit::SqlSteps => Self::SqlSteps,
            raw::Limit::Rows => Self::Rows,
            raw::Limit::RowBytes => Self::RowBytes,
            raw::Limit::ValueBytes => Self::ValueBytes,
            raw::Limit::StatementBytes => Self::StatementBytes,
            raw::Limit::Parameters => Self::Parameters,
            raw::Limit::PackedBytes => Self::PackedBytes,
            raw::Limit::Handles => Self::Handles,
            raw::Limit::ScratchBytes => Self::ScratchBytes,
            raw::Limit::Memory => Self::Memory,
            raw::Limit::Pages => Self::Pages,
            raw::Limit::Columns => Self::Columns,
            raw::Limit::Depth => Self::Depth,
            raw::Limit::PatternBytes => Self::PatternBytes,
        }
    }
}

crate::from_contract!(reasons in raw);
