//! How a host starts: its directories, store, threads, engine; then it is one of the processes that
//! share the store.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use stockade_depot::store::Store;
use stockade_depot::store::embedded::{EmbeddedConfig, EmbeddedStore};
use stockade_depot::{Depot, DepotLimits, NodeSession};
use tokio::runtime::Handle;
use tokio::sync::OnceCell;
use tokio::task::JoinSet;

use super::config::Directories;
use super::places::Places;
use super::readings::Readings;
use super::retire::{self, Retired};
use super::runtimes::Runtimes;
use super::{Host, HostConfig, Inner, due, nodes, room, upkeep};
use crate::calls::Waits;
use crate::capability;
use crate::cpu::Turns;
use crate::engine::{Engine, EngineConfig, Offered};
use crate::environment::Ground;
use crate::error::HostError;
use crate::fault::FaultingStore;
use crate::import;
use crate::kinds::Kinds;
use crate::kinds::quotas::Quotas;
use crate::limits::HostLimits;
use crate::membership::load::Gauge;
use crate::membership::{Announced, Nodes};
use crate::memory::GuestMemory;
use crate::router::Router;
use crate::router::admission::Awake;
use crate::router::request::Ending;
use crate::runtime::cores;
use crate::supervision::Shared;
use crate::supervision::crashes::Crashes;
use crate::supervision::damaged::Damaged;
use crate::supervision::due::DueBook;
use crate::supervision::exits::Exits;
use crate::supervision::handed::Handed;
use crate::supervision::released::Released;
use crate::supervision::rescues::Rescues;
use crate::supervision::reservations::Reservations;

/// How often kinds deployed by other processes are looked for.
const KINDS_EVERY: Duration = Duration::from_secs(1);

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
        let store = open_store(&config, &dirs)?;
        let faulting = config.advanced.allow_faults.then(|| with_faults(&store));
        let store = match &faulting {
            Some(faulting) => Arc::clone(faulting) as Arc<dyn Store>,
            None => store,
        };
        if let Err(error) = import::sweep(&dirs.scratch) {
            tracing::warn!(%error, "cannot remove what interrupted imports have left");
        }
        let (runtimes, ground, keeper) = match &config.advanced.ground {
            Some(ground) => (None, ground.clone(), ground.runtime.clone()),
            None => {
                let runtimes = Runtimes::start()?;
                let (guests, heavy, keeper) = runtimes.handles();
                (Some(runtimes), Ground::of(guests, heavy), keeper)
            }
        };
        let router = open_router(&config, dirs, &store, faulting, ground).await?;
        let readings = Readings::default();
        let retired = Arc::<Retired>::default();
        let upkeep = upkeep::keep(router.clone(), readings.clone(), config.limits.upkeep_every);
        let mut background = background(&router, &keeper, upkeep);
        let per_min = config.limits.handed_over_per_min;
        background.spawn_on(nodes::balance(router.clone(), per_min), &keeper);
        let watch = retire::on_failure(router.clone(), Arc::clone(&store), Arc::clone(&retired));
        background.spawn_on(watch, &keeper);
        if config.advanced.ground.is_none() {
            background.spawn_on(room::watch_machine(router.clone()), &keeper);
        }
        let inner = Inner {
            background: Mutex::new(background),
            retired,
            places: Places::default(),
            far: OnceLock::new(),
            readings,
            router,
            store,
            config,
            ready: AtomicBool::new(true),
            runtimes: Mutex::new(runtimes),
            ended: OnceCell::new(),
        };
        let host = Self { inner: Arc::new(inner) };
        host.lets_actors_call();
        Ok(host)
    }
}

fn open_store(config: &HostConfig, dirs: &Directories) -> Result<Arc<dyn Store>, HostError> {
    match &config.advanced.store {
        Some(store) => Ok(Arc::clone(store)),
        None => Ok(Arc::new(open_embedded(&dirs.store, config.accept_loss)?)),
    }
}

/// The store's wrapper on a host that allows faults.
fn with_faults(store: &Arc<dyn Store>) -> Arc<FaultingStore> {
    tracing::warn!("FAULTS ARE ALLOWED: operators can make actors fail on purpose");
    Arc::new(FaultingStore::new(Arc::clone(store)))
}

fn open_embedded(dir: &Path, accept_loss: bool) -> Result<EmbeddedStore, HostError> {
    let mut config = EmbeddedConfig::new(dir);
    config.accept_loss = accept_loss;
    EmbeddedStore::open(&config)
        .map_err(|error| HostError::Directory { path: dir.to_owned(), error: error.to_string() })
}

