//! The connection to the database of this actor.

use core::marker::PhantomData;

use super::batch_run::Batch;
use super::blob::Blob;
use super::error::Result;
use super::params::{Collector, Params};
use super::row::Row;
use super::statement::{Statement, typed};
use super::transaction::{Transaction, TransactionMode};
use crate::bindings::sqlite as raw;

/// A point in the history of the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bookmark {
    /// Id of the history line, in hex.
    pub db: String,
    /// Number of the commit. The state after it is what the bookmark names.
    pub txid: u64,
}

/// The connection to the private database of this actor.
///
/// An actor has one connection, open throughout its generation; each `Connection` is a view of it,
/// so it is cheap to open one in every method, and a drop closes nothing. A statement outside a
/// transaction commits by itself. A write is *accepted* when the call returns and durable a moment
/// later; no later reply of the actor leaves the host before that.
///
/// A call leaves nothing in the connection but rows: temporary tables, views, triggers and indexes
/// that it made are dropped at its end, pragmas are what they were before, and
/// [`changes`](Connection::changes) and [`last_insert_rowid`](Connection::last_insert_rowid) begin
/// at 0. What [`Lifecycle::restore`](crate::lifecycle::Lifecycle::restore) and
/// [`Lifecycle::start`](crate::lifecycle::Lifecycle::start) set and make lives as long as the
/// generation, and calls can neither drop nor alter it.
#[derive(Debug)]
pub struct Connection {
    pub(crate) raw: raw::Connection,
    one_thread: PhantomData<*const ()>,
}

impl Connection {
    /// Opens the database of this actor. Never blocks.
    ///
    /// # Errors
    /// [`Error::Revoked`](crate::Error::Revoked) if the generation has ended;
    /// [`Error::LimitExceeded`](crate::Error::LimitExceeded) if too many handles are open.
    ///
    /// # Panics
    /// Outside an actor: see [Test an actor](crate#test-an-actor).
    ///
    /// ```no_run
    /// use stockade_sdk::{Connection, Result};
    /// fn people() -> Result<i64> {
    ///     Connection::open()?.query_row("SELECT count(*) FROM person", [], |row| row.get(0))
    /// }
    /// ```
    #[track_caller]
    pub fn open() -> Result<Self> {
        crate::outside::needs_host();
        Ok(Self { raw: raw::open()?, one_thread: PhantomData })
    }

    /// Runs one statement to its end and returns how many rows were inserted, updated or deleted.
    ///
    /// One call of the host, unless parameters go by name. It blocks only for pages that are not
    /// in memory.
    ///
    /// # Errors
    /// What the host answers ([`Error`](crate::Error)).
    ///
    /// ```no_run
    /// use stockade_sdk::{Connection, Result};
    /// fn birthday(name: &str) -> Result<bool> {
    ///     let connection = Connection::open()?;
    ///     Ok(connection.execute("UPDATE person SET age = age + 1 WHERE name = ?", [name])? == 1)
    /// }
    /// ```
    pub fn execute<P: Params>(&self, sql: &str, params: P) -> Result<u64> {
        Ok(self.run(sql, params)?.0)
    }

    /// Runs one INSERT and returns the rowid of the new row.
    ///
    /// # Errors
    /// As for [`Connection::execute`].
    ///
    /// ```no_run
    /// use stockade_sdk::{Connection, Result};
    /// fn add(name: &str) -> Result<i64> {
    ///     Connection::open()?.insert("INSERT INTO person (name) VALUES (?)", [name])
    /// }
    /// ```
    pub fn insert<P: Params>(&self, sql: &str, params: P) -> Result<i64> {
        Ok(self.run(sql, params)?.1)
    }

    /// Runs any number of statements separated by semicolons, without parameters. Each commits by
    /// itself unless a transaction is open. It blocks only for pages that are not in memory.
    ///
    /// # Errors
    /// What the host answers; statements before the failing one took effect.
    ///
    /// ```no_run
    /// use stockade_sdk::{Connection, Result};
    /// fn create() -> Result<()> {
    ///     Connection::open()?.execute_script(
    ///         "CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT NOT NULL, age INTEGER);
    ///          CREATE INDEX person_name ON person (name);",
    ///     )
    /// }
    /// ```
    pub fn execute_script(&self, sql: &str) -> Result<()> {
        Ok(self.raw.execute_script(sql)?)
    }

