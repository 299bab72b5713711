//! Why a fenced step changed nothing, as the head says.

use stockade_depot::{DbId, Fence, Head, OwnerRow, StoreError, Txid};

use crate::connection::params;
use crate::failure::Stop;
use crate::link::Transaction;
use crate::rows::{self, Row};
use crate::sql::ownership::HEAD;

/// A commit that the fence allows and the number of pages does not.
pub(crate) const LEAVES_HOLES: &str = "a commit that leaves holes";

/// Why a fenced step changed nothing, as its head's row of [`HEAD`] says.
pub(crate) fn refusal(row: Option<Row>, fence: &Fence, base: Txid, otherwise: &str) -> StoreError {
    match head_of(row, fence.db) {
        Ok(head) => refused(&head.owner_row(), fence, base, otherwise),
        Err(error) => error,
    }
}

/// Why a fenced step changed nothing.
pub(crate) fn refused(now: &OwnerRow, fence: &Fence, base: Txid, otherwise: &str) -> StoreError {
    match now.check(fence, base).at() {
        Ok(()) => StoreError::Corrupt(format!("{otherwise} of {} refused", fence.db)),
        Err(mismatch) => mismatch.into(),
    }
}

/// The head of a database, if it has one here.
pub(crate) fn head_of(row: Option<Row>, db: DbId) -> Result<Head, StoreError> {
    row.map_or_else(|| Err(rows::away(db)), |row| rows::head(&row, 0))
}

/// The head as a transaction sees it.
pub(crate) async fn head_in(tx: &Transaction, db: DbId) -> Result<Head, Stop> {
    Ok(head_of(tx.row(HEAD, params![&db.0[..]]).await?, db)?)
}

/// Why a step of this transaction changed nothing: the transaction asks, so that no second connection
/// is waited for.
pub(crate) async fn refusal_in(
    tx: &Transaction,
    fence: &Fence,
    base: Txid,
    otherwise: &str,
) -> Stop {
    match head_in(tx, fence.db).await {
        Ok(head) => refused(&head.owner_row(), fence, base, otherwise).into(),
        Err(stop) => stop,
    }
}
