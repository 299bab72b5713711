//! A host: start it, deploy components, call actors, shut it down. What embedders use.
//!
//! ```no_run
//! # async fn example(wasm: Vec<u8>) -> Result<(), stockade::HostError> {
//! use stockade::{ActorId, Host, HostConfig};
//!
//! let host = Host::start(HostConfig::new("data")).await?;
//! let mut manifest = host.manifest();
//! manifest.limits.call_time_ms = 2_000;
//! host.deploy("counter", wasm, manifest).await?;
//! let alice = host.actor(&ActorId::new("counter", "alice")?);
//! let reply = alice.call("increment", (5,)).await?;
//! println!("{} in generation {}", reply.to_json(), reply.generation);
//! host.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! Shutting down goes top to bottom: intake, generations, background tasks, the store's writer.

mod advanced;
mod call;
mod config;
mod fault;
mod handle;
mod history;
mod import;
mod info;
mod kinds;
mod listing;
mod retire;
mod room;
mod runtimes;
mod upkeep;
mod verify;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use parking_lot::Mutex;
use stockade_depot::history::Progress;
use stockade_depot::store::embedded::{EmbeddedConfig, EmbeddedStore};
use stockade_depot::store::{ActorState, Store};
use stockade_depot::{
    ActorId, Depot, DepotLimits, OpenError, Reason, StoreFailure, StoreFull, Verdict,
};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::OnceCell;
use tokio::task::JoinSet;

pub use crate::actor::bill::Bill;
pub use crate::actor::exit::SnapshotOutcome;
pub use crate::actor::generation::StartedFrom;
pub use crate::actor::trace::{EndStep, Observer, ShutdownStep};
pub use crate::router::kinds::Manifest;
pub use crate::router::quotas::Usage;
pub use crate::sqlite::Value as SqlValue;
pub use advanced::Advanced;
pub use call::{Callable, ReadyCall};
pub use config::HostConfig;
pub use fault::FaultReport;
pub use handle::ActorHandle;
pub use history::{Export, VerifyReport};
pub use import::{Imported, import as import_into};
pub use info::{
    ActorInfo, ActorStatus, Deployed, ExitInfo, KindInfo, RemovedKind, Reply, ShutdownReport,
};
pub use info::{SqlReply, SqlRequest};
pub use listing::{ActorOrder, ActorPage, ActorQuery, ActorTally, SortedActors};
pub use verify::{Verified, VerifyNews, verify_store};

use crate::actor::asker::Asker;
use crate::actor::cause::error_of_open;
use crate::actor::statements::Statements;
use crate::capability;
use crate::cpu::Turns;
use crate::engine::{Engine, EngineConfig, Offered};
use crate::error::HostError;
use crate::fault::FaultingStore;
use crate::limits::{HostLimits, Limits};
use crate::memory::GuestMemory;
use crate::router::awake::Awake;
use crate::router::crashes::Crashes;
use crate::router::damaged::Damaged;
use crate::router::exits::Exits;
use crate::router::ground::Ground;
use crate::router::heirs::Heirs;
use crate::router::kinds::{Kind, Kinds};
use crate::router::nodes::Nodes;
use crate::router::quotas::Quotas;
use crate::router::request::{self, Ending, Work};
use crate::router::{Router, Shared};
use crate::runtime::cores;
use crate::sqlite::{Intake, sweep_intakes};
use history::Readings;
use retire::Retired;
use runtimes::Runtimes;

/// How often a destroy starts again because calls have woken the actor meanwhile.
const DESTROY_ATTEMPTS: usize = 20;

/// How often kinds deployed by other processes are looked for.
const KINDS_EVERY: Duration = Duration::from_secs(1);

/// How long each step of the end may take that follows the generations'. 10 s: leaving and closing a
/// store takes some of its writes, and whatever it leaves undone the next process does.
const STEP_WITHIN: Duration = Duration::from_secs(10);

/// A running host. Cloning shares it.
#[derive(Clone)]
pub struct Host {
    inner: Arc<Inner>,
}

struct Inner {
    router: Router,
    store: Arc<dyn Store>,
    config: HostConfig,
    ready: AtomicBool,
    retired: Arc<Retired>,
    background: Mutex<JoinSet<()>>,
    readings: Readings,
    runtimes: Mutex<Option<Runtimes>>,
    /// Set when the host has ended. Whoever comes meanwhile waits.
    ended: OnceCell<ShutdownReport>,
}

