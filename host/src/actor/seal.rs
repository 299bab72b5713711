//! The last step of a generation that ends in order: its head is sealed. If this process will begin
//! the next generation, the same step reserves that generation.
//!
//! ```text
//!  snapshot, or a crash is counted  ──> sealed: the next generation is won by a takeover
//!  neither, and it will begin here  ──> reserved: the head names it, this process has its token
//! ```
//! Invariant: a reserved generation needs nothing that a takeover would write: no snapshot is
//! handed on, and no crash counter is reset.

use stockade_depot::store::{ActorRow, ActorState, Wanted};
use stockade_depot::{ActorId, Digest, SealError, Session};

/// Seals a generation. Returns the state that it leaves: only a higher generation can change that.
/// `restarts`: as the actor's row has them. `begins_here`: this process is asked for the next
/// generation.
///
/// # Errors
/// As [`Session::seal`].
pub(super) async fn seal(
    session: &Session,
    actor: &ActorId,
    component: Digest,
    restarts: u32,
    snapshot: Option<Vec<u8>>,
    begins_here: bool,
) -> Result<Box<ActorState>, SealError> {
    let handed_over = snapshot.is_some().then_some(session.fence().generation);
    let head = if begins_here && restarts == 0 && snapshot.is_none() {
        session.seal_for_heir().await
    } else {
        session.seal(snapshot).await
    }?;
    let (actor, db) = (actor.clone(), head.fence.db);
    let row = ActorRow { actor, db, component, wanted: Wanted::Present, restarts };
    Ok(Box::new(ActorState { row, head, handed_over }))
}
