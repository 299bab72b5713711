//! Prepared statements: parameters in, rows out, thousands of rows in one call.

use core::cell::OnceCell;
use core::marker::PhantomData;

use super::connection::Connection;
use super::cursor::Cursor;
use super::error::{Error, Result, RowFailure};
use super::params::{Collector, Packer, Params};
use super::row::{PackedRows, Row};
use super::rows::{MappedRows, Rows};
use super::to_sql::ToSql;
use super::value::ValueRef;
use crate::bindings::sqlite as raw;

/// Bytes of rows per fetch while a query is read. Larger pieces were not faster.
pub(crate) const BATCH_BYTES: u32 = 64 << 10;
/// Bytes of rows per fetch when only the first row is wanted.
const FIRST_ROW_BYTES: u32 = 4 << 10;
/// Bytes of packed parameters after which `execute_many` sends them. The host takes 16 MiB.
const CHUNK_BYTES: usize = 256 << 10;

/// A column of a query's result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name, or the text of its expression.
    pub name: String,
    /// The declared type, if it is a column of a table.
    pub declared_type: Option<String>,
}

/// The host's statement, and its cached description.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) raw: raw::Statement,
    /// Fetched once per query: a changed schema may change them.
    columns: OnceCell<Vec<Column>>,
    /// Fetched once: they are part of the text.
    parameters: OnceCell<Vec<String>>,
}

impl Compiled {
    /// The columns of the result, fetched once.
    pub(crate) fn columns(&self) -> Result<&[Column]> {
        if let Some(columns) = self.columns.get() {
            return Ok(columns);
        }
        let columns = self.raw.columns()?.into_iter();
        let columns = columns
            .map(|column| Column { name: column.name, declared_type: column.declared_type })
            .collect();
        Ok(self.columns.get_or_init(|| columns))
    }

    /// The names of the parameters, fetched once.
    fn parameters(&self) -> Result<&[String]> {
        if let Some(names) = self.parameters.get() {
            return Ok(names);
        }
        let names = self.raw.parameters()?;
        Ok(self.parameters.get_or_init(|| names))
    }
}

/// A compiled statement of a [`Connection`].
///
/// The host keeps compiled statements by their text, so [preparing](Connection::prepare) the same
/// text in every call is cheap. A statement belongs to the one thread of its actor:
///
/// ```compile_fail,E0277
/// fn needs_send<T: Send>() {}
/// needs_send::<stockade_sdk::Statement<'static>>();
/// ```
#[derive(Debug)]
pub struct Statement<'c> {
    pub(crate) compiled: Compiled,
    pub(crate) batch: PackedRows,
    /// Packed parameters; the memory is reused.
    packed: Vec<u8>,
    connection: PhantomData<(&'c Connection, *const ())>,
}

impl<'c> Statement<'c> {
    /// Wraps the host's statement.
    pub(crate) fn new(raw: raw::Statement) -> Self {
        Self {
            compiled: Compiled { raw, columns: OnceCell::new(), parameters: OnceCell::new() },
            batch: PackedRows::default(),
            packed: Vec::new(),
            connection: PhantomData,
        }
    }

    /// Runs to the end and returns how many rows were inserted, updated or deleted.
    ///
    /// One call of the host. It blocks only for pages that are not in memory.
    ///
    /// # Errors
    /// What the host answers ([`Error`]); [`Error::InvalidArgument`] if the parameters do not fit
    /// the statement.
    ///
    /// ```no_run
    /// use stockade_sdk::{Connection, Result};
    /// fn rename(names: &[(i64, &str)]) -> Result<u64> {
    ///     let connection = Connection::open()?;
    ///     let mut update = connection.prepare("UPDATE person SET name = ?2 WHERE id = ?1")?;
    ///     names.iter().map(|(id, name)| update.execute((id, name))).sum()
    /// }
    /// ```
    pub fn execute<P: Params>(&mut self, params: P) -> Result<u64> {
        self.pack(&params)?;
        Ok(self.compiled.raw.execute(&self.packed)?.rows)
    }

