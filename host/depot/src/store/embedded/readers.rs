//! The pool of connections that read one file.

use std::path::{Path, PathBuf};

use parking_lot::{Condvar, Mutex};
use rusqlite::Connection;

use super::config::EmbeddedConfig;
use super::open;
use crate::error::StoreError;

/// A bounded pool. The connection used last is used next: its statements are prepared. Its page
/// cache is kept only while no commit comes: SQLite drops it once another connection has committed.
pub(super) struct Readers {
    path: PathBuf,
    config: EmbeddedConfig,
    pool: Mutex<Pool>,
    returned: Condvar,
}

#[derive(Default)]
struct Pool {
    idle: Vec<Connection>,
    /// Idle ones and those in use, until the pool is closed.
    open: usize,
    closed: bool,
}

impl Readers {
    /// An empty pool.
    pub(super) fn new(path: &Path, config: &EmbeddedConfig) -> Self {
        Self {
            path: path.to_owned(),
            config: config.clone(),
            pool: Mutex::default(),
            returned: Condvar::new(),
        }
    }

    /// Lends a connection to `read`. Waits for one if all are in use; reads are short.
    pub(super) fn read<T>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let lent = Lent { conn: Some(self.take()?), readers: self };
        read(lent.conn.as_ref().expect("BUG: a lent connection is there until it is dropped"))
    }

    /// A connection beside the pool, with nothing cached.
    pub(super) fn apart(&self) -> Result<Connection, StoreError> {
        if self.pool.lock().closed {
            return Err(StoreError::Closed);
        }
        open::reader(&self.path, &self.config).map_err(StoreError::from)
    }

    fn take(&self) -> Result<Connection, StoreError> {
        let mut pool = self.pool.lock();
        loop {
            if pool.closed {
                return Err(StoreError::Closed);
            }
            if let Some(conn) = pool.idle.pop() {
                return Ok(conn);
            }
            if pool.open < self.config.readers_max.max(1) {
                pool.open += 1;
                break;
            }
            self.returned.wait(&mut pool);
        }
        drop(pool);
        open::reader(&self.path, &self.config).map_err(|error| {
            self.pool.lock().open -= 1;
            self.returned.notify_one();
            StoreError::from(error)
        })
    }

    /// Refuses reads from now on. Connections in use are dropped when they come back.
    pub(super) fn close(&self) {
        let mut pool = self.pool.lock();
        pool.closed = true;
        pool.idle.clear();
        self.returned.notify_all();
    }
}

/// A connection on loan: comes back even if the reader panics.
struct Lent<'a> {
    conn: Option<Connection>,
    readers: &'a Readers,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let mut pool = self.readers.pool.lock();
        match self.conn.take() {
            Some(conn) if !pool.closed => pool.idle.push(conn),
            _ => pool.open -= 1,
        }
        self.readers.returned.notify_one();
    }
}
