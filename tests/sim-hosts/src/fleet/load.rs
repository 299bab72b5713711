//! The store of the fleet: the real embedded store, in memory, behind a model of a server and its
//! network, which counts.
//!
//! ```text
//! node ── half a round trip ──> waits for one of the server's workers ── served: applied ──┐
//!      <── half a round trip ── (a write: until it is on the disks) <───────────────────────┘
//! ```
//! What a step does is the real store's; how long it takes is the table below. The clock of the
//! simulation has a resolution of 1 ms, so each way takes a whole number of them. A step that was sent
//! is served, whatever becomes of the node that has sent it. Commits are served one by one: that a
//! driver sends those of many actors in one statement is left out, which makes the server slower than
//! it is.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use stockade_depot::store::layer::{Asked, Call, Layer};
use stockade_depot::{Store, StoreError};
use stockade_sim_depot::network::Life;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

/// The server.
#[derive(Clone, Copy, Debug)]
pub struct Server {
    /// Steps that it works on at the same time: its cores.
    pub workers: usize,
    /// How long a takeover keeps a worker, in microseconds.
    pub takeover_us: u64,
}

/// Both ways between a node and the server, in microseconds. 1 ms: another zone of a cloud.
pub const ROUND_TRIP_US: u64 = 1_000;
/// How long a write waits until it is on the disk and on a standby, in microseconds, beside the worker.
pub const DURABLE_US: u64 = 2_000;

/// How long a step keeps one of the server's workers, in microseconds, and whether it is a write. The
/// figures are those of one core of a small server with a disk (a commit in a group 150 to 250, alone
/// 250 to 370; a look-up 40 to 55; a read of a page 170 to 210), rounded up.
fn cost(asked: Asked, server: Server) -> (u64, bool) {
    match asked {
        Asked::TakeOver => (server.takeover_us, true),
        Asked::Create => (600, true),
        Asked::Commit | Asked::Seal | Asked::Claim | Asked::Destroy | Asked::SettleDue => {
            (400, true)
        }
        Asked::NodeBeat | Asked::NodeGone => (200, true),
        Asked::RaiseFloor | Asked::TrimCommits => (400, true),
        Asked::TrimPages => (2_000, true),
        // A list of a thousand actors.
        Asked::Actors => (5_000, false),
        Asked::Actor | Asked::Kind | Asked::History | Asked::Verdict => (60, false),
        Asked::Nodes | Asked::Superseded => (200, false),
        Asked::Read => (210, false),
        Asked::Confirm => (160, false),
        _ => (200, false),
    }
}

/// What the server has been asked, and by whom.
pub struct Load {
    store: Arc<dyn Store>,
    server: Server,
    begun: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// When each worker is free.
    workers: BinaryHeap<Reverse<Instant>>,
    seconds: Vec<Second>,
    /// Takeovers that each node waits for.
    taking: HashMap<usize, u64>,
    taking_max: u64,
    taking_all: u64,
    taking_all_max: u64,
}

/// One second of the server.
#[derive(Clone, Debug, Default)]
pub struct Second {
    /// Steps that were asked, by kind.
    pub steps: HashMap<Asked, u64>,
    /// How long they kept workers, in microseconds.
    pub busy_us: u64,
    /// How long one of them waited for a worker, at most.
    pub waited: Duration,
}

/// What happened in a part of the time.
#[derive(Clone, Debug, Default)]
pub struct Part {
    /// Steps a second by kind: the mean, and the most in one second.
    pub steps: BTreeMap<String, (u64, u64)>,
    /// All of them together, likewise.
    pub all: (u64, u64),
    /// Thousandths of the workers' time that were used in the busiest second.
    pub busy_permille: u64,
    /// How long a step waited for a worker, at most.
    pub waited: Duration,
}

