//! One connection that reads share while all others are in use.
//!
//! ```text
//! read ──► a connection is free, or may be made? ── yes ──► the read has it alone
//!            └─ no ──► sent on the shared one, behind those of others, and answered in this order
//! ```
//! So a read waits for one flight, and not for its turn: where a flight takes 400 ms, 16 connections carry
//! 40 steps in a second.
//!
//! Invariants:
//! - what is sent here writes nothing and locks nothing, so the server answers it without a wait for
//!   another transaction;
//! - a read that is given up takes nothing from the others. A connection whose answers do not come is left.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use stockade_depot::StoreError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::connection::{Connection, Connector};
use crate::limits::{ASIDE_READS_MAX, SILENT_MAX};

/// The connection: made, or about to be. The attempt to make it outlives the read that began it.
type Making = Shared<BoxFuture<'static, Result<Arc<Connection>, StoreError>>>;

/// The shared connection, which the first read makes that needs it.
pub(crate) struct Aside {
    connector: Connector,
    making: Mutex<Option<Making>>,
    /// Since when a read has no answer, if none has come to another one since.
    silent: Mutex<Option<Instant>>,
    room: Arc<Semaphore>,
}

/// A share of the connection, for one read.
pub(crate) struct Share {
    connection: Arc<Connection>,
    of: Arc<Aside>,
    begun: Instant,
    _room: OwnedSemaphorePermit,
}

impl Aside {
    /// No connection yet.
    pub(crate) fn new(connector: Connector) -> Self {
        let room = Arc::new(Semaphore::new(ASIDE_READS_MAX));
        Self { connector, making: Mutex::default(), silent: Mutex::default(), room }
    }

    /// A share for one read. `None`: as many as may be are under way.
    pub(crate) async fn lend(self: &Arc<Self>) -> Option<Result<Share, StoreError>> {
        let room = Arc::clone(&self.room).try_acquire_owned().ok()?;
        let connection = self.connection().await;
        let of = Arc::clone(self);
        Some(connection.map(|connection| Share {
            connection,
            of,
            begun: Instant::now(),
            _room: room,
        }))
    }

    fn connection(&self) -> Making {
        let mut making = self.making.lock();
        let is_usable = |making: &Making| match making.peek() {
            None => true,
            Some(made) => made.as_ref().is_ok_and(|made| !made.is_closed() && !self.is_silent()),
        };
        if let Some(usable) = making.as_ref().filter(|making| is_usable(making)) {
            return usable.clone();
        }
        let connector = self.connector.clone();
        let connect = async move {
            let connection = connector.connect().await.map_err(|error| error.told())?;
            Ok(Arc::new(connection))
        };
        *self.silent.lock() = None;
        making.insert(connect.boxed().shared()).clone()
    }

    fn is_silent(&self) -> bool {
        self.silent.lock().is_some_and(|since| since.elapsed() >= SILENT_MAX)
    }

    /// Leaves the connection to the reads that are under way.
    pub(crate) fn close(&self) {
        drop(self.making.lock().take());
    }
}

impl Share {
    /// The connection.
    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The server has answered.
    pub(crate) fn answered(&self) {
        *self.of.silent.lock() = None;
    }

    /// The read was given up, or the connection is lost.
    pub(crate) fn unanswered(&self) {
        self.of.silent.lock().get_or_insert(self.begun);
    }
}
