//! Retention (D10): which parts of a database's history may go, and the order of their removal.
//!
//! ```text
//! raise the floor    one statement: never above the head, the oldest pin, or a young commit
//! look               in key order: what a committed row at or below the floor supersedes, and what
//!                    lies beyond the page count as of the floor
//! page versions      of all databases of a sweep together, in the order in which the store keeps
//!                    them: neighbours on the disk go at the price of one
//! commit rows        below the floor, last: while they are there, there is something to do
//! ```
//! Every step is bounded, carries its own condition, and may be sent by any process at any time: so
//! trimming may stop anywhere, and the next process continues. A read of a state below the floor is
//! refused in the snapshot that it reads; one at or above it loses nothing.

use std::collections::HashMap;
use std::time::Duration;

use crate::error::StoreError;
use crate::id::{DbId, Pgno, Txid};
use crate::retry;
use crate::store::limits::TRIM_ROWS_MAX;
use crate::store::{History, Keep, Store, Superseded};

/// Superseded rows above which a sweep is full: 3 MiB of memory.
const SWEEP_ROWS_MAX: usize = 1 << 17;

/// The result of trimming a database, or of looking at it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The oldest state that can be read now.
    pub floor: Txid,
    /// Rows looked at, at most: the cost for the store.
    pub looked: u64,
    /// Rows that were found and are gone.
    pub rows: u64,
}

/// Gives up what `keep` does not ask for, with `pause` between two steps, so that the store serves
/// other callers in between.
///
/// # Errors
/// Those of the store. What was done stays done; the next call continues.
pub async fn trim(
    store: &dyn Store,
    db: DbId,
    keep: Keep,
    pause: Duration,
) -> Result<Report, StoreError> {
    let (mut sweep, mut all) = (Sweep::new(store, pause), Report::default());
    loop {
        let report = sweep.look(db, keep).await?;
        let is_all = !sweep.is_full();
        let gone = sweep.finish().await?;
        all.floor = report.floor;
        all.looked += report.looked;
        all.rows += gone.get(&db).copied().unwrap_or_default();
        if is_all {
            return Ok(all);
        }
    }
}

/// Trims several databases together.
pub struct Sweep<'a> {
    store: &'a dyn Store,
    pause: Duration,
    superseded: Vec<Superseded>,
    /// The floors of those that have something to trim.
    floors: Vec<(DbId, Txid)>,
}

impl<'a> Sweep<'a> {
    /// A sweep that has looked at nothing yet, with `pause` between two steps.
    #[must_use]
    pub fn new(store: &'a dyn Store, pause: Duration) -> Self {
        Self { store, pause, superseded: Vec::new(), floors: Vec::new() }
    }

    /// Gives up of `db` what `keep` does not ask for, and looks what may go with it. What is above
    /// the bound of a sweep is left to the next one.
    ///
    /// # Errors
    /// Those of the store. The other databases of the sweep are not concerned.
    pub async fn look(&mut self, db: DbId, keep: Keep) -> Result<Report, StoreError> {
        let history = raise(self.store, db, keep, self.pause).await?;
        let mut report = Report { floor: history.floor, ..Report::default() };
        if !has_remains(&history) {
            return Ok(report);
        }
        let mut next = Some((Pgno(0), Txid(0)));
        while let Some(after) = next {
            if self.is_full() {
                return Ok(report);
            }
            let look = self.store.superseded(db, after).await?;
            report.looked += look.looked;
            self.superseded.extend(look.superseded);
            next = look.next;
            retry::pause(self.pause).await;
        }
        self.floors.push((db, history.floor));
        Ok(report)
    }

    /// Whether it is time to [`Sweep::finish`]: the sweep is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.superseded.len() >= SWEEP_ROWS_MAX
    }

    /// Deletes the rows that were found; returns how many of each database. The sweep is empty
    /// then.
    ///
    /// # Errors
    /// Those of the store. What was done stays done; the next sweep continues.
    pub async fn finish(&mut self) -> Result<HashMap<DbId, u64>, StoreError> {
        let mut superseded = std::mem::take(&mut self.superseded);
        let floors = std::mem::take(&mut self.floors);
        let mut gone = HashMap::new();
        superseded.sort_unstable_by_key(|row| (row.db.shard(), row.place));
        for of_shard in superseded.chunk_by(|a, b| a.db.shard() == b.db.shard()) {
            for rows in of_shard.chunks(TRIM_ROWS_MAX as usize) {
                self.store.trim_pages(rows.to_vec()).await?;
                rows.iter().for_each(|row| *gone.entry(row.db).or_default() += 1);
                retry::pause(self.pause).await;
            }
        }
        for (db, floor) in floors {
            loop {
                let rows = self.store.trim_commits(db, floor).await?;
                *gone.entry(db).or_default() += rows;
                retry::pause(self.pause).await;
                if rows < u64::from(TRIM_ROWS_MAX) {
                    break;
                }
            }
        }
        Ok(gone)
    }
}

/// Whether [`trim`] may find something to do. For a caller with many databases.
#[must_use]
pub fn is_due(history: &History, keep: Keep) -> bool {
    has_remains(history) || history.head.0.saturating_sub(history.floor.0) > keep.commits_min
}

fn has_remains(history: &History) -> bool {
    history.oldest < history.floor
}

/// Raises the floor step by step, as far as it goes.
async fn raise(
    store: &dyn Store,
    db: DbId,
    keep: Keep,
    pause: Duration,
) -> Result<History, StoreError> {
    let mut before = store.history(db).await?.ok_or(StoreError::DatabaseMissing(db))?;
    loop {
        let history = store.raise_floor(db, keep).await?;
        if history.floor == before.floor {
            return Ok(history);
        }
        before = history;
        retry::pause(pause).await;
    }
}
