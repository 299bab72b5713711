//! The store seam: few, coarse, fenced steps, each atomic in the engine underneath.
//!
//! The fence is a condition *inside* a step, never a check beside it. What a store must do is
//! stated as tests in the contract suite, which runs on every store.

pub mod check;
pub mod embedded;
pub mod layer;
pub mod limits;
mod sql;

pub use check::{CheckAt, Checked, Finding, Repair};
pub use limits::{LIST_ROWS_MAX, READ_PAGES_MAX};

/// How the names of pins begin that forks hold. A database with one cannot be destroyed.
pub const FORK_PIN_PREFIX: &str = "fork/";

use std::fmt;
use std::path::PathBuf;

use async_trait::async_trait;

use crate::error::{StoreError, StoreFailure, StoreFull};
use crate::fence::{Fence, Head, Origin};
use crate::id::{
    ActorId, DbId, Digest, Generation, NodeSession, PageCount, Pgno, Shard, StageId, Token, Txid,
};
use crate::page::PageBytes;

/// What the directory knows about an actor. It says what exists, not who runs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActorRow {
    /// Its name.
    pub actor: ActorId,
    /// Its database.
    pub db: DbId,
    /// The component that its last generation ran.
    pub component: Digest,
    /// What the operator wants of it.
    pub wanted: Wanted,
    /// Ends by trap in a row, as counted by takeovers: since the last orderly end, reset, new
    /// component or generation that had worked well.
    pub restarts: u32,
}

/// What the operator wants of an actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// It may run.
    Present,
    /// It is being destroyed: calls and creation are refused until it is gone.
    Destroying,
}

/// An actor with the head of its database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActorState {
    /// The directory's row.
    pub row: ActorRow,
    /// The database's head.
    pub head: Head,
    /// The generation whose snapshot the store keeps, if it keeps one. A sealed head of another
    /// generation was sealed without one.
    pub handed_over: Option<Generation>,
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

/// What became of a create.
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

/// What became of a takeover.
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
        /// Whether earlier generations have left stages behind: see [`Store::collect_stages`].
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

/// One page as the store has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageVersion {
    /// Which page.
    pub pgno: Pgno,
    /// The commit that wrote it.
    pub txid: Txid,
    /// Its bytes, checksum verified.
    pub bytes: PageBytes,
}

/// The answer to a fenced read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PagesRead {
    /// The head's txid when the pages were read.
    pub head_txid: Txid,
    /// The pages in the order asked for.
    pub pages: Vec<PageVersion>,
}

/// Moves the head from (generation, token, txid) to txid + 1.
#[derive(Clone, Debug)]
pub struct CommitStep {
    /// The owner.
    pub fence: Fence,
    /// The owner's process: an heir is claimed by what it commits.
    pub owner: NodeSession,
    /// The head's txid before this step.
    pub base: Txid,
    /// Pages after this step. Cut-off pages never come back.
    pub page_count: PageCount,
    /// Changed pages, ascending, each once, and every page between the old and the new count. What
    /// was staged comes before them.
    pub pages: Vec<(Pgno, PageBytes)>,
    /// The pages of this commit that are in the store already.
    pub staged: Option<Staged>,
    /// Hash over (previous chain, this commit): see [`crate::chain`].
    pub chain: [u8; 32],
    /// Hash over this commit alone: tells a resend from another commit.
    pub content: [u8; 32],
}

/// Pages of a commit that were written before it, by [`Store::stage`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Staged {
    /// What their rows are marked with.
    pub stage: StageId,
    /// How many there are.
    pub pages: u64,
}

/// Writes rows of the coming commit. Nobody sees them before that commit names their stage.
#[derive(Clone, Debug)]
pub struct StageStep {
    /// The owner.
    pub fence: Fence,
    /// The head's txid, which staging does not move.
    pub base: Txid,
    /// Random value of this attempt.
    pub stage: StageId,
    /// Counts the steps of the stage from 1, so that one that comes twice is written once.
    pub chunk: u64,
    /// At least one page, ascending, above those of the chunk before.
    pub pages: Vec<(Pgno, PageBytes)>,
}

