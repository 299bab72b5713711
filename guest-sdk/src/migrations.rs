//! Schemas that grow: an ordered list of SQL steps, and a table of the steps that were taken.
//!
//! Invariants:
//! - each step and its row in the table are one transaction: a step is taken whole or not at all;
//! - steps are only ever added at the end. A step that was taken and then edited is an error, not
//!   a schema that differs from actor to actor.

use core::fmt;

use crate::{Connection, Error as SqlError};

const CREATE: &str = "CREATE TABLE IF NOT EXISTS schema_migration (
    version INTEGER PRIMARY KEY,
    sql TEXT NOT NULL
)";
const TAKEN: &str = "SELECT version, sql FROM schema_migration ORDER BY version";
const TAKE: &str = "INSERT INTO schema_migration (version, sql) VALUES (?, ?)";

/// Why the schema could not be brought up to date.
#[derive(Clone, Debug, PartialEq)]
pub enum Error {
    /// The database was written by newer code: it has more steps than this code knows.
    Newer {
        /// Steps that the database has taken.
        database: usize,
        /// Steps that this code knows.
        code: usize,
    },
    /// A step that the database has taken differs from the step in this code.
    Edited {
        /// Its number, from 1.
        step: usize,
    },
    /// A step failed. Those before it were kept.
    Step {
        /// Its number, from 1.
        step: usize,
        /// The error of SQLite or the host.
        cause: SqlError,
    },
    /// The table of steps could not be read.
    Table(SqlError),
}

/// What [`Migrations::apply`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Steps that had been taken before.
    pub before: usize,
    /// Steps taken now.
    pub taken: usize,
}

/// An ordered list of steps, each any number of SQL statements.
///
/// ```no_run
/// use stockade_sdk::lifecycle;
/// use stockade_sdk::migrations::Migrations;
/// use stockade_sdk::Connection;
///
/// const SCHEMA: Migrations<'_> = Migrations::new(&[
///     "CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT NOT NULL)",
///     "ALTER TABLE person ADD COLUMN age INTEGER",
/// ]);
///
/// fn start() -> lifecycle::Result {
///     let done = SCHEMA.apply(&mut Connection::open()?)?;
///     log::info!(before = done.before, taken = done.taken; "schema is up to date");
///     Ok(())
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Migrations<'s> {
    steps: &'s [&'s str],
}

impl<'s> Migrations<'s> {
    /// The steps in order. Never blocks.
    ///
    /// ```
    /// use stockade_sdk::migrations::Migrations;
    /// const SCHEMA: Migrations<'_> = Migrations::new(&["CREATE TABLE note (text TEXT)"]);
    /// ```
    #[must_use]
    pub const fn new(steps: &'s [&'s str]) -> Self {
        Self { steps }
    }

    /// Takes the steps that the database has not taken yet. Cheap when there are none. It blocks
    /// only for pages that are not in memory.
    ///
    /// # Errors
    /// [`Error`]. After one the actor should not serve calls.
    ///
    /// ```no_run
    /// use stockade_sdk::Connection;
    /// use stockade_sdk::migrations::{Error, Migrations};
    /// fn prepare(connection: &mut Connection) -> Result<(), Error> {
    ///     Migrations::new(&["CREATE TABLE note (text TEXT)"]).apply(connection)?;
    ///     Ok(())
    /// }
    /// ```
    pub fn apply(&self, connection: &mut Connection) -> Result<Applied, Error> {
        connection.execute_script(CREATE).map_err(Error::Table)?;
        let before = self.check(&taken(connection).map_err(Error::Table)?)?;
        for (index, sql) in self.steps.iter().enumerate().skip(before) {
            let step = index + 1;
            take(connection, step, sql).map_err(|cause| Error::Step { step, cause })?;
        }
        Ok(Applied { before, taken: self.steps.len() - before })
    }

    /// Compares the taken steps with those of this code, and returns how many were taken.
    fn check(&self, taken: &[(usize, String)]) -> Result<usize, Error> {
        if taken.len() > self.steps.len() {
            return Err(Error::Newer { database: taken.len(), code: self.steps.len() });
        }
        for (index, ((version, sql), known)) in taken.iter().zip(self.steps).enumerate() {
            if *version != index + 1 || sql != known {
                return Err(Error::Edited { step: index + 1 });
            }
        }
        Ok(taken.len())
    }
}

/// The steps that the database has taken, in order.
fn taken(connection: &Connection) -> crate::Result<Vec<(usize, String)>> {
    let mut select = connection.prepare(TAKEN)?;
    select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

/// Takes one step.
fn take(connection: &mut Connection, step: usize, sql: &str) -> crate::Result<()> {
    let transaction = connection.transaction()?;
    transaction.execute_script(sql)?;
    transaction.execute(TAKE, (step, sql))?;
    transaction.commit()
}

impl core::error::Error for Error {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Newer { .. } | Self::Edited { .. } => None,
            Self::Step { cause, .. } | Self::Table(cause) => Some(cause),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Newer { database, code } => write!(
                f,
                "the database is newer than the code: it has taken {database} migrations, the \
                 code knows {code}"
            ),
            Self::Edited { step } => {
                write!(f, "migration {step} was changed after the database had taken it")
            }
            Self::Step { step, cause } => write!(f, "migration {step}: {cause}"),
            Self::Table(cause) => write!(f, "table of migrations: {cause}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: Migrations<'_> = Migrations::new(&["a", "b"]);

    fn taken(steps: &[(usize, &str)]) -> Vec<(usize, String)> {
        steps.iter().map(|(version, sql)| (*version, (*sql).to_owned())).collect()
    }

    #[test]
    fn known_steps_are_counted() {
        assert_eq!(STEPS.check(&taken(&[])), Ok(0));
        assert_eq!(STEPS.check(&taken(&[(1, "a")])), Ok(1));
        assert_eq!(STEPS.check(&taken(&[(1, "a"), (2, "b")])), Ok(2));
    }

    #[test]
    fn a_newer_database_is_refused() {
        let result = STEPS.check(&taken(&[(1, "a"), (2, "b"), (3, "c")]));
        assert_eq!(result, Err(Error::Newer { database: 3, code: 2 }));
    }

    #[test]
    fn an_edited_or_missing_step_is_refused() {
        assert_eq!(STEPS.check(&taken(&[(1, "a "), (2, "b")])), Err(Error::Edited { step: 1 }));
        assert_eq!(STEPS.check(&taken(&[(2, "b")])), Err(Error::Edited { step: 1 }));
    }
}
