//! A process whose store does not take its signs of life begins no calls once its lease nears its
//! end elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use stockade::host::HostConfig;
use stockade::limits::HostLimits;
use stockade::{ActorId, Arguments, Host, HostError, Manifest};
use stockade_depot::store::embedded::EmbeddedConfig;
use stockade_depot::store::layer::{Asked, Call, Layer};
use stockade_depot::{EmbeddedStore, Store, StoreError};
use stockade_tests::guest;
use stockade_tests::host::Site;

const LEASE: Duration = Duration::from_secs(3);

/// A store that takes no signs of life while it is mute, and does everything else.
struct Mute {
    beneath: Arc<dyn Store>,
    mute: AtomicBool,
}

impl Layer for Mute {
    fn beneath(&self) -> &Arc<dyn Store> {
        &self.beneath
    }

    async fn through<T: Send + 'static>(&self, call: Call<T>) -> Result<T, StoreError> {
        if call.about.asked == Asked::NodeBeat && self.mute.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_secs(1)).await;
            return Err(StoreError::Unavailable("mute".to_owned()));
        }
        call.apply(&self.beneath).await
    }
}

async fn host(site: &Site, store: &Arc<Mute>) -> Host {
    let driver = Arc::clone(store) as Arc<dyn Store>;
    let config = HostConfig::new(site.path().join("mute"))
        .with_limits(HostLimits { actors_awake_max: 64, ..HostLimits::default() })
        .with_lease(LEASE)
        .advanced(|settings| settings.with_store(driver));
    Host::start(config).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_cannot_show_that_it_lives_begins_no_calls() {
    let site = Site::new();
    let files = EmbeddedConfig::new(site.store_dir());
    let beneath: Arc<dyn Store> = Arc::new(EmbeddedStore::open(&files).unwrap());
    let store = Arc::new(Mute { beneath, mute: AtomicBool::new(false) });
    let host = host(&site, &store).await;
    let wasm = guest::COUNTER.wasm().unwrap();
    host.deploy("counter", wasm, Manifest::default()).await.unwrap();
    let actor = ActorId::new("counter", "a").unwrap();
    let handle = host.actor(&actor);
    let increment = || handle.call("increment", Arguments::Json(json!([1])));
    increment().await.unwrap();

    // Alone, it needs no lease: a process that comes later watches for one first.
    store.mute.store(true, Ordering::SeqCst);
    tokio::time::sleep(LEASE + Duration::from_millis(200)).await;
    increment().await.unwrap();
    store.mute.store(false, Ordering::SeqCst);
    let other = site.host().start().await;
    let known = || async { host.nodes().await.unwrap().len() == 2 };
    let begun = Instant::now();
    while !known().await || increment().await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    store.mute.store(true, Ordering::SeqCst);
    let muted = Instant::now();
    let refused = loop {
        match increment().await {
            Ok(_) => assert!(muted.elapsed() < LEASE, "a call began after the lease"),
            Err(error) => break error,
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(matches!(refused.cause, HostError::LeaseLost), "{refused:?}");
    assert_eq!((refused.code().status(), refused.retry().as_str()), (503, "retry"));
    let begun = Instant::now();
    assert!(increment().await.is_err());
    assert!(begun.elapsed() < LEASE, "a refusal is not waited for");

    // With the first sign of life that the store takes it begins calls again.
    store.mute.store(false, Ordering::SeqCst);
    let begun = Instant::now();
    while increment().await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    other.host.shutdown().await;
    host.shutdown().await;
}
