//! The actors, the load on them, and the question whether each of them answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use serde_json::json;
use stockade_testkit::random::Random;
use stockade_tests::tally::{Counts, Tally};
use stockade_tests::wire::{Called, Known, Wire};

use super::LEASE;

/// Callers that call any actor at any node, all the time.
const CALLERS: usize = 4;
/// Callers that ask each actor once, at most.
const ASKING: usize = 128;
/// How long such a caller waits before it turns to another node.
const HASTY: Duration = Duration::from_millis(1_500);
/// How long it asks at all.
const PATIENCE: Duration = Duration::from_secs(60);
/// How much longer than the server a caller waits.
const SLACK: Duration = Duration::from_secs(2);
/// The same of a caller that turns to another node: the error of a node whose time was over.
const HASTY_SLACK: Duration = Duration::from_millis(100);

struct Actor {
    name: String,
    tally: Tally,
}

impl Actor {
    fn call(&self, wire: &mut Wire, time: Duration) -> Called {
        let before = self.tally.begin();
        let called = wire.call(&self.name, "increment", &json!([1]), time);
        self.tally.end(before, &called);
        called
    }
}

type All = Arc<RwLock<Vec<Arc<Actor>>>>;

/// How actors were answered after an event.
#[derive(Default)]
pub(super) struct Answered {
    /// The longest that an actor kept its caller waiting, beyond the end of the lease: from then on,
    /// or from when it was asked first. Thousands of durable calls alone take two cores many
    /// seconds, so most actors are asked later.
    pub(super) over: Duration,
    /// What became of each attempt at the actor that took this long.
    pub(super) attempts: Vec<String>,
    /// When the last one had answered, after the event.
    pub(super) took: Duration,
    /// Those that have not.
    pub(super) silent: Vec<String>,
}

/// The actors that were begun so far.
pub(super) struct Actors {
    most: usize,
    all: All,
}

impl Actors {
    /// None yet, and `most` in the end.
    pub(super) fn new(most: usize) -> Self {
        Self { most, all: All::default() }
    }

    pub(super) fn count(&self) -> usize {
        self.all.read().len()
    }

    /// How all calls ended.
    pub(super) fn counts(&self) -> Counts {
        let all = self.all.read();
        all.iter().map(|actor| actor.tally.counts()).fold(Counts::default(), Counts::and)
    }

    /// Begins one of so many parts of the actors, each of them at one of the nodes in turn.
    pub(super) fn begin_more(&mut self, parts: usize, nodes: &[String]) {
        let begun = self.count();
        let new = (begun..(begun + self.most.div_ceil(parts)).min(self.most)).map(|number| {
            Arc::new(Actor { name: format!("counter/a{number}"), tally: Tally::default() })
        });
        let new: Vec<Arc<Actor>> = new.collect();
        for_each(&new, |number, actor| {
            let mut wire = Wire::to(&nodes[number % nodes.len()], SLACK);
            let called = actor.call(&mut wire, PATIENCE);
            assert!(called.known.is_done(), "{}: {called:?}", actor.name);
        });
        self.all.write().extend(new);
    }

    /// Asks every actor at these nodes until it answers. The newest first: they are awake, a part of
    /// them where it happened.
    pub(super) fn all_answered(&self, begun: Instant, nodes: &[String]) -> Answered {
        let all: Vec<Arc<Actor>> = self.all.read().iter().rev().cloned().collect();
        let result = Mutex::new(Answered::default());
        for_each(&all, |number, actor| {
            let asked = Instant::now();
            let mut attempts = Vec::new();
            for attempt in number.. {
                let node = attempt % nodes.len();
                let Called { known, took, .. } =
                    actor.call(&mut Wire::to(&nodes[node], HASTY_SLACK), HASTY);
                attempts.push(format!("{took:.1?} at the {node}th: {known:?}"));
                if known.is_done() {
                    let over = asked.max(begun + LEASE).elapsed();
                    let mut result = result.lock();
                    if over > result.over {
                        (result.over, result.attempts) = (over, attempts);
                    }
                    result.took = result.took.max(begun.elapsed());
                    return;
                }
                if asked.elapsed() > PATIENCE {
                    return result.lock().silent.push(actor.name.clone());
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        result.into_inner()
    }

    /// Callers that never end by themselves.
    pub(super) fn load(&self, nodes: &[String]) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let callers = (0..CALLERS).map(|number| {
            let (stop, all, nodes) = (Arc::clone(&stop), Arc::clone(&self.all), nodes.to_owned());
            let builder = Builder::new().name(format!("caller {number}"));
            builder.spawn(move || keep_calling(number, &all, &nodes, &stop)).unwrap()
        });
        Load { callers: callers.collect(), stop }
    }

    /// What is wrong with the counters in the end.
    pub(super) fn compare(&self, nodes: &[String]) -> Vec<String> {
        let all = self.all.read().clone();
        let faults = Mutex::new(Vec::new());
        for_each(&all, |number, Actor { name, tally }| {
            let mut wire = Wire::to(&nodes[number % nodes.len()], SLACK);
            let called = wire.call(name, "get", &json!([]), PATIENCE);
            let wrong = match called.known {
                Known::Done(value) => tally.faults(value.as_u64().unwrap()),
                other => vec![format!("{other:?}")],
            };
            faults.lock().extend(wrong.iter().map(|fault| format!("{name}: {fault}")));
        });
        faults.into_inner()
    }
}

/// Calls any actor at any node, over one connection to each.
fn keep_calling(number: usize, all: &All, nodes: &[String], stop: &AtomicBool) {
    let mut random = Random::new(u64::try_from(number).unwrap() + 1);
    let mut wires: Vec<Wire> = nodes.iter().map(|node| Wire::to(node, SLACK)).collect();
    let mut below =
        |count: usize| usize::try_from(random.below(u64::try_from(count).unwrap())).unwrap();
    while !stop.load(Ordering::Relaxed) {
        let count = all.read().len();
        if count > 0 {
            let actor = Arc::clone(&all.read()[below(count)]);
            let node = below(wires.len());
            actor.call(&mut wires[node], HASTY);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Callers at work.
pub(super) struct Load {
    callers: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

impl Load {
    pub(super) fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for caller in self.callers {
            caller.join().unwrap();
        }
    }
}

/// Does something with each actor, many at the same time.
fn for_each(actors: &[Arc<Actor>], act: impl Fn(usize, &Actor) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..ASKING.min(actors.len()) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(actor) = actors.get(number) else { return };
                    act(number, actor);
                }
            });
        }
    });
}
