//! A primary: what it says of its shards, the databases that it keeps, and what becomes of a step there.
//!
//! Invariant: each function here is one step, which looks and writes in one.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use stockade_depot::store::layer::{Asked, Call, Confirmed, Layer};
use stockade_depot::store::{Created, PreviousEnd, SealStep, TakenOver, TakeoverStep};
use stockade_depot::{
    ActorId, DbId, Digest, EmbeddedStore, Fence, NodeSession, Shard, Store, StoreError, Token,
};
use tokio::sync::Mutex;

use super::held::{Done, Held, Seal, now_ms};
use super::{Row, SHARDS, ShardRule, ShardState};
use crate::journal::Journal;

/// The process of a mover.
const MOVER: NodeSession = NodeSession([0xee; 16]);
const COMPONENT: Digest = Digest([7; 32]);

pub(crate) struct Primary {
    pub(crate) name: &'static str,
    journal: Arc<Journal>,
    off: Option<ShardRule>,
    /// Answers what is absent, and what is of no shard.
    empty: Arc<dyn Store>,
    kept: Mutex<Kept>,
}

struct Kept {
    rows: Vec<Row>,
    dbs: BTreeMap<DbId, Held>,
}

/// A head as a router sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SeenHead {
    pub(crate) db: DbId,
    pub(crate) is_moved: bool,
    pub(crate) is_arriving: bool,
    /// How many steps were given away.
    pub(crate) given: usize,
}

/// A row of a shard, and the head that was asked for, in one look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) row: Row,
    pub(crate) head: Option<SeenHead>,
}

/// What a claim has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    Claimed,
    /// A copy of another mover, whose last step may be on its way to the source.
    Left,
    Valid,
    Over,
}

/// What the end of another mover's hold has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// What that mover does at the source from now on is refused.
    Ended,
    /// It has given the database away.
    Moved,
    /// There is no such database, or the move is over.
    Gone,
}

/// Steps of a database from some number on, and its actor.
#[derive(Clone)]
pub(crate) struct Part {
    pub(super) actor: ActorId,
    pub(super) from: usize,
    pub(super) steps: Vec<Done>,
}

impl Part {
    /// How many there are with those before.
    pub(crate) fn upto(&self) -> usize {
        self.from + self.steps.len()
    }
}

impl Primary {
    pub(super) fn new(
        name: &'static str,
        state: ShardState,
        journal: &Arc<Journal>,
        off: Option<ShardRule>,
    ) -> Arc<Self> {
        let rows = vec![Row { state, version: 0 }; usize::from(SHARDS)];
        let kept = Mutex::new(Kept { rows, dbs: BTreeMap::new() });
        let empty = Arc::new(EmbeddedStore::in_memory(SHARDS).unwrap());
        Arc::new(Self { name, journal: Arc::clone(journal), off, empty, kept })
    }

    fn is_off(&self, rule: ShardRule) -> bool {
        self.off == Some(rule)
    }

    pub(crate) async fn row(&self, shard: Shard) -> Row {
        self.kept.lock().await.rows[usize::from(shard.0)]
    }

    pub(super) async fn keeps(&self, db: DbId) -> Option<Arc<dyn Store>> {
        let kept = self.kept.lock().await;
        let held = kept.dbs.get(&db).filter(|held| held.is_here())?;
        Some(Arc::clone(&held.store))
    }

    /// What a router looks at.
    pub(crate) async fn see(&self, shard: Shard, of: Sought) -> Seen {
        let kept = self.kept.lock().await;
        let row = kept.rows[usize::from(shard.0)];
        let db = match of {
            Sought::Db(db) => Some(db),
            Sought::Actor(actor) => kept.named(&actor).await,
        };
        let Some((db, held)) = db.and_then(|db| Some((db, kept.dbs.get(&db)?))) else {
            return Seen { row, head: None };
        };
        let (is_moved, is_arriving) =
            (matches!(held.seal, Seal::Moved(_)), matches!(held.seal, Seal::Arriving(_)));
        if !is_moved && !is_arriving && !held.has_head(db).await {
            return Seen { row, head: None };
        }
        Seen { row, head: Some(SeenHead { db, is_moved, is_arriving, given: held.taken }) }
    }
}