impl Host {
    /// Opens the store, registers this process, and is ready for calls when it returns.
    /// Must be called inside a tokio runtime; guests get a runtime of their own.
    ///
    /// # Errors
    /// `Directory` or `Engine` names what could not be opened; store errors as they are.
    pub async fn start(config: HostConfig) -> Result<Self, HostError> {
        if !stockade_vfs::heap::install() {
            tracing::warn!("SQLite was in use before: the memory of databases is not bounded");
        }
        let dirs = config.make_directories()?;
        let store: Arc<dyn Store> = match &config.advanced.store {
            Some(store) => Arc::clone(store),
            None => Arc::new(open_embedded(&dirs.store, config.accept_loss)?),
        };
        let faulting = config.advanced.allow_faults.then(|| {
            tracing::warn!("FAULTS ARE ALLOWED: operators can make actors fail on purpose");
            Arc::new(FaultingStore::new(Arc::clone(&store)))
        });
        let store = match &faulting {
            Some(faulting) => Arc::clone(faulting) as Arc<dyn Store>,
            None => store,
        };
        if let Err(error) = sweep_intakes(&dirs.scratch) {
            tracing::warn!(%error, "cannot remove what interrupted imports have left");
        }
        let has_threads = config.advanced.ground.is_none();
        let (runtimes, ground, keeper) = match &config.advanced.ground {
            Some(ground) => (None, ground.clone(), ground.runtime.clone()),
            None => {
                let runtimes = Runtimes::start()?;
                let (guests, keeper) = runtimes.handles();
                (Some(runtimes), Ground::of(guests), keeper)
            }
        };
        let node = ground.random.node_session()?;
        let depot_limits = DepotLimits {
            commit_bytes_max: config.limits.commit_bytes_max,
            step_bytes_max: config.limits.step_bytes_max,
            ..DepotLimits::default()
        };
        let depot = Depot::with_random(
            Arc::clone(&store),
            node,
            depot_limits,
            Arc::clone(&ground.parker),
            ground.runtime.clone(),
            ground.random.clone(),
        );
        let engine = Arc::new(Engine::new(EngineConfig {
            cache_dir: Some(dirs.code),
            epoch_tick: config.limits.epoch_tick,
            instances_max: u32::try_from(config.limits.actors_awake_max).unwrap_or(u32::MAX),
            memory_bytes_max: config.limits.memory_bytes_max,
            table_elements_max: config.limits.table_elements_max,
            component_bytes_max: config.limits.component_bytes_max,
            offered: Offered::all(),
        })?);
        let awake_max = engine.awake().actors_max;
        if awake_max < config.limits.actors_awake_max {
            let cap = engine.awake();
            // Nobody has asked for the default in particular.
            if config.limits.actors_awake_max == HostLimits::default().actors_awake_max {
                tracing::info!(%cap, "fewer actors may be awake than the default");
            } else {
                tracing::warn!(%cap, "fewer actors may be awake than configured");
            }
        }
        let linker = capability::linker(engine.wasmtime())
            .map_err(|error| HostError::Internal(format!("link capabilities: {error:#}")))?;
        let nodes = Nodes::register(
            Arc::clone(&store),
            node,
            config.advertised.clone(),
            config.lease,
            &dirs.nodes,
        )
        .await?;
        let shared = Arc::new(Shared {
            depot,
            kinds: Kinds::new(Arc::clone(&store), engine, linker),
            quotas: Quotas::default(),
            nodes,
            exits: Exits::default(),
            heirs: Heirs::default(),
            crashes: Crashes::default(),
            damaged: Damaged::new(config.limits.damaged_rest),
            observer: config.advanced.observer.clone(),
            awake: Awake::new(awake_max, GuestMemory::new(config.limits.guest_bytes_max())),
            spares: Arc::default(),
            log_rate: Arc::new(capability::Rate::new(config.limits.log_bytes_per_s)),
            turns: if has_threads { Turns::of(cores()) } else { Turns::default() },
            scratch_dir: dirs.scratch,
            ground,
            faulting,
        });
        let router = Router::new(shared);
        let readings = Readings::default();
        let upkeep = upkeep::keep(router.clone(), readings.clone(), config.limits.upkeep_every);
        let retired = Arc::<Retired>::default();
        let mut background = background(&router, &keeper, upkeep);
        let watch = retire::on_failure(router.clone(), Arc::clone(&store), Arc::clone(&retired));
        background.spawn_on(watch, &keeper);
        if has_threads {
            background.spawn_on(room::watch_machine(router.clone()), &keeper);
        }
        let host = Self {
            inner: Arc::new(Inner {
                background: Mutex::new(background),
                retired,
                readings,
                router,
                store,
                config,
                ready: AtomicBool::new(true),
                runtimes: Mutex::new(runtimes),
                ended: OnceCell::new(),
            }),
        };
        Ok(host)
    }

