//! Processes that share the store, what they report of themselves, and which of them are dead.
//!
//! A process shows that it lives in two ways: its counter in the store moves, and on one machine it
//! holds a lock on a file of its own, which the kernel drops when the process dies. A process is
//! dead when its lock is free, or when this process watched the counter for the lease time on *its
//! own* monotonic clock and the counter did not move. Time in which this process did not look
//! (frozen, or the store was away) counts against no process. A wrong judgement costs time, never
//! safety: the fence decides who owns what.
//!
//! The same clock bounds this process's own lease (`lease.rs`): it takes no calls before others can
//! have judged it dead. Each sign of life carries a report (`load.rs`): addresses, load, and whether
//! the process drains.
//!
//! A process whose store has failed resigns: it releases its lock and shows no more signs of life,
//! so that others serve its actors immediately. A row without a lock file whose counter has not
//! moved for [`SILENT_LEASES`] leases is removed.

mod lease;
pub mod load;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fs::{File, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use stockade_depot::broken::{self, Variant};
use stockade_depot::store::{NodeBeat, NodeLoad, NodeRow};
use stockade_depot::{NodeSession, Store, StoreError};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::error::HostError;
use crate::limits::{LOOK_FRESH_PART, SILENT_LEASES};
use lease::Lease;
use load::Gauge;

/// The processes that share a store.
pub struct Nodes {
    store: Arc<dyn Store>,
    own: NodeSession,
    announced: Announced,
    lock_dir: PathBuf,
    seen: Mutex<HashMap<NodeSession, Seen>>,
    looked: Mutex<Instant>,
    /// Of the calls of silent processes' actors, one looks.
    looking: tokio::sync::Mutex<()>,
    lease: Lease,
    gauge: OnceLock<Gauge>,
    draining: watch::Sender<bool>,
    /// Asks for a sign of life before the next one is due.
    news: Notify,
    /// Held as long as this process shows that it lives.
    lock: Mutex<Option<File>>,
}

/// Where a process says that it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    /// The address for callers.
    pub address: String,
    /// The address for other processes; `None`: it takes no calls from them.
    pub peers: Option<String>,
}

/// Another process that takes calls from this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// This run of the process.
    pub session: NodeSession,
    /// Where it takes calls from other processes.
    pub address: String,
}

/// A process as this one knows it.
#[derive(Clone, Debug)]
pub struct Known {
    /// What the store has.
    pub row: NodeRow,
    /// How long its counter has not moved, as far as this process has seen.
    pub silent: Duration,
    /// Whether it is not known to be dead.
    pub alive: bool,
    /// Whether it is this process.
    pub own: bool,
}

struct Seen {
    row: NodeRow,
    /// Before the look that has seen it first.
    met: Instant,
    moved: Instant,
    /// When the last look began that has seen it.
    looked: Instant,
    /// A moment after which it has moved its counter, as far as that was seen.
    shown: Option<Instant>,
}

impl Nodes {
    /// Registers this process and retires those of this machine that have died.
    ///
    /// # Errors
    /// The lock file cannot be made, or the store does not answer.
    pub async fn register(
        store: Arc<dyn Store>,
        own: NodeSession,
        announced: Announced,
        lease: Duration,
        lock_dir: &Path,
    ) -> Result<Self, HostError> {
        let path = lock_path(lock_dir, own);
        let failed = |error: std::io::Error| HostError::Directory {
            path: path.clone(),
            error: error.to_string(),
        };
        std::fs::create_dir_all(lock_dir).map_err(failed)?;
        let mut options = File::options();
        let lock = options.write(true).create(true).truncate(true).mode(0o600).open(&path);
        let lock = lock.map_err(failed)?;
        lock.lock().map_err(failed)?;
        let nodes = Self {
            store,
            own,
            announced,
            lock_dir: lock_dir.to_owned(),
            seen: Mutex::default(),
            looked: Mutex::new(Instant::now()),
            looking: tokio::sync::Mutex::default(),
            lease: Lease::new(lease),
            gauge: OnceLock::new(),
            draining: watch::Sender::new(false),
            news: Notify::new(),
            lock: Mutex::new(Some(lock)),
        };
        nodes.beat().await?;
        nodes.look().await?;
        Ok(nodes)
    }

    /// What measures this process's load from now on. Before, it reports none.
    pub fn measure(&self, gauge: Gauge) {
        // Called once, by the start of the host.
        drop(self.gauge.set(gauge));
    }

    /// The load of this process.
    #[must_use]
    pub fn load(&self) -> NodeLoad {
        self.gauge.get().map(Gauge::load).unwrap_or_default()
    }

