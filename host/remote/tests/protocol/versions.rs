//! Programs of different versions: every pair works in both directions, the newest common version is
//! used, and a program that cannot carry a fence is refused by the other with a reason that both log.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use stockade_depot::store::layer::{Asked, Call, Layer};
use stockade_depot::store::{Due, SealStep};
use stockade_depot::{Store, StoreError, StoreFull};
use stockade_remote::limits::READ_DEADLINE;
use stockade_remote::{
    FENCE_FIELDS, NEWEST_VERSION, OpenRemoteError, RefusalCode, RemoteStore, Terms,
};
use stockade_testkit::capture::capture;
use stockade_testkit::owner::{Owner, page};

use crate::kit::raw::{self, proto};
use crate::kit::{self, Keys, terms};
use crate::{embedded, served};

/// A life of an actor, with an answer of each sort.
async fn live(store: &Arc<dyn Store>) {
    let mut owner = Owner::create(store, "a").await;
    owner.commit(&[(1, 1), (2, 1)], 2).await;
    assert_eq!(owner.read_one(1, 2).await.unwrap(), page(2, 1));
    assert!(owner.try_commit(&[(4, 2)], 4).await.is_err(), "an error crosses");
    let mut next = owner.successor().await;
    assert!(owner.try_commit(&[(1, 2)], 2).await.is_err(), "the old owner is fenced");
    next.commit(&[(1, 2)], 2).await;
    let step: SealStep = next.seal_step(Some(b"state"));
    store.seal(step).await.unwrap();
    assert!(next.verify().await.is_sound());
    assert_eq!(store.full(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_pair_of_versions_works_in_both_directions() {
    let all: [&[u32]; 6] = [&[1], &[2], &[3], &[4], &[1, 2], &[1, 2, 3, 4]];
    for server in all {
        for client in all {
            let served = kit::Served::start(embedded(), terms(server)).await;
            let mut config = served.config();
            config.terms = terms(client);
            let common = server.iter().any(|version| client.contains(version));
            match RemoteStore::open(config).await {
                Ok(store) => {
                    assert!(common, "{server:?} {client:?}");
                    live(&(Arc::new(store) as Arc<dyn Store>)).await;
                }
                Err(OpenRemoteError::Refused { refusal, .. }) => {
                    assert!(!common, "{server:?} {client:?}: {refusal}");
                    assert_eq!(refusal.code, RefusalCode::Version);
                }
                Err(other) => panic!("{other}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newest_common_version_is_used_and_no_other_is_spoken() {
    let served = served().await;
    for (versions, agreed) in [(&[1][..], 1), (&[1, 2], 2), (&[2, 3, 99], 3), (&[3, 4, 99], 4)] {
        let client = raw::Client::certified(served.server.address(), &served.keys).await;
        assert_eq!(client.greet(versions, None).await, Ok(agreed));
        client.step(&raw::request(agreed, 37, 0, &[])).await.unwrap();
        let why = client.refused(&raw::request(agreed + 1, 37, 0, &[])).await;
        assert!(why.contains("another version"), "{why}");
        // A second greeting changes nothing that was agreed on.
        let other = if agreed == 1 { 2 } else { 1 };
        assert!(client.greet(&[other], None).await.is_err());
    }
}

/// A client of a later version sends what this server does not know: it is skipped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_field_of_a_later_version_is_skipped() {
    let served = served().await;
    let client = raw::Client::certified(served.server.address(), &served.keys).await;
    let agreed = client.greet(&[NEWEST_VERSION, NEWEST_VERSION + 1], None).await.unwrap();
    // `Nodes` has no field: this one has number 9, of length 3.
    let later = [0x4a, 3, 1, 2, 3];
    let (failed, ..) = client.step(&raw::request(agreed, 37, 5, &[&later])).await.unwrap();
    assert!(!failed);
    // A step of a later version is refused, as certainly not applied.
    let why = client.refused(&raw::request(agreed, 999, 0, &[])).await;
    assert!(why.contains("does not know"), "{why}");
}

/// Each fence field, on either side. The reason reaches the client, and both logs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_cannot_carry_a_fence_is_refused_and_both_log_why() {
    let log = capture();
    for field in FENCE_FIELDS {
        let mut lacking = Terms { program: format!("old-{field}"), ..Terms::ours() };
        lacking.carries.retain(|carried| carried != field);

        // The client lacks it.
        let served = served().await;
        let mut config = served.config();
        config.terms = lacking.clone();
        let error = RemoteStore::open(config).await.map(|_| ()).expect_err("refused");
        let OpenRemoteError::Refused { refusal, .. } = &error else { panic!("{error}") };
        assert_eq!(refusal.code, RefusalCode::Fence);
        assert!(error.to_string().contains(field), "{error}");
        let words = [field, lacking.program.as_str()];
        assert_eq!(log.lines(&[&words[..], &["a client was refused"]].concat()).len(), 1);
        assert_eq!(log.lines(&[&words[..], &["the store is not used"]].concat()).len(), 1);

        // The server lacks it, and does not know that it should care.
        let keys = Keys::new();
        let accepted = proto::Accepted {
            version: Some(2),
            terms: Some(proto::Terms {
                versions: vec![1, 2],
                carries: lacking.carries,
                program: format!("server-{field}"),
            }),
            shards: Some(3),
        };
        let server = raw::Server::start(&keys, raw::Answers { accepted, replies: vec![] }).await;
        let error = RemoteStore::open(kit::at(server.port, keys.client())).await;
        let error = error.map(|_| ()).expect_err("refused");
        assert!(error.to_string().contains(field), "{error}");
        let left = server.left.lock().clone();
        assert!(left.len() == 1 && left[0].contains(field), "{left:?}");
        assert_eq!(log.lines(&[field, &format!("server-{field}"), "not used"]).len(), 1);
    }
}

/// A server that answers with another version than both have agreed on is not spoken with.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_was_not_agreed_on_is_refused() {
    let keys = Keys::new();
    let mut accepted = raw::accepts(2);
    accepted.version = Some(1);
    let server = raw::Server::start(&keys, raw::Answers { accepted, replies: vec![] }).await;
    match RemoteStore::open(kit::at(server.port, keys.client())).await {
        Err(OpenRemoteError::Refused { refusal, .. }) => {
            assert_eq!(refusal.code, RefusalCode::Version);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(server.left.lock().len(), 1, "and is told");
}

/// What a client says when it leaves is in the server's log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_says_why_in_the_servers_log() {
    let log = capture();
    let served = served().await;
    // Shards that change between two connections make a client leave: see `restart`. Here by hand.
    let client = raw::Client::certified(served.server.address(), &served.keys).await;
    client.leave("because-of-this-test").await;
    assert_eq!(log.lines(&["a client refuses this server", "because-of-this-test"]).len(), 1);
}

/// What version 2 adds to a request: a step that could begin only after its caller has given up is not
/// begun. In version 1 the field means nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_whose_caller_waits_no_longer_is_not_begun() {
    let served = served().await;
    for (version, refused) in [(1, false), (2, true)] {
        let client = raw::Client::certified(served.server.address(), &served.keys).await;
        client.greet(&[version], None).await.unwrap();
        let mut parts = raw::request(version, 37, 0, &[]);
        parts[0].head.as_mut().unwrap().wait_ms = Some(0);
        if refused {
            assert!(client.refused(&parts).await.contains("waits no longer"));
        } else {
            assert!(!client.step(&parts).await.unwrap().0);
        }
        parts[0].head.as_mut().unwrap().wait_ms = Some(10_000);
        assert!(!client.step(&parts).await.unwrap().0);
    }
}

/// From version 2 on each request says how long its caller waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_says_how_long_its_caller_waits() {
    for version in [1, 2] {
        let keys = Keys::new();
        let answers = raw::Answers { accepted: raw::accepts(version), replies: vec![] };
        let server = raw::Server::start(&keys, answers).await;
        let store = kit::open(kit::at(server.port, keys.client())).await;
        assert!(store.nodes().await.is_err(), "it answers nothing");
        let asked = server.asked.lock().clone();
        let waits: Vec<_> = asked.iter().map(|head| head.wait_ms).collect();
        let max = u64::try_from(READ_DEADLINE.as_millis()).unwrap();
        match (version, &waits[..]) {
            (1, [None]) => {}
            (2, [Some(wait)]) => assert!((1..=max).contains(wait), "{wait}"),
            other => panic!("{other:?}"),
        }
    }
}

/// A store without room, behind the protocol.
struct FullStore(Arc<dyn Store>, AtomicBool);

impl Layer for FullStore {
    fn beneath(&self) -> &Arc<dyn Store> {
        &self.0
    }

    async fn through<T: Send + 'static>(&self, call: Call<T>) -> Result<T, StoreError> {
        match (self.full_beneath(), call.about.asked) {
            (Some(full), Asked::Commit) => Err(StoreError::Full(full)),
            _ => call.apply(&self.0).await,
        }
    }

    fn full_beneath(&self) -> Option<StoreFull> {
        let is_full = self.1.load(Ordering::SeqCst);
        is_full.then(|| StoreFull { path: "store".into(), free_bytes: 7 })
    }
}

/// What version 2 adds to a reply: each says whether the store has room. In version 1 only a refused
/// commit does, and the next one that is written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_store_is_known_to_be_full() {
    for version in [1, 2] {
        let behind = Arc::new(FullStore(embedded(), AtomicBool::new(false)));
        let served = kit::Served::start(Arc::clone(&behind) as _, Terms::ours()).await;
        let mut config = served.config();
        config.terms = terms(&[version]);
        let store = kit::open(config).await;
        let mut owner = Owner::create(&store, "a").await;
        assert_eq!(store.full(), None);
        behind.1.store(true, Ordering::SeqCst);
        let full = behind.full_beneath();
        store.nodes().await.unwrap();
        assert_eq!(store.full(), full.clone().filter(|_| version == 2), "version {version}");
        let client = raw::Client::certified(served.server.address(), &served.keys).await;
        client.greet(&[version], None).await.unwrap();
        let (_, _, head) = client.step(&raw::request(version, 37, 0, &[])).await.unwrap();
        assert_eq!(head.full.is_some(), version == 2, "what version 1 does not know is not sent");
        let refused = owner.try_commit(&[(1, 1)], 1).await;
        assert_eq!(refused, Err(StoreError::Full(full.clone().unwrap())));
        assert_eq!(store.full(), full);
        behind.1.store(false, Ordering::SeqCst);
        owner.commit(&[(1, 1)], 1).await;
        assert_eq!(store.full(), None);
    }
}

/// What version 4 adds. A client sends to an older node nothing that the node would read in part.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn due_work_stays_between_programs_that_know_it() {
    let behind = embedded();
    let commit = async |owner: &mut Owner, due| {
        let mut step = owner.commit_step(&[(1, owner.txid.0 + 1)], 1);
        step.due = due;
        owner.send(step).await
    };
    for (server, client) in [(&[3][..], &[3, 4][..]), (&[3, 4], &[3])] {
        let served = kit::Served::start(Arc::clone(&behind), terms(server)).await;
        let mut config = served.config();
        config.terms = terms(client);
        let store = kit::open(config).await;
        assert!(!store.keeps_due_work());
        let key = format!("{server:?}");
        let mut owner = Owner::create(&store, &key).await;
        commit(&mut owner, Due::Untouched).await.unwrap();
        let refused = commit(&mut owner, Due::At(5)).await;
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
        assert!(matches!(
            store.settle_due(owner.fence, owner.txid, None).await,
            Err(StoreError::Unavailable(_))
        ));
        assert_eq!(owner.head().await.txid, owner.txid, "certainly not applied");
        commit(&mut owner, Due::Untouched).await.unwrap();
    }
    let served = kit::Served::start(behind, Terms::ours()).await;
    let store = kit::open(served.config()).await;
    assert!(store.keeps_due_work());
    let mut owner = Owner::create(&store, "a").await;
    commit(&mut owner, Due::At(5)).await.unwrap();
    assert!(owner.head().await.due_work);
}
