//! Removing an actor: a takeover that marks it, then bounded steps until nothing is left.
//!
//! From the takeover on no session of the actor can do anything, and calls and creation are
//! refused. An attempt that stops anywhere leaves the mark; the next one takes over and goes on.
//!
//! Rule of `docs/protocol.md`: D10.

use std::sync::Arc;

use crate::cause::OpenError;
use crate::depot::Depot;
use crate::error::StoreError;
use crate::fence::Fence;
use crate::id::DbId;
use crate::store::{ActorState, Destroyed, PreviousEnd};
use crate::takeover::{self, Won};

/// See [`Depot::destroy`].
pub(crate) async fn destroy(depot: &Arc<Depot>, state: &ActorState) -> Result<(), OpenError> {
    let db = state.head.fence.db;
    let step = takeover::new_step(depot, state, state.row.component, PreviousEnd::Neutral, true)?;
    match takeover::settle(depot, &step, &mut depot.retry()).await {
        Ok(Won::Answered { head, .. } | Won::Learned(head)) => {
            delete(depot, state, head.fence).await?;
        }
        // Finished by an attempt whose answer was lost, or by someone else.
        Err(OpenError::DatabaseMissing(_)) => {}
        Err(error) => return Err(error),
    }
    depot.cache().forget(db);
    verify_gone(depot, db).await?;
    tracing::debug!(actor = %state.row.actor, %db, "actor destroyed");
    Ok(())
}

/// Sends destroy steps until the store says that everything is gone. Each may take the deadline.
async fn delete(depot: &Depot, state: &ActorState, fence: Fence) -> Result<(), OpenError> {
    let actor = &state.row.actor;
    loop {
        let sent = || depot.store().destroy(actor, fence);
        match depot.retry().until_answered(sent).await {
            Ok(Destroyed::More { .. }) => {}
            Ok(Destroyed::Gone) | Err(StoreError::DatabaseMissing(_)) => return Ok(()),
            Err(StoreError::Fenced(mismatch)) => {
                return match depot.store().actor(actor).await.map_err(OpenError::Store)? {
                    Some(now) if now.head.fence.db == fence.db => {
                        Err(OpenError::Superseded { winner: Box::new(now.head) })
                    }
                    // The step that we did not hear of was the last one.
                    None | Some(_) => {
                        tracing::debug!(%actor, %mismatch, "destroyed by another attempt");
                        Ok(())
                    }
                };
            }
            Err(error) => return Err(OpenError::Store(error)),
        }
    }
}

/// After a destroy the store must not have a single row of the database.
async fn verify_gone(depot: &Depot, db: DbId) -> Result<(), OpenError> {
    let asked = || depot.store().rows_of(db);
    match depot.retry().until_answered(asked).await.map_err(OpenError::Store)? {
        0 => Ok(()),
        rows => {
            let what = format!("{rows} rows of {db} are left after its destroy");
            Err(OpenError::Store(StoreError::Corrupt(what)))
        }
    }
}