    /// Whether this process takes calls from others, and so may pass calls on to them.
    #[must_use]
    pub fn has_peers_address(&self) -> bool {
        self.announced.peers.is_some()
    }

    /// Whether this process gives up its actors and takes no more.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Begins or ends a drain, and reports it soon. Returns whether that was a change.
    pub fn set_draining(&self, draining: bool) -> bool {
        let changed = self.draining.send_replace(draining) != draining;
        if changed {
            self.news.notify_one();
        }
        changed
    }

    /// Resolves when this process drains.
    pub async fn drain_begun(&self) {
        // The sender lives as long as this.
        drop(self.draining.subscribe().wait_for(|draining| *draining).await);
    }

    /// Shows that this process lives, and watches the others. Never returns; dropped at the end.
    pub async fn keep(&self) {
        let mut period = tokio::time::interval(self.lease.time() / 3);
        period.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut is_away = false;
        loop {
            tokio::select! { _ = period.tick() => {}, () = self.news.notified() => {} }
            if self.has_resigned() {
                return std::future::pending().await;
            }
            let beat = async {
                self.beat().await?;
                self.look().await
            };
            let shown = beat.await;
            match &shown {
                Ok(()) if is_away => tracing::info!("the store answers again"),
                Ok(()) => {}
                Err(error) if is_away => tracing::debug!(%error, "still no sign of life"),
                Err(error) => tracing::warn!(%error, "cannot show that this process lives"),
            }
            is_away = shown.is_err();
            if is_away {
                // A store that is back gets the sign before others miss it.
                period.reset_after(self.lease.time() / 12);
            }
        }
    }

    /// One sign of life. The lease counts from before it was sent.
    async fn beat(&self) -> Result<(), StoreError> {
        let begun = Instant::now();
        let Announced { address, peers } = self.announced.clone();
        let (draining, load) = (self.is_draining(), self.load());
        let beat = NodeBeat { address, peers, draining, load, program: None };
        self.store.node_beat(self.own, &beat).await?;
        self.lease.beaten(begun);
        Ok(())
    }

    /// Whether no other process can have judged this one dead, as far as the lease tells. Near its
    /// end, tries a sign of life first, for a bounded time. Asked before each call begins.
    pub async fn holds_lease(&self) -> bool {
        if self.is_sure_of_its_lease() {
            return true;
        }
        !self.has_resigned() && self.lease.renewed_by(|| self.beat()).await
    }

    /// The same, as far as it is known without a sign of life.
    #[must_use]
    pub fn is_sure_of_its_lease(&self) -> bool {
        // A process that comes later must watch the counter for a lease first.
        broken::is_off(Variant::LeaseEnd) || !self.lease.is_near_its_end() || self.is_alone()
    }

    /// How long a process may show no sign of life.
    #[must_use]
    pub fn lease_time(&self) -> Duration {
        self.lease.time()
    }

    /// Shows no more signs of life from now on: other processes judge this process dead.
    pub fn resign(&self) {
        drop(self.lock.lock().take());
    }

    /// Removes the row of this process, if the store accepts that.
    pub async fn forget_own(&self) {
        if let Err(error) = self.store.node_gone(self.own).await {
            tracing::debug!(%error, "cannot remove the row of this process");
        }
    }

    fn has_resigned(&self) -> bool {
        self.lock.lock().is_none()
    }

    /// Removes this process from the store: its heads need no lease to run out.
    pub async fn retire(&self) {
        match self.store.node_gone(self.own).await {
            Ok(()) => drop(std::fs::remove_file(lock_path(&self.lock_dir, self.own))),
            // The lock file stays: it is free when this process has ended, which shows the end.
            Err(error) => tracing::warn!(%error, "cannot retire from the store"),
        }
    }

