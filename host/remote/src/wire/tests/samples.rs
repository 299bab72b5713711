//! A value, or more, for each message of the protocol.

use std::fmt::Debug;

use bytes::Bytes;
use prost::Message;
use stockade_depot::fence::Start;
use stockade_depot::store::{
    ActorRow, ActorState, CheckAt, Checked, Collected, CommitRow, CommitStep, Counted, CreateStep,
    Created, Destroyed, Due, DueActor, DueLook, DuePage, Emptied, Finding, History, Keep, KindRow,
    Look, NodeBeat, NodeLoad, NodeProcess, NodeProgram, NodeRow, PageVersion, PagesRead,
    PreviousEnd, SealStep, Snapshot, StageStep, Staged, Superseded, TakenOver, TakeoverStep,
    Wanted,
};
use stockade_depot::{
    ActorId, DbId, Digest, FailureCause, Fence, Generation, Head, HeadFenceMismatch, Limit,
    NameHash, NodeSession, Origin, PAGE_SIZE, PageCount, Pgno, Shard, StageId, StoreError,
    StoreFailure, StoreFull, Token, Txid,
};

use crate::handshake::{NEWEST_VERSION, Terms};
use crate::proto;
use crate::wire::{Malformed, Wire};

const DB: DbId = DbId([1; 16]);
const TOKEN: Token = Token([2; 16]);
const NODE: NodeSession = NodeSession([3; 16]);
const DIGEST: Digest = Digest([4; 32]);

pub(super) fn fence() -> Fence {
    Fence { db: DB, generation: Generation(5), token: TOKEN }
}

fn actor() -> ActorId {
    ActorId::new("ledger", "a").unwrap()
}

pub(super) fn head() -> Head {
    Head {
        fence: fence(),
        owner: NODE,
        txid: Txid(6),
        page_count: PageCount(7),
        chain: [8; 32],
        sealed: false,
        origin: Origin::Imported,
        floor: Txid(0),
        base: Some((DbId([9; 16]), Txid(10))),
        name: NameHash([11; 16]),
        start: Start::Name,
        due_work: false,
    }
}

fn state() -> ActorState {
    let row = ActorRow {
        actor: actor(),
        db: DB,
        component: DIGEST,
        wanted: Wanted::Destroying,
        restarts: 0,
    };
    ActorState { row, head: head(), handed_over: Some(Generation(4)) }
}

fn row() -> CommitRow {
    CommitRow {
        txid: Txid(6),
        generation: Generation(5),
        page_count: PageCount(7),
        content: [12; 32],
        chain: [8; 32],
        time_ms: 13,
    }
}

pub(super) fn page() -> PageVersion {
    PageVersion { pgno: Pgno(1), txid: Txid(6), bytes: Bytes::from(vec![0; PAGE_SIZE]) }
}

fn kind() -> KindRow {
    KindRow { kind: "ledger".into(), component: DIGEST, manifest: "{}".into(), version: 2 }
}

fn node() -> NodeRow {
    NodeRow {
        session: NODE,
        address: "here:1".into(),
        counter: 3,
        process: Some(NodeProcess { pid: 4, version: "0.2.0".into(), formats: (1, 2) }),
        peers: Some("here:2".into()),
        draining: true,
        load: Some(NodeLoad { awake: 1, ..NodeLoad::default() }),
    }
}

fn takeover() -> TakeoverStep {
    TakeoverStep {
        actor: actor(),
        db: DB,
        replaces: (Generation(5), TOKEN),
        token: Token([14; 16]),
        owner: NODE,
        component: DIGEST,
        previous_end: PreviousEnd::FirstCrash,
        destroying: true,
    }
}

fn superseded() -> Superseded {
    Superseded { db: DB, place: -1 }
}

fn check_at() -> CheckAt {
    CheckAt { part: 1, after: vec!["a".into()] }
}

fn mismatch() -> HeadFenceMismatch {
    HeadFenceMismatch {
        db: DB,
        expected: (Generation(5), TOKEN),
        expected_txid: Txid(6),
        actual: (Generation(6), Token([14; 16])),
        actual_txid: Txid(7),
        sealed: true,
    }
}

