//! What can go wrong in a host, as facts, and how each of them leaves the process.
//!
//! - [`HostError`] is what callers inside the process match on.
//! - [`Code`] is the table of everything that leaves it: group, code, HTTP status, retry advice.
//! - [`Body`] is the JSON that carries it.
//!
//! Invariants:
//! - One translation, exhaustive: a new variant does not compile without its row.
//! - Codes are stable, texts are not; no code is ever chosen by looking at a text.
//! - The advice belongs to the call: once a failed call has handed a commit to the store it is
//!   `unknown-outcome`, whatever the table says, because sending it again may do it twice. A full
//!   store alone is the table's `retry`: it refused the first commit of the call, so none was kept.

pub mod crash;
mod table;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use stockade_depot::id::InvalidActorId;
use stockade_depot::{ActorId, HeadFenceMismatch, Reason, StoreError, StoreFull};

use crate::engine::{ComponentError, EngineError};
use crate::sqlite::{Exhausted, PlainError, SqlError};
use crate::typed::{ArgumentError, NotFound, UnknownMethod};

pub use crate::limits::TrapLimit;
pub use crash::Crash;
pub use stockade_depot::Verdict;
pub use table::{Code, Retry};

/// Longest message that leaves the process, in bytes: a guest can write parts of it.
const MESSAGE_BYTES_MAX: usize = 4096;

