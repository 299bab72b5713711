//! The source's side: a head is taken, let go, or given away.

use std::time::Duration;

use stockade_depot::{DbId, StoreError};

use super::arrival::Rest;
use super::stored::{StoredActor, StoredHead, StoredSnapshot, Tally, pins};
use super::{MoveError, Mover};
use crate::connection::params;
use crate::failure::Stop;
use crate::limits;
use crate::link::{Transaction, in_transaction};
use crate::rows::Sealed;
use crate::sql::moving as sql;

/// What became of giving a database away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Given {
    /// It has moved.
    Away,
    /// It is not what was copied: it stays.
    Stays,
}

/// The parameters of `TALLY`.
pub(super) struct TallyOf<'a> {
    db: &'a [u8],
    numbers: [i64; 3],
}

impl TallyOf<'_> {
    pub(super) fn params(&self) -> super::stored::Columns<'_> {
        let [floor, pages, txid] = &self.numbers;
        vec![&self.db, floor, pages, txid]
    }
}

impl StoredHead {
    /// What is counted of a database with this head.
    pub(super) fn tally_of<'a>(&self, db: &'a [u8]) -> TallyOf<'a> {
        // Without the row nothing was trimmed by it.
        let pages = self.floor_pages.unwrap_or(i64::MAX);
        TallyOf { db, numbers: [self.floor, pages, self.txid] }
    }
}

