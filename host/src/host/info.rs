//! What a host tells about itself.

use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use stockade_depot::page::PAGE_SIZE;
use stockade_depot::store::{ActorState, Holder, PreviousEnd, Wanted};
use stockade_depot::{ActorId, DbId, Digest, Generation, PageCount, Reason, Txid};
use stockade_vfs::memory::Share;
use tokio::time::Instant;
use wasmtime::component::Val;

use crate::actor::answer::Heard;
use crate::actor::bill::Bill;
use crate::actor::exit::{Exit, SnapshotOutcome};
use crate::actor::generation::StartedFrom;
use crate::error::Crash;
use crate::fault::Fault;
use crate::kinds::Kind;
use crate::kinds::manifest::Manifest;
use crate::router::handle::SlotHandle;
use crate::sqlite::{OperatorRows, Value};
use crate::supervision::Shared;
use crate::supervision::crashes::Standing;
use crate::typed::{Method, ResultError, decode};

/// The answer to a call.
#[derive(Debug)]
pub struct Reply {
    /// The method that ran.
    pub method: Arc<Method>,
    /// Its results: none or one.
    pub values: Vec<Val>,
    /// The life that answered.
    pub generation: Generation,
    /// The newest durable commit when the answer left.
    pub txid: Txid,
    /// What it has cost.
    pub bill: Bill,
    /// The memory of its values beyond what each may have, given back when it is dropped.
    pub(crate) room: Option<Arc<Share>>,
}

impl Reply {
    /// The result as a Rust value: a WIT `result` as `Result`, a `record` as a struct, a `variant`
    /// as an enum. Names are those of the WIT.
    ///
    /// ```
    /// use serde::Deserialize;
    ///
    /// #[derive(Debug, Deserialize)]
    /// #[serde(rename_all = "kebab-case")]
    /// enum Refused {
    ///     UnknownAccount(String),
    ///     InsufficientFunds { balance: i64, needed: i64 },
    /// }
    ///
    /// fn left(reply: &stockade::Reply) -> Result<i64, Box<dyn std::error::Error>> {
    ///     match reply.read::<Result<i64, Refused>>()? {
    ///         Ok(left) => Ok(left),
    ///         Err(refused) => Err(format!("the ledger refuses: {refused:?}").into()),
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    /// If the result does not have that type. The call has been done all the same.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, ResultError> {
        decode(&self.values)
    }

    /// Whether the method answered the error case of a `result`. The call has been done all the same.
    #[must_use]
    pub fn is_err(&self) -> bool {
        matches!(self.values.as_slice(), [Val::Result(Err(_))])
    }

    /// Bytes of memory that its values take beyond 64 KiB, which are counted among all guests' memory
    /// until the reply is dropped. 0 for an ordinary reply; a large one takes time to write as JSON.
    #[must_use]
    pub fn large_bytes(&self) -> u64 {
        self.room.as_ref().map_or(0, |room| room.held())
    }

    /// The result as JSON.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        self.method.to_json(&self.values)
    }

    /// The result as WAVE text.
    #[must_use]
    pub fn to_wave(&self) -> String {
        self.method.to_wave(&self.values)
    }
}

/// A deployed component.
#[derive(Clone, Debug)]
pub struct Deployed {
    /// The name.
    pub kind: String,
    /// SHA-256 of the component.
    pub digest: Digest,
    /// How often the name was deployed.
    pub version: u64,
    /// Methods that callers can reach.
    pub methods: usize,
    /// The component it replaces, if that is another one.
    pub replaced: Option<Digest>,
    /// Generations of this process that were ended.
    pub ended: usize,
}

/// A kind that was removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemovedKind {
    /// Its name.
    pub kind: String,
    /// Generations of this process that were ended.
    pub ended: usize,
    /// Actors that were destroyed with it.
    pub destroyed: usize,
}

