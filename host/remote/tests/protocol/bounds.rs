//! Every message is bounded, on both sides: what is over a bound is refused before it is read, and the
//! step was certainly not applied.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use stockade_depot::store::limits::{
    COMMIT_BYTES_MAX, COMPONENT_BYTES_MAX, MANIFEST_BYTES_MAX, PIN_NAME_BYTES_MAX,
    SNAPSHOT_BYTES_MAX,
};
use stockade_depot::store::{CommitStep, READ_PAGES_MAX, SealStep, StageStep, Superseded};
use stockade_depot::{
    DbId, Digest, Fence, Generation, Limit, PAGE_SIZE, PageBytes, PageCount, Pgno, StageId,
    StoreError, Token, Txid,
};
use stockade_remote::limits::{
    MESSAGE_BYTES_MAX, PART_BYTES_MAX, PART_HEAD_BYTES_MAX, READ_DEADLINE,
};
use stockade_testkit::owner::Owner;
use tokio::time::timeout;

use crate::kit::raw::{self, proto};
use crate::kit::{self, Keys};
use crate::served;

const NODES: i32 = 37;
const COMMIT: i32 = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_reads_no_more_than_its_bounds() {
    let served = served().await;
    let client = raw::Client::certified(served.server.address(), &served.keys).await;
    client.greet(&[1, 2], None).await.unwrap();
    for (step, bytes) in [(NODES, MESSAGE_BYTES_MAX + 1), (COMMIT, 1 << 40), (NODES, u64::MAX)] {
        let why = client.refused(&raw::request(2, step, bytes, &[b"x"])).await;
        assert!(why.contains("over the limit"), "{why}");
    }
    // More, or less, than was announced; an empty part, which could come without end.
    for data in [&[&b"abc"[..], b"de"][..], &[b"ab"], &[b"ab", b"", b"cd"], &[b"abcde"]] {
        let why = client.refused(&raw::request(2, NODES, 4, data)).await;
        assert!(why.contains("another length"), "{why}");
    }
    // A head that says nothing of its length, and no head at all.
    let mut parts = raw::request(2, NODES, 0, &[]);
    parts[0].head.as_mut().unwrap().bytes = None;
    assert!(client.refused(&parts).await.contains("how long"));
    parts[0].head = None;
    assert!(client.refused(&parts).await.contains("without its head"));
    // One part over its bound: the stream ends.
    let long = vec![0; PART_BYTES_MAX + PART_HEAD_BYTES_MAX + 1];
    let bytes = u64::try_from(long.len()).unwrap();
    assert!(client.step(&raw::request(2, COMMIT, bytes, &[&long])).await.is_err());
    // A message that cannot be read, and one without its fence.
    let why = client.refused(&raw::request(2, COMMIT, 4, &[&[0xff; 4]])).await;
    assert!(why.contains("cannot be read"), "{why}");
    let why = client.refused(&raw::request(2, COMMIT, 2, &[&[0x0a, 0]])).await;
    assert!(why.contains("missing"), "{why}");
    // The connection still serves.
    client.step(&raw::request(2, NODES, 0, &[])).await.unwrap();
}

/// A message that stops in the middle is given up after the time of its step.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_does_not_come_whole_is_not_waited_for() {
    let served = served().await;
    let client = raw::Client::certified(served.server.address(), &served.keys).await;
    client.greet(&[1, 2], None).await.unwrap();
    let parts = stream::iter(raw::request(2, NODES, 4, &[b"ab"])).chain(stream::pending());
    let refused = timeout(READ_DEADLINE * 3, client.refused_after(parts)).await;
    assert!(refused.expect("it ends").contains("another length"));
}

