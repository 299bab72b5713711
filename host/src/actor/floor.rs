//! The commit that a request asks for: an answer is never older than that.
//!
//! ```text
//!  durable here ──> the request begins
//!  not durable  ──> does the store confirm the fence? ─ no ──> another generation has it: fenced
//!                                                     └ yes ─> the actor has no such commit: behind
//! ```
//! Invariant: a refusal comes before anything of the request has run.

use stockade_depot::{ActorId, Session, Txid};

use crate::error::HostError;

/// Whether a session has the commit. Asks the store only if not.
///
/// # Errors
/// `Behind`; `Fenced` and the like if the session has lost its database.
pub async fn reached(session: &Session, actor: &ActorId, txid_min: Txid) -> Result<(), HostError> {
    if session.durable_txid() >= txid_min {
        return Ok(());
    }
    session.confirm().await.map_err(|cause| HostError::from(&cause))?;
    let txid = session.durable_txid();
    if txid >= txid_min {
        return Ok(());
    }
    Err(HostError::Behind { actor: actor.clone(), txid, txid_min })
}
