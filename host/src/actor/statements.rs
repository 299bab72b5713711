//! An operator's statements, and how they run while their client waits.

use super::asker::Asker;
use crate::sqlite::{Connection, OperatorRows, SqlError, Value};

/// The statements that an operator runs on an actor's database.
pub struct Statements {
    /// One or more statements.
    pub sql: String,
    /// Parameters, of those statements that have any, in their order.
    pub parameters: Vec<Value>,
    /// Whether the statements may write.
    pub write: bool,
    /// Most rows in the answer.
    pub rows_max: u64,
    /// Whether the client still waits for the answer.
    pub asker: Asker,
}

impl Statements {
    /// Runs the statements on the connection of a generation, whose budget has begun; `None` if the
    /// connection is closed. The caller ends the call.
    pub(super) fn run(
        &self,
        connection: Option<&mut Connection>,
    ) -> Result<OperatorRows, SqlError> {
        let Some(connection) = connection else { return Err(SqlError::NotOpen) };
        if !self.asker.work_begins(connection.interrupter()) {
            return Err(SqlError::Interrupted);
        }
        let Self { sql, parameters, write, rows_max, .. } = self;
        let rows = connection.run_operator(sql, parameters, *write, *rows_max);
        self.asker.work_ends();
        rows
    }
}
