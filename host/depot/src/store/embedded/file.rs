//! One file of the store: readers beside a committer and a checkpointer, or one connection in
//! memory.
//!
//! ```text
//!            write ──► queue ──► committer (thread) ──┐
//!  callers                                            ├── WAL file
//!            read ───► pool of connections ───────────┤
//!                                checkpointer (thread)┘
//! ```
//!
//! In memory there is one connection behind a lock: writes and reads take turns, each write is a
//! group of its own, run by the caller. So it needs no threads, and a simulation stays in step.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use parking_lot::Mutex;
use rusqlite::Connection;

use super::committer::{self, Queue};
use super::config::{Clock, EmbeddedConfig};
use super::group::{self, FileState, Step};
use super::keeper::Written;
use super::open::{self, OpenStoreError};
use super::readers::Readers;
use super::wal::{self, Stop, Wal};
use crate::error::StoreError;
use crate::store::Durable;

/// One file of the store, or its stand-in in memory.
pub(super) struct DataFile {
    /// Set once a sync failed: then nothing of the file is read or written until a restart.
    failed: Arc<AtomicBool>,
    written: Written,
    engine: Engine,
}

enum Engine {
    File(Box<FileEngine>),
    Memory { conn: Mutex<Option<Connection>>, clock: Clock },
}

struct FileEngine {
    path: PathBuf,
    readers: Readers,
    queue: Queue,
    wal: Arc<Wal>,
    threads: Mutex<Option<Threads>>,
}

struct Threads {
    committer: JoinHandle<()>,
    checkpointer: JoinHandle<()>,
}

impl DataFile {
    /// Opens a file that exists and has its schema.
    pub(super) fn open(
        name: &str,
        path: &Path,
        config: &EmbeddedConfig,
    ) -> Result<Self, OpenStoreError> {
        let failed = Arc::new(AtomicBool::new(false));
        let writer = open::writer(path, config)?;
        let page_bytes = open::page_bytes(&writer)?;
        let wal = Arc::new(Wal::new(
            config.wal_bytes_max,
            config.wal_checkpoint_bytes,
            page_bytes,
            Arc::clone(&failed),
        ));
        let checkpointer = wal::start(name, open::writer(path, config)?, Arc::clone(&wal))?;
        let started = committer::start(name, writer, Arc::clone(&wal), Arc::clone(&failed), config);
        let (queue, committer) = match started {
            Ok(started) => started,
            Err(error) => {
                wal.stop(Stop::Leave);
                let _ = checkpointer.join();
                return Err(error);
            }
        };
        let threads = Mutex::new(Some(Threads { committer, checkpointer }));
        let readers = Readers::new(path, config);
        let engine = FileEngine { path: path.to_owned(), readers, queue, wal, threads };
        Ok(Self { failed, written: Written::default(), engine: Engine::File(Box::new(engine)) })
    }

    /// A database in memory.
    pub(super) fn in_memory(schema: &str, clock: Clock) -> Result<Self, OpenStoreError> {
        let conn = Mutex::new(Some(open::memory(schema)?));
        let failed = Arc::new(AtomicBool::new(false));
        Ok(Self { failed, written: Written::default(), engine: Engine::Memory { conn, clock } })
    }

