//! A run: machines with a host each over one store, and a scheduler that calls, stops, destroys,
//! steals, drains, cuts off, crashes, shuts down and starts, all from one seed and under a paused
//! clock.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use rusqlite::Connection;
use stockade::internal::Clock;
use stockade::{ActorId, HostError, Manifest};
use stockade_depot::broken::Variant;
use stockade_sim_depot::dice::Dice;
use stockade_sim_depot::journal::{Journal, Report};
use stockade_sim_depot::network::{Network, Weather};
use stockade_sim_depot::world::has_panicked;
use tokio::time::sleep;

use crate::client::Client;
use crate::code::BANK;
use crate::forward::Lines;
use crate::judge::{ACCOUNTS, Judge, Transfer};
use crate::machine::{self, LEASE, Machine, Place, Setting};
use crate::seed;
use crate::thief::steal;

const MACHINES: usize = 2;
const STEPS: u64 = 80;
/// Longer than the delay of any message, the deadline of any step, and any shutdown.
const SETTLED: Duration = Duration::from_secs(60);
/// How often the last host of a run calls an actor until it answers, one lease apart.
const LOOKS_MAX: usize = 8;
/// How long a process that drains may still answer from a generation that began before: the kind is
/// loaded, so nothing waits between the look at the drain and the place of the generation.
const GIVEN_UP_FOR: Duration = Duration::from_millis(200);

/// Runs one seed. `off`: the rule that is switched off.
#[must_use]
pub fn run(seed: u64, off: Option<Variant>) -> Report {
    seed::run(seed, off, &BANK, async |dir| {
        let mut world = World::new(seed, off, dir).await;
        world.unfold().await;
        world.settle().await;
        let lines = Arc::clone(&world.lines);
        for machine in &mut world.machines {
            machine.crash(&lines).await;
        }
        Arc::clone(&world.journal)
    })
}

struct World {
    machines: Vec<Machine>,
    network: Arc<Network>,
    lines: Arc<Lines>,
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

impl World {
    async fn new(seed: u64, off: Option<Variant>, dir: PathBuf) -> Self {
        let dice = Arc::new(Dice::new(seed));
        let journal = Arc::new(Journal::new());
        let store = stockade_sim_depot::world::store(&journal);
        let manifest = Manifest { limits: machine::limits(), ..Manifest::default() };
        machine::deploy(store.as_ref(), &BANK, &manifest).await;
        let weather = Weather::roll(&dice);
        let network = {
            let unasked = stockade_sim_depot::judge::Judge::new(&journal);
            Network::new(store, Arc::clone(&dice), Arc::clone(&journal), unasked, weather)
        };
        let lines = Lines::over(&network, weather, false);
        let keys = if dice.percent(50) { vec!["a", "b"] } else { vec!["a"] };
        let actors = keys.into_iter().map(|key| ActorId::new(BANK.kind, key).unwrap()).collect();
        let (judge, together) = (Judge::new(&journal), dice.percent(50));
        let (machines, numbers) = (Vec::new(), AtomicI64::new(0));
        let mut world = Self {
            machines,
            network,
            lines,
            journal,
            judge,
            dice,
            actors,
            numbers,
            together,
            dir,
            off,
        };
        for number in 0..MACHINES {
            let machine = world.start(number, 1).await;
            world.machines.push(machine);
        }
        world
    }

    /// Starts a host on a machine. The start may fail, since the store may not answer.
    async fn start(&self, number: usize, starts: u64) -> Machine {
        let dice = &self.dice;
        // The host that checks the end of a run does not die.
        let dies = number < MACHINES && dice.percent(40);
        let dies_in = if dies { dice.between(20, 600) } else { 0 };
        let at = if self.together { 0 } else { number };
        let dir = self.dir.join(format!("machine{at}"));
        let (network, lines, off) = (&self.network, &self.lines, self.off);
        let setting = &Setting {
            guest: &BANK,
            lease: LEASE,
            upkeep: Duration::from_millis(300),
            clock: Clock::new(|| 0),
            carries: false,
        };
        let place = Place { setting, network, lines, dice, dir: &dir, off };
        Machine::start(number, starts, dies_in, &place).await
    }