/// Every error of a store.
pub(super) fn errors() -> Vec<StoreError> {
    let failed = |cause| StoreError::Failed(StoreFailure { file: "store/0.db".into(), cause });
    let limits = [
        Limit::CommitBytes,
        Limit::PagesPerRead,
        Limit::DatabasePages,
        Limit::SnapshotBytes,
        Limit::ComponentBytes,
        Limit::ManifestBytes,
        Limit::PinNameBytes,
    ];
    let refused = limits.map(|limit| StoreError::Refused { limit, actual: 2, max: 1 });
    let mut all = vec![
        StoreError::Fenced(mismatch()),
        StoreError::DatabaseMissing(DB),
        StoreError::Unavailable("away".into()),
        StoreError::Unknown("lost".into()),
        StoreError::Corrupt("damaged".into()),
        StoreError::HistoryGone { db: DB, txid: Txid(0), floor: Txid(2) },
        StoreError::NoCommit { db: DB, txid: Txid(9) },
        StoreError::HasForks(DB),
        StoreError::Full(StoreFull { path: "store".into(), free_bytes: 0 }),
        failed(FailureCause::Commit("c".into())),
        failed(FailureCause::Checkpoint("c".into())),
        failed(FailureCause::Io("c".into())),
        failed(FailureCause::Removed("p".into())),
        failed(FailureCause::Replaced("p".into())),
        StoreError::Closed,
    ];
    all.extend(refused);
    all.extend([
        StoreError::Elsewhere { shard: Shard(255), primary: None },
        StoreError::Elsewhere { shard: Shard(7), primary: Some("b".into()) },
    ]);
    all
}

fn staged() -> Staged {
    Staged { stage: StageId([15; 16]), pages: 2 }
}

fn pages() -> Vec<(Pgno, Bytes)> {
    vec![(Pgno(1), Bytes::from_static(b"page"))]
}

fn create() -> CreateStep {
    CreateStep {
        actor: actor(),
        db: DB,
        token: TOKEN,
        owner: NODE,
        component: DIGEST,
        origin: Origin::Importing,
    }
}

fn seal() -> SealStep {
    SealStep {
        fence: fence(),
        base: Txid(6),
        snapshot: Some(Vec::new()),
        component: DIGEST,
        heir: Some(TOKEN),
    }
}

fn commit() -> CommitStep {
    CommitStep {
        fence: fence(),
        owner: NODE,
        base: Txid(0),
        page_count: PageCount(3),
        pages: pages(),
        staged: Some(staged()),
        chain: [8; 32],
        content: [12; 32],
        due: Due::Untouched,
    }
}

fn due_look() -> DueLook {
    let shards = vec![Shard(0), Shard(255)];
    DueLook { shards, until: -1, after: Some((0, actor())), limit: 5 }
}

fn stage() -> StageStep {
    let (stage, pages) = (staged().stage, pages());
    StageStep { fence: fence(), base: Txid(6), stage, chunk: 1, pages }
}

/// A message under its name, and what reads it again.
pub(super) struct Sample {
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
    pub(super) value: String,
    pub(super) read: fn(&[u8]) -> String,
}

/// A value that crosses as the message `M`, and must come back as it was.
fn of<M: Message + Default, T: Wire<M> + Debug + Clone>(name: &str, value: &T) -> Sample {
    Sample {
        name: name.into(),
        bytes: value.clone().put().encode_to_vec(),
        value: format!("{value:?}"),
        read: |bytes| match M::decode(bytes).map_err(|_| Malformed::Message).and_then(T::take) {
            Ok(value) => format!("{value:?}"),
            Err(malformed) => malformed.to_string(),
        },
    }
}

/// A message that is no value of the depot.
fn raw<M: Message + Default + Debug>(name: &str, message: &M) -> Sample {
    Sample {
        name: name.into(),
        bytes: message.encode_to_vec(),
        value: format!("{message:?}"),
        read: |bytes| M::decode(bytes).map_or_else(|error| error.to_string(), |m| format!("{m:?}")),
    }
}