/// What is looked for.
#[derive(Clone)]
pub(crate) enum Sought {
    Db(DbId),
    Actor(ActorId),
}

impl Held {
    fn is_here(&self) -> bool {
        matches!(self.seal, Seal::Valid | Seal::Moving(_))
    }

    async fn has_head(&self, db: DbId) -> bool {
        self.store.history(db).await.unwrap().is_some()
    }

    /// Whether the actor has this database. Of what has moved its row stays.
    async fn is_named(&self) -> bool {
        !self.is_here() || self.store.actor(&self.actor).await.unwrap().is_some()
    }
}

impl Kept {
    /// The database of an actor, as this primary has it.
    async fn named(&self, actor: &ActorId) -> Option<DbId> {
        let mut found = None;
        for (db, held) in self.dbs.iter().filter(|(_, held)| held.actor == *actor) {
            if held.is_named().await && (held.is_here() || found.is_none()) {
                found = Some(*db);
            }
        }
        found
    }

    fn is(&self, shard: Shard, state: ShardState, version: u64) -> bool {
        self.rows[usize::from(shard.0)] == Row { state, version }
    }
}

/// A primary as a step reaches it: by the map, or led there by the other one's word.
pub(crate) struct At {
    pub(crate) primary: Arc<Primary>,
    pub(crate) led: Option<u64>,
}

impl At {
    /// Whether what is not found here is not there at all.
    fn is_absent(&self, row: Row, asked: Asked) -> bool {
        if self.primary.is_off(ShardRule::OwnRow) {
            return true;
        }
        let by_name = matches!(asked, Asked::Create | Asked::Actor);
        match row.state {
            ShardState::Here => true,
            ShardState::Leaving => by_name,
            ShardState::Gone => false,
            ShardState::Coming => {
                self.led == Some(row.version) || self.primary.is_off(ShardRule::Coming)
            }
        }
    }

    async fn make<T: Send + 'static>(
        &self,
        kept: &mut Kept,
        actor: &ActorId,
        call: &Call<T>,
    ) -> Result<T, StoreError> {
        let journal = &self.primary.journal;
        let mut held = Held::new(actor.clone(), Seal::Valid, journal);
        let done = Done::new(call, now_ms(journal));
        let answer = call.apply(&held.store).await?;
        if let Some(Created::Made(head)) = (&answer as &dyn Any).downcast_ref() {
            held.steps.push(done);
            kept.dbs.insert(head.fence.db, held);
        }
        Ok(answer)
    }
}

impl Layer for At {
    fn beneath(&self) -> &Arc<dyn Store> {
        &self.primary.empty
    }