/// An answer that would be too long is not sent; the question is answered all the same, and has
/// changed nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_over_its_bound_is_not_sent() {
    let served = served().await;
    let store = kit::open(served.config()).await;
    let settings = "x".repeat(usize::try_from(MANIFEST_BYTES_MAX).unwrap());
    for kind in 0..=MESSAGE_BYTES_MAX / MANIFEST_BYTES_MAX {
        store.put_kind(&kind.to_string(), Digest([0; 32]), &settings).await.unwrap();
    }
    let all = store.kinds(None, 1000).await;
    assert!(matches!(&all, Err(StoreError::Unavailable(why)) if why.contains("limit")), "{all:?}");
    assert_eq!(store.kinds(None, 2).await.unwrap().len(), 2);
}

/// A server that answers too much, or nonsense: a read may be sent again, a write is unknown.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_reads_no_more_than_its_bounds() {
    let keys = Keys::new();
    let head = |bytes| proto::ReplyHead { bytes: Some(bytes), failed: Some(false), full: None };
    let part = |head, data: &[u8]| proto::ReplyPart { head, data: Bytes::copy_from_slice(data) };
    let long = vec![0; PART_BYTES_MAX + PART_HEAD_BYTES_MAX + 1];
    for (replies, words) in [
        (vec![part(Some(head(MESSAGE_BYTES_MAX + 1)), b"x")], "over the limit"),
        (vec![part(Some(head(u64::MAX)), b"x")], "over the limit"),
        (vec![part(Some(head(1)), b"xy")], "another length"),
        (vec![part(Some(head(3)), b"x"), part(None, b"")], "another length"),
        (vec![part(Some(head(3)), b"x")], "another length"),
        (vec![part(None, b"x")], "without its head"),
        (vec![], "another length"),
        (vec![part(Some(head(u64::try_from(long.len()).unwrap())), &long)], "limit"),
        (vec![part(Some(head(4)), &[0xff; 4])], "cannot be read"),
    ] {
        let accepted = proto::Accepted {
            version: Some(2),
            terms: Some(proto::Terms {
                versions: vec![2],
                carries: stockade_remote::FENCE_FIELDS.map(str::to_owned).to_vec(),
                program: "rogue".to_owned(),
            }),
            shards: Some(3),
        };
        let server = raw::Server::start(&keys, raw::Answers { accepted, replies }).await;
        let store = kit::open(kit::at(server.port, keys.client())).await;
        match store.nodes().await {
            Err(StoreError::Unavailable(why)) => assert!(why.contains(words), "{words}: {why}"),
            other => panic!("{words}: {other:?}"),
        }
        match store.remove_kind("ledger").await {
            Err(StoreError::Unknown(why)) => assert!(why.contains(words), "{words}: {why}"),
            other => panic!("{words}: {other:?}"),
        }
    }
}

