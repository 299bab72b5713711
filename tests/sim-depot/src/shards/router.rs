//! Where a process sends a step, and where next: the picture is in `stockade-postgres`, `route.rs`.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use stockade_depot::store::layer::{Call, Confirmed, Layer};
use stockade_depot::{DbId, Fence, Shard, Store, StoreError};

use super::primary::{Seen, SeenHead, Sought};
use super::{At, Primaries, SHARDS, ShardState, other};
use crate::network::{Life, Link, Network};

/// How often a step is sent on.
const TURNS_MAX: u32 = 8;

/// The store of two primaries, as a process has it open.
pub(crate) struct Router {
    primaries: Arc<Primaries>,
    /// The way there; none: no network is between.
    way: Option<(Arc<Network>, Arc<Life>)>,
    map: Mutex<HashMap<Shard, usize>>,
    strays: Mutex<HashMap<DbId, (usize, Option<u64>)>>,
    beneath: Arc<dyn Store>,
}

/// The way of a step.
struct Way {
    sought: Option<Sought>,
    shard: Shard,
    at: usize,
    led: Option<u64>,
    not_at_source: Option<u64>,
    turns: u32,
}

impl Router {
    /// A process behind the network, or past it. Its map is as of the beginning.
    pub(crate) fn new(
        primaries: &Arc<Primaries>,
        way: Option<(&Arc<Network>, &Arc<Life>)>,
    ) -> Arc<Self> {
        let way = way.map(|(network, life)| (Arc::clone(network), Arc::clone(life)));
        let beneath = at(primaries, 0, None);
        let primaries = Arc::clone(primaries);
        Arc::new(Self { primaries, way, map: Mutex::default(), strays: Mutex::default(), beneath })
    }

    fn link(&self, at_primary: usize, led: Option<u64>) -> Arc<dyn Store> {
        let target = at(&self.primaries, at_primary, led);
        match &self.way {
            Some((network, life)) => Link::to(network, life, target),
            None => target,
        }
    }

    fn way(&self, sought: Option<Sought>) -> Way {
        let shard = match &sought {
            Some(Sought::Db(db)) => db.shard(),
            Some(Sought::Actor(actor)) => actor.shard(SHARDS.into()),
            None => Shard(0),
        };
        let stray = match &sought {
            Some(Sought::Db(db)) => self.strays.lock().get(db).copied(),
            _ => None,
        };
        let mapped = || (self.map.lock().get(&shard).copied().unwrap_or_default(), None);
        let (at, led) = stray.unwrap_or_else(mapped);
        Way { sought, shard, at, led, not_at_source: None, turns: 0 }
    }

    async fn see(&self, at: usize, shard: Shard, of: Sought) -> Result<Seen, StoreError> {
        let primary = Arc::clone(&self.primaries.both[at]);
        let what = format!("look at shard {shard} of {}", primary.name);
        let look = async move { primary.see(shard, of).await };
        match &self.way {
            Some((network, life)) => {
                let link = Link::to(network, life, Arc::clone(&self.beneath));
                link.has_done(what, look)
                    .await
                    .map_err(|error| StoreError::Unavailable(error.to_string()))
            }
            None => Ok(look.await),
        }
    }

