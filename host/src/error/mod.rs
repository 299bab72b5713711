//! Errors of a host, as facts, and how each of them leaves the process.
//!
//! - [`HostError`] is what callers inside the process match on; [`CallError`] adds the verdict on
//!   the call that the error ended.
//! - [`Code`] is the table of everything that leaves it: group, code, HTTP status, retry advice.
//! - [`Body`] is the JSON that carries it.
//!
//! Invariants:
//! - One translation, exhaustive: a new variant does not compile without its row (`code.rs`) and
//!   its facts (`details.rs`).
//! - Codes are stable, texts are not; no code is ever chosen by looking at a text.

mod body;
mod call;
mod code;
pub mod crash;
mod details;
mod from_depot;
mod not_run;
mod table;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use stockade_depot::id::InvalidActorId;
use stockade_depot::{
    ActorId, DbId, Generation, HeadFenceMismatch, Reason, StoreError, StoreFull, Txid,
};

use crate::calls::{Cycle, InvalidCallKey};
use crate::engine::{ComponentError, EngineError};
use crate::import::PlainError;
use crate::sqlite::{Exhausted, SqlError};
use crate::typed::{ArgumentError, Difference, UnknownMethod};

pub use crate::limits::TrapLimit;
pub use body::Body;
pub use call::CallError;
pub use crash::Crash;
pub(crate) use from_depot::damage;
pub use not_run::NotRun;
pub use stockade_depot::Verdict;
pub use table::{Code, Retry};

