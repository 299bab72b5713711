//! Processes that share the store, and which of them are dead.
//!
//! A process shows that it lives in two ways: its counter in the store moves, and on one machine it
//! holds a lock on a file of its own, which the kernel drops when the process dies. A process is
//! dead when its lock is free, or when this process watched the counter for the lease time on *its
//! own* monotonic clock and the counter did not move. Time in which this process did not look
//! (frozen, or the store was away) counts against no process. A wrong judgement costs time, never
//! safety: the fence decides who owns what.
//!
//! A process whose store has failed resigns: it releases its lock and shows no more signs of life,
//! so that others serve its actors immediately. A row without a lock file whose counter has not
//! moved for [`SILENT_LEASES`] leases is removed.

use std::collections::HashMap;
use std::fs::{File, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use stockade_depot::store::NodeRow;
use stockade_depot::{NodeSession, Store, StoreError};
use tokio::time::Instant;

use crate::error::HostError;
use crate::limits::SILENT_LEASES;

/// The processes that share a store.
pub struct Nodes {
    store: Arc<dyn Store>,
    own: NodeSession,
    address: String,
    lease: Duration,
    lock_dir: PathBuf,
    seen: Mutex<HashMap<NodeSession, Seen>>,
    looked: Mutex<Instant>,
    /// Held as long as this process shows that it lives.
    lock: Mutex<Option<File>>,
}

struct Seen {
    address: String,
    counter: u64,
    moved: Instant,
}

impl Nodes {
    /// Registers this process and retires those of this machine that have died.
    ///
    /// # Errors
    /// The lock file cannot be made, or the store does not answer.
    pub async fn register(
        store: Arc<dyn Store>,
        own: NodeSession,
        address: String,
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
        store.node_beat(own, &address).await?;
        let nodes = Self {
            store,
            own,
            address,
            lease,
            lock_dir: lock_dir.to_owned(),
            seen: Mutex::default(),
            looked: Mutex::new(Instant::now()),
            lock: Mutex::new(Some(lock)),
        };
        nodes.look().await?;
        Ok(nodes)
    }

    /// Shows that this process lives, and watches the others. Never returns; dropped at the end.
    pub async fn keep(&self) {
        let mut period = tokio::time::interval(self.lease / 3);
        period.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut is_away = false;
        loop {
            period.tick().await;
            if self.has_resigned() {
                return std::future::pending().await;
            }
            let beat = async {
                self.store.node_beat(self.own, &self.address).await?;
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
                period.reset_after(self.lease / 12);
            }
        }
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
        if self.lock_is_free(session) {
            return None;
        }
        let seen = self.seen.lock();
        let node = seen.get(&session)?;
        (node.moved.elapsed() < self.lease).then(|| node.address.clone())
    }

    /// Checks a process again before it is judged dead, if it was not seen yet, or not for a while:
    /// it may have started a moment ago, or this process may have been frozen.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn meet(&self, session: NodeSession) -> Result<(), StoreError> {
        let known = session == self.own || self.address_if_alive(session).is_some();
        if known { Ok(()) } else { self.look().await }
    }

    async fn look(&self) -> Result<(), StoreError> {
        let rows = self.store.nodes().await?;
        let now = Instant::now();
        let away = now - std::mem::replace(&mut *self.looked.lock(), now) >= self.lease;
        let mut dead = Vec::new();
        {
            let mut seen = self.seen.lock();
            seen.retain(|session, _| rows.iter().any(|row| row.session == *session));
            for NodeRow { session, address, counter, .. } in rows {
                if session == self.own {
                    continue;
                }
                let fresh = || Seen { address: address.clone(), counter, moved: now };
                let node = seen.entry(session).or_insert_with(fresh);
                if away || node.counter != counter {
                    *node = fresh();
                }
                let silent = node.moved.elapsed() >= self.lease * SILENT_LEASES;
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
