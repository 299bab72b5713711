//! A run: nodes over one store, and a scheduler that lets them start generations, steal actors from
//! each other, lose their network, crash, and shut down, all from one seed and under a paused
//! clock.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use stockade_depot::broken::{Off, Variant};
use stockade_depot::store::embedded::Clock;
use stockade_depot::store::{ActorState, DueLook, PreviousEnd, Wanted};
use stockade_depot::{
    ActorId, DbId, Depot, DepotLimits, Digest, EmbeddedStore, NodeSession, Origin, Random, Shard,
    Store, history,
};
use stockade_remote::CarriedServer;
use stockade_vfs::VfsOptions;
use tokio::runtime::{Builder, Handle};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::bank::State;
use crate::baton::{BatonParker, on_thread};
use crate::dice::Dice;
use crate::generation::Place;
use crate::historian::Historian;
use crate::journal::{Journal, Report};
use crate::judge::Judge;
use crate::network::{Life, Link, Network, Weather};
use crate::reaper::Reaper;
use crate::remote;
use crate::shards::mover::Mover;
use crate::shards::router::Router;
use crate::shards::{Primaries, SHARDS, ShardRule};

const NODES: usize = 3;
const STEPS: u64 = 60;
/// Milliseconds of the store's clock in one of the scheduler's: history that outlives the deadlines
/// grows old within a run.
pub const STORE_MS: u64 = 50;

/// The store of a run, under its paused clock.
#[must_use]
pub fn store(journal: &Arc<Journal>) -> Arc<dyn Store> {
    let clock = Arc::clone(journal);
    let clock = Clock::new(move || clock.now_ms() * STORE_MS);
    Arc::new(EmbeddedStore::in_memory_with_clock(2, clock).unwrap())
}

/// Whether one of the tasks that have ended panicked.
pub fn has_panicked(tasks: &mut JoinSet<()>) -> bool {
    let mut panicked = false;
    while let Some(ended) = tasks.try_join_next() {
        panicked |= ended.is_err_and(|error| error.is_panic());
    }
    panicked
}

/// Longer than any message is on its way, and than any deadline.
const SETTLED: Duration = Duration::from_secs(10);

/// Runs one seed, with a rule switched off.
#[must_use]
pub fn run(seed: u64, off: Option<Variant>) -> Report {
    let _off = Off::new(off);
    unfolded(seed, off, Kind::Plain)
}

/// Runs one seed over a store of two primaries between which shards move, with a rule of moves switched
/// off.
#[must_use]
pub fn run_with_moves(seed: u64, off: Option<ShardRule>) -> Report {
    unfolded(seed, None, Kind::Moves(off))
}

/// Runs one seed over the store of another node, with a rule switched off.
#[must_use]
pub fn run_remote(seed: u64, off: Option<Variant>) -> Report {
    let _off = Off::new(off);
    unfolded(seed, off, Kind::Remote)
}

/// How nodes reach their store.
#[derive(Clone, Copy)]
enum Kind {
    /// Each step is a message.
    Plain,
    /// Through the protocol of another node.
    Remote,
    /// Shards move between two primaries, by all rules but this one.
    Moves(Option<ShardRule>),
}

fn unfolded(seed: u64, off: Option<Variant>, kind: Kind) -> Report {
    let scratch = tempfile::tempdir().unwrap();
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let journal = runtime.block_on(async {
        let mut world = World::new(seed, off, kind, scratch.path().to_owned());
        world.unfold().await;
        world.settle().await;
        for node in &mut world.nodes {
            node.crash().await;
        }
        Arc::clone(&world.journal)
    });
    drop(runtime);
    journal.into_report(seed)
}

struct World {
    nodes: Vec<Node>,
    network: Arc<Network>,
    journal: Arc<Journal>,
    judge: Arc<Judge>,
    dice: Arc<Dice>,
    actors: Vec<ActorId>,
    /// Those between which shards move.
    primaries: Option<Arc<Primaries>>,
    /// The node that has the store.
    server: Option<Arc<CarriedServer>>,
    /// Whether nearly every commit is too large for one step. The rows of such commits are not
    /// trimmed.
    stages: bool,
    ops: Arc<AtomicI64>,
    scratch: std::path::PathBuf,
    off: Option<Variant>,
}

/// A process, and how often it was started.
struct Node {
    number: usize,
    starts: u64,
    life: Arc<Life>,
    depot: Arc<Depot>,
    shutdown: Arc<Notify>,
    heirs: Arc<Mutex<HashMap<ActorId, ActorState>>>,
    tasks: JoinSet<()>,
}