    /// Compiles one statement. The host keeps compiled statements by their text. Never blocks.
    ///
    /// # Errors
    /// [`Error::Statement`](crate::Error::Statement) for a syntax error, an unknown table or
    /// column, or more than one statement; [`Error::Denied`](crate::Error::Denied).
    ///
    /// ```no_run
    /// use stockade_sdk::{Connection, Result};
    /// fn ages(names: &[&str]) -> Result<Vec<u8>> {
    ///     let connection = Connection::open()?;
    ///     let mut select = connection.prepare("SELECT age FROM person WHERE name = ?")?;
    ///     names.iter().map(|name| select.query_row([name], |row| row.get(0))).collect()
    /// }
    /// ```
    pub fn prepare(&self, sql: &str) -> Result<Statement<'_>> {
        Ok(Statement::new(self.raw.prepare(sql)?))
    }

    /// Runs a query and reads its first row. In a loop, [prepare](Connection::prepare) once.
    ///
    /// # Errors
    /// As for [`Statement::query_row`] and [`Connection::prepare`].
    ///
    /// ```no_run
    /// use stockade_sdk::{Connection, Result};
    /// fn age(name: &str) -> Result<Option<u8>> {
    ///     let connection = Connection::open()?;
    ///     connection.query_row("SELECT age FROM person WHERE name = ?", [name], |row| row.get(0))
    /// }
    /// ```
    pub fn query_row<P, T, F>(&self, sql: &str, params: P, read: F) -> Result<T>
    where
        P: Params,
        F: FnOnce(&Row<'_>) -> Result<T>,
    {
        self.prepare(sql)?.query_row(params, read)
    }

    /// Begins a transaction, which rolls back when dropped without
    /// [`commit`](Transaction::commit). Never blocks.
    ///
    /// The connection is borrowed: until the transaction has ended, statements go through it.
    ///
    /// # Errors
    /// [`Error::NotOpen`](crate::Error::NotOpen) if a transaction is open that SQLite has rolled
    /// back; [`Error::Revoked`](crate::Error::Revoked);
    /// [`Error::LimitExceeded`](crate::Error::LimitExceeded) if too many handles are open.
    ///
    /// ```no_run
    /// use stockade_sdk::{Connection, Result};
    /// fn swap(a: i64, b: i64) -> Result<()> {
    ///     let mut connection = Connection::open()?;
    ///     let transaction = connection.transaction()?;
    ///     transaction.execute("UPDATE seat SET person = -person WHERE id = ?", [a])?;
    ///     transaction.execute("UPDATE seat SET person = -person WHERE id = ?", [b])?;
    ///     transaction.commit()
    /// }
    /// ```
    ///
    /// ```compile_fail,E0502
    /// # fn f(mut connection: stockade_sdk::Connection) -> stockade_sdk::Result<()> {
    /// let transaction = connection.transaction()?;
    /// connection.execute("DELETE FROM seat", [])?; // beside the transaction, not in it
    /// transaction.commit()
    /// # }
    /// ```
    pub fn transaction(&mut self) -> Result<Transaction<'_>> {
        Transaction::begin(self, TransactionMode::Deferred)
    }

    /// Begins a transaction that takes its lock in the given way. Never blocks.
    ///
    /// # Errors
    /// As for [`Connection::transaction`].
    ///
    /// ```no_run
    /// use stockade_sdk::{Connection, Result, TransactionMode};
    /// fn write() -> Result<()> {
    ///     let mut connection = Connection::open()?;
    ///     connection.transaction_with_mode(TransactionMode::Immediate)?.commit()
    /// }
    /// ```
    pub fn transaction_with_mode(&mut self, mode: TransactionMode) -> Result<Transaction<'_>> {
        Transaction::begin(self, mode)
    }

    /// Begins a transaction without borrowing the connection exclusively, for code that already
    /// holds statements of the connection. If a transaction is open, this is a savepoint of it.
    /// Never blocks.
    ///
    /// # Errors
    /// As for [`Connection::transaction`].
    ///
    /// ```no_run
    /// use stockade_sdk::{Connection, Result};
    /// fn add(names: &[&str]) -> Result<()> {
    ///     let connection = Connection::open()?;
    ///     let mut insert = connection.prepare("INSERT INTO person (name) VALUES (?)")?;
    ///     let transaction = connection.unchecked_transaction()?;
    ///     insert.execute_many(names.iter().map(|name| [name]))?;
    ///     transaction.commit()
    /// }
    /// ```
    pub fn unchecked_transaction(&self) -> Result<Transaction<'_>> {
        Transaction::begin(self, TransactionMode::Deferred)
    }

    /// Runs all statements of a [`Batch`] in one transaction and one call of the host: all take
    /// effect or none. Returns how many rows each changed. It blocks only for pages that are not
    /// in memory.
    ///
    /// # Errors
    /// As for [`Connection::execute`]; nothing of the batch was kept.
    /// [`Error::NotOpen`](crate::Error::NotOpen) if SQLite has rolled back the surrounding
    /// transaction as well.
    ///
    /// ```no_run
    /// use stockade_sdk::{Connection, Result, Batch};
    /// fn forget(name: &str) -> Result<Vec<u64>> {
    ///     let mut batch = Batch::new();
    ///     batch.add("DELETE FROM person WHERE name = ?", [name])?;
    ///     batch.add("UPDATE total SET people = people - 1", [])?;
    ///     Connection::open()?.run_batch(&batch)
    /// }
    /// ```
    pub fn run_batch(&self, batch: &Batch) -> Result<Vec<u64>> {
        batch.run(self)
    }

    /// Waits until every commit accepted so far is durable. Replies wait for that by themselves:
    /// this is for actors that must know. **Blocks** for a disk sync, and longer if the store is
    /// slow.
    ///
    /// # Errors
    /// [`Error::Revoked`](crate::Error::Revoked): the commits may or may not be durable.
    ///
    /// ```no_run
    /// # fn f(connection: &stockade_sdk::Connection) -> stockade_sdk::Result<()> {
    /// connection.execute("INSERT INTO promise VALUES ('made')", [])?;
    /// connection.flush()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn flush(&self) -> Result<()> {
        Ok(self.raw.flush()?)
    }

    /// Flushes, then names the current state of the database. **Blocks** as [`Connection::flush`]
    /// does.
    ///
    /// # Errors
    /// [`Error::Busy`](crate::Error::Busy) if a transaction is open,
    /// [`Error::NotOpen`](crate::Error::NotOpen) if SQLite has rolled that transaction back;
    /// [`Error::Revoked`](crate::Error::Revoked).
    ///
    /// ```no_run
    /// # fn f(connection: &stockade_sdk::Connection) -> stockade_sdk::Result<()> {
    /// let bookmark = connection.bookmark()?;
    /// log::info!("{}@{}", bookmark.db, bookmark.txid);
    /// # Ok(())
    /// # }
    /// ```
    pub fn bookmark(&self) -> Result<Bookmark> {
        let bookmark = self.raw.bookmark()?;
        Ok(Bookmark { db: bookmark.db, txid: bookmark.txid })
    }

    /// How many rows the last INSERT, UPDATE or DELETE of this call changed; 0 if there was none.
    /// Never blocks.
    ///
    /// # Errors
    /// [`Error::Revoked`](crate::Error::Revoked).
    ///
    /// ```no_run
    /// # fn f(connection: &stockade_sdk::Connection) -> stockade_sdk::Result<()> {
    /// connection.execute_script("DELETE FROM person")?;
    /// log::info!("{} people left", connection.changes()?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn changes(&self) -> Result<u64> {
        Ok(self.raw.changes()?.rows)
    }

    /// Rowid of the last row inserted in this call; 0 if there was none. Never blocks.
    ///
    /// # Errors
    /// [`Error::Revoked`](crate::Error::Revoked).
    ///
    /// ```no_run
    /// # fn f(connection: &stockade_sdk::Connection) -> stockade_sdk::Result<()> {
    /// connection.execute_script("INSERT INTO person (name) VALUES ('Ada')")?;
    /// let ada = connection.last_insert_rowid()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn last_insert_rowid(&self) -> Result<i64> {
        Ok(self.raw.changes()?.last_insert_rowid)
    }

    /// Opens a value of a row for reading in pieces, and for writing unless `read_only`. `table`
    /// is an ordinary table with rowids; `column` holds a blob or text. It blocks only for pages
    /// that are not in memory.
    ///
    /// # Errors
    /// [`Error::Statement`](crate::Error::Statement) if there is no such table, column or row, or
    /// the value is neither blob nor text.
    ///
    /// ```no_run
    /// use stockade_sdk::{Connection, Result};
    /// fn start_of(photo: i64) -> Result<[u8; 16]> {
    ///     let connection = Connection::open()?;
    ///     let mut start = [0; 16];
    ///     connection.blob_open("photo", "bytes", photo, true)?.read_at(0, &mut start)?;
    ///     Ok(start)
    /// }
    /// ```
    pub fn blob_open(
        &self,
        table: &str,
        column: &str,
        rowid: i64,
        read_only: bool,
    ) -> Result<Blob<'_>> {
        Blob::open(self.raw.open_blob(table, column, rowid, !read_only)?)
    }

    /// Runs one statement: rows changed, rowid of the last insert.
    fn run<P: Params>(&self, sql: &str, params: P) -> Result<(u64, i64)> {
        if P::NAMED {
            let mut statement = self.prepare(sql)?;
            let rows = statement.execute(params)?;
            return Ok((rows, self.last_insert_rowid()?));
        }
        let collected = Collector::collect(&params)?;
        let values = collected.values.iter().map(|(_, value)| typed(value.value()));
        let values = values.collect::<Result<Vec<_>>>()?;
        let changes = self.raw.execute(sql, &values)?;
        Ok((changes.rows, changes.last_insert_rowid))
    }
}
