//! Rows a batch at a time, each batch owned by its reader.

use super::error::Result;
use super::row::{PackedRows, Row};
use super::statement::Compiled;
use crate::bindings::sqlite as raw;

/// Rows of a statement, in batches, read on demand. Made by
/// [`Statement::open_cursor`](crate::Statement::open_cursor). A drop before the end ends the query.
/// A write runs when the first batch is read; outside a transaction it is accepted then.
#[derive(Debug)]
pub struct Cursor<'s> {
    raw: raw::Cursor,
    statement: &'s Compiled,
    done: bool,
}

impl<'s> Cursor<'s> {
    pub(crate) fn new(raw: raw::Cursor, statement: &'s Compiled) -> Self {
        Self { raw, statement, done: false }
    }

    /// The next rows, at most `bytes_max` bytes of them, or `None` after the last. The host's own
    /// bound holds too, and one row always fits. It blocks only for pages that are not in memory.
    ///
    /// # Errors
    /// [`Error::NotOpen`](crate::Error::NotOpen) if a rollback ended the cursor, and what else the
    /// host answers.
    ///
    /// ```no_run
    /// # fn f(s: &mut stockade_sdk::Statement<'_>) -> stockade_sdk::Result<()> {
    /// let mut cursor = s.open_cursor([])?;
    /// while let Some(mut batch) = cursor.next_batch(16 << 10)? {
    ///     while let Some(row) = batch.next()? {
    ///         let id: i64 = row.get(0)?;
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn next_batch(&mut self, bytes_max: u32) -> Result<Option<RowBatch<'s>>> {
        while !self.done {
            let batch = self.raw.next(bytes_max)?;
            self.done = batch.done;
            if batch.count > 0 {
                let mut rows = PackedRows::default();
                rows.load(batch);
                return Ok(Some(RowBatch { rows, statement: self.statement }));
            }
        }
        Ok(None)
    }
}

/// Some rows of a [`Cursor`]. A batch stays readable while the cursor advances.
#[derive(Debug)]
pub struct RowBatch<'s> {
    rows: PackedRows,
    statement: &'s Compiled,
}

impl RowBatch<'_> {
    /// The next row, or `None` after the last. Never blocks.
    ///
    /// # Errors
    /// [`ReadError::Malformed`](crate::ReadError::Malformed) if the host broke the format.
    ///
    /// ```no_run
    /// # fn f(batch: &mut stockade_sdk::RowBatch<'_>) -> stockade_sdk::Result<()> {
    /// while let Some(row) = batch.next()? {
    ///     let id: i64 = row.get(0)?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[allow(clippy::should_implement_trait, reason = "a row borrows from the batch")]
    pub fn next(&mut self) -> Result<Option<Row<'_>>> {
        if self.rows.left() == 0 {
            return Ok(None);
        }
        self.rows.next_row(Some(self.statement)).map(Some)
    }

    /// How many rows have not been read yet. Never blocks.
    ///
    /// ```no_run
    /// # fn f(batch: &stockade_sdk::RowBatch<'_>) {
    /// assert!(batch.left() > 0);
    /// # }
    /// ```
    #[must_use]
    pub fn left(&self) -> u32 {
        self.rows.left()
    }
}
