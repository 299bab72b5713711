//! Machines with a host each over one store, all under one clock, and what may happen to them: for
//! simulations of what actors do with each other.
//!
//! Invariant: the clocks of store and hosts are the paused one, so that what is due is due for all.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use stockade::internal::Clock;
use stockade::{ActorId, Manifest};
use stockade_depot::broken::Variant;
use stockade_depot::store::embedded;
use stockade_depot::{EmbeddedStore, Store};
use stockade_sim_depot::dice::Dice;
use stockade_sim_depot::journal::Journal;
use stockade_sim_depot::network::{Network, Weather};
use stockade_sim_depot::world::has_panicked;
use tokio::time::{Instant, sleep};

use crate::caller::Caller;
use crate::code::Guest;
use crate::forward::Lines;
use crate::machine::{self, Machine, Place, Setting};
use crate::thief::steal;

/// Where the clock begins, in milliseconds since 1970.
const EPOCH_MS: u64 = 1_774_699_200_000;
/// Longer than in the simulation of hosts: runs last for minutes of their clock.
const LEASE: Duration = Duration::from_secs(2);
const UPKEEP: Duration = Duration::from_secs(5);
/// How long a process that drains does so.
const DRAINED: (u64, u64) = (500, 3_000);
/// Longer than the delay of any message, the deadline of any step, and any shutdown.
pub const SETTLED: Duration = Duration::from_secs(60);

/// The machines of a run.
pub struct Site {
    /// The machines.
    pub machines: Vec<Machine>,
    /// The network to the store.
    pub network: Arc<Network>,
    /// The lines between hosts.
    pub lines: Arc<Lines>,
    /// The log.
    pub journal: Arc<Journal>,
    /// Chance.
    pub dice: Arc<Dice>,
    setting: Setting,
    /// Machines from this number on do not die.
    lasting: usize,
    /// Whether machines see each other's locks, as processes of one machine do.
    together: bool,
    dir: PathBuf,
    off: Option<Variant>,
}

/// What a site is made from.
pub struct Plan {
    /// The seed.
    pub dice: Arc<Dice>,
    /// Machines.
    pub count: usize,
    /// What they run.
    pub guest: &'static Guest,
    /// The settings of its kind.
    pub manifest: Manifest,
    /// Where files may be.
    pub dir: PathBuf,
    /// The rule that is switched off.
    pub off: Option<Variant>,
}

impl Site {
    /// Starts machines over an empty store.
    pub async fn new(plan: Plan) -> Self {
        let Plan { dice, count, guest, manifest, dir, off } = plan;
        let (journal, begun) = (Arc::new(Journal::new()), Instant::now());
        let now = move || EPOCH_MS + u64::try_from(begun.elapsed().as_millis()).unwrap();
        let store = EmbeddedStore::in_memory_with_clock(2, embedded::Clock::new(now));
        let store: Arc<dyn Store> = Arc::new(store.unwrap());
        machine::deploy(store.as_ref(), guest, &manifest).await;
        let weather = Weather::roll(&dice);
        let network = {
            let unasked = stockade_sim_depot::judge::Judge::new(&journal);
            Network::new(store, Arc::clone(&dice), Arc::clone(&journal), unasked, weather)
        };
        let lines = Lines::over(&network, weather, true);
        let clock = Clock::new(move || i64::try_from(now()).unwrap());
        let setting = Setting { guest, lease: LEASE, upkeep: UPKEEP, clock, carries: true };
        let (machines, together) = (Vec::new(), dice.percent(50));
        let mut site = Self {
            machines,
            network,
            lines,
            journal,
            dice,
            setting,
            lasting: count,
            together,
            dir,
            off,
        };
        for number in 0..count {
            site.start(number).await;
        }
        site
    }

    /// Starts a host on a machine, or on a new one. The start may fail, since the store may not answer.
    pub async fn start(&mut self, number: usize) {
        let dice = &self.dice;
        let dies = number < self.lasting && dice.percent(30);
        let dies_in = if dies { dice.between(20, 1_500) } else { 0 };
        let at = if self.together { 0 } else { number };
        let dir = self.dir.join(format!("machine{at}"));
        let (network, lines, off) = (&self.network, &self.lines, self.off);
        let place = Place { setting: &self.setting, network, lines, dice, dir: &dir, off };
        let starts = self.machines.get(number).map_or(1, |machine| machine.starts + 1);
        let machine = Machine::start(number, starts, dies_in, &place).await;
        match self.machines.get_mut(number) {
            Some(former) => *former = machine,
            None => self.machines.push(machine),
        }
    }

