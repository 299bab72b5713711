//! What operators ask of an actor's messages. The answers have the form of rows, as of their
//! statements.
//!
//! ```text
//!  out-7              waits to be delivered, or is parked here: its receiver was destroyed
//!  off-<db>-7         written in another database, of which this one is a copy
//!  in-<db>-7          parked by this actor, which has received it; <db>: its sender's database
//! ```

use stockade_depot::DbId;

use super::connection::Connection;
use super::error::SqlError;
use super::keeper::text;
use super::operator::OperatorRows;
use super::outbox::{actor, bytes, malformed};
use super::run::Runner;
use super::value::Value;
use crate::limits::MESSAGES_SHOWN_MAX;

/// What an operator asks of an actor's messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessageOrder {
    /// Show those that wait or are parked.
    List,
    /// Have one delivered or run again that is parked, waits for its next try, or is off, or all such
    /// ones, with all of their tries.
    Retry {
        /// Its id; `None`: all.
        id: Option<String>,
    },
    /// Remove one.
    Drop {
        /// Its id.
        id: String,
    },
}

const COLUMNS: [&str; 9] =
    ["id", "direction", "actor", "method", "state", "next_ms", "attempts", "error", "bytes"];

// The last column of both: the database in which the row was written.
const SENT: &str = "SELECT db, number, kind, key, method, next, attempts, error,
    octet_length(arguments), db FROM main._stockade_outbox
    ORDER BY db <> ?1, kind, key, number LIMIT ?2";
const PARKED: &str = "SELECT db, number, from_kind, from_key, method, next, attempts, error,
    octet_length(arguments), own FROM main._stockade_parked ORDER BY db, number LIMIT ?1";
const NOW: &str = "UPDATE main._stockade_outbox SET attempts = 0, error = NULL, next = ?3
    WHERE db = ?1 AND number = ?2 AND next IS NOT NULL AND (attempts > 0 OR error IS NOT NULL)
    RETURNING kind, key";
const AGAIN: &str = "DELETE FROM main._stockade_outbox
    WHERE db = ?1 AND number = ?2 AND (next IS NULL OR db <> ?3)
    RETURNING octet_length(method) + octet_length(arguments), kind, key, method, arguments";
const DROP: &str = "DELETE FROM main._stockade_outbox WHERE db = ?1 AND number = ?2
    RETURNING octet_length(method) + octet_length(arguments)";
const RUN: &str = "UPDATE main._stockade_parked SET next = ?3, own = ?4
    WHERE db = ?1 AND number = ?2 AND (next IS NULL OR own <> ?4) RETURNING 1";
const FORGET: &str = "DELETE FROM main._stockade_parked WHERE db = ?1 AND number = ?2 RETURNING 1";

/// A message, as its id says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Id {
    Out { db: Option<DbId>, number: i64 },
    In { db: DbId, number: i64 },
}

/// A message, as it is shown.
struct Shown {
    id: Id,
    cells: Vec<Value>,
}

impl Connection {
    /// Carries an order out. Returns the messages as they are then, and how many were changed.
    ///
    /// # Errors
    /// As for a statement; `InvalidArgument` for an id that is none.
    pub fn order_messages(
        &mut self,
        order: &MessageOrder,
        now: i64,
    ) -> Result<OperatorRows, SqlError> {
        self.guarded(|core| {
            let mut changes = 0;
            match order {
                MessageOrder::List => {}
                MessageOrder::Retry { id: Some(id) } => {
                    let id = Id::read(id)?;
                    changes = core.in_transaction(|core| core.runner.retry_message(id, now))?;
                }
                MessageOrder::Retry { id: None } => {
                    let (shown, _) = core.runner.shown_messages()?;
                    changes = core.in_transaction(|core| {
                        shown.iter().try_fold(0, |changes, shown| {
                            Ok::<_, SqlError>(changes + core.runner.retry_message(shown.id, now)?)
                        })
                    })?;
                }
                MessageOrder::Drop { id } => {
                    let id = Id::read(id)?;
                    changes = core.in_transaction(|core| core.runner.drop_message(id))?;
                }
            }
            let (shown, more) = core.runner.shown_messages()?;
            Ok(OperatorRows {
                columns: COLUMNS.map(str::to_owned).to_vec(),
                rows: shown.into_iter().map(|shown| shown.cells).collect(),
                changes,
                more,
            })
        })
    }
}

impl Runner {
    fn shown_messages(&self) -> Result<(Vec<Shown>, bool), SqlError> {
        let own = self.owner.session().fence().db;
        let max = Value::Integer(i64::try_from(MESSAGES_SHOWN_MAX).unwrap_or(i64::MAX));
        let mut shown = Vec::new();
        let mut more = false;
        if self.has_outbox()? {
            let rows = self.keep(SENT, &[self.own_db(), max.clone()])?;
            more |= rows.len() as u64 == MESSAGES_SHOWN_MAX;
            let id = |db: DbId, number| Id::Out { db: (db != own).then_some(db), number };
            for row in rows {
                shown.push(Shown::read(row, own, "to", id)?);
            }
        }
        if self.has_inbox()? {
            let rows = self.keep(PARKED, &[max])?;
            more |= rows.len() as u64 == MESSAGES_SHOWN_MAX;
            for row in rows {
                shown.push(Shown::read(row, own, "from", |db, number| Id::In { db, number })?);
            }
        }
        Ok((shown, more))
    }

