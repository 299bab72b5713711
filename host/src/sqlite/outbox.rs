//! What the actor has sent: rows of tables of the host in the actor's own database, until their
//! receivers have them (rule D16 of docs/protocol.md).
//!
//! ```text
//!  send      a row with the next number, in the transaction that is open      commit = sent
//!  pack      the first rows for a receiver; all but a first delivery by the
//!            generation that wrote the row are counted, durably, before
//!  record    what a parcel came to: rows deleted, tried later, parked; a conversation opened, forgotten
//!  close     conversations that were idle for long, each with an outbox that is empty
//! ```
//! Invariants:
//! - Numbers belong to the database. They rise, and none comes again, whatever was deleted.
//! - A parcel has the first rows for its receiver, without a gap. One whose first row was counted
//!   before has that row alone, so that a message which ends its host holds no other back for long.
//! - A row that is parked here holds nothing back: it runs again under a new number.
//! - Rows and conversations of another database, of which this one is a copy, are not used.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::sync::Arc;

use stockade_depot::{ActorId, DbId};

use super::connection::Connection;
use super::error::SqlError;
use super::keeper::{integer, text};
use super::run::Runner;
use super::value::Value;
use crate::limits::{
    CONVERSATION_IDLE_MS, CONVERSATIONS_CLOSED_MAX, MESSAGE_BACKOFF_MS, MESSAGE_BACKOFF_MS_MAX,
    MESSAGE_DUE_MS, MESSAGE_ERROR_BYTES_MAX, MESSAGE_TRIES_MAX, OUTBOX_BYTES_MAX, OUTBOX_ROWS_MAX,
    PARCEL_BYTES_MAX, PARCEL_MESSAGES_MAX,
};
use crate::messages::{Asked, Conversation, Message, Said, Stopped, Undelivered};

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
const ROWS: &str = "SELECT number, attempts, next, error, method, arguments
    FROM main._stockade_outbox WHERE db = ?1 AND kind = ?2 AND key = ?3 AND next IS NOT NULL
    ORDER BY number LIMIT ?4";
const HEAD: &str = "SELECT attempts, next FROM main._stockade_outbox
    WHERE db = ?1 AND kind = ?2 AND key = ?3 AND next IS NOT NULL ORDER BY number LIMIT 1";
const TRY: &str = "UPDATE main._stockade_outbox SET attempts = attempts + 1, next = ?6
    WHERE db = ?1 AND kind = ?2 AND key = ?3 AND number BETWEEN ?4 AND ?5 AND next IS NOT NULL";
const NOT_TRIED: &str =
    "UPDATE main._stockade_outbox SET attempts = max(attempts - 1, 0), next = ?6
    WHERE db = ?1 AND kind = ?2 AND key = ?3 AND number BETWEEN ?4 AND ?5 AND next IS NOT NULL";
const FAILED: &str = "UPDATE main._stockade_outbox
    SET attempts = ?5, next = ?6, error = ?7
    WHERE db = ?1 AND kind = ?2 AND key = ?3 AND number = ?4 AND next IS NOT NULL";
const ATTEMPTS: &str = "SELECT attempts FROM main._stockade_outbox
    WHERE db = ?1 AND kind = ?2 AND key = ?3 AND number = ?4";
// As long as it has waited already, within bounds: so the waits double, without a count.
const LATER: &str = "UPDATE main._stockade_outbox
    SET next = ?5 + max(?7, min(?5 - at, ?8)), error = ?6
    WHERE db = ?1 AND kind = ?2 AND key = ?3 AND number = ?4 AND next IS NOT NULL";
const DELIVERED: &str = "DELETE FROM main._stockade_outbox
    WHERE db = ?1 AND kind = ?2 AND key = ?3 AND number BETWEEN ?4 AND ?5 AND next IS NOT NULL
    RETURNING octet_length(method) + octet_length(arguments)";
const PARK: &str = "UPDATE main._stockade_outbox SET next = NULL, error = ?4
    WHERE db = ?1 AND kind = ?2 AND key = ?3 AND next IS NOT NULL RETURNING number";
const TALKS: &str = "SELECT peer, id FROM main._stockade_conversation
    WHERE db = ?1 AND kind = ?2 AND key = ?3";
