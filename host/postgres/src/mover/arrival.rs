//! The target's side: a mover's claim, the head of the copy, and the moment from which it is valid.
//!
//! Invariant: an arriving head whose database the source has given away is complete, and nothing
//! deletes or changes it but what makes it valid.

use stockade_depot::{DbId, StoreError};

use super::disposal::{Discard, listed};
use super::stored::{StoredActor, StoredHead, StoredPins, StoredSnapshot, Tally};
use super::{MoveError, Mover, ids};
use crate::connection::params;
use crate::failure::Stop;
use crate::link::{Transaction, in_transaction};
use crate::rows::Sealed;
use crate::sql::moving as sql;

/// What a claim has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// Nothing: there is an empty copy now.
    Empty,
    /// This mover's copy.
    Ours,
    /// A copy of another mover, or of an earlier run, which was taken from it. Its writes are refused
    /// from now on, but its last step may be on its way to the source.
    Left,
    /// The same, which was left to it.
    Others,
    /// A valid database.
    Valid,
    /// Another mover has finished this move.
    Over,
}

/// From whom a mover takes a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From<'a> {
    /// From itself, if it had one with this token.
    Itself(Option<&'a [u8]>),
    /// From any mover.
    Any,
}

/// What a copy is completed with, besides commits and pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rest {
    pub(super) actor: Option<StoredActor>,
    pub(super) pins: StoredPins,
    pub(super) snapshot: Option<StoredSnapshot>,
    pub(super) tally: Tally,
}

/// What became of completing a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Completed {
    /// It has everything.
    Whole,
    /// It has not what the source has.
    Differs(String),
    /// The name belongs to another copy, of a database that the source no longer has.
    NameTaken,
    /// Another mover has claimed it.
    ClaimLost,
}