/// Progress of collecting what large commits left behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Rows deleted by this step.
    pub rows: u64,
    /// Rows remain: send the step again.
    pub more: bool,
}

/// The last step of a generation. After it, every step of that generation is refused.
///
/// With an `heir` it is the takeover of the next generation as well: the head then names that one,
/// unsealed, with [`NodeSession::NOBODY`] for its process. Who knows the token may begin it, once,
/// without another step; anyone else may take it over, like any other head without an owner.
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
    /// The token of the next generation. Only without a snapshot, which is for whoever takes over;
    /// where stages are left to collect the store seals without it.
    pub heir: Option<Token>,
}

/// A row of the commit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitRow {
    /// Its number.
    pub txid: Txid,
    /// Who made it.
    pub generation: Generation,
    /// Pages after it.
    pub page_count: PageCount,
    /// Hash over its own contents.
    pub content: [u8; 32],
    /// Hash over the history up to it.
    pub chain: [u8; 32],
    /// When the store wrote it: milliseconds since the Unix epoch, rising within a database.
    pub time_ms: u64,
}

/// Progress of a destroy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destroyed {
    /// Rows remain: send the step again.
    More {
        /// Rows deleted by this step.
        rows: u64,
    },
    /// Head and directory row are gone: nothing of the actor is left.
    Gone,
}

/// What retention keeps of a database's history. A state older than both bounds may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Commits below the newest one.
    pub commits_min: u64,
    /// Milliseconds for which a state stays readable after it was replaced. The store keeps at
    /// least [`limits::COMMIT_ROWS_MS_MIN`].
    pub age_ms_min: u64,
}

/// How much history a database has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    /// The newest commit.
    pub head: Txid,
    /// The oldest state that can be read.
    pub floor: Txid,
    /// The oldest commit row. Below the floor: there is something to trim.
    pub oldest: Txid,
}

/// A page version that nobody can read any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Superseded {
    /// Whose it is.
    pub db: DbId,
    /// Where the store keeps it. What lies close together costs least if it is deleted together.
    pub place: i64,
}

/// What a look for superseded page versions has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// Rows looked at, at most.
    pub looked: u64,
    /// What may go.
    pub superseded: Vec<Superseded>,
    /// The last row that was looked at; `None`: there is nothing after it.
    pub next: Option<(Pgno, Txid)>,
}

/// Progress of emptying an import that starts over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Emptied {
    /// Rows remain: send the step again.
    More,
    /// The head is that of an empty database.
    Done,
}

/// A kind: which component answers to a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KindRow {
    /// Its name.
    pub kind: String,
    /// The component that new generations run.
    pub component: Digest,
    /// Settings, as the host wrote them (JSON).
    pub manifest: String,
    /// How often it was deployed; a change tells hosts to end old generations.
    pub version: u64,
}

/// A registered process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRow {
    /// Its life.
    pub session: NodeSession,
    /// Where it is reached.
    pub address: String,
    /// Moves with each of its signs of life.
    pub counter: u64,
    /// What runs there; `None`: a program that does not tell.
    pub process: Option<NodeProcess>,
}

/// What a registered process runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeProcess {
    /// Its number on its machine.
    pub pid: u32,
    /// The program's version.
    pub version: String,
    /// The oldest and the newest format of a store that it serves.
    pub formats: (i32, i32),
}

/// Another process that has kept a file of a store for itself, so that nobody else can write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The file.
    pub file: PathBuf,
    /// The process's number on this machine.
    pub pid: u32,
    /// Where it is reached, if it is registered and tells its number.
    pub address: Option<String>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is locked by process {}", self.file.display(), self.pid)?;
        self.address.as_ref().map_or(Ok(()), |address| write!(f, ", at {address}"))
    }
}

/// How many actors of a kind a part of a shard has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// So many.
    pub actors: u64,
    /// Pages of their databases.
    pub pages: u64,
    /// The key to go on after; `None`: there is nothing after it.
    pub next: Option<String>,
}

/// Called once, on a thread of the store's, when a step is durable: it must not block.
pub type Durable = Box<dyn FnOnce() + Send>;