macro_rules! raws {
    ($($name:ident { $($fields:tt)* })*) => {
        vec![$(raw(stringify!($name), &proto::$name { $($fields)* })),*]
    };
}

pub(super) fn greetings() -> Vec<Sample> {
    let terms = || Some(Terms { program: "0.2.0".into(), ..Terms::ours() }.put());
    let refusal = proto::Refusal { code: 2, reason: "no".into() };
    let (version, shards) = (Some(NEWEST_VERSION), Some(16));
    let accepted = proto::Accepted { version, terms: terms(), shards };
    let mut all = raws! {
        Terms { ..terms().unwrap() }
        Hello { terms: terms(), token: Some("0123456789abcdef".into()) }
        Accepted { ..accepted.clone() }
        Refusal { ..refusal.clone() }
        Welcome { answer: Some(proto::welcome::Answer::Accepted(accepted)) }
        RequestHead { version: Some(2), step: 10, bytes: Some(3), wait_ms: Some(4) }
        ReplyHead {
            bytes: Some(3),
            failed: Some(true),
            full: Some(proto::StoreFull { path: "s".into(), free_bytes: Some(0) }),
        }
    };
    let request = proto::RequestHead { version: Some(2), step: 10, bytes: Some(3), wait_ms: None };
    let reply = proto::ReplyHead { bytes: Some(3), failed: Some(false), full: None };
    all.extend(raws! {
        RequestPart { head: Some(request), data: Bytes::from_static(b"abc") }
        ReplyPart { head: Some(reply), data: Bytes::from_static(b"abc") }
        Done {}
    });
    all
}

