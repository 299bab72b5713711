//! Ownership of a database: made, taken over, confirmed, sealed.

use async_trait::async_trait;

use super::ActorState;
use crate::error::StoreError;
use crate::fence::{Fence, Head, Origin};
use crate::id::{ActorId, DbId, Digest, Generation, NodeSession, Token, Txid};

/// Makes an actor: directory row and head in one step, owned by the caller as generation 1.
#[derive(Clone, Debug)]
pub struct CreateStep {
    /// The name. Its shard is the database's.
    pub actor: ActorId,
    /// The new database, random.
    pub db: DbId,
    /// Random value of this attempt.
    pub token: Token,
    /// The caller's process.
    pub owner: NodeSession,
    /// The component it will run.
    pub component: Digest,
    /// `Native`, or `Importing` for an import.
    pub origin: Origin,
}

/// The result of a create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Created {
    /// The caller owns generation 1.
    Made(Head),
    /// The actor exists already (with this state); nothing was changed.
    Exists(ActorState),
}

/// Raises the generation on condition of the one that was judged replaceable.
#[derive(Clone, Debug)]
pub struct TakeoverStep {
    /// The name, for the directory row that is updated in the same step.
    pub actor: ActorId,
    /// The database.
    pub db: DbId,
    /// The (generation, token) that was judged sealed, dead or a ghost. Never the txid.
    pub replaces: (Generation, Token),
    /// Random value of this attempt.
    pub token: Token,
    /// The caller's process.
    pub owner: NodeSession,
    /// The component it will run.
    pub component: Digest,
    /// How the replaced generation ended.
    pub previous_end: PreviousEnd,
    /// Also mark the actor as being destroyed.
    pub destroying: bool,
}

/// How the generation before a takeover ended, as far as the new owner knows.
/// The restart counter is kept by the takeover itself, so it has one fenced writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PreviousEnd {
    /// In order, or unknown: the counter goes to zero.
    Orderly,
    /// By trap or budget: the counter goes up by one.
    Crashed,
    /// By trap or budget, after it had worked well: the counter is one, whatever it was.
    FirstCrash,
    /// Neither says anything about the component: the counter stays.
    Neutral,
}

/// The result of a takeover.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TakenOver {
    /// The caller owns `head.fence`.
    Owned {
        /// The new head.
        head: Head,
        /// The restart counter after this step.
        restarts: u32,
        /// In-memory state that the last sealed generation handed over, if any.
        snapshot: Option<Snapshot>,
        /// Whether earlier generations have left stages behind: see
        /// [`super::Pages::collect_stages`].
        leftovers: bool,
    },
    /// The head was not what `replaces` says; nothing was changed. Carries the head as it is.
    Moved(Head),
}

/// In-memory state that a sealed generation handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The generation that made it.
    pub generation: Generation,
    /// The head's txid after its seal.
    pub txid: Txid,
    /// The component that made it.
    pub component: Digest,
    /// The state, opaque.
    pub state: Vec<u8>,
}

/// The last step of a generation. After it, every step of that generation is refused.
///
/// With an `heir` it is the takeover of the next generation as well: the head then names that one,
/// unsealed, with [`NodeSession::NOBODY`] for its process. A process that knows the token may begin
/// it, once, without another step; any other one may take it over, like any head without an owner.
#[derive(Clone, Debug)]
pub struct SealStep {
    /// The owner.
    pub fence: Fence,
    /// The head's txid, which the seal does not move.
    pub base: Txid,
    /// In-memory state to hand over; `None` drops an older one.
    pub snapshot: Option<Vec<u8>>,
    /// The component that made the snapshot.
    pub component: Digest,
    /// The token of the next generation. Only without a snapshot, which only a takeover reads;
    /// where stages are left to collect the store seals without it.
    pub heir: Option<Token>,
}

/// The steps of ownership.
#[async_trait]
pub trait Ownership: Send + Sync + 'static {
    /// Makes directory row and head, or tells that the actor exists, which is then as durable as an
    /// acknowledged step. Of all steps it alone must not be applied a second time for once that it
    /// was sent: after a destroy it would bring the id of a destroyed database back.
    async fn create(&self, step: CreateStep) -> Result<Created, StoreError>;
    /// Directory row and head of an actor, read in one statement. `None`: no such actor. An actor
    /// that is there may be shown before that is durable: what is done about it needs a step of its
    /// own, or a confirmation.
    async fn actor(&self, actor: &ActorId) -> Result<Option<ActorState>, StoreError>;
    /// Raises the generation if the head is what `replaces` says. Works on sealed heads as well.
    /// Reads no pages: a preload is a second statement. `DatabaseMissing` also if the directory
    /// gives the actor another database. A mark `Destroying` stays after any takeover.
    async fn take_over(&self, step: TakeoverStep) -> Result<TakenOver, StoreError>;
    /// For each fence whether it is still the owner's: `Ok`, or the mismatch, in the order given.
    /// One read per shard; a shard that cannot be read fails its own fences only.
    async fn confirm(&self, fences: &[Fence]) -> Result<Vec<Result<(), StoreError>>, StoreError>;
    /// The last step of a generation. The head is sealed, or that of the heir.
    async fn seal(&self, step: SealStep) -> Result<Head, StoreError>;
    /// Writes `owner` into the heads of heirs that it has begun, so that others ask whether it
    /// lives before they take over. A fence that does not hold any more is left out, without an
    /// error, and one that is claimed already stays so. A shard that cannot be written fails the
    /// whole, when all others were written.
    async fn claim(&self, owner: NodeSession, heirs: &[Fence]) -> Result<(), StoreError>;
}
