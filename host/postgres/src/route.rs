//! Which primary a step is sent to, and where it is sent on.
//!
//! ```text
//! the map ──► primary ─┬─ an answer
//!                      └─ not here ──► that primary's row of the shard, and the head, in one look
//!     gone to X, version v       the map says X from now on; this step is sent there, led by v
//!     leaving to X, and moved    this step is sent there, led by v; other databases are still here
//!     leaving to X, and no head  the same: it may have been made there
//!     coming from Y              sent back to Y, unless it was Y that has led here
//!     a copy that is not valid   Y says: moved ──► made valid; Y has no such database ──► deleted; sent again
//!     here, and absent           that is the answer
//! ```
//! A step that was not done here has surely done nothing: it may be sent on whatever it is.
//!
//! Invariant: a step that is led by no version, or by another one, finds nothing to be absent where a
//! shard is coming (`place.rs`). So a process that stops on its way through two moves does no harm.

use stockade_depot::{ActorId, DbId, Shard, StoreError};

use crate::limits::TURNS_MAX;
use crate::map::Number;
use crate::mover::delete_void;
use crate::place::{Led, Place, ShardState};
use crate::primary::{Primary, Seen, SeenHead};
use crate::rows::Sealed;
use crate::store::PgStores;

/// What a step is about.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Of<'a> {
    /// A database.
    Db(DbId),
    /// A name.
    Actor(&'a ActorId),
    /// A shard.
    Shard(Shard),
}

/// The way of a step.
pub(crate) struct Way<'a> {
    of: Of<'a>,
    shard: Shard,
    /// The number of the primary that it is sent to.
    pub(crate) at: Number,
    /// That primary.
    pub(crate) to: &'a Primary,
    /// What has led it there.
    pub(crate) led: Led,
    /// The move by which the primary that has sent it here is leaving, and has no such database.
    not_at_source: Option<u64>,
    turns: u32,
}

impl Way<'_> {
    /// Whether there was no such database when the primary that sends it here said so: what is made
    /// during a move is made at the target after it has begun the move, too.
    fn was_not_made(&self, place: &Place) -> bool {
        self.not_at_source.is_some_and(|version| place.version < version)
    }
}

/// Sends a step, as often as it is sent on. `$way` has the primary and what has led there.
macro_rules! routed {
    ($stores:expr, $of:expr, $way:ident => $step:expr) => {{
        let mut next = $stores.way($of);
        loop {
            let $way = match next {
                Ok(way) => way,
                Err(error) => break Err(error),
            };
            match $step.await {
                Err(stockade_depot::StoreError::Elsewhere { .. }) => {
                    next = $stores.turn($way).await;
                }
                answer => break answer,
            }
        }
    }};
}
pub(crate) use routed;

impl PgStores {
    /// The first primary to ask. `DatabaseMissing` if there is no such shard.
    pub(crate) fn way<'a>(&'a self, of: Of<'a>) -> Result<Way<'a>, StoreError> {
        let shard = match of {
            Of::Db(db) => db.shard(),
            Of::Actor(actor) => actor.shard(self.shards),
            Of::Shard(shard) => shard,
        };
        let found = match of {
            Of::Db(db) => self.map.of_db(db),
            Of::Actor(_) | Of::Shard(_) => self.map.of(shard).map(|at| (at, Led::default())),
        };
        let Some((at, led)) = found else {
            return Err(StoreError::DatabaseMissing(match of {
                Of::Db(db) => db,
                Of::Actor(_) | Of::Shard(_) => DbId::new(shard, [0; 15]),
            }));
        };
        Ok(Way { of, shard, at, to: self.at(at)?, led, not_at_source: None, turns: 0 })
    }

    /// Where a step is sent next that was not done where it was sent.
    pub(crate) async fn turn<'a>(&'a self, mut way: Way<'a>) -> Result<Way<'a>, StoreError> {
        way.turns += 1;
        if way.turns > TURNS_MAX {
            return Err(StoreError::Elsewhere { shard: way.shard, primary: None });
        }
        let Seen { place, head } = match way.of {
            Of::Db(db) => way.to.see(db).await?,
            Of::Actor(actor) => way.to.see_actor(actor).await?,
            Of::Shard(shard) => way.to.see(DbId::new(shard, [0; 15])).await?,
        };
        match head {
            // It came in between.
            Some(head) if head.sealed < Sealed::Moved => return Ok(way),
            None => match way.of {
                Of::Db(db) if place.has_all(way.led) || way.was_not_made(&place) => {
                    return Err(StoreError::DatabaseMissing(db));
                }
                // The shard came in between.
                Of::Actor(_) | Of::Shard(_) if place.is_here(way.led) => return Ok(way),
                _ => {}
            },
            Some(_) => {}
        }
        let peer = place.peer.ok_or_else(|| {
            let what = format!("shard {} at {} has no peer", way.shard, way.to.name);
            StoreError::Corrupt(what)
        })?;
        let Some((at, to)) = self.named(&peer) else {
            return Err(StoreError::Elsewhere { shard: way.shard, primary: Some(peer) });
        };
        if let Some(SeenHead { db, sealed: Sealed::Arriving, .. }) = head
            && self.settled(&way, to, db, place.version).await?
        {
            return Ok(way);
        }
        let led = match place.state {
            ShardState::Gone => {
                self.map.put(way.shard, at);
                Led(Some(place.version))
            }
            ShardState::Leaving => {
                if let Of::Db(db) = way.of {
                    self.map.stray(db, at, Led(Some(place.version)));
                }
                Led(Some(place.version))
            }
            // A step that comes from there comes again with its word.
            ShardState::Here | ShardState::Coming => {
                if let Of::Db(db) = way.of {
                    self.map.found(db);
                }
                Led::default()
            }
        };
        let is_leaving_without = place.state == ShardState::Leaving && head.is_none();
        let not_at_source = is_leaving_without.then_some(place.version);
        Ok(Way { at, to, led, not_at_source, ..way })
    }

    /// Settles a copy that is not valid yet, if `source` has no say in it any more: its original has
    /// moved, and the copy becomes valid; or it was destroyed, here or there, and the copy goes. A mover
    /// would do so as well, but may have died.
    async fn settled(
        &self,
        way: &Way<'_>,
        source: &Primary,
        db: DbId,
        version: u64,
    ) -> Result<bool, StoreError> {
        let Seen { place, head } = source.see(db).await?;
        if let Some(head) = head {
            if head.sealed != Sealed::Moved {
                return Ok(false);
            }
            if way.to.arrive(db, head.generation).await? {
                return Ok(true);
            }
        }
        let is_this_move = [ShardState::Leaving, ShardState::Gone]
            .iter()
            .any(|state| place.is(*state, &way.to.name, version));
        if is_this_move {
            delete_void(source, way.to, db, version).await?;
        }
        Ok(is_this_move)
    }
}