    /// Runs a read. The pages that it returns were committed and synced.
    pub(super) fn read<T>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if self.failed.load(Ordering::SeqCst) {
            return Err(StoreError::Closed);
        }
        match &self.engine {
            Engine::File(file) => file.readers.read(read),
            Engine::Memory { conn, .. } => read(conn.lock().as_ref().ok_or(StoreError::Closed)?),
        }
    }

    /// Runs a write step in some group and waits until the group is durable.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        bytes: u64,
        work: impl FnOnce(&Connection, u64) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.write_and_tell(bytes, work, None).await
    }

    /// [`DataFile::write`]; `durable` is called by the thread that made it so.
    pub(super) async fn write_and_tell<T: Send + 'static>(
        &self,
        bytes: u64,
        work: impl FnOnce(&Connection, u64) -> Result<T, StoreError> + Send + 'static,
        durable: Option<Durable>,
    ) -> Result<T, StoreError> {
        let written = self.write_step(bytes, work, durable).await;
        if written.is_ok() {
            self.written.note();
        }
        written
    }

    /// [`DataFile::write`] of what is no loss if the file is put back to before it: marks, beats.
    pub(super) async fn write_quietly<T: Send + 'static>(
        &self,
        bytes: u64,
        work: impl FnOnce(&Connection, u64) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.write_step(bytes, work, None).await
    }

    async fn write_step<T: Send + 'static>(
        &self,
        bytes: u64,
        work: impl FnOnce(&Connection, u64) -> Result<T, StoreError> + Send + 'static,
        durable: Option<Durable>,
    ) -> Result<T, StoreError> {
        if self.failed.load(Ordering::SeqCst) {
            return Err(StoreError::Closed);
        }
        let (step, answer) = Step::new(bytes, work);
        let step = step.telling(durable);
        match &self.engine {
            Engine::File(file) => file.queue.submit(Box::new(step)).await?,
            Engine::Memory { conn, clock } => {
                let conn = conn.lock();
                let conn = conn.as_ref().ok_or(StoreError::Closed)?;
                if let FileState::Failed(cause) =
                    group::run(conn, vec![Box::new(step)], clock.now_ms())
                {
                    self.failed.store(true, Ordering::SeqCst);
                    tracing::error!(%cause, "in-memory store closed");
                }
            }
        }
        let lost = || StoreError::Unknown("the committer ended without an answer".into());
        answer.await.unwrap_or_else(|_| Err(lost()))
    }

    /// Whether work is done by threads of its own, so that callers should spare theirs.
    pub(super) fn is_file(&self) -> bool {
        matches!(self.engine, Engine::File(_))
    }

    /// Whether it was written since its last mark.
    pub(super) fn written(&self) -> &Written {
        &self.written
    }

    /// Where it is.
    pub(super) fn path(&self) -> Option<&Path> {
        match &self.engine {
            Engine::File(file) => Some(&file.path),
            Engine::Memory { .. } => None,
        }
    }

    /// Finishes what was accepted, cuts the log, and refuses everything after. Waits for the
    /// threads.
    pub(super) fn close(&self, how: Stop) {
        match &self.engine {
            Engine::File(file) => file.close(how),
            Engine::Memory { conn, .. } => drop(conn.lock().take()),
        }
    }
}

impl FileEngine {
    fn close(&self, how: Stop) {
        self.queue.close();
        // Held while joining: a second close returns when the first is done.
        let mut threads = self.threads.lock();
        if let Some(threads) = threads.take() {
            // A panicked thread has said so itself; its steps answer `Unknown`.
            let _ = threads.committer.join();
            self.readers.close();
            self.wal.stop(how);
            let _ = threads.checkpointer.join();
        }
    }
}

impl Drop for DataFile {
    fn drop(&mut self) {
        self.close(Stop::Leave);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sql;

    fn count(conn: &Connection) -> Result<i64, StoreError> {
        Ok(conn.query_row("SELECT count(*) FROM head", [], |row| row.get(0))?)
    }

    #[tokio::test]
    async fn after_a_failed_sync_the_file_is_neither_read_nor_written() {
        let file = DataFile::in_memory(sql::SHARD_SCHEMA, Clock::system()).unwrap();
        let write = || file.write(0, |conn, _| count(conn));
        assert_eq!(write().await, Ok(0));
        if let Engine::Memory { conn, .. } = &file.engine {
            conn.lock().as_mut().unwrap().commit_hook(Some(|| true)).unwrap();
        }
        assert!(matches!(write().await, Err(StoreError::Unknown(_))));
        assert_eq!(write().await, Err(StoreError::Closed));
        assert_eq!(file.read(count), Err(StoreError::Closed));
    }
}