    /// Where a step is sent next that was not done where it was sent.
    async fn turn(&self, mut way: Way) -> Result<Way, StoreError> {
        way.turns += 1;
        let Some(sought) = way.sought.clone().filter(|_| way.turns <= TURNS_MAX) else {
            return Err(StoreError::Elsewhere { shard: way.shard, primary: None });
        };
        let Seen { row, head } = self.see(way.at, way.shard, sought.clone()).await?;
        match (&head, &sought) {
            (Some(head), _) if !head.is_moved && !head.is_arriving => return Ok(way),
            (None, Sought::Db(db)) => {
                let is_absent = match row.state {
                    ShardState::Here => true,
                    ShardState::Leaving | ShardState::Gone => false,
                    ShardState::Coming => way.led == Some(row.version),
                };
                let not_made = way.not_at_source.is_some_and(|version| row.version < version);
                if is_absent || not_made {
                    return Err(StoreError::DatabaseMissing(*db));
                }
            }
            (None, Sought::Actor(_)) => {
                let is_here = match row.state {
                    ShardState::Here | ShardState::Leaving => true,
                    ShardState::Gone => false,
                    ShardState::Coming => way.led == Some(row.version),
                };
                if is_here {
                    return Ok(way);
                }
            }
            (Some(_), _) => {}
        }
        if let Some(SeenHead { db, is_arriving: true, .. }) = head
            && self.settled(way.at, db, row.version).await?
        {
            return Ok(way);
        }
        let to = other(way.at);
        let led = match row.state {
            ShardState::Gone => {
                self.map.lock().insert(way.shard, to);
                self.strays.lock().retain(|db, _| db.shard() != way.shard);
                Some(row.version)
            }
            ShardState::Leaving => {
                if let Sought::Db(db) = sought {
                    self.strays.lock().insert(db, (to, Some(row.version)));
                }
                Some(row.version)
            }
            ShardState::Here | ShardState::Coming => {
                if let Sought::Db(db) = sought {
                    self.strays.lock().remove(&db);
                }
                None
            }
        };
        let leaves_without = row.state == ShardState::Leaving && head.is_none();
        Ok(Way { at: to, led, not_at_source: leaves_without.then_some(row.version), ..way })
    }

    /// Settles a copy at `target` of which its source has no say any more, as a mover would.
    async fn settled(&self, target: usize, db: DbId, version: u64) -> Result<bool, StoreError> {
        let Seen { row, head } = self.see(other(target), db.shard(), Sought::Db(db)).await?;
        let to = Arc::clone(&self.primaries.both[target]);
        let network = self.way.as_ref();
        if let Some(head) = head {
            if !head.is_moved {
                return Ok(false);
            }
            let arrive = async move { to.arrive(db, version, head.given).await };
            return match network {
                Some((network, life)) => {
                    let link = Link::to(network, life, Arc::clone(&self.beneath));
                    let done = link.has_done(format!("arrive {db}"), arrive).await;
                    done.map_err(|error| StoreError::Unavailable(error.to_string()))
                }
                None => Ok(arrive.await),
            };
        }
        let is_this_move =
            matches!(row.state, ShardState::Leaving | ShardState::Gone) && row.version == version;
        if is_this_move {
            to.discard(db, version).await;
        }
        Ok(is_this_move)
    }
}

fn at(primaries: &Arc<Primaries>, number: usize, led: Option<u64>) -> Arc<dyn Store> {
    Arc::new(At { primary: Arc::clone(&primaries.both[number]), led })
}

impl Layer for Router {
    fn beneath(&self) -> &Arc<dyn Store> {
        &self.beneath
    }

    async fn close_beneath(&self) {}

    async fn through<T: Send + 'static>(&self, call: Call<T>) -> Result<T, StoreError> {
        let sought = match (call.about.db, &call.about.actor) {
            (Some(db), _) => Some(Sought::Db(db)),
            (None, Some(actor)) => Some(Sought::Actor(actor.clone())),
            (None, None) => None,
        };
        let mut way = self.way(sought);
        loop {
            match call.apply(&self.link(way.at, way.led)).await {
                Err(StoreError::Elsewhere { .. }) => way = self.turn(way).await?,
                answer => return answer,
            }
        }
    }

    async fn through_confirm(&self, fences: Vec<Fence>) -> Result<Confirmed, StoreError> {
        let mut answers = Vec::new();
        for fence in fences {
            answers.push(self.confirmed(fence).await?);
        }
        Ok(answers)
    }
}

impl Router {
    async fn confirmed(&self, fence: Fence) -> Result<Result<(), StoreError>, StoreError> {
        let mut way = self.way(Some(Sought::Db(fence.db)));
        loop {
            let asked = [fence];
            match self.link(way.at, way.led).confirm(&asked).await {
                Err(StoreError::Elsewhere { .. }) => match self.turn(way).await {
                    Ok(next) => way = next,
                    Err(missing @ StoreError::DatabaseMissing(_)) => return Ok(Err(missing)),
                    Err(error) => return Err(error),
                },
                Ok(mut answers) => return Ok(answers.remove(0)),
                Err(error) => return Err(error),
            }
        }
    }
}
