//! SQL over a fenced session: statements, transactions, values, budgets, and what is forbidden.
//!
//! ```text
//!  connection   what handles call: grip and session are asked on the way in and out
//!  prepared     statements and cursors that a guest holds     blob      one value of a row
//!  transaction  the stack of savepoints                       operator  SQL from outside
//!  frame        the host's transaction around a method
//!  run          one statement: compile, bind, step, errors    statement compiled, kept by text
//!  meter        budget and bill of a call                     owner     still ours? which fault?
//!  spares       connections opened beforehand
//!  state        what a call set and made is taken back        ledger    and how that is noted
//!  keeper       statements of the host on its own tables      due       when there is something to do
//!  alarms       rows of the host in the actor's database      alarm_orders  operators' part of that
//!  alarm_runs   their tries and ends
//!  records      rows of the host for calls that have an id
//!  outbox       messages that wait for their receivers        inbox     what was received
//!  parcels      those that leave                              deliveries  what became of them
//!  conversations  what receivers have opened                  message_orders  operators' part of both
//!  authorizer, hardening              what SQL may do         packed    rows as bytes
//!  functions, pattern                 SQLite's, bounded
//!  schema                             what no actor can have, of a file to be imported
//! ```
//! SQLite itself is called through `stockade-sqlite`.

mod alarm_orders;
mod alarm_runs;
mod alarms;
mod authorizer;
mod blob;
mod connection;
mod conversations;
mod deliveries;
mod due;
mod error;
mod frame;
mod functions;
mod hardening;
mod inbox;
mod keeper;
mod ledger;
mod message_orders;
mod meter;
mod operator;
mod outbox;
mod owner;
mod packed;
mod parcels;
mod pattern;
mod prepared;
mod records;
mod run;
mod schema;
mod spares;
mod state;
mod statement;
#[cfg(test)]
mod tests;
mod transaction;
mod value;

pub use alarm_orders::AlarmOrder;
pub use alarm_runs::{BegunAlarm, CrashedAlarm};
pub use alarms::{Alarm, NewAlarm, TooManyAlarms};
pub use blob::Blob;
pub use connection::{Connection, Interrupter, Leftovers, RowSet};
pub use deliveries::{Delivery, Followed};
pub use due::Earliest;
pub(crate) use functions::register as register_functions;
pub(crate) use hardening::HEAP_BYTES_MAX;
pub(crate) use schema::{Unfit, check as check_schema};

pub use error::{ConstraintFailure, ConstraintKind, SqlError, SqlLimit, StatementFailure};
pub use frame::{Entered, Frame};
pub use inbox::{Retried, Standing};
pub use message_orders::MessageOrder;
pub use meter::{Counts, Exhausted, Meter};
pub use operator::OperatorRows;
pub use outbox::OutboxFull;
pub use parcels::{Packed, Packing};
pub use prepared::ColumnInfo;
pub use records::{CallName, MayRun, Question, Recorded, RecordedCall, Unrecorded};
pub use run::{Batch, Changes};
pub use spares::Spares;
pub use statement::{CursorId, StatementId};
pub use transaction::{TransactionId, TransactionMode};
pub use value::Value;
