//! Which databases are being read as of a commit, so that they are not trimmed.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use stockade_depot::DbId;

/// Databases that are being read as of a commit, and by how many. This host does not trim them
/// during that: a large export under writes would lose its state half way. Another process that
/// shares the store may, and then the export says `HistoryGone`.
#[derive(Clone, Default)]
pub(super) struct Readings(Arc<Mutex<HashMap<DbId, usize>>>);

impl Readings {
    pub(super) fn begin(&self, db: DbId) -> Reading {
        *self.0.lock().entry(db).or_default() += 1;
        Reading { readings: self.clone(), db }
    }

    /// Whether the database is being read.
    pub(super) fn is_read(&self, db: DbId) -> bool {
        self.0.lock().contains_key(&db)
    }
}

/// Counts one who reads, until it is dropped.
pub(super) struct Reading {
    readings: Readings,
    db: DbId,
}

impl Drop for Reading {
    fn drop(&mut self) {
        let mut all = self.readings.0.lock();
        if let Some(count) = all.get_mut(&self.db) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.db);
            }
        }
    }
}