    /// Deploys a component under a name. Live generations of an older component end in order; the
    /// next call of each runs the new one.
    ///
    /// # Errors
    /// `Component` if it cannot run, `InvalidActor` for the name, `Manifest`, and
    /// those of the store. Nothing changed then.
    pub async fn deploy(
        &self,
        kind: &str,
        wasm: Vec<u8>,
        manifest: Manifest,
    ) -> Result<Deployed, HostError> {
        // Any key will do: only the kind can be wrong.
        ActorId::new(kind, "key")?;
        let manifest = manifest.fitted(&self.inner.config.limits)?;
        let kinds = &self.shared().kinds;
        let wasm = kinds.check(wasm, &manifest.limits).await?;
        let digest = Engine::digest(&wasm);
        let program = kinds.program(digest, wasm.clone(), &manifest).await?;
        manifest.check_methods(&program.methods)?;
        let before = self.inner.store.kind(kind).await?;
        self.inner.store.put_component(digest, wasm).await?;
        let text = manifest.to_stored()?;
        let row = self.inner.store.put_kind(kind, digest, &text).await?;
        let version = row.version;
        let methods = program.methods.len();
        kinds.adopt(Kind { row, manifest, program });
        let ended = self.inner.router.end_kind(kind, Ending::Upgrade).await;
        let replaced = before.map(|row| row.component).filter(|old| *old != digest);
        Ok(Deployed { kind: kind.to_owned(), digest, version, methods, replaced, ended })
    }

    /// The manifest with what this host gives to kinds that set nothing themselves. Change it, then
    /// deploy with it; `Manifest::default()` has the program's own defaults instead.
    #[must_use]
    pub fn manifest(&self) -> Manifest {
        let HostConfig { kind_defaults, limits, .. } = &self.inner.config;
        Manifest { limits: kind_defaults.clone().within(limits), ..Manifest::default() }
    }

    /// [`ActorHandle::sql`].
    async fn sql(&self, actor: &ActorId, request: SqlRequest) -> Result<SqlReply, HostError> {
        let limits = Arc::clone(&self.shared().kinds.current(actor.kind()).await?.limits);
        let max = self.inner.config.limits.admin_rows_max;
        let (reply, heard) = request::Reply::new(self.callers());
        let SqlRequest { sql, parameters, write, rows_max } = request;
        let rows_max = rows_max.unwrap_or(max).min(max);
        let asker = Asker::default();
        // If this future is dropped, its statements end.
        let _present = asker.present();
        let statements = Statements { sql, parameters, write, rows_max, asker };
        let work = Work::Sql { statements, reply };
        let heard = self.hear(&limits, actor, work, heard).await?;
        Ok(SqlReply::of(heard))
    }

    /// [`ActorHandle::stop`].
    async fn stop(&self, actor: &ActorId) -> Result<Option<ExitInfo>, HostError> {
        let exit = self.inner.router.end(actor, Ending::Operator).await?;
        if exit.is_none() {
            let head = self.state(actor).await?.head;
            if let Some(address) = self.shared().elsewhere(&head) {
                return Err(HostError::Elsewhere { actor: actor.clone(), address });
            }
        }
        Ok(exit.map(ExitInfo::from))
    }

    /// [`ActorHandle::reset`].
    async fn reset(&self, actor: &ActorId) -> Result<(), HostError> {
        self.shared().damaged.forget(actor);
        // Known to exist, so that asking for a wrong name makes no slot.
        self.state(actor).await?;
        let limits = self.limits(actor.kind()).await?;
        self.inner.router.forgive(&limits, actor).await
    }

