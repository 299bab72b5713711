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
use std::thread::JoinHandle;

use parking_lot::Mutex;
use rusqlite::Connection;

use super::ages::Ages;
use super::committer::{self, Queue};
use super::config::{Clock, EmbeddedConfig};
use super::group::{self, Size, Step};
use super::health::{Failures, Health};
use super::holder::{Addresses, Kept};
use super::keeper::Written;
use super::open::{self, OpenStoreError};
use super::readers::Readers;
use super::room::Room;
use super::wal::{self, Stop, Wal};
use super::watch::Watched;
use crate::error::StoreError;
use crate::store::{Durable, Holder};

/// One file of the store, or its stand-in in memory.
pub(super) struct DataFile {
    ages: Arc<Ages>,
    health: Arc<Health>,
    written: Written,
    engine: Engine,
}

enum Engine {
    File(Box<FileEngine>),
    Memory { conn: Mutex<Option<Connection>>, clock: Clock },
}

struct FileEngine {
    path: PathBuf,
    kept: Kept,
    readers: Readers,
    queue: Queue,
    wal: Arc<Wal>,
    room: Arc<Room>,
    threads: Mutex<Option<Threads>>,
}

/// Whether a file's log waits for its readers.
pub(super) struct LogOf(Arc<Wal>);

impl LogOf {
    /// Whether a long read should give way now.
    pub(super) fn wants_room(&self) -> bool {
        self.0.is_room_wanted()
    }
}

struct Threads {
    committer: JoinHandle<()>,
    checkpointer: JoinHandle<()>,
}

impl DataFile {
    /// Opens a file that exists and has its schema. What it is given beside is its store's.
    pub(super) fn open(
        name: &str,
        path: &Path,
        config: &EmbeddedConfig,
        (failures, room, addresses): (&Arc<Failures>, &Arc<Room>, &Arc<Addresses>),
    ) -> Result<Self, OpenStoreError> {
        let health = Arc::new(Health::new(path, failures));
        let writer = open::writer(path, config)?;
        let page_bytes = open::page_bytes(&writer)?;
        let wal = Arc::new(Wal::new(
            config.wal_bytes_max,
            config.wal_checkpoint_bytes,
            page_bytes,
            Arc::clone(&health),
            Arc::clone(room),
        ));
        // Its log and the log's index are open from the first read on.
        let checkpoints = open::writer(path, config)?;
        for conn in [&writer, &checkpoints] {
            conn.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
        }
        room.share(&wal);
        let checkpointer = wal::start(name, checkpoints, Arc::clone(&wal), Watched::new(path))?;
        let files = (Arc::clone(&wal), Arc::clone(&health), Arc::clone(room));
        let (queue, committer) = match committer::start(name, path, writer, files, config) {
            Ok(started) => started,
            Err(error) => {
                wal.stop(Stop::Leave);
                let _ = checkpointer.join();
                return Err(error);
            }
        };
        let threads = Mutex::new(Some(Threads { committer, checkpointer }));
        let readers = Readers::new(path, config);
        let (kept, path, room) = (Kept::new(path, addresses), path.to_owned(), Arc::clone(room));
        let engine = FileEngine { path, kept, readers, queue, wal, room, threads };
        let ages = Arc::new(Ages::new(config.clock.clone()));
        let written = Written::default();
        Ok(Self { ages, health, written, engine: Engine::File(Box::new(engine)) })
    }

    /// A database in memory.
    pub(super) fn in_memory(
        schema: &str,
        clock: Clock,
        failures: &Arc<Failures>,
    ) -> Result<Self, OpenStoreError> {
        let conn = Mutex::new(Some(open::memory(schema)?));
        let health = Arc::new(Health::new(Path::new(":memory:"), failures));
        let ages = Arc::new(Ages::new(clock.clone()));
        let written = Written::default();
        Ok(Self { ages, health, written, engine: Engine::Memory { conn, clock } })
    }