/// Why the host did not do what it was asked.
///
/// Where a call had begun, `verdict` says what became of the writes it handed to the store: `None`
/// if it handed over none.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// Kind or key cannot name an actor.
    #[error(transparent)]
    InvalidActor(#[from] InvalidActorId),
    /// Nothing was deployed under this name.
    #[error("kind {kind:?} is not deployed; deploy a component under this name first")]
    KindMissing {
        /// The name.
        kind: String,
    },
    /// No such actor. Only a method call creates one.
    #[error("actor {actor} does not exist; a method call would create it")]
    ActorMissing {
        /// Its name.
        actor: ActorId,
    },
    /// The component exports no such method.
    #[error(transparent)]
    MethodMissing(#[from] UnknownMethod),
    /// The arguments do not fit the method's types. The guest did not run.
    #[error(transparent)]
    Arguments(#[from] ArgumentError),
    /// The arguments are larger than the kind allows. The guest did not run.
    #[error("arguments of {bytes} bytes are over the limit of {max} (payload_bytes_max)")]
    PayloadTooLarge {
        /// What was sent.
        bytes: u64,
        /// What is allowed.
        max: u64,
    },
    /// The method answered more than the kind allows. It has run.
    #[error("the reply of {bytes} bytes is over the limit of {max} (reply_bytes_max)")]
    ReplyTooLarge {
        /// What the method answered.
        bytes: u64,
        /// What is allowed.
        max: u64,
        /// What became of the call's writes.
        verdict: Option<Verdict>,
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
        /// Its name.
        actor: ActorId,
    },

    /// There is no room for the call: in the actor's mailbox, or among the awake actors. Then nothing
    /// ran. Or for its reply, in the memory of all guests: then it has run.
    #[error("overloaded: {what} at the limit of {max}")]
    Overloaded {
        /// What is full, in the plural.
        what: &'static str,
        /// Its limit.
        max: u64,
        /// What became of the call's writes, if it ran.
        verdict: Option<Verdict>,
    },
    /// The component trapped during the call. Its instance is gone, its data is fine.
    #[error("the component trapped: {}", .crash.cause)]
    Trapped {
        /// How.
        crash: Arc<Crash>,
        /// What became of the call's writes.
        verdict: Option<Verdict>,
    },
    /// The call used up an allowance.
    #[error("the call used up its budget of {}", .which.as_str())]
    BudgetExhausted {
        /// Which allowance.
        which: Exhausted,
        /// What became of the call's writes.
        verdict: Option<Verdict>,
    },
    /// `restore` or `start` of the component failed.
    #[error("the actor did not start: {message}")]
    StartFailed {
        /// Why. What a hook has answered is written by the guest.
        message: String,
        /// Whether the same may go well.
        retry: Retry,
        /// How the instance died, if that is why.
        crash: Option<Arc<Crash>>,
    },
    /// The generation is ending and the call was not begun.
    #[error("the actor is stopping: {0}")]
    Stopping(Reason),
    /// The actor is being destroyed: calls are refused until it is gone.
    #[error("actor {actor} is being destroyed")]
    Destroying {
        /// Its name.
        actor: ActorId,
    },
    /// The actor's database is being imported: calls are refused until it is complete.
    #[error("actor {actor} is being imported")]
    Importing {
        /// Its name.
        actor: ActorId,
    },
    /// The generation ended while the call was in progress, or before its effects could be heard.
    #[error("the generation ended ({reason}): {cause}")]
    Ended {
        /// Why.
        reason: Reason,
        /// What became of the call's writes.
        verdict: Option<Verdict>,
        /// The first cause, in words.
        cause: String,
    },
    /// The actor ended by trap too often and waits before it starts again.
    #[error("the actor is crash-looping: {restarts} restarts; next try in {retry_after_ms} ms")]
    CrashLooping {
        /// Ends by trap in a row.
        restarts: u32,
        /// When the next call may start it.
        retry_after_ms: u64,
    },

    /// The actors of a kind have together what they may have. Nothing was created.
    #[error(
        "kind {kind:?} has reached its quota: {what} is {max}, and {used} are used; destroy actors, \
         or deploy the kind with a higher one"
    )]
    QuotaReached {
        /// The kind.
        kind: String,
        /// The limit, as manifests name it.
        what: &'static str,
        /// What there is.
        used: u64,
        /// What may be.
        max: u64,
    },
    /// Actors of a kind are created faster than they may be. Nothing was created.
    #[error(
        "kind {kind:?} may get {max} actors a second (creates_per_s); the next one in \
         {retry_after_ms} ms"
    )]
    CreatedTooFast {
        /// The kind.
        kind: String,
        /// How many a second.
        max: u64,
        /// When the next one may come.
        retry_after_ms: u64,
    },

    /// Another generation owns the database.
    #[error("{mismatch}")]
    Fenced {
        /// Both fences.
        mismatch: HeadFenceMismatch,
        /// What became of the call's writes.
        verdict: Option<Verdict>,
    },
    /// Another attempt to take the actor over won.
    #[error("another owner won the takeover of {actor}")]
    Superseded {
        /// Its name.
        actor: ActorId,
    },
    /// Another process runs the actor.
    #[error("actor {actor} runs in another process, at {address}")]
    Elsewhere {
        /// Its name.
        actor: ActorId,
        /// Where that process says it can be reached.
        address: String,
    },
    /// A commit that the guest had made could not be kept, or is not known to be.
    #[error("a commit of the call was lost: {cause}")]
    CommitLost {
        /// What became of it.
        verdict: Verdict,
        /// Why, in words.
        cause: String,
    },
    /// Stored bytes are damaged: those of an actor, or of what every actor of a kind needs. Nothing
    /// that is asked again answers otherwise before an operator restores or repairs them.
    #[error("stored bytes{} are damaged: {what}", of_actor(.actor.as_ref()))]
    Corrupt {
        /// Whose; `None`: not one actor's.
        actor: Option<ActorId>,
        /// What is damaged, and where.
        what: String,
        /// What became of the call's writes.
        verdict: Option<Verdict>,
    },
    /// The store has no room. Nothing of the call was kept; it may succeed once there is room.
    #[error("{full}; make room, then send it again")]
    StoreFull {
        /// Where, and what is left.
        full: StoreFull,
        /// `NotCommitted` if the call had handed over commits: all of them were refused.
        verdict: Option<Verdict>,
    },
    /// The store refused or failed.
    #[error(transparent)]
    Store(StoreError),

    /// SQLite refused or failed: an operator's statement, or what a call had left open.
    #[error("{error}")]
    Sql {
        /// Why.
        error: SqlError,
        /// What became of the writes that came before it.
        verdict: Option<Verdict>,
    },

    /// A file cannot be imported. Nothing of it is left.
    #[error("cannot import the file: {0}")]
    Import(#[from] PlainError),
    /// Actors of the kind exist. It was not removed.
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
    /// An import would replace what is there.
    #[error("actor {actor} exists; destroy it first, or import under another key")]
    ImportExists {
        /// Its name.
        actor: ActorId,
    },

    /// The host takes no more work.
    #[error("the host is shutting down")]
    ShuttingDown,
    /// A directory of the host cannot be made or used.
    #[error("directory {}: {error}", path.display())]
    Directory {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        error: String,
    },
    /// The wasm engine cannot be made. The host does not start.
    #[error("{0}")]
    Engine(String),
    /// The host itself failed. The text goes to the log, never to a caller.
    #[error("internal error: {0}")]
    Internal(String),
}