/// A kind.
#[derive(Clone, Debug)]
pub struct KindInfo {
    /// Its name.
    pub kind: String,
    /// SHA-256 of the component.
    pub digest: Digest,
    /// How often it was deployed.
    pub version: u64,
    /// Its methods, described.
    pub methods: serde_json::Value,
    /// Its settings.
    pub manifest: Manifest,
}

impl KindInfo {
    pub(super) fn of(kind: &Kind) -> Self {
        Self {
            kind: kind.row.kind.clone(),
            digest: kind.row.component,
            version: kind.row.version,
            methods: kind.program.methods.describe(),
            manifest: kind.manifest.clone(),
        }
    }
}

/// What an actor is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActorStatus {
    /// No generation runs.
    Asleep,
    /// A generation runs in this process.
    Awake,
    /// Its head names another process as its owner.
    Elsewhere,
    /// It has crashed too often in a row: calls are refused until its next trial, or a reset.
    CrashLooping,
    /// It is being destroyed.
    Destroying,
}

impl ActorStatus {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Asleep, Self::Awake, Self::Elsewhere, Self::CrashLooping, Self::Destroying];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Asleep => "asleep",
            Self::Awake => "awake",
            Self::Elsewhere => "elsewhere",
            Self::CrashLooping => "crash-looping",
            Self::Destroying => "destroying",
        }
    }
}

/// An actor.
#[derive(Clone, Debug)]
pub struct ActorInfo {
    /// Its name.
    pub actor: ActorId,
    /// Its history line.
    pub db: DbId,
    /// The component that its last generation ran.
    pub component: Digest,
    /// Its newest life.
    pub generation: Generation,
    /// Its newest commit.
    pub txid: Txid,
    /// Pages of its database.
    pub page_count: PageCount,
    /// Bytes of its database.
    pub bytes: u64,
    /// What it is doing.
    pub status: ActorStatus,
    /// Crashes in a row: without an orderly end, a reset, a new component or an answered call in
    /// between.
    pub restarts: u32,
    /// How long a call has to wait because of them; `None`: it does not.
    pub next_attempt: Option<Duration>,
    /// Whether its last generation ended in order. If not it runs, or was taken over or killed.
    pub sealed: bool,
    /// The generation whose in-memory state the store keeps. Sealed and another one than
    /// `generation`: the last one handed nothing over.
    pub handed_over: Option<Generation>,
    /// The snapshot that the generation awake here was started from.
    pub started_from: Option<StartedFrom>,
    /// How its last generation in this process ended.
    pub last_exit: Option<ExitInfo>,
    /// How long it has had nothing to do, if it is awake here and has nothing to do.
    pub idle: Option<Duration>,
    /// Whether it has ever had due work, such as an alarm, in its newest history line.
    pub due_work: bool,
    /// Another process that keeps the file of its database from being written, see
    /// [`Store::holder`](stockade_depot::Store::holder).
    pub held_by: Option<Holder>,
    /// Faults that are armed for it on this host, with what is left of them.
    pub faults: Vec<Fault>,
}

