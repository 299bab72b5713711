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
    Head {
        fence, owner, txid, page_count, chain, sealed, origin, floor, base, name, start,
    }
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
    Start { Zeros, Name }
    Wanted { Present, Destroying }
}

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
