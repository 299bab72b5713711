//! Who owns a database: create, takeover, confirm, seal, claim.
//!
//! ```text
//! takeover   head raised, restart counted ─► then, in snapshots of their own: state handed over,
//!            stages ─► first pages                 all sent together on one connection: one flight
//! ```
//! A head that is being moved to another primary is waited for, for a while.
//!
//! Invariant: what a takeover hands over is read by a statement that begins after the head was moved.
//! One statement for both would wait for a seal in flight and not see its snapshot.

use std::collections::HashMap;

use stockade_depot::chain::Start;
use stockade_depot::store::{
    ActorState, CreateStep, Created, PreviousEnd, SealStep, TakenOver, TakeoverStep, limits,
};
use stockade_depot::{
    ActorId, DbId, Fence, Generation, Head, Limit, NodeSession, OwnerRow, Shard, StoreError, Token,
    Txid,
};
use tokio::time::{Instant, sleep};
use tokio_postgres::types::ToSql;

use crate::connection::{Connection, Params, params};
use crate::echo::{Asked, Wrote, look_on, prove_on, write_or_look_on};
use crate::exchange::{answer, unless_warned};
use crate::failure::{self, Failure, Sent, Stop};
use crate::limits::{ALONG_PAGES, CONFIRM_FENCES_MAX, MOVE_PAUSE, MOVE_WINDOW, WRITE_DEADLINE};
use crate::link::{Transaction, in_transaction, on_one};
use crate::pages::first_pages;
use crate::place::{self, Led, Place};
use crate::primary::Primary;
use crate::refusal::refusal;
use crate::retention;
use crate::rows::{self, ACTOR_COLUMNS, HEAD_COLUMNS, Row, Sealed, away};
use crate::sql::ownership::{self as sql, HEAD};
use crate::sql::pages::READ_FIRST;
use crate::sql::shards::ACTOR_PLACE;

/// No process.
const NOBODY: &[u8] = &NodeSession::NOBODY.0;

/// The answers of a takeover's statements.
struct Flight {
    /// Head and restarts, if it was not refused.
    taken: Option<Row>,
    /// The head as it is then, and what goes with it.
    after: Option<Row>,
    /// The first pages, for the owner that it made.
    first: Vec<Row>,
}

impl Primary {
    /// `led`: the move that has led here.
    pub(crate) async fn create_actor(
        &self,
        step: &CreateStep,
        led: Led,
    ) -> Result<Created, StoreError> {
        if step.actor.shard(self.shards) != step.db.shard() {
            let what = format!("database id {} is not of the shard of {}", step.db, step.actor);
            return Err(StoreError::Corrupt(what));
        }
        let (start, name) = (Start::Name, step.actor.name_hash());
        let chain = start.chain(name, step.db);
        let (shard, now) = (i64::from(step.db.shard().0), rows::to_sql(self.clock.now_ms())?);
        let led_by = led.to_sql()?;
        let (origin, format) = (rows::origin_to_sql(step.origin), rows::start_to_sql(start));
        let row = params![
            step.actor.kind(),
            step.actor.key(),
            &step.db.0[..],
            shard,
            &step.component.0[..],
            &step.token.0[..],
            &step.owner.0[..],
            &chain[..],
            origin,
            format,
            now,
            &name.0[..],
            led_by,
        ];
        let name = params![step.actor.kind(), step.actor.key(), shard];
        let made = on_one!(self.link, connection => create_on(connection, step.db, row, name))?;
        match made {
            Wrote::Row(row) => rows::head(&row, 0).map(Created::Made),
            Wrote::Nothing(row) => match found(row, step.db.shard(), led)? {
                Some(state) => Ok(Created::Exists(state)),
                // Its owner has destroyed it since, or the shard came.
                None => {
                    let what = format!("{} came and went meanwhile", step.actor);
                    Err(StoreError::Unavailable(what))
                }
            },
        }
    }

    /// An actor that is there is reported as it was read: what is done about it has conditions of
    /// its own. That there is none counts, if its shard is here.
    pub(crate) async fn find_actor(
        &self,
        of: &ActorId,
        led: Led,
    ) -> Result<Option<ActorState>, StoreError> {
        if let Some(row) = self.link.read_row(sql::ACTOR, params![of.kind(), of.key()]).await? {
            return rows::actor(&row).map(Some);
        }
        let shard = of.shard(self.shards);
        let asked = params![of.kind(), of.key(), i64::from(shard.0)];
        found(self.link.look_row(ACTOR_PLACE, asked).await?, shard, led)
    }