impl From<StoreError> for HostError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Fenced(mismatch) => Self::Fenced { mismatch, verdict: None },
            StoreError::Corrupt(what) => Self::corrupt(what),
            StoreError::Full(full) => Self::StoreFull { full, verdict: None },
            other => Self::Store(other),
        }
    }
}

impl From<SqlError> for HostError {
    fn from(error: SqlError) -> Self {
        Self::Sql { error, verdict: None }
    }
}

impl From<EngineError> for HostError {
    fn from(error: EngineError) -> Self {
        Self::Engine(error.to_string())
    }
}

/// What a caller gets. The same shape for every error of every listener and command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Body {
    /// Which part of the system answers: see [`Code`].
    pub group: String,
    /// Stable within its group.
    pub code: String,
    /// For people. May change.
    pub message: String,
    /// What to do now.
    pub retry: Retry,
    /// The facts, by name.
    #[serde(default)]
    pub details: Json,
}

impl HostError {
    /// Damage that was found before a call began.
    #[must_use]
    pub fn corrupt(what: String) -> Self {
        Self::Corrupt { actor: None, what, verdict: None }
    }

    /// The same error; damage that nobody has a name for yet is this actor's.
    #[must_use]
    pub fn of(self, actor: &ActorId) -> Self {
        match self {
            Self::Corrupt { actor: None, what, verdict } => {
                Self::Corrupt { actor: Some(actor.clone()), what, verdict }
            }
            other => other,
        }
    }

