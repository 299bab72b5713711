//! The machines, the nodes on them, the relays between them, and the servers of the store.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use stockade_testkit::postgres::{Server, USER};
use stockade_tests::guest;
use stockade_tests::net::{Net, Relay};
use stockade_tests::node::{self, Node, Shared};
use stockade_tests::program::Addresses;
use tempfile::TempDir;

use super::LEASE;
use super::events::Event;

const NAMES: [&str; 3] = ["one", "two", "three"];
/// Where each node listens on its own machine.
const LISTEN: u16 = 7070;
const ADMIN: u16 = 7071;
const PEERS: u16 = 7072;
/// How slow a slow node is, in each direction.
const SLOW: Duration = Duration::from_millis(200);
/// How much longer than its lease a frozen node is frozen.
const FROZEN_OVER_LEASE: Duration = Duration::from_secs(2);
/// The name that the standby follows under.
const STANDBY: &str = "standby";
/// A standby asks for its primary again soon, and finds there what it lacks.
const SETTINGS: [&str; 2] = ["wal_retrieve_retry_interval=200ms", "wal_keep_size=256MB"];

/// The ports by which a node's packets are known: its own, and that of its way to the store.
pub(super) struct Ports {
    pub(super) listen: u16,
    pub(super) peers: u16,
    pub(super) store: u16,
}

/// The ways of a node: to the store, from peers, from callers.
struct Ways {
    store: Relay,
    peers: Relay,
    callers: Relay,
}

impl Ways {
    fn slow(&self, one_way: Duration) {
        for relay in [&self.store, &self.peers, &self.callers] {
            relay.slow(one_way);
        }
    }
}

/// Everything that runs. Fields end in this order.
pub(super) struct Stage {
    nodes: Vec<Node>,
    ways: Vec<Ways>,
    net: Net,
    primary: Server,
    _standby: Server,
    _dir: TempDir,
}

impl Stage {
    pub(super) fn start() -> Self {
        let primary = Server::start(&SETTINGS);
        let database = primary.new_database();
        let standby = primary.standby(STANDBY, None);
        primary.set("synchronous_standby_names", STANDBY);
        primary.until("SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync'");
        let dir = tempfile::tempdir().unwrap();
        let token = dir.path().join("token");
        std::fs::write(&token, "callers-of-the-tests").unwrap();
        std::fs::set_permissions(&token, Permissions::from_mode(0o600)).unwrap();
        let net = Net::new(&NAMES).unwrap();
        let relay = |to: &str| Relay::start(&net.gateway(), to).unwrap();
        let way = |address: &str| Ways {
            store: relay(&format!("127.0.0.1:{}", primary.port)),
            peers: relay(&format!("{address}:{PEERS}")),
            callers: relay(&format!("{address}:{LISTEN}")),
        };
        let ways: Vec<Ways> = net.machines().iter().map(|machine| way(&machine.address)).collect();
        let shared = |ways: &Ways| shared(dir.path(), &token, &database, ways);
        shared(&ways[0]).make_keys(&NAMES).unwrap();
        let machines = net.machines().iter().zip(&ways).zip(NAMES);
        let nodes: Vec<Node> = machines
            .map(|((machine, ways), name)| {
                let at = |port: u16| format!("{}:{port}", machine.address);
                let at = Addresses { listen: at(LISTEN), admin: at(ADMIN), peers: Some(at(PEERS)) };
                Node::start_at(&shared(ways), name, at, machine.prefix()).unwrap()
            })
            .collect();
        nodes[0].running().unwrap().deploy("counter", &guest::COUNTER.wasm().unwrap()).unwrap();
        node::meet(nodes.iter()).unwrap();
        Self { nodes, ways, net, primary, _standby: standby, _dir: dir }
    }

    /// How many nodes there are.
    pub(super) fn count(&self) -> usize {
        self.nodes.len()
    }

    /// Where callers call each node.
    pub(super) fn callers(&self) -> Vec<String> {
        self.ways.iter().map(|ways| ways.callers.address.to_string()).collect()
    }

    /// Where callers ask while this happens to that node: the others. A node without its peers is the
    /// only one that answers for its actors, the others do for theirs.
    pub(super) fn entries(&self, event: Event, victim: usize) -> Vec<String> {
        let mut all = self.callers();
        match event {
            Event::CutFromPeers | Event::Slow | Event::Lossy | Event::EngineRestarted => {}
            Event::Killed | Event::Frozen | Event::CutFromStore | Event::CutFromCallers => {
                all.remove(victim);
            }
        }
        all
    }

    /// Makes it happen. From when on callers may expect answers: for the engine, when it is back.
    pub(super) fn begin(&mut self, event: Event, victim: usize) -> Instant {
        let begun = Instant::now();
        match event {
            Event::Killed => self.nodes[victim].kill().unwrap(),
            Event::Frozen => self.nodes[victim].running().unwrap().freeze().unwrap(),
            Event::Slow => self.ways[victim].slow(SLOW),
            Event::CutFromStore | Event::CutFromPeers | Event::CutFromCallers | Event::Lossy => {
                self.filter(event, victim);
            }
            Event::EngineRestarted => {
                self.primary.kill_all();
                self.primary.again();
                return Instant::now();
            }
        }
        begun
    }

    /// Ends it, after everything was answered, and waits until the nodes know each other again.
    pub(super) fn end(&mut self, event: Event, victim: usize) {
        match event {
            Event::Killed => self.nodes[victim].restart().unwrap(),
            Event::Frozen => {
                std::thread::sleep(FROZEN_OVER_LEASE);
                self.nodes[victim].running().unwrap().resume().unwrap();
            }
            Event::Slow => self.ways[victim].slow(Duration::ZERO),
            Event::CutFromStore | Event::CutFromPeers | Event::CutFromCallers | Event::Lossy => {
                let machine = &self.net.machines()[victim];
                self.net.drop_packets(machine, &[], &[]).unwrap();
            }
            Event::EngineRestarted => {}
        }
        node::meet(self.nodes.iter()).unwrap();
    }

    fn filter(&self, event: Event, victim: usize) {
        let own =
            Ports { listen: LISTEN, peers: PEERS, store: self.ways[victim].store.address.port() };
        let others = self.ways.iter().enumerate().filter(|(node, _)| *node != victim);
        let others: Vec<u16> = others.map(|(_, ways)| ways.peers.address.port()).collect();
        let (out, arriving) = event.dropped(&own, &others);
        self.net.drop_packets(&self.net.machines()[victim], &out, &arriving).unwrap();
    }

    /// The end of all logs.
    pub(super) fn autopsy(&self) -> String {
        self.nodes.iter().map(Node::autopsy).collect::<Vec<_>>().join("\n")
    }
}

/// What a node is started with.
fn shared(dir: &Path, token: &Path, database: &str, ways: &Ways) -> Shared {
    let flags = [
        ("--advertise", ways.callers.address.to_string()),
        ("--advertise-peers", ways.peers.address.to_string()),
        ("--token-file", token.display().to_string()),
    ];
    let flags = flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect();
    let store = ways.store.address;
    let store = format!("postgres://{USER}@{store}/{database}?sslmode=disable&standby=yes");
    Shared { dir: dir.to_owned(), store, lease: LEASE, flags }
}