    /// [`ActorHandle::destroy`].
    async fn destroy(&self, actor: &ActorId) -> Result<(), HostError> {
        let router = &self.inner.router;
        let mut attempts = 0;
        let db = loop {
            attempts += 1;
            router.end(actor, Ending::Destroy).await?;
            let state = self.state(actor).await?;
            match self.shared().depot.destroy(&state).await {
                // A call that came in between has started the next generation.
                Err(OpenError::Superseded { .. }) if attempts < DESTROY_ATTEMPTS => {}
                Err(error) => return Err(error_of_open(error, actor).of(actor)),
                Ok(()) => {
                    self.shared().quotas.destroyed(actor.kind(), state.head.page_count.0);
                    break state.row.db;
                }
            }
        };
        self.shared().damaged.forget(actor);
        // A generation that came in between has lost its database: its next caller must not be the
        // one to find out.
        let live = router.slot(actor).and_then(|slot| slot.fence());
        if live.is_some_and(|fence| fence.db == db) {
            router.end(actor, Ending::Destroy).await?;
        }
        Ok(())
    }

    /// The limits of a kind's actors.
    ///
    /// # Errors
    /// `KindMissing`, and those of the store.
    pub async fn limits(&self, kind: &str) -> Result<Arc<Limits>, HostError> {
        Ok(Arc::clone(&self.shared().kinds.current(kind).await?.limits))
    }

