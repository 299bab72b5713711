//! The processes that share the store, for operators; the drain of this one, and its share.
//!
//! ```text
//!  more than its share ──> the coldest actors end in order; for a while they begin elsewhere
//!  drain ──> reported with the next sign of life ──> awake actors end in order, a few at a time
//!        └─> no actor begins here                ──> their next calls begin elsewhere
//! ```

use std::time::Duration;

use stockade_depot::NodeSession;
use stockade_depot::store::NodeLoad;
use tokio::time::Instant;

use super::Host;
use crate::error::HostError;
use crate::limits::REBALANCE_EVERY;
use crate::membership::Known;
use crate::router::Router;
use crate::supervision::balance::Balance;

/// How often a drain looks for actors that are awake. 100 ms: one that was about to start.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A process that shares the store.
#[derive(Clone, Debug)]
pub struct NodeInfo {
    /// This run of the process.
    pub session: NodeSession,
    /// Where callers reach it.
    pub address: String,
    /// Where other processes reach it; `None`: it takes no calls from them.
    pub peers: Option<String>,
    /// Its number on its machine, if it reports that.
    pub pid: Option<u32>,
    /// The version of its program, if it reports that.
    pub version: Option<String>,
    /// Its load at its last sign of life, if it reports that.
    pub load: Option<NodeLoad>,
    /// Whether it gives up its actors.
    pub draining: bool,
    /// How long ago its last sign of life was seen.
    pub lease_age: Duration,
    /// Whether it is not known to be dead.
    pub alive: bool,
    /// Whether it is the process that answers.
    pub answers: bool,
}

impl From<Known> for NodeInfo {
    fn from(known: Known) -> Self {
        let Known { row, silent, alive, own } = known;
        let (pid, version) = row.process.map(|it| (it.pid, it.version)).unzip();
        Self {
            session: row.session,
            address: row.address,
            peers: row.peers,
            pid,
            version,
            load: row.load,
            draining: row.draining,
            lease_age: silent,
            alive,
            answers: own,
        }
    }
}

/// How far a drain is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    /// Whether this process drains.
    pub draining: bool,
    /// Actors that are awake here.
    pub awake: usize,
    /// Other processes that take actors over.
    pub takers: usize,
}

impl Host {
    /// Every process that shares the store.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn nodes(&self) -> Result<Vec<NodeInfo>, HostError> {
        let known = self.shared().nodes.all().await?;
        let mut infos: Vec<NodeInfo> = known.into_iter().map(NodeInfo::from).collect();
        for info in infos.iter_mut().filter(|info| info.answers) {
            // Newer than its last sign of life.
            info.draining = self.shared().nodes.is_draining();
            info.load = Some(self.shared().nodes.load());
        }
        infos.sort_by(|a, b| (&a.address, a.session).cmp(&(&b.address, b.session)));
        Ok(infos)
    }

    /// Gives this process's actors up to others, in order and without an error for callers, and
    /// begins none until [`Host::stop_draining`]. Returns immediately.
    ///
    /// # Errors
    /// `Alone` if no other process takes actors over; those of the store.
    pub async fn drain(&self) -> Result<Drain, HostError> {
        let nodes = &self.shared().nodes;
        nodes.all().await?;
        if nodes.takers().is_empty() {
            return Err(HostError::Alone);
        }
        if nodes.set_draining(true) {
            tracing::info!(awake = self.awake(), "draining: actors are given up to others");
        }
        Ok(self.drain_status())
    }

    /// Ends a drain: actors begin here again.
    pub fn stop_draining(&self) -> Drain {
        if self.shared().nodes.set_draining(false) {
            tracing::info!(awake = self.awake(), "no longer draining");
        }
        self.drain_status()
    }

    /// How far the drain is.
    #[must_use]
    pub fn drain_status(&self) -> Drain {
        let nodes = &self.shared().nodes;
        let takers = nodes.takers().len();
        Drain { draining: nodes.is_draining(), awake: self.awake(), takers }
    }

    /// Resolves when no actor is awake here, or no drain is under way.
    pub async fn drained(&self) {
        while self.shared().nodes.is_draining() && self.awake() > 0 {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// Hands actors over to others while this process has more than its share. Runs for as long as the
/// host.
pub(super) async fn balance(router: Router, per_min: u64) {
    let mut balance = Balance::new(per_min);
    let mut period = tokio::time::interval(REBALANCE_EVERY);
    period.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        period.tick().await;
        let shared = router.shared();
        let nodes = &shared.nodes;
        if !nodes.has_peers_address() || nodes.is_draining() || nodes.is_alone() {
            continue;
        }
        let others: Vec<NodeLoad> = nodes.takers().into_iter().map(|(_, load)| load).collect();
        let due = balance.due(Instant::now(), &nodes.load(), &others);
        if due == 0 {
            continue;
        }
        let given = router.hand_over(usize::try_from(due).unwrap_or(usize::MAX)).await;
        balance.gave(Instant::now(), u64::try_from(given.len()).unwrap_or(u64::MAX));
        let (given, awake) = (given.len(), router.awake().count());
        tracing::info!(given, awake, "actors handed over: others have fewer");
    }
}

/// Ends awake actors whenever this process drains. Runs for as long as the host.
pub(super) async fn give_away(router: Router) {
    let nodes = &router.shared().nodes;
    loop {
        nodes.drain_begun().await;
        let mut given = 0;
        while nodes.is_draining() {
            let ended = router.give_away().await;
            given += ended;
            if ended > 0 {
                tracing::info!(given, awake = router.awake().count(), "actors given up");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

#[cfg(test)]
mod tests;
