//! What the actor has sent: rows of tables of the host in the actor's own database, until their
//! receivers have them (rule D16 of docs/protocol.md).
//!
//! ```text
//!  send           a row with the next number, in the transaction that is open    commit = sent
//!  parcels        the first rows for a receiver, as they leave
//!  deliveries     what a parcel came to: rows deleted, tried later, parked
//!  conversations  what each receiver has opened, until nothing is sent to it for long
//! ```
//! Invariants:
//! - Numbers belong to the database. They rise, and none comes again, whatever was deleted.
//! - The counts of rows and bytes change in the transaction in which rows come or go.
//! - Rows of another database, of which this one is a copy, are not used.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

use stockade_depot::ActorId;

use super::connection::Connection;
use super::error::SqlError;
use super::keeper::{integer, text};
use super::run::Runner;
use super::value::Value;
use crate::limits::{MESSAGE_DUE_MS, MESSAGE_ERROR_BYTES_MAX, OUTBOX_BYTES_MAX, OUTBOX_ROWS_MAX};

/// What was sent last, and how much waits: one row. In the words that a file to be imported must have
/// as well, like those of the tables below.
const SENT: &str = "CREATE TABLE _stockade_sent(one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1), \
    last INTEGER NOT NULL, rows INTEGER NOT NULL, bytes INTEGER NOT NULL) STRICT, WITHOUT ROWID";
/// `db`: the database that the row was written in. `next`: when it is tried; NULL: parked.
const OUTBOX: &str = "CREATE TABLE _stockade_outbox(db BLOB NOT NULL, kind TEXT NOT NULL, \
    key TEXT NOT NULL, number INTEGER NOT NULL, at INTEGER NOT NULL, next INTEGER, \
    attempts INTEGER NOT NULL, error TEXT, method TEXT NOT NULL, arguments TEXT NOT NULL, \
    PRIMARY KEY (db, kind, key, number)) STRICT, WITHOUT ROWID";
const OUTBOX_NEXT: &str = "CREATE INDEX _stockade_outbox_next ON _stockade_outbox(db, next)";
/// `peer`: the receiver's database. `used`: about when the last message was delivered.
const CONVERSATION: &str = "CREATE TABLE _stockade_conversation(db BLOB NOT NULL, \
    kind TEXT NOT NULL, key TEXT NOT NULL, peer BLOB NOT NULL, id BLOB NOT NULL, \
    used INTEGER NOT NULL, PRIMARY KEY (db, kind, key)) STRICT, WITHOUT ROWID";

/// Every object of the sender's side.
pub(super) const OBJECTS: [&str; 4] = [SENT, OUTBOX, OUTBOX_NEXT, CONVERSATION];

const EXISTS: &str =
    "SELECT 1 FROM main.sqlite_schema WHERE type = 'table' AND name = '_stockade_outbox'";
const FIRST: &str = "INSERT INTO main._stockade_sent VALUES (1, 0, 0, 0)";
const FILLED: &str = "SELECT rows, bytes FROM main._stockade_sent";
const LAST: &str = "SELECT last FROM main._stockade_sent";
const NUMBER: &str = "UPDATE main._stockade_sent SET last = last + 1, rows = rows + 1,
    bytes = bytes + ?1 RETURNING last";
const EMPTIED: &str = "UPDATE main._stockade_sent SET rows = rows - ?1, bytes = bytes - ?2";
const INSERT: &str = "INSERT INTO main._stockade_outbox
    (db, kind, key, number, at, next, attempts, method, arguments)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, ?7, ?8)";
const RECEIVERS: &str = "SELECT kind, key, min(iif(attempts = 0, 0, next))
    FROM main._stockade_outbox WHERE db = ?1 AND next IS NOT NULL GROUP BY kind, key";
const HELD_BACK: &str = "SELECT count(*) FROM main._stockade_outbox WHERE db = ?1";