    /// Its row in the table.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::InvalidActor(_) => Code::InvalidActor,
            Self::KindMissing { .. } => Code::KindMissing,
            Self::ActorMissing { .. } => Code::ActorMissing,
            Self::MethodMissing(_) => Code::MethodMissing,
            Self::Arguments(error) if error.malformed => Code::InvalidBody,
            Self::Arguments(_) => Code::Arguments,
            Self::PayloadTooLarge { .. } => Code::PayloadTooLarge,
            Self::ReplyTooLarge { .. } => Code::ReplyTooLarge,
            Self::Manifest(_) => Code::Manifest,
            Self::Component(_) => Code::Component,
            Self::FaultsNotAllowed => Code::FaultsNotAllowed,
            Self::InvalidFault(_) => Code::InvalidFault,
            Self::ActorAsleep { .. } => Code::ActorAsleep,
            Self::Overloaded { .. } => Code::ActorOverloaded,
            Self::Trapped { .. } => Code::Trapped,
            Self::BudgetExhausted { .. } => Code::BudgetExhausted,
            Self::StartFailed { .. } => Code::StartFailed,
            Self::Stopping(_) => Code::Stopping,
            Self::Destroying { .. } => Code::Destroying,
            Self::Importing { .. } => Code::Importing,
            Self::Ended { .. } => Code::Ended,
            Self::CrashLooping { .. } => Code::CrashLooping,
            Self::QuotaReached { .. } => Code::QuotaReached,
            Self::CreatedTooFast { .. } => Code::CreatedTooFast,
            Self::KindInUse { .. } => Code::KindInUse,
            Self::Fenced { .. } => Code::HeadFenceMismatch,
            Self::Superseded { .. } => Code::Superseded,
            Self::Elsewhere { .. } => Code::Elsewhere,
            Self::CommitLost { .. } => Code::CommitLost,
            Self::Corrupt { .. } => Code::StoreCorrupt,
            Self::StoreFull { .. } => Code::StoreFull,
            Self::Store(error) => store_code(error),
            Self::Sql { error, .. } => sql_code(error),
            Self::Import(error) => import_code(error),
            Self::ImportExists { .. } => Code::ImportExists,
            Self::ShuttingDown => Code::ShuttingDown,
            Self::Directory { .. } => Code::Directory,
            Self::Engine(_) => Code::Engine,
            Self::Internal(_) => Code::Internal,
        }
    }

    /// What became of the writes of the call that failed; `None` if it handed over none.
    #[must_use]
    pub fn verdict(&self) -> Option<Verdict> {
        match self {
            Self::ReplyTooLarge { verdict, .. }
            | Self::Overloaded { verdict, .. }
            | Self::Trapped { verdict, .. }
            | Self::BudgetExhausted { verdict, .. }
            | Self::Ended { verdict, .. }
            | Self::Fenced { verdict, .. }
            | Self::Corrupt { verdict, .. }
            | Self::StoreFull { verdict, .. }
            | Self::Sql { verdict, .. } => *verdict,
            Self::CommitLost { verdict, .. } => Some(*verdict),
            Self::InvalidActor(_)
            | Self::KindMissing { .. }
            | Self::ActorMissing { .. }
            | Self::MethodMissing(_)
            | Self::Arguments(_)
            | Self::PayloadTooLarge { .. }
            | Self::Manifest(_)
            | Self::Component(_)
            | Self::FaultsNotAllowed
            | Self::InvalidFault(_)
            | Self::ActorAsleep { .. }
            | Self::StartFailed { .. }
            | Self::Stopping(_)
            | Self::Destroying { .. }
            | Self::Importing { .. }
            | Self::CrashLooping { .. }
            | Self::QuotaReached { .. }
            | Self::CreatedTooFast { .. }
            | Self::KindInUse { .. }
            | Self::Superseded { .. }
            | Self::Elsewhere { .. }
            | Self::Store(_)
            | Self::Import(_)
            | Self::ImportExists { .. }
            | Self::ShuttingDown
            | Self::Directory { .. }
            | Self::Engine(_)
            | Self::Internal(_) => None,
        }
    }

    /// What the caller should do now: the table's advice, unless the call had handed over a commit.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match (self, self.verdict()) {
            (Self::StoreFull { .. }, _) => self.code().retry(),
            (_, Some(_)) => Retry::UnknownOutcome,
            (Self::Trapped { crash, .. }, None) => crash.retry,
            (Self::StartFailed { retry, .. }, None) => *retry,
            (_, None) => self.code().retry(),
        }
    }

    /// How the guest died, if that is why. Not for callers: see [`Crash`].
    #[must_use]
    pub fn crash(&self) -> Option<&Arc<Crash>> {
        match self {
            Self::Trapped { crash, .. } => Some(crash),
            Self::StartFailed { crash, .. } => crash.as_ref(),
            _ => None,
        }
    }

    /// How long to wait before trying again, where that is known.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::CrashLooping { retry_after_ms, .. }
            | Self::CreatedTooFast { retry_after_ms, .. } => {
                Some(Duration::from_millis(*retry_after_ms))
            }
            _ => self.code().retry_after(),
        }
    }

    /// What leaves the process where callers are the guest's authors: with what it said when it died.
    #[must_use]
    pub fn body_for_authors(&self) -> Body {
        let mut body = self.body();
        if let (Some(crash), Json::Object(details)) = (self.crash(), &mut body.details) {
            details.insert("last_words".to_owned(), crash.last_words.as_str().into());
            details.insert("backtrace".to_owned(), crash.backtrace.as_str().into());
        }
        body
    }

    /// What leaves the process.
    #[must_use]
    pub fn body(&self) -> Body {
        let mut body = self.code().body(bounded(self.to_string()), self.details());
        body.retry = self.retry();
        if let (Some(verdict), Json::Object(details)) = (self.verdict(), &mut body.details) {
            details.insert("verdict".to_owned(), verdict_word(verdict).into());
        }
        body
    }

    /// The facts of an error, by name. Only what a caller may know.
    fn details(&self) -> Json {
        match self {
            Self::KindMissing { kind } => json!({ "kind": kind }),
            Self::ActorMissing { actor }
            | Self::ActorAsleep { actor }
            | Self::Destroying { actor }
            | Self::Importing { actor }
            | Self::Superseded { actor }
            | Self::ImportExists { actor } => actor_details(actor),
            Self::Elsewhere { actor, address } => {
                json!({ "kind": actor.kind(), "key": actor.key(), "address": address })
            }
            Self::MethodMissing(unknown) => method_details(unknown),
            Self::Arguments(error) => {
                json!({ "path": error.path, "expected": error.expected, "got": error.got })
            }
            Self::PayloadTooLarge { bytes, max } | Self::ReplyTooLarge { bytes, max, .. } => {
                json!({ "bytes": bytes, "max": max })
            }
            Self::Overloaded { what, max, .. } => json!({ "what": what, "max": max }),
            Self::Trapped { crash, .. } => match crash.limit {
                Some(limit) => json!({ "limit": limit.as_str() }),
                None => json!({}),
            },
            Self::BudgetExhausted { which, .. } => json!({ "which": which.as_str() }),
            Self::Stopping(reason) | Self::Ended { reason, .. } => {
                json!({ "reason": reason.as_str() })
            }
            Self::CrashLooping { restarts, retry_after_ms } => {
                json!({ "restarts": restarts, "retry_after_ms": retry_after_ms })
            }
            Self::QuotaReached { kind, what, used, max } => {
                json!({ "kind": kind, "quota": what, "used": used, "max": max })
            }
            Self::CreatedTooFast { kind, max, retry_after_ms } => {
                json!({ "kind": kind, "max": max, "retry_after_ms": retry_after_ms })
            }
            Self::KindInUse { kind, actor } => json!({ "kind": kind, "key": actor.key() }),
            Self::Fenced { mismatch, .. } => fence_details(mismatch),
            Self::Corrupt { actor: Some(actor), .. } => actor_details(actor),
            Self::StoreFull { full, .. } => {
                json!({ "path": full.path, "free_bytes": full.free_bytes })
            }
            Self::Store(StoreError::Failed(failure)) => {
                json!({ "file": failure.file, "why": failure.cause.as_str() })
            }
            Self::Store(StoreError::Refused { limit, actual, max }) => {
                json!({ "limit": format!("{limit:?}"), "actual": actual, "max": max })
            }
            Self::Store(StoreError::HistoryGone { txid, floor, .. }) => {
                json!({ "txid": txid.0, "floor": floor.0 })
            }
            Self::Import(PlainError::TooLarge { bytes, max }) => {
                json!({ "bytes": bytes, "max": max })
            }
            Self::Sql { error, .. } => sql_details(error),
            Self::InvalidActor(_)
            | Self::Manifest(_)
            | Self::Component(_)
            | Self::FaultsNotAllowed
            | Self::InvalidFault(_)
            | Self::StartFailed { .. }
            | Self::CommitLost { .. }
            | Self::Corrupt { actor: None, .. }
            | Self::Store(_)
            | Self::Import(_)
            | Self::ShuttingDown
            | Self::Directory { .. }
            | Self::Engine(_)
            | Self::Internal(_) => json!({}),
        }
    }
}

