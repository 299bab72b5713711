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
mod alone;
mod check;
mod committer;
mod config;
mod due;
mod failure;
mod file;
mod group;
mod health;
mod holder;
mod import;
mod index;
mod judge;
mod keeper;
mod log;
mod look;
mod mark;
mod marks;
mod older;
mod open;
mod overtaken;
mod private;
mod read;
mod readers;
mod rebuild;
mod retention;
mod room;
mod rows;
mod staged;
mod steps;
mod upgrade;
mod vfs;
mod wal;
mod watch;
mod write;

use std::path::Path;
use std::sync::Arc;

#[doc(hidden)]
pub use ages::Ages;
pub use config::{Clock, EmbeddedConfig};
pub use marks::Loss;
pub use open::OpenStoreError;
pub use rebuild::rebuild;
#[doc(hidden)]
pub use staged::{Run, old_count_min};
pub use upgrade::{Formats, UpgradeError, formats, upgrade};
pub use vfs::{Damage, Fault, Place};

use crate::error::StoreError;
use crate::id::{DbId, Shard};
use crate::store::sql;
use alone::Held;
use file::DataFile;
use health::Failures;
use holder::Addresses;
use keeper::Keeper;
use mark::Which;
use room::Room;
use wal::Stop;

/// A connection to one file of a store, for tools and tests: pages are proved when they are read,
/// and stamped when they are written. It copies no log into the file when it closes.
///
/// SQLite's own tools may read a store; what they write into a file has no stamp, and is refused.
///
/// # Errors
/// If the file cannot be opened.
pub fn connection(path: &Path) -> Result<rusqlite::Connection, OpenStoreError> {
    let directory = path.parent().unwrap_or(path);
    Ok(open::plain(path, &EmbeddedConfig::new(directory), false)?)
}

/// A store in SQLite files, or in memory.
pub struct EmbeddedStore {
    files: Arc<Files>,
    /// In memory nothing can be put back.
    keeper: Option<Arc<Keeper>>,
}

struct Files {
    /// What was given up of them.
    failures: Arc<Failures>,
    /// Of other processes.
    addresses: Arc<Addresses>,
    /// None in memory.
    room: Option<Arc<Room>>,
    global: DataFile,
    shards: Vec<DataFile>,
    count: u8,
    /// Last: given back when all files are closed.
    held: Held,
}

impl EmbeddedStore {
    /// Opens the store of a directory, and makes it if there is none.
    ///
    /// # Errors
    /// `OpenStoreError` tells which file is missing, foreign or of another format, or has lost
    /// something that was durable.
    pub fn open(config: &EmbeddedConfig) -> Result<Self, OpenStoreError> {
        private::directory(&config.directory)?;
        let (failures, room) = (Arc::default(), Room::before_open(config));
        let opening = alone::begin(&config.directory)?;
        private::files(&config.directory)?;
        let alone = opening.is_alone();
        let accepted = if alone { look::look(config, &opening)? } else { Vec::new() };
        let layout = open::layout(config)?;
        marks::settle(&layout, config, alone, accepted)?;
        let count = u8::try_from(layout.shards.len())
            .map_err(|_| OpenStoreError::Shards { asked: u8::MAX })?;
        let addresses = Arc::default();
        let open =
            |name: &str, path| DataFile::open(name, path, config, (&failures, &room, &addresses));
        let global = open("global", &layout.global)?;
        let mut shards = Vec::new();
        for (number, path) in layout.shards.iter().enumerate() {
            shards.push(open(&format!("{number:02}"), path)?);
        }
        room.look();
        let (room, held) = (Some(room), opening.done()?);
        let files = Arc::new(Files { failures, addresses, room, global, shards, count, held });
        let keeper = Keeper::start(Arc::clone(&files), config.marks_every)?;
        Ok(Self { files, keeper: Some(Arc::new(keeper)) })
    }

    /// What was accepted to be lost, newest first: see [`EmbeddedConfig::accept_loss`].
    ///
    /// # Errors
    /// If the store is closed or cannot be read.
    pub fn losses(&self) -> Result<Vec<Loss>, StoreError> {
        self.files.global.read(marks::losses)
    }

    /// A store that is gone when it is dropped. It runs in its callers' threads.
    ///
    /// # Errors
    /// If there are no shards, or no memory.
    pub fn in_memory(shards: u8) -> Result<Self, OpenStoreError> {
        Self::in_memory_with_clock(shards, Clock::system())
    }

    /// [`EmbeddedStore::in_memory`] with the given clock.
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
        let (room, held) = (None, Held::nothing());
        let addresses = Arc::default();
        let files = Files { failures, addresses, room, global, shards, count, held };
        Ok(Self { files: Arc::new(files), keeper: None })
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
    /// A file by its number: `global` is the first.
    fn numbered(&self, number: usize) -> (&DataFile, Option<Shard>) {
        let shard = number.checked_sub(1).and_then(|shard| u8::try_from(shard).ok()).map(Shard);
        let file = shard.and_then(|shard| self.shards.get(usize::from(shard.0)));
        (file.unwrap_or(&self.global), shard)
    }

    /// What a file is called; `None`: `global`.
    fn name(shard: Option<Shard>) -> String {
        shard.map_or("global.db".to_owned(), |shard| format!("shard-{:02}.db", shard.0))
    }

    /// Closes every file; shards first, in order.
    fn close(&self) {
        for file in self.shards.iter().chain([&self.global]) {
            file.close(Stop::Truncate);
        }
        self.held.release();
    }

    fn all(&self) -> Vec<(Which, &DataFile)> {
        let shards = (0..).map(Which::shard).zip(&self.shards);
        [(Which::GLOBAL, &self.global)].into_iter().chain(shards).collect()
    }
}