impl Node {
    fn start(number: usize, starts: u64, world: &World) -> Self {
        let dice = &world.dice;
        let name = format!("node{number}.{starts}");
        // The one that looks at the end of a run lives.
        let dies = number < NODES && dice.percent(50);
        let dies_in = if dies { dice.between(20, 600) } else { 0 };
        let life = Life::new(name.clone(), dies_in);
        let pages = |count: u64| count * 4096;
        let limits = DepotLimits {
            step_deadline: Duration::from_millis(400),
            read_deadline: Duration::from_millis(200),
            cache_bytes_max: if dice.percent(50) { 0 } else { 64 << 20 },
            step_bytes_max: if world.stages { pages(1) } else { 4 << 20 },
            pipeline_bytes_max: if dice.percent(30) { pages(4) } else { 64 << 20 },
            ..DepotLimits::default()
        };
        let mut session = [0; 16];
        dice.fill(&mut session);
        let random = Arc::clone(dice);
        let depot = Depot::with_random(
            world.way(&life),
            NodeSession(session),
            limits,
            Arc::new(BatonParker(Handle::current())),
            Handle::current(),
            Random::new(move |bytes| random.fill(bytes)),
        );
        world.journal.say(&format!("{name} starts, dies in {dies_in}"));
        let (shutdown, tasks) = (Arc::new(Notify::new()), JoinSet::new());
        Self { number, starts, life, depot, shutdown, heirs: Arc::default(), tasks }
    }

    /// Ends as a killed process does: nothing of the node reaches a client or the store any more.
    async fn crash(&mut self) {
        self.life.die();
        self.tasks.shutdown().await;
    }
}

impl World {
    fn new(seed: u64, off: Option<Variant>, kind: Kind, scratch: std::path::PathBuf) -> Self {
        let dice = Arc::new(Dice::new(seed));
        let journal = Arc::new(Journal::new());
        let judge = Judge::new(&journal);
        let primaries = match kind {
            Kind::Moves(off) => Some(Primaries::new(&journal, off)),
            Kind::Plain | Kind::Remote => None,
        };
        let store = match &primaries {
            Some(primaries) => Router::new(primaries, None) as Arc<dyn Store>,
            None => store(&journal),
        };
        let server =
            matches!(kind, Kind::Remote).then(|| Arc::new(CarriedServer::new(Arc::clone(&store))));
        let weather = Weather::roll(&dice);
        let (own_dice, own_journal) = (Arc::clone(&dice), Arc::clone(&journal));
        let network = Network::new(store, own_dice, own_journal, Arc::clone(&judge), weather);
        let actors = if dice.percent(30) { vec!["a", "b"] } else { vec!["a"] };
        let actors = actors.into_iter().map(|key| ActorId::new("bank", key).unwrap()).collect();
        let stages = dice.percent(50);
        let ops = Arc::new(AtomicI64::new(0));
        let nodes = Vec::new();
        let mut world = Self {
            nodes,
            network,
            journal,
            judge,
            dice,
            actors,
            primaries,
            server,
            stages,
            ops,
            scratch,
            off,
        };
        for number in 0..NODES {
            let node = Node::start(number, 1, &world);
            world.nodes.push(node);
        }
        world
    }

    /// How a life of a node reaches the store.
    fn way(&self, life: &Arc<Life>) -> Arc<dyn Store> {
        match (&self.primaries, &self.server) {
            (Some(primaries), _) => Router::new(primaries, Some((&self.network, life))),
            (None, Some(server)) => remote::store(&self.network, life, server),
            (None, None) => Link::new(&self.network, life),
        }
    }

    /// The store that a database is in, past the network.
    async fn keeper(&self, db: DbId) -> Arc<dyn Store> {
        let keeper = match &self.primaries {
            Some(primaries) => primaries.keeper(db).await,
            None => None,
        };
        keeper.unwrap_or_else(|| Arc::clone(&self.network.store))
    }

    fn mover(&self, at: usize, shard: Shard) -> Option<Mover> {
        let primaries = Arc::clone(self.primaries.as_ref()?);
        let life = Arc::clone(&self.nodes[at].life);
        Some(Mover { primaries, network: Arc::clone(&self.network), life, shard })
    }

    /// A node moves a shard, or continues a move; it may not live to see the end of it.
    fn move_shard(&mut self, at: usize) {
        let actor = self.pick(self.actors.len());
        let shard = self.actors[actor].shard(SHARDS.into());
        let Some(mover) = self.mover(at, shard) else { return };
        if self.dice.percent(40) {
            self.nodes[at].life.dies_in(self.dice.between(1, 40));
        }
        self.nodes[at].tasks.spawn(mover.run());
    }