    /// Actors in (kind, key) order after `after`, at most `max`.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn actors(
        &self,
        kind: Option<&str>,
        after: Option<&ActorId>,
        max: usize,
    ) -> Result<Vec<ActorInfo>, HostError> {
        let states = self.inner.store.actors(kind, after, max).await?;
        let mut infos = Vec::with_capacity(states.len());
        for state in states {
            infos.push(self.info_of(state).await);
        }
        Ok(infos)
    }

    /// One actor, to call it or to work on it. Nothing is asked for that.
    #[must_use]
    pub fn actor(&self, id: &ActorId) -> ActorHandle {
        ActorHandle::new(self.clone(), id.clone())
    }

    /// [`ActorHandle::info`].
    async fn info(&self, actor: &ActorId) -> Result<ActorInfo, HostError> {
        Ok(self.info_of(self.state(actor).await?).await)
    }

    async fn info_of(&self, state: ActorState) -> ActorInfo {
        let actor = &state.row.actor;
        let slot = self.inner.router.slot(actor);
        // Only who has crashed needs the limits of its kind, which may have to be loaded.
        let crashes = &self.shared().crashes;
        let standing = if state.row.restarts > 0 || crashes.has(actor) {
            let kind = self.shared().kinds.current(actor.kind()).await.ok();
            let ended = self.shared().ended_in_order(&state);
            kind.map(|kind| crashes.standing(&state, ended, kind.component.digest(), &kind.limits))
        } else {
            None
        };
        ActorInfo::of(state, self.shared(), slot.as_deref(), standing)
    }

    /// [`ActorHandle::export`].
    async fn export(&self, actor: &ActorId) -> Result<Export, HostError> {
        let state = self.state(actor).await?;
        let store = Arc::clone(&self.inner.store);
        Export::begin(store, actor, state.row.db, &self.inner.readings).await
    }

    /// [`ActorHandle::import`].
    async fn import(
        &self,
        actor: &ActorId,
        file: &Path,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Imported, HostError> {
        let intake = self.intake(actor).await?;
        let (file, max) = (file.to_owned(), self.database_bytes_max(actor).await?);
        let copied = import::blocking(move || intake.copy(&file, max).map(|()| intake)).await?;
        self.import_intake(actor, copied, progress).await
    }

    /// [`ActorHandle::intake`].
    async fn intake(&self, actor: &ActorId) -> Result<Intake, HostError> {
        self.shared().kinds.kind(actor.kind()).await?;
        let free = import::check_free(self.inner.store.as_ref(), actor).await;
        free.map_err(|error| error.of(actor))?;
        Ok(Intake::new(&self.shared().scratch_dir)?)
    }

    /// [`ActorHandle::import_intake`].
    async fn import_intake(
        &self,
        actor: &ActorId,
        intake: Intake,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Imported, HostError> {
        let kind = self.shared().kinds.kind(actor.kind()).await?;
        let component = kind.program.component.digest();
        let limits = (*kind.program.limits).clone();
        let store = self.inner.store.as_ref();
        let place = self.shared().quotas.admit(store, actor.kind(), &limits).await?;
        let depot = &self.shared().depot;
        let imported = import::import(depot, actor, component, intake, limits, progress).await;
        if let Ok(imported) = &imported {
            place.keep(imported.page_count.0);
            self.shared().damaged.forget(actor);
        }
        imported.map_err(|error| error.of(actor))
    }

    /// [`ActorHandle::database_bytes_max`].
    async fn database_bytes_max(&self, actor: &ActorId) -> Result<u64, HostError> {
        Ok(self.limits(actor.kind()).await?.database_bytes_max)
    }

    /// [`ActorHandle::verify`].
    async fn verify(&self, actor: &ActorId) -> Result<VerifyReport, HostError> {
        let state = self.state(actor).await?;
        let report = history::verify(self.inner.store.as_ref(), state.row.db).await;
        report.map_err(|error| error.of(actor))
    }

    /// Checks everything that the store keeps, its actors or those of `kind` among it.
    ///
    /// # Errors
    /// The store does not answer at all. Damage is told, not an error.
    pub async fn verify_all(
        &self,
        kind: Option<&str>,
        tell: &mut (dyn FnMut(VerifyNews) + Send),
    ) -> Result<Verified, HostError> {
        verify_store(self.inner.store.as_ref(), kind, tell).await
    }

    /// Bytes of memory that all guests here have together.
    #[must_use]
    pub fn guest_bytes(&self) -> u64 {
        self.shared().awake.memory().pool().used()
    }

    /// Actors awake here.
    #[must_use]
    pub fn awake(&self) -> usize {
        self.shared().awake.count()
    }

    /// Whether calls are accepted. A full store accepts them: see [`Host::full`].
    #[must_use]
    pub fn ready(&self) -> bool {
        self.inner.ready.load(Ordering::Acquire) && self.failure().is_none()
    }

    /// Why this host takes no more calls although nobody has shut it down: a file of its store has
    /// failed (see [`Host::failed`]). `None`: it has not.
    #[must_use]
    pub fn failure(&self) -> Option<StoreFailure> {
        self.inner.retired.failure().cloned()
    }

    /// Resolves when a file of the store has failed and the host has retired: calls are refused as
    /// `depot.closed`, its generations end with the reason *storage*, and other processes on the
    /// store take its actors over. It never serves again. Shut it down, then end the process, so
    /// that the next one reads what the disk really has; `stockade serve` does so by itself.
    ///
    /// ```no_run
    /// # async fn example(host: stockade::Host) {
    /// let failure = host.failed().await;
    /// eprintln!("{failure}");
    /// host.shutdown().await;
    /// # }
    /// ```
    pub async fn failed(&self) -> StoreFailure {
        self.inner.retired.done().await
    }

    /// Whether callers over HTTP are told the last words of guests: see
    /// [`HostConfig::with_development`].
    #[must_use]
    pub fn is_for_development(&self) -> bool {
        self.inner.config.development
    }

    /// Why writes are refused now: the store has no room. Reads go on, and so does everything once
    /// there is room. `None`: writes are not refused.
    #[must_use]
    pub fn full(&self) -> Option<StoreFull> {
        self.inner.store.full()
    }

    /// Ends everything in order: intake, generations, background tasks, the store. Returns when the
    /// host has ended, whoever ended it; one that is given up half way is finished by the next.
    pub async fn shutdown(&self) -> ShutdownReport {
        *self.inner.ended.get_or_init(|| self.end()).await
    }

    async fn end(&self) -> ShutdownReport {
        let begun = Instant::now();
        self.close_intake();
        let unfinished = self.end_generations().await;
        let mut orderly = unfinished == 0;
        orderly &= in_time("background tasks", self.join_background()).await;
        orderly &= in_time("leaving the store", self.retire()).await;
        orderly &= in_time("closing the store", self.close_store()).await;
        // Found at the very end, by the last checkpoint or by what was written before it.
        orderly &= self.inner.store.failed().now_or_never().is_none();
        drop(self.inner.runtimes.lock().take());
        ShutdownReport { orderly, unfinished, took: begun.elapsed() }
    }

    fn close_intake(&self) {
        self.inner.ready.store(false, Ordering::Release);
        self.inner.router.close_intake();
        self.told(ShutdownStep::IntakeClosed);
    }

    async fn end_generations(&self) -> usize {
        let unfinished = self.inner.router.close(self.inner.config.limits.shutdown_max).await;
        if unfinished > 0 {
            tracing::warn!(
                unfinished,
                "generations were given up: they are taken over as they are"
            );
        }
        self.told(ShutdownStep::GenerationsEnded);
        unfinished
    }

    async fn join_background(&self) {
        let mut background = std::mem::take(&mut *self.inner.background.lock());
        background.shutdown().await;
        self.told(ShutdownStep::BackgroundJoined);
    }

    async fn retire(&self) {
        self.shared().nodes.retire().await;
        self.told(ShutdownStep::NodeRetired);
    }

    async fn close_store(&self) {
        self.inner.store.close().await;
        self.told(ShutdownStep::StoreClosed);
    }

    fn told(&self, step: ShutdownStep) {
        tracing::debug!(?step, "shutting down");
        if let Some(observer) = &self.shared().observer {
            observer.shutdown(step);
        }
    }

    /// The runtime that a call's answer waits on, if that is not the host's.
    fn callers(&self) -> Option<Handle> {
        let wait_here = self.inner.config.advanced.wait_on_callers;
        let here = wait_here.then(Handle::try_current)?.ok();
        // One of a single thread runs only while somebody waits on it, who may stop.
        here.filter(|here| here.runtime_flavor() == RuntimeFlavor::MultiThread)
    }

    fn shared(&self) -> &Arc<Shared> {
        self.inner.router.shared()
    }

    async fn state(&self, actor: &ActorId) -> Result<ActorState, HostError> {
        let state = self.inner.store.actor(actor).await;
        let state = state.map_err(|error| HostError::from(error).of(actor))?;
        state.ok_or_else(|| HostError::ActorMissing { actor: actor.clone() })
    }

    fn cut_off(&self) -> HostError {
        if let Some(failure) = self.failure() {
            return HostError::Ended {
                reason: Reason::Storage,
                verdict: Some(Verdict::Indeterminate),
                cause: failure.to_string(),
            };
        }
        if self.ready() {
            return HostError::Internal("the task of an actor panicked".to_owned());
        }
        HostError::Ended {
            reason: Reason::Shutdown,
            verdict: Some(Verdict::Indeterminate),
            cause: "the host shut down without waiting any longer".to_owned(),
        }
    }
}

/// Whether a step of the end was done. A store that does not answer must not keep the process.
async fn in_time(what: &str, step: impl Future<Output = ()>) -> bool {
    let done = tokio::time::timeout(STEP_WITHIN, step).await.is_ok();
    if !done {
        tracing::error!(what, "not done in time; the host ends without it");
    }
    done
}

fn open_embedded(dir: &Path, accept_loss: bool) -> Result<EmbeddedStore, HostError> {
    let mut config = EmbeddedConfig::new(dir);
    config.accept_loss = accept_loss;
    EmbeddedStore::open(&config)
        .map_err(|error| HostError::Directory { path: dir.to_owned(), error: error.to_string() })
}

/// Tasks that live as long as the host.
fn background(
    router: &Router,
    keeper: &Handle,
    upkeep: impl Future<Output = ()> + Send + 'static,
) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let shared = Arc::clone(router.shared());
    tasks.spawn_on(async move { shared.nodes.keep().await }, keeper);
    let shared = Arc::clone(router.shared());
    tasks.spawn_on(async move { shared.heirs.keep(&shared.depot, &shared.nodes).await }, keeper);
    tasks.spawn_on(upkeep, keeper);
    let shared = Arc::clone(router.shared());
    tasks.spawn_on(async move { shared.spares.keep().await }, keeper);
    tasks.spawn_on(room::make(router.clone()), keeper);
    let router = router.clone();
    let look_for_kinds = async move {
        let mut period = tokio::time::interval(KINDS_EVERY);
        loop {
            period.tick().await;
            match router.shared().kinds.refresh().await {
                Ok(changed) => {
                    for kind in changed {
                        router.end_kind(&kind, Ending::Upgrade).await;
                    }
                }
                Err(error) => tracing::warn!(%error, "cannot look for newly deployed kinds"),
            }
        }
    };
    tasks.spawn_on(look_for_kinds, keeper);
    tasks
}