    pub(crate) async fn take_actor_over(
        &self,
        step: &TakeoverStep,
    ) -> Result<TakenOver, StoreError> {
        let mut flight = self.try_take_over(step).await?;
        if is_moving(&flight, step)? {
            self.wait_for_move(step.db, step.replaces).await?;
            flight = self.try_take_over(step).await?;
        }
        let taken = landed(step, &flight)?;
        if let TakenOver::Owned { head, .. } = &taken {
            // Damage among them is left to the read that needs the page.
            if let Ok(Some(pages)) = first_pages(&flight.first, step.db)
                && !pages.is_empty()
            {
                self.along.keep(head.fence, head.txid, pages);
            }
        }
        Ok(taken)
    }

    async fn try_take_over(&self, step: &TakeoverStep) -> Result<Flight, StoreError> {
        if step.destroying {
            in_transaction!(self.link, tx => self.condemn(&tx, step))
        } else {
            on_one!(self.link, connection => take_over_on(connection, step))
        }
    }

    /// Waits until a head that is being moved is not any more, and takes it from its mover if that
    /// lasts too long. Nothing rests on the wait: the mover's last step has the same condition.
    pub(crate) async fn wait_for_move(
        &self,
        db: DbId,
        (generation, token): (Generation, Token),
    ) -> Result<(), StoreError> {
        let until = Instant::now() + MOVE_WINDOW;
        while Instant::now() < until {
            sleep(MOVE_PAUSE).await;
            let Some(row) = self.link.read_row(HEAD, params![&db.0[..]]).await? else {
                return Ok(());
            };
            if rows::sealed(&row)? != Sealed::Moving {
                return Ok(());
            }
            let fence = rows::head(&row, 0)?.fence;
            if (fence.generation, fence.token) != (generation, token) {
                return Ok(());
            }
        }
        let fence = params![&db.0[..], rows::to_sql(generation.0)?, &token.0[..]];
        self.link.change(sql::MOVE_GIVEN_UP, fence).await.map(drop)
    }

    /// A takeover that marks the actor: forks are looked for behind a lock of the head.
    async fn condemn(&self, tx: &Transaction, step: &TakeoverStep) -> Result<Flight, Stop> {
        let db = &step.db.0[..];
        tx.row(sql::HEAD_LOCK, params![db]).await?.ok_or_else(|| away(step.db))?;
        let columns = Takeover::of(step)?;
        let taken = tx.row(sql::TAKE_OVER, &columns.params()).await?;
        if taken.is_some() {
            retention::check_forks(tx, step.db).await?;
            let name = params![step.actor.kind(), step.actor.key(), db];
            tx.change(sql::ACTOR_CONDEMN, name).await?;
        }
        let after = params![db, step.actor.kind(), step.actor.key()];
        Ok(Flight { taken, after: tx.row(sql::TAKEN_OVER, after).await?, first: Vec::new() })
    }

    pub(crate) async fn confirm_fences(&self, fences: &[Fence]) -> Vec<Result<(), StoreError>> {
        let mut answers = Vec::with_capacity(fences.len());
        for part in fences.chunks(CONFIRM_FENCES_MAX) {
            // One server speaks for all of its shards, or for none.
            match self.confirm_some(part).await {
                Ok(some) => answers.extend(some),
                Err(error) => answers.extend(vec![Err(error); part.len()]),
            }
        }
        answers
    }

    async fn confirm_some(
        &self,
        fences: &[Fence],
    ) -> Result<Vec<Result<(), StoreError>>, StoreError> {
        let dbs: Vec<&[u8]> = fences.iter().map(|fence| &fence.db.0[..]).collect();
        let mut owners: HashMap<DbId, Result<OwnerRow, StoreError>> = HashMap::new();
        for row in self.link.look(sql::FENCES, params![dbs]).await? {
            owners.insert(rows::owner_db(&row)?, rows::owner(&row));
        }
        let told = |fence: &Fence| -> Result<(), StoreError> {
            let owner = owners.get(&fence.db).cloned().unwrap_or_else(|| Err(away(fence.db)))?;
            Ok(owner.check(fence, Txid(0)).at_or_after()?)
        };
        Ok(fences.iter().map(told).collect())
    }