impl Load {
    /// A server over `store` that has not been asked anything yet.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, server: Server) -> Arc<Self> {
        let begun = Instant::now();
        let workers = (0..server.workers).map(|_| Reverse(begun)).collect();
        let state = Mutex::new(State { workers, ..State::default() });
        Arc::new(Self { store, server, begun, state })
    }

    /// The store itself, without the server.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// When a step that is sent now is served, and when its answer is there.
    fn queue(&self, asked: Asked) -> (Instant, Instant) {
        let (busy_us, is_write) = cost(asked, self.server);
        let now = Instant::now();
        let half = Duration::from_micros(ROUND_TRIP_US / 2);
        let mut state = self.state.lock();
        let Reverse(free) = state.workers.pop().expect("BUG: a server has workers");
        let arrives = now + half;
        let begins = arrives.max(free);
        let served = begins + Duration::from_micros(busy_us);
        state.workers.push(Reverse(served));
        let at = usize::try_from((now - self.begun).as_secs()).unwrap_or(usize::MAX);
        if state.seconds.len() <= at {
            state.seconds.resize(at + 1, Second::default());
        }
        let second = &mut state.seconds[at];
        *second.steps.entry(asked).or_default() += 1;
        second.busy_us += busy_us;
        second.waited = second.waited.max(begins - arrives);
        let durable = Duration::from_micros(if is_write { DURABLE_US } else { 0 });
        (served, served + durable + half)
    }

    /// A takeover of a node begins (+1) or ends (-1).
    fn taking(&self, node: usize, begins: bool) {
        let mut state = self.state.lock();
        let state = &mut *state;
        let own = state.taking.entry(node).or_default();
        if begins {
            *own += 1;
            state.taking_all += 1;
            state.taking_max = state.taking_max.max(*own);
            state.taking_all_max = state.taking_all_max.max(state.taking_all);
        } else {
            *own -= 1;
            state.taking_all -= 1;
        }
    }

    /// Takeovers that one node waited for at the same time, at most, and all nodes together.
    #[must_use]
    pub fn taking_max(&self) -> (u64, u64) {
        let state = self.state.lock();
        (state.taking_max, state.taking_all_max)
    }

    /// The seconds between two moments.
    #[must_use]
    pub fn part(&self, from: Instant, to: Instant) -> Part {
        let second = |at: Instant| usize::try_from((at - self.begun).as_secs()).unwrap_or(0);
        let state = self.state.lock();
        let end = (second(to) + 1).min(state.seconds.len());
        let seconds = &state.seconds[second(from).min(end)..end];
        let count = u64::try_from(seconds.len()).unwrap_or(1).max(1);
        let mut part = Part::default();
        let workers_us = u64::try_from(self.server.workers).unwrap_or(1) * 1_000_000;
        for second in seconds {
            for (asked, steps) in &second.steps {
                let (sum, most) = part.steps.entry(format!("{asked:?}")).or_default();
                *sum += steps;
                *most = (*most).max(*steps);
            }
            let all: u64 = second.steps.values().sum();
            part.all = (part.all.0 + all, part.all.1.max(all));
            part.busy_permille = part.busy_permille.max(second.busy_us * 1_000 / workers_us);
            part.waited = part.waited.max(second.waited);
        }
        part.steps.values_mut().for_each(|(sum, _)| *sum /= count);
        part.all.0 /= count;
        part
    }
}

/// The store as one node reaches it.
pub struct Way {
    /// The server.
    pub load: Arc<Load>,
    /// The node.
    pub node: usize,
    /// Its life: a dead node sends nothing and gets no answer.
    pub life: Arc<Life>,
}

impl Way {
    async fn unless_dead(&self) {
        if self.life.is_dead() {
            std::future::pending::<()>().await;
        }
    }
}

/// A takeover under way.
struct Taking<'w>(&'w Way);

impl<'w> Taking<'w> {
    fn of(way: &'w Way) -> Self {
        way.load.taking(way.node, true);
        Self(way)
    }
}

impl Drop for Taking<'_> {
    fn drop(&mut self) {
        self.0.load.taking(self.0.node, false);
    }
}

impl Layer for Way {
    fn beneath(&self) -> &Arc<dyn Store> {
        &self.load.store
    }

    fn is_remote(&self) -> bool {
        true
    }

    /// A node that ends leaves the store to the others.
    async fn close_beneath(&self) {}

    async fn through<T: Send + 'static>(&self, call: Call<T>) -> Result<T, StoreError> {
        self.unless_dead().await;
        let asked = call.about.asked;
        let _taking = (asked == Asked::TakeOver).then(|| Taking::of(self));
        let (served, answered) = self.load.queue(asked);
        let (tell, heard) = oneshot::channel();
        let store = Arc::clone(&self.load.store);
        tokio::spawn(async move {
            sleep_until(served).await;
            // The node may be dead.
            let _ = tell.send(call.apply(&store).await);
        });
        let Ok(answer) = heard.await else { return std::future::pending().await };
        sleep_until(answered).await;
        self.unless_dead().await;
        answer
    }
}