/// What is kept, and what steps are made of.
pub(super) fn values() -> Vec<Sample> {
    let beat = NodeBeat {
        address: "here:1".into(),
        peers: Some("here:2".into()),
        draining: false,
        load: NodeLoad::default(),
        program: Some(NodeProgram { pid: 4, version: "0.2.0".into() }),
    };
    let finding = Finding {
        file: Some("0.db".into()),
        table: Some("head".into()),
        actor: Some(actor()),
        what: "damaged".into(),
    };
    let snapshot =
        Snapshot { generation: Generation(5), txid: Txid(6), component: DIGEST, state: Vec::new() };
    let owned = TakenOver::Owned {
        head: head(),
        restarts: 1,
        snapshot: Some(snapshot.clone()),
        leftovers: true,
    };
    let checked = Checked {
        what: "shard 0".into(),
        done: 1,
        total: 2,
        findings: vec![finding.clone()],
        accepted: vec![Finding::default()],
        actors: vec![(actor(), DB)],
        kinds: vec![kind()],
        next: Some(check_at()),
    };
    let pages_read = PagesRead { head_txid: Txid(6), pages: vec![page()] };
    let look = Look { looked: 3, superseded: vec![superseded()], next: Some((Pgno(1), Txid(2))) };
    let history = History { head: Txid(6), floor: Txid(0), oldest: Txid(1) };
    let mut all = vec![
        of::<proto::ActorId, _>("ActorId", &actor()),
        of::<proto::Fence, _>("Fence", &fence()),
        of::<proto::Owner, _>("Owner", &(Generation(5), TOKEN)),
        of::<proto::Base, _>("Base", &(DB, Txid(6))),
        of::<proto::Head, _>("Head", &head()),
        of::<proto::Head, _>("Head.due", &Head { due_work: true, ..head() }),
        of::<proto::ActorRow, _>("ActorRow", &state().row),
        of::<proto::ActorState, _>("ActorState", &state()),
        of::<proto::PageVersion, _>("PageVersion", &page()),
        of::<proto::Page, _>("Page", &pages().remove(0)),
        of::<proto::CommitRow, _>("CommitRow", &row()),
        of::<proto::Snapshot, _>("Snapshot", &snapshot),
        of::<proto::VersionKey, _>("VersionKey", &(Pgno(1), Txid(2))),
        of::<proto::Superseded, _>("Superseded", &superseded()),
        of::<proto::KindRow, _>("KindRow", &kind()),
        of::<proto::NodeProgram, _>("NodeProgram", &beat.program.clone().unwrap()),
        of::<proto::NodeProcess, _>("NodeProcess", &node().process.unwrap()),
        of::<proto::NodeLoad, _>("NodeLoad", &node().load.unwrap()),
        of::<proto::NodeBeat, _>("NodeBeat", &beat),
        of::<proto::NodeRow, _>("NodeRow", &node()),
        of::<proto::CheckAt, _>("CheckAt", &check_at()),
        of::<proto::Finding, _>("Finding", &finding),
        of::<proto::ActorOf, _>("ActorOf", &(actor(), DB)),
        of::<proto::HeadFenceMismatch, _>("HeadFenceMismatch", &mismatch()),
        of::<proto::StoreFull, _>("StoreFull", &StoreFull { path: "s".into(), free_bytes: 1 }),
        of::<proto::Staged, _>("Staged", &staged()),
        of::<proto::Keep, _>("Keep", &Keep { commits_min: 1, age_ms_min: 2 }),
        of::<proto::TakeoverStep, _>("TakeoverStep", &takeover()),
        of::<proto::Created, _>("Created", &Created::Made(head())),
        of::<proto::Created, _>("Created.exists", &Created::Exists(state())),
        of::<proto::TakenOver, _>("TakenOver", &owned),
        of::<proto::TakenOver, _>("TakenOver.moved", &TakenOver::Moved(head())),
        of::<proto::Confirmed, Vec<_>>("Confirmed", &vec![Ok(()), Err(StoreError::Closed)]),
        of::<proto::Confirmation, _>("Confirmation", &Err(StoreError::Closed)),
        of::<proto::PagesRead, _>("PagesRead", &pages_read),
        of::<proto::PageList, _>("PageList", &vec![page()]),
        of::<proto::Collected, _>("Collected", &Collected { rows: 0, more: true }),
        of::<proto::Facts, (Option<_>, Option<_>)>("Facts", &(Some(head()), Some(row()))),
        of::<proto::Facts, (Option<_>, Option<_>)>(
            "Facts.none",
            &(None::<Head>, None::<CommitRow>),
        ),
        of::<proto::CommitList, _>("CommitList", &vec![row()]),
        of::<proto::HistoryRow, _>("HistoryRow", &history),
        of::<proto::HistoryFound, _>("HistoryFound", &Some(history)),
        of::<proto::Look, _>("Look", &look),
        of::<proto::Number, u64>("Number", &0),
        of::<proto::Flag, bool>("Flag", &false),
        of::<proto::Emptied, _>("Emptied", &Emptied::Done),
        of::<proto::Emptied, _>("Emptied.more", &Emptied::More),
        of::<proto::ActorFound, _>("ActorFound", &Some(state())),
        of::<proto::ActorList, _>("ActorList", &vec![state()]),
        of::<proto::Counted, _>(
            "Counted",
            &Counted { actors: 1, pages: 2, next: Some("a".into()) },
        ),
        of::<proto::Destroyed, _>("Destroyed", &Destroyed::Gone),
        of::<proto::Destroyed, _>("Destroyed.more", &Destroyed::More { rows: 3 }),
        of::<proto::ComponentFound, _>("ComponentFound", &Some(vec![1, 2])),
        of::<proto::KindFound, _>("KindFound", &Some(kind())),
        of::<proto::KindList, _>("KindList", &vec![kind()]),
        of::<proto::NodeList, _>("NodeList", &vec![node()]),
        of::<proto::Checked, _>("Checked", &checked),
        of::<proto::CreateStep, _>("CreateStep", &create()),
        of::<proto::SealStep, _>("SealStep", &seal()),
        of::<proto::CommitStep, _>("CommitStep", &commit()),
        of::<proto::StageStep, _>("StageStep", &stage()),
        of::<proto::CommitStep, _>("CommitStep.due", &CommitStep { due: Due::At(0), ..commit() }),
        of::<proto::CommitStep, _>(
            "CommitStep.nothing-due",
            &CommitStep { due: Due::Nothing, ..commit() },
        ),
        raw("NextDue", &proto::NextDue { at: Some(16) }),
        of::<proto::DueKey, _>("DueKey", &(17_i64, actor())),
        of::<proto::DueLook, _>("DueLook", &due_look()),
        of::<proto::DueActor, _>("DueActor", &DueActor { actor: actor(), db: DB, at: 17 }),
        of::<proto::DuePage, _>(
            "DuePage",
            &DuePage {
                rows: vec![DueActor { actor: actor(), db: DB, at: 17 }],
                now: 18,
                next: Some((17, actor())),
            },
        ),
    ];
    let numbered = errors().into_iter().enumerate();
    all.extend(
        numbered.map(|(n, error)| of::<proto::StoreError, _>(&format!("StoreError.{n}"), &error)),
    );
    all
}