    pub(crate) async fn seal_head(&self, step: &SealStep) -> Result<Head, StoreError> {
        let bytes = limits::len(step.snapshot.as_ref().map_or(0, Vec::len));
        limits::check(Limit::SnapshotBytes, bytes, limits::SNAPSHOT_BYTES_MAX)?;
        let db = &step.fence.db.0[..];
        let token = &step.fence.token.0[..];
        let generation = rows::to_sql(step.fence.generation.0)?;
        let txid = rows::to_sql(step.base.0)?;
        let fence = params![db, generation, token, txid];
        let head: Asked<'_> = (HEAD, params![db]);
        let sealed = match (&step.snapshot, step.heir) {
            (Some(state), _) => {
                let row = params![db, generation, token, txid, &step.component.0[..], &state[..]];
                self.link.write_or_look((sql::SEAL_WITH, row), head).await?
            }
            (None, None) => self.link.write_or_look((sql::SEAL, fence), head).await?,
            (None, Some(heir)) => {
                let with_heir = params![db, generation, token, txid, &heir.0[..], NOBODY];
                on_one!(self.link, connection => {
                    seal_for_heir_on(connection, fence, with_heir, head)
                })?
            }
        };
        match sealed {
            Wrote::Row(row) => rows::head(&row, 0),
            Wrote::Nothing(row) => Err(refusal(row, &step.fence, step.base, "seal")),
        }
    }

    pub(crate) async fn claim_heirs(
        &self,
        owner: NodeSession,
        heirs: &[Fence],
    ) -> Result<(), StoreError> {
        let mut result = Ok(());
        for some in heirs.chunks(limits::CLAIM_HEIRS_MAX) {
            let (mut dbs, mut generations, mut tokens) = (Vec::new(), Vec::new(), Vec::new());
            for heir in some {
                dbs.push(&heir.db.0[..]);
                generations.push(rows::to_sql(heir.generation.0)?);
                tokens.push(&heir.token.0[..]);
            }
            let row = params![&owner.0[..], NOBODY, dbs, generations, tokens];
            result = result.and(self.link.change(sql::CLAIM, row).await.map(drop));
        }
        result
    }
}