    /// Ends all moves.
    async fn end_moves(&mut self) {
        let Some(primaries) = self.primaries.clone() else { return };
        for shard in Shard::all(SHARDS.into()) {
            let node = Node::start(NODES, 1, self);
            self.nodes.push(node);
            for _ in 0..10 {
                if !primaries.moves(shard).await {
                    break;
                }
                if let Some(mover) = self.mover(NODES, shard) {
                    mover.run().await;
                }
            }
            self.nodes.truncate(NODES);
            if primaries.moves(shard).await {
                self.journal.broken(&format!("the move of shard {shard} does not end"));
            }
        }
    }

    fn pick(&self, of: usize) -> usize {
        usize::try_from(self.dice.below(u64::try_from(of).unwrap())).unwrap()
    }

    /// A node starts a generation of some actor, whichever node has the actor now.
    fn begin(&mut self, at: usize, actor: usize) {
        let node = &mut self.nodes[at];
        let place = Place {
            depot: Arc::clone(&node.depot),
            node: node.life.name.clone(),
            actor: self.actors[actor].clone(),
            judge: Arc::clone(&self.judge),
            journal: Arc::clone(&self.journal),
            dice: Arc::clone(&self.dice),
            ops: Arc::clone(&self.ops),
            shutdown: Arc::clone(&node.shutdown),
            heirs: Arc::clone(&node.heirs),
            scratch: self.scratch.clone(),
            off: self.off,
        };
        node.tasks.spawn(place.live());
    }

    async fn unfold(&mut self) {
        for _ in 0..STEPS {
            self.step().await;
            for at in 0..NODES {
                if has_panicked(&mut self.nodes[at].tasks) {
                    self.journal.broken("a generation's task panicked");
                }
                if self.nodes[at].life.is_dead() {
                    self.nodes[at].crash().await;
                    if self.dice.percent(40) {
                        let starts = self.nodes[at].starts + 1;
                        self.nodes[at] = Node::start(self.nodes[at].number, starts, self);
                    }
                }
            }
            if self.journal.is_broken() {
                return;
            }
        }
    }

    /// A node looks at the past of an actor.
    fn look_back(&mut self, at: usize, trims: bool) {
        let actor = self.pick(self.actors.len());
        let node = &mut self.nodes[at];
        let historian = Historian {
            store: Arc::clone(node.depot.store()),
            actor: self.actors[actor].clone(),
            judge: Arc::clone(&self.judge),
            journal: Arc::clone(&self.journal),
            dice: Arc::clone(&self.dice),
            scratch: self.scratch.clone(),
        };
        if trims {
            node.tasks.spawn(historian.trim());
        } else {
            node.tasks.spawn(historian.export());
        }
    }

    /// A node destroys an actor, or imports one.
    fn end_or_begin(&mut self, at: usize, destroys: bool) {
        let actor = self.pick(self.actors.len());
        let reaper = self.reaper(at, actor);
        let node = &mut self.nodes[at];
        if self.dice.percent(40) {
            // It does not live to see the end of it.
            node.life.dies_in(self.dice.between(1, 25));
        }
        if destroys {
            node.tasks.spawn(reaper.destroy());
        } else {
            node.tasks.spawn(reaper.import());
        }
    }

    fn reaper(&self, at: usize, actor: usize) -> Reaper {
        Reaper {
            depot: Arc::clone(&self.nodes[at].depot),
            node: self.nodes[at].life.name.clone(),
            actor: self.actors[actor].clone(),
            network: Arc::clone(&self.network),
            ops: Arc::clone(&self.ops),
            scratch: self.scratch.clone(),
        }
    }

    async fn step(&mut self) {
        sleep(Duration::from_millis(self.dice.between(1, 80))).await;
        let at = self.pick(NODES);
        if self.nodes[at].life.is_dead() {
            return;
        }
        if self.primaries.is_some() && self.dice.percent(15) {
            return self.move_shard(at);
        }
        match self.dice.below(100) {
            0..=39 => {
                let actor = self.pick(self.actors.len());
                self.begin(at, actor);
                let other = self.pick(NODES);
                if self.dice.percent(30) && !self.nodes[other].life.is_dead() {
                    self.begin(other, actor);
                }
            }
            40..=49 => {
                let cut_off = self.dice.percent(50);
                self.journal.say(&format!("node{at} cut off: {cut_off}"));
                self.nodes[at].life.cut_off(cut_off);
            }
            50..=54 => {
                self.journal.say(&format!("node{at} crashes"));
                self.nodes[at].crash().await;
            }
            55..=64 => {
                self.journal.say(&format!("node{at} ends its generations"));
                self.nodes[at].shutdown.notify_waiters();
            }
            65..=79 => {
                // Exports that meet the trimming.
                self.look_back(at, true);
                self.look_back(at, false);
                self.look_back(at, false);
            }
            80..=89 => self.look_back(at, false),
            90..=93 => self.end_or_begin(at, true),
            94..=97 => self.end_or_begin(at, false),
            _ => {}
        }
    }

