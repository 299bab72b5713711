//! Why a call on the database failed: the cases of the WIT error one to one, and the one
//! translation of SQLite's codes into them.
//!
//! The code decides what happened; SQLite's text only fills in names, and only where the text is
//! unambiguous. A typed fault of the file layer replaces SQLite's code: see
//! [`super::owner::Owner`].

use std::fmt;

use rusqlite::ffi as sys;
use stockade_depot::Reason;
use stockade_vfs::heap;

use super::hardening;
use crate::grip::Revoked;
use stockade_sqlite::PATTERN_TOO_LONG;

/// Why a call on the database failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SqlError {
    /// A write broke a rule of the schema. The same call will fail again.
    #[error("{}", .0.message)]
    Constraint(ConstraintFailure),
    /// Another statement of this actor is in the way. Finish that one and try again.
    #[error("busy: another statement of this actor is in the way")]
    Busy,
    /// The host forbids this statement, pragma or function. The text names it.
    #[error("denied: {0}")]
    Denied(String),
    /// Stopped at the call's deadline or because the generation ends.
    #[error("interrupted")]
    Interrupted,
    /// A limit of the host was reached. The same call will fail again.
    #[error("limit exceeded: {0}")]
    LimitExceeded(SqlLimit),
    /// The database has reached its size limit, or those of its kind together have.
    #[error(
        "the database has reached its size limit (database_bytes_max), or all of its kind together \
         have (stored_bytes_max)"
    )]
    Full,
    /// The transaction changed more than one commit may carry, in bytes. Nothing of the transaction
    /// was kept.
    #[error(
        "the transaction changes more than {0} bytes (commit_bytes_max); change less in each, or \
         deploy the kind with a higher limit; a database too large for VACUUM is exported, \
         vacuumed as a file, and imported"
    )]
    CommitTooLarge(u64),
    /// The generation has ended. Every later call answers the same.
    #[error("revoked: {0}")]
    Revoked(Reason),
    /// The cursor, transaction or blob has ended.
    #[error("not open")]
    NotOpen,
    /// SQLite rejected the statement. The same call will fail again.
    #[error("{}", .0.message)]
    Statement(StatementFailure),
    /// The store did not answer in time, or the memory of all guests together is used up, or too
    /// many long statements run. The same call may succeed a little later.
    #[error(
        "the store did not answer in time, or the host has no memory or threads left for its guests"
    )]
    Unavailable,
    /// An argument is malformed. The text says which.
    #[error("invalid argument: {0}")]
    InvalidArgument(String),
    /// A row of `execute-many` failed. Rows before it took effect.
    #[error("row {row}: {cause}")]
    RowFailed {
        /// Index of the row, from 0.
        row: u64,
        /// The reason.
        cause: Box<SqlError>,
    },
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

/// The rule of the schema that a write broke, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConstraintFailure {
    /// The rule.
    pub kind: ConstraintKind,
    /// The table, if SQLite names it.
    pub table: Option<String>,
    /// The columns, if SQLite names them.
    pub columns: Vec<String>,
    /// SQLite's own text.
    pub message: String,
}

/// A rule of the schema.
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

/// SQLite rejected a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatementFailure {
    /// SQLite's extended result code.
    pub code: i32,
    /// SQLite's own text.
    pub message: String,
    /// Byte offset in the statement's text, if known.
    pub offset: Option<u32>,
}

/// A limit of the host. The names are those of the WIT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SqlLimit {
    /// Steps of SQLite's virtual machine in one call.
    SqlSteps,
    /// Rows read in one call.
    Rows,
    /// Bytes of rows read in one call.
    RowBytes,
    /// Bytes of one value or one row.
    ValueBytes,
    /// Bytes of a statement's text.
    StatementBytes,
    /// Parameters of a statement.
    Parameters,
    /// Bytes of one packed argument.
    PackedBytes,
    /// Open statements, cursors, transactions and blobs of a generation.
    Handles,
    /// Scratch space of sorts, temporary tables and journals.
    ScratchBytes,
    /// Memory that SQLite may use for this database.
    Memory,
    /// Pages of the database read in one call.
    Pages,
    /// Columns of a table, an index or a result, terms of ORDER BY or GROUP BY.
    Columns,
    /// Nesting depth of expressions, subqueries, views and triggers, counted together.
    Depth,
    /// Bytes of a pattern of LIKE or GLOB.
    PatternBytes,
}

impl SqlLimit {
    /// The word for the limit.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SqlSteps => "sql-steps",
            Self::Rows => "rows",
            Self::RowBytes => "row-bytes",
            Self::ValueBytes => "value-bytes",
            Self::StatementBytes => "statement-bytes",
            Self::Parameters => "parameters",
            Self::PackedBytes => "packed-bytes",
            Self::Handles => "handles",
            Self::ScratchBytes => "scratch-bytes",
            Self::Memory => "memory",
            Self::Pages => "pages",
            Self::Columns => "columns",
            Self::Depth => "depth",
            Self::PatternBytes => "pattern-bytes",
        }
    }

    /// The limit's number and unit, where every kind has the same.
    #[must_use]
    pub fn fixed(self) -> Option<(u64, &'static str)> {
        let count = |count: i32| u64::from(count.unsigned_abs());
        match self {
            Self::Parameters => Some((count(hardening::PARAMETERS_MAX), "parameters")),
            Self::Columns => Some((count(hardening::COLUMNS_MAX), "columns")),
            Self::PatternBytes => Some((count(hardening::PATTERN_BYTES_MAX), "bytes")),
            Self::Depth => Some((heap::STACK_BYTES_MAX as u64, "bytes of stack")),
            Self::Memory => Some((hardening::HEAP_BYTES_MAX as u64, "bytes")),
            Self::SqlSteps
            | Self::Rows
            | Self::RowBytes
            | Self::ValueBytes
            | Self::StatementBytes
            | Self::PackedBytes
            | Self::Handles
            | Self::ScratchBytes
            | Self::Pages => None,
        }
    }
}

