//! A copy of a database that was destroyed, where it was or where it has moved: it never becomes valid,
//! and would keep its name for as long as no mover comes.

use std::sync::Mutex;

use stockade_depot::{DbId, StoreError};

use super::disposal::Discard;
use super::{MoveError, Moved, Mover, Side};
use crate::primary::Primary;

impl<'a> Side<'a> {
    /// What a mover needs of a primary.
    pub(super) fn of(primary: &'a Primary) -> Self {
        Self { name: &primary.name, link: &primary.link }
    }
}

/// Deletes the arriving copy of a database that `source` has not got any more, or has given away with
/// another generation, as a look has shown in which it said that the shard is leaving, or gone, to
/// `target` by the move `version`. Any process may, at any time: at the target it is still that move.
pub(crate) async fn delete_void(
    source: &Primary,
    target: &Primary,
    db: DbId,
    version: u64,
) -> Result<(), StoreError> {
    let mover = Mover {
        source: Side::of(source),
        target: Side::of(target),
        shard: db.shard(),
        version,
        progress: &|_| {},
        tally: Mutex::new(Moved::default()),
    };
    mover.discard(db, None, Discard::All).await.map_err(|error| match error {
        MoveError::Store { error, .. } => error,
        other => StoreError::Unavailable(other.to_string()),
    })
}
