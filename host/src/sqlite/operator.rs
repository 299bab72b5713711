//! SQL on behalf of an operator: the last statement's rows, bounded; nothing is written unless
//! asked for, and the host's own tables stay out of sight.

use super::authorizer::Asker;
use super::connection::{Connection, Core, shifted};
use super::error::SqlError;
use super::statement::Compiled;
use super::value::Value;

/// The result of an operator's statements.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OperatorRows {
    /// Names of the columns of the last statement that has any.
    pub columns: Vec<String>,
    /// Their rows, at most as many as asked for.
    pub rows: Vec<Vec<Value>>,
    /// Rows changed by all statements.
    pub changes: u64,
    /// Whether there were more rows.
    pub more: bool,
}

impl Connection {
    /// Runs one or several statements. Parameters go to the one statement that has any; if several
    /// have some, each in turn gets its share. Each statement commits by itself unless the text
    /// opens a transaction, which the text must also end.
    ///
    /// # Errors
    /// As for guests; `Denied` for a write without `write`.
    pub fn run_operator(
        &mut self,
        sql: &str,
        parameters: &[Value],
        write: bool,
        rows_max: u64,
    ) -> Result<OperatorRows, SqlError> {
        self.guarded(|core| {
            let was_open = !core.runner.database.is_autocommit();
            let result = core.run_operator(sql, parameters, write, rows_max);
            // Statements of guests are judged as a guest's again.
            core.runner.judge.prepare(Asker::Guest);
            if !was_open && !core.runner.database.is_autocommit() {
                core.control("ROLLBACK")?;
                let words = "the text left a transaction open";
                return result.and(Err(SqlError::wrong_statement(words, None)));
            }
            result
        })
    }
}

impl Core {
    fn run_operator(
        &mut self,
        sql: &str,
        parameters: &[Value],
        write: bool,
        rows_max: u64,
    ) -> Result<OperatorRows, SqlError> {
        let asker = if write { Asker::Writer } else { Asker::Reader };
        let mut answer = OperatorRows::default();
        let mut parameters = parameters;
        let mut from = 0;
        while from < sql.len() {
            let front = self.runner.front(&sql[from..], asker, false);
            let front = front.map_err(|error| shifted(error, from))?;
            from += front.tail;
            let Some(mut compiled) = front.compiled else {
                if front.tail == 0 {
                    break;
                }
                continue;
            };
            if !write && !compiled.readonly {
                return Err(SqlError::Denied("a write, which was not asked for".to_owned()));
            }
            let count = usize::try_from(compiled.parameters).unwrap_or(usize::MAX);
            let Some((own, rest)) = parameters.split_at_checked(count) else {
                return Err(SqlError::InvalidArgument(format!(
                    "a statement has {count} parameters, {} values are left",
                    parameters.len()
                )));
            };
            parameters = rest;
            self.runner.bind_all(&mut compiled, own)?;
            self.run_one(&mut compiled, rows_max, &mut answer)?;
        }
        if parameters.is_empty() {
            Ok(answer)
        } else {
            Err(SqlError::InvalidArgument(format!("{} values too many", parameters.len())))
        }
    }

    fn run_one(
        &mut self,
        compiled: &mut Compiled,
        rows_max: u64,
        answer: &mut OperatorRows,
    ) -> Result<(), SqlError> {
        let runner = &self.runner;
        runner.start(compiled, self.stack.within())?;
        let before = runner.database.total_changes();
        let mut left = runner.bounds.packed_bytes_max;
        let mut rows = Vec::new();
        let mut more = false;
        while runner.step(compiled)? {
            if rows.len() as u64 >= rows_max {
                more = true;
                // A write is run to its end, so that it is whole and a failure of its commit is
                // reported.
                if compiled.readonly {
                    runner.finish(compiled)?;
                    break;
                }
                continue;
            }
            match runner.row_values(compiled, left) {
                Ok((row, bytes)) => {
                    left -= bytes;
                    rows.push(row);
                }
                Err(error) => {
                    if runner.abandon(compiled) {
                        let _ = self.end_runs(&mut 0);
                    }
                    return Err(error);
                }
            }
        }
        if !compiled.readonly {
            answer.changes += runner.changes_since(before).rows;
        }
        if compiled.raw.column_count() > 0 {
            answer.columns = runner.column_names(compiled)?;
            (answer.rows, answer.more) = (rows, more);
        }
        Ok(())
    }
}