    /// Whether no other process is known.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.seen.lock().is_empty()
    }

    /// The address of a process that is not known to be dead.
    #[must_use]
    pub fn address_if_alive(&self, session: NodeSession) -> Option<String> {
        self.if_alive(session).map(|row| row.address)
    }

    /// A process that is not known to be dead, if it takes calls from others.
    #[must_use]
    pub fn peer_if_alive(&self, session: NodeSession) -> Option<Peer> {
        let address = self.if_alive(session)?.peers?;
        Some(Peer { session, address })
    }

    fn if_alive(&self, session: NodeSession) -> Option<NodeRow> {
        if self.lock_is_free(session) {
            return None;
        }
        let seen = self.seen.lock();
        let node = seen.get(&session)?;
        (node.moved.elapsed() < self.lease.time()).then(|| node.row.clone())
    }

    /// Whether a process that was known by then has surely moved its counter after `moment`.
    #[must_use]
    pub fn lives_since(&self, session: NodeSession, moment: Instant) -> bool {
        let seen = self.seen.lock();
        let Some(Seen { met, shown, .. }) = seen.get(&session) else { return false };
        *met <= moment && shown.is_some_and(|shown| shown >= moment)
    }

    /// Other processes that live, take calls from this one and do not drain, each with its load.
    #[must_use]
    pub fn takers(&self) -> Vec<(Peer, NodeLoad)> {
        let sessions: Vec<NodeSession> = {
            let seen = self.seen.lock();
            let takes = seen.values().filter(|node| !node.row.draining && node.row.peers.is_some());
            let mut sessions: Vec<_> = takes.map(|node| node.row.session).collect();
            // In an order that is the same in every run.
            sessions.sort_unstable();
            sessions
        };
        let rows = sessions.into_iter().filter_map(|session| self.if_alive(session));
        rows.filter_map(|row| {
            let peer = Peer { session: row.session, address: row.peers? };
            Some((peer, row.load.unwrap_or_default()))
        })
        .collect()
    }

    /// Every registered process, as the store has it now.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn all(&self) -> Result<Vec<Known>, StoreError> {
        self.look().await?;
        let rows = self.store.nodes().await?;
        let known = rows.into_iter().map(|row| {
            let own = row.session == self.own;
            let moved = self.seen.lock().get(&row.session).map(|node| node.moved.elapsed());
            let silent = if own { self.lease.age() } else { moved.unwrap_or_default() };
            let alive = own || self.if_alive(row.session).is_some();
            Known { row, silent, alive, own }
        });
        Ok(known.collect())
    }

    /// Checks a process again before it is judged dead, if it was not seen yet, or not for a while:
    /// it may have started a moment ago, or this process may have been frozen.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn meet(&self, session: NodeSession) -> Result<(), StoreError> {
        if session == self.own || self.address_if_alive(session).is_some() {
            return Ok(());
        }
        if broken::is_off(Variant::LooksShared) {
            return self.look().await;
        }
        // The lock is async: it is held over a step of the store, so that one call looks for all.
        let _turn = self.looking.lock().await;
        if self.was_just_seen_silent(session) { Ok(()) } else { self.look().await }
    }

    /// Whether this process has looked a moment ago, and has known the other one by then. All calls of a
    /// dead process's actors ask: one look serves many.
    fn was_just_seen_silent(&self, session: NodeSession) -> bool {
        let looked = self.looked.lock().elapsed();
        looked < self.lease.time() / LOOK_FRESH_PART && self.seen.lock().contains_key(&session)
    }

    async fn look(&self) -> Result<(), StoreError> {
        let begun = Instant::now();
        let rows = self.store.nodes().await?;
        let (now, lease) = (Instant::now(), self.lease.time());
        let away = now - std::mem::replace(&mut *self.looked.lock(), now) >= lease;
        let mut dead = Vec::new();
        {
            let mut seen = self.seen.lock();
            seen.retain(|session, _| rows.iter().any(|row| row.session == *session));
            for row in rows {
                let session = row.session;
                if session == self.own {
                    continue;
                }
                let counter = row.counter;
                let fresh = |met, shown| Seen { row, met, moved: now, looked: begun, shown };
                match seen.get_mut(&session) {
                    // It moved after the look that has seen the former counter had begun.
                    Some(node) if node.row.counter != counter => {
                        *node = fresh(node.met, Some(node.looked));
                    }
                    Some(node) if away => *node = fresh(node.met, node.shown),
                    Some(node) => node.looked = begun,
                    None => drop(seen.insert(session, fresh(begun, None))),
                }
                let moved = seen.get(&session).map_or(now, |node| node.moved);
                let silent = moved.elapsed() >= lease * SILENT_LEASES;
                if self.lock_is_free(session) || (silent && !self.has_lock_file(session)) {
                    dead.push(session);
                }
            }
        }
        for session in dead {
            self.store.node_gone(session).await?;
            self.seen.lock().remove(&session);
            drop(std::fs::remove_file(lock_path(&self.lock_dir, session)));
        }
        Ok(())
    }

    fn has_lock_file(&self, session: NodeSession) -> bool {
        // A file that cannot be checked may exist.
        std::fs::exists(lock_path(&self.lock_dir, session)).unwrap_or(true)
    }

    /// True only if the process ran on this machine and has ended.
    fn lock_is_free(&self, session: NodeSession) -> bool {
        let Ok(file) = File::open(lock_path(&self.lock_dir, session)) else { return false };
        match file.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => false,
        }
    }
}

fn lock_path(dir: &Path, session: NodeSession) -> PathBuf {
    dir.join(format!("{session}.lock"))
}
