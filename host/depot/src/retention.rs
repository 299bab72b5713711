//! What of a database's history may go, and how it goes (D10).
//!
//! ```text
//! raise the floor    one statement: never above the head, the oldest pin, or a young commit
//! page versions      in key order, oldest first: what a committed row at or below the floor
//!                    supersedes, and what lies beyond the page count as of the floor
//! commit rows        below the floor, last: while they are there, there is something to do
//! ```
//! Every step is bounded, carries its own condition, and may be sent by any process at any time: so
//! trimming may stop anywhere, and whoever comes next goes on. A read of a state below the floor is
//! refused in the snapshot that it reads; one at or above it loses nothing.

use std::time::Duration;

use crate::error::StoreError;
use crate::id::{DbId, Pgno, Txid};
use crate::retry;
use crate::store::{History, Keep, Store, Trim};

/// What trimming a database did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The oldest state that can be read now.
    pub floor: Txid,
    /// Rows looked at, at most: what it cost the store.
    pub looked: u64,
    /// Rows deleted.
    pub rows: u64,
}

/// Gives up what `keep` does not ask for, with `pause` between two steps, so that the store serves
/// others meanwhile.
///
/// # Errors
/// Those of the store. What was done stays done; the next call goes on.
pub async fn trim(
    store: &dyn Store,
    db: DbId,
    keep: Keep,
    pause: Duration,
) -> Result<Report, StoreError> {
    let history = raise(store, db, keep, pause).await?;
    let mut report = Report { floor: history.floor, ..Report::default() };
    if !has_remains(&history) {
        return Ok(report);
    }
    let mut next = Some(Trim::Pages { after: (Pgno(0), Txid(0)), below: history.floor });
    while let Some(step) = next {
        let trimmed = store.trim(db, step).await?;
        report.looked += trimmed.looked;
        report.rows += trimmed.rows;
        next = trimmed.next;
        retry::pause(pause).await;
    }
    Ok(report)
}

/// Whether [`trim`] may find something to do. For a caller that has many to ask about.
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
