//! An operator's statements, or its order for alarms, and how they run while their client waits.

use super::asker::Asker;
use crate::clock::Clock;
use crate::sqlite::{AlarmOrder, Connection, OperatorRows, SqlError, Value};

/// What an operator runs on an actor's database.
pub enum Script {
    /// Statements.
    Sql {
        /// One or more statements.
        sql: String,
        /// Parameters, of those statements that have any, in their order.
        parameters: Vec<Value>,
        /// Whether the statements may write.
        write: bool,
        /// Most rows in the answer.
        rows_max: u64,
    },
    /// An order for the actor's alarms.
    Alarms {
        /// The order.
        order: AlarmOrder,
        /// The present time.
        clock: Clock,
    },
}

/// What an operator runs, and whether it still waits.
pub struct Statements {
    /// What runs.
    pub script: Script,
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
        let rows = match &self.script {
            Script::Sql { sql, parameters, write, rows_max } => {
                connection.run_operator(sql, parameters, *write, *rows_max)
            }
            Script::Alarms { order, clock } => connection.order_alarms(order, clock.now_ms()),
        };
        self.asker.work_ends();
        rows
    }
}
