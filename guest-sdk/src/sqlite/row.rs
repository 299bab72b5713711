//! Rows that arrived packed, read in place.
//!
//! Invariants:
//! - every offset in `starts` is the start of a whole value: `PackedRows::next_row` walks a row to
//!   its end before it hands the row out;
//! - all rows of a batch have the same number of values.
//!
//! ```text
//! batch  | 01 7....... | 03 2 "hi" | 01 8....... | 03 2 "ho" |      count = 2, columns = 2
//!        ^ starts[0]   ^ starts[1] ^ at: the next row begins
//! ```

use super::error::{Error, ReadError, Result};
use super::from_sql::FromSql;
use super::pack;
use super::statement::Compiled;
use super::value::ValueRef;
use crate::bindings::sqlite as raw;

/// Some rows of a query, as one piece of memory.
#[derive(Debug, Default)]
pub(crate) struct PackedRows {
    bytes: Vec<u8>,
    /// Offset of the row after the current one.
    at: usize,
    /// Rows from `at` on.
    left: u32,
    /// Offsets of the current row's values, one for each column.
    starts: Vec<usize>,
    /// Whether the bytes turned out not to be rows. Nothing is read after that.
    broken: bool,
}

impl PackedRows {
    /// Takes over rows from the host. The memory for offsets is reused.
    pub(crate) fn load(&mut self, batch: raw::Batch) {
        self.bytes = batch.rows;
        self.at = 0;
        self.left = batch.count;
        self.starts.resize(usize::try_from(batch.columns).unwrap_or(usize::MAX), 0);
    }

    /// Drops the rows, for another query.
    pub(crate) fn clear(&mut self) {
        self.left = 0;
        self.broken = false;
    }

    /// Rows that have not been read yet.
    pub(crate) fn left(&self) -> u32 {
        self.left
    }

    /// Whether the bytes turned out not to be rows.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Walks the next row. `statement` provides the names of its columns.
    ///
    /// # Errors
    /// [`ReadError::NoRow`] at the end, [`ReadError::Malformed`] if the bytes end too early.
    #[inline]
    pub(crate) fn next_row<'r>(&'r mut self, statement: Option<&'r Compiled>) -> Result<Row<'r>> {
        if self.left == 0 {
            return Err(ReadError::NoRow.into());
        }
        let mut at = self.at;
        for start in &mut self.starts {
            *start = at;
            match pack::skip(&self.bytes, at) {
                Ok(end) => at = end,
                Err(malformed) => return Err(self.give_up(malformed)),
            }
        }
        if self.left == 1 && at != self.bytes.len() {
            return Err(self.give_up(ReadError::Malformed));
        }
        self.left -= 1;
        self.at = at;
        Ok(Row { bytes: &self.bytes, starts: &self.starts, statement })
    }

    fn give_up(&mut self, malformed: ReadError) -> Error {
        self.left = 0;
        self.broken = true;
        malformed.into()
    }
}

/// One row of a result, borrowed from its batch.
///
/// Nothing is copied until it is read, and text read as `&str` is not copied at all. The row, and
/// values borrowed from it, end when the next row is read:
///
/// ```compile_fail,E0499
/// # use stockade_sdk::{Rows, Result};
/// fn two(rows: &mut Rows<'_>) -> Result<()> {
///     let first = rows.next()?.unwrap();
///     let name: &str = first.get(0)?;
///     let second = rows.next()?;
///     assert_eq!(name, "the first row is gone");
///     Ok(())
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Row<'r> {
    bytes: &'r [u8],
    starts: &'r [usize],
    statement: Option<&'r Compiled>,
}

