//! What receivers have opened with this actor: a row for each, which every delivery names.
//!
//! Invariants:
//! - A conversation is closed only while nothing waits for its receiver, and forgotten here first: its
//!   receiver is asked to forget it once that is durable.
//! - Conversations of another database, of which this one is a copy, are not used.

use std::sync::Arc;

use stockade_depot::{ActorId, DbId};

use super::connection::Connection;
use super::error::SqlError;
use super::outbox::{actor, bytes, malformed};
use super::parcels::Packed;
use super::run::Runner;
use super::value::Value;
use crate::limits::{CONVERSATION_IDLE_MS, CONVERSATIONS_CLOSED_MAX};
use crate::messages::{Asked, Conversation};

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

impl Connection {
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
                    core.runner.forget_conversation(&to)?;
                    let (peer, conversation) = (DbId(bytes(peer)?), Conversation(bytes(id)?));
                    let asks = Arc::new(Asked::Close { to: peer, conversation });
                    Ok(Packed { to, asks, counted: false })
                });
                closed.collect()
            })
        })
    }
}

impl Runner {
    pub(super) fn conversation(
        &self,
        to: &ActorId,
    ) -> Result<Option<(DbId, Conversation)>, SqlError> {
        let rows = self.keep(TALKS, &self.of_receiver(to, []))?;
        match rows.first().map(Vec::as_slice) {
            Some([peer, id]) => Ok(Some((DbId(bytes(peer)?), Conversation(bytes(id)?)))),
            Some(_) => Err(malformed()),
            None => Ok(None),
        }
    }

    pub(super) fn keep_conversation(
        &self,
        to: &ActorId,
        (peer, conversation): (DbId, Conversation),
        now: i64,
    ) -> Result<(), SqlError> {
        let (peer, id) = (Value::Blob(peer.0.to_vec()), Value::Blob(conversation.0.to_vec()));
        self.keep(OPENED, &self.of_receiver(to, [peer, id, Value::Integer(now)])).map(drop)
    }

    /// Notes about when the last message was delivered.
    pub(super) fn use_conversation(&self, to: &ActorId, now: i64) -> Result<(), SqlError> {
        self.keep(USED, &self.of_receiver(to, [Value::Integer(now)])).map(drop)
    }

    pub(super) fn forget_conversation(&self, to: &ActorId) -> Result<(), SqlError> {
        self.keep(FORGOTTEN, &self.of_receiver(to, [])).map(drop)
    }
}
