//! Moves a shard to the other primary. Whatever ends it, the next mover continues.

use std::sync::Arc;
use std::time::Duration;

use stockade_depot::{DbId, Shard, StoreError, Token};
use tokio::time::sleep;

use super::primary::{Claim, Hold, Primary};
use super::{Primaries, other};
use crate::network::{Life, Link, Network};

/// How often it passes over the shard.
const PASSES_MAX: u32 = 8;
/// How often it tries one database in a pass.
const TRIES_MAX: u32 = 2;

/// A mover on a node.
pub(crate) struct Mover {
    pub(crate) primaries: Arc<Primaries>,
    pub(crate) network: Arc<Network>,
    pub(crate) life: Arc<Life>,
    pub(crate) shard: Shard,
}

/// A move under way.
struct Move<'a> {
    mover: &'a Mover,
    link: Arc<Link>,
    source: Arc<Primary>,
    target: Arc<Primary>,
    version: u64,
}

/// Has a function of a primary done there, over the network.
macro_rules! at {
    ($move:expr, $at:ident.$what:ident($($arg:expr),*)) => {{
        let primary = Arc::clone(&$move.$at);
        let what = format!("mover: {} at {}", stringify!($what), primary.name);
        $move.link.has_done(what, async move { primary.$what($($arg),*).await }).await
    }};
}

impl Mover {
    fn say(&self, what: &str) {
        self.network.journal.say(&format!("{} mover: {what}", self.life.name));
    }

    /// Moves the shard, or continues a move.
    pub(crate) async fn run(self) {
        let shard = self.shard;
        match self.try_to_run().await {
            Ok(true) => self.say(&format!("shard {shard} has moved")),
            Ok(false) => self.say(&format!("shard {shard} does not move")),
            Err(error) => self.say(&format!("shard {shard}: {error}")),
        }
    }

    async fn try_to_run(&self) -> Result<bool, StoreError> {
        let shard = self.shard;
        let link = Link::to(&self.network, &self.life, Arc::clone(&self.network.store));
        let from = self.primaries.source(shard).await;
        let [source, target] = [from, other(from)].map(|at| Arc::clone(&self.primaries.both[at]));
        let mut the_move = Move { mover: self, link, source, target, version: 0 };
        let Some(version) = at!(the_move, source.leave(shard))? else {
            // The source has given it away: the target may not know yet.
            return the_move.end_late(shard).await;
        };
        the_move.version = version;
        self.say(&format!("shard {shard} leaves {}, version {version}", the_move.source.name));
        the_move.run(shard).await
    }
}

impl Move<'_> {
    async fn run(&self, shard: Shard) -> Result<bool, StoreError> {
        let version = self.version;
        let older = self.target.row(shard).await.version;
        at!(self, target.clear(shard, older))?;
        if !at!(self, target.come(shard, version))? {
            return Ok(false);
        }
        for _ in 0..PASSES_MAX {
            for db in at!(self, source.staying(shard))? {
                self.move_database(db).await?;
            }
            if at!(self, source.give_shard(shard, version))? {
                self.mover.say(&format!("shard {shard} is given away"));
                return self.end(shard).await;
            }
        }
        Ok(false)
    }

    /// A move of which only the end is left, if the shard is coming.
    async fn end_late(&mut self, shard: Shard) -> Result<bool, StoreError> {
        std::mem::swap(&mut self.source, &mut self.target);
        // What was called source says that the shard is gone, or is coming there from its peer.
        for _ in 0..2 {
            let row = self.target.row(shard).await;
            if row.state == super::ShardState::Coming {
                self.version = row.version;
                return self.end(shard).await;
            }
            std::mem::swap(&mut self.source, &mut self.target);
        }
        Ok(false)
    }

    async fn end(&self, shard: Shard) -> Result<bool, StoreError> {
        let version = self.version;
        for db in at!(self, target.arriving(shard))? {
            self.settle(db).await?;
        }
        let is_here = at!(self, target.welcome(shard, version))?;
        if is_here {
            at!(self, source.clear(shard, version))?;
        }
        Ok(is_here)
    }

    /// A copy that is not valid becomes so, or goes.
    async fn settle(&self, db: DbId) -> Result<(), StoreError> {
        let (shard, version) = (db.shard(), self.version);
        let seen = at!(self, source.see(shard, super::primary::Sought::Db(db)))?;
        match seen.head {
            Some(head) if head.is_moved => {
                if !at!(self, target.arrive(db, version, head.given))? {
                    at!(self, target.discard(db, version))?;
                }
            }
            None => at!(self, target.discard(db, version))?,
            Some(_) => {}
        }
        Ok(())
    }

    async fn move_database(&self, db: DbId) -> Result<(), StoreError> {
        let dice = &self.mover.network.dice;
        for _ in 0..TRIES_MAX {
            if self.try_to_move(db).await? {
                self.mover.say(&format!("{db} has moved"));
                return Ok(());
            }
            sleep(Duration::from_millis(dice.between(1, 20))).await;
        }
        Ok(())
    }

    /// One try. True: it has moved, or there is nothing to move.
    async fn try_to_move(&self, db: DbId) -> Result<bool, StoreError> {
        let (dice, version) = (&self.mover.network.dice, self.version);
        let mut token = Token([0; 16]);
        dice.fill(&mut token.0);
        let Some(first) = at!(self, source.copy(db, 0))? else {
            self.settle(db).await?;
            return Ok(true);
        };
        let actor = first.actor.clone();
        match at!(self, target.claim(db, actor, version, token))? {
            Claim::Claimed => {}
            Claim::Left => match at!(self, source.end_hold(db, version))? {
                Hold::Ended => {
                    if !at!(self, target.empty(db, version, token))? {
                        return Ok(false);
                    }
                }
                Hold::Moved | Hold::Gone => {
                    self.settle(db).await?;
                    return Ok(true);
                }
            },
            Claim::Valid | Claim::Over => return Ok(true),
        }
        let upto = first.upto();
        if !at!(self, target.put(db, version, token, first))? {
            return Ok(false);
        }
        // The database is in use.
        sleep(Duration::from_millis(dice.below(30))).await;
        if !at!(self, source.take(db, version, token))? {
            return Ok(false);
        }
        let Some(rest) = at!(self, source.copy(db, upto))? else { return Ok(false) };
        let copied = rest.upto();
        if !at!(self, target.put(db, version, token, rest))? {
            return Ok(false);
        }
        if !at!(self, source.give(db, version, token, copied))? {
            self.mover.say(&format!("{db} is kept: it is in use"));
            return Ok(false);
        }
        if !at!(self, target.arrive(db, version, copied))? {
            at!(self, target.discard(db, version))?;
        }
        at!(self, source.dispose(db))?;
        Ok(true)
    }
}
