//! The table of steps: for each its messages, whether it writes, and how long they may be. Client and
//! server are made from it, so neither knows a step that the other does not.
//!
//! `&str` is an argument that is lent, `?str` one that may be left out. `since` is the version without
//! which the client does not send the step. What stands after `with` is the client's own part of a
//! group.

use std::time::Duration;

use stockade_depot::StoreError;
use stockade_depot::broken::{Variant, is_off};

use crate::limits::{
    COMMIT_MESSAGE_BYTES_MAX, COMPONENT_DEADLINE, COMPONENT_MESSAGE_BYTES_MAX, MESSAGE_BYTES_MAX,
    READ_DEADLINE, SNAPSHOT_MESSAGE_BYTES_MAX, WRITE_DEADLINE,
};
use crate::proto::Step;

macro_rules! each_step {
    ($with:ident) => {
        $with! {
            Ownership {
                Create as Create = create(step: CreateStep) -> Created as Created [Write Fields];
                Actor as Actor = actor(actor: &ActorId) -> Option<ActorState> as ActorFound
                    [Read Fields];
                TakeOver as TakeOver = take_over(step: TakeoverStep) -> TakenOver as TakenOver
                    [Write State];
                Seal as Seal = seal(step: SealStep) -> Head as Head [Write State]
                    after check_snapshot(&step);
            } with {
                async fn confirm(&self, fences: &[Fence]) -> Result<Confirmed, StoreError> {
                    Ok(self.confirm_all(fences).await)
                }

                async fn claim(
                    &self,
                    owner: NodeSession,
                    heirs: &[Fence],
                ) -> Result<(), StoreError> {
                    self.claim_all(owner, heirs).await
                }
            }
            Pages {
                Read as Read = read(fence: Fence, at: Txid, pages: &[Pgno]) -> PagesRead
                    as PagesRead [Read Fields] after check_read(pages);
                Stage as Stage = stage(step: StageStep) -> () as Done [Write Pages]
                    after check_step_bytes(step.pages.len());
                CollectStages as CollectStages = collect_stages(fence: Fence) -> Collected
                    as Collected [Write Fields];
                Commit as Commit = commit(step: CommitStep) -> () as Done [Write Pages]
                    since(version_of(&step)) after check_commit(&step);
                Verdict as Verdict = verdict(db: DbId, txid: Txid)
                    -> (Option<Head>, Option<CommitRow>) as Facts [Read Fields];
            } with {}
            Versions {
                ReadAt as ReadAt = read_at(db: DbId, at: Txid, from: Pgno, max: usize)
                    -> Vec<PageVersion> as PageList [Read Fields];
                Commits as Commits = commits(db: DbId, after: Txid, max: usize) -> Vec<CommitRow>
                    as CommitList [Read Fields];
                CommitPages as CommitPages
                    = commit_pages(db: DbId, txid: Txid, after: Pgno, max: usize)
                    -> Vec<PageVersion> as PageList [Read Fields];
                History as History = history(db: DbId) -> Option<History> as HistoryFound
                    [Read Fields];
                RaiseFloor as RaiseFloor = raise_floor(db: DbId, keep: Keep) -> History
                    as HistoryRow [Write Fields];
                Superseded as SupersededStep = superseded(db: DbId, after: VersionKey) -> Look
                    as Look [Read Fields];
                TrimPages as TrimPages = trim_pages(rows: Vec<Superseded>) -> u64 as Number
                    [Write Fields];
                TrimCommits as TrimCommits = trim_commits(db: DbId, below: Txid) -> u64 as Number
                    [Write Fields];
                Pin as Pin = pin(db: DbId, txid: Txid, name: &str) -> () as Done [Write Fields]
                    after check_pin(name);
                Unpin as Unpin = unpin(db: DbId, txid: Txid, name: &str) -> () as Done
                    [Write Fields];
            } with {}
            Import {
                TakeOverImport as TakeOverImport = take_over_import(step: TakeoverStep)
                    -> TakenOver as TakenOver [Write State];
                EmptyImport as EmptyImport = empty_import(fence: Fence) -> Emptied as Emptied
                    [Write Fields];
                FinishImport as FinishImport = finish_import(fence: Fence, base: Txid) -> Head
                    as Head [Write Fields];
            } with {}
            Directory {
                Actors as Actors = actors(kind: ?str, after: ?ActorId, max: usize)
                    -> Vec<ActorState> as ActorList [Read Fields];
                Count as Count = count(kind: &str, shard: Shard, after: &str) -> Counted
                    as Counted [Read Fields];
                Destroying as Destroying = destroying(max: usize) -> Vec<ActorState> as ActorList
                    [Read Fields];
                Destroy as Destroy = destroy(actor: &ActorId, fence: Fence) -> Destroyed
                    as Destroyed [Write Fields];
                RowsOf as RowsOf = rows_of(db: DbId) -> u64 as Number [Read Fields];
            } with {}
            DueWork {
                Due as DueStep = due(look: DueLook) -> DuePage as DuePage [Read Fields]
                    since(DUE_SINCE);
                SettleDue as SettleDue
                    = settle_due(fence: Fence, at: Txid, due: Option<i64>) -> () as Done
                    [Write Fields] since(DUE_SINCE);
            } with {}
            Cluster {
                PutComponent as PutComponent = put_component(digest: Digest, wasm: Vec<u8>) -> ()
                    as Done [Write Component] after check_component(&wasm);
                Component as Component = component(digest: Digest) -> Option<Vec<u8>>
                    as ComponentFound [Read Component];
                PutKind as PutKind = put_kind(kind: &str, component: Digest, manifest: &str)
                    -> KindRow as KindRow [Write Fields] after check_manifest(manifest);
                Kind as Kind = kind(kind: &str) -> Option<KindRow> as KindFound [Read Fields];
                Kinds as Kinds = kinds(after: ?str, max: usize) -> Vec<KindRow> as KindList
                    [Read Fields];
                RemoveKind as RemoveKind = remove_kind(kind: &str) -> bool as Flag [Write Fields];
                Nodes as Nodes = nodes() -> Vec<NodeRow> as NodeList [Read Fields];
                NodeGone as NodeGone = node_gone(session: NodeSession) -> () as Done
                    [Write Fields];
            } with {
                async fn node_beat(
                    &self,
                    session: NodeSession,
                    beat: &NodeBeat,
                ) -> Result<(), StoreError> {
                    self.beat(session, beat).await
                }
            }
            Store {
                Check as Check = check(at: CheckAt) -> Checked as Checked [Read Fields];
            } with {
                fn shards(&self) -> u16 {
                    self.shards
                }

                fn reads_are_remote(&self) -> bool {
                    true
                }

                fn keeps_due_work(&self) -> bool {
                    self.exchange.version() >= DUE_SINCE
                }

                fn full(&self) -> Option<StoreFull> {
                    self.exchange.full()
                }

                async fn close(&self) {
                    self.exchange.close().await;
                }
            }
        }
    };
}