    /// The network gets well, everything on its way arrives, and the next owner finds the truth.
    async fn settle(&mut self) {
        if self.journal.is_broken() {
            return;
        }
        self.journal.say("the network gets well");
        self.network.calm.store(true, Ordering::SeqCst);
        for node in &mut self.nodes {
            node.life.cut_off(false);
            node.shutdown.notify_waiters();
        }
        sleep(SETTLED).await;
        self.end_moves().await;
        for node in &mut self.nodes {
            if has_panicked(&mut node.tasks) {
                self.journal.broken("a generation's task panicked");
            }
        }
        for number in 0..self.actors.len() {
            let actor = self.actors[number].clone();
            if let Err(what) = self.look_at(&actor).await {
                self.journal.broken(&format!("{actor} in the end: {what}"));
            }
        }
        for db in self.judge.gone() {
            let rows = self.network.store.rows_of(db).await.unwrap();
            if rows > 0 {
                self.journal.broken(&format!("{rows} rows are left of the destroyed {db}"));
            }
            if self.due_of(db).await.is_some() {
                self.journal.broken(&format!("the destroyed {db} is due"));
            }
        }
    }

    /// The due time that the store has for a database.
    async fn due_of(&self, db: DbId) -> Option<i64> {
        let shards = Shard::all(self.network.store.shards()).collect();
        let look = DueLook { shards, until: i64::MAX, after: None, limit: u32::MAX };
        let found = self.keeper(db).await.due(look).await.unwrap();
        found.rows.iter().find(|row| row.db == db).map(|row| row.at)
    }

    /// What was interrupted and lies there still comes to its end when it is asked for again.
    async fn finish(&self, node: &Node, state: &ActorState) -> Result<(), String> {
        let reaper = Reaper { depot: Arc::clone(&node.depot), ..self.reaper(0, 0) };
        let reaper = Reaper { actor: state.row.actor.clone(), ..reaper };
        let what = if state.row.wanted == Wanted::Destroying { "destroy" } else { "import" };
        self.journal.say(&format!("{} has an unfinished {what}", state.row.actor));
        if state.row.wanted == Wanted::Destroying {
            reaper.destroy().await;
        } else {
            reaper.import().await;
        }
        let now = self.network.store.actor(&state.row.actor).await;
        match now.map_err(|error| error.to_string())? {
            Some(now) if now.head.origin == Origin::Imported => Ok(()),
            None if what == "destroy" => Ok(()),
            _ => Err(format!("the {what} does not come to its end")),
        }
    }

    /// Opens an actor once more, reads all of it, and checks all of its history.
    async fn look_at(&mut self, actor: &ActorId) -> Result<(), String> {
        let node = Node::start(NODES, 1, self);
        let store = Arc::clone(&self.network.store);
        let Some(state) = store.actor(actor).await.map_err(|error| error.to_string())? else {
            return Ok(());
        };
        self.judge.found(actor, state.head.fence.db, &self.judge.gone());
        if state.row.wanted == Wanted::Destroying || state.head.origin == Origin::Importing {
            return self.finish(&node, &state).await;
        }
        let opened = node.depot.take_over(&state, Digest([7; 32]), PreviousEnd::Neutral).await;
        let session = opened.map_err(|error| error.to_string())?.session;
        let replaces = Some(state.head.fence.generation);
        let life = Judge::life(actor, session.fence().db);
        self.judge.opened(&life, session.fence(), replaces, "the end");
        let began = self.judge.begin(&life, session.fence());
        let (own, options) = (session.clone(), VfsOptions::new(&self.scratch));
        let read = on_thread(self.off, move || {
            let db = stockade_vfs::open(own, &options).map_err(|error| error.to_string())?;
            let check = "PRAGMA integrity_check";
            let check = || db.connection().query_row(check, [], |row| row.get::<_, String>(0));
            let check = db.within(check);
            let state = db.within(|| State::read(db.connection()));
            let state = state.map_err(|error| error.to_string())?;
            Ok::<_, String>((check.map_err(|error| error.to_string())?, state))
        });
        let (check, state) = read.await?;
        session.confirm().await.map_err(|error| error.to_string())?;
        self.judge.heard_state(&life, began, &state);
        if check != "ok" {
            return Err(check);
        }
        let (due, said) = (self.due_of(session.fence().db).await, self.judge.due_of(&state.ledger));
        if due != said {
            return Err(format!("it is due at {due:?}, its transactions say {said:?}"));
        }
        let report = history::verify(store.as_ref(), session.fence().db, &mut |_| ()).await;
        let report = report.map_err(|error| error.to_string())?;
        let version = state.ledger.len();
        self.journal.say(&format!("{actor} ends at version {version}, {} commits", report.commits));
        if report.is_sound() { Ok(()) } else { Err(format!("{:?}", report.faults)) }
    }
}