    async fn through<T: Send + 'static>(&self, call: Call<T>) -> Result<T, StoreError> {
        let (primary, asked) = (&self.primary, call.about.asked);
        let mut kept = primary.kept.lock().await;
        let actor = call.about.actor.clone();
        let (shard, mut db) = match (&actor, call.about.db) {
            (_, Some(db)) => (db.shard(), Some(db)),
            (Some(actor), None) => (actor.shard(SHARDS.into()), kept.named(actor).await),
            (None, None) => return call.apply(&primary.empty).await,
        };
        let row = kept.rows[usize::from(shard.0)];
        if let Some(held) = db.and_then(|db| kept.dbs.get(&db)) {
            let is_gone = held.is_here() && !held.has_head(db.unwrap_or(DbId([0; 16]))).await;
            // What a destroy has left is counted where it is.
            if is_gone && asked != Asked::RowsOf {
                db = None;
            }
        }
        let elsewhere = StoreError::Elsewhere { shard, primary: None };
        let Some(held) = db.and_then(|db| kept.dbs.get_mut(&db)) else {
            if !self.is_absent(row, asked) {
                return Err(elsewhere);
            }
            return match actor {
                Some(actor) if asked == Asked::Create => self.make(&mut kept, &actor, &call).await,
                _ => call.apply(&primary.empty).await,
            };
        };
        match held.seal {
            Seal::Valid | Seal::Moving(_) => {}
            Seal::Moved(_)
                if asked == Asked::Verdict && primary.is_off(ShardRule::VerdictFollows) =>
            {
                return call.apply(&primary.empty).await;
            }
            Seal::Arriving(_) if primary.is_off(ShardRule::Arriving) => {
                held.seal = Seal::Valid;
                held.fill(primary.off).await;
            }
            Seal::Moved(_) | Seal::Arriving(_) => return Err(elsewhere),
        }
        let done = Done::new(&call, now_ms(&primary.journal));
        let answer = call.apply(&held.store).await;
        // A refused raise of the floor has looked at the clock.
        if Done::changes(asked) && (answer.is_ok() || asked == Asked::RaiseFloor) {
            held.steps.push(done);
            if matches!(asked, Asked::TakeOver | Asked::TakeOverImport) {
                // Who takes it over takes it from the mover.
                held.seal = Seal::Valid;
            }
        }
        answer
    }

    /// A router asks for the databases one by one.
    async fn through_confirm(&self, fences: Vec<Fence>) -> Result<Confirmed, StoreError> {
        let kept = self.primary.kept.lock().await;
        let Some(db) = fences.first().map(|fence| fence.db) else { return Ok(Vec::new()) };
        let row = kept.rows[usize::from(db.shard().0)];
        match kept.dbs.get(&db) {
            Some(held) if held.is_here() => held.store.confirm(&fences).await,
            Some(_) => Err(StoreError::Elsewhere { shard: db.shard(), primary: None }),
            None if self.is_absent(row, Asked::Confirm) => {
                self.primary.empty.confirm(&fences).await
            }
            None => Err(StoreError::Elsewhere { shard: db.shard(), primary: None }),
        }
    }
}

/// The steps of a mover at the source.
impl Primary {
    /// The shard is leaving from now on, by the next move. None: it is not here.
    pub(crate) async fn leave(&self, shard: Shard) -> Option<u64> {
        let mut kept = self.kept.lock().await;
        let row = &mut kept.rows[usize::from(shard.0)];
        match row.state {
            ShardState::Here => {
                *row = Row { state: ShardState::Leaving, version: row.version + 1 };
                Some(row.version)
            }
            ShardState::Leaving => Some(row.version),
            ShardState::Gone | ShardState::Coming => None,
        }
    }

    /// What stays here of a shard.
    pub(crate) async fn staying(&self, shard: Shard) -> Vec<DbId> {
        let kept = self.kept.lock().await;
        kept.staying(shard).await
    }

    /// The steps of a database from `from` on. None: it is not here.
    pub(crate) async fn copy(&self, db: DbId, from: usize) -> Option<Part> {
        let kept = self.kept.lock().await;
        let held = kept.dbs.get(&db).filter(|held| held.is_here())?;
        let steps = held.steps.get(from..)?.to_vec();
        Some(Part { actor: held.actor.clone(), from, steps })
    }

    /// Takes a database from its owner, if it has one. False: it is not here, or this is not the move.
    pub(crate) async fn take(&self, db: DbId, version: u64, token: Token) -> bool {
        let mut kept = self.kept.lock().await;
        if !self.is_off(ShardRule::Version) && !kept.is(db.shard(), ShardState::Leaving, version) {
            return false;
        }
        let now = now_ms(&self.journal);
        let Some(held) = kept.dbs.get_mut(&db).filter(|held| held.is_here()) else { return false };
        let Ok((Some(head), _)) = held.store.verdict(db, stockade_depot::Txid(0)).await else {
            return false;
        };
        // What a sealed database hands over is for its next owner.
        let is_held = !head.sealed && held.store.actor(&held.actor).await.unwrap().is_some();
        if is_held {
            let step = TakeoverStep {
                actor: held.actor.clone(),
                db,
                replaces: (head.fence.generation, head.fence.token),
                token,
                owner: MOVER,
                component: COMPONENT,
                previous_end: PreviousEnd::Neutral,
                destroying: false,
            };
            let taken = held.store.take_over(step.clone()).await;
            let Ok(TakenOver::Owned { head, .. }) = taken else { return false };
            held.steps.push(Done::of_takeover(step, now));
            let base = head.txid;
            let seal = SealStep {
                fence: head.fence,
                base,
                snapshot: None,
                component: COMPONENT,
                heir: None,
            };
            drop(held.store.seal(seal.clone()).await);
            held.steps.push(Done::of_seal(seal, now));
        }
        held.seal = Seal::Moving(token);
        true
    }