    /// One of so many.
    #[must_use]
    pub fn pick(&self, of: usize) -> usize {
        usize::try_from(self.dice.below(u64::try_from(of).unwrap())).unwrap()
    }

    /// A caller of a machine's host, if it has one.
    #[must_use]
    pub fn caller(&self, at: usize) -> Option<Caller> {
        let node = self.machines[at].node.clone()?;
        let (lines, journal) = (Arc::clone(&self.lines), Arc::clone(&self.journal));
        Some(Caller { node, lines, journal, dice: Arc::clone(&self.dice) })
    }

    /// Ends the host of a machine as a killed process ends.
    pub async fn crash(&mut self, at: usize) {
        let lines = Arc::clone(&self.lines);
        self.machines[at].crash(&lines).await;
    }

    /// Ends all hosts in this way, and gives the log.
    pub async fn end(mut self) -> Arc<Journal> {
        for at in 0..self.machines.len() {
            self.crash(at).await;
        }
        self.journal
    }

    /// What has happened since the last look: hosts have died, of which some are started again.
    pub async fn look_after(&mut self) {
        for at in 0..self.machines.len() {
            if has_panicked(&mut self.machines[at].clients) {
                self.journal.broken("a caller's task panicked");
            }
            if self.machines[at].life.is_dead() {
                self.crash(at).await;
                if self.dice.percent(40) {
                    self.start(at).await;
                }
            }
        }
        for what in self.lines.take_broken() {
            self.journal.broken(&what);
        }
    }

    /// Something happens to the host of a machine, or to an actor.
    pub async fn trouble(&mut self, at: usize, actor: &ActorId) {
        let Some(caller) = self.caller(at) else { return };
        match self.dice.below(100) {
            0..=29 => {
                let cut_off = self.dice.percent(50);
                caller.say(&format!("cut off: {cut_off}"));
                caller.node.life.cut_off(cut_off);
            }
            30..=44 => {
                caller.say("crashes");
                self.crash(at).await;
            }
            45..=54 => {
                self.machines[at].clients.spawn(shut_down(caller));
            }
            55..=74 => steal(&self.network, actor).await,
            75..=84 => {
                self.machines[at].clients.spawn(drain(caller));
            }
            _ => {
                let actor = actor.clone();
                self.machines[at].clients.spawn(async move {
                    let stopped = caller.answer(caller.node.host.actor(&actor).stop()).await;
                    if let Some(Ok(Some(exit))) = stopped {
                        caller.say(&format!("ended {actor}: sealed {}", exit.sealed));
                    }
                });
            }
        }
    }

    /// Shuts all hosts down in order, and waits until they have ended.
    pub async fn end_all(&mut self) {
        for at in 0..self.machines.len() {
            self.machines[at].life.cut_off(false);
            if let Some(caller) = self.caller(at) {
                self.machines[at].clients.spawn(shut_down(caller));
            }
        }
        sleep(SETTLED).await;
        for at in 0..self.machines.len() {
            if has_panicked(&mut self.machines[at].clients) {
                self.journal.broken("a caller's task panicked");
            }
            self.crash(at).await;
        }
    }

    /// From now on nothing is lost, late or doubled.
    pub fn calm(&self) {
        self.journal.say("the network is repaired");
        self.network.calm.store(true, Ordering::SeqCst);
    }
}

/// Shuts the host down in order, with calls still running, and then ends its process.
async fn shut_down(caller: Caller) {
    caller.say("shuts down");
    let report = caller.node.host.shutdown().await;
    caller.say(&format!("has ended, {} generations given up", report.unfinished));
    caller.node.life.die();
}

/// Gives the actors of a host up to others, and ends the drain after a while.
async fn drain(caller: Caller) {
    let host = &caller.node.host;
    if host.drain_status().draining || host.drain().await.is_err() {
        return;
    }
    caller.say("drains");
    sleep(Duration::from_millis(caller.dice.between(DRAINED.0, DRAINED.1))).await;
    host.stop_draining();
    caller.say("does not drain any more");
}