    /// Runs an INSERT and returns the rowid of the new row.
    ///
    /// One call of the host. It blocks only for pages that are not in memory.
    ///
    /// # Errors
    /// As for [`Statement::execute`].
    ///
    /// ```no_run
    /// use stockade_sdk::{Connection, Result};
    /// fn add(name: &str) -> Result<i64> {
    ///     Connection::open()?.prepare("INSERT INTO person (name) VALUES (?)")?.insert([name])
    /// }
    /// ```
    pub fn insert<P: Params>(&mut self, params: P) -> Result<i64> {
        self.pack(&params)?;
        Ok(self.compiled.raw.execute(&self.packed)?.last_insert_rowid)
    }

    /// Runs once for each row of parameters, in order, and returns how many rows all of them
    /// inserted, updated or deleted. Rows travel together, a quarter of a MiB at a time.
    ///
    /// Not atomic by itself: begin a [transaction](Connection::transaction) around it, which also
    /// makes it one commit instead of one per row. Values go by position. It blocks only for pages
    /// that are not in memory.
    ///
    /// # Errors
    /// [`Error::RowFailed`] names the row by its index in `rows`; rows before it took effect.
    /// Otherwise as for [`Statement::execute`].
    ///
    /// ```no_run
    /// use stockade_sdk::{Connection, Result};
    /// fn add_squares(n: i64) -> Result<u64> {
    ///     let mut connection = Connection::open()?;
    ///     let transaction = connection.transaction()?;
    ///     let mut insert = transaction.prepare("INSERT INTO square VALUES (?, ?)")?;
    ///     let inserted = insert.execute_many((0..n).map(|i| (i, i * i)))?;
    ///     drop(insert);
    ///     transaction.commit()?;
    ///     Ok(inserted)
    /// }
    /// ```
    pub fn execute_many<I>(&mut self, rows: I) -> Result<u64>
    where
        I: IntoIterator,
        I::Item: Params,
    {
        let mut changed = 0;
        let mut sent = Sent::default();
        self.packed.clear();
        for row in rows {
            if Packer::pack(&mut self.packed, &row).map_err(|error| sent.name(error))? == 0 {
                self.no_parameters()?;
                changed += self.compiled.raw.execute(&[])?.rows;
                sent.before += 1;
                continue;
            }
            sent.waiting += 1;
            if self.packed.len() >= CHUNK_BYTES {
                changed += self.send(&mut sent)?;
            }
        }
        if sent.waiting > 0 {
            changed += self.send(&mut sent)?;
        }
        Ok(changed)
    }