/// The engine under the depot.
///
/// Every method is one atomic step. Fenced steps compare (generation, token) of a head that is not
/// sealed, and fail with [`StoreError::Fenced`] otherwise, having done nothing.
/// When a method returns `Ok`, what it wrote is durable; reads never return a row that a failure
/// within the store's promise can take back.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// How many shards the store has. Fixed when the store is made.
    fn shards(&self) -> u8;
    /// Whether a read crosses a network, so that many pages in one answer cost about as much as one.
    /// Asked at each takeover, to decide whether to read ahead.
    fn reads_are_remote(&self) -> bool {
        false
    }

    // --- ownership ---------------------------------------------------------------------------

    /// Makes directory row and head, or tells that the actor exists. Of all steps it alone must not
    /// be applied a second time for once that it was sent: after a destroy it would bring the id of
    /// a destroyed database back.
    async fn create(&self, step: CreateStep) -> Result<Created, StoreError>;
    /// Directory row and head of an actor, read in one statement. `None`: no such actor.
    async fn actor(&self, actor: &ActorId) -> Result<Option<ActorState>, StoreError>;
    /// Raises the generation if the head is what `replaces` says. Works on sealed heads as well.
    /// Reads no pages: a preload is a second statement. `DatabaseMissing` also if the directory
    /// gives the actor another database. A mark `Destroying` stays, whoever takes over.
    async fn take_over(&self, step: TakeoverStep) -> Result<TakenOver, StoreError>;
    /// For each fence whether it is still the owner's: `Ok`, or the mismatch, in the order given.
    /// One read per shard; a shard that cannot be read fails its own fences only.
    async fn confirm(&self, fences: &[Fence]) -> Result<Vec<Result<(), StoreError>>, StoreError>;
    /// The last step of a generation. The head is sealed, or that of the heir.
    async fn seal(&self, step: SealStep) -> Result<Head, StoreError>;
    /// Writes `owner` into the heads of heirs that it has begun, so that others ask whether it lives
    /// before they take over. A fence that does not hold any more is left out, without an error, and
    /// one that is claimed already stays so. A shard that cannot be written fails the whole, when all
    /// others were written.
    async fn claim(&self, owner: NodeSession, heirs: &[Fence]) -> Result<(), StoreError>;

    // --- pages and commits -------------------------------------------------------------------

    /// Pages as of `at`, at most [`READ_PAGES_MAX`], fence checked in the statement that returns
    /// them. A page without a visible row is `Corrupt`: callers ask only within the page count. A
    /// head below `at` is `Fenced`: the store has lost what the owner has seen.
    /// On the embedded store the future is ready at once.
    async fn read(&self, fence: Fence, at: Txid, pages: &[Pgno]) -> Result<PagesRead, StoreError>;
    /// Writes pages of the coming commit under a stage, in ascending chunks, with no other commit
    /// in flight. `Fenced` also if the txid is not `base`. A chunk that was written before is `Ok`
    /// and changes nothing; `Corrupt`, having done nothing, if it does not follow the one before.
    async fn stage(&self, step: StageStep) -> Result<(), StoreError>;
    /// Deletes some rows of stages that earlier generations left behind, in one bounded fenced
    /// step. Such rows are invisible for ever, so nothing waits for this. Where nothing is left it
    /// may answer without looking at the fence.
    async fn collect_stages(&self, fence: Fence) -> Result<Collected, StoreError>;
    /// Moves the head by one commit. `Fenced` also if the txid is not `base`. `Corrupt`, having
    /// done nothing, if the pages are malformed or would leave a hole, or if what was staged is not
    /// what the step says.
    async fn commit(&self, step: CommitStep) -> Result<(), StoreError>;
    /// [`Store::commit`], for whoever wants to know sooner: a store whose own thread sees the step
    /// become durable calls `durable` there, before this is `Ok`. Of any other end it tells
    /// nothing. A store without such a thread, and whatever lies in front of one, never calls it.
    async fn commit_and_tell(&self, step: CommitStep, durable: Durable) -> Result<(), StoreError> {
        drop(durable);
        self.commit(step).await
    }
    /// Head and the commit row `txid`, read in one statement: what became of a commit.
    async fn verdict(
        &self,
        db: DbId,
        txid: Txid,
    ) -> Result<(Option<Head>, Option<CommitRow>), StoreError>;

    // --- history, without a fence: versions are immutable --------------------------------------
    // A state below the floor is `HistoryGone`, checked in the snapshot of each read.

    /// Pages as of `at` with `pgno >= from`, ascending, at most `max` (bounded by
    /// [`READ_PAGES_MAX`]), for export and verify.
    async fn read_at(
        &self,
        db: DbId,
        at: Txid,
        from: Pgno,
        max: usize,
    ) -> Result<Vec<PageVersion>, StoreError>;
    /// Commit rows with `txid > after`, ascending, at most `max` (bounded by [`LIST_ROWS_MAX`]).
    async fn commits(
        &self,
        db: DbId,
        after: Txid,
        max: usize,
    ) -> Result<Vec<CommitRow>, StoreError>;
    /// Pages with `pgno > after` that commit `txid` wrote, ascending, at most `max` (bounded by
    /// [`READ_PAGES_MAX`]): what its hashes are made of.
    async fn commit_pages(
        &self,
        db: DbId,
        txid: Txid,
        after: Pgno,
        max: usize,
    ) -> Result<Vec<PageVersion>, StoreError>;

    // --- retention, without a fence: each step carries its own condition -------------------------
    // Any process may send any of these at any time, again or at once.

    /// How much history there is. `None`: no such database.
    async fn history(&self, db: DbId) -> Result<Option<History>, StoreError>;
    /// Raises the floor as far as `keep` allows, by at most [`limits::FLOOR_COMMITS_MAX`] commits:
    /// never above the head or the oldest pin. Age is the time for which the store, as this process
    /// has it open, has known a commit: no label and no clock of another machine shortens it.
    async fn raise_floor(&self, db: DbId, keep: Keep) -> Result<History, StoreError>;
    /// What a committed row at or below the floor supersedes, or what lies beyond the page count as
    /// of the floor, among the next [`limits::TRIM_ROWS_MAX`] page versions after `after`.
    async fn superseded(&self, db: DbId, after: (Pgno, Txid)) -> Result<Look, StoreError>;
    /// Deletes those of `rows` that are superseded still; all of them are of one shard. How many.
    async fn trim_pages(&self, rows: Vec<Superseded>) -> Result<u64, StoreError>;
    /// Deletes at most [`limits::TRIM_ROWS_MAX`] commit rows below `below` and the floor, oldest
    /// first. How many. They tell what is left to do, so they go when all page versions have gone.
    async fn trim_commits(&self, db: DbId, below: Txid) -> Result<u64, StoreError>;
    /// Keeps the floor at or below `txid`. `HistoryGone` if it is above already, `NoCommit` above
    /// the head, `DatabaseMissing` also while it is being destroyed or imported. Twice is once.
    async fn pin(&self, db: DbId, txid: Txid, name: &str) -> Result<(), StoreError>;
    /// Removes a pin. One that is not there is no error.
    async fn unpin(&self, db: DbId, txid: Txid, name: &str) -> Result<(), StoreError>;

    // --- import: every step is conditional on the origin `Importing` -----------------------------

    /// [`Store::take_over`] of a head of origin `Importing`; any other head is `Moved`, untouched.
    async fn take_over_import(&self, step: TakeoverStep) -> Result<TakenOver, StoreError>;
    /// Deletes some of what an interrupted import left, in one bounded fenced step; the last one
    /// makes the head that of an empty database. `Fenced` if the origin is another.
    async fn empty_import(&self, fence: Fence) -> Result<Emptied, StoreError>;
    /// The last step of an import: `Imported`, sealed, and its floor at its head. `Fenced` also if
    /// the head is not at `base` or its origin is another.
    async fn finish_import(&self, fence: Fence, base: Txid) -> Result<Head, StoreError>;

    // --- directory ---------------------------------------------------------------------------

    /// Actors of `kind` (all kinds if `None`) after `after` in (kind, key) order, at most `max`
    /// (bounded by [`LIST_ROWS_MAX`]).
    async fn actors(
        &self,
        kind: Option<&str>,
        after: Option<&ActorId>,
        max: usize,
    ) -> Result<Vec<ActorState>, StoreError>;
    /// Counts the actors of a kind in one shard with a key after `after`, at most
    /// [`limits::COUNT_ROWS_MAX`]. What is on its way is not counted.
    async fn count(&self, kind: &str, shard: Shard, after: &str) -> Result<Counted, StoreError>;
    /// Actors that are being destroyed, at most `max` (bounded by [`LIST_ROWS_MAX`]). Cheap, however
    /// many actors there are.
    async fn destroying(&self, max: usize) -> Result<Vec<ActorState>, StoreError>;
    /// Deletes some rows of an actor that this fence owns and that is `Destroying`, in one bounded
    /// fenced step; head and directory row go last, together. `Unavailable` if it is not marked,
    /// `HasForks` (as for the takeover that marks it) if another database has it as its base.
    async fn destroy(&self, actor: &ActorId, fence: Fence) -> Result<Destroyed, StoreError>;
    /// Rows that the store still has for a database, over all tables. After a destroy: 0.
    async fn rows_of(&self, db: DbId) -> Result<u64, StoreError>;

    // --- global, never part of a fenced step ---------------------------------------------------

    /// Keeps a component. Writing the same digest again changes nothing.
    async fn put_component(&self, digest: Digest, wasm: Vec<u8>) -> Result<(), StoreError>;
    /// A component's bytes, digest verified.
    async fn component(&self, digest: Digest) -> Result<Option<Vec<u8>>, StoreError>;
    /// Points a kind at a component; returns the row with its new version.
    async fn put_kind(
        &self,
        kind: &str,
        component: Digest,
        manifest: &str,
    ) -> Result<KindRow, StoreError>;
    /// One kind.
    async fn kind(&self, kind: &str) -> Result<Option<KindRow>, StoreError>;
    /// Kinds with a name after `after`, by name, at most `max` (bounded by [`LIST_ROWS_MAX`]).
    async fn kinds(&self, after: Option<&str>, max: usize) -> Result<Vec<KindRow>, StoreError>;
    /// Removes a kind; its component stays. Whether there was one. Its version begins anew if it is
    /// put again.
    async fn remove_kind(&self, kind: &str) -> Result<bool, StoreError>;
    /// Registers this process with its address, or moves its counter up: the sign of life that peers
    /// watch.
    async fn node_beat(&self, session: NodeSession, address: &str) -> Result<(), StoreError>;
    /// Registered processes.
    async fn nodes(&self) -> Result<Vec<NodeRow>, StoreError>;
    /// Removes a process that has ended.
    async fn node_gone(&self, session: NodeSession) -> Result<(), StoreError>;

    // --- the store's check of itself -----------------------------------------------------------

    /// Looks at a bounded part of what the store keeps outside the histories of its databases, and
    /// says what is wrong. Damage is no error and ends nothing: the answer tells where to go on.
    /// Runs beside traffic; begin with `CheckAt::default()`.
    ///
    /// # Errors
    /// The store does not answer at all.
    async fn check(&self, at: CheckAt) -> Result<Checked, StoreError> {
        let _ = at;
        Ok(Checked::default())
    }

    // --- health ------------------------------------------------------------------------------

    /// Resolves once a part of the store is given up, with the first one: see
    /// [`StoreError::Failed`]. Whoever stands on the store ends then, so that another process, or
    /// the next start, serves what this one cannot. A store that gives nothing up never resolves.
    async fn failed(&self) -> StoreFailure {
        std::future::pending().await
    }
    /// Why guests' writes are refused now: see [`StoreError::Full`]. `None`: they are not. Asks
    /// nobody.
    fn full(&self) -> Option<StoreFull> {
        None
    }

    /// Another process that keeps a shard for itself: the last step that had to be written there was
    /// refused because of it. `None`: nobody is known to. Asks nobody.
    fn holder(&self, shard: Shard) -> Option<Holder> {
        let _ = shard;
        None
    }

    /// Finishes what was accepted, checkpoints, and refuses everything after: `Closed`.
    async fn close(&self);
}
