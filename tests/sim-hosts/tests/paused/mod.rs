//! One store, and hosts on it one after the other, under a paused clock that is the store's and the hosts'.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use stockade::internal::{Clock, Ground};
use stockade::limits::HostLimits;
use stockade::{Host, HostConfig};
use stockade_depot::store::embedded;
use stockade_depot::store::layer::{Call, Layer};
use stockade_depot::{EmbeddedStore, Parker as _, Random, Store, StoreError};
use stockade_sim_depot::baton::{BatonParker, on_thread};
use tokio::runtime::{Builder, Handle};
use tokio::time::{Instant, sleep};

/// Where the clock begins: 2026-03-28, 12:00 UTC, half a day before Berlin sets its clocks forward.
const EPOCH_MS: u64 = 1_774_699_200_000;

/// The store outlives the hosts on it.
struct Lasting(Arc<dyn Store>);

impl Layer for Lasting {
    fn beneath(&self) -> &Arc<dyn Store> {
        &self.0
    }

    async fn close_beneath(&self) {}

    async fn through<T: Send + 'static>(&self, call: Call<T>) -> Result<T, StoreError> {
        call.apply(&self.0).await
    }
}

/// The store, and when the clock began.
pub(crate) struct Paused {
    store: Arc<dyn Store>,
    dir: tempfile::TempDir,
    pub(crate) begun: Instant,
}

/// Runs a test under a paused clock.
pub(crate) fn under_a_paused_clock<F: Future<Output = ()>>(test: impl FnOnce(Paused) -> F) {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let begun = Instant::now();
        let ms = move || u64::try_from(begun.elapsed().as_millis()).unwrap();
        let clock = embedded::Clock::new(move || EPOCH_MS + ms());
        let store = EmbeddedStore::in_memory_with_clock(2, clock).unwrap();
        let store = Arc::new(Lasting(Arc::new(store)));
        let dir = tempfile::tempdir().unwrap();
        test(Paused { store, dir, begun }).await;
    });
}

impl Paused {
    /// Starts a host whose clock is ahead of the store's by so much.
    pub(crate) async fn host(&self, skew_ms: i64) -> Host {
        let ground = ground(self.begun, skew_ms);
        Host::start(config(self.dir.path(), &self.store, ground)).await.unwrap()
    }
}

fn ground(begun: Instant, skew_ms: i64) -> Ground {
    let runtime = Handle::current();
    let around = move |task: BoxFuture<'static, ()>| -> BoxFuture<'static, ()> {
        let parker = BatonParker(Handle::current());
        Box::pin(on_thread(None, move || parker.park(task)))
    };
    let epoch = i64::try_from(EPOCH_MS).unwrap();
    let now = move || epoch + skew_ms + i64::try_from(begun.elapsed().as_millis()).unwrap();
    Ground {
        runtime: runtime.clone(),
        heavy: None,
        parker: Arc::new(BatonParker(runtime)),
        random: Random::system(),
        around: Some(Arc::new(around)),
        native: None,
        clock: Clock::new(now),
    }
}

fn config(dir: &Path, store: &Arc<dyn Store>, ground: Ground) -> HostConfig {
    let limits = HostLimits {
        actors_awake_max: 16,
        memory_bytes_max: 16 << 20,
        // The epoch is the machine's.
        epoch_tick: Duration::from_secs(3600),
        ..HostLimits::default()
    };
    HostConfig::new(dir)
        .with_limits(limits)
        .advanced(|settings| settings.with_store(Arc::clone(store)).with_ground(ground))
}

pub(crate) async fn wait(ms: u64) {
    sleep(Duration::from_millis(ms)).await;
}