    /// Runs and returns the rows, fetched in pieces of 64 KiB as they are read.
    ///
    /// One call of the host per piece: a query of few rows costs one. It blocks only for pages
    /// that are not in memory.
    ///
    /// A write that returns rows (`RETURNING`), outside a transaction, has run to its end and is
    /// accepted when this returns, however many of its rows are read.
    ///
    /// # Errors
    /// As for [`Statement::execute`]; [`Error::LimitExceeded`] if such a write returns more than
    /// 16 MiB, of which nothing is kept.
    ///
    /// ```no_run
    /// use stockade_sdk::{Connection, Result};
    /// fn letters() -> Result<usize> {
    ///     let connection = Connection::open()?;
    ///     let mut select = connection.prepare("SELECT name FROM person")?;
    ///     let mut rows = select.query([])?;
    ///     let mut letters = 0;
    ///     while let Some(row) = rows.next()? {
    ///         letters += row.get::<_, &str>(0)?.len(); // not copied
    ///     }
    ///     Ok(letters)
    /// }
    /// ```
    pub fn query<P: Params>(&mut self, params: P) -> Result<Rows<'_>> {
        let done = self.start(&params, BATCH_BYTES)?;
        Ok(Rows::new(&self.compiled, &mut self.batch, done))
    }

    /// Runs and returns an iterator over the values that `read` makes from the rows.
    ///
    /// # Errors
    /// As for [`Statement::query`].
    ///
    /// ```no_run
    /// use stockade_sdk::{Connection, Result};
    /// fn adults() -> Result<Vec<String>> {
    ///     let connection = Connection::open()?;
    ///     let mut select = connection.prepare("SELECT name FROM person WHERE age >= ?")?;
    ///     select.query_map([18], |row| row.get(0))?.collect()
    /// }
    /// ```
    pub fn query_map<P, T, F>(&mut self, params: P, read: F) -> Result<MappedRows<'_, F>>
    where
        P: Params,
        F: FnMut(&Row<'_>) -> Result<T>,
    {
        Ok(MappedRows::new(self.query(params)?, read))
    }

    /// Runs and reads the first row. Rows after it are ignored; a write is run to its end.
    ///
    /// One call of the host if the row is the only one. It blocks only for pages that are not in
    /// memory.
    ///
    /// # Errors
    /// [`ReadError::NoRow`](crate::ReadError::NoRow) if there is none: see
    /// [`OptionalRow`](crate::OptionalRow). Otherwise as for [`Statement::execute`].
    ///
    /// ```no_run
    /// use stockade_sdk::{Connection, Result};
    /// fn age(name: &str) -> Result<u8> {
    ///     let connection = Connection::open()?;
    ///     let mut select = connection.prepare("SELECT age FROM person WHERE name = ?")?;
    ///     select.query_row([name], |row| row.get(0))
    /// }
    /// ```
    pub fn query_row<P, T, F>(&mut self, params: P, read: F) -> Result<T>
    where
        P: Params,
        F: FnOnce(&Row<'_>) -> Result<T>,
    {
        let done = self.start(&params, FIRST_ROW_BYTES)?;
        let mut rows = Rows::new(&self.compiled, &mut self.batch, done);
        match rows.next()? {
            Some(row) => read(&row),
            None => Err(crate::ReadError::NoRow.into()),
        }
    }

    /// Whether the query has a row.
    ///
    /// # Errors
    /// As for [`Statement::query_row`], except that no row is `Ok(false)`.
    ///
    /// ```no_run
    /// use stockade_sdk::{Connection, Result};
    /// fn known(name: &str) -> Result<bool> {
    ///     Connection::open()?.prepare("SELECT 1 FROM person WHERE name = ?")?.exists([name])
    /// }
    /// ```
    pub fn exists<P: Params>(&mut self, params: P) -> Result<bool> {
        match self.query_row(params, |_| Ok(())) {
            Ok(()) => Ok(true),
            Err(error) if error.is_no_row() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Runs and returns a cursor, which returns rows a batch at a time; the reader chooses how
    /// large a batch may be. [`Statement::query`] is simpler and as fast.
    ///
    /// # Errors
    /// As for [`Statement::execute`].
    ///
    /// ```no_run
    /// use stockade_sdk::{Connection, Result};
    /// fn count() -> Result<u64> {
    ///     let connection = Connection::open()?;
    ///     let mut select = connection.prepare("SELECT name FROM person")?;
    ///     let mut cursor = select.open_cursor([])?;
    ///     let mut rows = 0;
    ///     while let Some(batch) = cursor.next_batch(1 << 20)? {
    ///         rows += u64::from(batch.left());
    ///     }
    ///     Ok(rows)
    /// }
    /// ```
    pub fn open_cursor<P: Params>(&mut self, params: P) -> Result<Cursor<'_>> {
        self.pack(&params)?;
        self.compiled.columns.take();
        let raw = self.compiled.raw.open_cursor(&self.packed)?;
        Ok(Cursor::new(raw, &self.compiled))
    }

    /// Binds a value to a parameter by position, from 1, for [`Statement::execute_bound`] and
    /// [`Statement::query_bound`]. Bindings stay until changed. Never blocks.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if there is no such parameter; [`Error::Revoked`].
    ///
    /// ```no_run
    /// use stockade_sdk::{Connection, Result};
    /// fn add(name: &str, age: u8) -> Result<u64> {
    ///     let connection = Connection::open()?;
    ///     let mut insert = connection.prepare("INSERT INTO person VALUES (?, :age)")?;
    ///     insert.bind(1, name)?;
    ///     insert.bind_name(":age", age)?;
    ///     insert.execute_bound()
    /// }
    /// ```
    pub fn bind<T: ToSql>(&mut self, position: u32, value: T) -> Result<()> {
        let value = value.to_sql()?;
        Ok(self.compiled.raw.bind(position, typed(value.value())?)?)
    }

    /// Binds a value to a parameter by name, with or without its `:`, `@` or `$`. Never blocks.
    ///
    /// # Errors
    /// As for [`Statement::bind`], whose example shows it.
    ///
    /// ```no_run
    /// # fn f(s: &mut stockade_sdk::Statement<'_>) -> stockade_sdk::Result<()> {
    /// s.bind_name(":age", 18)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn bind_name<T: ToSql>(&mut self, name: &str, value: T) -> Result<()> {
        let value = value.to_sql()?;
        Ok(self.compiled.raw.bind_name(name, typed(value.value())?)?)
    }

    /// Sets all parameters to NULL. Never blocks.
    ///
    /// # Errors
    /// [`Error::Revoked`].
    ///
    /// ```no_run
    /// # fn f(s: &mut stockade_sdk::Statement<'_>) -> stockade_sdk::Result<()> {
    /// s.clear_bindings()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn clear_bindings(&mut self) -> Result<()> {
        Ok(self.compiled.raw.clear_bindings()?)
    }

    /// Runs to the end with the [bound](Statement::bind) values, and returns the rows changed.
    ///
    /// # Errors
    /// As for [`Statement::execute`].
    ///
    /// ```no_run
    /// # fn f(s: &mut stockade_sdk::Statement<'_>) -> stockade_sdk::Result<()> {
    /// s.bind(1, "Ada")?;
    /// assert_eq!(s.execute_bound()?, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn execute_bound(&mut self) -> Result<u64> {
        Ok(self.compiled.raw.execute(&[])?.rows)
    }

    /// Runs with the [bound](Statement::bind) values, and returns the rows.
    ///
    /// # Errors
    /// As for [`Statement::query`].
    ///
    /// ```no_run
    /// # fn f(s: &mut stockade_sdk::Statement<'_>) -> stockade_sdk::Result<()> {
    /// s.bind(1, "Ada")?;
    /// assert!(s.query_bound()?.next()?.is_some());
    /// # Ok(())
    /// # }
    /// ```
    pub fn query_bound(&mut self) -> Result<Rows<'_>> {
        self.packed.clear();
        let done = self.run(BATCH_BYTES)?;
        Ok(Rows::new(&self.compiled, &mut self.batch, done))
    }

    /// The columns of the result; empty for a statement that returns no rows. Never blocks.
    ///
    /// # Errors
    /// [`Error::Revoked`].
    ///
    /// ```no_run
    /// # fn f(s: &stockade_sdk::Statement<'_>) -> stockade_sdk::Result<()> {
    /// let names: Vec<_> = s.columns()?.iter().map(|column| &column.name).collect();
    /// # Ok(())
    /// # }
    /// ```
    pub fn columns(&self) -> Result<&[Column]> {
        self.compiled.columns()
    }

    /// Names of the parameters in order; empty for one without a name. Never blocks.
    ///
    /// # Errors
    /// [`Error::Revoked`].
    ///
    /// ```no_run
    /// # fn f(s: &stockade_sdk::Statement<'_>) -> stockade_sdk::Result<()> {
    /// assert_eq!(s.parameters()?.len(), 2);
    /// # Ok(())
    /// # }
    /// ```
    pub fn parameters(&self) -> Result<&[String]> {
        self.compiled.parameters()
    }

    /// Packs `params` into the buffer, which then holds one row for all parameters.
    fn pack<P: Params>(&mut self, params: &P) -> Result<()> {
        self.packed.clear();
        if P::NAMED {
            let names = self.compiled.parameters()?;
            return Collector::collect(params)?.pack_by_name(names, &mut self.packed);
        }
        match Packer::pack(&mut self.packed, params)? {
            0 => self.no_parameters(),
            _ => Ok(()),
        }
    }

    /// Refuses a statement that has parameters: for the host, an empty packed row means "the bound
    /// values", and a forgotten parameter must not become NULL.
    fn no_parameters(&self) -> Result<()> {
        match self.compiled.parameters()?.len() {
            0 => Ok(()),
            n => Err(Error::InvalidArgument(format!("the statement has {n} parameters, got none"))),
        }
    }

    /// Packs, runs, and loads the first rows. Returns whether these are all rows.
    fn start<P: Params>(&mut self, params: &P, bytes_max: u32) -> Result<bool> {
        self.pack(params)?;
        self.run(bytes_max)
    }

    fn run(&mut self, bytes_max: u32) -> Result<bool> {
        self.compiled.columns.take();
        self.batch.clear();
        let batch = self.compiled.raw.query(&self.packed, bytes_max)?;
        let done = batch.done;
        self.batch.load(batch);
        Ok(done)
    }

    /// Sends the packed rows that are waiting.
    fn send(&mut self, sent: &mut Sent) -> Result<u64> {
        let result = self.compiled.raw.execute_many(&self.packed);
        self.packed.clear();
        let changes = result.map_err(|error| sent.shift(error.into()))?;
        sent.before += sent.waiting;
        sent.waiting = 0;
        Ok(changes.rows)
    }
}

