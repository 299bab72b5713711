//! What stores keep, as messages.

use bytes::Bytes;
use stockade_depot::fence::Start;
use stockade_depot::store::{
    ActorRow, ActorState, CheckAt, Checked, CommitRow, Finding, History, Keep, KindRow, NodeBeat,
    NodeLoad, NodeProcess, NodeProgram, NodeRow, PageVersion, Snapshot, Superseded, Wanted,
};
use stockade_depot::{
    ActorId, DbId, Fence, Generation, Head, Origin, PAGE_SIZE, PageBytes, Pgno, Token, Txid,
};

use super::{Malformed, Wire, mandatory, records, tuples, words};
use crate::proto;

records! {
    Fence { db, generation, token }
    ActorRow { actor, db, component, wanted, restarts }
    ActorState { row, head, handed_over }
    CommitRow { txid, generation, page_count, content, chain, time_ms }
    Snapshot { generation, txid, component, state }
    Superseded { db, place }
    Keep { commits_min, age_ms_min }
    History as HistoryRow { head, floor, oldest }
    KindRow { kind, component, manifest, version }
    NodeLoad { awake, awake_max, guest_bytes, guest_bytes_max, cpu_permille }
    NodeProgram { pid, version }
    NodeBeat { address, peers, draining, load, program }
    NodeRow { session, address, counter, process, peers, draining, load }
    CheckAt { part, after }
    Finding { file, table, actor, what }
    Checked { what, done, total, findings, accepted, actors, kinds, next }
}

tuples! {
    (Generation, Token) as Owner { generation, token }
    (DbId, Txid) as Base { db, txid }
    (Pgno, Txid) as VersionKey { pgno, txid }
    (ActorId, DbId) as ActorOf { actor, db }
}

words! {
    Origin { Native, Importing, Imported }
    Wanted { Present, Destroying }
}

/// What the chain starts from, and whether there has been due work, are one word.
impl Wire<i32> for (Start, bool) {
    fn put(self) -> i32 {
        let word = match self {
            (Start::Zeros, false) => proto::Start::Zeros,
            (Start::Name, false) => proto::Start::Name,
            (Start::Zeros, true) => proto::Start::ZerosDue,
            (Start::Name, true) => proto::Start::NameDue,
        };
        word.into()
    }

    fn take(sent: i32) -> Result<Self, Malformed> {
        match proto::Start::try_from(sent) {
            Ok(proto::Start::Zeros) => Ok((Start::Zeros, false)),
            Ok(proto::Start::Name) => Ok((Start::Name, false)),
            Ok(proto::Start::ZerosDue) => Ok((Start::Zeros, true)),
            Ok(proto::Start::NameDue) => Ok((Start::Name, true)),
            Ok(proto::Start::Unspecified) => Err(Malformed::Missing("Start")),
            Err(_) => Err(Malformed::Value("Start")),
        }
    }
}

impl Wire<proto::Head> for Head {
    fn put(self) -> proto::Head {
        let Self {
            fence,
            owner,
            txid,
            page_count,
            chain,
            sealed,
            origin,
            floor,
            base,
            name,
            start,
            due_work,
        } = self;
        proto::Head {
            fence: fence.put(),
            owner: owner.put(),
            txid: txid.put(),
            page_count: page_count.put(),
            chain: chain.put(),
            sealed: sealed.put(),
            origin: origin.put(),
            floor: floor.put(),
            base: base.put(),
            name: name.put(),
            start: (start, due_work).put(),
        }
    }

    fn take(sent: proto::Head) -> Result<Self, Malformed> {
        let proto::Head {
            fence,
            owner,
            txid,
            page_count,
            chain,
            sealed,
            origin,
            floor,
            base,
            name,
            start,
        } = sent;
        let (start, due_work): (Start, bool) = Wire::take(start)?;
        Ok(Self {
            fence: Wire::take(fence)?,
            owner: Wire::take(owner)?,
            txid: Wire::take(txid)?,
            page_count: Wire::take(page_count)?,
            chain: Wire::take(chain)?,
            sealed: Wire::take(sealed)?,
            origin: Wire::take(origin)?,
            floor: Wire::take(floor)?,
            base: Wire::take(base)?,
            name: Wire::take(name)?,
            start,
            due_work,
        })
    }
}

mandatory!(Head as Head);

impl Wire<proto::ActorId> for ActorId {
    fn put(self) -> proto::ActorId {
        proto::ActorId { kind: self.kind().to_owned(), key: self.key().to_owned() }
    }

    fn take(sent: proto::ActorId) -> Result<Self, Malformed> {
        Self::existing(&sent.kind, &sent.key).map_err(|_| Malformed::Value("ActorId"))
    }
}

mandatory!(ActorId as ActorId);

impl Wire<proto::NodeProcess> for NodeProcess {
    fn put(self) -> proto::NodeProcess {
        let Self { pid, version, formats: (format_min, format_max) } = self;
        proto::NodeProcess {
            pid: Some(pid),
            version,
            format_min: Some(format_min),
            format_max: Some(format_max),
        }
    }

    fn take(sent: proto::NodeProcess) -> Result<Self, Malformed> {
        let proto::NodeProcess { pid, version, format_min, format_max } = sent;
        let formats = (Wire::take(format_min)?, Wire::take(format_max)?);
        Ok(Self { pid: Wire::take(pid)?, version, formats })
    }
}

impl Wire<proto::PageVersion> for PageVersion {
    fn put(self) -> proto::PageVersion {
        let Self { pgno, txid, bytes } = self;
        proto::PageVersion { pgno: pgno.put(), txid: txid.put(), bytes }
    }

    fn take(sent: proto::PageVersion) -> Result<Self, Malformed> {
        let proto::PageVersion { pgno, txid, bytes } = sent;
        Ok(Self { pgno: Wire::take(pgno)?, txid: Wire::take(txid)?, bytes: whole(bytes)? })
    }
}

/// A page of a commit. Whether it is whole is for the store to say, as of the commit.
impl Wire<proto::Page> for (Pgno, PageBytes) {
    fn put(self) -> proto::Page {
        proto::Page { pgno: self.0.put(), bytes: self.1 }
    }

    fn take(sent: proto::Page) -> Result<Self, Malformed> {
        Ok((Wire::take(sent.pgno)?, sent.bytes))
    }
}

fn whole(bytes: Bytes) -> Result<PageBytes, Malformed> {
    if bytes.len() == PAGE_SIZE { Ok(bytes) } else { Err(Malformed::Value("a page")) }
}