/// Why the host failed a request. [`CallError`] says what became of the writes of a call that had
/// begun.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// Kind or key cannot name an actor.
    #[error(transparent)]
    InvalidActor(#[from] InvalidActorId),
    /// Nothing was deployed under this name.
    #[error("kind {kind:?} is not deployed; deploy a component under this name first")]
    KindMissing {
        /// The kind's name.
        kind: String,
    },
    /// No such actor. Only a method call creates one.
    #[error("actor {actor} does not exist; a method call would create it")]
    ActorMissing {
        /// The actor.
        actor: ActorId,
    },
    /// The component exports no such method.
    #[error(transparent)]
    MethodMissing(#[from] UnknownMethod),
    /// The arguments do not fit the method's types. The guest did not run.
    #[error(transparent)]
    Arguments(#[from] ArgumentError),
    /// A method has other types than its caller was built with. The guest did not run.
    #[error(transparent)]
    Signature(Box<Difference>),
    /// The arguments are larger than the kind allows. The guest did not run.
    #[error("arguments of {bytes} bytes are over the limit of {max} (payload_bytes_max)")]
    PayloadTooLarge {
        /// The size of the arguments.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// The method answered more than the kind allows. It has run.
    #[error("the reply of {bytes} bytes is over the limit of {max} (reply_bytes_max)")]
    ReplyTooLarge {
        /// The size of the reply.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// The settings of a kind cannot be used.
    #[error("manifest: {0}")]
    Manifest(String),
    /// The component cannot be used.
    #[error(transparent)]
    Component(#[from] ComponentError),
    /// Faults on purpose are not allowed here. Nothing happened.
    #[error("this host was not started with faults allowed (`stockade serve --allow-faults`)")]
    FaultsNotAllowed,
    /// A fault's numbers are out of their bounds. Nothing happened.
    #[error("fault: {0}")]
    InvalidFault(String),
    /// The fault needs a generation that is awake here. Nothing happened.
    #[error("actor {actor} is not awake here: call it first")]
    ActorAsleep {
        /// The actor.
        actor: ActorId,
    },

    /// No room for the call: in the actor's mailbox, or among the awake actors. Then nothing ran.
    /// Or no room for its reply in the memory of all guests: then the call has run.
    #[error("overloaded: {what} at the limit of {max}")]
    Overloaded {
        /// What is full, in the plural.
        what: &'static str,
        /// Its limit.
        max: u64,
    },
    /// The component trapped during the call. Its instance is gone, its data is intact.
    #[error("the component trapped: {}", .crash.cause)]
    Trapped {
        /// How the instance died.
        crash: Arc<Crash>,
    },
    /// The call used up an allowance.
    #[error("the call used up its budget of {}", .which.as_str())]
    BudgetExhausted {
        /// The budget that was used up.
        which: Exhausted,
    },
    /// `restore` or `start` of the component failed.
    #[error("the actor did not start: {message}")]
    StartFailed {
        /// The reason. The text of a hook is guest-controlled.
        message: String,
        /// Whether the same call may succeed.
        retry: Retry,
        /// How the instance died, if it did.
        crash: Option<Arc<Crash>>,
    },
    /// A call of an actor would wait for itself. Nothing was done.
    #[error("the call would wait for itself: {}", chain_of(.cycle))]
    CallCycle {
        /// The actors that would wait for each other.
        cycle: Cycle,
    },
    /// The text cannot be the id of a call. Nothing was done.
    #[error(transparent)]
    InvalidCallKey(#[from] InvalidCallKey),
    /// The method did not run because of what is recorded of the call's id.
    #[error("call {id:?}: {why}")]
    NotRun {
        /// The id. Caller-controlled.
        id: String,
        /// Why.
        why: NotRun,
    },
    /// The actor has as many records of calls as it may have. Nothing was done.
    #[error(
        "the actor has {max} records of calls with an id, which are kept for a day; calls without an \
         id are possible"
    )]
    CallRecordsFull {
        /// The limit.
        max: u64,
    },
    /// The generation is ending and the call was not begun.
    #[error("the actor is stopping: {0}")]
    Stopping(Reason),
    /// The actor is being destroyed: calls are refused until it is gone.
    #[error("actor {actor} is being destroyed")]
    Destroying {
        /// The actor.
        actor: ActorId,
    },
    /// The actor's database is being imported: calls are refused until it is complete.
    #[error("actor {actor} is being imported")]
    Importing {
        /// The actor.
        actor: ActorId,
    },
    /// The generation ended while the call was in progress, or before its effects could be
    /// confirmed.
    #[error("the generation ended ({reason}): {cause}")]
    Ended {
        /// The reason of the end.
        reason: Reason,
        /// The first cause, in words.
        cause: String,
    },
    /// The actor ended by trap too often and waits before it starts again.
    #[error("the actor is crash-looping: {restarts} restarts; next try in {retry_after_ms} ms")]
    CrashLooping {
        /// Ends by trap in a row.
        restarts: u32,
        /// When the next call may start the actor, in milliseconds from now.
        retry_after_ms: u64,
    },

    /// The actors of a kind have reached a quota together. Nothing was created.
    #[error(
        "kind {kind:?} has reached its quota: {what} is {max}, and {used} are used; destroy actors, \
         or deploy the kind with a higher one"
    )]
    QuotaReached {
        /// The kind.
        kind: String,
        /// The limit, as manifests name it.
        what: &'static str,
        /// The use.
        used: u64,
        /// The limit's value.
        max: u64,
    },
    /// Actors of a kind are created faster than its quota allows. Nothing was created.
    #[error(
        "kind {kind:?} may get {max} actors a second (creates_per_s); the next one in \
         {retry_after_ms} ms"
    )]
    CreatedTooFast {
        /// The kind.
        kind: String,
        /// Creations allowed in a second.
        max: u64,
        /// When the next creation may come, in milliseconds from now.
        retry_after_ms: u64,
    },

    /// Another generation owns the database.
    #[error("{mismatch}")]
    Fenced {
        /// Both fences.
        mismatch: HeadFenceMismatch,
    },
    /// Another attempt to take the actor over won.
    #[error("another owner won the takeover of {actor}")]
    Superseded {
        /// The actor.
        actor: ActorId,
    },
    /// Another process runs the actor.
    #[error("actor {actor} runs in another process, at {address}")]
    Elsewhere {
        /// The actor.
        actor: ActorId,
        /// The address that the process has announced.
        address: String,
    },
    /// The actor's newest commit is before the one that the request asks for. Nothing was done.
    #[error("actor {actor} is as of commit {txid}; the request asks for {txid_min} or a later one")]
    Behind {
        /// The actor.
        actor: ActorId,
        /// Its newest commit.
        txid: Txid,
        /// The commit that was asked for.
        txid_min: Txid,
    },
    /// The generation that another process asked for is not the one that runs here.
    #[error("this process does not run that generation of actor {actor}")]
    Reroute {
        /// The actor.
        actor: ActorId,
        /// The generation that runs here, if one does.
        runs: Option<(DbId, Generation)>,
        /// The address of the process that owns the actor, if that is known to be another one.
        address: Option<String>,
    },
    /// A generation of the actor is about to begin or to end here.
    #[error("a generation of actor {actor} is about to begin or to end here")]
    Starting {
        /// The actor.
        actor: ActorId,
    },
    /// A commit of the guest could not be kept, or is not known to be kept.
    #[error("a commit of the call was lost: {cause}")]
    CommitLost {
        /// The reason, in words.
        cause: String,
    },
    /// Stored bytes are damaged: those of an actor, or of what every actor of a kind needs. No
    /// retry succeeds before an operator restores or repairs the bytes.
    #[error("stored bytes{} are damaged: {what}", of_actor(.actor.as_ref()))]
    Corrupt {
        /// The actor; `None`: the damage is not in one actor.
        actor: Option<ActorId>,
        /// What is damaged, and where.
        what: String,
    },
    /// The store has no room. Nothing of the call was kept; the call may succeed once there is
    /// room.
    #[error("{full}; make room, then send it again")]
    StoreFull {
        /// The place that is full, and the room left.
        full: StoreFull,
    },
    /// The store refused or failed.
    #[error(transparent)]
    Store(StoreError),

    /// SQLite refused or failed: an operator's statement, or what a call had left open.
    #[error("{error}")]
    Sql {
        /// Why.
        error: SqlError,
    },

    /// A file cannot be imported. Nothing of the import is left.
    #[error("cannot import the file: {0}")]
    Import(#[from] PlainError),
    /// Actors of the kind exist. The kind was not removed.
    #[error(
        "kind {kind:?} has actors, {actor} among them: destroy them first, or remove the kind with \
         its actors"
    )]
    KindInUse {
        /// The kind.
        kind: String,
        /// One of them.
        actor: ActorId,
    },
    /// The actor has sent messages that their receivers do not have.
    #[error(
        "actor {actor} has {messages} messages that their receivers do not have: wait, drop them, or \
         destroy it with force"
    )]
    HasOutbox {
        /// The actor.
        actor: ActorId,
        /// How many.
        messages: u64,
    },
    /// An import would replace an existing actor.
    #[error("actor {actor} exists; destroy it first, or import under another key")]
    ImportExists {
        /// The actor.
        actor: ActorId,
    },

    /// The host takes no more requests.
    #[error("the host is shutting down")]
    ShuttingDown,
    /// The host gives up its actors and begins none.
    #[error("the host drains: it begins no actors")]
    Draining,
    /// The host's last sign of life is too old: others may take its actors over.
    #[error("the host could not show in time that it lives; it takes no calls until it has")]
    LeaseLost,
    /// The time of the caller was over before the call had begun. Nothing was done.
    #[error("the caller's time was over before the call had begun")]
    DeadlinePassed,
    /// No other process takes actors over.
    #[error("no other process takes actors over; start one with --peers, and without a drain")]
    Alone,
    /// A directory of the host cannot be created or used.
    #[error("directory {}: {error}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The system's error.
        error: String,
    },
    /// The wasm engine cannot be created. The host does not start.
    #[error("{0}")]
    Engine(String),
    /// The host itself failed. The text goes to the log, never to a caller.
    #[error("internal error: {0}")]
    Internal(String),
}