/// What a connection knows of its actor's outbox beside the rows.
#[derive(Default)]
pub(super) struct Outbox {
    /// Receivers of messages that were written since they were taken.
    sent: RefCell<BTreeSet<ActorId>>,
    /// There were more of them than rows may wait, because some were rolled back: not all are noted.
    overflowed: Cell<bool>,
    /// The number before the first one that this connection has given.
    base: Cell<Option<i64>>,
    /// The handler of a message runs.
    pub(super) handles: Cell<bool>,
}

/// The outbox has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboxFull {
    /// Messages in it.
    pub rows: u64,
}

impl Outbox {
    /// Notes that there is something to send.
    pub(super) fn note(&self, to: ActorId) {
        let mut sent = self.sent.borrow_mut();
        if sent.len() as u64 >= OUTBOX_ROWS_MAX {
            sent.clear();
            self.overflowed.set(true);
        }
        sent.insert(to);
    }

    /// The number before the first one that this connection has given; if it has given none, the
    /// largest that there can be.
    pub(super) fn inherited(&self) -> i64 {
        self.base.get().unwrap_or(i64::MAX)
    }
}

impl Connection {
    /// Writes a message: it is sent once its transaction is committed. The caller has checked names
    /// and sizes.
    ///
    /// # Errors
    /// As for a statement. The inner one: there is no room.
    pub fn send_message(
        &mut self,
        to: &ActorId,
        method: &str,
        arguments: &str,
        now: i64,
    ) -> Result<Result<i64, OutboxFull>, SqlError> {
        self.guarded(|core| {
            core.in_transaction(|core| {
                let runner = &core.runner;
                runner.make_outbox()?;
                let more = method.len().saturating_add(arguments.len()) as u64;
                if let Some(full) = runner.is_full(more)? {
                    return Ok(Err(full));
                }
                let number = runner.write_message(to, (method, arguments), now)?;
                runner.outbox.note(to.clone());
                if runner.outbox.base.get().is_none() {
                    runner.outbox.base.set(Some(number - 1));
                }
                Ok(Ok(number))
            })
        })
    }

    /// The receivers of messages that were written since this was asked for. Some of them may have
    /// been rolled back.
    pub fn take_receivers(&mut self) -> Vec<ActorId> {
        let (sent, overflowed) = self.with_core(|core| {
            let outbox = &core.runner.outbox;
            (outbox.sent.take(), outbox.overflowed.take())
        });
        if !overflowed {
            return sent.into_iter().collect();
        }
        // Should the rows not be readable now, they go out when they are due.
        self.receivers().unwrap_or_default().into_iter().map(|(to, _)| to).collect()
    }

    /// All receivers for which something waits, each with the earliest time at which it may leave.
    ///
    /// # Errors
    /// As for a statement.
    pub fn receivers(&mut self) -> Result<Vec<(ActorId, i64)>, SqlError> {
        self.guarded(|core| {
            let runner = &core.runner;
            if !runner.has_outbox()? {
                return Ok(Vec::new());
            }
            let rows = runner.keep(RECEIVERS, &[runner.own_db()])?;
            rows.into_iter()
                .map(|row| match &row[..] {
                    [Value::Text(kind), Value::Text(key), Value::Integer(at)] => {
                        Ok((actor(kind, key)?, *at))
                    }
                    _ => Err(malformed()),
                })
                .collect()
        })
    }

    /// How many messages of this database its receivers do not have, parked ones included.
    ///
    /// # Errors
    /// As for a statement.
    pub fn count_outbox(&mut self) -> Result<u64, SqlError> {
        self.guarded(|core| {
            let runner = &core.runner;
            if !runner.has_outbox()? {
                return Ok(0);
            }
            let rows = runner.keep(HELD_BACK, &[runner.own_db()])?;
            Ok(integer(&rows, 0).unwrap_or(0).unsigned_abs())
        })
    }

    #[cfg(test)]
    /// Makes all rows those of another database, as in a copy.
    pub fn outbox_as_of_another_database(&mut self) {
        const COPIED: &str = "UPDATE main._stockade_outbox SET db = zeroblob(16)";
        const TALKED: &str = "UPDATE main._stockade_conversation SET db = zeroblob(16)";
        self.guarded(|core| {
            core.in_transaction(|core| {
                core.runner.change_due(COPIED, &[])?;
                core.runner.keep(TALKED, &[])
            })
        })
        .expect("the rows can be written");
    }

