//! What the actor has received: for each conversation the last number that was run, and the messages
//! that were tried too often. Rows of tables of the host in the actor's own database.
//!
//! ```text
//!  open     a fresh id; the number is kept if there is one
//!  stands   run it? done before? refused?          in the transaction of the method
//!  settle   the number moves                       in the same transaction
//!  park     arguments and cause are kept, and the number moves
//!  retry    a parked message runs again: begun, run with its end, or parked again
//! ```
//! Invariants:
//! - A number moves in the transaction of its message's method, and only forwards.
//! - A conversation counts only under the name that the actor has now: a copy under another name has
//!   run nothing.
//! - A parked message of another database, of which this one is a copy, does not run, and holds no
//!   other back.

use stockade_depot::broken::{self, Variant};
use stockade_depot::{ActorId, DbId};

use super::connection::Connection;
use super::error::SqlError;
use super::keeper::{integer, text};
use super::outbox::{bounded, bytes, malformed};
use super::run::Runner;
use super::value::Value;
use crate::limits::PARKED_MAX;
use crate::messages::{Conversation, Message, Sender};

/// `db`: the sender's database. `kind`, `key`: the name that this actor had. In the words that a file
/// to be imported must have as well, like those of the tables below.
const INBOX: &str = "CREATE TABLE _stockade_inbox(db BLOB NOT NULL, kind TEXT NOT NULL, \
    key TEXT NOT NULL, id BLOB NOT NULL, last INTEGER NOT NULL, from_kind TEXT NOT NULL, \
    from_key TEXT NOT NULL, PRIMARY KEY (db, kind, key)) STRICT, WITHOUT ROWID";
/// `own`: the database in which it was parked. `next`: when it runs again; NULL: it does not.
const PARKED: &str = "CREATE TABLE _stockade_parked(db BLOB NOT NULL, number INTEGER NOT NULL, \
    own BLOB NOT NULL, at INTEGER NOT NULL, next INTEGER, attempts INTEGER NOT NULL, \
    error TEXT NOT NULL, from_kind TEXT NOT NULL, from_key TEXT NOT NULL, method TEXT NOT NULL, \
    arguments TEXT NOT NULL, PRIMARY KEY (db, number)) STRICT, WITHOUT ROWID";
const PARKED_NEXT: &str = "CREATE INDEX _stockade_parked_next ON _stockade_parked(own, next)";

/// Every object of the receiver's side.
pub(super) const OBJECTS: [&str; 3] = [INBOX, PARKED, PARKED_NEXT];

const EXISTS: &str =
    "SELECT 1 FROM main.sqlite_schema WHERE type = 'table' AND name = '_stockade_inbox'";
const OPEN: &str = "INSERT INTO main._stockade_inbox VALUES (?1, ?2, ?3, randomblob(16), 0, ?4, ?5)
    ON CONFLICT(db, kind, key) DO UPDATE SET id = excluded.id, from_kind = excluded.from_kind,
    from_key = excluded.from_key RETURNING id, last";
const STANDS: &str =
    "SELECT id, last FROM main._stockade_inbox WHERE db = ?1 AND kind = ?2 AND key = ?3";
const HOLDS: &str = "SELECT 1 FROM main._stockade_parked WHERE db = ?1 AND own = ?2 LIMIT 1";
const SETTLE: &str =
    "UPDATE main._stockade_inbox SET last = ?4 WHERE db = ?1 AND kind = ?2 AND key = ?3";
const CLOSE: &str = "DELETE FROM main._stockade_inbox
    WHERE db = ?1 AND kind = ?2 AND key = ?3 AND id = ?4 RETURNING 1";
const COUNT: &str = "SELECT count(*) FROM main._stockade_parked";
const PARK: &str = "INSERT INTO main._stockade_parked
    (db, number, own, at, attempts, error, from_kind, from_key, method, arguments)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT(db, number) DO NOTHING";
const RETRIED: &str = "SELECT db, number, attempts, from_kind, from_key, method, arguments
    FROM main._stockade_parked WHERE own = ?1 AND next <= ?2 ORDER BY next, db, number LIMIT 1";
const BEGIN: &str =
    "UPDATE main._stockade_parked SET next = NULL, attempts = attempts + 1, error = ?3
    WHERE db = ?1 AND number = ?2";
const DONE: &str = "DELETE FROM main._stockade_parked WHERE db = ?1 AND number = ?2 RETURNING 1";
const NOTE: &str = "UPDATE main._stockade_parked SET error = ?3 WHERE db = ?1 AND number = ?2";

/// What a parked message says whose last run has not ended.
const NO_ANSWER: &str = "the run ended without an answer: its host or its actor died";

/// How a message stands with its receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is the next one.
    Next,
    /// It was run or parked before.
    Done,
    /// Its conversation is not known.
    Unknown,
    /// The one before it was not run.
    Gap,
    /// An earlier one is parked, and it waits for that.
    Held,
}

