//! The probes of a sweep: their keys, made and warm before anything is killed, and what each of them
//! saw.

use std::fmt;
use std::thread::{Builder, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::json;
use stockade_tests::tally::Tally;
use stockade_tests::wire::{Called, Known, Wire};

use super::stage::{BRIEF_MS, Stage};
use super::{ANSWERED_AFTER, PATIENCE, SLACK, STEP, TIME};

/// How long actors may take to fall asleep.
const ASLEEP_WITHIN: Duration = Duration::from_secs(60);

/// Which actor a probe calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Age {
    /// One that was awake.
    Awake,
    /// One that had fallen asleep.
    Asleep,
    /// One that does not exist.
    New,
}

/// How a probe reaches the entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Over the connection of its caller, which was used before.
    Same,
    /// Over a connection of its own.
    Fresh,
}

pub(super) const AGES: [Age; 3] = [Age::Awake, Age::Asleep, Age::New];
pub(super) const WAYS: [Way; 2] = [Way::Same, Way::Fresh];

/// A probe that waits for its moment.
struct Probe {
    at: Duration,
    way: Way,
    age: Age,
    actor: String,
    tally: Tally,
    wire: Mutex<Wire>,
}

/// What a probe saw.
pub(super) struct Seen {
    /// Its moment: the time since the kill.
    pub(super) at: Duration,
    pub(super) way: Way,
    pub(super) age: Age,
    pub(super) called: Called,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, way, age, called: Called { known, took, kept, .. } } = self;
        write!(f, "{age:?}, {way:?}, after {at:?}: {known:?} in {took:?}, kept {kept}")
    }
}

/// All probes of a sweep.
pub(super) struct Plan(Vec<Probe>);

impl Plan {
    /// Probes at every step until `last`, and those of one more moment, from which on all are answered.
    pub(super) fn new(last: Duration) -> Self {
        let steps = u32::try_from(last.as_millis() / STEP.as_millis()).unwrap();
        let mut moments: Vec<Duration> = (0..=steps).map(|step| STEP * step).collect();
        moments.push(ANSWERED_AFTER.max(last + STEP));
        let probes = moments.iter().flat_map(|at| {
            WAYS.into_iter().flat_map(move |way| AGES.into_iter().map(move |age| (*at, way, age)))
        });
        Self(probes.map(Probe::new).collect())
    }

    /// Begins the old actors at their owner, calls them through the entry, and has those fall asleep
    /// that are to be asleep.
    pub(super) fn warm_up(&mut self, stage: &Stage) {
        let owner = &stage.owner().at().listen;
        let (mut at_owner, mut at_entry) = (wire(owner), wire(stage.entry()));
        for age in [Age::Asleep, Age::Awake, Age::New] {
            for probe in self.0.iter_mut().filter(|probe| probe.age == age) {
                let mut own = wire(stage.entry());
                let through = if probe.way == Way::Same { &mut own } else { &mut at_entry };
                if age == Age::New {
                    done(through, "counter/any", "get");
                } else {
                    done(&mut at_owner, &probe.actor, "increment");
                    let value = done(through, &probe.actor, "increment");
                    probe.tally = Tally::from(value);
                }
                probe.wire = Mutex::new(own);
            }
        }
        let (begun, program) = (Instant::now(), stage.owner().running().unwrap());
        std::thread::sleep(Duration::from_millis(BRIEF_MS));
        loop {
            let route = "/admin/actors?kind=brief&state=awake&limit=1";
            let awake = program.admin_get(route).unwrap();
            if awake.body["actors"].as_array().unwrap().is_empty() {
                return;
            }
            assert!(begun.elapsed() < ASLEEP_WITHIN, "{awake:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Kills, restarts, and sends each probe at its moment, those of the last one when the victim
    /// serves again. Also returns when that was.
    pub(super) fn run(&self, stage: &mut Stage) -> (Vec<Seen>, Duration) {
        let entry = stage.entry().to_owned();
        let (steps, last) = self.0.split_at(self.0.len() - AGES.len() * WAYS.len());
        let killed = stage.kill();
        std::thread::scope(|scope| {
            let send = |probe, at| Probe::spawn(probe, scope, &entry, killed, at);
            let mut threads: Vec<_> = steps.iter().map(|probe| send(probe, probe.at)).collect();
            stage.restart();
            let restarted = killed.elapsed();
            let at = restarted + STEP;
            threads.extend(last.iter().map(|probe| send(probe, probe.at.max(at))));
            (threads.into_iter().map(|thread| thread.join().unwrap()).collect(), restarted)
        })
    }

    /// What is wrong with the counters that were probed.
    pub(super) fn compare(&self, stage: &Stage, seen: &[Seen]) -> Vec<String> {
        let mut faults = Vec::new();
        for (probe, seen) in self.0.iter().zip(seen) {
            probe.tally.end(probe.tally.begin(), &seen.called);
            let wrong = probe.tally.faults(stage.value(&probe.actor));
            faults.extend(wrong.iter().map(|fault| format!("{}: {fault}: {seen}", probe.actor)));
        }
        faults
    }
}

impl Probe {
    fn new((at, way, age): (Duration, Way, Age)) -> Self {
        let kind = if age == Age::Asleep { "brief" } else { "counter" };
        let actor = format!("{kind}/{age:?}-{way:?}-{}", at.as_millis());
        Self { at, way, age, actor, tally: Tally::default(), wire: Mutex::new(wire("")) }
    }

    /// Sends it at its moment, in a thread.
    fn spawn<'scope, 'env>(
        &'env self,
        scope: &'scope Scope<'scope, 'env>,
        entry: &'env str,
        killed: Instant,
        at: Duration,
    ) -> ScopedJoinHandle<'scope, Seen> {
        let build = Builder::new().name(format!("probe {at:?}"));
        build.spawn_scoped(scope, move || self.send(entry, killed, at)).unwrap()
    }

    fn send(&self, entry: &str, killed: Instant, at: Duration) -> Seen {
        let Self { way, age, actor, wire: own, .. } = self;
        std::thread::sleep((killed + at).saturating_duration_since(Instant::now()));
        let mut fresh = wire(entry);
        let mut own = own.lock();
        let wire = if *way == Way::Same { &mut *own } else { &mut fresh };
        let called = wire.call(actor, "increment", &json!([1]), TIME);
        Seen { at, way: *way, age: *age, called }
    }
}

fn wire(address: &str) -> Wire {
    Wire::to(address, SLACK)
}

/// A call that must succeed; its value, if that is a number.
fn done(wire: &mut Wire, actor: &str, method: &str) -> u64 {
    let arguments = if method == "get" { json!([]) } else { json!([1]) };
    let called = wire.call(actor, method, &arguments, PATIENCE);
    match called.known {
        Known::Done(value) => value.as_u64().unwrap(),
        other => panic!("{actor} {method}: {other:?}"),
    }
}