/// What actors live on, with this process registered among those that share the store.
async fn open_router(
    config: &HostConfig,
    dirs: Directories,
    store: &Arc<dyn Store>,
    faulting: Option<Arc<FaultingStore>>,
    ground: Ground,
) -> Result<Router, HostError> {
    let node = ground.random.node_session()?;
    let depot = open_depot(&config.limits, store, &ground, node);
    // Guests in Rust need no instances: there may be as many as are configured.
    let native = ground.native.is_some();
    let instances_max = if native { 1 } else { config.limits.actors_awake_max };
    let engine = Arc::new(open_engine(&config.limits, dirs.code, instances_max)?);
    let awake_max =
        if native { config.limits.actors_awake_max } else { awake_max(&config.limits, &engine) };
    let linker = capability::linker(engine.wasmtime())
        .map_err(|error| HostError::Internal(format!("link capabilities: {error:#}")))?;
    let announced = Announced { address: config.advertised.clone(), peers: config.peers.clone() };
    let nodes =
        Nodes::register(Arc::clone(store), node, announced, config.lease, &dirs.nodes).await?;
    let shared = Arc::new(Shared {
        depot,
        nodes,
        kinds: Kinds::new(Arc::clone(store), engine, linker),
        quotas: Quotas::default(),
        exits: Exits::default(),
        reservations: Reservations::default(),
        crashes: Crashes::default(),
        damaged: Damaged::new(config.limits.damaged_rest),
        released: Released::default(),
        handed: Handed::default(),
        rescues: Rescues::default(),
        due: Arc::new(DueBook::new(ground.clock.clone())),
        observer: config.advanced.observer.clone(),
        spares: Arc::default(),
        log_rate: Arc::new(capability::Rate::new(config.limits.log_bytes_per_s)),
        turns: if config.advanced.ground.is_none() { Turns::of(cores()) } else { Turns::default() },
        scratch_dir: dirs.scratch,
        waits: Waits::new(node, ground.clock.clone()),
        ground,
        faulting,
        outside: OnceLock::new(),
    });
    let memory = GuestMemory::new(config.limits.guest_bytes_max());
    let awake = Awake::new(awake_max, memory);
    // A simulation has no cores of its own.
    let measured = config.advanced.ground.is_none().then(cores);
    shared.nodes.measure(Gauge::new(awake.measure(), measured));
    Ok(Router::new(shared, awake))
}

fn open_depot(
    limits: &HostLimits,
    store: &Arc<dyn Store>,
    ground: &Ground,
    node: NodeSession,
) -> Arc<Depot> {
    let limits = DepotLimits {
        commit_bytes_max: limits.commit_bytes_max,
        step_bytes_max: limits.step_bytes_max,
        ..DepotLimits::default()
    };
    Depot::with_random(
        Arc::clone(store),
        node,
        limits,
        Arc::clone(&ground.parker),
        ground.runtime.clone(),
        ground.random.clone(),
    )
}

fn open_engine(
    limits: &HostLimits,
    cache_dir: PathBuf,
    instances_max: usize,
) -> Result<Engine, HostError> {
    Ok(Engine::new(EngineConfig {
        cache_dir: Some(cache_dir),
        epoch_tick: limits.epoch_tick,
        instances_max: u32::try_from(instances_max).unwrap_or(u32::MAX),
        memory_bytes_max: limits.memory_bytes_max,
        table_elements_max: limits.table_elements_max,
        component_bytes_max: limits.component_bytes_max,
        offered: Offered::all(),
    })?)
}

/// How many actors may be awake: as configured, as far as the machine has room for their instances.
fn awake_max(limits: &HostLimits, engine: &Engine) -> usize {
    let cap = engine.awake();
    if cap.actors_max < limits.actors_awake_max {
        // The default was not asked for in particular.
        if limits.actors_awake_max == HostLimits::default().actors_awake_max {
            tracing::info!(%cap, "fewer actors may be awake than the default");
        } else {
            tracing::warn!(%cap, "fewer actors may be awake than configured");
        }
    }
    cap.actors_max
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
    let claims = async move { shared.reservations.claim(&shared.depot, &shared.nodes).await };
    tasks.spawn_on(claims, keeper);
    tasks.spawn_on(upkeep, keeper);
    let shared = Arc::clone(router.shared());
    tasks.spawn_on(async move { shared.spares.keep().await }, keeper);
    tasks.spawn_on(room::make(router.clone()), keeper);
    tasks.spawn_on(nodes::give_away(router.clone()), keeper);
    // Guests in Rust have no alarms.
    if router.shared().ground.native.is_none() {
        tasks.spawn_on(due::keep(router.clone()), keeper);
    }
    let router = router.clone();
    let look_for_kinds = async move {
        let mut period = tokio::time::interval(KINDS_EVERY);
        let mut is_away = false;
        loop {
            period.tick().await;
            match router.shared().kinds.refresh().await {
                Ok(changed) => {
                    is_away = false;
                    for kind in changed {
                        router.end_kind(&kind, Ending::Upgrade).await;
                    }
                }
                Err(error) if is_away => tracing::debug!(%error, "still no news of kinds"),
                Err(error) => {
                    is_away = true;
                    tracing::warn!(%error, "cannot look for newly deployed kinds");
                }
            }
        }
    };
    tasks.spawn_on(look_for_kinds, keeper);
    tasks
}
