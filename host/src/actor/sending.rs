//! What the generation's actor has sent: packed for its receivers, and what came of it recorded.
//!
//! Invariant: the host's statements have a budget of their own, and run between calls.

use stockade_depot::ActorId;

use super::generation::Generation;
use crate::sqlite::{Connection, Delivery, Followed, Packed, Packing, SqlError};

/// A receiver for which something may wait.
pub struct Wanted {
    /// The receiver.
    pub to: ActorId,
    /// The last number that this generation has packed for it.
    pub tried: i64,
    /// The number of a question, should a conversation have to be opened.
    pub question: u64,
}

impl Generation {
    /// Receivers of messages that were written since this was asked for.
    pub fn take_receivers(&mut self) -> Vec<ActorId> {
        self.body.sqlite().map(Connection::take_receivers).unwrap_or_default()
    }

    /// All receivers for which something waits, each with the earliest time at which it may leave.
    ///
    /// # Errors
    /// As for a statement.
    pub fn receivers(&mut self) -> Result<Vec<(ActorId, i64)>, SqlError> {
        self.own(|sqlite, _| sqlite.receivers())
    }

    /// What there is to send to receivers, in their order.
    ///
    /// # Errors
    /// As for a statement.
    pub fn pack(&mut self, wanted: &[Wanted]) -> Result<Vec<Packing>, SqlError> {
        self.own(|sqlite, now| {
            let pack = |it: &Wanted| sqlite.pack_messages(&it.to, it.tried, it.question, now);
            wanted.iter().map(pack).collect()
        })
    }

    /// Records what parcels came to, and says what follows for their receivers.
    ///
    /// # Errors
    /// As for a statement.
    pub fn record_deliveries(
        &mut self,
        deliveries: &[Delivery],
    ) -> Result<Vec<Followed>, SqlError> {
        self.own(|sqlite, now| sqlite.record_deliveries(deliveries, now))
    }

    /// Forgets conversations that were idle for long, and returns what goes to their receivers.
    ///
    /// # Errors
    /// As for a statement.
    pub fn close_conversations(&mut self) -> Result<Vec<Packed>, SqlError> {
        self.own(|sqlite, now| sqlite.close_conversations(now))
    }
}
