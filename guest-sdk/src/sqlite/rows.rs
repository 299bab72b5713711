//! Rows of a query in the order they come, one at a time.

use super::error::Result;
use super::row::{PackedRows, Row};
use super::statement::{BATCH_BYTES, Compiled};

/// The rows of a [`Statement::query`](crate::Statement::query).
///
/// Not an [`Iterator`], because each row borrows from the rows:
/// [`Statement::query_map`](crate::Statement::query_map) returns one. A drop before the end ends
/// the query.
#[derive(Debug)]
pub struct Rows<'s> {
    statement: &'s Compiled,
    batch: &'s mut PackedRows,
    /// Whether the host has no more rows, or the query has failed.
    done: bool,
}

impl<'s> Rows<'s> {
    /// The rows of `batch`, and the rows after it if the batch is not the last.
    pub(crate) fn new(statement: &'s Compiled, batch: &'s mut PackedRows, done: bool) -> Self {
        Self { statement, batch, done }
    }

    /// The next row, or `None` after the last.
    ///
    /// Calls the host only where a batch ends. It blocks only for pages that are not in memory.
    ///
    /// # Errors
    /// What the host answers ([`Error`](crate::Error)). After an error there are no more rows.
    ///
    /// ```no_run
    /// # fn f(s: &mut stockade_sdk::Statement<'_>) -> stockade_sdk::Result<()> {
    /// let mut rows = s.query([])?;
    /// while let Some(row) = rows.next()? {
    ///     let id: i64 = row.get(0)?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    #[allow(clippy::should_implement_trait, reason = "a row borrows from the rows")]
    pub fn next(&mut self) -> Result<Option<Row<'_>>> {
        while self.batch.left() == 0 {
            if self.done || self.batch.is_broken() {
                return Ok(None);
            }
            self.fetch()?;
        }
        self.batch.next_row(Some(self.statement)).map(Some)
    }

    /// An iterator over the values that `read` makes from the rows.
    ///
    /// ```no_run
    /// # fn f(s: &mut stockade_sdk::Statement<'_>) -> stockade_sdk::Result<()> {
    /// let ids: Vec<i64> = s.query([])?.map(|row| row.get(0)).collect::<Result<_, _>>()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn map<T, F: FnMut(&Row<'_>) -> Result<T>>(self, read: F) -> MappedRows<'s, F> {
        MappedRows::new(self, read)
    }

    fn fetch(&mut self) -> Result<()> {
        // An error ends the query on the host's side, too.
        self.done = true;
        let batch = self.statement.raw.next(BATCH_BYTES)?;
        self.done = batch.done;
        self.batch.load(batch);
        Ok(())
    }
}

impl Drop for Rows<'_> {
    fn drop(&mut self) {
        if !self.done {
            // A drop cannot report an error, and a revoked statement needs no reset.
            drop(self.statement.raw.reset());
        }
    }
}

/// An iterator over the rows of a query. Made by
/// [`Statement::query_map`](crate::Statement::query_map).
#[derive(Debug)]
pub struct MappedRows<'s, F> {
    rows: Rows<'s>,
    read: F,
}

impl<'s, F> MappedRows<'s, F> {
    pub(crate) fn new(rows: Rows<'s>, read: F) -> Self {
        Self { rows, read }
    }
}

impl<T, F: FnMut(&Row<'_>) -> Result<T>> Iterator for MappedRows<'_, F> {
    type Item = Result<T>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match self.rows.next() {
            Ok(Some(row)) => Some((self.read)(&row)),
            Ok(None) => None,
            Err(error) => Some(Err(error)),
        }
    }
}