impl<'r> Row<'r> {
    /// The value of a column, by index from 0 or by name.
    ///
    /// By index it never blocks. The first use of a name asks the host for all names of the query.
    ///
    /// # Errors
    /// [`Error::Read`](crate::Error::Read) if there is no such column or the value has another
    /// type.
    ///
    /// ```no_run
    /// use stockade_sdk::{Connection, Result};
    /// fn longest() -> Result<usize> {
    ///     let connection = Connection::open()?;
    ///     connection.query_row("SELECT name, age FROM person", [], |row| {
    ///         let name: &str = row.get(0)?;
    ///         let age: Option<u8> = row.get("age")?;
    ///         Ok(name.len() + usize::from(age.unwrap_or(0)))
    ///     })
    /// }
    /// ```
    #[inline]
    pub fn get<I: ColumnIndex, T: FromSql<'r>>(&self, column: I) -> Result<T> {
        Ok(T::from_sql(self.get_ref(column)?)?)
    }

    /// The value of a column as it is.
    ///
    /// # Errors
    /// [`Error::Read`](crate::Error::Read) if there is no such column.
    ///
    /// ```no_run
    /// use stockade_sdk::{Connection, Result, Type};
    /// fn kind(key: &str) -> Result<Type> {
    ///     let connection = Connection::open()?;
    ///     connection.query_row("SELECT value FROM setting WHERE key = ?", [key], |row| {
    ///         Ok(row.get_ref(0)?.data_type())
    ///     })
    /// }
    /// ```
    #[inline]
    pub fn get_ref<I: ColumnIndex>(&self, column: I) -> Result<ValueRef<'r>> {
        let index = column.index(self)?;
        let start = *self.starts.get(index).ok_or(ReadError::NoColumn(index))?;
        Ok(pack::read(self.bytes, start)?)
    }

    /// How many columns the row has. Never blocks.
    ///
    /// ```no_run
    /// # fn print(row: stockade_sdk::Row<'_>) -> stockade_sdk::Result<()> {
    /// for index in 0..row.len() {
    ///     log::info!("{:?}", row.get_ref(index)?);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether the row has no columns. No query has such rows. Never blocks.
    ///
    /// ```no_run
    /// # fn check(row: stockade_sdk::Row<'_>) {
    /// assert!(!row.is_empty());
    /// # }
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }
}

/// How a column is named: by its index from 0, or by its name.
pub trait ColumnIndex: sealed::Sealed {
    /// The index in this row.
    #[doc(hidden)]
    fn index(&self, row: &Row<'_>) -> Result<usize>;
}

mod sealed {
    /// Keeps [`super::ColumnIndex`] to the types listed there.
    pub trait Sealed {}
}

impl sealed::Sealed for usize {}
impl ColumnIndex for usize {
    #[inline]
    fn index(&self, _: &Row<'_>) -> Result<usize> {
        Ok(*self)
    }
}

impl sealed::Sealed for &str {}
impl ColumnIndex for &str {
    fn index(&self, row: &Row<'_>) -> Result<usize> {
        let found = match row.statement {
            Some(statement) => statement.columns()?.iter().position(|column| column.name == *self),
            None => None,
        };
        found.ok_or_else(|| ReadError::NoColumnNamed((*self).to_owned()).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(rows: &[&[ValueRef<'_>]]) -> raw::Batch {
        let mut bytes = Vec::new();
        for value in rows.iter().copied().flatten() {
            pack::put(&mut bytes, *value).unwrap();
        }
        let columns = rows.first().map_or(0, |row| u32::try_from(row.len()).unwrap());
        raw::Batch { rows: bytes, count: u32::try_from(rows.len()).unwrap(), columns, done: true }
    }

    #[test]
    fn rows_are_read_in_place() {
        let mut rows = PackedRows::default();
        rows.load(batch(&[
            &[ValueRef::Integer(1), ValueRef::Text(b"one"), ValueRef::Null],
            &[ValueRef::Integer(2), ValueRef::Text(b""), ValueRef::Blob(&[2])],
        ]));
        let row = rows.next_row(None).unwrap();
        assert_eq!(row.len(), 3);
        assert_eq!(row.get::<_, i64>(0), Ok(1));
        assert_eq!(row.get::<_, &str>(1), Ok("one"));
        assert_eq!(row.get::<_, Option<&[u8]>>(2), Ok(None));
        assert_eq!(row.get::<_, i64>(3), Err(Error::Read(ReadError::NoColumn(3))));
        assert!(matches!(row.get::<_, i64>("x"), Err(Error::Read(ReadError::NoColumnNamed(_)))));
        let row = rows.next_row(None).unwrap();
        assert_eq!(row.get::<_, u8>(0), Ok(2));
        assert_eq!(row.get::<_, String>(1), Ok(String::new()));
        assert_eq!(row.get::<_, &[u8]>(2), Ok(&[2_u8][..]));
        assert!(rows.next_row(None).is_err_and(|error| error.is_no_row()));
    }

    #[test]
    fn an_empty_batch_has_no_row() {
        let mut rows = PackedRows::default();
        rows.load(batch(&[]));
        assert_eq!(rows.left(), 0);
        assert!(rows.next_row(None).is_err_and(|error| error.is_no_row()));
    }

    #[test]
    fn rows_that_do_not_add_up_are_malformed() {
        for columns in [1, 3] {
            let mut wrong = batch(&[&[ValueRef::Null, ValueRef::Null]]);
            wrong.columns = columns;
            let mut rows = PackedRows::default();
            rows.load(wrong);
            assert!(matches!(rows.next_row(None), Err(Error::Read(ReadError::Malformed))));
            assert!(rows.is_broken() && rows.left() == 0);
        }
    }
}
