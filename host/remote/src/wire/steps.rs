//! What steps carry and answer, as messages.

use stockade_depot::store::{
    ActorState, Collected, CommitRow, CommitStep, Counted, CreateStep, Created, Destroyed, Due,
    DueActor, DueLook, DuePage, Emptied, History, KindRow, Look, NodeRow, PageVersion, PagesRead,
    PreviousEnd, SealStep, StageStep, Staged, TakenOver, TakeoverStep,
};
use stockade_depot::{ActorId, Head, StoreError};

use super::{Malformed, Wire, mandatory, one_of, records, tuples, words, wrapped};
use crate::proto;
use crate::proto::{created, destroyed, taken_over};

records! {
    CreateStep { actor, db, token, owner, component, origin }
    TakeoverStep { actor, db, replaces, token, owner, component, previous_end, destroying }
    SealStep { fence, base, snapshot, component, heir }
    Staged { stage, pages }
    CommitStep { fence, owner, base, page_count, pages, staged, chain, content, due }
    StageStep { fence, base, stage, chunk, pages }
    PagesRead { head_txid, pages }
    Collected { rows, more }
    Look { looked, superseded, next }
    Counted { actors, pages, next }
    DueLook { shards, until, after, limit }
    DueActor { actor, db, at }
    DuePage { rows, now, next }
}

tuples! {
    (Option<Head>, Option<CommitRow>) as Facts { head, row }
    (i64, ActorId) as DueKey { at, actor }
}

words! {
    PreviousEnd { Orderly, Crashed, FirstCrash, Neutral }
}

wrapped! {
    u64 as Number { number }
    bool as Flag { flag }
    Option<ActorState> as ActorFound { actor }
    Option<History> as HistoryFound { history }
    Option<Vec<u8>> as ComponentFound { wasm }
    Option<KindRow> as KindFound { kind }
    Vec<PageVersion> as PageList { pages }
    Vec<CommitRow> as CommitList { rows }
    Vec<ActorState> as ActorList { actors }
    Vec<KindRow> as KindList { kinds }
    Vec<NodeRow> as NodeList { nodes }
    Vec<Result<(), StoreError>> as Confirmed { fences }
}

impl Wire<proto::Done> for () {
    fn put(self) -> proto::Done {
        proto::Done {}
    }

    fn take(_: proto::Done) -> Result<Self, Malformed> {
        Ok(())
    }
}

/// Left out: untouched.
impl Wire<Option<proto::NextDue>> for Due {
    fn put(self) -> Option<proto::NextDue> {
        self.change().map(|at| proto::NextDue { at })
    }

    fn take(sent: Option<proto::NextDue>) -> Result<Self, Malformed> {
        Ok(sent.map_or(Self::Untouched, |proto::NextDue { at }| Self::found(at)))
    }
}

impl Wire<proto::Confirmation> for Result<(), StoreError> {
    fn put(self) -> proto::Confirmation {
        proto::Confirmation { error: Wire::put(self.err()) }
    }

    fn take(sent: proto::Confirmation) -> Result<Self, Malformed> {
        let error: Option<StoreError> = Wire::take(sent.error)?;
        Ok(error.map_or(Ok(()), Err))
    }
}

impl Wire<proto::Created> for Created {
    fn put(self) -> proto::Created {
        let end = match self {
            Self::Made(head) => created::End::Made(head.put()),
            Self::Exists(state) => created::End::Exists(state.put()),
        };
        proto::Created { end: Some(end) }
    }

    fn take(sent: proto::Created) -> Result<Self, Malformed> {
        Ok(match one_of("Created", sent.end)? {
            created::End::Made(head) => Self::Made(Wire::take(head)?),
            created::End::Exists(state) => Self::Exists(Wire::take(state)?),
        })
    }
}

impl Wire<proto::TakenOver> for TakenOver {
    fn put(self) -> proto::TakenOver {
        let end = match self {
            Self::Owned { head, restarts, snapshot, leftovers } => {
                taken_over::End::Owned(proto::Owned {
                    head: head.put(),
                    restarts: restarts.put(),
                    snapshot: snapshot.put(),
                    leftovers: leftovers.put(),
                })
            }
            Self::Moved(head) => taken_over::End::Moved(head.put()),
        };
        proto::TakenOver { end: Some(end) }
    }

    fn take(sent: proto::TakenOver) -> Result<Self, Malformed> {
        Ok(match one_of("TakenOver", sent.end)? {
            taken_over::End::Owned(owned) => {
                let proto::Owned { head, restarts, snapshot, leftovers } = owned;
                Self::Owned {
                    head: Wire::take(head)?,
                    restarts: Wire::take(restarts)?,
                    snapshot: Wire::take(snapshot)?,
                    leftovers: Wire::take(leftovers)?,
                }
            }
            taken_over::End::Moved(head) => Self::Moved(Wire::take(head)?),
        })
    }
}

impl Wire<proto::Destroyed> for Destroyed {
    fn put(self) -> proto::Destroyed {
        let end = match self {
            Self::More { rows } => destroyed::End::More(rows),
            Self::Gone => destroyed::End::Gone(proto::Done {}),
        };
        proto::Destroyed { end: Some(end) }
    }

    fn take(sent: proto::Destroyed) -> Result<Self, Malformed> {
        Ok(match one_of("Destroyed", sent.end)? {
            destroyed::End::More(rows) => Self::More { rows },
            destroyed::End::Gone(_) => Self::Gone,
        })
    }
}

impl Wire<proto::Emptied> for Emptied {
    fn put(self) -> proto::Emptied {
        proto::Emptied { done: Some(self == Self::Done) }
    }

    fn take(sent: proto::Emptied) -> Result<Self, Malformed> {
        let done: bool = Wire::take(sent.done)?;
        Ok(if done { Self::Done } else { Self::More })
    }
}