/// The parameters of a takeover.
struct Takeover<'a> {
    numbers: [i64; 2],
    blobs: [&'a [u8]; 5],
    names: [&'a str; 2],
    /// Hash of the name.
    name: Vec<u8>,
}

impl<'a> Takeover<'a> {
    fn of(step: &'a TakeoverStep) -> Result<Self, StoreError> {
        let counter = match step.previous_end {
            PreviousEnd::Orderly => 0,
            PreviousEnd::Crashed => 1,
            PreviousEnd::Neutral => 2,
            PreviousEnd::FirstCrash => 3,
        };
        let (generation, token) = &step.replaces;
        Ok(Self {
            numbers: [rows::to_sql(generation.0)?, counter],
            blobs: [
                &step.db.0[..],
                &token.0[..],
                &step.token.0[..],
                &step.owner.0[..],
                &step.component.0[..],
            ],
            names: [step.actor.kind(), step.actor.key()],
            name: step.actor.name_hash().0.to_vec(),
        })
    }

    /// In the order of the statement.
    fn params(&self) -> [&(dyn ToSql + Sync); 10] {
        let [generation, counter] = &self.numbers;
        let [db, replaced, token, owner, component] = &self.blobs;
        let [kind, key] = &self.names;
        [db, generation, replaced, token, owner, &self.name, kind, key, component, counter]
    }
}

/// Makes an actor, or looks at the one that is there.
async fn create_on(
    connection: &Connection,
    db: DbId,
    row: Params<'_>,
    name: Params<'_>,
) -> Result<Wrote, Stop> {
    let made = write_or_look_on(connection, (sql::CREATE, row), (ACTOR_PLACE, name)).await;
    made.map_err(|stop| match stop {
        Stop::Failed(Failure::Taken(_), _) => {
            Stop::Told(StoreError::Corrupt(format!("database id {db} is in use")))
        }
        other => other,
    })
}

/// The statements of a takeover, sent in their order before the first is answered.
async fn take_over_on(connection: &Connection, step: &TakeoverStep) -> Result<Flight, Stop> {
    let columns = Takeover::of(step)?;
    let columns = columns.params();
    let name = params![&step.db.0[..], step.actor.kind(), step.actor.key()];
    let prepare = connection.prepared(sql::TAKE_OVER);
    let first = answer(WRITE_DEADLINE, Sent::Harmless, prepare).await?;
    let prepare = connection.prepared(sql::TAKEN_OVER);
    let second = answer(WRITE_DEADLINE, Sent::Harmless, prepare).await?;
    let prepare = connection.prepared(READ_FIRST);
    let third = answer(WRITE_DEADLINE, Sent::Harmless, prepare).await?;
    // Refused like any read, if the first was.
    let generation = rows::to_sql(step.replaces.0.next().0)?;
    let pages: Vec<i64> = (1..=ALONG_PAGES).collect();
    let read = params![&step.db.0[..], generation, &step.token.0[..], pages];
    let before = connection.warnings();
    let flight = async {
        let (taken, after, pages) = tokio::join!(
            biased;
            connection.send(&first, &columns),
            connection.send(&second, name),
            connection.send(&third, read)
        );
        // Whether the first was applied is known if it alone was answered, but not what goes with it.
        Ok((taken?, after, pages.unwrap_or_default()))
    };
    let (taken, after, first) = answer(WRITE_DEADLINE, Sent::Write, flight).await?;
    let after =
        after.map_err(|error| Stop::Failed(Failure::Lost(failure::text(&error)), Sent::Write))?;
    unless_warned(connection, before, Sent::Write, ())?;
    if taken.is_empty() {
        prove_on(connection).await?;
    }
    Ok(Flight { taken: taken.into_iter().next(), after: after.into_iter().next(), first })
}

/// Whether the head that is to be replaced is being moved.
fn is_moving(flight: &Flight, step: &TakeoverStep) -> Result<bool, StoreError> {
    let Some(row) = flight.after.as_ref().filter(|_| flight.taken.is_none()) else {
        return Ok(false);
    };
    if rows::sealed(row)? != Sealed::Moving {
        return Ok(false);
    }
    let fence = rows::head(row, 0)?.fence;
    Ok((fence.generation, fence.token) == step.replaces)
}

/// What a row of [`ACTOR_PLACE`] says of an actor, or that its shard is not here.
fn found(row: Option<Row>, shard: Shard, led: Led) -> Result<Option<ActorState>, StoreError> {
    let row = row.ok_or_else(|| place::no_row(shard))?;
    if !rows::is_null(&row, 0)? {
        return rows::actor(&row).map(Some);
    }
    let place = Place::of(&row, ACTOR_COLUMNS + HEAD_COLUMNS + 1)?;
    if place.is_here(led) { Ok(None) } else { Err(StoreError::Elsewhere { shard, primary: None }) }
}

/// What the answers of a takeover mean.
fn landed(step: &TakeoverStep, flight: &Flight) -> Result<TakenOver, StoreError> {
    let after = flight.after.as_ref();
    let now = after.map(|row| rows::head(row, 0)).transpose()?;
    let Some(taken) = &flight.taken else {
        let (Some(head), Some(row)) = (now, after) else {
            return Err(away(step.db));
        };
        if (head.fence.generation, head.fence.token) != step.replaces {
            return Ok(TakenOver::Moved(head));
        }
        // The actor has another database by now, or is gone: this one is not to be run.
        if rows::number(row, HEAD_COLUMNS + 5)? == 0 {
            return Err(StoreError::DatabaseMissing(step.db));
        }
        head.check_name(&step.actor)?;
        return Err(StoreError::Unavailable(format!("{} changed meanwhile", step.db)));
    };
    let head = rows::head(taken, 0)?;
    let restarts = rows::restarts(taken, HEAD_COLUMNS)?;
    // Another process may have taken it over since: then nothing else is this owner's.
    let (mut snapshot, mut leftovers) = (None, false);
    if let Some(row) = after.filter(|_| now.is_some_and(|now| now.fence == head.fence)) {
        snapshot = rows::snapshot(row, HEAD_COLUMNS)?;
        leftovers = rows::number(row, HEAD_COLUMNS + 4)? > 0;
    }
    Ok(TakenOver::Owned { head, restarts, snapshot, leftovers })
}

/// A transaction whose statements are all sent before the first is answered: the head is held, so
/// that a stage that came while it was waited for is seen.
async fn seal_for_heir_on(
    connection: &Connection,
    fence: Params<'_>,
    with_heir: Params<'_>,
    head: Asked<'_>,
) -> Result<Wrote, Stop> {
    let mut prepared = Vec::new();
    for text in [sql::HOLD_AT, sql::SEAL_FOR_HEIR, sql::SEAL] {
        let prepare = connection.prepared(text);
        prepared.push(answer(WRITE_DEADLINE, Sent::Harmless, prepare).await?);
    }
    let [hold, seal_for_heir, seal] = &prepared[..] else {
        return Err(Stop::Told(StoreError::Closed));
    };
    let before = connection.warnings();
    let flight = async {
        let (begun, held, with, without, ended) = tokio::join!(
            biased;
            connection.simple("BEGIN"),
            connection.send(hold, fence),
            connection.send(seal_for_heir, with_heir),
            // Refused by the fence if there is an heir.
            connection.send(seal, fence),
            connection.simple("COMMIT")
        );
        begun?;
        held?;
        let (with, without) = (with?, without?);
        ended?;
        Ok(with.into_iter().chain(without).next())
    };
    let sealed = answer(WRITE_DEADLINE, Sent::Write, flight).await?;
    match unless_warned(connection, before, Sent::Write, sealed)? {
        Some(row) => Ok(Wrote::Row(row)),
        None => Ok(Wrote::Nothing(look_on(connection, head).await?.into_iter().next())),
    }
}