/// What a step is given of an argument, from the value that it was sent as.
macro_rules! lend {
    ($arg:ident: &$lent:tt) => {
        &$arg
    };
    ($arg:ident: ?$maybe:tt) => {
        $arg.as_ref().map(std::borrow::Borrow::<$maybe>::borrow)
    };
    ($arg:ident: $kept:ident) => {
        $arg
    };
}

pub(crate) use {each_step, lend};

/// Whether a step changes the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Read,
    Write,
}

/// What makes a step's messages long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carries {
    Fields,
    Pages,
    State,
    Component,
}

/// What both sides know of a step before they read its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct About {
    effect: Effect,
    carries: Carries,
}

impl About {
    /// Most bytes of its message and of its answer.
    pub(crate) fn bytes_max(self) -> u64 {
        match self.carries {
            Carries::Fields => MESSAGE_BYTES_MAX,
            Carries::Pages => COMMIT_MESSAGE_BYTES_MAX,
            Carries::State => SNAPSHOT_MESSAGE_BYTES_MAX,
            Carries::Component => COMPONENT_MESSAGE_BYTES_MAX,
        }
    }

    /// Whether its success shows that the store has room, to a client of a server that does not say so.
    pub(crate) fn makes_room_certain(self) -> bool {
        self.carries == Carries::Pages
    }

    /// Whether its answer may be much longer than its message.
    pub(crate) fn answers_long(self) -> bool {
        self.carries == Carries::Component && self.effect == Effect::Read
    }

    /// How long its answer is waited for.
    pub(crate) fn deadline(self) -> Duration {
        match (self.carries, self.effect) {
            (Carries::Component, _) => COMPONENT_DEADLINE,
            (_, Effect::Read) => READ_DEADLINE,
            (_, Effect::Write) => WRITE_DEADLINE,
        }
    }

    /// What is known of the step when its answer does not come whole.
    pub(crate) fn unanswered(self, why: String) -> StoreError {
        match self.effect {
            Effect::Read => StoreError::Unavailable(why),
            Effect::Write if is_off(Variant::RemoteUnknown) => StoreError::Unavailable(why),
            Effect::Write => StoreError::Unknown(why),
        }
    }
}

/// What is known of each step; `None`: no step of this program.
macro_rules! abouts {
    ($($group:ident {$(
        $asked:ident as $message:ident = $method:ident($($arg:tt)*) -> $answer:ty as $reply:ident
            [$effect:ident $carries:ident] $(since($since:expr))? $(after $check:expr)?;
    )*} with {$($own:tt)*})*) => {
        /// What is known of each step; `None`: no step of this program.
        pub(crate) fn about(step: Step) -> Option<About> {
            let (effect, carries) = match step {
                Step::Unspecified => return None,
                Step::Confirm => (Effect::Read, Carries::Fields),
                Step::Claim | Step::NodeBeat => (Effect::Write, Carries::Fields),
                $($(Step::$asked => (Effect::$effect, Carries::$carries),)*)*
            };
            Some(About { effect, carries })
        }
    };
}

each_step!(abouts);

/// How the word for a step is logged.
pub(crate) fn name(step: Step) -> &'static str {
    step.as_str_name().trim_start_matches("STEP_")
}