impl Code {
    /// The body of an error with this code. `Internal` shows neither message nor details.
    #[must_use]
    pub fn body(self, message: String, details: Json) -> Body {
        let hidden = self == Self::Internal;
        Body {
            group: self.group().to_owned(),
            code: self.name().to_owned(),
            message: if hidden { "internal error; see the host's log".to_owned() } else { message },
            retry: self.retry(),
            details: if hidden { json!({}) } else { details },
        }
    }

    /// How long to wait before trying again: a second where the host is busy, full or going.
    #[must_use]
    pub fn retry_after(self) -> Option<Duration> {
        let passes = matches!(
            self,
            Self::ActorOverloaded
                | Self::HostOverloaded
                | Self::ShuttingDown
                | Self::StoreFull
                | Self::StoreClosed
        );
        passes.then_some(Duration::from_secs(1))
    }
}

fn store_code(error: &StoreError) -> Code {
    match error {
        StoreError::Fenced(_) => Code::HeadFenceMismatch,
        StoreError::DatabaseMissing(_) => Code::DatabaseMissing,
        StoreError::Unavailable(_) => Code::StoreUnavailable,
        StoreError::Unknown(_) => Code::StoreUnknown,
        StoreError::Refused { .. } => Code::StoreRefused,
        StoreError::Corrupt(_) => Code::StoreCorrupt,
        StoreError::HistoryGone { .. } => Code::HistoryGone,
        StoreError::NoCommit { .. } => Code::NoCommit,
        StoreError::HasForks(_) => Code::HasForks,
        StoreError::Full(_) => Code::StoreFull,
        StoreError::Failed(_) | StoreError::Closed => Code::StoreClosed,
    }
}

