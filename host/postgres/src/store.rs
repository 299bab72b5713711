//! The store: its primaries, and what they share.

use std::fmt;
use std::sync::Arc;

use futures_util::future::{join_all, try_join_all};
use stockade_depot::{StoreError, StoreFull};

use crate::config::{OpenPgError, PgConfig};
use crate::map::{Map, Number};
use crate::opening::{self, Found, Opened};
use crate::place::{ShardRow, ShardState};
use crate::primary::Primary;

/// A store in one PostgreSQL server, or spread by shards over several; or in servers that speak its
/// wire.
pub struct PgStores {
    pub(crate) primaries: Vec<Arc<Primary>>,
    root: Number,
    pub(crate) map: Map,
    pub(crate) shards: u16,
}

impl fmt::Debug for PgStores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PgStores").field(&self.primaries).finish()
    }
}

impl PgStores {
    /// Opens the store of one or more primaries, and makes it if all of them are empty. Its
    /// connections live on the runtime that this is called on. Takes at most
    /// [`CONNECT_DEADLINE`](crate::limits::CONNECT_DEADLINE) for each host of an address, and
    /// [`OPEN_DEADLINE`](crate::limits::OPEN_DEADLINE) for each schema.
    ///
    /// # Errors
    /// If no server of an address can be reached that writes, if a schema cannot be served, or if the
    /// primaries are not all of one store.
    pub async fn open(configs: &[PgConfig]) -> Result<Self, OpenPgError> {
        let Opened { primaries, root, rows } = opening::open(configs).await?;
        let shards = primaries.first().map_or(0, |primary| primary.shards);
        let primaries = primaries.into_iter().map(Arc::new).collect();
        let store = Self { primaries, root, map: Map::new(shards, root), shards };
        store.learn(&rows);
        Ok(store)
    }

    /// Looks whether the store would be opened, and which processes are registered in it, database by
    /// database. Changes nothing, and makes no schema. Takes as long as [`PgStores::open`] at most.
    ///
    /// # Errors
    /// As [`PgStores::open`], but for a schema of a later program: that is an answer.
    pub async fn look(configs: &[PgConfig]) -> Result<Vec<Found>, OpenPgError> {
        opening::look(configs).await
    }

    /// What the primaries say of the shards: one row for each that keeps or gets the shard, by shard.
    ///
    /// # Errors
    /// A primary does not answer.
    pub async fn shard_map(&self) -> Result<Vec<ShardRow>, StoreError> {
        let asked = self.primaries.iter().map(|primary| primary.shard_rows());
        let mut rows: Vec<ShardRow> = try_join_all(asked).await?.concat();
        rows.retain(ShardRow::concerns);
        rows.sort_by_key(|row| (row.shard, row.state == ShardState::Coming));
        self.learn(&rows);
        Ok(rows)
    }

    /// The primaries, as name and server: hosts, ports and database.
    pub fn primaries(&self) -> impl Iterator<Item = (&str, &str)> {
        self.primaries.iter().map(|primary| (primary.name.as_str(), primary.link.server()))
    }

    /// The primary of this name, if it is in the list.
    pub(crate) fn named(&self, name: &str) -> Option<(Number, &Arc<Primary>)> {
        self.primaries.iter().enumerate().find(|(_, primary)| primary.name == name)
    }

    /// The primary that keeps what all share.
    pub(crate) fn root(&self) -> Result<&Primary, StoreError> {
        self.at(self.root)
    }

    pub(crate) fn at(&self, number: Number) -> Result<&Primary, StoreError> {
        self.primaries.get(number).map(AsRef::as_ref).ok_or(StoreError::Closed)
    }

    /// Believes what primaries say of the shards that they keep.
    fn learn(&self, rows: &[ShardRow]) {
        let keeps = |row: &&ShardRow| row.state != ShardState::Coming;
        let coming = rows.iter().filter(|row| row.state == ShardState::Coming);
        for row in coming.chain(rows.iter().filter(keeps)) {
            if let Some((number, _)) = self.named(&row.primary) {
                self.map.put(row.shard, number);
            }
        }
    }

    /// Why guests' writes are refused now.
    pub(crate) fn no_room(&self) -> Option<StoreFull> {
        self.primaries.iter().find_map(|primary| primary.link.full())
    }

    /// Finishes what was accepted, and refuses everything after.
    pub(crate) async fn end(&self) {
        join_all(self.primaries.iter().map(|primary| primary.end())).await;
    }
}
