//! A machine of a simulation: a host on it, how often one was started, and how others reach it.
//!
//! A host has the address of its machine, so that a host that is started again is found under the
//! address of the one before it: a route to that one comes to it, and must be refused.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use stockade::internal::{Clock, Engine, Ground};
use stockade::limits::{HostLimits, Limits};
use stockade::{Host, HostConfig, Manifest};
use stockade_depot::broken::Variant;
use stockade_depot::{Parker as _, Random, Store};
use stockade_sim_depot::baton::{BatonParker, on_thread};
use stockade_sim_depot::dice::Dice;
use stockade_sim_depot::network::{Life, Link, Network};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::carrier::Carrier;
use crate::code::{self, Guest};
use crate::forward::{Lines, Node};

/// How long a host may fail to renew its lease before others take it for dead. A host that is cut
/// off for longer is judged dead while it continues to run.
pub const LEASE: Duration = Duration::from_millis(400);
/// How long the start of a host may take. Its messages may be lost without an error.
const START_WITHIN: Duration = Duration::from_secs(3);
/// A deadline of guests that no run reaches.
const NEVER_MS: u64 = 3_600_000;

/// A machine with its host, and how often a host was started on it.
pub struct Machine {
    /// Its number.
    pub number: usize,
    /// How often a host was started on it.
    pub starts: u64,
    /// The life of the newest host's process.
    pub life: Arc<Life>,
    /// The host, with how it is reached.
    pub node: Option<Node>,
    /// Callers of the host.
    pub clients: JoinSet<()>,
}

/// What the hosts of a run have in common.
pub struct Setting {
    /// The guest that they run.
    pub guest: &'static Guest,
    /// The lease.
    pub lease: Duration,
    /// How often a host looks after the store.
    pub upkeep: Duration,
    /// When alarms and messages are due.
    pub clock: Clock,
    /// Whether hosts carry calls and messages of actors to each other.
    pub carries: bool,
}

/// What a host is started on.
pub struct Place<'a> {
    /// What it has in common with the others.
    pub setting: &'a Setting,
    /// The network.
    pub network: &'a Arc<Network>,
    /// The lines to other hosts.
    pub lines: &'a Arc<Lines>,
    /// Chance.
    pub dice: &'a Arc<Dice>,
    /// Where the machine keeps its files. Machines that see each other's locks share it.
    pub dir: &'a Path,
    /// The rule that is switched off.
    pub off: Option<Variant>,
}

/// The address of a machine for other hosts.
fn address(number: usize) -> String {
    format!("machine{number}")
}

impl Machine {
    /// Starts a host, which dies after so many events of its messages (0: not by itself). The start
    /// may fail, since the store may not answer.
    pub async fn start(number: usize, starts: u64, dies_in: u64, place: &Place<'_>) -> Self {
        let name = format!("host{number}.{starts}");
        let life = Life::new(name.clone(), dies_in);
        let journal = &place.network.journal;
        journal.say(&format!("{name} starts, dies in {dies_in}"));
        let host = match timeout(START_WITHIN, Host::start(config(number, &life, place))).await {
            Ok(Ok(host)) => Some(host),
            Ok(Err(error)) => {
                journal.say(&format!("{name} does not start: {error}"));
                None
            }
            Err(_) => {
                journal.say(&format!("{name} does not start in time"));
                None
            }
        };
        let node = host.map(|host| Node { number, host, life: Arc::clone(&life) });
        match &node {
            Some(node) => {
                if place.setting.carries {
                    let carrier = Carrier::new(place.lines, address(number), &life);
                    node.host.carry_calls(Arc::new(carrier));
                }
                place.lines.join(&address(number), node.clone());
            }
            None => life.die(),
        }
        Self { number, starts, life, node, clients: JoinSet::new() }
    }

    /// Ends the host as a killed process ends: no message leaves or reaches it any more.
    pub async fn crash(&mut self, lines: &Lines) {
        self.life.die();
        if self.node.take().is_some() {
            lines.leave(&address(self.number));
        }
        self.clients.shutdown().await;
    }
}

fn config(number: usize, life: &Arc<Life>, place: &Place<'_>) -> HostConfig {
    let setting = place.setting;
    std::fs::create_dir_all(place.dir).unwrap();
    setting.guest.provide(place.dir);
    let limits = HostLimits { upkeep_every: setting.upkeep, ..code::limits() };
    let config = HostConfig::new(place.dir)
        .with_limits(limits)
        .with_lease(setting.lease)
        .with_advertised(&life.name)
        .with_peers(address(number))
        .advanced(|settings| settings.with_store(Link::new(place.network, life)));
    let (random, runtime, off) = (Arc::clone(place.dice), Handle::current(), place.off);
    let life = Arc::clone(life);
    let around = move |task: BoxFuture<'static, ()>| -> BoxFuture<'static, ()> {
        let (life, parker) = (Arc::clone(&life), BatonParker(Handle::current()));
        let on_its_thread = on_thread(off, move || parker.park(task));
        Box::pin(async move {
            tokio::select! {
                biased;
                () = life.died() => {}
                () = on_its_thread => {}
            }
        })
    };
    let ground = Ground {
        runtime: runtime.clone(),
        heavy: None,
        parker: Arc::new(BatonParker(runtime)),
        random: Random::new(move |bytes| random.fill(bytes)),
        around: Some(Arc::new(around)),
        native: None,
        clock: setting.clock.clone(),
    };
    config.advanced(|settings| settings.with_ground(ground))
}

/// Limits of a guest whose deadlines no run reaches.
#[must_use]
pub fn limits() -> Limits {
    Limits {
        memory_bytes_max: 16 << 20,
        call_time_ms: NEVER_MS,
        start_time_ms: NEVER_MS,
        stop_time_ms: NEVER_MS,
        snapshot_time_ms: NEVER_MS,
        sleep_after_ms: 500,
        history_ms: 30_000,
        history_commits_min: 2,
        ..Limits::default()
    }
}

/// Puts a guest and its kind into the store before the first host starts.
pub async fn deploy(store: &dyn Store, guest: &Guest, manifest: &Manifest) {
    let wasm = guest.wasm();
    let digest = Engine::digest(&wasm);
    store.put_component(digest, wasm).await.unwrap();
    let manifest = serde_json::to_string(manifest).unwrap();
    store.put_kind(guest.kind, digest, &manifest).await.unwrap();
}