fn import_code(error: &PlainError) -> Code {
    match error {
        PlainError::Unreadable { .. } => Code::ImportUnreadable,
        PlainError::NotSqlite(_) => Code::ImportNotSqlite,
        PlainError::Damaged(_) => Code::ImportDamaged,
        PlainError::Unsupported(_) => Code::ImportUnsupported,
        PlainError::TooLarge { .. } => Code::ImportTooLarge,
        PlainError::Busy(_) => Code::ImportBusy,
    }
}

fn sql_code(error: &SqlError) -> Code {
    match error {
        SqlError::Constraint(_) => Code::SqlConstraint,
        SqlError::Busy => Code::SqlBusy,
        SqlError::Denied(_) => Code::SqlDenied,
        SqlError::Interrupted => Code::SqlInterrupted,
        SqlError::LimitExceeded(_) => Code::SqlLimitExceeded,
        SqlError::Full => Code::SqlFull,
        SqlError::CommitTooLarge(_) => Code::SqlCommitTooLarge,
        SqlError::Revoked(_) => Code::SqlRevoked,
        SqlError::NotOpen => Code::SqlNotOpen,
        SqlError::Statement(_) => Code::SqlStatement,
        SqlError::Unavailable => Code::SqlUnavailable,
        SqlError::InvalidArgument(_) => Code::SqlInvalidArgument,
        SqlError::RowFailed { .. } => Code::SqlRowFailed,
        SqlError::Other(_) => Code::SqlOther,
    }
}

fn sql_details(error: &SqlError) -> Json {
    match error {
        SqlError::Constraint(failure) => {
            json!({ "table": failure.table, "columns": failure.columns })
        }
        SqlError::LimitExceeded(limit) => json!({ "limit": limit.as_str() }),
        SqlError::CommitTooLarge(max) => json!({ "max": max }),
        SqlError::Revoked(reason) => json!({ "reason": reason.as_str() }),
        SqlError::Statement(failure) => {
            json!({ "sqlite_code": failure.code, "offset": failure.offset })
        }
        SqlError::RowFailed { row, cause } => {
            json!({ "row": row, "cause": sql_code(cause).name(), "details": sql_details(cause) })
        }
        SqlError::Busy
        | SqlError::Denied(_)
        | SqlError::Interrupted
        | SqlError::Full
        | SqlError::NotOpen
        | SqlError::Unavailable
        | SqlError::InvalidArgument(_)
        | SqlError::Other(_) => json!({}),
    }
}

