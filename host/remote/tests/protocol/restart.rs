//! A server that goes away and comes back under load: nothing acknowledged is lost, what is unknown is
//! settled by its row, and writes continue by themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use stockade_depot::store::embedded::EmbeddedConfig;
use stockade_depot::{EmbeddedStore, Store, StoreError};
use stockade_remote::{OpenRemoteError, RemoteStore, ServeConfig, StoreServer};
use stockade_testkit::capture::capture;
use stockade_testkit::owner::Owner;
use tokio::runtime::{Builder, Runtime};

use crate::kit::{self, Keys};
use crate::{embedded, is_there};

/// Longer than anything takes that is not held up.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server that can be ended like a process that is killed: with its runtime.
struct Process {
    runtime: Runtime,
    server: StoreServer,
    store: Arc<EmbeddedStore>,
}

impl Process {
    fn start(directory: &std::path::Path, config: &ServeConfig, port: u16) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let store = Arc::new(EmbeddedStore::open(&EmbeddedConfig::new(directory)).unwrap());
        let begun = Instant::now();
        let server = loop {
            let serving = runtime.block_on(kit::try_serve(Arc::clone(&store) as _, config, port));
            match serving {
                Ok(server) => break server,
                // A connection of a moment ago may hold the port.
                Err(error) => assert!(begun.elapsed() < PATIENCE, "{error}"),
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        Self { runtime, server, store }
    }

    fn kill(self) {
        let Self { runtime, server, store } = self;
        runtime.shutdown_background();
        drop(server);
        drop(store);
    }
}

/// Commits until `stop`; each unknown one is settled as D3 says. The owner, and how many were unknown.
async fn write(
    store: Arc<dyn Store>,
    n: u64,
    done: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
) -> (Owner, u32) {
    let mut owner = Owner::create(&store, &format!("actor {n}")).await;
    let mut unknown = 0;
    while !stop.load(Ordering::SeqCst) {
        let step = owner.commit_step(&[(1, owner.txid.0 + 1)], 1);
        let applied = match owner.send(step.clone()).await {
            Ok(()) => {
                done.fetch_add(1, Ordering::SeqCst);
                continue;
            }
            Err(StoreError::Unavailable(_)) => {
                tokio::time::sleep(Duration::from_millis(5)).await;
                false
            }
            Err(StoreError::Unknown(_)) => {
                unknown += 1;
                is_there(&owner, step.content).await
            }
            // Sent again after an unknown one that came late.
            Err(StoreError::Fenced(_)) => {
                assert!(is_there(&owner, step.content).await);
                true
            }
            Err(other) => panic!("{other:?}"),
        };
        if applied {
            owner.txid = owner.txid.next();
            (owner.page_count, owner.chain) = (step.page_count, step.chain);
        }
    }
    (owner, unknown)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_restarts_under_load_loses_nothing_that_was_acknowledged() {
    let (keys, directory) = (Keys::new(), tempfile::tempdir().unwrap());
    let config = ServeConfig::new(keys.server(true));
    let path = directory.path().to_owned();
    let start = |port| {
        let (path, config) = (path.clone(), config.clone());
        tokio::task::spawn_blocking(move || Process::start(&path, &config, port))
    };
    let mut process = start(0).await.unwrap();
    let port = process.server.address().port();
    let store = kit::open(kit::at(port, keys.client())).await;
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let writers: Vec<_> = (0..8)
        .map(|n| tokio::spawn(write(Arc::clone(&store), n, Arc::clone(&done), Arc::clone(&stop))))
        .collect();
    for away in [0, 300, 1000] {
        tokio::time::sleep(Duration::from_millis(400)).await;
        tokio::task::spawn_blocking(move || process.kill()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(away)).await;
        process = start(port).await.unwrap();
        let (before, back) = (done.load(Ordering::SeqCst), Instant::now());
        while done.load(Ordering::SeqCst) < before + 20 {
            assert!(back.elapsed() < Duration::from_secs(10), "no writes after {away} ms away");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    stop.store(true, Ordering::SeqCst);
    let mut all_unknown = 0;
    for writer in writers {
        let (owner, unknown) = writer.await.unwrap();
        all_unknown += unknown;
        assert_eq!(owner.head().await.txid, owner.txid, "what it knows is what there is");
        assert!(owner.txid.0 > 3, "hardly a write");
        assert!(owner.verify().await.is_sound());
    }
    println!("{} acknowledged, {all_unknown} unknown", done.load(Ordering::SeqCst));
    tokio::task::spawn_blocking(move || process.kill()).await.unwrap();
}

/// What was accepted before a close is finished, and what comes after has no effect and says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_closes_finishes_what_it_has_begun() {
    let served = crate::served().await;
    let store = kit::open(served.config()).await;
    let mut owner = Owner::create(&store, "a").await;
    owner.commit(&[(1, 1)], 1).await;
    served.server.close().await;
    let sent = owner.try_commit(&[(1, 2)], 1).await;
    assert!(matches!(sent, Err(StoreError::Unavailable(_) | StoreError::Unknown(_))), "{sent:?}");
    let again = owner.read_one(1, 1).await;
    assert!(matches!(again, Err(StoreError::Unavailable(_))), "{again:?}");
}

/// The server's own store is closed by its shutdown: this process only waits for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_store_behind_the_server_is_away_not_closed() {
    let behind = embedded();
    let served = kit::Served::start(Arc::clone(&behind), stockade_remote::Terms::ours()).await;
    let store = kit::open(served.config()).await;
    let mut owner = Owner::create(&store, "a").await;
    behind.close().await;
    let sent = owner.try_commit(&[(1, 1)], 1).await;
    assert!(matches!(sent, Err(StoreError::Unavailable(_))), "{sent:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_store_at_the_same_address_is_refused() {
    let log = capture();
    let keys = Keys::new();
    let config = ServeConfig::new(keys.server(true));
    let server = kit::serve(embedded(), &config, 0).await;
    let port = server.address().port();
    let store = kit::open(kit::at(port, keys.client())).await;
    let owner = Owner::create(&store, "a").await;
    server.close().await;
    let other: Arc<dyn Store> = Arc::new(EmbeddedStore::in_memory(2).unwrap());
    let begun = Instant::now();
    let _server = loop {
        match kit::try_serve(Arc::clone(&other), &config, port).await {
            Ok(server) => break server,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    // The connection of before may still be closing.
    loop {
        match owner.store.actor(&owner.actor).await {
            Err(StoreError::Unavailable(why)) if why.contains("another store") => break,
            Err(StoreError::Unavailable(_)) if begun.elapsed() < PATIENCE => {}
            other => panic!("{other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let told = log.lines(&["a client refuses this server", "another store"]);
    assert_eq!(told.len(), 1, "the server says why it is not used");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_away_is_named() {
    let keys = Keys::new();
    let error = RemoteStore::open(kit::at(1, keys.client())).await.map(|_| ()).unwrap_err();
    let OpenRemoteError::Connect { store, .. } = &error else { panic!("{error}") };
    assert_eq!(store, "stockade://127.0.0.1:1");
    assert!(error.to_string().contains("stockade://127.0.0.1:1"), "{error}");
}