    /// Ends the hold of another mover.
    pub(crate) async fn end_hold(&self, db: DbId, version: u64) -> Hold {
        let mut kept = self.kept.lock().await;
        if !kept.is(db.shard(), ShardState::Leaving, version) {
            return Hold::Gone;
        }
        match kept.dbs.get_mut(&db) {
            Some(held) if held.is_here() => {
                held.seal = Seal::Valid;
                Hold::Ended
            }
            Some(_) => Hold::Moved,
            None => Hold::Gone,
        }
    }

    /// The moment of a move: the database is given away, if it is what was copied.
    pub(crate) async fn give(&self, db: DbId, version: u64, token: Token, copied: usize) -> bool {
        let mut kept = self.kept.lock().await;
        if !kept.is(db.shard(), ShardState::Leaving, version) {
            return false;
        }
        let Some(held) = kept.dbs.get_mut(&db).filter(|held| held.is_here()) else { return false };
        let is_same = held.seal == Seal::Moving(token) && held.steps.len() == copied;
        if !is_same && !self.is_off(ShardRule::Compared) {
            return false;
        }
        (held.seal, held.taken) = (Seal::Moved(version), copied);
        true
    }

    /// What is left of a database that was given away goes; its head stays, and leads.
    pub(crate) async fn dispose(&self, db: DbId) {
        let mut kept = self.kept.lock().await;
        if let Some(held) = kept.dbs.get_mut(&db)
            && matches!(held.seal, Seal::Moved(_))
        {
            held.steps.clear();
            held.store = Arc::clone(&self.empty);
        }
    }

    /// The source gives the shard away, if nothing stays. False: something does.
    pub(crate) async fn give_shard(&self, shard: Shard, version: u64) -> bool {
        let mut kept = self.kept.lock().await;
        if !kept.is(shard, ShardState::Leaving, version) {
            return true;
        }
        if !kept.staying(shard).await.is_empty() && !self.is_off(ShardRule::Empty) {
            return false;
        }
        kept.rows[usize::from(shard.0)].state = ShardState::Gone;
        true
    }

    /// Forgets what has moved by this move and before.
    pub(crate) async fn clear(&self, shard: Shard, version: u64) {
        let mut kept = self.kept.lock().await;
        if kept.is(shard, ShardState::Gone, version) {
            kept.dbs.retain(|db, held| db.shard() != shard || !matches!(held.seal, Seal::Moved(_)));
        }
    }
}

impl Kept {
    async fn staying(&self, shard: Shard) -> Vec<DbId> {
        let mut staying = Vec::new();
        for (db, held) in &self.dbs {
            if db.shard() == shard && held.is_here() && held.has_head(*db).await {
                staying.push(*db);
            }
        }
        staying
    }
}

/// The steps of a mover at the target.
impl Primary {
    /// The shard is coming, by this move. False: an older word of this primary, or of another move.
    pub(crate) async fn come(&self, shard: Shard, version: u64) -> bool {
        let mut kept = self.kept.lock().await;
        let row = kept.rows[usize::from(shard.0)];
        if row.version == version {
            return row.state == ShardState::Coming;
        }
        let has_none = !kept.dbs.iter().any(|(db, held)| db.shard() == shard && !held.is_here());
        let may_come = row.state == ShardState::Gone && row.version < version && has_none;
        if may_come {
            kept.rows[usize::from(shard.0)] = Row { state: ShardState::Coming, version };
        }
        may_come
    }

