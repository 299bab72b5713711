//! The bytes of every message, kept in `tests/golden.txt`: `UPDATE_GOLDEN=1` writes them again, for a
//! new message or a new field. A line that changes otherwise breaks programs of the version before.

mod samples;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use bytes::Bytes;
use prost::Message;
use stockade_depot::fence::Start;
use stockade_depot::store::PageVersion;
use stockade_depot::{Fence, Generation, Head, StoreError};

use super::{Malformed, Wire};
use crate::proto;
use samples::{Sample, errors, fence, greetings, head, page, steps, values};

/// Messages that others contain whole, so that their bytes are among those of the others.
const WITHIN: [&str; 6] =
    ["Owned", "Refused", "HistoryGone", "NoCommit", "Elsewhere", "StoreFailure"];

fn samples() -> Vec<Sample> {
    [greetings(), values(), steps()].into_iter().flatten().collect()
}

fn golden() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden.txt")
}

#[test]
fn golden_bytes_of_every_message() {
    let samples = samples();
    let lines: Vec<String> =
        samples.iter().map(|it| format!("{} {}\n", it.name, hex::encode(&it.bytes))).collect();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(golden(), lines.concat()).unwrap();
    }
    let kept = std::fs::read_to_string(golden()).unwrap();
    let kept: BTreeMap<&str, &str> = kept.lines().filter_map(|line| line.split_once(' ')).collect();
    assert_eq!(kept.len(), samples.len(), "a message is new or gone: UPDATE_GOLDEN=1");
    for Sample { name, bytes, value, read } in &samples {
        assert_eq!(kept[name.as_str()], hex::encode(bytes), "{name}");
        assert_eq!(read(bytes), *value, "{name} comes back as it was");
    }
}

#[test]
fn every_message_of_the_protocol_has_a_sample() {
    let text = include_str!("../../proto/remote.proto");
    let all: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("message "))
        .filter_map(|rest| rest.split([' ', '{']).next())
        .collect();
    let samples = samples();
    let have: BTreeSet<&str> =
        samples.iter().filter_map(|it| it.name.split('.').next()).chain(WITHIN).collect();
    assert_eq!(all, have);
}

#[test]
fn each_error_crosses_as_it_is() {
    for error in errors() {
        let sent = Wire::<proto::StoreError>::put(error.clone()).encode_to_vec();
        let read = proto::StoreError::decode(&sent[..]).unwrap();
        assert_eq!(StoreError::take(read), Ok(error));
    }
}

/// A mandatory field that is left out is refused: it never passes for zero or empty.
#[test]
fn what_is_missing_is_refused() {
    let whole = || Wire::<proto::Fence>::put(fence());
    let read = Fence::take;
    assert_eq!(read(whole()), Ok(fence()));
    assert!(read(proto::Fence { db: Bytes::new(), ..whole() }).is_err());
    assert!(read(proto::Fence { token: Bytes::from_static(b"short"), ..whole() }).is_err());
    let missing = read(proto::Fence { generation: None, ..whole() });
    assert_eq!(missing, Err(Malformed::Missing("Generation")));
    let zero = read(proto::Fence { generation: Some(0), ..whole() });
    assert_eq!(zero.map(|fence| fence.generation), Ok(Generation(0)), "zero is a number");
    let head = proto::Head { sealed: None, ..Wire::put(head()) };
    assert!(Head::take(head).is_err());
    let unknown = proto::Head { origin: 99, ..Wire::put(self::head()) };
    assert_eq!(Head::take(unknown), Err(Malformed::Value("Origin")));
    assert!(StoreError::take(proto::StoreError { error: None }).is_err());
    let short = proto::PageVersion { bytes: Bytes::from_static(b"short"), ..page().put() };
    assert_eq!(PageVersion::take(short), Err(Malformed::Value("a page")));
}

/// A program of version 3 knows two words for the start of a chain. The head of a database with due work
/// has neither, so that program does not open it.
#[test]
fn a_program_of_version_3_reads_no_head_with_due_work() {
    for start in [Start::Zeros, Start::Name] {
        let sent = |due_work| Wire::<proto::Head>::put(Head { start, due_work, ..head() });
        assert!([1, 2].contains(&sent(false).start));
        assert!(sent(true).start > 2, "{start:?}");
        assert_eq!(Head::take(sent(true)), Ok(Head { start, due_work: true, ..head() }));
    }
}

/// The heads of version 1, as a program of that version reads them.
#[derive(Clone, PartialEq, Message)]
struct RequestHead1 {
    #[prost(uint32, optional, tag = "1")]
    version: Option<u32>,
    #[prost(int32, tag = "2")]
    step: i32,
    #[prost(uint64, optional, tag = "3")]
    bytes: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct ReplyHead1 {
    #[prost(uint64, optional, tag = "1")]
    bytes: Option<u64>,
    #[prost(bool, optional, tag = "2")]
    failed: Option<bool>,
}

#[test]
fn a_program_of_version_1_survives_the_fields_of_version_2_and_the_other_way_round() {
    let full = Some(proto::StoreFull { path: "s".into(), free_bytes: Some(1) });
    let request =
        proto::RequestHead { version: Some(1), step: 10, bytes: Some(3), wait_ms: Some(9) };
    let reply = proto::ReplyHead { bytes: Some(3), failed: Some(true), full };
    let (old_request, old_reply) = (
        RequestHead1 { version: Some(1), step: 10, bytes: Some(3) },
        ReplyHead1 { bytes: Some(3), failed: Some(true) },
    );
    // New to old.
    assert_eq!(RequestHead1::decode(&request.encode_to_vec()[..]), Ok(old_request.clone()));
    assert_eq!(ReplyHead1::decode(&reply.encode_to_vec()[..]), Ok(old_reply.clone()));
    // Old to new.
    let read = proto::RequestHead::decode(&old_request.encode_to_vec()[..]);
    assert_eq!(read, Ok(proto::RequestHead { wait_ms: None, ..request }));
    let read = proto::ReplyHead::decode(&old_reply.encode_to_vec()[..]);
    assert_eq!(read, Ok(proto::ReplyHead { full: None, ..reply }));
}
