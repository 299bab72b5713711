//! Transactions and savepoints, which roll back when dropped.

use core::ops::Deref;

use super::connection::Connection;
use super::error::Result;
use crate::bindings::sqlite as raw;

/// How a transaction takes its lock. With one connection the difference is only when the first
/// write is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum TransactionMode {
    /// At the first read or write.
    #[default]
    Deferred,
    /// Immediately, for writing.
    Immediate,
}

/// An open transaction, or a savepoint inside one. Dropped without
/// [`commit`](Transaction::commit), it is rolled back, so `?` leaves nothing half done.
///
/// SQLite rolls everything back by itself after some errors: `INSERT OR ROLLBACK`, `RAISE(ROLLBACK,
/// ..)`, a full database or memory, an interruption, a read or write that failed. The statement
/// returns its error; from then on every statement of the actor returns
/// [`Error::NotOpen`](crate::Error::NotOpen) and does nothing until the transaction, and every
/// transaction around it, is dropped, committed or rolled back. So no statement that was meant for
/// the transaction commits by itself, and `?` is enough.
///
/// A transaction is used like the [`Connection`] it was begun on. After its end it is gone:
///
/// ```compile_fail,E0382
/// # fn f(mut connection: stockade_sdk::Connection) -> stockade_sdk::Result<()> {
/// let transaction = connection.transaction()?;
/// transaction.commit()?;
/// transaction.execute("DELETE FROM person", [])?;
/// # Ok(())
/// # }
/// ```
///
/// and so are the statements made in it:
///
/// ```compile_fail,E0505
/// # fn f(mut connection: stockade_sdk::Connection) -> stockade_sdk::Result<()> {
/// let transaction = connection.transaction()?;
/// let mut select = transaction.prepare("SELECT name FROM person")?;
/// transaction.commit()?;
/// select.execute([])?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Transaction<'c> {
    connection: &'c Connection,
    /// Dropping it rolls back, unless it has ended.
    raw: raw::Transaction,
}

impl<'c> Transaction<'c> {
    /// Begins a transaction, or a savepoint if a transaction is open.
    pub(crate) fn begin(connection: &'c Connection, mode: TransactionMode) -> Result<Self> {
        let mode = match mode {
            TransactionMode::Deferred => raw::TransactionMode::Deferred,
            TransactionMode::Immediate => raw::TransactionMode::Immediate,
        };
        Ok(Self { connection, raw: connection.raw.begin(mode)? })
    }

    /// Begins a savepoint: a part of this transaction that can be dropped alone. Never blocks.
    ///
    /// # Errors
    /// As for [`Connection::transaction`].
    ///
    /// ```no_run
    /// use stockade_sdk::{Connection, Result};
    /// fn add_those_that_are_new(names: &[&str]) -> Result<()> {
    ///     let mut connection = Connection::open()?;
    ///     let mut transaction = connection.transaction()?;
    ///     for name in names {
    ///         let savepoint = transaction.savepoint()?;
    ///         match savepoint.execute("INSERT INTO person (name) VALUES (?)", [name]) {
    ///             Ok(_) => savepoint.commit()?,
    ///             Err(error) if error.is_constraint() => savepoint.rollback()?,
    ///             Err(error) => return Err(error),
    ///         }
    ///     }
    ///     transaction.commit()
    /// }
    /// ```
    pub fn savepoint(&mut self) -> Result<Transaction<'_>> {
        Transaction::begin(self.connection, TransactionMode::Deferred)
    }

    /// Keeps the changes. For the outermost transaction this is the commit: it is accepted now and
    /// durable before any later reply of this actor leaves the host. It blocks only while too many
    /// earlier commits are on their way to the store.
    ///
    /// # Errors
    /// [`Error::CommitTooLarge`](crate::Error::CommitTooLarge), [`Error::Full`](crate::Error::Full)
    /// or [`Error::Constraint`](crate::Error::Constraint), after which nothing was kept;
    /// [`Error::NotOpen`](crate::Error::NotOpen) if SQLite had rolled back before: nothing was
    /// kept; [`Error::Revoked`](crate::Error::Revoked).
    ///
    /// ```no_run
    /// use stockade_sdk::{Connection, Result};
    /// fn clear() -> Result<()> {
    ///     let mut connection = Connection::open()?;
    ///     let transaction = connection.transaction()?;
    ///     transaction.execute("DELETE FROM person", [])?;
    ///     transaction.commit()
    /// }
    /// ```
    pub fn commit(self) -> Result<()> {
        Ok(self.raw.commit()?)
    }

    /// Drops the changes. The same as dropping the transaction, but explicit, and it returns
    /// errors. Never blocks.
    ///
    /// # Errors
    /// [`Error::NotOpen`](crate::Error::NotOpen) if SQLite had rolled back before;
    /// [`Error::Revoked`](crate::Error::Revoked).
    ///
    /// ```no_run
    /// # fn f(transaction: stockade_sdk::Transaction<'_>) -> stockade_sdk::Result<()> {
    /// transaction.rollback()
    /// # }
    /// ```
    pub fn rollback(self) -> Result<()> {
        Ok(self.raw.rollback()?)
    }
}

impl Deref for Transaction<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection
    }
}