    #[cfg(test)]
    /// Puts the counter of numbers back, as a database that comes back from a backup has it.
    pub fn put_numbers_back(&mut self, last: i64) {
        const BACK: &str = "UPDATE main._stockade_sent SET last = ?1";
        self.guarded(|core| {
            core.in_transaction(|core| core.runner.keep(BACK, &[Value::Integer(last)]))
        })
        .expect("the row can be written");
    }
}

impl Runner {
    pub(super) fn has_outbox(&self) -> Result<bool, SqlError> {
        Ok(!self.keep(EXISTS, &[])?.is_empty())
    }

    fn make_outbox(&self) -> Result<(), SqlError> {
        if !self.has_outbox()? {
            for object in OBJECTS {
                self.change_due(object, &[])?;
            }
            self.keep(FIRST, &[])?;
        }
        Ok(())
    }

    fn is_full(&self, more: u64) -> Result<Option<OutboxFull>, SqlError> {
        let filled = self.keep(FILLED, &[])?;
        let amount = |column| integer(&filled, column).unwrap_or(0).unsigned_abs();
        let (rows, bytes) = (amount(0), amount(1));
        let part = if self.outbox.handles.get() { 1 } else { 2 };
        let fits =
            rows < OUTBOX_ROWS_MAX / part && bytes.saturating_add(more) <= OUTBOX_BYTES_MAX / part;
        Ok((!fits).then_some(OutboxFull { rows }))
    }

    /// Writes a row with the next number.
    pub(super) fn write_message(
        &self,
        to: &ActorId,
        (method, arguments): (&str, &str),
        now: i64,
    ) -> Result<i64, SqlError> {
        let bytes = method.len().saturating_add(arguments.len());
        let bytes = Value::Integer(i64::try_from(bytes).unwrap_or(i64::MAX));
        let number = integer(&self.keep(NUMBER, &[bytes])?, 0).ok_or_else(malformed)?;
        let [at, next] = [now, now.saturating_add(MESSAGE_DUE_MS)].map(Value::Integer);
        let row = [Value::Integer(number), at, next, text(method), text(arguments)];
        self.change_due(INSERT, &self.of_receiver(to, row))?;
        Ok(number)
    }

    /// Counts rows out that were deleted, of which these are the bytes.
    pub(super) fn emptied(&self, bytes: &[Vec<Value>]) -> Result<(), SqlError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let sum = bytes.iter().filter_map(|row| match row.first() {
            Some(Value::Integer(bytes)) => Some(*bytes),
            _ => None,
        });
        let rows = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
        self.keep(EMPTIED, &[Value::Integer(rows), Value::Integer(sum.sum())]).map(drop)
    }

    /// The number that was given last.
    pub(super) fn last_number(&self) -> Result<i64, SqlError> {
        Ok(integer(&self.keep(LAST, &[])?, 0).unwrap_or(0))
    }

    /// The columns that name a receiver, for this database, and other values.
    pub(super) fn of_receiver<const N: usize>(&self, to: &ActorId, more: [Value; N]) -> Vec<Value> {
        let mut values = vec![self.own_db(), text(to.kind()), text(to.key())];
        values.extend(more);
        values
    }
}

/// As much of an error as is kept.
pub(super) fn bounded(words: &str) -> &str {
    &words[..words.floor_char_boundary(MESSAGE_ERROR_BYTES_MAX)]
}

pub(super) fn actor(kind: &str, key: &str) -> Result<ActorId, SqlError> {
    ActorId::existing(kind, key).map_err(|_| malformed())
}

pub(super) fn bytes(value: &Value) -> Result<[u8; 16], SqlError> {
    let Value::Blob(bytes) = value else { return Err(malformed()) };
    bytes.as_slice().try_into().map_err(|_| malformed())
}

pub(super) fn malformed() -> SqlError {
    SqlError::Other("a malformed row of a message".to_owned())
}
