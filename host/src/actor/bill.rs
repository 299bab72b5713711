//! The cost of a call.

use std::time::Duration;

use serde::Serialize;

use crate::calls::Allowance;
use crate::sqlite::Counts;

/// The cost of a call. Reported with every reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Bill {
    /// Waiting for the actor, in microseconds: other calls, and its start.
    pub queue_us: u64,
    /// From the guest's first instruction to its last, in microseconds, SQL included.
    pub run_us: u64,
    /// Waiting for commits to be durable and the fence to be confirmed, in microseconds.
    pub gate_us: u64,
    /// Steps of SQLite's virtual machine.
    pub sql_steps: u64,
    /// Rows read by the guest.
    pub rows_read: u64,
    /// Rows inserted, updated or deleted.
    pub rows_written: u64,
    /// Bytes of rows read by the guest.
    pub row_bytes: u64,
    /// Database pages that SQLite asked for because its own cache lacked them.
    pub pages_read: u64,
    /// Database pages handed over for commit.
    pub pages_written: u64,
}

impl Bill {
    /// Adds what the SQL layer has counted.
    pub fn add_counters(&mut self, counters: &Counts) {
        self.sql_steps = counters.sql_steps;
        self.rows_read = counters.rows_read;
        self.rows_written = counters.rows_written;
        self.row_bytes = counters.row_bytes;
        self.pages_read = counters.pages_read;
        self.pages_written = counters.pages_written;
    }
}

impl Bill {
    /// What an actor that has made the call is charged for.
    #[must_use]
    pub(crate) fn used(&self) -> Allowance {
        let Self { sql_steps, rows_read, row_bytes, pages_read, .. } = *self;
        Allowance { sql_steps, rows: rows_read, row_bytes, pages: pages_read }
    }
}

/// Microseconds of a duration, saturating.
#[must_use]
pub fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