fn method_details(unknown: &UnknownMethod) -> Json {
    let method = &unknown.name;
    match &unknown.why {
        NotFound::NoSuch { similar, known, count } => {
            json!({ "method": method, "similar": similar, "known": known, "count": count })
        }
        NotFound::Ambiguous { candidates } => {
            json!({ "method": method, "candidates": candidates })
        }
        NotFound::Excluded { why } => json!({ "method": method, "excluded": why.to_string() }),
    }
}

/// " of kind/key", for a message.
fn of_actor(actor: Option<&ActorId>) -> String {
    actor.map(|actor| format!(" of {actor}")).unwrap_or_default()
}

fn actor_details(actor: &ActorId) -> Json {
    json!({ "kind": actor.kind(), "key": actor.key() })
}

/// Both fences without their tokens: a token is what makes an owner.
fn fence_details(mismatch: &HeadFenceMismatch) -> Json {
    json!({
        "db": mismatch.db.to_string(),
        "expected_generation": mismatch.expected.0.0,
        "expected_txid": mismatch.expected_txid.0,
        "actual_generation": mismatch.actual.0.0,
        "actual_txid": mismatch.actual_txid.0,
        "sealed": mismatch.sealed,
    })
}

fn verdict_word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Committed => "committed",
        Verdict::NotCommitted => "not-committed",
        Verdict::Indeterminate => "indeterminate",
    }
}

