//! A run: machines with a host each over one store, and a scheduler that calls, stops, destroys,
//! steals, cuts off, crashes, shuts down and starts, all from one seed and under a paused clock.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use rusqlite::Connection;
use stockade::internal::Engine;
use stockade::internal::Ground;
use stockade::limits::{HostLimits, Limits};
use stockade::{ActorId, Host, HostConfig, HostError, Manifest};
use stockade_depot::broken::{Off, Variant};
use stockade_depot::store::{PreviousEnd, TakenOver, TakeoverStep};
use stockade_depot::{NodeSession, Parker as _, Random, Store, Token};
use stockade_sim_depot::baton::{BatonParker, on_thread};
use stockade_sim_depot::dice::Dice;
use stockade_sim_depot::journal::{Journal, Report};
use stockade_sim_depot::network::{Life, Link, Network, Weather};
use stockade_sim_depot::world::has_panicked;
use tokio::runtime::{Builder, Handle};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::client::Client;
use crate::code::{self, KIND};
use crate::judge::{ACCOUNTS, Judge, Transfer};

const MACHINES: usize = 2;
const STEPS: u64 = 80;
/// How long a host may fail to renew its lease before others take it for dead. A host that is cut
/// off for longer is judged dead while it continues to run.
const LEASE: Duration = Duration::from_millis(400);
/// Longer than the delay of any message, the deadline of any step, and any shutdown.
const SETTLED: Duration = Duration::from_secs(60);
/// How long the start of a host may take. Its messages may be lost without an error.
const START_WITHIN: Duration = Duration::from_secs(3);
/// How often the last host of a run calls an actor until it answers, one lease apart.
const LOOKS_MAX: usize = 8;
/// A deadline of guests that never expires: these deadlines run on the machine's clock.
const NEVER_MS: u64 = 3_600_000;

/// Runs one seed. `off`: the rule that is switched off.
#[must_use]
pub fn run(seed: u64, off: Option<Variant>) -> Report {
    let _off = Off::new(off);
    let scratch = tempfile::tempdir().unwrap();
    code::provide(scratch.path());
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let journal = runtime.block_on(async {
        let mut world = World::new(seed, off, scratch.path().to_owned()).await;
        world.unfold().await;
        world.settle().await;
        for machine in &mut world.machines {
            machine.crash().await;
        }
        Arc::clone(&world.journal)
    });
    drop(runtime);
    journal.into_report(seed)
}

struct World {
    machines: Vec<Machine>,
    network: Arc<Network>,
    journal: Arc<Journal>,
    judge: Arc<Judge>,
    dice: Arc<Dice>,
    actors: Vec<ActorId>,
    numbers: AtomicI64,
    /// Whether machines see each other's locks, as processes of one machine do.
    together: bool,
    dir: PathBuf,
    off: Option<Variant>,
}

/// A machine with its host, and how often a host was started on it.
struct Machine {
    number: usize,
    starts: u64,
    life: Arc<Life>,
    host: Option<Host>,
    clients: JoinSet<()>,
}

impl Machine {
    /// Ends the host as a killed process ends: no message leaves or reaches it any more.
    async fn crash(&mut self) {
        self.life.die();
        self.host = None;
        self.clients.shutdown().await;
    }
}

impl World {
    async fn new(seed: u64, off: Option<Variant>, dir: PathBuf) -> Self {
        let dice = Arc::new(Dice::new(seed));
        let journal = Arc::new(Journal::new());
        let store = stockade_sim_depot::world::store(&journal);
        deploy(store.as_ref()).await;
        let weather = Weather::roll(&dice);
        let network = {
            let unasked = stockade_sim_depot::judge::Judge::new(&journal);
            Network::new(store, Arc::clone(&dice), Arc::clone(&journal), unasked, weather)
        };
        let keys = if dice.percent(50) { vec!["a", "b"] } else { vec!["a"] };
        let actors = keys.into_iter().map(|key| ActorId::new(KIND, key).unwrap()).collect();
        let (judge, together) = (Judge::new(&journal), dice.percent(50));
        let (machines, numbers) = (Vec::new(), AtomicI64::new(0));
        let mut world =
            Self { machines, network, journal, judge, dice, actors, numbers, together, dir, off };
        for number in 0..MACHINES {
            let machine = world.start(number, 1).await;
            world.machines.push(machine);
        }
        world
    }