impl Mover<'_> {
    /// The head at the source, in a look that counts.
    pub(super) async fn head_at_source(&self, db: DbId) -> Result<Option<StoredHead>, MoveError> {
        let row = self.source.look_row(sql::STORED_HEAD, params![&db.0[..]]).await?;
        row.map(|row| StoredHead::of(&row)).transpose().map_err(|error| self.source.failed(error))
    }

    /// Waits for another mover's hold to end, as a takeover does.
    async fn until_free(&self, db: DbId) -> Result<Option<StoredHead>, MoveError> {
        let mut waited = Duration::ZERO;
        let first = self.head_at_source(db).await?;
        let mut now = first.clone();
        while now.as_ref().is_some_and(|head| head.sealed == Sealed::Moving)
            && now == first
            && waited < limits::MOVE_WINDOW
        {
            tokio::time::sleep(limits::MOVE_PAUSE).await;
            waited += limits::MOVE_PAUSE;
            now = self.head_at_source(db).await?;
        }
        Ok(now)
    }

    /// Waits for another mover, which has claimed the copy, to end its move of the database; no longer
    /// than `most`.
    pub(super) async fn wait_for_other(&self, db: DbId, most: Duration) -> Result<(), MoveError> {
        let mut waited = Duration::ZERO;
        while waited < most
            && self.head_at_source(db).await?.is_some_and(|head| head.sealed < Sealed::Moved)
        {
            tokio::time::sleep(limits::MOVE_OTHER_PAUSE).await;
            waited += limits::MOVE_OTHER_PAUSE;
        }
        Ok(())
    }

    /// Ends the hold that another mover may have. After this, with the mover's claim lost, what that one
    /// has under way can no longer give the database away. Returns the head then.
    pub(super) async fn end_other_hold(&self, db: DbId) -> Result<Option<StoredHead>, MoveError> {
        let Some(head) = self.until_free(db).await? else { return Ok(None) };
        if head.sealed == Sealed::Moving {
            self.let_go(db, &head).await?;
            return self.head_at_source(db).await;
        }
        Ok(Some(head))
    }

    /// Gives a taken head back.
    pub(super) async fn let_go(&self, db: DbId, taken: &StoredHead) -> Result<(), MoveError> {
        let fence = params![&db.0[..], taken.generation, taken.token];
        self.source.change(sql::LET_GO, fence).await.map(drop)
    }

    /// Takes a database from its owner. `None`: it has moved, is gone, or the move is over.
    pub(super) async fn take(
        &self,
        db: DbId,
        token: &[u8],
    ) -> Result<Option<StoredHead>, MoveError> {
        if self.until_free(db).await?.is_none() {
            return Ok(None);
        }
        let taken = async { in_transaction!(self.source.link, tx => self.take_in(&tx, db, token)) };
        taken.await.map_err(|error| self.source.failed(error))
    }

    async fn take_in(
        &self,
        tx: &Transaction,
        db: DbId,
        token: &[u8],
    ) -> Result<Option<StoredHead>, Stop> {
        let id = &db.0[..];
        if !self.is_leaving(tx).await? {
            return Ok(None);
        }
        let head = tx.row(sql::STORED_HEAD_LOCK, params![id]).await?;
        let Some(head) = head.map(|row| StoredHead::of(&row)).transpose()? else { return Ok(None) };
        if head.sealed >= Sealed::Moved {
            return Ok(None);
        }
        let fence = params![id, head.generation, head.token, token];
        if tx.change(sql::TAKE, fence).await? == 0 {
            let what = format!("database {db} has format {}, of a later program", head.format);
            return Err(StoreError::Corrupt(what).into());
        }
        if head.sealed != Sealed::Held {
            tx.change(sql::SNAPSHOT_RAISE, params![id, head.generation]).await?;
        }
        let row = tx.row(sql::STORED_HEAD_LOCK, params![id]).await?;
        Ok(row.map(|row| StoredHead::of(&row)).transpose()?)
    }

    /// What goes along with a taken database, besides commits and pages.
    pub(super) async fn rest_of(&self, db: DbId, taken: &StoredHead) -> Result<Rest, MoveError> {
        let id = &db.0[..];
        let most = i64::from(limits::MOVE_PINS_MAX) + 1;
        let source = &self.source;
        let tally_of = taken.tally_of(id);
        let columns = tally_of.params();
        let (asked, most) = (params![id], params![id, most]);
        let (actor, found, snapshot, tally) = tokio::try_join!(
            source.look_row(sql::ACTOR_OF, asked),
            source.look(sql::PINS_OF, most),
            source.look_row(sql::SNAPSHOT_OF, asked),
            source.look_row(sql::TALLY, &columns),
        )?;
        if found.len() > usize::try_from(limits::MOVE_PINS_MAX).unwrap_or(usize::MAX) {
            return Err(MoveError::Pins { db, max: limits::MOVE_PINS_MAX });
        }
        let read = || -> Result<Rest, StoreError> {
            let tally = tally.as_ref().ok_or_else(|| StoreError::Corrupt("no count".into()))?;
            Ok(Rest {
                actor: actor.as_ref().map(StoredActor::of).transpose()?,
                pins: pins(&found)?,
                snapshot: snapshot.as_ref().map(StoredSnapshot::of).transpose()?,
                tally: Tally::of(tally)?,
            })
        };
        read().map_err(|error| source.failed(error))
    }

    /// The moment of the move: the source gives the database away, if it is what was copied.
    pub(super) async fn give(
        &self,
        db: DbId,
        taken: &StoredHead,
        rest: &Rest,
    ) -> Result<Given, MoveError> {
        let given =
            async { in_transaction!(self.source.link, tx => self.give_in(&tx, db, taken, rest)) };
        given.await.map_err(|error| self.source.failed(error))
    }

    async fn give_in(
        &self,
        tx: &Transaction,
        db: DbId,
        taken: &StoredHead,
        rest: &Rest,
    ) -> Result<Given, Stop> {
        let id = &db.0[..];
        if !self.is_leaving(tx).await?
            || tx.row(sql::STORED_HEAD_LOCK, params![id]).await?.is_none()
        {
            return Ok(Given::Stays);
        }
        let most = i64::from(limits::MOVE_PINS_MAX) + 1;
        let now = pins(&tx.rows(sql::PINS_OF, params![id, most]).await?)?;
        let actor = tx.row(sql::ACTOR_OF, params![id]).await?;
        let actor = actor.map(|row| StoredActor::of(&row)).transpose()?;
        if now != rest.pins || actor != rest.actor {
            return Ok(Given::Stays);
        }
        let copied =
            params![id, taken.generation, taken.token, taken.txid, taken.chain, taken.floor];
        let is_given = tx.change(sql::MOVED, copied).await? == 1;
        Ok(if is_given { Given::Away } else { Given::Stays })
    }
}