    fn pick(&self, of: usize) -> usize {
        usize::try_from(self.dice.below(u64::try_from(of).unwrap())).unwrap()
    }

    fn client(&self, at: usize) -> Option<Client> {
        let node = self.machines[at].node.clone()?;
        let (judge, journal) = (Arc::clone(&self.judge), Arc::clone(&self.journal));
        let (lines, dice) = (Arc::clone(&self.lines), Arc::clone(&self.dice));
        Some(Client { node, lines, judge, journal, dice })
    }

    async fn unfold(&mut self) {
        for _ in 0..STEPS {
            self.step().await;
            for at in 0..MACHINES {
                if has_panicked(&mut self.machines[at].clients) {
                    self.journal.broken("a client's task panicked");
                }
                if self.machines[at].life.is_dead() {
                    self.crash(at).await;
                    if self.dice.percent(30) {
                        let Machine { number, starts, .. } = self.machines[at];
                        self.machines[at] = self.start(number, starts + 1).await;
                    }
                }
            }
            for what in self.lines.take_broken() {
                self.journal.broken(&what);
            }
            if self.journal.is_broken() {
                return;
            }
        }
    }

    async fn crash(&mut self, at: usize) {
        let lines = Arc::clone(&self.lines);
        self.machines[at].crash(&lines).await;
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
                self.journal.say(&format!("{} cut off: {cut_off}", client.node.life.name));
                client.node.life.cut_off(cut_off);
            }
            72..=75 => {
                self.journal.say(&format!("{} crashes", client.node.life.name));
                self.crash(at).await;
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
            88..=91 => steal(&self.network, &actor).await,
            92..=94 => {
                self.machines[at].clients.spawn(client.destroy(actor));
            }
            95..=97 => {
                self.machines[at].clients.spawn(drain(client));
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
        let report = client.node.host.shutdown().await;
        self.journal.say(&format!("the last host ended in order: {}", report.orderly));
        if !report.orderly {
            self.journal.broken("a host without faults does not end in order");
        }
        for actor in self.actors.clone() {
            let state = self.network.store.actor(&actor).await.unwrap();
            // Sealed by the shutdown, or by its sleep before that, which appoints an heir.
            if !state.is_some_and(|state| state.head.is_free()) {
                self.journal.broken(&format!("{actor} is not sealed by an orderly end"));
            }
        }
    }

    /// Checks the actor's whole history, and an exported copy with stock SQLite.
    async fn is_sound(&self, client: &Client, actor: &ActorId) -> Result<(), String> {
        let words = |error: HostError| error.to_string();
        let report = client.node.host.actor(actor).verify().await.map_err(words)?;
        if report.fault_count > 0 {
            return Err(format!("{:?}", report.faults));
        }
        let mut export = client.node.host.actor(actor).export().await.map_err(words)?;
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
    client.journal.say(&format!("{} shuts down", client.node.life.name));
    let report = client.node.host.shutdown().await;
    let (name, unfinished) = (&client.node.life.name, report.unfinished);
    client.journal.say(&format!("{name} has ended, {unfinished} generations given up"));
    client.node.life.die();
}

/// Gives the actors of a host up to others, and ends the drain after a while.
async fn drain(client: Client) {
    let (host, name) = (&client.node.host, &client.node.life.name);
    if host.drain_status().draining {
        return;
    }
    match host.drain().await {
        Ok(drain) => client.journal.say(&format!("{name} drains, {} awake", drain.awake)),
        Err(error) => return client.journal.say(&format!("{name} does not drain: {error}")),
    }
    let until = sleep(Duration::from_millis(client.dice.between(300, 1_500)));
    tokio::pin!(until);
    tokio::select! {
        biased;
        () = &mut until => {}
        () = host.drained() => {
            client.journal.say(&format!("{name} has given up its actors"));
            sleep(GIVEN_UP_FOR).await;
            client.judge.gives_up(name, true);
            until.as_mut().await;
        }
    }
    client.judge.gives_up(name, false);
    host.stop_draining();
    client.journal.say(&format!("{name} does not drain any more"));
}