/// What a step may not carry is refused before it crosses, in the words of every store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_of_the_store_are_refused_here() {
    let keys = Keys::new();
    let answers = raw::Answers { accepted: raw::accepts(2), replies: vec![] };
    let server = raw::Server::start(&keys, answers).await;
    let store = kit::open(kit::at(server.port, keys.client())).await;
    let wasm = vec![0; usize::try_from(COMPONENT_BYTES_MAX).unwrap() + 1];
    let refused = store.put_component(Digest([0; 32]), wasm).await;
    let (actual, max) = (COMPONENT_BYTES_MAX + 1, COMPONENT_BYTES_MAX);
    assert_eq!(refused, Err(StoreError::Refused { limit: Limit::ComponentBytes, actual, max }));
    let manifest = "x".repeat((1 << 20) + 1);
    let refused = store.put_kind("ledger", Digest([0; 32]), &manifest).await;
    assert!(matches!(refused, Err(StoreError::Refused { limit: Limit::ManifestBytes, .. })));
    let name = "x".repeat(usize::try_from(PIN_NAME_BYTES_MAX).unwrap() + 1);
    let refused = store.pin(DbId([0; 16]), Txid(1), &name).await;
    assert!(matches!(refused, Err(StoreError::Refused { limit: Limit::PinNameBytes, .. })));
    let fence = Fence { db: DbId([0; 16]), generation: Generation(1), token: Token([0; 16]) };
    let refused = store.read(fence, Txid(1), &vec![Pgno(1); READ_PAGES_MAX + 1]).await;
    assert!(matches!(refused, Err(StoreError::Refused { limit: Limit::PagesPerRead, .. })));
    // Twice as many bytes of pages as a step may carry.
    let pages = |count: u64| {
        let page = PageBytes::from(vec![0; PAGE_SIZE]);
        (1..=u32::try_from(count).unwrap()).map(|pgno| (Pgno(pgno), page.clone())).collect()
    };
    let stage = StageStep {
        fence,
        base: Txid(1),
        stage: StageId([0; 16]),
        chunk: 0,
        pages: pages(2 * COMMIT_BYTES_MAX / PAGE_SIZE as u64),
    };
    let refused = store.stage(stage).await;
    assert!(matches!(refused, Err(StoreError::Refused { limit: Limit::CommitBytes, .. })));
    let seal = SealStep {
        fence,
        base: Txid(1),
        snapshot: Some(vec![0; usize::try_from(SNAPSHOT_BYTES_MAX).unwrap() + 1]),
        component: Digest([0; 32]),
        heir: None,
    };
    let refused = store.seal(seal).await;
    assert!(matches!(refused, Err(StoreError::Refused { limit: Limit::SnapshotBytes, .. })));
    // No step of the depot is as long as this list.
    let row = Superseded { db: DbId([0; 16]), place: i64::MAX };
    let refused = store.trim_pages(vec![row; 1 << 20]).await;
    assert!(matches!(&refused, Err(StoreError::Unavailable(why)) if why.contains("limit")));
    assert!(server.asked.lock().is_empty(), "nothing has crossed");
}

/// The largest that a step may carry does cross: a commit, a component, a state.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_messages_cross_in_parts() {
    let served = served().await;
    let store = kit::open(served.config()).await;
    let mut owner = Owner::create(&store, "a").await;
    let count = 4096;
    let pages: Vec<(u32, u64)> = (1..=count).map(|pgno| (pgno, 1)).collect();
    let step: CommitStep = owner.commit_step(&pages, count);
    assert_eq!((step.page_count, step.pages.len() * PAGE_SIZE), (PageCount(count), 16 << 20));
    owner.send(step).await.unwrap();
    for pgno in [1, count] {
        assert_eq!(owner.read_one(1, pgno).await.unwrap(), stockade_testkit::owner::page(pgno, 1));
    }
    let read = store.read_at(owner.fence.db, owner.txid, Pgno(1), usize::MAX).await.unwrap();
    assert_eq!(read.len(), READ_PAGES_MAX);
    let wasm = vec![7; 20 << 20];
    let digest = Digest(
        sha2::Digest::finalize(sha2::Digest::chain_update(
            <sha2::Sha256 as sha2::Digest>::new(),
            &wasm,
        ))
        .into(),
    );
    store.put_component(digest, wasm.clone()).await.unwrap();
    assert_eq!(store.component(digest).await.unwrap(), Some(wasm));
    let state = vec![9; 20 << 20];
    store.seal(owner.seal_step(Some(&state))).await.unwrap();
    let step = owner.takeover_step();
    match store.take_over(step).await.unwrap() {
        stockade_depot::store::TakenOver::Owned { snapshot: Some(found), .. } => {
            assert!(found.state == state);
        }
        other => panic!("{other:?}"),
    }
}

/// Many questions at the same time, each with its own answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn steps_beyond_the_streams_of_a_connection_wait() {
    let served = served().await;
    let store = kit::open(served.config()).await;
    let mut owner = Owner::create(&store, "a").await;
    owner.commit(&[(1, 1)], 1).await;
    let owner = Arc::new(owner);
    let asked: Vec<_> = (0..2000)
        .map(|_| {
            let owner = Arc::clone(&owner);
            tokio::spawn(async move { owner.read_one(1, 1).await })
        })
        .collect();
    for answer in asked {
        answer.await.unwrap().unwrap();
    }
}
