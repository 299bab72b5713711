//! A connection that is lost before, during and after a commit; servers that restart; processes of the
//! server that are killed. What was acknowledged is there; what was not has a verdict.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use stockade_depot::{Store, StoreError, Txid};
use stockade_testkit::owner::{Owner, page};

use crate::kit::relay::{Cut, Relay};
use crate::kit::{self, Server, config};
use crate::open;

/// Whether the commit after `owner`'s txid is in the store, by its row.
async fn is_there(owner: &Owner, content: [u8; 32]) -> bool {
    for _ in 0..500 {
        match owner.store.verdict(owner.fence.db, owner.txid.next()).await {
            Ok((_, row)) => return row.is_some_and(|row| row.content == content),
            Err(StoreError::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(20)).await,
            Err(other) => panic!("{other:?}"),
        }
    }
    panic!("the store stays away");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_leaves_the_outcome_unknown_and_a_verdict() {
    let database = kit::server().database().await;
    let relay = Relay::start(database.port).await;
    let store = open(&kit::at(relay.port, &database, "")).await;
    let mut owner = Owner::create(&store, "a").await;
    owner.commit(&[(1, 1)], 1).await;
    for (version, when) in (2..).zip([Cut::Before, Cut::During, Cut::After]) {
        let step = owner.commit_step(&[(1, version)], 1);
        relay.cut(when);
        let sent = store.commit(step.clone()).await;
        assert!(relay.has_cut());
        assert!(matches!(sent, Err(StoreError::Unknown(_))), "{when:?}: {sent:?}");
        let there = is_there(&owner, step.content).await;
        match when {
            Cut::Before => assert!(!there),
            Cut::During | Cut::Silence => {}
            Cut::After => assert!(there),
        }
        match store.commit(step.clone()).await {
            Ok(()) => {}
            // It was applied, or came late: the row tells.
            Err(StoreError::Fenced(_)) => assert!(is_there(&owner, step.content).await),
            Err(other) => panic!("{when:?}: {other:?}"),
        }
        owner = Owner::of(&store, owner.actor.clone(), &owner.head().await);
        assert_eq!(owner.txid, Txid(version));
        assert_eq!(owner.read_one(version, 1).await.unwrap(), page(1, version));
    }
    assert!(owner.verify().await.is_sound());
}

/// Reads and takeovers: the first are sent again, the second are unknown.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_read_is_unavailable_and_a_cut_takeover_unknown() {
    let database = kit::server().database().await;
    let relay = Relay::start(database.port).await;
    let mut settings = kit::at(relay.port, &database, "");
    settings.connections = 1;
    let store = open(&settings).await;
    let mut owner = Owner::create(&store, "a").await;
    owner.commit(&[(1, 1)], 1).await;
    owner.read_one(1, 1).await.unwrap();
    relay.cut(Cut::After);
    match owner.read_one(1, 1).await {
        Ok(read) => assert_eq!(read, page(1, 1)),
        Err(error) => assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}"),
    }
    owner = owner.successor().await;
    let step = owner.takeover_step();
    relay.cut(Cut::After);
    let sent = store.take_over(step.clone()).await;
    assert!(matches!(sent, Err(StoreError::Unknown(_))), "{sent:?}");
    assert_eq!(owner.head().await.fence.token, step.token, "the head tells that it is ours");
}

/// A process that is frozen in the middle of a transaction keeps its connections, and holds a head.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_process_holds_a_head_for_less_time_than_others_wait() {
    let database = kit::server().database().await;
    let relay = Relay::start(database.port).await;
    let frozen = open(&kit::at(relay.port, &database, "")).await;
    let store = open(&config(&database, "")).await;
    let mut owner = Owner::create(&store, "a").await;
    owner.commit(&[(1, 1)], 1).await;
    let db = owner.fence.db;
    relay.cut(Cut::Silence);
    let pinning = tokio::spawn(async move { frozen.pin(db, Txid(1), "p").await });
    while !relay.has_cut() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let begun = Instant::now();
    owner.commit(&[(1, 2)], 1).await;
    let waited = begun.elapsed();
    assert!(waited > Duration::from_secs(1), "the head was not held: {waited:?}");
    assert!(waited < Duration::from_secs(6), "{waited:?}");
    pinning.abort();
}

/// What one writer knows when it has stopped.
struct Told {
    owner: Owner,
    /// Commits that ended unknown, and how many of them had been made.
    unknown: (u32, u32),
}