impl ActorInfo {
    pub(super) fn of(
        state: ActorState,
        shared: &Shared,
        slot: Option<&SlotHandle>,
        standing: Option<Standing>,
    ) -> Self {
        let ActorState { row, head, handed_over } = state;
        let live = slot.and_then(SlotHandle::live).filter(|live| live.fence == head.fence);
        // A reserved generation that has not begun is no life yet: what ended is the one before it.
        let waits = live.is_none() && shared.reservations.is_waiting(&row.actor, &head);
        let sealed = head.sealed || waits;
        let generation = head.fence.generation;
        let generation = if waits { generation.previous() } else { generation };
        let open = standing.is_some_and(|standing| standing.open);
        // Of the life that the head names: the next one has not begun.
        let crashed = standing.is_some_and(|standing| match standing.end {
            PreviousEnd::Crashed | PreviousEnd::FirstCrash => true,
            PreviousEnd::Orderly | PreviousEnd::Neutral => false,
        });
        let status = if row.wanted == Wanted::Destroying {
            ActorStatus::Destroying
        } else if sealed {
            ActorStatus::Asleep
        } else if live.is_some() {
            ActorStatus::Awake
        } else if shared.runs_elsewhere(&row.actor, &head).is_some() {
            ActorStatus::Elsewhere
        } else if open {
            ActorStatus::CrashLooping
        } else if shared.is_ours_or_nobodys(&head) && slot.is_some() && !crashed {
            // It starts or ends.
            ActorStatus::Awake
        } else {
            ActorStatus::Asleep
        };
        let may_start = !matches!(status, ActorStatus::Awake | ActorStatus::Elsewhere);
        let next_attempt = standing.filter(|_| may_start).and_then(|it| it.wait(Instant::now()));
        Self {
            db: row.db,
            component: row.component,
            generation,
            txid: head.txid,
            page_count: head.page_count,
            bytes: u64::from(head.page_count.0) * PAGE_SIZE as u64,
            status,
            restarts: standing.map_or(0, |standing| standing.crashes),
            next_attempt,
            sealed,
            handed_over,
            started_from: live.and_then(|live| live.started_from),
            last_exit: shared
                .exits
                .of(&row.actor)
                .filter(|exit| exit.db == row.db)
                .map(ExitInfo::from),
            idle: slot.and_then(SlotHandle::idle_since).map(|since| since.elapsed()),
            due_work: head.due_work,
            held_by: shared.depot.store().holder(row.db.shard()),
            faults: shared
                .faulting
                .as_ref()
                .map(|store| store.faults().of(row.db))
                .unwrap_or_default(),
            actor: row.actor,
        }
    }
}

/// How a generation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExitInfo {
    /// Which life.
    pub generation: Generation,
    /// Why.
    pub reason: Reason,
    /// What became of its in-memory state.
    pub snapshot: SnapshotOutcome,
    /// Whether the store accepted the seal.
    pub sealed: bool,
    /// What else there is to know.
    pub message: Option<String>,
    /// How the instance died, if it did: with the guest's last words.
    pub crash: Option<Arc<Crash>>,
}

impl From<Exit> for ExitInfo {
    fn from(exit: Exit) -> Self {
        let Exit { generation, reason, snapshot, sealed, message, crash, .. } = exit;
        Self { generation, reason, snapshot, sealed, message, crash }
    }
}

/// An operator's statements.
#[derive(Clone, Debug, Default)]
pub struct SqlRequest {
    /// One or more, separated by semicolons.
    pub sql: String,
    /// Parameters of the last one.
    pub parameters: Vec<Value>,
    /// Whether they may write.
    pub write: bool,
    /// Most rows in the answer; the host's own bound holds too.
    pub rows_max: Option<u64>,
}

/// The answer to an operator's statements.
#[derive(Clone, Debug)]
pub struct SqlReply {
    /// Names of the columns of the last statement.
    pub columns: Vec<String>,
    /// Its rows.
    pub rows: Vec<Vec<Value>>,
    /// Rows changed by all statements.
    pub changes: u64,
    /// Whether rows were left out.
    pub more: bool,
    /// The life that answered.
    pub generation: Generation,
    /// The newest durable commit when the answer left.
    pub txid: Txid,
}

impl SqlReply {
    pub(super) fn of(heard: Heard<OperatorRows>) -> Self {
        let Heard { value, generation, txid, .. } = heard;
        let OperatorRows { columns, rows, changes, more } = value;
        Self { columns, rows, changes, more, generation, txid }
    }
}

/// How a shutdown went.
#[derive(Clone, Copy, Debug)]
pub struct ShutdownReport {
    /// Whether every generation ended in order before the deadline, the store let go of the host in
    /// time, and none of its files had failed.
    pub orderly: bool,
    /// Generations that had not ended then and were given up: their heads are unsealed, and the
    /// next call of each takes it over. Nothing that was acknowledged is lost.
    pub unfinished: usize,
    /// How long it took.
    pub took: Duration,
}
