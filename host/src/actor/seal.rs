//! The last step of a life that ends in order: its head is sealed, and where this process will
//! begin the next generation, that is reserved in the same step.
//!
//! ```text
//!  snapshot, or a crash is counted  ──> sealed: the next generation is won by a takeover
//!  neither, and it will begin here  ──> reserved: the head names it, this process has its token
//! ```
//! Invariant: what is reserved needs no takeover to tell it anything, neither a snapshot nor that
//! the counter of crashes begins again.

use stockade_depot::store::{ActorRow, ActorState, Wanted};
use stockade_depot::{ActorId, Digest, SealError, Session};

/// Seals a life and says how it leaves the actor: nobody changes that without a higher generation.
/// `restarts`: as its row has them. `begins_here`: this process will be asked for the next life.
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