const OPENED: &str = "INSERT INTO main._stockade_conversation VALUES (?1, ?2, ?3, ?4, ?5, ?6)
    ON CONFLICT(db, kind, key) DO UPDATE SET peer = excluded.peer, id = excluded.id,
    used = excluded.used";
const USED: &str = "UPDATE main._stockade_conversation SET used = ?4
    WHERE db = ?1 AND kind = ?2 AND key = ?3 AND used < ?4 - 60000";
const FORGOTTEN: &str = "DELETE FROM main._stockade_conversation
    WHERE db = ?1 AND kind = ?2 AND key = ?3";
const IDLE: &str = "SELECT kind, key, peer, id FROM main._stockade_conversation AS talk
    WHERE db = ?1 AND used < ?2 AND NOT EXISTS (SELECT 1 FROM main._stockade_outbox AS waits
        WHERE waits.db = talk.db AND waits.kind = talk.kind AND waits.key = talk.key
        AND waits.next IS NOT NULL) LIMIT ?3";
const HELD_BACK: &str = "SELECT count(*) FROM main._stockade_outbox WHERE db = ?1";

/// Why a row is parked here: its receiver was destroyed.
const RECEIVER_DESTROYED: &str =
    "receiver-destroyed: the actor that it was for is gone, or another one has its name";
/// Why a row is parked here: this database is older than what it has sent.
const ROLLED_BACK: &str = "sender-rolled-back: the receiver has a later number of this database, \
    which was put back to an earlier state";
/// What a message says that is parked because its deliveries had no answer.
const NO_ANSWER: &str = "its deliveries ended without an answer: the receiver or its host died";

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

/// A parcel without its sender's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// For whom it is.
    pub to: ActorId,
    /// What it asks for.
    pub asks: Arc<Asked>,
    /// Whether its messages were counted as tried.
    pub counted: bool,
}

/// What there is to send to a receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Nothing.
    Nothing,
    /// Nothing before this time.
    NotBefore(i64),
    /// A parcel, once everything that is accepted is durable.
    Ready(Packed),
}

/// What a parcel came to.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The parcel.
    pub packed: Packed,
    /// What the receiver says.
    pub came: Result<Said, Undelivered>,
    /// How long its receiver is left alone if it came to nothing, in milliseconds.
    pub pause_ms: i64,
}

/// What follows for a receiver from what a parcel came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Followed {
    /// When there is something to send; `None`: there is nothing.
    pub at: Option<i64>,
    /// Whether the parcel came to nothing.
    pub paused: bool,
    /// The last number that may have been tried, if that is known.
    pub tried: Option<i64>,
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
}

