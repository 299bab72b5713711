//! A run of a fleet: nodes start and meet, all actors are begun, some nodes are lost, and the run
//! continues until every actor of theirs has answered.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use stockade::internal::Ground;
use stockade::limits::{HostLimits, LEASE};
use stockade::{Host, HostConfig};
use stockade_depot::broken::{Off, Variant};
use stockade_depot::store::embedded::Clock;
use stockade_depot::{EmbeddedStore, Parker, Random, Store};
use stockade_sim_depot::dice::Dice;
use stockade_sim_depot::network::Life;
use tokio::runtime::{Builder, Handle};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::callers::{CALLER_TIME, Callers, Counts, Phase, Tale};
use super::ledger::{self, Ledger};
use super::load::{Load, Way};
use super::report::{Report, Times};
use super::size::Size;
use crate::code;
use crate::forward::{Lines, Node, Passage};

/// How long one way between two nodes takes.
const WAY: Duration = Duration::from_millis(1);
/// How long everything runs beside the last first calls.
const STEADY: Duration = Duration::from_secs(5);
/// How long lost actors may be silent before a run gives them up.
const SILENT_MAX: Duration = Duration::from_secs(60);
/// What follows when all have answered.
const AFTER: Duration = Duration::from_secs(3);
/// The store's clock when a run begins: milliseconds since the Unix epoch.
const EPOCH_MS: u64 = 1_700_000_000_000;
/// Bytes of memory of one node's guests.
const GUEST_BYTES: u64 = 64 << 30;

/// Runs a fleet from one seed. `off`: the rule that is switched off.
#[must_use]
pub fn run(seed: u64, size: Size, off: Option<Variant>) -> Report {
    let _off = Off::new(off);
    let scratch = tempfile::tempdir().unwrap();
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let world = World::start(seed, size, scratch.path()).await;
        world.unfold().await
    })
}

struct World {
    seed: u64,
    load: Arc<Load>,
    callers: Arc<Callers>,
}

/// Waits inside of a page read: nothing here waits, so what is not cached is not there.
struct NoWait;

impl Parker for NoWait {
    fn park(&self, work: BoxFuture<'_, ()>) {
        drop(work);
    }
}

impl World {
    async fn start(seed: u64, size: Size, scratch: &Path) -> Self {
        let begun = Instant::now();
        let ms = move || u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let clock = Clock::new(move || EPOCH_MS + ms());
        let store: Arc<dyn Store> =
            Arc::new(EmbeddedStore::in_memory_with_clock(4, clock).unwrap());
        ledger::deploy(store.as_ref()).await;
        let load = Load::new(store, size.server);
        let dice = Arc::new(Dice::new(seed));
        let lines = Lines::new(|| Passage { delay: WAY, ..Passage::default() }, drop);
        let mut nodes = Vec::new();
        for number in 0..size.nodes {
            let life = Life::new(format!("node{number}"), 0);
            let way = Way { load: Arc::clone(&load), node: number, life: Arc::clone(&life) };
            let config = config(scratch, size, way, &dice);
            let host = Host::start(config).await.unwrap();
            let node = Node { number, host, life };
            lines.join(&node.life.name, node.clone());
            nodes.push(node);
        }
        // Each has seen a sign of life of each other.
        sleep(LEASE).await;
        let tales = (0..size.actors).map(|_| Tale::default().into()).collect();
        let (counts, phase, news) = (Counts::default().into(), Phase::Whole.into(), Notify::new());
        let callers =
            Arc::new(Callers { nodes, lines, dice, size, tales, counts, phase, news, begun });
        Self { seed, load, callers }
    }

    async fn unfold(self) -> Report {
        let (callers, size) = (&self.callers, self.callers.size);
        let begun = Instant::now();
        let mut running = JoinSet::new();
        for number in 0..size.actors {
            running.spawn(Arc::clone(callers).live(number));
        }
        sleep(Duration::from_millis(size.begin_ms)).await;
        let all_begun = Instant::now();
        sleep(STEADY).await;
        let lost_at = self.lose();
        while !self.all_answered() && lost_at.elapsed() < SILENT_MAX {
            sleep(Duration::from_millis(100)).await;
        }
        let all_answered = Instant::now();
        sleep(AFTER).await;
        callers.enter(Phase::Over);
        let joined = async { while running.join_next().await.is_some() {} };
        if timeout(CALLER_TIME * 3, joined).await.is_err() {
            callers.counts.lock().broken.push("a caller does not end".to_owned());
        }
        let times = Times { begun, all_begun, lost_at, all_answered };
        Report::new(self.seed, &self.load, callers, &times).await
    }

    /// The last nodes are gone: nothing leaves or reaches them.
    fn lose(&self) -> Instant {
        let callers = &self.callers;
        let first = callers.nodes.len() - callers.size.lost;
        for tale in &callers.tales {
            let mut tale = tale.lock();
            tale.is_lost = tale.owner.is_some_and(|owner| owner >= first);
        }
        for node in &callers.nodes[first..] {
            node.life.die();
            callers.lines.leave(&node.life.name);
        }
        let now = Instant::now();
        callers.enter(Phase::Lost(now));
        now
    }

    fn all_answered(&self) -> bool {
        self.callers.tales.iter().all(|tale| {
            let tale = tale.lock();
            !tale.is_lost || tale.answered_after.is_some()
        })
    }
}

/// A node's settings: the defaults, but for what a simulation has of its own.
fn config(scratch: &Path, size: Size, way: Way, dice: &Arc<Dice>) -> HostConfig {
    let (life, name) = (Arc::clone(&way.life), way.life.name.clone());
    let dir = scratch.join(&name);
    std::fs::create_dir_all(&dir).unwrap();
    ledger::provide(&dir);
    let limits = HostLimits {
        actors_awake_max: size.awake_max,
        guest_bytes_max: Some(GUEST_BYTES),
        ..code::limits()
    };
    let around = move |task: BoxFuture<'static, ()>| -> BoxFuture<'static, ()> {
        let life = Arc::clone(&life);
        Box::pin(async move {
            tokio::select! {
                biased;
                () = life.died() => {}
                () = task => {}
            }
        })
    };
    let random = Arc::clone(dice);
    let ground = Ground {
        runtime: Handle::current(),
        heavy: None,
        parker: Arc::new(NoWait),
        random: Random::new(move |bytes| random.fill(bytes)),
        around: Some(Arc::new(around)),
        native: Some(Arc::new(Ledger)),
        clock: stockade::internal::Clock::new(|| 0),
    };
    HostConfig::new(dir)
        .with_limits(limits)
        .with_advertised(&name)
        .with_peers(&name)
        .advanced(|settings| settings.with_store(Arc::new(way)).with_ground(ground))
}
