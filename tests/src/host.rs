//! Hosts inside the test's process: several over one store, each with a store of faults in between.
//!
//! ```text
//!  Site (a directory with the store's files)
//!   ├─ TestHost ── FaultyStore ── EmbeddedStore ─┐
//!   └─ TestHost ── FaultyStore ── EmbeddedStore ─┴─ the same files, as two processes would
//! ```
//! A host with a lease of milliseconds takes over from a host whose beats are seconds apart: that
//! is how a test fences a host that is alive and does not know.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use stockade::host::ExitInfo;
use stockade::internal::Ground;
use stockade::limits::{HostLimits, Limits};
use stockade::{ActorId, Arguments, CallError, Host, HostConfig, HostError, Manifest};
use stockade_depot::store::embedded::{Clock, EmbeddedConfig, EmbeddedStore};
use stockade_depot::{Random, TokioParker};
use stockade_testkit::faulty_store::FaultyStore;
use tempfile::TempDir;
use tokio::runtime::Handle;

use crate::guest::Guest;
use crate::recorder::Recorder;

/// A lease so long that this host never judges another host dead by its beats, and beats rarely.
const PATIENT: Duration = Duration::from_secs(600);
/// A lease so short that a host which beats every 200 s is immediately judged dead.
const HASTY: Duration = Duration::from_millis(60);

/// Awake actors of a test's host: each host reserves address space for this many, and dozens of
/// hosts share the process.
const AWAKE_MAX: usize = 64;

/// A directory with one store, for any number of hosts.
pub struct Site {
    dir: TempDir,
    hosts: AtomicUsize,
}

/// Settings of a host that is not started yet.
pub struct HostBuilder<'a> {
    site: &'a Site,
    lease: Duration,
    limits: HostLimits,
    allow_faults: bool,
    clock: Option<Clock>,
    wall_clock: Option<stockade::internal::Clock>,
    recorder: Option<Arc<Recorder>>,
    runtime: Option<Handle>,
    heavy: Option<Handle>,
    has_peers: bool,
}

/// A running host.
pub struct TestHost {
    /// The host.
    pub host: Host,
    /// The faults between the host and the store's files.
    pub store: Arc<FaultyStore>,
}

impl Default for Site {
    fn default() -> Self {
        Self::new()
    }
}

impl Site {
    /// A directory with an empty store.
    #[must_use]
    pub fn new() -> Self {
        // The stores of a site use SQLite before a host starts: a host would configure SQLite too
        // late.
        stockade_vfs::heap::install();
        let dir = tempfile::Builder::new().prefix("stockade-it-").tempdir().unwrap();
        Self { dir, hosts: AtomicUsize::new(0) }
    }

    /// An empty store, and a host over it that has deployed a guest.
    pub async fn hosting(guest: Guest) -> (Self, TestHost) {
        let site = Self::new();
        let host = site.host().start().await;
        host.deploy(guest).await;
        (site, host)
    }

    /// Where everything is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The directory of the store's files.
    #[must_use]
    pub fn store_dir(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    /// A host over the store. It takes no actor from another host that may be alive.
    #[must_use]
    pub fn host(&self) -> HostBuilder<'_> {
        HostBuilder {
            site: self,
            lease: PATIENT,
            limits: limits(),
            clock: None,
            wall_clock: None,
            recorder: None,
            runtime: None,
            heavy: None,
            allow_faults: false,
            has_peers: false,
        }
    }

    /// A host that takes over every actor that it is called for, also from hosts that are alive.
    #[must_use]
    pub fn usurper(&self) -> HostBuilder<'_> {
        HostBuilder { lease: HASTY, ..self.host() }
    }

    /// The store itself, without a host.
    #[must_use]
    pub fn open_store(&self) -> EmbeddedStore {
        EmbeddedStore::open(&EmbeddedConfig::new(self.store_dir())).unwrap()
    }
}

fn limits() -> HostLimits {
    HostLimits { actors_awake_max: AWAKE_MAX, ..HostLimits::default() }
}

impl HostBuilder<'_> {
    /// Sets the limits of the process.
    #[must_use]
    pub fn limits(mut self, set: impl FnOnce(&mut HostLimits)) -> Self {
        set(&mut self.limits);
        self
    }

    /// Allows `ActorHandle::fault`.
    #[must_use]
    pub fn allow_faults(mut self) -> Self {
        self.allow_faults = true;
        self
    }

    /// Gives the store a clock of its own.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Gives a host that runs on a runtime of the test a clock for its alarms.
    #[must_use]
    pub fn wall_clock(mut self, clock: stockade::internal::Clock) -> Self {
        self.wall_clock = Some(clock);
        self
    }

    /// Sets the observer that records the steps of endings.
    #[must_use]
    pub fn recorder(mut self, recorder: &Arc<Recorder>) -> Self {
        self.recorder = Some(Arc::clone(recorder));
        self
    }

    /// Runs the host on this runtime, its guests included.
    #[must_use]
    pub fn on(mut self, runtime: &Handle) -> Self {
        self.runtime = Some(runtime.clone());
        self
    }

    /// Runs calls with megabytes on another runtime than [`on`](Self::on) says.
    #[must_use]
    pub fn heavy_on(mut self, runtime: &Handle) -> Self {
        self.heavy = Some(runtime.clone());
        self
    }

    /// Sets the time after which a silent host is judged dead. A third of it is between two reports.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Says that the host takes calls from others. It has no listener: only what it and others decide is
    /// of interest.
    #[must_use]
    pub fn with_peers(mut self) -> Self {
        self.has_peers = true;
        self
    }

    /// Starts the host.
    pub async fn start(self) -> TestHost {
        let number = self.site.hosts.fetch_add(1, Ordering::Relaxed);
        let mut files = EmbeddedConfig::new(self.site.store_dir());
        if let Some(clock) = self.clock {
            files.clock = clock;
        }
        let store = FaultyStore::new(Arc::new(EmbeddedStore::open(&files).unwrap()));
        let driver = Arc::clone(&store) as Arc<dyn stockade_depot::Store>;
        let mut config = HostConfig::new(self.site.path().join(format!("host-{number}")))
            .with_limits(self.limits)
            .with_lease(self.lease)
            .with_advertised(format!("host-{number}"))
            .advanced(|settings| {
                settings.with_faults_allowed(self.allow_faults).with_store(driver)
            });
        if self.has_peers {
            config = config.with_peers(format!("host-{number}"));
        }
        if let Some(recorder) = self.recorder {
            recorder.watch(&store);
            config = config.advanced(|settings| settings.with_observer(recorder));
        }
        if let Some(runtime) = self.runtime {
            let (parker, random) = (Arc::new(TokioParker(runtime.clone())), Random::system());
            let ground = Ground {
                runtime,
                heavy: self.heavy,
                parker,
                random,
                around: None,
                native: None,
                clock: self.wall_clock.unwrap_or_default(),
            };
            config = config.advanced(|settings| settings.with_ground(ground));
        }
        TestHost { host: Host::start(config).await.unwrap(), store }
    }
}

