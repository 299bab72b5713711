//! How a process begins the heir that a seal of its own has appointed: it asks the store whether
//! the head is still what that seal made of it, and writes nothing.
//!
//! ```text
//! seal ──> head: generation + 1, the heir's token, no process           (one step)
//!   ├── begun by the token's holder ─── head unmoved ──> owned, as of this answer
//!   │                                └─ anything else ─> Superseded, by what is there
//!   └── taken over by any process, like any head without an owner
//! ```
//! A token is good for one life: a process that begins an heir gives up what it knows of it first.

use std::sync::Arc;

use crate::broken::{self, Variant};
use crate::cause::OpenError;
use crate::error::StoreError;
use crate::fence::{Fence, Head};
use crate::opened::Opened;
use crate::parts::Parts;
use crate::session::Session;
use crate::store::ActorState;

/// See [`crate::Depot::inherit`].
pub(crate) async fn inherit(parts: &Arc<Parts>, state: ActorState) -> Result<Opened, OpenError> {
    let ActorState { row, head, .. } = state;
    let asked = || parts.store.verdict(head.fence.db, head.txid);
    match parts.retry().until_answered(asked).await {
        Ok((Some(now), _)) if is_unmoved(&now, &head) => {
            let session = Session::open(parts, &row.actor, row.component, &head);
            session.preload().await;
            Ok(Opened { session, head, snapshot: None, restarts: row.restarts })
        }
        Ok((Some(now), _)) => Err(OpenError::Superseded { winner: Box::new(now) }),
        Ok((None, _)) => Err(OpenError::DatabaseMissing(head.fence.db)),
        Err(error) => Err(OpenError::Store(error)),
    }
}

/// See [`crate::Depot::claim`].
pub(crate) async fn claim(parts: &Parts, heirs: &[Fence]) -> Result<(), StoreError> {
    parts.retry().ask(parts.store.claim(parts.node, heirs)).await
}

/// Whether no process has taken the heir over, or begun it.
fn is_unmoved(now: &Head, heir: &Head) -> bool {
    let is_owned = now.check(&heir.fence, heir.txid).lost().is_none();
    (is_owned && now.is_heir()) || broken::is_off(Variant::HeirAsked)
}
