//! Incremental access to one value of a row.
//!
//! SQLite's own handle stays open only for one read or write: an open handle would hold its write
//! back from the commit, so that "accepted when the call returns" were false.

use std::ffi::CString;

use super::authorizer::is_reserved;
use super::connection::{Connection, Core};
use super::error::{SqlError, SqlLimit};
use super::transaction::Within;
use super::value::Value;

/// Most bytes of one read: 1 MiB.
pub const BLOB_READ_BYTES_MAX: u64 = 1 << 20;

/// Names one value of a row, with its size when it was opened.
#[derive(Clone, Debug)]
pub struct Blob {
    table: CString,
    column: CString,
    rowid: i64,
    bytes: usize,
    writable: bool,
}

impl Connection {
    /// Opens a value. `table` and `column` are guest-controlled.
    ///
    /// # Errors
    /// `Statement` if there is no such table, column or row, or the value is neither blob nor text;
    /// `Denied` to write into a table that is not an ordinary table of the actor, and for the host's.
    pub fn open_blob(
        &mut self,
        table: &str,
        column: &str,
        rowid: i64,
        writable: bool,
    ) -> Result<Blob, SqlError> {
        self.guarded(|core| {
            if is_reserved(table) {
                let table: String = table.chars().take(80).collect();
                return Err(SqlError::Denied(format!("{table} is reserved for the host")));
            }
            if writable && !core.is_ordinary_table(table)? {
                let table: String = table.chars().take(80).collect();
                return Err(SqlError::Denied(format!("{table} is not an ordinary table")));
            }
            let name = |name: &str| {
                CString::new(name)
                    .map_err(|_| SqlError::InvalidArgument("U+0000 in a name".to_owned()))
            };
            let (table, column) = (name(table)?, name(column)?);
            let mut blob = Blob { table, column, rowid, bytes: 0, writable };
            blob.bytes = core.with_blob(&blob, |open| Ok(open.bytes()))?;
            Ok(blob)
        })
    }

    /// The value's size in bytes, which is fixed.
    ///
    /// # Errors
    /// `NotOpen` if the row is gone or the value has changed its size or type.
    pub fn blob_bytes(&mut self, blob: &Blob) -> Result<u64, SqlError> {
        self.guarded(|core| core.with_open(blob, |_| Ok(blob.bytes as u64)))
    }

    /// Reads up to `length` bytes at `offset`; fewer at the end. Both are guest-controlled.
    ///
    /// # Errors
    /// `LimitExceeded(ValueBytes)` over [`BLOB_READ_BYTES_MAX`]; `NotOpen` as for the size.
    pub fn blob_read(
        &mut self,
        blob: &Blob,
        offset: u64,
        length: u64,
    ) -> Result<Vec<u8>, SqlError> {
        self.guarded(|core| {
            if length > BLOB_READ_BYTES_MAX {
                return Err(SqlError::LimitExceeded(SqlLimit::ValueBytes));
            }
            core.with_open(blob, |open| {
                let from = usize::try_from(offset).unwrap_or(usize::MAX).min(blob.bytes);
                let length = usize::try_from(length).unwrap_or(usize::MAX).min(blob.bytes - from);
                let mut bytes = vec![0; length];
                open.read(from, &mut bytes)?;
                Ok(bytes)
            })
        })
    }

    /// Writes bytes at `offset`, within the size. Outside a transaction it is one commit.
    ///
    /// # Errors
    /// `InvalidArgument` beyond the end, `Denied` if opened for reading, and those of a commit.
    pub fn blob_write(&mut self, blob: &Blob, offset: u64, bytes: &[u8]) -> Result<(), SqlError> {
        self.guarded(|core| {
            if !blob.writable {
                return Err(SqlError::Denied("the blob was opened for reading".to_owned()));
            }
            let from = usize::try_from(offset)
                .ok()
                .filter(|from| from.checked_add(bytes.len()).is_some_and(|to| to <= blob.bytes))
                .ok_or_else(|| {
                    SqlError::InvalidArgument("beyond the end of the blob".to_owned())
                })?;
            core.with_open(blob, |open| open.write(from, bytes))
        })
    }
}

impl Core {
    /// Works on the value as it was opened; `NotOpen` if the value has changed.
    fn with_open<T>(
        &mut self,
        blob: &Blob,
        work: impl FnOnce(&stockade_sqlite::Blob<'_>) -> Result<T, stockade_sqlite::Code>,
    ) -> Result<T, SqlError> {
        let mut same_size = true;
        let result = self.with_blob(blob, |open| {
            same_size = open.bytes() == blob.bytes;
            if same_size { work(open).map(Some) } else { Ok(None) }
        });
        match result {
            Ok(Some(value)) => Ok(value),
            // SQLite's codes for a row that is gone or a value that is no longer a blob.
            Ok(None) | Err(SqlError::Statement(_)) => Err(SqlError::NotOpen),
            Err(error) => Err(error),
        }
    }

    fn with_blob<T>(
        &mut self,
        blob: &Blob,
        work: impl FnOnce(&stockade_sqlite::Blob<'_>) -> Result<T, stockade_sqlite::Code>,
    ) -> Result<T, SqlError> {
        let runner = &self.runner;
        if self.stack.within() == Within::Lost {
            return Err(SqlError::NotOpen);
        }
        runner.meter.start_statement()?;
        runner.owner.forget_fault();
        let Blob { table, column, rowid, writable, .. } = blob;
        let open = runner
            .database
            .open_blob(table, column, *rowid, *writable)
            .map_err(|code| runner.error(code))?;
        let result = work(&open).map_err(|code| runner.error(code));
        let closed = open.close().map_err(|code| runner.error(code));
        runner.meter.ran(0);
        let value = result?;
        closed.map(|()| value)
    }

    /// Whether blobs of the table may be written: not the schema, not a shadow table. The authorizer is not asked when a blob is opened.
    fn is_ordinary_table(&mut self, table: &str) -> Result<bool, SqlError> {
        let sqlites = |start: &[u8]| start.eq_ignore_ascii_case(b"sqlite_");
        if table.as_bytes().get(..7).is_some_and(sqlites) {
            return Ok(false);
        }
        let sql = "SELECT type = 'table' FROM pragma_table_list(?1) WHERE schema = 'main'";
        let rows = self.query(sql, &[Value::Text(table.to_owned())])?.rows;
        // SQLite itself reports a table that does not exist.
        Ok(rows.first().is_none_or(|row| row.first() == Some(&Value::Integer(1))))
    }
}
