//! The embedded store: SQLite files in one directory, nothing to start.
//!
//! ```text
//! EmbeddedStore ── file (global)     readers | queue ► committer | checkpointer
//!               ├─ file (shard 0)    readers | queue ► committer | checkpointer
//!               └─ file (shard 1)    ...
//! ```
//!
//! All rows of an actor are in one shard, so every fenced step is one transaction of one file.
//! Several processes may share the directory: the fence decides between them as it does between
//! machines, and SQLite's locks order their groups.

mod ages;
mod combine;
mod committer;
mod config;
mod failure;
mod file;
mod group;
mod health;
mod import;
mod open;
mod read;
mod readers;
mod retention;
mod room;
mod rows;
mod staged;
mod steps;
mod wal;
mod watch;
mod write;

use std::path::Path;
use std::sync::Arc;

pub use config::{Clock, EmbeddedConfig};
pub use open::OpenStoreError;

use crate::error::StoreError;
use crate::id::{DbId, Shard};
use crate::store::sql;
use file::DataFile;
use health::Failures;
use room::Room;
use wal::Stop;

/// A store in SQLite files, or in memory.
pub struct EmbeddedStore {
    files: Arc<Files>,
}

struct Files {
    /// What was given up of them.
    failures: Arc<Failures>,
    /// None in memory.
    room: Option<Arc<Room>>,
    global: DataFile,
    shards: Vec<DataFile>,
    count: u8,
}

impl EmbeddedStore {
    /// Opens the store of a directory, and makes it if there is none.
    ///
    /// # Errors
    /// `OpenStoreError` tells which file is missing, foreign or of another format.
    pub fn open(config: &EmbeddedConfig) -> Result<Self, OpenStoreError> {
        let (failures, room) = (Arc::default(), Room::before_open(config));
        let layout = open::layout(config)?;
        let count = u8::try_from(layout.shards.len())
            .map_err(|_| OpenStoreError::Shards { asked: u8::MAX })?;
        let open = |name: &str, path| DataFile::open(name, path, config, &failures, &room);
        let global = open("global", &layout.global)?;
        let mut shards = Vec::new();
        for (number, path) in layout.shards.iter().enumerate() {
            shards.push(open(&format!("{number:02}"), path)?);
        }
        room.look();
        Ok(Self { files: Arc::new(Files { failures, room: Some(room), global, shards, count }) })
    }

    /// A store that is gone when it is dropped. It runs in its callers' threads.
    ///
    /// # Errors
    /// If there are no shards, or no memory.
    pub fn in_memory(shards: u8) -> Result<Self, OpenStoreError> {
        Self::in_memory_with_clock(shards, Clock::system())
    }

    /// [`EmbeddedStore::in_memory`] with a clock of one's own.
    ///
    /// # Errors
    /// If there are no shards, or no memory.
    pub fn in_memory_with_clock(shards: u8, clock: Clock) -> Result<Self, OpenStoreError> {
        if shards == 0 || shards > EmbeddedConfig::SHARDS_MAX {
            return Err(OpenStoreError::Shards { asked: shards });
        }
        let failures = Arc::default();
        let file = |schema| DataFile::in_memory(schema, clock.clone(), &failures);
        let global = file(sql::GLOBAL_SCHEMA)?;
        let files: Result<Vec<_>, _> = (0..shards).map(|_| file(sql::SHARD_SCHEMA)).collect();
        let (shards, count) = (files?, shards);
        Ok(Self { files: Arc::new(Files { failures, room: None, global, shards, count }) })
    }

    /// Where a shard is. `None`: in memory, or no such shard.
    #[must_use]
    pub fn shard_path(&self, shard: Shard) -> Option<&Path> {
        self.files.shards.get(usize::from(shard.0)).and_then(DataFile::path)
    }

    /// The file with all rows of a database.
    fn shard_of(&self, db: DbId) -> Result<&DataFile, StoreError> {
        self.files.shards.get(usize::from(db.shard().0)).ok_or(StoreError::DatabaseMissing(db))
    }
}

impl Files {
    /// Closes every file; shards first, in order.
    fn close(&self) {
        for file in self.shards.iter().chain([&self.global]) {
            file.close(Stop::Truncate);
        }
    }
}
