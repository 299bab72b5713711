//! Removing an actor: a takeover that marks it, then bounded steps until nothing is left.
//!
//! From the takeover on no session of the actor can do anything, and calls and creation are
//! refused. An attempt that stops anywhere leaves the mark; the next one takes over and continues.
//!
//! Rule of `docs/protocol.md`: D10.

use std::sync::Arc;

use crate::cause::OpenError;
use crate::error::StoreError;
use crate::fence::Fence;
use crate::id::DbId;
use crate::parts::Parts;
use crate::store::{ActorState, Destroyed, PreviousEnd};
use crate::takeover::{self, Won};

/// See [`crate::Depot::destroy`].
pub(crate) async fn destroy(parts: &Arc<Parts>, state: &ActorState) -> Result<(), OpenError> {
    let db = state.head.fence.db;
    let step = takeover::new_step(parts, state, state.row.component, PreviousEnd::Neutral, true)?;
    match takeover::settle(parts, &step, &mut parts.retry()).await {
        Ok(Won::Answered { head, .. } | Won::Learned(head)) => {
            delete(parts, state, head.fence).await?;
        }
        // Finished by an attempt whose answer was lost, or by another process.
        Err(OpenError::DatabaseMissing(_)) => {}
        Err(error) => return Err(error),
    }
    parts.cache.forget(db);
    verify_gone(parts, db).await?;
    tracing::debug!(actor = %state.row.actor, %db, "actor destroyed");
    Ok(())
}

/// Sends destroy steps until the store says that everything is gone. Each may take the deadline.
async fn delete(parts: &Parts, state: &ActorState, fence: Fence) -> Result<(), OpenError> {
    let actor = &state.row.actor;
    loop {
        let sent = || parts.store.destroy(actor, fence);
        match parts.retry().until_answered(sent).await {
            Ok(Destroyed::More { .. }) => {}
            Ok(Destroyed::Gone) | Err(StoreError::DatabaseMissing(_)) => return Ok(()),
            Err(StoreError::Fenced(mismatch)) => {
                return match parts.store.actor(actor).await.map_err(OpenError::Store)? {
                    Some(now) if now.head.fence.db == fence.db => {
                        Err(OpenError::Superseded { winner: Box::new(now.head) })
                    }
                    // The step whose answer was lost was the last one.
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
async fn verify_gone(parts: &Parts, db: DbId) -> Result<(), OpenError> {
    let asked = || parts.store.rows_of(db);
    match parts.retry().until_answered(asked).await.map_err(OpenError::Store)? {
        0 => Ok(()),
        rows => {
            let what = format!("{rows} rows of {db} are left after its destroy");
            Err(OpenError::Store(StoreError::Corrupt(what)))
        }
    }
}
