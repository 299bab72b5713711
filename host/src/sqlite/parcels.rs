//! Parcels of what was sent: the first rows for a receiver, as they leave.
//!
//! Invariants:
//! - A parcel has the first rows for its receiver, without a gap. One whose first row was counted
//!   before has that row alone, so that a message which ends its host holds no other back for long.
//! - All but a first delivery by the generation that wrote the row are counted, durably, before.
//! - Without a conversation nothing is delivered: the receiver is asked to open one.

use std::sync::Arc;

use stockade_depot::ActorId;
use stockade_depot::broken::{self, Variant};

use super::connection::Connection;
use super::error::SqlError;
use super::outbox::malformed;
use super::run::Runner;
use super::value::Value;
use crate::limits::{
    MESSAGE_BACKOFF_MS, MESSAGE_BACKOFF_MS_MAX, MESSAGE_TRIES_MAX, PARCEL_BYTES_MAX,
    PARCEL_MESSAGES_MAX,
};
use crate::messages::{Asked, Message};

const ROWS: &str = "SELECT number, attempts, next, error, method, arguments
    FROM main._stockade_outbox WHERE db = ?1 AND kind = ?2 AND key = ?3 AND next IS NOT NULL
    ORDER BY number LIMIT ?4";
const TRY: &str = "UPDATE main._stockade_outbox SET attempts = attempts + 1, next = ?6
    WHERE db = ?1 AND kind = ?2 AND key = ?3 AND number BETWEEN ?4 AND ?5 AND next IS NOT NULL";

/// What a message says that is parked because its deliveries had no answer.
const NO_ANSWER: &str = "its deliveries ended without an answer: the receiver or its host died";

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

impl Packed {
    /// The first and the last number; `None`: it has no messages.
    #[must_use]
    pub fn numbers(&self) -> Option<(i64, i64)> {
        let Asked::Deliver { messages, .. } = &*self.asks else { return None };
        Some((messages.first()?.number, messages.last()?.number))
    }
}

impl Connection {
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
            let known = core.runner.outbox.inherited().max(tried);
            let (first, last) = (rows[0].number, rows[rows.len() - 1].number);
            let is_parked = rows[0].attempts >= MESSAGE_TRIES_MAX;
            // A row that was counted before stays counted, whatever became of the parcels in between.
            let counted = (first <= known || rows[0].attempts > 0)
                && !is_parked
                && !broken::is_off(Variant::DeliveryCounted);
            let messages = packed(rows, counted);
            if counted {
                let next = now.saturating_add(backoff(messages[0].attempt));
                core.in_transaction(|core| {
                    let runner = &core.runner;
                    let range = [first, last.min(known).max(first), next].map(Value::Integer);
                    runner.change_due(TRY, &runner.of_receiver(to, range))
                })?;
            }
            let asks = Arc::new(Asked::Deliver { to: peer, conversation, messages });
            Ok(Packing::Ready(Packed { to: to.clone(), asks, counted }))
        })
    }
}

/// A row that waits.
pub(super) struct Row {
    pub(super) number: i64,
    attempts: u32,
    next: i64,
    error: Option<String>,
    method: String,
    arguments: String,
}

impl Runner {
    /// As many of the rows that wait for a receiver as a parcel may have.
    pub(super) fn first_rows(&self, to: &ActorId) -> Result<Vec<Row>, SqlError> {
        let max = i64::try_from(PARCEL_MESSAGES_MAX).unwrap_or(i64::MAX);
        let rows = self.keep(ROWS, &self.of_receiver(to, [Value::Integer(max)]))?;
        rows.into_iter().map(Row::read).collect()
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
pub(super) fn backoff(attempts: u32) -> i64 {
    let factor = 1_i64.checked_shl(attempts.saturating_sub(1)).filter(|factor| *factor > 0);
    MESSAGE_BACKOFF_MS.saturating_mul(factor.unwrap_or(i64::MAX)).min(MESSAGE_BACKOFF_MS_MAX)
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