impl Mover<'_> {
    /// Claims the copy of a database whose head at the source is `head`.
    pub(super) async fn claim(
        &self,
        db: DbId,
        head: &StoredHead,
        token: &[u8],
        from: From<'_>,
    ) -> Result<Claim, MoveError> {
        let claimed = async {
            in_transaction!(self.target.link, tx => self.claim_in(&tx, db, head, token, from))
        };
        claimed.await.map_err(|error| self.target.failed(error))
    }

    async fn claim_in(
        &self,
        tx: &Transaction,
        db: DbId,
        head: &StoredHead,
        token: &[u8],
        from: From<'_>,
    ) -> Result<Claim, Stop> {
        let id = &db.0[..];
        if !self.is_coming(tx).await? {
            return Ok(Claim::Over);
        }
        let there = tx.row(sql::STORED_HEAD_LOCK, params![id]).await?;
        let Some(there) = there.map(|row| StoredHead::of(&row)).transpose()? else {
            // No head that is given away has generation 0: only a complete copy can become valid.
            let none = 0_i64;
            let row = params![
                id,
                none,
                token,
                head.owner,
                head.txid,
                head.page_count,
                head.chain,
                head.origin,
                head.floor,
                head.format,
                head.base_db,
                head.base_txid,
                head.time_ms,
                head.name,
            ];
            if tx.change(sql::CLAIM_COPY, row).await? == 0 {
                return Err(StoreError::Unavailable(format!("{db} was claimed by another")).into());
            }
            return Ok(Claim::Empty);
        };
        if there.sealed != Sealed::Arriving {
            return Ok(Claim::Valid);
        }
        if there.token == token {
            return Ok(Claim::Ours);
        }
        if let From::Itself(earlier) = from
            && earlier != Some(&there.token[..])
        {
            return Ok(Claim::Others);
        }
        tx.change(sql::CLAIM_LEFT, params![id, there.generation, there.token, token]).await?;
        Ok(Claim::Left)
    }

    /// Writes the head that the copy will have, what goes with it, and compares.
    pub(super) async fn complete(
        &self,
        db: DbId,
        taken: &StoredHead,
        rest: &Rest,
    ) -> Result<Completed, MoveError> {
        let completed = async {
            in_transaction!(self.target.link, tx => self.complete_in(&tx, db, taken, rest))
        };
        completed.await.map_err(|error| self.target.failed(error))
    }

    async fn complete_in(
        &self,
        tx: &Transaction,
        db: DbId,
        taken: &StoredHead,
        rest: &Rest,
    ) -> Result<Completed, Stop> {
        let id = &db.0[..];
        if !self.is_coming(tx).await? {
            return Ok(Completed::ClaimLost);
        }
        tx.row(sql::STORED_HEAD_LOCK, params![id]).await?;
        let head = params![
            id,
            taken.token,
            taken.generation,
            taken.owner,
            taken.txid,
            taken.page_count,
            taken.chain,
            taken.origin,
            taken.floor,
            taken.time_ms,
            taken.format,
        ];
        if tx.change(sql::COPY_HEAD, head).await? == 0 {
            return Ok(Completed::ClaimLost);
        }
        let row = tx.row(sql::TALLY, &taken.tally_of(id).params()).await?;
        let copied = row.map(|row| Tally::of(&row)).transpose()?;
        let copied = copied.ok_or_else(|| StoreError::Corrupt(format!("{db} is not counted")))?;
        if let Some(what) = rest.tally.difference(&copied) {
            return Ok(Completed::Differs(what));
        }
        tx.change(sql::PINS_CLEAR, params![id]).await?;
        let (txids, names): (Vec<i64>, Vec<&str>) =
            rest.pins.iter().map(|(txid, name)| (*txid, name.as_str())).unzip();
        tx.change(sql::PINS_PUT, params![id, txids, names]).await?;
        tx.change(sql::SNAPSHOT_CLEAR, params![id]).await?;
        if let Some(snapshot) = &rest.snapshot {
            let StoredSnapshot { generation, txid, component, state } = snapshot;
            let row = params![id, *generation, *txid, component, state];
            tx.change(sql::SNAPSHOT_PUT, row).await?;
        }
        tx.change(sql::ACTOR_CLEAR, params![id]).await?;
        let Some(actor) = &rest.actor else { return Ok(Completed::Whole) };
        let row = params![
            actor.kind,
            actor.key,
            id,
            actor.shard,
            actor.component,
            actor.wanted,
            actor.restarts,
            actor.next_due,
        ];
        let is_named = tx.change(sql::ACTOR_PUT, row).await? == 1;
        Ok(if is_named { Completed::Whole } else { Completed::NameTaken })
    }

    /// Makes a copy valid whose database the source has given away with the head `moved`, in a look
    /// that counts. A copy of another generation is a late mover's, of a database that has arrived
    /// before and may be destroyed by now: it goes.
    pub(super) async fn arrive(&self, db: DbId, moved: &StoredHead) -> Result<(), MoveError> {
        let arrived =
            async { in_transaction!(self.target.link, tx => self.arrive_in(&tx, db, moved)) };
        if arrived.await.map_err(|error| self.target.failed(error))? {
            return Ok(());
        }
        self.discard(db, None, Discard::All).await
    }

    /// False: the copy is of another generation.
    async fn arrive_in(
        &self,
        tx: &Transaction,
        db: DbId,
        moved: &StoredHead,
    ) -> Result<bool, Stop> {
        let id = &db.0[..];
        if !self.is_coming(tx).await? {
            return Ok(true);
        }
        let there = tx.row(sql::STORED_HEAD_LOCK, params![id]).await?;
        if let Some(there) = there.map(|row| StoredHead::of(&row)).transpose()?
            && there.sealed == Sealed::Arriving
        {
            if (there.generation, there.txid) != (moved.generation, moved.txid) {
                return Ok(false);
            }
            tx.change(sql::ARRIVED, params![id, there.generation, there.token]).await?;
        }
        Ok(true)
    }

    /// Every copy that is not valid yet becomes so, or goes if the source has no such database.
    pub(super) async fn settle_arriving(&self) -> Result<(), MoveError> {
        let (mut after, last) = ids(self.shard);
        loop {
            let dbs = listed(&self.target, sql::ARRIVING, &after, &last).await?;
            let Some(next) = dbs.last() else { return Ok(()) };
            after = next.0.to_vec();
            for db in dbs {
                match self.head_at_source(db).await? {
                    Some(head) if head.sealed == Sealed::Moved => self.arrive(db, &head).await?,
                    // Its id is never used again.
                    None => self.discard(db, None, Discard::All).await?,
                    // It is still to be moved.
                    Some(_) => {}
                }
            }
        }
    }
}