    /// Starts a host on a machine. The start may fail, since the store may not answer.
    async fn start(&self, number: usize, starts: u64) -> Machine {
        let dice = &self.dice;
        let name = format!("host{number}.{starts}");
        // The host that checks the end of a run does not die.
        let dies = number < MACHINES && dice.percent(40);
        let dies_in = if dies { dice.between(20, 600) } else { 0 };
        let life = Life::new(name.clone(), dies_in);
        self.journal.say(&format!("{name} starts, dies in {dies_in}"));
        let config = self.config(number, &life);
        let host = match timeout(START_WITHIN, Host::start(config)).await {
            Ok(Ok(host)) => Some(host),
            Ok(Err(error)) => {
                self.journal.say(&format!("{name} does not start: {error}"));
                None
            }
            Err(_) => {
                self.journal.say(&format!("{name} does not start in time"));
                None
            }
        };
        if host.is_none() {
            life.die();
        }
        Machine { number, starts, life, host, clients: JoinSet::new() }
    }

    fn config(&self, number: usize, life: &Arc<Life>) -> HostConfig {
        let place = if self.together { 0 } else { number };
        let dir = self.dir.join(format!("machine{place}"));
        std::fs::create_dir_all(&dir).unwrap();
        code::provide(&dir);
        let limits = HostLimits { upkeep_every: Duration::from_millis(300), ..code::limits() };
        let config = HostConfig::new(dir)
            .with_limits(limits)
            .with_lease(LEASE)
            .with_advertised(&life.name)
            .advanced(|settings| settings.with_store(Link::new(&self.network, life)));
        let (random, runtime, off) = (Arc::clone(&self.dice), Handle::current(), self.off);
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
            parker: Arc::new(BatonParker(runtime)),
            random: Random::new(move |bytes| random.fill(bytes)),
            around: Some(Arc::new(around)),
            native: None,
        };
        config.advanced(|settings| settings.with_ground(ground))
    }

    fn pick(&self, of: usize) -> usize {
        usize::try_from(self.dice.below(u64::try_from(of).unwrap())).unwrap()
    }

    fn client(&self, at: usize) -> Option<Client> {
        let Machine { host, life, .. } = &self.machines[at];
        let (host, life) = (host.clone()?, Arc::clone(life));
        let (judge, journal) = (Arc::clone(&self.judge), Arc::clone(&self.journal));
        Some(Client { host, life, judge, journal, dice: Arc::clone(&self.dice) })
    }

    async fn unfold(&mut self) {
        for _ in 0..STEPS {
            self.step().await;
            for at in 0..MACHINES {
                if has_panicked(&mut self.machines[at].clients) {
                    self.journal.broken("a client's task panicked");
                }
                if self.machines[at].life.is_dead() {
                    self.machines[at].crash().await;
                    if self.dice.percent(30) {
                        let Machine { number, starts, .. } = self.machines[at];
                        self.machines[at] = self.start(number, starts + 1).await;
                    }
                }
            }
            if self.journal.is_broken() {
                return;
            }
        }
    }

    async fn step(&mut self) {
        sleep(Duration::from_millis(self.dice.between(1, 80))).await;
        let (at, actor) = (self.pick(MACHINES), self.pick(self.actors.len()));
        let actor = self.actors[actor].clone();
        let Some(client) = self.client(at) else { return };
        match self.dice.below(100) {
            0..=39 => {
                for _ in 0..self.dice.between(1, 3) {
                    let transfer = self.transfer();
                    let client = client.clone();
                    self.machines[at].clients.spawn(client.transfer(actor.clone(), transfer));
                }
            }
            40..=61 => {
                self.machines[at].clients.spawn(async move {
                    client.look(&actor).await;
                });
            }
            62..=71 => {
                let cut_off = self.dice.percent(50);
                self.journal.say(&format!("{} cut off: {cut_off}", client.life.name));
                client.life.cut_off(cut_off);
            }
            72..=75 => {
                self.journal.say(&format!("{} crashes", client.life.name));
                self.machines[at].crash().await;
            }
            76..=79 => {
                self.machines[at].clients.spawn(shut_down(client));
            }
            80..=87 => {
                // The actor wakes and sleeps here, perhaps lives on the other machine, and is then
                // called here again.
                let elsewhere = self.client(self.pick(MACHINES)).filter(|_| self.dice.percent(50));
                let transfer = self.transfer();
                self.machines[at].clients.spawn(async move {
                    client.look(&actor).await;
                    client.clone().stop(actor.clone()).await;
                    if let Some(elsewhere) = elsewhere {
                        elsewhere.transfer(actor.clone(), transfer).await;
                    }
                    client.look(&actor).await;
                });
            }
            88..=91 => self.steal(&actor).await,
            92..=95 => {
                self.machines[at].clients.spawn(client.destroy(actor));
            }
            _ => sleep(LEASE * 2).await,
        }
    }

    fn transfer(&self) -> Transfer {
        let dice = &self.dice;
        let account = || i64::try_from(dice.below(ACCOUNTS.unsigned_abs())).unwrap();
        Transfer {
            number: self.numbers.fetch_add(1, Ordering::SeqCst) + 1,
            source: account(),
            target: account(),
            amount: 1 + account(),
        }
    }

    /// Takes the actor over without judging its owner dead, and does nothing with it.
    async fn steal(&self, actor: &ActorId) {
        let store = &self.network.store;
        let Some(state) = store.actor(actor).await.unwrap() else { return };
        let (mut token, mut owner) = ([0; 16], [0; 16]);
        self.dice.fill(&mut token);
        self.dice.fill(&mut owner);
        let fence = state.head.fence;
        let step = TakeoverStep {
            actor: actor.clone(),
            db: fence.db,
            replaces: (fence.generation, fence.token),
            token: Token(token),
            owner: NodeSession(owner),
            component: state.row.component,
            previous_end: PreviousEnd::Neutral,
            destroying: false,
        };
        if let Ok(TakenOver::Owned { head, .. }) = store.take_over(step).await {
            self.journal
                .say(&format!("a thief has {actor} as generation {}", head.fence.generation));
        }
    }

    /// Repairs the network, lets every message arrive, and checks all actors from a new host.
    async fn settle(&mut self) {
        if self.journal.is_broken() {
            return;
        }
        self.journal.say("the network is repaired");
        self.network.calm.store(true, Ordering::SeqCst);
        for at in 0..MACHINES {
            self.machines[at].life.cut_off(false);
            if let Some(client) = self.client(at) {
                self.machines[at].clients.spawn(shut_down(client));
            }
        }
        sleep(SETTLED).await;
        for machine in &mut self.machines {
            if has_panicked(&mut machine.clients) {
                self.journal.broken("a client's task panicked");
            }
        }
        let machine = self.start(MACHINES, 1).await;
        self.machines.push(machine);
        let Some(client) = self.client(MACHINES) else {
            return self.journal.broken("no host starts over a good network");
        };
        for actor in self.actors.clone() {
            // Until the leases of dead owners have ended, the new host takes them for alive.
            let mut looks = 0;
            while !client.look(&actor).await {
                looks += 1;
                if looks == LOOKS_MAX {
                    self.journal.broken(&format!("{actor} does not answer at the end"));
                    break;
                }
                sleep(LEASE).await;
            }
            if let Err(what) = self.is_sound(&client, &actor).await {
                self.journal.broken(&format!("{actor} at the end: {what}"));
            }
        }
        let report = client.host.shutdown().await;
        self.journal.say(&format!("the last host ended in order: {}", report.orderly));
        if !report.orderly {
            self.journal.broken("a host without faults does not end in order");
        }
        for actor in self.actors.clone() {
            let state = self.network.store.actor(&actor).await.unwrap();
            if !state.is_some_and(|state| state.head.sealed) {
                self.journal.broken(&format!("{actor} is not sealed by an orderly end"));
            }
        }
    }

    /// Checks the actor's whole history, and an exported copy with stock SQLite.
    async fn is_sound(&self, client: &Client, actor: &ActorId) -> Result<(), String> {
        let words = |error: HostError| error.to_string();
        let report = client.host.actor(actor).verify().await.map_err(words)?;
        if report.fault_count > 0 {
            return Err(format!("{:?}", report.faults));
        }
        let mut export = client.host.actor(actor).export().await.map_err(words)?;
        let path = self.dir.join(format!("{}.db", actor.key()));
        let mut bytes = Vec::new();
        while let Some(chunk) = export.next().await.map_err(words)? {
            bytes.extend_from_slice(&chunk);
        }
        std::fs::write(&path, bytes).unwrap();
        let check = || {
            let copy = Connection::open(&path)?;
            copy.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0))
        };
        let check = check().map_err(|error| error.to_string())?;
        if check == "ok" { Ok(()) } else { Err(check) }
    }
}

/// Shuts the host down in order, with calls still running, and then ends its process.
async fn shut_down(client: Client) {
    client.journal.say(&format!("{} shuts down", client.life.name));
    let report = client.host.shutdown().await;
    let (name, unfinished) = (&client.life.name, report.unfinished);
    client.journal.say(&format!("{name} has ended, {unfinished} generations given up"));
    client.life.die();
}

/// Puts the guest and its kind into the store before the first host starts.
async fn deploy(store: &dyn Store) {
    let wasm = code::wasm();
    let digest = Engine::digest(&wasm);
    let limits = Limits {
        memory_bytes_max: 16 << 20,
        call_time_ms: NEVER_MS,
        start_time_ms: NEVER_MS,
        stop_time_ms: NEVER_MS,
        snapshot_time_ms: NEVER_MS,
        sleep_after_ms: 500,
        history_ms: 30_000,
        history_commits_min: 2,
        ..Limits::default()
    };
    store.put_component(digest, wasm).await.unwrap();
    let manifest = serde_json::to_string(&Manifest { limits, ..Manifest::default() }).unwrap();
    store.put_kind(KIND, digest, &manifest).await.unwrap();
}
