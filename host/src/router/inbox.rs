//! Parcels that have arrived: worked on between the calls of their receiver.
//!
//! Invariants:
//! - A parcel for a database runs nothing in another one of the same name.
//! - That the database is gone is said only by a generation that has confirmed that it owns its own.

use std::sync::Arc;

use stockade_depot::Reason;
use tokio::sync::oneshot;

use super::slot::Slot;
use crate::actor::answers::ReplyTo;
use crate::actor::generation::Generation;
use crate::actor::message::Heard;
use crate::error::{CallError, HostError};
use crate::messages::{Parcel, Said};

impl Slot {
    /// Works on a parcel. `is_first`: the generation was begun for it.
    pub(super) async fn receive(
        &mut self,
        parcel: Parcel,
        is_first: bool,
        reply: oneshot::Sender<Result<Said, CallError>>,
    ) {
        let refuse = |reply: oneshot::Sender<_>, error: HostError| {
            drop(reply.send(Err(error.into())));
        };
        let Some(live) = &self.live else {
            return refuse(reply, HostError::Stopping(Reason::Operator));
        };
        let session = live.generation.session().clone();
        if parcel.asks.to().is_some_and(|to| session.fence().db != to) {
            let error = match session.confirm().await {
                Ok(()) => HostError::ActorMissing { actor: self.actor.clone() },
                // The slot ends the generation next, if it has lost its database.
                Err(cause) => HostError::from(&cause),
            };
            return refuse(reply, error);
        }
        let waits = live.generation.waits_for_parked();
        let heard = Heard::default();
        let to = ReplyTo::Parcel { heard: Arc::clone(&heard), reply };
        let begin = |generation: Generation, gate| generation.receiving(parcel, waits, heard, gate);
        self.carry_out((0, to), is_first, begin).await;
    }
}
