//! What parcels came to, in the rows that they were packed from.
//!
//! ```text
//!  delivered          rows up to the receiver's last number are deleted
//!  failed, unknown    the first row that was tried has its next time, and the words
//!  not done           nothing was tried: what was counted is counted back
//!  gone, rolled back  all rows for the receiver are parked here
//! ```
//! Invariants:
//! - A row is deleted only once its receiver has said that it has a number not below that of the row.
//! - A row that is parked here holds nothing back: it runs again under a new number.
//! - A conversation is taken only from the answer to the question that was asked.

use stockade_depot::ActorId;

use super::connection::Connection;
use super::error::SqlError;
use super::keeper::{integer, text};
use super::outbox::bounded;
use super::parcels::{Packed, backoff};
use super::run::Runner;
use super::value::Value;
use crate::limits::{MESSAGE_BACKOFF_MS, MESSAGE_BACKOFF_MS_MAX, MESSAGE_DUE_MS};
use crate::messages::{Asked, Message, Said, Stopped, Undelivered};

const HEAD: &str = "SELECT attempts, next FROM main._stockade_outbox
    WHERE db = ?1 AND kind = ?2 AND key = ?3 AND next IS NOT NULL ORDER BY number LIMIT 1";
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

/// Why a row is parked here: its receiver was destroyed.
const RECEIVER_DESTROYED: &str =
    "receiver-destroyed: the actor that it was for is gone, or another one has its name";
/// Why a row is parked here: this database is older than what it has sent.
const ROLLED_BACK: &str = "sender-rolled-back: the receiver has a later number of this database, \
    which was put back to an earlier state";

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

impl Connection {
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
}

impl Delivery {
    /// Whether nothing is written of it: nothing was counted, and its receiver is tried again soon.
    fn leaves_no_trace(&self) -> bool {
        let is_close = matches!(*self.packed.asks, Asked::Close { .. });
        let is_soon = self.pause_ms < MESSAGE_BACKOFF_MS && !self.packed.counted;
        is_close || (is_soon && matches!(self.came, Err(Undelivered::NotDone(_))))
    }
}

impl Runner {
    fn record(&self, delivery: &Delivery, now: i64) -> Result<Followed, SqlError> {
        let Delivery { packed, came, pause_ms } = delivery;
        let (mut paused, mut tried) = (false, None);
        match (&*packed.asks, came) {
            (Asked::Close { .. }, _) => {}
            (
                Asked::Open { question },
                Ok(Said::Opened { question: of, db, conversation, last }),
            ) if of == question => {
                if *last > self.last_number()? {
                    self.park_all(&packed.to, ROLLED_BACK)?;
                } else {
                    self.keep_conversation(&packed.to, (*db, *conversation), now)?;
                }
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
        let head = self.keep(HEAD, &self.of_receiver(&packed.to, []))?;
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
            let range = [first, last.min(end)].map(Value::Integer);
            let gone = self.change_due(DELIVERED, &self.of_receiver(to, range))?;
            self.emptied(&gone)?;
            self.use_conversation(to, now)?;
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
                self.forget_conversation(to)?;
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
        let row = self.of_receiver(to, [Value::Integer(number)]);
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
        let values = [
            Value::Integer(number),
            Value::Integer(now),
            text(bounded(words)),
            Value::Integer(wait_ms.max(MESSAGE_DUE_MS)),
            Value::Integer(MESSAGE_BACKOFF_MS_MAX),
        ];
        self.change_due(LATER, &self.of_receiver(to, values)).map(drop)
    }

    /// Rows of a parcel from this number on were counted and not tried.
    fn not_tried(&self, packed: &Packed, from: i64, now: i64) -> Result<(), SqlError> {
        let Some((_, last)) = packed.numbers().filter(|_| packed.counted) else { return Ok(()) };
        let range = [from, last, now.saturating_add(MESSAGE_DUE_MS)].map(Value::Integer);
        self.change_due(NOT_TRIED, &self.of_receiver(&packed.to, range)).map(drop)
    }

    /// Parks everything that waits for a receiver, and forgets the conversation.
    fn park_all(&self, to: &ActorId, words: &str) -> Result<(), SqlError> {
        let parked = self.change_due(PARK, &self.of_receiver(to, [text(words)]))?;
        tracing::warn!(
            fence = ?self.owner.session().fence(), %to, messages = parked.len(), words,
            "messages parked"
        );
        self.forget_conversation(to)
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