impl fmt::Display for SqlLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.fixed() {
            Some((number, unit)) => write!(f, "{} (at most {number} {unit})", self.as_str()),
            None => f.write_str(self.as_str()),
        }
    }
}

impl From<Revoked> for SqlError {
    fn from(Revoked(reason): Revoked) -> Self {
        Self::Revoked(reason)
    }
}

impl SqlError {
    /// An error in a statement that SQLite does not see.
    pub(super) fn wrong_statement(message: &str, offset: Option<usize>) -> Self {
        Self::Statement(StatementFailure {
            code: sys::SQLITE_ERROR,
            message: message.to_owned(),
            offset: offset.and_then(|offset| u32::try_from(offset).ok()),
        })
    }

    /// Translates SQLite's extended code, when no typed fault explains the failure better.
    /// `denial`: the authorizer's last refusal, if any.
    pub(super) fn of_code(
        code: i32,
        message: String,
        offset: Option<u32>,
        denial: Option<String>,
    ) -> Self {
        match code & 0xff {
            sys::SQLITE_CONSTRAINT => Self::Constraint(constraint(code, message)),
            sys::SQLITE_BUSY | sys::SQLITE_LOCKED => Self::Busy,
            sys::SQLITE_AUTH => Self::Denied(denial.unwrap_or(message)),
            sys::SQLITE_INTERRUPT => Self::Interrupted,
            sys::SQLITE_FULL => Self::Full,
            sys::SQLITE_TOOBIG if code == PATTERN_TOO_LONG => {
                Self::LimitExceeded(SqlLimit::PatternBytes)
            }
            sys::SQLITE_TOOBIG => Self::LimitExceeded(SqlLimit::ValueBytes),
            sys::SQLITE_NOMEM => Self::LimitExceeded(SqlLimit::Memory),
            sys::SQLITE_ABORT if code == sys::SQLITE_ABORT_ROLLBACK => Self::NotOpen,
            _ if denial.is_some() => Self::Denied(denial.unwrap_or(message)),
            _ => Self::Statement(StatementFailure { code, message, offset }),
        }
    }
}

fn constraint(code: i32, message: String) -> ConstraintFailure {
    let kind = match code {
        sys::SQLITE_CONSTRAINT_CHECK => ConstraintKind::Check,
        sys::SQLITE_CONSTRAINT_FOREIGNKEY => ConstraintKind::ForeignKey,
        sys::SQLITE_CONSTRAINT_NOTNULL => ConstraintKind::NotNull,
        sys::SQLITE_CONSTRAINT_PRIMARYKEY => ConstraintKind::PrimaryKey,
        sys::SQLITE_CONSTRAINT_ROWID => ConstraintKind::Rowid,
        sys::SQLITE_CONSTRAINT_UNIQUE => ConstraintKind::Unique,
        sys::SQLITE_CONSTRAINT_TRIGGER => ConstraintKind::Trigger,
        sys::SQLITE_CONSTRAINT_DATATYPE => ConstraintKind::Datatype,
        _ => ConstraintKind::Other,
    };
    let names = match kind {
        ConstraintKind::Unique | ConstraintKind::PrimaryKey | ConstraintKind::Rowid => {
            message.strip_prefix("UNIQUE constraint failed: ")
        }
        ConstraintKind::NotNull => message.strip_prefix("NOT NULL constraint failed: "),
        ConstraintKind::Datatype => message
            .strip_prefix("cannot store ")
            .and_then(|rest| rest.split_once(" column "))
            .map(|(_, column)| column),
        ConstraintKind::Check
        | ConstraintKind::ForeignKey
        | ConstraintKind::Trigger
        | ConstraintKind::Other => None,
    };
    let (table, columns) = names.and_then(table_and_columns).unzip();
    ConstraintFailure { kind, table, columns: columns.unwrap_or_default(), message }
}

/// `t.a, t.b` as table and columns; `None` where a name has a dot or a comma of its own, since the
/// text is ambiguous then, and for `index 'name'`.
fn table_and_columns(names: &str) -> Option<(String, Vec<String>)> {
    let mut table = None;
    let mut columns = Vec::new();
    for name in names.split(", ") {
        let (of, column) = name.split_once('.')?;
        if column.contains('.') || *table.get_or_insert(of) != of {
            return None;
        }
        columns.push(column.to_owned());
    }
    table.map(|table| (table.to_owned(), columns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_only_where_they_are_plain() {
        for (text, expected) in [
            ("t.a", Some(("t", vec!["a"]))),
            ("t.a, t.b", Some(("t", vec!["a", "b"]))),
            ("t.a.b", None),
            ("t.a, u.b", None),
            ("index 'i'", None),
            ("t.a, b", None),
        ] {
            let expected = expected.map(|(table, columns): (&str, Vec<&str>)| {
                (table.to_owned(), columns.into_iter().map(str::to_owned).collect::<Vec<_>>())
            });
            assert_eq!(table_and_columns(text), expected, "{text}");
        }
    }

    #[test]
    fn the_code_decides_the_kind_and_text_never_does() {
        let text = "UNIQUE constraint failed: t.a".to_owned();
        let failure = constraint(sys::SQLITE_CONSTRAINT_TRIGGER, text);
        assert_eq!((failure.kind, failure.table), (ConstraintKind::Trigger, None));
        let error = SqlError::of_code(sys::SQLITE_ERROR, "interrupted".into(), Some(3), None);
        assert!(matches!(error, SqlError::Statement(failure) if failure.offset == Some(3)));
    }
}
