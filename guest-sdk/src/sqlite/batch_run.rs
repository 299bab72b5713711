//! Several statements with their parameters, sent together and run in one transaction.

use super::connection::Connection;
use super::error::{Error, Result};
use super::params::{Collector, Params};
use super::statement::typed;
use super::value::{Value, ValueRef};
use crate::bindings::sqlite as raw;

/// Statements for [`Connection::run_batch`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    statements: Vec<(String, Vec<Value>)>,
}

impl Batch {
    /// A batch without statements.
    ///
    /// ```
    /// assert!(stockade_sdk::Batch::new().is_empty());
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a statement. Its parameters go by position and are copied. Never blocks.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for parameters by name, and for values that SQLite cannot store.
    ///
    /// ```
    /// use stockade_sdk::{Batch, named_params};
    /// let mut batch = Batch::new();
    /// batch.add("DELETE FROM person WHERE name = ?", ["Ada"]).unwrap();
    /// assert!(batch.add("DELETE FROM person WHERE name = :n", named_params! { "n": 1 }).is_err());
    /// assert_eq!(batch.len(), 1);
    /// ```
    pub fn add<P: Params>(&mut self, sql: &str, params: P) -> Result<()> {
        if P::NAMED {
            let text = "a batch takes parameters by position".to_owned();
            return Err(Error::InvalidArgument(text));
        }
        let collected = Collector::collect(&params)?;
        let values = collected.values.iter().map(|(_, value)| value.value().to_value());
        let values = values.collect::<Result<Vec<_>, _>>()?;
        self.statements.push((sql.to_owned(), values));
        Ok(())
    }

    /// How many statements there are. Never blocks.
    ///
    /// ```
    /// assert_eq!(stockade_sdk::Batch::new().len(), 0);
    /// ```
    #[must_use]
    pub fn len(&self) -> usize {
        self.statements.len()
    }

    /// Whether there are none. Never blocks.
    ///
    /// ```
    /// assert!(stockade_sdk::Batch::new().is_empty());
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.statements.is_empty()
    }

    /// Runs all statements in one transaction; returns the rows that each changed.
    pub(crate) fn run(&self, connection: &Connection) -> Result<Vec<u64>> {
        let mut values = Vec::with_capacity(self.statements.len());
        for (_, owned) in &self.statements {
            let typed = owned.iter().map(|value| typed(ValueRef::from(value)));
            values.push(typed.collect::<Result<Vec<_>>>()?);
        }
        let statements: Vec<(&str, &[raw::ValueParam<'_>])> = self
            .statements
            .iter()
            .zip(&values)
            .map(|((sql, _), values)| (sql.as_str(), values.as_slice()))
            .collect();
        let changes = connection.raw.run_batch(&statements)?;
        Ok(changes.into_iter().map(|changes| changes.rows).collect())
    }
}