/// The progress of `execute_many`: the host counts rows from the start of each call.
#[derive(Default)]
struct Sent {
    /// Rows of earlier calls of the host.
    before: u64,
    /// Rows that are packed but not sent.
    waiting: u64,
}

impl Sent {
    /// The host's error, with the row counted from the first of all.
    fn shift(&self, error: Error) -> Error {
        match error {
            Error::RowFailed(failure) => Error::RowFailed(RowFailure {
                row: self.before.saturating_add(failure.row),
                cause: failure.cause,
            }),
            other => other,
        }
    }

    /// An error of packing, with its row. Rows that wait were not run.
    fn name(&self, error: Error) -> Error {
        match error {
            Error::InvalidArgument(text) => {
                Error::InvalidArgument(format!("row {}: {text}", self.before + self.waiting))
            }
            other => other,
        }
    }
}

/// A value in the form that calls with single values take.
pub(crate) fn typed(value: ValueRef<'_>) -> Result<raw::ValueParam<'_>> {
    Ok(match value {
        ValueRef::Null => raw::ValueParam::Null,
        ValueRef::Integer(n) => raw::ValueParam::Integer(n),
        ValueRef::Real(x) => raw::ValueParam::Real(x),
        ValueRef::Text(_) => raw::ValueParam::Text(value.as_str()?),
        ValueRef::Blob(bytes) => raw::ValueParam::Blob(bytes),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RowCause;

    #[test]
    fn a_failing_row_is_counted_from_the_first_of_all() {
        let sent = Sent { before: 1_000, waiting: 5 };
        let failed = |row| Error::RowFailed(RowFailure { row, cause: RowCause::Full });
        assert_eq!(sent.shift(failed(3)), failed(1_003));
        assert_eq!(sent.shift(Error::Busy), Error::Busy);
        assert_eq!(
            sent.name(Error::InvalidArgument("x".to_owned())),
            Error::InvalidArgument("row 1005: x".to_owned())
        );
    }
}