/// A parked message that runs again: its try is counted.
#[derive(Clone, Debug)]
pub struct Retried {
    /// Who has sent it.
    pub from: Sender,
    /// The message.
    pub message: Message,
}

impl Connection {
    /// Opens a conversation with a sender. Returns it and the last number of that sender.
    ///
    /// # Errors
    /// As for a statement.
    pub fn open_conversation(
        &mut self,
        from: &Sender,
        own: &ActorId,
    ) -> Result<(Conversation, i64), SqlError> {
        self.guarded(|core| {
            core.in_transaction(|core| {
                core.runner.make_inbox()?;
                let [db, kind, key] = pair(from, own);
                let values = [db, kind, key, text(&from.kind), text(&from.key)];
                let rows = core.runner.keep(OPEN, &values)?;
                let (id, last) = match rows.first().map(Vec::as_slice) {
                    Some([id, Value::Integer(last)]) => (Conversation(bytes(id)?), *last),
                    _ => return Err(malformed()),
                };
                if broken::is_off(Variant::OpenLast) {
                    core.runner.settle(from, own, 0)?;
                }
                Ok((id, last))
            })
        })
    }

    /// How a message stands. `waits`: later messages of a sender wait for those that are parked.
    ///
    /// # Errors
    /// As for a statement.
    pub fn stands(
        &mut self,
        (from, own): (&Sender, &ActorId),
        conversation: Conversation,
        message: &Message,
        waits: bool,
    ) -> Result<Standing, SqlError> {
        self.guarded(|core| {
            let runner = &core.runner;
            if !runner.has_inbox()? {
                return Ok(Standing::Unknown);
            }
            let rows = runner.keep(STANDS, &pair(from, own))?;
            let (id, last) = match rows.first().map(Vec::as_slice) {
                Some([id, Value::Integer(last)]) => (bytes(id)?, *last),
                Some(_) => return Err(malformed()),
                None => return Ok(Standing::Unknown),
            };
            if Conversation(id) != conversation && !broken::is_off(Variant::ConversationNamed) {
                return Ok(Standing::Unknown);
            }
            if message.number <= last {
                return Ok(Standing::Done);
            }
            if message.before > last {
                return Ok(Standing::Gap);
            }
            let parked = [Value::Blob(from.db.0.to_vec()), runner.own_db()];
            if waits && !runner.keep(HOLDS, &parked)?.is_empty() {
                return Ok(Standing::Held);
            }
            Ok(Standing::Next)
        })
    }

    /// Moves the number of a sender: in the transaction of the message's method.
    ///
    /// # Errors
    /// As for a statement.
    pub fn settle(&mut self, from: &Sender, own: &ActorId, number: i64) -> Result<(), SqlError> {
        self.guarded(|core| core.runner.settle(from, own, number))
    }

    /// Parks a message that is the next one, and moves the number. Returns `false` if there is no room
    /// for it.
    ///
    /// # Errors
    /// As for a statement.
    pub fn park_message(
        &mut self,
        (from, own): (&Sender, &ActorId),
        message: &Message,
        why: &str,
        now: i64,
    ) -> Result<bool, SqlError> {
        self.guarded(|core| {
            core.in_transaction(|core| {
                let runner = &core.runner;
                let parked = integer(&runner.keep(COUNT, &[])?, 0).unwrap_or(0).unsigned_abs();
                if parked >= PARKED_MAX {
                    return Ok(false);
                }
                let values = [
                    Value::Blob(from.db.0.to_vec()),
                    Value::Integer(message.number),
                    runner.own_db(),
                    Value::Integer(now),
                    Value::Integer(message.attempt.into()),
                    text(bounded(why)),
                    text(&from.kind),
                    text(&from.key),
                    text(&message.method),
                    text(&message.arguments),
                ];
                runner.change_due(PARK, &values)?;
                runner.settle(from, own, message.number)?;
                tracing::warn!(
                    actor = %own, %from, number = message.number, method = message.method,
                    error = bounded(why), "message parked"
                );
                Ok(true)
            })
        })
    }

    /// Forgets a conversation, if it is still this one.
    ///
    /// # Errors
    /// As for a statement.
    pub fn close_conversation(
        &mut self,
        from: &Sender,
        own: &ActorId,
        conversation: Conversation,
    ) -> Result<bool, SqlError> {
        self.guarded(|core| {
            if !core.runner.has_inbox()? {
                return Ok(false);
            }
            let [db, kind, key] = pair(from, own);
            let id = Value::Blob(conversation.0.to_vec());
            core.in_transaction(|core| {
                Ok(!core.runner.keep(CLOSE, &[db, kind, key, id])?.is_empty())
            })
        })
    }

