//! How the next owner is decided, and how a lost answer is settled.
//!
//! ```text
//! step: generation + 1 and our token, if (generation, token) is what was judged replaceable
//!   ├── Owned ─────────────────────────────> ours
//!   ├── Moved, Unknown: look at the head
//!   │     ├── our token ───────────────────> ours: the answer was lost
//!   │     ├── still what we replace ───────> send the same again, until the deadline
//!   │     └── anything else ───────────────> Superseded, by this winner
//!   └── Unavailable ───────────────────────> send the same again, until the deadline
//! ```
//! A remote store is then asked for the first pages, in a statement of its own: see
//! `session/preload.rs`.
//!
//! An attempt never raises what it expects and the loser never adopts the winner's number: a
//! generation number alone says nothing about its owner.
//!
//! Rules of `docs/protocol.md`: D4, D5.

use std::sync::Arc;

use crate::broken::{self, Variant};
use crate::cause::OpenError;
use crate::error::StoreError;
use crate::fence::{Fence, Head, Origin, Standing};
use crate::id::{Digest, Generation};
use crate::opened::{HandedOver, Opened};
use crate::parts::Parts;
use crate::retry::{Asking, Retry, Settle, Unseen};
use crate::session::Session;
use crate::store::{ActorState, PreviousEnd, Snapshot, TakenOver, TakeoverStep, Wanted};

/// A takeover that was won.
#[derive(Debug)]
pub(crate) enum Won {
    /// The store's own answer.
    Answered {
        /// The head we own.
        head: Head,
        /// The restart counter.
        restarts: u32,
        /// What the last sealed generation handed over.
        snapshot: Option<Snapshot>,
        /// Whether earlier generations have left stages behind.
        leftovers: bool,
    },
    /// The answer was lost; the head, read later, has our token.
    Learned(Head),
}

/// See [`crate::Depot::take_over`].
pub(crate) async fn take_over(
    parts: &Arc<Parts>,
    state: &ActorState,
    component: Digest,
    previous_end: PreviousEnd,
) -> Result<Opened, OpenError> {
    match (state.row.wanted, state.head.origin) {
        (Wanted::Destroying, _) => return Err(OpenError::Destroying),
        (Wanted::Present, Origin::Importing) => {
            return Err(OpenError::Importing(state.head.fence.db));
        }
        (Wanted::Present, Origin::Native | Origin::Imported) => {}
    }
    let replaced = state.head.fence.generation;
    let mut step = new_step(parts, state, component, previous_end, false)?;
    let mut retry = parts.retry();
    loop {
        match settle(parts, &step, &mut retry).await? {
            Won::Answered { head, restarts, snapshot, leftovers } => {
                let session = Session::open(parts, &state.row.actor, component, &head);
                session.preload().await;
                if leftovers {
                    session.collect_leftovers();
                }
                return Ok(Opened {
                    session,
                    snapshot: snapshot.map(|it| handed_over(it, &head, replaced, component)),
                    head,
                    restarts,
                });
            }
            // We own it, but snapshot and counter were in the answer that was lost. Replacing
            // ourselves brings them again, and cannot harm anyone: what it expects is our token.
            Won::Learned(head) => {
                step.replaces = (head.fence.generation, head.fence.token);
                step.token = parts.random.token().map_err(OpenError::Store)?;
                step.previous_end = PreviousEnd::Neutral;
            }
        }
    }
}

/// The step that replaces the owner which `state` names.
pub(crate) fn new_step(
    parts: &Parts,
    state: &ActorState,
    component: Digest,
    previous_end: PreviousEnd,
    destroying: bool,
) -> Result<TakeoverStep, OpenError> {
    Ok(TakeoverStep {
        actor: state.row.actor.clone(),
        db: state.head.fence.db,
        replaces: (state.head.fence.generation, state.head.fence.token),
        token: parts.random.token().map_err(OpenError::Store)?,
        owner: parts.node,
        component,
        previous_end,
        destroying,
    })
}