    /// Runs a read. The pages that it returns were committed and synced.
    pub(super) fn read<T>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.health.check()?;
        let found = match &self.engine {
            Engine::File(file) => file.readers.read(read),
            Engine::Memory { conn, .. } => read(conn.lock().as_ref().ok_or(StoreError::Closed)?),
        };
        found.map_err(|error| self.health.place(error))
    }

    /// [`DataFile::read`] through a connection of its own, which has nothing cached: for long
    /// reads, and for those that ask what is on the disk.
    pub(super) fn read_apart<T>(
        &self,
        read: impl FnOnce(&mut Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.health.check()?;
        let found = match &self.engine {
            Engine::File(file) => file.readers.apart().and_then(|mut conn| read(&mut conn)),
            Engine::Memory { conn, .. } => read(conn.lock().as_mut().ok_or(StoreError::Closed)?),
        };
        found.map_err(|error| self.health.place(error))
    }

    /// Tells whether the log waits for its readers; in memory there is none.
    pub(super) fn log(&self) -> Option<LogOf> {
        match &self.engine {
            Engine::File(file) => Some(LogOf(Arc::clone(&file.wal))),
            Engine::Memory { .. } => None,
        }
    }

    /// Runs a write step in some group and waits until the group is durable.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        size: Size,
        work: impl FnOnce(&Connection, u64) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.write_and_tell(size, work, None).await
    }

    /// [`DataFile::write`]; `durable` is called by the thread that made it so.
    pub(super) async fn write_and_tell<T: Send + 'static>(
        &self,
        size: Size,
        work: impl FnOnce(&Connection, u64) -> Result<T, StoreError> + Send + 'static,
        durable: Option<Durable>,
    ) -> Result<T, StoreError> {
        let written = self.write_step(size, work, durable).await;
        if written.is_ok() {
            self.written.note();
        }
        written
    }

    /// [`DataFile::write`] of what is no loss if the file is put back to before it: marks, beats.
    pub(super) async fn write_quietly<T: Send + 'static>(
        &self,
        size: Size,
        work: impl FnOnce(&Connection, u64) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.write_step(size, work, None).await
    }

    async fn write_step<T: Send + 'static>(
        &self,
        size: Size,
        work: impl FnOnce(&Connection, u64) -> Result<T, StoreError> + Send + 'static,
        durable: Option<Durable>,
    ) -> Result<T, StoreError> {
        self.health.check()?;
        let grows = matches!(size, Size::Grows(_));
        let (step, answer) = Step::new(size, work);
        let step = step.telling(durable);
        match &self.engine {
            Engine::File(file) => file.queue.submit(Box::new(step)).await?,
            Engine::Memory { conn, clock } => {
                let conn = conn.lock();
                let conn = conn.as_ref().ok_or(StoreError::Closed)?;
                let give_up = |cause| drop(self.health.fail(cause));
                group::run(conn, vec![Box::new(step)], clock.now_ms(), &give_up);
            }
        }
        let lost = || StoreError::Unknown("the committer ended without an answer".into());
        let answer = answer.await.unwrap_or_else(|_| Err(lost()));
        let answer = answer.map_err(|error| self.health.place(error));
        let Engine::File(file) = &self.engine else { return answer };
        match &answer {
            Err(StoreError::Full(full)) => file.room.refused(full),
            Ok(_) => {
                file.kept.was_written();
                if grows {
                    file.room.accepted();
                }
            }
            Err(_) => {}
        }
        answer.map_err(|error| file.kept.explain(error))
    }

    /// Another process that keeps the file for itself.
    pub(super) fn holder(&self) -> Option<Holder> {
        match &self.engine {
            Engine::File(file) => file.kept.holder(),
            Engine::Memory { .. } => None,
        }
    }

    /// How old its commits are.
    pub(super) fn ages(&self) -> &Arc<Ages> {
        &self.ages
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
    use crate::error::FailureCause;
    use crate::store::sql;

    fn count(conn: &Connection) -> Result<i64, StoreError> {
        Ok(conn.query_row("SELECT count(*) FROM head", [], |row| row.get(0))?)
    }

    #[tokio::test]
    async fn after_a_failed_sync_the_file_is_neither_read_nor_written() {
        let failures = Arc::default();
        let file = DataFile::in_memory(sql::SHARD_SCHEMA, Clock::system(), &failures).unwrap();
        let write = || file.write(Size::Keeps(0), |conn, _| count(conn));
        assert_eq!(write().await, Ok(0));
        if let Engine::Memory { conn, .. } = &file.engine {
            conn.lock().as_mut().unwrap().commit_hook(Some(|| true)).unwrap();
        }
        assert!(matches!(write().await, Err(StoreError::Unknown(_))));
        let failure = failures.first().await;
        assert!(matches!(failure.cause, FailureCause::Commit(_)), "{failure:?}");
        assert_eq!(write().await, Err(StoreError::Failed(failure.clone())));
        assert_eq!(file.read(count), Err(StoreError::Failed(failure)));
    }
}
