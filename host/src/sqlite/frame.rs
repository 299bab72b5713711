//! The transaction of the host around a method: what the host writes for a call and what the method
//! writes become one commit, or nothing of both is kept.
//!
//! ```text
//!  BEGIN IMMEDIATE        level 0: the host writes before the method
//!   SAVEPOINT _1          level 1: the method, and below it the transactions of its own
//!   RELEASE, ROLLBACK TO  what the method wrote is kept, or not
//!  COMMIT                 the host has written what belongs to the outcome
//! ```
//! Invariants:
//! - While a frame is open, SQL text of the guest controls no transaction, and no handle of the guest
//!   names a level of the frame.
//! - What the method has left open is rolled back before its level ends, as at the end of any call.
//! - After an error nothing of the frame is kept and none of its levels is open.
//! - The host's part has a bound of its own: a call that has used up its budget can still be recorded.

use super::connection::Connection;
use super::error::SqlError;
use super::transaction::{TransactionId, TransactionMode};

/// An open frame, inside which the method may run.
#[derive(Debug)]
#[must_use]
pub struct Frame {
    host: TransactionId,
    guest: TransactionId,
}

/// What follows the host's part before the method.
#[derive(Debug)]
pub enum Entered<T> {
    /// The method runs.
    Runs(Frame),
    /// It does not, and what the host has written is committed.
    Skipped(T),
}

impl Connection {
    /// Begins a frame. `enter` writes the host's part before the method, and returns a value if the
    /// method must not run.
    ///
    /// # Errors
    /// As for a statement: nothing is kept, and the method must not run.
    pub fn enter_frame<T>(
        &mut self,
        enter: impl FnOnce(&mut Self) -> Result<Option<T>, SqlError>,
    ) -> Result<Entered<T>, SqlError> {
        self.in_grace(|own| {
            let host = own.begin(TransactionMode::Immediate)?;
            let entered = match enter(own) {
                Ok(Some(value)) => own.commit(host).map(|()| Entered::Skipped(value)),
                Ok(None) => own
                    .begin(TransactionMode::Immediate)
                    .map(|guest| Entered::Runs(Frame { host, guest })),
                Err(error) => Err(error),
            };
            own.or_nothing(host, entered)
        })
    }

    /// Ends a frame whose method has answered. `keep`: with what the method has written; `leave`
    /// writes the host's part after the method. Returns whether the method had left a transaction
    /// open, which is rolled back.
    ///
    /// # Errors
    /// As for a statement: nothing is kept. `NotOpen`: SQLite had rolled everything back by itself.
    pub fn leave_frame(
        &mut self,
        frame: Frame,
        keep: bool,
        leave: impl FnOnce(&mut Self) -> Result<(), SqlError>,
    ) -> Result<bool, SqlError> {
        let Frame { host, guest } = frame;
        self.in_grace(|own| {
            let left = own.end_guest(guest, keep).and_then(|had_left| {
                leave(own)?;
                own.commit(host)?;
                Ok(had_left)
            });
            own.or_nothing(host, left)
        })
    }

    fn end_guest(&mut self, guest: TransactionId, keep: bool) -> Result<bool, SqlError> {
        self.guarded(|core| {
            // A write in progress would hold the commit back.
            core.end_runs(&mut 0)?;
            let inside = core.stack.inside(guest);
            if let Some(inside) = inside {
                core.rollback(inside)?;
            }
            if keep { core.commit(guest) } else { core.rollback(guest) }?;
            Ok(inside.is_some())
        })
    }

    /// Rolls a frame back that has failed.
    fn or_nothing<T>(
        &mut self,
        host: TransactionId,
        done: Result<T, SqlError>,
    ) -> Result<T, SqlError> {
        if done.is_err() {
            self.drop_transaction(host);
        }
        done
    }
}