/// Parts of a message are written by guests: no longer than a screen, cut at a character.
fn bounded(mut message: String) -> String {
    if message.len() > MESSAGE_BYTES_MAX {
        let mut end = MESSAGE_BYTES_MAX;
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        message.truncate(end);
        message.push_str(" ...");
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trapped(verdict: Option<Verdict>) -> HostError {
        let crash = Crash::of("unreachable", Retry::Fix).told("panicked: boom", "0x1 - a!boom");
        HostError::Trapped { crash: Arc::new(crash), verdict }
    }

    #[test]
    fn what_a_guest_said_leaves_for_its_authors_alone() {
        let error = trapped(None);
        assert!(!serde_json::to_string(&error.body()).expect("serializes").contains("boom"));
        let body = error.body_for_authors();
        assert_eq!((body.code.as_str(), body.retry), ("trapped", Retry::Fix));
        assert_eq!(
            body.details,
            json!({ "last_words": "panicked: boom", "backtrace": "0x1 - a!boom" })
        );
    }

    #[test]
    fn advice_is_the_crashs_only_if_nothing_was_handed_over() {
        assert_eq!(trapped(None).retry(), Retry::Fix);
        for verdict in [Verdict::Committed, Verdict::NotCommitted, Verdict::Indeterminate] {
            let body = trapped(Some(verdict)).body();
            assert_eq!(body.retry, Retry::UnknownOutcome);
            assert_eq!(body.details["verdict"], verdict_word(verdict));
        }
    }

    /// Every error that a call can end with after it has begun.
    #[test]
    fn no_error_with_a_verdict_advises_to_send_again() {
        let mismatch = HeadFenceMismatch {
            db: stockade_depot::DbId([0; 16]),
            expected: (stockade_depot::Generation(1), stockade_depot::Token([1; 16])),
            expected_txid: stockade_depot::Txid(1),
            actual: (stockade_depot::Generation(2), stockade_depot::Token([2; 16])),
            actual_txid: stockade_depot::Txid(1),
            sealed: false,
        };
        let cause = || "cause".to_owned();
        for verdict in [Verdict::Committed, Verdict::NotCommitted, Verdict::Indeterminate] {
            let some = Some(verdict);
            for error in [
                HostError::ReplyTooLarge { bytes: 2, max: 1, verdict: some },
                HostError::Overloaded { what: "bytes", max: 1, verdict: some },
                trapped(some),
                HostError::BudgetExhausted { which: Exhausted::Time, verdict: some },
                HostError::Ended { reason: Reason::Slept, verdict: some, cause: cause() },
                HostError::Fenced { mismatch, verdict: some },
                HostError::CommitLost { verdict, cause: cause() },
                HostError::Corrupt { actor: None, what: cause(), verdict: some },
                HostError::Sql { error: SqlError::Busy, verdict: some },
            ] {
                assert_eq!(error.verdict(), some, "{error:?}");
                assert_eq!(error.retry(), Retry::UnknownOutcome, "{error:?}");
                assert_eq!(error.body().details["verdict"], verdict_word(verdict), "{error:?}");
            }
        }
    }

    #[test]
    fn damage_is_never_asked_for_again_and_names_whose_it_is() {
        let actor = ActorId::new("kind", "key").expect("a name");
        let error = HostError::from(StoreError::Corrupt("page 2".to_owned())).of(&actor);
        let body = error.body();
        assert_eq!((error.code(), body.retry), (Code::StoreCorrupt, Retry::Never));
        assert_eq!(body.message, "stored bytes of kind/key are damaged: page 2");
        assert_eq!(body.details, json!({ "kind": "kind", "key": "key" }));
        let other = ActorId::new("kind", "other").expect("a name");
        assert_eq!(error.of(&other).body(), body, "who is named first stays named");
    }

    /// It refused the first commit of the call: nothing of the call was kept.
    #[test]
    fn what_a_full_store_has_refused_is_sent_again() {
        for verdict in [None, Some(Verdict::NotCommitted)] {
            let full = StoreFull { path: "store".into(), free_bytes: 7 };
            let body = HostError::StoreFull { full, verdict }.body();
            assert_eq!((body.code.as_str(), body.retry), ("full", Retry::Retry));
            assert_eq!(
                (&body.details["path"], &body.details["free_bytes"]),
                (&json!("store"), &json!(7))
            );
        }
    }

    /// The three that are easily taken for each other leave as three.
    #[test]
    fn not_open_revoked_and_interrupted_stay_apart() {
        let told = |error: SqlError| {
            let body = HostError::from(error).body();
            (body.code, body.details)
        };
        let revoked = SqlError::Revoked(Reason::Fenced);
        assert_eq!(told(SqlError::NotOpen), ("not-open".to_owned(), json!({})));
        assert_eq!(told(SqlError::Interrupted), ("interrupted".to_owned(), json!({})));
        assert_eq!(told(revoked), ("revoked".to_owned(), json!({ "reason": "fenced" })));
    }

    #[test]
    fn internal_errors_are_shown_without_details() {
        let body = HostError::Internal("/secret/path".to_owned()).body();
        let text = serde_json::to_string(&body).expect("serializes");
        assert!(!text.contains("secret"), "{text}");
        assert_eq!((body.group.as_str(), body.code.as_str()), ("core", "internal"));
    }

    #[test]
    fn messages_are_bounded_at_a_character() {
        let body = HostError::Manifest("é".repeat(10_000)).body();
        assert!(body.message.len() <= MESSAGE_BYTES_MAX + 4);
    }

    #[test]
    fn a_body_reads_back_as_it_was_written() {
        let body = HostError::CrashLooping { restarts: 3, retry_after_ms: 800 }.body();
        let text = serde_json::to_string(&body).expect("serializes");
        assert_eq!(serde_json::from_str::<Body>(&text).expect("reads"), body);
        assert_eq!(
            text,
            r#"{"group":"actor","code":"crash-looping","message":"the actor is crash-looping: 3 restarts; next try in 800 ms","retry":"retry","details":{"restarts":3,"retry_after_ms":800}}"#
        );
    }
}