impl Packed {
    /// The first and the last number; `None`: it has no messages.
    #[must_use]
    pub fn numbers(&self) -> Option<(i64, i64)> {
        let Asked::Deliver { messages, .. } = &*self.asks else { return None };
        Some((messages.first()?.number, messages.last()?.number))
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

    /// Packs what may leave for a receiver. `tried`: the last number that this generation has packed
    /// for it before. `question`: the number of a question, should a conversation have to be opened.
    ///
    /// # Errors
    /// As for a statement.
    pub fn pack_messages(
        &mut self,
        to: &ActorId,
        tried: i64,
        question: u64,
        now: i64,
    ) -> Result<Packing, SqlError> {
        self.guarded(|core| {
            if !core.runner.has_outbox()? {
                return Ok(Packing::Nothing);
            }
            let rows = core.runner.first_rows(to)?;
            let Some(head) = rows.first() else { return Ok(Packing::Nothing) };
            if head.attempts > 0 && head.next > now {
                return Ok(Packing::NotBefore(head.next));
            }
            let Some((peer, conversation)) = core.runner.conversation(to)? else {
                let asks = Arc::new(Asked::Open { question });
                return Ok(Packing::Ready(Packed { to: to.clone(), asks, counted: false }));
            };
            let rows = together(rows);
            // The first delivery by the generation that wrote a row costs no commit.
            let known = core.runner.outbox.base.get().unwrap_or(i64::MAX).max(tried);
            let (first, last) = (rows[0].number, rows[rows.len() - 1].number);
            let is_parked = rows[0].attempts >= MESSAGE_TRIES_MAX;
            // A row that was counted before stays counted, whatever became of the parcels in between.
            let counted = (first <= known || rows[0].attempts > 0) && !is_parked;
            let messages = packed(rows, counted);
            if counted {
                let next = now.saturating_add(backoff(messages[0].attempt));
                core.in_transaction(|core| {
                    let runner = &core.runner;
                    let values = runner.range(to, first, last.min(known).max(first));
                    runner.change_due(TRY, &[&values[..], &[Value::Integer(next)]].concat())
                })?;
            }
            let asks = Arc::new(Asked::Deliver { to: peer, conversation, messages });
            Ok(Packing::Ready(Packed { to: to.clone(), asks, counted }))
        })
    }

    /// Records what parcels came to, in one commit, and says what follows for the receiver of each.
    ///
    /// # Errors
    /// As for a statement: nothing is recorded, and the parcels may be sent again.
    pub fn record_deliveries(
        &mut self,
        deliveries: &[Delivery],
        now: i64,
    ) -> Result<Vec<Followed>, SqlError> {
        self.guarded(|core| {
            let record = |runner: &Runner, delivery: &Delivery| runner.record(delivery, now);
            if deliveries.iter().all(Delivery::leaves_no_trace) {
                return deliveries.iter().map(|it| record(&core.runner, it)).collect();
            }
            core.in_transaction(|core| {
                deliveries.iter().map(|it| record(&core.runner, it)).collect()
            })
        })
    }

    /// Forgets conversations that were idle for long and for which nothing waits, and returns what
    /// goes to their receivers once that is durable.
    ///
    /// # Errors
    /// As for a statement.
    pub fn close_conversations(&mut self, now: i64) -> Result<Vec<Packed>, SqlError> {
        self.guarded(|core| {
            if !core.runner.has_outbox()? {
                return Ok(Vec::new());
            }
            let before = Value::Integer(now.saturating_sub(CONVERSATION_IDLE_MS));
            let max = Value::Integer(CONVERSATIONS_CLOSED_MAX.into());
            let idle = core.runner.keep(IDLE, &[core.runner.own_db(), before, max])?;
            if idle.is_empty() {
                return Ok(Vec::new());
            }
            core.in_transaction(|core| {
                let closed = idle.into_iter().map(|row| {
                    let [Value::Text(kind), Value::Text(key), peer, id] = &row[..] else {
                        return Err(malformed());
                    };
                    let to = actor(kind, key)?;
                    core.runner.keep(FORGOTTEN, &core.runner.receiver(&to))?;
                    let (peer, conversation) = (DbId(bytes(peer)?), Conversation(bytes(id)?));
                    let asks = Arc::new(Asked::Close { to: peer, conversation });
                    Ok(Packed { to, asks, counted: false })
                });
                closed.collect()
            })
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

impl Delivery {
    /// Whether nothing is written of it: nothing was counted, and its receiver is tried again soon.
    fn leaves_no_trace(&self) -> bool {
        let is_close = matches!(*self.packed.asks, Asked::Close { .. });
        let is_soon = self.pause_ms < MESSAGE_BACKOFF_MS && !self.packed.counted;
        is_close || (is_soon && matches!(self.came, Err(Undelivered::NotDone(_))))
    }
}

/// A row that waits.
struct Row {
    number: i64,
    attempts: u32,
    next: i64,
    error: Option<String>,
    method: String,
    arguments: String,
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
        let [db, kind, key] = self.receiver(to);
        let next = now.saturating_add(MESSAGE_DUE_MS);
        let values = [
            db,
            kind,
            key,
            Value::Integer(number),
            Value::Integer(now),
            Value::Integer(next),
            text(method),
            text(arguments),
        ];
        self.change_due(INSERT, &values)?;
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

    /// The columns that name a receiver, for this database.
    fn receiver(&self, to: &ActorId) -> [Value; 3] {
        [self.own_db(), text(to.kind()), text(to.key())]
    }

    fn range(&self, to: &ActorId, first: i64, last: i64) -> [Value; 5] {
        let [db, kind, key] = self.receiver(to);
        [db, kind, key, Value::Integer(first), Value::Integer(last)]
    }

    fn first_rows(&self, to: &ActorId) -> Result<Vec<Row>, SqlError> {
        let [db, kind, key] = self.receiver(to);
        let max = i64::try_from(PARCEL_MESSAGES_MAX).unwrap_or(i64::MAX);
        let rows = self.keep(ROWS, &[db, kind, key, Value::Integer(max)])?;
        rows.into_iter().map(Row::read).collect()
    }

    fn conversation(&self, to: &ActorId) -> Result<Option<(DbId, Conversation)>, SqlError> {
        let rows = self.keep(TALKS, &self.receiver(to))?;
        match rows.first().map(Vec::as_slice) {
            Some([peer, id]) => Ok(Some((DbId(bytes(peer)?), Conversation(bytes(id)?)))),
            Some(_) => Err(malformed()),
            None => Ok(None),
        }
    }

    fn record(&self, delivery: &Delivery, now: i64) -> Result<Followed, SqlError> {
        let Delivery { packed, came, pause_ms } = delivery;
        let (mut paused, mut tried) = (false, None);
        match (&*packed.asks, came) {
            (Asked::Close { .. }, _) => {}
            (
                Asked::Open { question },
                Ok(Said::Opened { question: of, db, conversation, last }),
            ) if of == question => {
                self.opened(&packed.to, (*db, *conversation), *last, now)?;
            }
            (Asked::Deliver { messages, .. }, Ok(Said::Delivered { last, stopped })) => {
                paused = self.delivered(packed, messages, (*last, stopped.as_ref()), now)?;
                tried = tried_of(messages, *last, stopped.as_ref());
            }
            (_, Err(Undelivered::Gone)) => self.park_all(&packed.to, RECEIVER_DESTROYED)?,
            (_, Err(Undelivered::Unknown(words))) => {
                paused = true;
                if let Some((first, _)) = packed.numbers() {
                    self.failed(&packed.to, first, words, now)?;
                }
            }
            (_, Err(Undelivered::NotDone(words))) => {
                paused = true;
                tried = packed.numbers().map(|(first, _)| first - 1);
                self.not_done(packed, words, (*pause_ms, now))?;
            }
            (_, Ok(said)) => {
                paused = true;
                let words = format!("an answer to another question: {said:?}");
                self.not_done(packed, &words, (*pause_ms, now))?;
            }
        }
        let head = self.keep(HEAD, &self.receiver(&packed.to))?;
        let at = match head.first().map(Vec::as_slice) {
            Some([Value::Integer(attempts), Value::Integer(next)]) if *attempts > 0 => Some(*next),
            Some(_) => Some(now),
            None => None,
        };
        let at = at.map(|at| if paused { at.max(now.saturating_add(*pause_ms)) } else { at });
        // Rows of a counted parcel may have been tried by an earlier one.
        let tried = tried.filter(|_| !packed.counted);
        Ok(Followed { at, paused, tried })
    }

    fn opened(
        &self,
        to: &ActorId,
        (peer, Conversation(id)): (DbId, Conversation),
        last: i64,
        now: i64,
    ) -> Result<(), SqlError> {
        let sent = integer(&self.keep(LAST, &[])?, 0).unwrap_or(0);
        if last > sent {
            return self.park_all(to, ROLLED_BACK);
        }
        let [db, kind, key] = self.receiver(to);
        let (peer, id) = (Value::Blob(peer.0.to_vec()), Value::Blob(id.to_vec()));
        self.keep(OPENED, &[db, kind, key, peer, id, Value::Integer(now)]).map(drop)
    }

    /// Returns whether the receiver is left alone for a while.
    fn delivered(
        &self,
        packed: &Packed,
        messages: &[Message],
        (last, stopped): (Option<i64>, Option<&Stopped>),
        now: i64,
    ) -> Result<bool, SqlError> {
        let to = &packed.to;
        let Some((first, end)) = packed.numbers() else { return Ok(true) };
        if let Some(last) = last {
            let gone = self.change_due(DELIVERED, &self.range(to, first, last.min(end)))?;
            self.emptied(&gone)?;
            let [db, kind, key] = self.receiver(to);
            self.keep(USED, &[db, kind, key, Value::Integer(now)])?;
        }
        let next = messages.iter().map(|message| message.number).find(|it| Some(*it) > last);
        let (Some(next), Some(stopped)) = (next, stopped) else {
            // The rest is sent again, and was not tried.
            self.not_tried(packed, last.unwrap_or(0).saturating_add(1), now)?;
            return Ok(last.is_none());
        };
        Ok(match stopped {
            Stopped::Failed(words) => {
                self.not_tried(packed, next.saturating_add(1), now)?;
                self.failed(to, next, words, now)?;
                false
            }
            Stopped::Unknown => {
                self.not_tried(packed, next, now)?;
                self.keep(FORGOTTEN, &self.receiver(to))?;
                last.is_none()
            }
            Stopped::Gap => {
                self.not_tried(packed, next, now)?;
                true
            }
            Stopped::Held => {
                self.not_tried(packed, next, now)?;
                let words = "an earlier message is parked at the receiver, and this one waits";
                self.later(to, next, (words, MESSAGE_DUE_MS), now)?;
                true
            }
            Stopped::Later => {
                self.not_tried(packed, next, now)?;
                last.is_none()
            }
        })
    }

    /// A delivery of this row has failed, or may have.
    fn failed(&self, to: &ActorId, number: i64, words: &str, now: i64) -> Result<(), SqlError> {
        let [db, kind, key] = self.receiver(to);
        let row = [db, kind, key, Value::Integer(number)];
        let attempts = integer(&self.keep(ATTEMPTS, &row)?, 0).unwrap_or(0).max(1);
        let tried = u32::try_from(attempts).unwrap_or(u32::MAX);
        let next = now.saturating_add(backoff(tried));
        let values = [Value::Integer(attempts), Value::Integer(next), text(bounded(words))];
        self.change_due(FAILED, &[&row[..], &values].concat()).map(drop)
    }

    fn not_done(
        &self,
        packed: &Packed,
        words: &str,
        (pause_ms, now): (i64, i64),
    ) -> Result<(), SqlError> {
        let Some((first, _)) = packed.numbers() else {
            // No receiver could be asked to open: the row has the time of the next question.
            if pause_ms >= MESSAGE_BACKOFF_MS
                && let Some(head) = self.first_rows(&packed.to)?.first()
            {
                self.later(&packed.to, head.number, (words, pause_ms), now)?;
            }
            return Ok(());
        };
        self.not_tried(packed, first, now)?;
        if packed.counted || pause_ms >= MESSAGE_BACKOFF_MS {
            self.later(&packed.to, first, (words, pause_ms), now)?;
        }
        Ok(())
    }

    fn later(
        &self,
        to: &ActorId,
        number: i64,
        (words, wait_ms): (&str, i64),
        now: i64,
    ) -> Result<(), SqlError> {
        let [db, kind, key] = self.receiver(to);
        let values = [
            db,
            kind,
            key,
            Value::Integer(number),
            Value::Integer(now),
            text(bounded(words)),
            Value::Integer(wait_ms.max(MESSAGE_DUE_MS)),
            Value::Integer(MESSAGE_BACKOFF_MS_MAX),
        ];
        self.change_due(LATER, &values).map(drop)
    }

    /// Rows of a parcel from this number on were counted and not tried.
    fn not_tried(&self, packed: &Packed, from: i64, now: i64) -> Result<(), SqlError> {
        let Some((_, last)) = packed.numbers().filter(|_| packed.counted) else { return Ok(()) };
        let next = Value::Integer(now.saturating_add(MESSAGE_DUE_MS));
        let values = [&self.range(&packed.to, from, last)[..], &[next]].concat();
        self.change_due(NOT_TRIED, &values).map(drop)
    }

    /// Parks everything that waits for a receiver, and forgets the conversation.
    fn park_all(&self, to: &ActorId, words: &str) -> Result<(), SqlError> {
        let [db, kind, key] = self.receiver(to);
        let parked = self.change_due(PARK, &[db, kind, key, text(words)])?;
        tracing::warn!(
            fence = ?self.owner.session().fence(), %to, messages = parked.len(), words,
            "messages parked"
        );
        self.keep(FORGOTTEN, &self.receiver(to)).map(drop)
    }
}

impl Row {
    fn read(row: Vec<Value>) -> Result<Self, SqlError> {
        let mut row = row.into_iter();
        let mut value = || row.next().unwrap_or(Value::Null);
        let (number, attempts, next) = (value(), value(), value());
        let (Value::Integer(number), Value::Integer(attempts), Value::Integer(next)) =
            (number, attempts, next)
        else {
            return Err(malformed());
        };
        let error = if let Value::Text(error) = value() { Some(error) } else { None };
        let (Value::Text(method), Value::Text(arguments)) = (value(), value()) else {
            return Err(malformed());
        };
        let attempts = u32::try_from(attempts).unwrap_or(u32::MAX);
        Ok(Self { number, attempts, next, error, method, arguments })
    }

    fn bytes(&self) -> u64 {
        self.method.len().saturating_add(self.arguments.len()) as u64
    }
}

/// The last number that a receiver may have tried which says this.
fn tried_of(messages: &[Message], last: Option<i64>, stopped: Option<&Stopped>) -> Option<i64> {
    let next = messages.iter().map(|message| message.number).find(|it| Some(*it) > last)?;
    match stopped? {
        Stopped::Failed(_) => Some(next),
        Stopped::Unknown | Stopped::Gap | Stopped::Held | Stopped::Later => Some(next - 1),
    }
}

/// As many rows as make one parcel.
fn together(mut rows: Vec<Row>) -> Vec<Row> {
    let mut bytes = 0_u64;
    let mut count = 0;
    for row in &rows {
        bytes = bytes.saturating_add(row.bytes());
        let fits = bytes <= PARCEL_BYTES_MAX && row.attempts == 0;
        if count > 0 && !fits {
            break;
        }
        count += 1;
        if row.attempts > 0 {
            break;
        }
    }
    rows.truncate(count);
    rows
}

fn packed(rows: Vec<Row>, counted: bool) -> Vec<Message> {
    let mut before = 0;
    let message = |row: Row| {
        let is_parked = row.attempts >= MESSAGE_TRIES_MAX;
        let park = is_parked.then(|| row.error.unwrap_or_else(|| NO_ANSWER.to_owned()));
        let tries = if counted { row.attempts.saturating_add(1) } else { row.attempts.max(1) };
        let message = Message {
            number: row.number,
            before,
            attempt: tries,
            method: row.method,
            arguments: row.arguments,
            park,
        };
        before = row.number;
        message
    };
    rows.into_iter().map(message).collect()
}

/// The wait after the delivery of this number, in milliseconds.
fn backoff(attempts: u32) -> i64 {
    let factor = 1_i64.checked_shl(attempts.saturating_sub(1)).filter(|factor| *factor > 0);
    MESSAGE_BACKOFF_MS.saturating_mul(factor.unwrap_or(i64::MAX)).min(MESSAGE_BACKOFF_MS_MAX)
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

#[cfg(test)]
mod unit {
    use super::*;

    fn row(number: i64, attempts: u32, bytes: usize) -> Row {
        let (method, arguments) = ("m".to_owned(), "x".repeat(bytes));
        Row { number, attempts, next: 0, error: None, method, arguments }
    }

    #[test]
    fn a_parcel_has_what_was_not_tried_up_to_its_bound() {
        let count = |rows: Vec<Row>| together(rows).len();
        assert_eq!(count(vec![row(1, 0, 9), row(2, 0, 9), row(3, 0, 9)]), 3);
        assert_eq!(count(vec![row(1, 1, 9), row(2, 0, 9)]), 1, "alone");
        assert_eq!(count(vec![row(1, 0, 9), row(2, 1, 9), row(3, 0, 9)]), 1);
        let large = 300 << 10;
        assert_eq!(count(vec![row(1, 0, large), row(2, 0, large)]), 1);
    }

    #[test]
    fn a_message_names_the_one_before_it() {
        let messages = packed(vec![row(4, 0, 1), row(9, 0, 1)], false);
        let shown: Vec<_> = messages.iter().map(|it| (it.before, it.number, it.attempt)).collect();
        assert_eq!(shown, [(0, 4, 1), (4, 9, 1)]);
        let parked = packed(vec![row(4, MESSAGE_TRIES_MAX, 1)], false);
        assert_eq!(parked[0].park.as_deref(), Some(NO_ANSWER));
    }
}
