//! The servers of a sweep, and the load on them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::json;
use stockade_testkit::postgres::{Server, USER};
use stockade_tests::guest;
use stockade_tests::node::{self, Node, Shared};
use stockade_tests::tally::{Counts, Tally};
use stockade_tests::wire::{Known, Wire};
use tempfile::TempDir;

use super::{LEASE, PATIENCE, SLACK, TIME};

/// Callers that never pause for long.
const WRITERS: usize = 3;
/// Counters of each.
const COUNTERS: usize = 2;
/// How long an idle connection lives: from the first warm key to the last probe.
const IDLE_MS: u64 = 120_000;
/// When an actor of the kind `brief` falls asleep.
pub(super) const BRIEF_MS: u64 = 700;

/// What is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Victim {
    /// The node that owns the actors, behind another one.
    Owner,
    /// The node that callers know, before the one that owns the actors.
    Entry,
    /// The node that callers know and that owns the actors.
    Both,
    /// The store.
    Store,
}

impl Victim {
    /// Its name, for a file.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Entry => "entry",
            Self::Both => "called-owner",
            Self::Store => "store",
        }
    }
}

/// Two nodes over one server.
pub(super) struct Stage {
    victim: Victim,
    owner: Node,
    other: Node,
    // After the nodes: they end first.
    server: Server,
    _dir: TempDir,
}

impl Stage {
    pub(super) fn start(victim: Victim) -> Self {
        let server = Server::start(&[]);
        let (port, database) = (server.port, server.new_database());
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config.toml");
        std::fs::write(&config, format!("[host]\nrequest_read_max_ms = {IDLE_MS}\n")).unwrap();
        let shared = Shared {
            dir: dir.path().to_owned(),
            store: format!("postgres://{USER}@127.0.0.1:{port}/{database}?sslmode=disable"),
            lease: LEASE,
            flags: vec!["--config".to_owned(), config.display().to_string()],
        };
        shared.make_keys(&["owner", "other"]).unwrap();
        let owner = Node::start(&shared, "owner").unwrap();
        let other = Node::start(&shared, "other").unwrap();
        let counter = guest::COUNTER.wasm().unwrap();
        let first = owner.running().unwrap();
        first.deploy("counter", &counter).unwrap();
        let sleepy = json!({ "limits": { "sleep_after_ms": BRIEF_MS } });
        first.deploy_with("brief", &counter, Some(&sleepy)).unwrap();
        node::meet([&owner, &other].into_iter()).unwrap();
        Self { victim, owner, other, server, _dir: dir }
    }

    /// Where callers call.
    pub(super) fn entry(&self) -> &str {
        let node = if self.victim == Victim::Both { &self.owner } else { &self.other };
        &node.at().listen
    }

    /// Where actors are begun.
    pub(super) fn owner(&self) -> &Node {
        &self.owner
    }

    /// Kills the victim. The moment at which it was gone.
    pub(super) fn kill(&mut self) -> Instant {
        match self.victim {
            Victim::Owner | Victim::Both => self.owner.kill().unwrap(),
            Victim::Entry => self.other.kill().unwrap(),
            Victim::Store => self.server.kill_all(),
        }
        Instant::now()
    }

    /// Starts the victim on its addresses. Blocks until it serves.
    pub(super) fn restart(&mut self) {
        match self.victim {
            Victim::Owner | Victim::Both => self.owner.restart().unwrap(),
            Victim::Entry => self.other.restart().unwrap(),
            Victim::Store => self.server.again(),
        }
    }

    /// The end of the logs.
    pub(super) fn autopsy(&self) -> String {
        [&self.owner, &self.other].map(Node::autopsy).join("\n")
    }

    /// The value of a counter.
    pub(super) fn value(&self, actor: &str) -> u64 {
        let mut wire = Wire::to(self.entry(), SLACK);
        let called = wire.call(actor, "get", &json!([]), PATIENCE);
        match &called.known {
            Known::Done(value) => value.as_u64().unwrap(),
            other => panic!("{actor}: {other:?}\n{}", self.autopsy()),
        }
    }

    /// Callers that add to counters of their own until the end.
    pub(super) fn load(&self) -> Load {
        // Every second one begins at the owner, the others where they are called.
        let mut at_owner = Wire::to(&self.owner.at().listen, SLACK);
        for writer in 0..WRITERS {
            let called = at_owner.call(&counter(writer, 0), "get", &json!([]), PATIENCE);
            assert!(called.known.is_done(), "{called:?}");
        }
        let stop = Arc::new(AtomicBool::new(false));
        let writers = (0..WRITERS).map(|writer| {
            let (stop, entry) = (Arc::clone(&stop), self.entry().to_owned());
            let build = std::thread::Builder::new().name(format!("writer {writer}"));
            build.spawn(move || write(writer, &entry, &stop)).unwrap()
        });
        Load { writers: writers.collect(), stop }
    }
}

fn counter(writer: usize, number: usize) -> String {
    format!("counter/load-{writer}-{number}")
}

/// Adds to counters in turn; what became of it.
fn write(writer: usize, entry: &str, stop: &AtomicBool) -> Vec<(String, Tally)> {
    let counters = (0..COUNTERS).map(|number| (counter(writer, number), Tally::default()));
    let counters: Vec<(String, Tally)> = counters.collect();
    let mut wire = Wire::to(entry, SLACK);
    while !stop.load(Ordering::Relaxed) {
        for (actor, tally) in &counters {
            let before = tally.begin();
            let called = wire.call(actor, "increment", &json!([1]), TIME);
            tally.end(before, &called);
            let pause = if called.known.is_done() { 10 } else { 50 };
            std::thread::sleep(Duration::from_millis(pause));
        }
    }
    counters
}

/// The callers of a load.
pub(super) struct Load {
    writers: Vec<JoinHandle<Vec<(String, Tally)>>>,
    stop: Arc<AtomicBool>,
}

/// What the callers of a load know.
pub(super) struct Loaded(Vec<(String, Tally)>);

impl Load {
    pub(super) fn end(self) -> Loaded {
        self.stop.store(true, Ordering::Relaxed);
        Loaded(self.writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect())
    }
}

impl Loaded {
    pub(super) fn counts(&self) -> Counts {
        self.0.iter().map(|(_, tally)| tally.counts()).fold(Counts::default(), Counts::and)
    }

    /// What is wrong with the counters.
    pub(super) fn compare(&self, stage: &Stage) -> Vec<String> {
        let faults = self.0.iter().flat_map(|(actor, tally)| {
            let faults = tally.faults(stage.value(actor)).into_iter();
            faults.map(move |fault| format!("{actor}: {fault}"))
        });
        let mut faults: Vec<String> = faults.collect();
        let counts = self.counts();
        if counts.acknowledged < 10 {
            faults.push(format!("hardly a load: {counts:?}"));
        }
        if counts.silent > 0 {
            faults.push(format!("calls of the load that got no answer in time: {counts:?}"));
        }
        faults
    }
}