/// What a step sends.
pub(super) fn steps() -> Vec<Sample> {
    let db = || DB.put();
    let fence = || Some(Wire::<proto::Fence>::put(fence()));
    let id = || Some(Wire::<proto::ActorId>::put(actor()));
    let taken = Some(Wire::<proto::TakeoverStep>::put(takeover()));
    let mut all = raws! {
        Create { step: Some(create().put()) }
        Actor { actor: id() }
        Seal { step: Some(seal().put()) }
        Stage { step: Some(stage().put()) }
        Commit { step: Some(commit().put()) }
        TakeOver { step: taken.clone() }
        TakeOverImport { step: taken }
        Confirm { fences: vec![fence().unwrap()] }
        Claim { owner: NODE.put(), heirs: vec![fence().unwrap()] }
        Read { fence: fence(), at: Some(6), pages: vec![1, 2] }
        CollectStages { fence: fence() }
        Verdict { db: db(), txid: Some(0) }
        ReadAt { db: db(), at: Some(6), from: Some(1), max: Some(256) }
        Commits { db: db(), after: Some(0), max: Some(1000) }
        CommitPages { db: db(), txid: Some(6), after: Some(0), max: Some(256) }
        History { db: db() }
        RaiseFloor { db: db(), keep: Some(proto::Keep { commits_min: Some(1), age_ms_min: Some(2) }) }
        SupersededStep { db: db(), after: Some(proto::VersionKey { pgno: Some(0), txid: Some(0) }) }
        TrimPages { rows: vec![superseded().put()] }
        TrimCommits { db: db(), below: Some(3) }
        Pin { db: db(), txid: Some(3), name: "p".into() }
        Unpin { db: db(), txid: Some(3), name: "p".into() }
        EmptyImport { fence: fence() }
        FinishImport { fence: fence(), base: Some(6) }
        Actors { kind: Some("ledger".into()), after: id(), max: Some(5) }
        Count { kind: "ledger".into(), shard: Some(1), after: String::new() }
        Destroying { max: Some(5) }
        Destroy { actor: id(), fence: fence() }
        RowsOf { db: db() }
        DueStep { look: Some(due_look().put()) }
        SettleDue { fence: fence(), at: Some(6), due: Some(16) }
    };
    all.extend(raws! {
        PutComponent { digest: DIGEST.put(), wasm: Some(Bytes::from_static(b"wasm")) }
        Component { digest: DIGEST.put() }
        PutKind { kind: "ledger".into(), component: DIGEST.put(), manifest: "{}".into() }
        Kind { kind: "ledger".into() }
        Kinds { after: Some("a".into()), max: Some(5) }
        RemoveKind { kind: "ledger".into() }
        NodeBeatStep { session: NODE.put(), beat: Some(NodeBeat::at("here:1").put()) }
        Nodes {}
        NodeGone { session: NODE.put() }
        Check { at: Some(check_at().put()) }
    });
    all
}
