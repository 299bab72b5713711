//! Statements of the host on its own tables in the actor's database.
//!
//! Invariants:
//! - They are compiled for the host and kept apart: no guest gets one by its text.
//! - They run in a transaction of their own, or in a savepoint of the one that is open.

use std::cell::RefCell;
use std::collections::HashMap;

use super::authorizer::Asker;
use super::connection::Core;
use super::error::SqlError;
use super::run::{Runner, value_of};
use super::statement::Compiled;
use super::transaction::TransactionMode;
use super::value::Value;

/// The statements that were compiled, by their text.
#[derive(Default)]
pub(super) struct Kept(RefCell<HashMap<&'static str, Compiled>>);

impl Core {
    /// Runs work in a transaction, or in a savepoint of the one that is open.
    pub(super) fn in_transaction<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, SqlError>,
    ) -> Result<T, SqlError> {
        let transaction = self.begin(TransactionMode::Deferred)?;
        match work(self).and_then(|value| self.commit(transaction).map(|()| value)) {
            Ok(value) => Ok(value),
            Err(error) => {
                // `NotOpen` if SQLite has already rolled back.
                let _ = self.rollback(transaction);
                Err(error)
            }
        }
    }
}

impl Runner {
    /// Runs a statement of the host to its end.
    pub(super) fn keep(
        &self,
        sql: &'static str,
        values: &[Value],
    ) -> Result<Vec<Vec<Value>>, SqlError> {
        self.owner.alive()?;
        let kept = self.kept.0.borrow_mut().remove(sql);
        let compiled = match kept {
            Some(compiled) => Ok(compiled),
            None => self
                .compile(sql, Asker::Keeper, true)
                .map(|front| front.compiled.expect("BUG: the host's statements are statements")),
        };
        // A change of the schema makes SQLite compile it again, in the step.
        self.judge.prepare(Asker::Keeper);
        let ran = compiled.and_then(|mut compiled| {
            let rows = self.run_kept(&mut compiled, values);
            compiled.raw.clear_bindings();
            self.kept.0.borrow_mut().insert(sql, compiled);
            rows
        });
        self.judge.prepare(Asker::Guest);
        ran
    }

    fn run_kept(
        &self,
        compiled: &mut Compiled,
        values: &[Value],
    ) -> Result<Vec<Vec<Value>>, SqlError> {
        self.bind_all(compiled, values)?;
        self.owner.forget_fault();
        if !compiled.readonly {
            self.note_change();
        }
        let before = self.database.total_changes();
        let mut rows = Vec::new();
        while self.step_alone(compiled)? {
            let row = (0..compiled.raw.column_count()).map(|at| value_of(&compiled.raw.column(at)));
            match row.collect::<Result<Vec<Value>, SqlError>>() {
                Ok(row) => rows.push(row),
                Err(error) => {
                    // An error at the end cannot be worse than this error.
                    let _ = self.finish(compiled);
                    return Err(error);
                }
            }
        }
        if !compiled.readonly {
            self.changes_since(before);
        }
        Ok(rows)
    }

    /// The database that rows are written in.
    pub(super) fn own_db(&self) -> Value {
        Value::Blob(self.owner.session().fence().db.0.to_vec())
    }
}

pub(super) fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

/// The integer in a column of the first row.
pub(super) fn integer(rows: &[Vec<Value>], column: usize) -> Option<i64> {
    match rows.first()?.get(column)? {
        Value::Integer(value) => Some(*value),
        _ => None,
    }
}
