//! An operator's statements, or its order for alarms or messages, or a caller's question about a call, and how
//! they run while their client waits.

use stockade_depot::ActorId;

use super::asker::Asker;
use super::identified::question;
use crate::calls::CallKey;
use crate::clock::Clock;
use crate::sqlite::{AlarmOrder, Connection, MessageOrder, OperatorRows, SqlError, Value};

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
    /// A caller's question about a call.
    Outcome {
        /// The actor.
        actor: ActorId,
        /// The call.
        key: CallKey,
        /// Whether the call is refused from now on, if nothing is recorded of it.
        settle: bool,
        /// The present time.
        clock: Clock,
    },
    /// An order for the actor's messages.
    Messages {
        /// The order.
        order: MessageOrder,
        /// The present time.
        clock: Clock,
    },
    /// How many messages their receivers do not have: one row.
    Outbox,
}

/// What an operator runs, and whether it still waits.
pub struct Statements {
    /// What runs.
    pub script: Script,
    /// Whether the client still waits for the answer.
    pub asker: Asker,
}

impl Statements {
    /// Whether they are an operator's order for the actor's messages.
    #[must_use]
    pub fn order_messages(&self) -> bool {
        matches!(self.script, Script::Messages { .. })
    }

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
            Script::Outcome { actor, key, settle, clock } => {
                let now = clock.now_ms();
                connection.ask_call(&question(actor, key, *settle, now), now)
            }
            Script::Messages { order, clock } => connection.order_messages(order, clock.now_ms()),
            Script::Outbox => connection.count_outbox().map(|count| OperatorRows {
                columns: vec!["messages".to_owned()],
                rows: vec![vec![Value::Integer(i64::try_from(count).unwrap_or(i64::MAX))]],
                ..OperatorRows::default()
            }),
        };
        self.asker.work_ends();
        rows
    }
}