    /// Makes an empty copy, which is this mover's.
    pub(crate) async fn claim(
        &self,
        db: DbId,
        actor: ActorId,
        version: u64,
        token: Token,
    ) -> Claim {
        let mut kept = self.kept.lock().await;
        if !kept.is(db.shard(), ShardState::Coming, version) {
            return Claim::Over;
        }
        match kept.dbs.get_mut(&db) {
            None => {
                kept.dbs.insert(db, Held::new(actor, Seal::Arriving(token), &self.journal));
                Claim::Claimed
            }
            Some(held) if matches!(held.seal, Seal::Arriving(_)) => {
                held.seal = Seal::Arriving(token);
                if self.is_off(ShardRule::Held) {
                    held.steps.clear();
                    return Claim::Claimed;
                }
                Claim::Left
            }
            Some(_) => Claim::Valid,
        }
    }

    /// Empties a copy that was taken from another mover. False: it is another one's by now.
    pub(crate) async fn empty(&self, db: DbId, version: u64, token: Token) -> bool {
        let mut kept = self.kept.lock().await;
        if !kept.is(db.shard(), ShardState::Coming, version) {
            return false;
        }
        match kept.dbs.get_mut(&db) {
            Some(held) if held.seal == Seal::Arriving(token) => {
                held.steps.clear();
                true
            }
            _ => false,
        }
    }

    /// Adds steps to a copy. False: it is another mover's by now.
    pub(crate) async fn put(&self, db: DbId, version: u64, token: Token, part: Part) -> bool {
        let mut kept = self.kept.lock().await;
        if !kept.is(db.shard(), ShardState::Coming, version) {
            return false;
        }
        let Some(held) = kept.dbs.get_mut(&db) else { return false };
        match held.seal {
            Seal::Arriving(other) if other == token => {}
            Seal::Arriving(_) if self.is_off(ShardRule::Claimed) => {}
            _ => return false,
        }
        if held.steps.len() != part.from && !self.is_off(ShardRule::Claimed) {
            return false;
        }
        held.steps.extend(part.steps);
        true
    }

    /// Makes a copy valid whose database the source has given away, as of `given` steps. False: it is
    /// another copy.
    pub(crate) async fn arrive(&self, db: DbId, version: u64, given: usize) -> bool {
        let mut kept = self.kept.lock().await;
        let is_this = kept.is(db.shard(), ShardState::Coming, version);
        if !is_this && !self.is_off(ShardRule::Version) {
            return false;
        }
        let off = self.off;
        let Some(held) = kept.dbs.get_mut(&db) else { return false };
        if !matches!(held.seal, Seal::Arriving(_)) {
            return true;
        }
        let is_same = held.steps.len() == given;
        if !is_same && !matches!(off, Some(ShardRule::Compared | ShardRule::Claimed)) {
            return false;
        }
        held.seal = Seal::Valid;
        held.fill(off).await;
        true
    }

    /// Deletes a copy that does not become valid.
    pub(crate) async fn discard(&self, db: DbId, version: u64) {
        let mut kept = self.kept.lock().await;
        if kept.is(db.shard(), ShardState::Coming, version)
            && kept.dbs.get(&db).is_some_and(|held| matches!(held.seal, Seal::Arriving(_)))
        {
            kept.dbs.remove(&db);
        }
    }

    /// Copies that are not valid yet.
    pub(crate) async fn arriving(&self, shard: Shard) -> Vec<DbId> {
        let kept = self.kept.lock().await;
        let of_shard = kept
            .dbs
            .iter()
            .filter(|(db, held)| db.shard() == shard && matches!(held.seal, Seal::Arriving(_)));
        of_shard.map(|(db, _)| *db).collect()
    }

    /// The target has the shard, once no copy is left that is not valid.
    pub(crate) async fn welcome(&self, shard: Shard, version: u64) -> bool {
        let mut kept = self.kept.lock().await;
        if !kept.is(shard, ShardState::Coming, version) {
            return true;
        }
        let is_whole = !kept
            .dbs
            .iter()
            .any(|(db, held)| db.shard() == shard && matches!(held.seal, Seal::Arriving(_)));
        if is_whole {
            kept.rows[usize::from(shard.0)].state = ShardState::Here;
        }
        is_whole
    }
}