/// Commits until `stop` is set; each unknown one is settled as D3 says.
async fn write(store: Arc<dyn Store>, n: u64, stop: Arc<AtomicBool>) -> Told {
    let mut owner = Owner::create(&store, &format!("actor {n}")).await;
    let mut unknown = (0, 0);
    while !stop.load(Ordering::SeqCst) {
        let version = owner.txid.0 + 1;
        let step = owner.commit_step(&[(1, version)], 1);
        match owner.send(step.clone()).await {
            Ok(()) => {}
            Err(StoreError::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(5)).await,
            Err(StoreError::Unknown(_)) => {
                unknown.0 += 1;
                if is_there(&owner, step.content).await {
                    unknown.1 += 1;
                    owner.txid = owner.txid.next();
                    (owner.page_count, owner.chain) = (step.page_count, step.chain);
                }
            }
            // Sent again after an unknown one that came late.
            Err(StoreError::Fenced(_)) if is_there(&owner, step.content).await => {
                owner.txid = owner.txid.next();
                (owner.page_count, owner.chain) = (step.page_count, step.chain);
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    Told { owner, unknown }
}

/// Writers on a server to which `happens` something while they write.
async fn under_load(happens: impl AsyncFnOnce(&Server, &kit::server::Database)) {
    let server = Server::start(&[]);
    let database = server.database().await;
    let store = open(&config(&database, "")).await;
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> =
        (0..12).map(|n| tokio::spawn(write(Arc::clone(&store), n, Arc::clone(&stop)))).collect();
    tokio::time::sleep(Duration::from_millis(400)).await;
    happens(&server, &database).await;
    // After a crash the server first syncs its whole directory.
    let begun = Instant::now();
    while store.nodes().await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(60), "the server stays away");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_millis(400)).await;
    stop.store(true, Ordering::SeqCst);
    let (mut made, mut unknown) = (0, (0, 0));
    for writer in writers {
        let told = writer.await.unwrap();
        let head = told.owner.head().await;
        assert_eq!(head.txid, told.owner.txid, "what was acknowledged is what is there");
        assert_eq!(head.chain, told.owner.chain);
        assert!(told.owner.verify().await.is_sound());
        made += head.txid.0;
        unknown = (unknown.0 + told.unknown.0, unknown.1 + told.unknown.1);
    }
    println!("{made} commits, {} unknown, {} of them made", unknown.0, unknown.1);
    assert!(made > 12);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_restarts_under_load_loses_nothing() {
    under_load(async |server, _| {
        server.stop();
        tokio::time::sleep(Duration::from_millis(200)).await;
        server.again();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_of_the_server_loses_nothing() {
    under_load(async |server, database| {
        let client = database.client().await;
        let asked = "SELECT pid FROM pg_stat_activity WHERE application_name = 'stockade' \
            ORDER BY backend_start LIMIT 1";
        let pid: i32 = client.query_one(asked, &[]).await.unwrap().get(0);
        server.kill(pid);
        // The server ends every other process of its own, this connection's as well.
        while !client.is_closed() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// A commit that waits for a standby without end: its wait is cancelled, and the server reports success
/// with a warning.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn success_with_a_warning_is_unknown() {
    let server = Server::start(&[]);
    let database = server.database().await;
    let store = open(&config(&database, "")).await;
    let mut owner = Owner::create(&store, "a").await;
    owner.commit(&[(1, 1)], 1).await;
    let client = database.client().await;
    client.batch_execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'").await.unwrap();
    client.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    // The server reads its new settings some time later.
    let (step, commit) = loop {
        let version = owner.txid.0 + 1;
        let step = owner.commit_step(&[(1, version)], 1);
        let (waiting, sent) = (Arc::clone(&store), step.clone());
        let mut commit = tokio::spawn(async move { waiting.commit(sent).await });
        match tokio::time::timeout(Duration::from_millis(300), &mut commit).await {
            Ok(told) => {
                told.unwrap().unwrap();
                (owner.txid, owner.chain) = (owner.txid.next(), step.chain);
            }
            Err(_) => break (step, commit),
        }
    };
    let pid = crate::until_one_waits(&client, "SyncRep").await;
    client.query("SELECT pg_cancel_backend($1)", &[&pid]).await.unwrap();
    let told = commit.await.unwrap();
    assert!(matches!(told, Err(StoreError::Unknown(_))), "{told:?}");
    assert!(is_there(&owner, step.content).await, "it is there, but not on a standby");
    // With the promise of a standby nothing is confirmed before a write of ours is on it.
    let mut careful = config(&database, "");
    careful.has_standby = true;
    let careful = open(&careful).await;
    let fences = [owner.fence];
    let confirm = careful.confirm(&fences);
    let cancel = async {
        let pid = crate::until_one_waits(&client, "SyncRep").await;
        client.query("SELECT pg_cancel_backend($1)", &[&pid]).await.unwrap();
    };
    let (confirmed, ()) = tokio::join!(confirm, cancel);
    assert!(matches!(confirmed.unwrap()[0], Err(StoreError::Unavailable(_))));
    client.batch_execute("ALTER SYSTEM SET synchronous_standby_names = ''").await.unwrap();
    client.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    assert_eq!(careful.confirm(&fences).await.unwrap(), [Ok(())]);
    for store in [careful, store] {
        store.close().await;
        assert_eq!(store.commit(step.clone()).await, Err(StoreError::Closed));
    }
}