    /// Begins the first parked message that an operator has asked to run again: counted, and parked
    /// as one whose run has ended without an answer.
    ///
    /// # Errors
    /// As for a statement.
    pub fn begin_parked(&mut self, now: i64) -> Result<Option<Retried>, SqlError> {
        self.guarded(|core| {
            if !core.runner.has_inbox()? {
                return Ok(None);
            }
            let due = [core.runner.own_db(), Value::Integer(now)];
            let rows = core.runner.keep(RETRIED, &due)?;
            let Some(row) = rows.into_iter().next() else {
                let earliest = core.runner.read_earliest()?;
                core.runner.due.set(earliest);
                return Ok(None);
            };
            let mut retried = Retried::read(row)?;
            retried.message.attempt = retried.message.attempt.saturating_add(1);
            core.in_transaction(|core| {
                let [db, number] = retried.key();
                core.runner.change_due(BEGIN, &[db, number, text(NO_ANSWER)])
            })?;
            Ok(Some(retried))
        })
    }

    /// A parked message was run: in the transaction of its method. `false`: it was dropped since.
    ///
    /// # Errors
    /// As for a statement.
    pub fn end_parked(&mut self, retried: &Retried) -> Result<bool, SqlError> {
        self.guarded(|core| Ok(!core.runner.change_due(DONE, &retried.key())?.is_empty()))
    }

    /// A parked message has failed again. The words are guest-controlled.
    ///
    /// # Errors
    /// As for a statement: then it is parked all the same.
    pub fn note_parked(&mut self, retried: &Retried, words: &str) -> Result<(), SqlError> {
        self.guarded(|core| {
            core.in_transaction(|core| {
                let [db, number] = retried.key();
                core.runner.keep(NOTE, &[db, number, text(bounded(words))]).map(drop)
            })
        })
    }

    /// From here on sends may fill all of the outbox, or only their half of it.
    pub fn handles_message(&mut self, handles: bool) {
        self.with_core(|core| core.runner.outbox.handles.set(handles));
    }

    #[cfg(test)]
    /// Puts the numbers of all senders back, as a receiver has them that was put back to an earlier
    /// commit.
    pub fn put_inbox_back(&mut self, last: i64) {
        const BACK: &str = "UPDATE main._stockade_inbox SET last = ?1";
        self.guarded(|core| {
            core.in_transaction(|core| core.runner.keep(BACK, &[Value::Integer(last)]))
        })
        .expect("the rows can be written");
    }

    #[cfg(test)]
    /// Makes all parked rows those of another database, as in a copy.
    pub fn parked_as_of_another_database(&mut self) {
        const COPIED: &str = "UPDATE main._stockade_parked SET own = x'00'";
        self.guarded(|core| core.in_transaction(|core| core.runner.change_due(COPIED, &[])))
            .expect("the rows can be written");
    }
}

impl Runner {
    pub(super) fn has_inbox(&self) -> Result<bool, SqlError> {
        Ok(!self.keep(EXISTS, &[])?.is_empty())
    }

    fn make_inbox(&self) -> Result<(), SqlError> {
        if !self.has_inbox()? {
            // As of due work: a program that does not know these tables refuses the database.
            for object in OBJECTS {
                self.change_due(object, &[])?;
            }
        }
        Ok(())
    }

    fn settle(&self, from: &Sender, own: &ActorId, number: i64) -> Result<(), SqlError> {
        debug_assert!(!self.database.is_autocommit(), "it is part of the message's transaction");
        if number > 0 && broken::is_off(Variant::MarkMoves) {
            return Ok(());
        }
        let [db, kind, key] = pair(from, own);
        self.keep(SETTLE, &[db, kind, key, Value::Integer(number)]).map(drop)
    }
}

impl Retried {
    fn key(&self) -> [Value; 2] {
        [Value::Blob(self.from.db.0.to_vec()), Value::Integer(self.message.number)]
    }

    fn read(row: Vec<Value>) -> Result<Self, SqlError> {
        let Ok(
            [
                db,
                Value::Integer(number),
                Value::Integer(attempts),
                Value::Text(kind),
                Value::Text(key),
                Value::Text(method),
                Value::Text(arguments),
            ],
        ) = <[Value; 7]>::try_from(row)
        else {
            return Err(malformed());
        };
        let attempt = u32::try_from(attempts).unwrap_or(u32::MAX);
        let from = Sender { db: DbId(bytes(&db)?), kind, key };
        let message = Message { number, before: 0, attempt, method, arguments, park: None };
        Ok(Self { from, message })
    }
}

/// The columns that name a sender, under the name that the actor has now.
fn pair(from: &Sender, own: &ActorId) -> [Value; 3] {
    [Value::Blob(from.db.0.to_vec()), text(own.kind()), text(own.key())]
}