impl From<SqlError> for HostError {
    fn from(error: SqlError) -> Self {
        Self::Sql { error }
    }
}

impl From<Difference> for HostError {
    fn from(difference: Difference) -> Self {
        Self::Signature(Box::new(difference))
    }
}

impl From<EngineError> for HostError {
    fn from(error: EngineError) -> Self {
        Self::Engine(error.to_string())
    }
}

impl HostError {
    /// Damage that no actor is known for yet.
    #[must_use]
    pub fn corrupt(what: String) -> Self {
        Self::Corrupt { actor: None, what }
    }

    /// The same error; damage that no actor is known for yet is attributed to this one.
    #[must_use]
    pub fn of(self, actor: &ActorId) -> Self {
        match self {
            Self::Corrupt { actor: None, what } => {
                Self::Corrupt { actor: Some(actor.clone()), what }
            }
            other => other,
        }
    }

    /// How the guest died, if it did. Not for callers: see [`Crash`].
    #[must_use]
    pub fn crash(&self) -> Option<&Arc<Crash>> {
        match self {
            Self::Trapped { crash } => Some(crash),
            Self::StartFailed { crash, .. } => crash.as_ref(),
            _ => None,
        }
    }
}

/// The actors of a circle, for a message.
fn chain_of(cycle: &Cycle) -> String {
    let names: Vec<String> = cycle.actors.iter().map(ToString::to_string).collect();
    names.join(" waits for ")
}

/// " of kind/key", for a message.
fn of_actor(actor: Option<&ActorId>) -> String {
    actor.map(|actor| format!(" of {actor}")).unwrap_or_default()
}