/// Sends `step` until it is won or lost.
pub(crate) async fn settle(
    parts: &Parts,
    step: &TakeoverStep,
    retry: &mut Retry,
) -> Result<Won, OpenError> {
    retry.until_settled(&mut Attempt { parts, step }).await
}

struct Attempt<'a> {
    parts: &'a Parts,
    step: &'a TakeoverStep,
}

impl Attempt<'_> {
    /// The end that a head shows which the store has not made for this send.
    fn learned(&self, head: Head) -> Option<Result<Won, OpenError>> {
        match whose(self.step, &head) {
            Whose::Ours => Some(Ok(Won::Learned(head))),
            Whose::Theirs => Some(Err(superseded(self.step, head))),
            Whose::StillReplaced => None,
        }
    }
}

impl Settle for Attempt<'_> {
    type Answer = TakenOver;
    type Seen = Option<ActorState>;
    type End = Result<Won, OpenError>;
    const UNSEEN: Unseen = Unseen::Send;

    fn send(&mut self) -> Asking<'_, TakenOver> {
        self.parts.store.take_over(self.step.clone())
    }

    fn answered(&mut self, answer: TakenOver) -> Result<Self::End, StoreError> {
        match answer {
            TakenOver::Owned { head, restarts, snapshot, leftovers } => {
                debug_assert!(matches!(whose(self.step, &head), Whose::Ours), "{head:?}");
                Ok(Ok(Won::Answered { head, restarts, snapshot, leftovers }))
            }
            TakenOver::Moved(head) => self
                .learned(head)
                .ok_or_else(|| StoreError::Unavailable("refused, head unmoved".into())),
        }
    }

    fn look(&self) -> Asking<'_, Option<ActorState>> {
        self.parts.store.actor(&self.step.actor)
    }

    fn seen(&mut self, seen: Option<ActorState>, _: &StoreError) -> Option<Self::End> {
        match seen {
            None => Some(Err(OpenError::DatabaseMissing(self.step.db))),
            Some(state) => self.learned(state.head),
        }
    }

    fn given_up(&mut self, error: StoreError) -> Self::End {
        Err(match error {
            StoreError::DatabaseMissing(db) => OpenError::DatabaseMissing(db),
            error => OpenError::Store(error),
        })
    }
}

/// The owner of a head, as seen by an attempt.
enum Whose {
    Ours,
    StillReplaced,
    Theirs,
}

fn whose(step: &TakeoverStep, head: &Head) -> Whose {
    let (generation, token) = step.replaces;
    let is_ours = if broken::is_off(Variant::Token) {
        head.fence.db == step.db && head.fence.generation == generation.next()
    } else {
        head.is_made_by(step.db, step.token)
    };
    match head.check(&Fence { db: step.db, generation, token }, head.txid) {
        _ if is_ours => Whose::Ours,
        Standing::Replaced(_) => Whose::Theirs,
        // A seal takes nothing from an attempt that was to replace its owner.
        Standing::Current | Standing::Ahead(_) | Standing::Behind(_) | Standing::Sealed(_) => {
            Whose::StillReplaced
        }
    }
}

fn superseded(step: &TakeoverStep, winner: Head) -> OpenError {
    tracing::debug!(
        actor = %step.actor, db = %step.db, replaces = %step.replaces.0,
        winner = %winner.fence.generation, "takeover lost to another attempt"
    );
    OpenError::Superseded { winner: Box::new(winner) }
}

/// D5: a snapshot is current if the generation that was replaced made it, with its seal, nothing
/// was committed since, and it ran the same component.
fn handed_over(
    snapshot: Snapshot,
    head: &Head,
    replaced: Generation,
    component: Digest,
) -> HandedOver {
    let current = snapshot.generation == replaced
        && snapshot.txid == head.txid
        && snapshot.component == component;
    HandedOver { snapshot, current }
}
