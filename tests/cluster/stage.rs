//! The servers of the cluster: started one after the other, and ended in every case.
//!
//! Invariant: what runs is in the stage, behind a lock that is held while anything starts. So the end,
//! which may come at any time, finds everything, and nothing starts behind it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use stockade_testkit::postgres::{Server, USER};
use stockade_tests::node::{self, Node, Shared};
use stockade_tests::program::Addresses;
use tempfile::TempDir;

/// The nodes.
pub(crate) const NAMES: [&str; 3] = ["one", "two", "three"];
/// Short, so that the wait after a kill is.
pub(crate) const LEASE: Duration = Duration::from_secs(2);
/// The name that the standby follows under.
const STANDBY: &str = "standby";
/// A standby asks for its primary again soon.
const SETTINGS: [&str; 2] = ["wal_retrieve_retry_interval=200ms", "wal_keep_size=256MB"];

/// All that runs.
pub(crate) struct Stage {
    running: Mutex<Option<Running>>,
}

struct Running {
    // In this order they end.
    nodes: Vec<Node>,
    servers: Vec<Server>,
    shared: Shared,
    _dir: TempDir,
}

impl Stage {
    /// Nothing runs yet.
    pub(crate) fn new() -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("stockade-cluster-").tempdir()?;
        let shared = Shared {
            dir: dir.path().to_owned(),
            store: String::new(),
            lease: LEASE,
            flags: Vec::new(),
        };
        let running = Running { nodes: Vec::new(), servers: Vec::new(), shared, _dir: dir };
        Ok(Self { running: Mutex::new(Some(running)) })
    }

    fn lock(&self) -> MutexGuard<'_, Option<Running>> {
        // A story that broke off leaves what runs to the end.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, act: impl FnOnce(&mut Running) -> Result<T>) -> Result<T> {
        act(self.lock().as_mut().context("the cluster has ended")?)
    }

    /// Starts the primary and its standby; their ports.
    pub(crate) fn servers(&self) -> Result<(u16, u16)> {
        self.with(|running| {
            let primary = Server::start(&SETTINGS);
            let database = primary.new_database();
            let standby = primary.standby(STANDBY, None);
            primary.set("synchronous_standby_names", STANDBY);
            primary.until("SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync'");
            let ports = (primary.port, standby.port);
            running.shared.store = format!(
                "postgres://{USER}@127.0.0.1:{},127.0.0.1:{}/{database}?sslmode=disable&standby=yes",
                ports.0, ports.1
            );
            running.servers = vec![primary, standby];
            running.shared.make_keys(&NAMES)?;
            Ok(ports)
        })
    }

    /// Starts a node, where it was before if it was; its process, and where it listens.
    pub(crate) fn start(&self, name: &str) -> Result<(u32, Addresses)> {
        self.with(|running| {
            let at = running.nodes.iter().position(|node| node.name == name);
            let at = match at {
                Some(at) => {
                    running.nodes[at].restart()?;
                    at
                }
                None => {
                    running.nodes.push(Node::start(&running.shared, name)?);
                    running.nodes.len() - 1
                }
            };
            let node = &running.nodes[at];
            Ok((node.running()?.id(), node.at().clone()))
        })
    }

    /// Waits until the nodes know each other.
    pub(crate) fn meet(&self) -> Result<()> {
        self.with(|running| node::meet(running.nodes.iter()))
    }

    /// Where each node listens.
    pub(crate) fn addresses(&self) -> Result<[Addresses; 3]> {
        self.with(|running| {
            let all: Vec<Addresses> = running.nodes.iter().map(|node| node.at().clone()).collect();
            all.try_into().ok().context("three nodes")
        })
    }

    /// Kills a node; the process that it was.
    pub(crate) fn kill(&self, name: &str) -> Result<u32> {
        self.with(|running| {
            let node = running.nodes.iter_mut().find(|node| node.name == name);
            let node = node.context("no such node")?;
            let id = node.running()?.id();
            node.kill()?;
            ensure!(node.program().is_none(), "it runs");
            Ok(id)
        })
    }

    /// Kills the primary, with all of its processes, and promotes the standby, which waits for no other.
    /// When the primary was gone.
    pub(crate) fn promote(&self) -> Result<Instant> {
        self.with(|running| {
            let [primary, standby] = &running.servers[..] else { bail!("no standby") };
            primary.kill_all();
            let killed = Instant::now();
            standby.promote();
            Ok(killed)
        })
    }

    /// Ends everything: the nodes in order where they can, then the servers.
    pub(crate) fn end(&self) {
        let Some(mut running) = self.lock().take() else { return };
        for node in &mut running.nodes {
            // A node that was killed, or that Ctrl-C has ended, is gone already.
            drop(node.stop());
        }
        // The standby first: the primary would wait for it.
        while let Some(server) = running.servers.pop() {
            drop(server);
        }
    }
}