impl TestHost {
    /// Deploys a guest under its own name as kind, hyphens for underscores.
    pub async fn deploy(&self, guest: Guest) {
        self.deploy_with(guest, |_| {}).await;
    }

    /// Deploys a guest with limits.
    pub async fn deploy_with(&self, guest: Guest, set: impl FnOnce(&mut Limits)) {
        let mut manifest = Manifest::default();
        set(&mut manifest.limits);
        self.host.deploy(guest.name, guest.wasm().unwrap(), manifest).await.unwrap();
    }

    /// Calls a method: JSON arguments in, JSON result out.
    ///
    /// # Errors
    /// As `ActorHandle::call`.
    pub async fn call(
        &self,
        actor: &ActorId,
        method: &str,
        arguments: Json,
    ) -> Result<Json, CallError> {
        let reply = self.host.actor(actor).call(method, Arguments::Json(arguments)).await?;
        Ok(reply.to_json())
    }

    /// Calls a method whose result is `ok`, and returns the value inside.
    pub async fn ok(&self, actor: &ActorId, method: &str, arguments: Json) -> Json {
        let answer = self.call(actor, method, arguments).await.unwrap();
        unwrap_ok(&answer, method)
    }

    /// Calls until the host has taken the actor over from another host.
    ///
    /// # Errors
    /// As `ActorHandle::call`, but never `Elsewhere`.
    pub async fn take_over_and_call(
        &self,
        actor: &ActorId,
        method: &str,
        arguments: Json,
    ) -> Result<Json, CallError> {
        let begun = Instant::now();
        loop {
            match self.call(actor, method, arguments.clone()).await {
                Err(CallError { cause: HostError::Elsewhere { .. }, .. })
                    if begun.elapsed() < Duration::from_secs(20) =>
                {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                answer => return answer,
            }
        }
    }

    /// Asserts that another host owns the actor, and that this host says so.
    pub async fn assert_elsewhere(&self, actor: &ActorId, method: &str) {
        let answer = self.call(actor, method, json!([])).await;
        assert!(
            matches!(answer, Err(CallError { cause: HostError::Elsewhere { .. }, .. })),
            "{actor}: {answer:?}"
        );
    }

    /// How the actor's last generation ended here; waits until an exit is recorded.
    pub async fn exit_of(&self, actor: &ActorId) -> ExitInfo {
        let begun = Instant::now();
        loop {
            if let Some(exit) = self.host.actor(actor).info().await.unwrap().last_exit {
                return exit;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "{actor} has no exit here");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The actor's database as a plain SQLite file's bytes.
    pub async fn export(&self, actor: &ActorId) -> Vec<u8> {
        let mut export = self.host.actor(actor).export().await.unwrap();
        let mut bytes = Vec::new();
        while let Some(chunk) = export.next().await.unwrap() {
            bytes.extend_from_slice(&chunk);
        }
        bytes
    }

    /// Exports the actor and opens the copy with stock SQLite, which must find it sound.
    pub async fn open_export(&self, actor: &ActorId, dir: &Path) -> rusqlite::Connection {
        let path = dir.join(format!("{}-{}.db", actor.kind(), actor.key()));
        std::fs::write(&path, self.export(actor).await).unwrap();
        let copy = rusqlite::Connection::open(&path).unwrap();
        let check: String = copy.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(check, "ok", "{actor}");
        copy
    }

    /// Asserts that `verify` finds nothing.
    pub async fn assert_intact(&self, actor: &ActorId) {
        let report = self.host.actor(actor).verify().await.unwrap();
        assert!(report.fault_count == 0, "{actor}: {:?}", report.faults);
    }
}

/// Makes an actor's id; panics if the text is not valid.
#[must_use]
pub fn actor(kind: Guest, key: &str) -> ActorId {
    ActorId::new(kind.name, key).unwrap()
}

/// The value inside `{"ok": ..}`; panics if the result is an error.
pub fn unwrap_ok(answer: &Json, what: &str) -> Json {
    match answer.get("ok") {
        Some(value) => value.clone(),
        None => panic!("{what} answered {answer}"),
    }
}