    fn retry_message(&self, id: Id, now: i64) -> Result<u64, SqlError> {
        let time = Value::Integer(now);
        match id {
            Id::Out { db, number } if self.has_outbox()? => {
                let own = self.own_db();
                let of = db.map_or_else(|| own.clone(), blob);
                let row = [of, Value::Integer(number), own];
                let waits = match db {
                    None => self.change_due(NOW, &[row[0].clone(), row[1].clone(), time])?,
                    Some(_) => Vec::new(),
                };
                for row in &waits {
                    let [Value::Text(kind), Value::Text(key)] = &row[..] else {
                        return Err(malformed());
                    };
                    self.outbox.note(actor(kind, key)?);
                }
                // What its receiver may have passed by gets a new number.
                let again = self.change_due(AGAIN, &row)?;
                self.emptied(&again)?;
                for row in &again {
                    let [_, Value::Text(kind), Value::Text(key), Value::Text(method), rest] =
                        &row[..]
                    else {
                        return Err(malformed());
                    };
                    let Value::Text(arguments) = rest else { return Err(malformed()) };
                    let to = actor(kind, key)?;
                    self.write_message(&to, (method, arguments), now)?;
                    self.outbox.note(to);
                }
                Ok((waits.len() + again.len()) as u64)
            }
            Id::In { db, number } if self.has_inbox()? => {
                let values = [blob(db), Value::Integer(number), time, self.own_db()];
                Ok(self.change_due(RUN, &values)?.len() as u64)
            }
            Id::Out { .. } | Id::In { .. } => Ok(0),
        }
    }

    fn drop_message(&self, id: Id) -> Result<u64, SqlError> {
        match id {
            Id::Out { db, number } if self.has_outbox()? => {
                let db = db.map_or_else(|| self.own_db(), blob);
                let gone = self.change_due(DROP, &[db, Value::Integer(number)])?;
                self.emptied(&gone)?;
                Ok(gone.len() as u64)
            }
            Id::In { db, number } if self.has_inbox()? => {
                Ok(self.change_due(FORGET, &[blob(db), Value::Integer(number)])?.len() as u64)
            }
            Id::Out { .. } | Id::In { .. } => Ok(0),
        }
    }
}

impl Id {
    fn read(text: &str) -> Result<Self, SqlError> {
        let read = || {
            let (word, rest) = text.split_once('-')?;
            if word == "out" {
                return Some(Self::Out { db: None, number: rest.parse().ok()? });
            }
            let (of, number) = rest.split_once('-')?;
            let mut db = [0; 16];
            hex::decode_to_slice(of, &mut db).ok()?;
            let (db, number) = (DbId(db), number.parse().ok()?);
            match word {
                "off" => Some(Self::Out { db: Some(db), number }),
                "in" => Some(Self::In { db, number }),
                _ => None,
            }
        };
        read().ok_or_else(|| {
            let text: String = text.chars().take(80).collect();
            SqlError::InvalidArgument(format!("{text:?} is no id of a message: the list has them"))
        })
    }

    fn shown(self) -> Value {
        Value::Text(match self {
            Self::Out { db: None, number } => format!("out-{number}"),
            Self::Out { db: Some(db), number } => format!("off-{}-{number}", hex::encode(db.0)),
            Self::In { db, number } => format!("in-{}-{number}", hex::encode(db.0)),
        })
    }
}

impl Shown {
    /// A row of [`SENT`] or [`PARKED`].
    fn read(
        row: Vec<Value>,
        own: DbId,
        direction: &str,
        id: impl Fn(DbId, i64) -> Id,
    ) -> Result<Self, SqlError> {
        let Ok(
            [db, Value::Integer(number), kind, key, method, next, attempts, error, bytes_of, of],
        ) = <[Value; 10]>::try_from(row)
        else {
            return Err(malformed());
        };
        let id = id(DbId(bytes(&db)?), number);
        let state = match &next {
            _ if of != blob(own) => "off",
            Value::Null => "parked",
            _ => "waits",
        };
        let cells = vec![
            id.shown(),
            text(direction),
            named(&kind, &key)?,
            method,
            text(state),
            next,
            attempts,
            error,
            bytes_of,
        ];
        Ok(Self { id, cells })
    }
}

fn blob(db: DbId) -> Value {
    Value::Blob(db.0.to_vec())
}

fn named(kind: &Value, key: &Value) -> Result<Value, SqlError> {
    let (Value::Text(kind), Value::Text(key)) = (kind, key) else { return Err(malformed()) };
    Ok(Value::Text(format!("{kind}/{key}")))
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn an_id_reads_as_it_is_shown() {
        let db = DbId([0xa1; 16]);
        for id in [
            Id::Out { db: None, number: 7 },
            Id::Out { db: Some(db), number: 7 },
            Id::In { db, number: i64::MAX },
        ] {
            let Value::Text(text) = id.shown() else { panic!("a text") };
            assert_eq!(Id::read(&text), Ok(id), "{text}");
        }
        for wrong in ["", "out", "out-", "out-x", "in-7", "in-a1-7", "up-7", "in-zz-7"] {
            assert!(Id::read(wrong).is_err(), "{wrong}");
        }
    }
}
