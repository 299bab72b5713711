//! One primary: a server that keeps some of a store's shards, or all of them.

use std::fmt;
use std::sync::Arc;

use stockade_depot::store::embedded::{Ages, Clock};
use stockade_depot::{ActorId, DbId, Generation, StoreError};

use crate::along::Along;
use crate::committer::Committers;
use crate::config::{OpenPgError, PgConfig};
use crate::connection::{Connector, params};
use crate::link::Link;
use crate::place::{self, Place, ShardRow};
use crate::pool::Connections;
use crate::rows::{self, ACTOR_COLUMNS, HEAD_COLUMNS, Sealed};
use crate::sql::shards as sql;

/// A server of the store.
pub(crate) struct Primary {
    pub(crate) name: String,
    pub(crate) link: Arc<Link>,
    pub(crate) committers: Committers,
    pub(crate) along: Along,
    pub(crate) ages: Ages,
    pub(crate) clock: Clock,
    /// Of the whole store.
    pub(crate) shards: u16,
}

impl fmt::Debug for Primary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.name, self.link.server())
    }
}

/// What a primary knows of a database and of its shard, in one snapshot.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) place: Place,
    /// `None`: no such database.
    pub(crate) head: Option<SeenHead>,
}

/// What is known of a head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SeenHead {
    pub(crate) db: DbId,
    pub(crate) sealed: Sealed,
    pub(crate) generation: Generation,
}

impl Primary {
    /// A primary whose connections live on this runtime.
    ///
    /// # Errors
    /// If there is no runtime.
    pub(crate) fn start(
        config: &PgConfig,
        connector: &Connector,
        name: String,
        shards: u16,
    ) -> Result<Self, OpenPgError> {
        let server = config.address.to_string();
        let connections = Connections::new(connector.clone(), config.connections, server.clone());
        let connections = connections.map_err(|error| OpenPgError::Connect {
            server: server.clone(),
            what: error.to_string(),
        })?;
        let link = Arc::new(Link::new(connections, server));
        let committers = Committers::start(config.committers, connector, &link, &config.clock);
        Ok(Self {
            name,
            link,
            committers,
            along: Along::default(),
            ages: Ages::new(config.clock.clone()),
            clock: config.clock.clone(),
            shards,
        })
    }

    /// Finishes what was accepted, and refuses everything after.
    pub(crate) async fn end(&self) {
        self.committers.finish().await;
        self.link.close();
    }

    /// What is known here of a database, in one snapshot that counts.
    pub(crate) async fn see(&self, db: DbId) -> Result<Seen, StoreError> {
        let asked = params![i64::from(db.shard().0), &db.0[..]];
        let row = self.link.look_row(sql::PLACE, asked).await?;
        let row = row.ok_or_else(|| place::no_row(db.shard()))?;
        let head = if rows::is_null(&row, 3)? {
            None
        } else {
            let generation = Generation(rows::number(&row, 4)?);
            Some(SeenHead { db, sealed: Sealed::of(&row, 3)?, generation })
        };
        Ok(Seen { place: Place::of(&row, 0)?, head })
    }

    /// The same of an actor's database.
    pub(crate) async fn see_actor(&self, actor: &ActorId) -> Result<Seen, StoreError> {
        let shard = actor.shard(self.shards);
        let asked = params![actor.kind(), actor.key(), i64::from(shard.0)];
        let row = self.link.look_row(sql::ACTOR_PLACE, asked).await?;
        let row = row.ok_or_else(|| place::no_row(shard))?;
        let head = if rows::is_null(&row, ACTOR_COLUMNS)? {
            None
        } else {
            Some(SeenHead {
                db: rows::db(&row, ACTOR_COLUMNS)?,
                sealed: Sealed::of(&row, ACTOR_COLUMNS + 7)?,
                generation: Generation(rows::number(&row, ACTOR_COLUMNS + 1)?),
            })
        };
        Ok(Seen { place: Place::of(&row, ACTOR_COLUMNS + HEAD_COLUMNS + 1)?, head })
    }

    /// Makes the copy of a database valid that has moved with this generation. Any process may, at any
    /// time: no two heads that are given away have one generation. False: there is no such copy.
    pub(crate) async fn arrive(&self, db: DbId, of: Generation) -> Result<bool, StoreError> {
        let original = params![&db.0[..], rows::to_sql(of.0)?];
        Ok(self.link.change(sql::ARRIVE, original).await? > 0)
    }

    /// The rows of all shards.
    pub(crate) async fn shard_rows(&self) -> Result<Vec<ShardRow>, StoreError> {
        let rows = self.link.look(sql::SHARDS, &[]).await?;
        rows.iter().map(|row| ShardRow::of(row, &self.name)).collect()
    }
}
