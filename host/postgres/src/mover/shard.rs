//! The rows of a shard: a move begins and ends with them.
//!
//! ```text
//! source  0 here ──(first)──► 1 leaving ──(first, nothing stays)──► 2 gone
//! target  2 gone ──(then)───► 3 coming  ──(then, nothing arrives)─► 0 here
//! ```
//! The source speaks first in both: a crash between the two leaves a row that names the target, and the
//! same command continues; a command with another target is refused by it.

use std::sync::Mutex;

use stockade_depot::{Shard, StoreError};

use super::{MoveError, MoveStep, Moved, Mover, Progress, Side, disposal, ids};
use crate::connection::params;
use crate::failure::Stop;
use crate::limits;
use crate::link::{Transaction, in_transaction};
use crate::place::Place;
use crate::place::ShardState::{Coming, Gone, Here, Leaving};
use crate::rows;
use crate::sql::moving as sql;

/// What a transaction reads of a shard's row, which stays so until it ends.
pub(super) async fn said(
    tx: &Transaction,
    sql: &'static str,
    shard: Shard,
) -> Result<Option<Place>, Stop> {
    let row = tx.row(sql, params![i64::from(shard.0)]).await?;
    Ok(row.map(|row| Place::of(&row, 0)).transpose()?)
}

async fn asked(primary: &Side<'_>, shard: Shard) -> Result<Option<Place>, MoveError> {
    let row = primary.look_row(sql::SHARD_ROW, params![i64::from(shard.0)]).await?;
    row.map(|row| Place::of(&row, 0)).transpose().map_err(|error| primary.failed(error))
}

/// What a move begins with.
pub(super) enum Begun<'a> {
    /// The shard is at the target.
    There(Side<'a>),
    /// Both primaries say that it is moving.
    Moving(Mover<'a>),
}

/// Begins a move, or finds the one that has begun.
pub(super) async fn begin<'a>(
    primaries: &[Side<'a>],
    shard: Shard,
    to: &str,
    progress: &'a (dyn Fn(&Progress) + Sync),
) -> Result<Begun<'a>, MoveError> {
    let target = named(primaries, to)?;
    for _ in 0..limits::MOVE_LOOKS_MAX {
        let Some((source, version, has_begun)) = from(primaries, shard, &target).await? else {
            return Ok(Begun::There(target));
        };
        if !has_begun {
            let before = rows::to_sql(version - 1).map_err(|error| source.failed(error))?;
            let row = params![i64::from(shard.0), target.name, before];
            // Of several that begin at the same time one finds the row as it was.
            source.change(sql::SHARD_LEAVE, row).await?;
            continue;
        }
        let tally = Mutex::new(Moved::default());
        let mover = Mover { source, target, shard, version, progress, tally };
        if mover.begin_at_target().await? {
            mover.tell(MoveStep::Begun);
            return Ok(Begun::Moving(mover));
        }
    }
    Err(disagree(shard, "it was moved on again and again"))
}

fn named<'a>(primaries: &[Side<'a>], name: &str) -> Result<Side<'a>, MoveError> {
    primaries.iter().find(|primary| primary.name == name).copied().ok_or_else(|| {
        let known = primaries.iter().map(|primary| primary.name.to_owned()).collect();
        MoveError::UnknownPrimary { name: name.to_owned(), known }
    })
}

fn disagree(shard: Shard, what: &str) -> MoveError {
    MoveError::Disagree { shard, what: what.to_owned() }
}

/// The primary that the shard moves from, the version of the move, and whether the source has begun it.
/// `None`: the target has the shard.
async fn from<'a>(
    primaries: &[Side<'a>],
    shard: Shard,
    target: &Side<'a>,
) -> Result<Option<(Side<'a>, u64, bool)>, MoveError> {
    let at_target = asked(target, shard).await?;
    let in_progress =
        |to: Option<&str>| MoveError::InProgress { shard, to: to.unwrap_or("?").to_owned() };
    match &at_target {
        Some(says) if says.state == Here => return Ok(None),
        Some(says) if says.state == Leaving => return Err(in_progress(says.peer.as_deref())),
        // The source may have given it away already.
        Some(Place { state: Coming, peer: Some(peer), version }) => {
            let source = named(primaries, peer)?;
            let says = asked(&source, shard).await?;
            return match says {
                Some(says)
                    if says.is(Leaving, target.name, *version)
                        || says.is(Gone, target.name, *version) =>
                {
                    Ok(Some((source, *version, true)))
                }
                // Read one after the other: it has arrived since, or it is looked at again.
                _ => Err(target.failed(StoreError::Unavailable(format!(
                    "shard {shard} is coming from {peer:?}, which does not say so: {says:?}"
                )))),
            };
        }
        _ => {}
    }
    let (mut source, mut elsewhere, mut failed) = (None, None, None);
    for primary in primaries.iter().filter(|primary| primary.name != target.name) {
        match asked(primary, shard).await {
            Ok(Some(says)) if says.state == Here || says.state == Leaving => {
                source = Some((*primary, says));
            }
            Ok(Some(says)) if says.state == Coming => elsewhere = Some(primary.name),
            Ok(_) => {}
            // It may have nothing to do with the shard.
            Err(error) => failed = Some(error),
        }
    }
    match source {
        Some((source, says)) if says.state == Leaving => {
            if says.peer.as_deref() != Some(target.name) {
                return Err(in_progress(says.peer.as_deref()));
            }
            Ok(Some((source, says.version, true)))
        }
        Some((source, says)) => Ok(Some((source, says.version + 1, false))),
        None => Err(match (elsewhere, failed) {
            (Some(to), _) => in_progress(Some(to)),
            (None, Some(error)) => error,
            (None, None) => disagree(shard, "no primary of this process has it"),
        }),
    }
}

/// Deletes what an earlier move to `target` has left on other primaries.
pub(super) async fn clear_others(
    primaries: &[Side<'_>],
    target: &Side<'_>,
    shard: Shard,
) -> Result<(), MoveError> {
    for primary in primaries.iter().filter(|primary| primary.name != target.name) {
        // Another primary that is away keeps what nothing leads to.
        let Ok(Some(says)) = asked(primary, shard).await else { continue };
        let at_target = asked(target, shard).await?;
        // Moves up to the version of the primary that has the shard are over.
        let is_over = at_target.is_some_and(|at| at.state == Here && at.version >= says.version);
        if says.state == Gone && is_over {
            disposal::clear(primary, shard, says.version).await?;
        }
    }
    Ok(())
}

impl Mover<'_> {
    /// The target says that the shard is coming, and has nothing of it from earlier. False: what it says
    /// has changed in between.
    async fn begin_at_target(&self) -> Result<bool, MoveError> {
        let says = asked(&self.target, self.shard).await?;
        if let Some(says) = says.filter(|says| says.state == Gone) {
            disposal::clear(&self.target, self.shard, says.version).await?;
        }
        let begun = async { in_transaction!(self.target.link, tx => self.come(&tx)) };
        begun.await.map_err(|error| self.target.failed(error))
    }

    async fn come(&self, tx: &Transaction) -> Result<bool, Stop> {
        let says = said(tx, sql::SHARD_LOCK, self.shard).await?;
        if says.as_ref().is_some_and(|says| says.is(Coming, self.source.name, self.version)) {
            return Ok(true);
        }
        let (after, last) = ids(self.shard);
        if tx.row(sql::DATABASES, params![after, last, 1_i64]).await?.is_some() {
            return Ok(false);
        }
        let row = params![i64::from(self.shard.0), self.source.name, rows::to_sql(self.version)?];
        Ok(tx.change(sql::SHARD_COME, row).await? == 1)
    }

    /// Whether this move is the one that the source is in. Its row stays so until `tx` ends.
    pub(super) async fn is_leaving(&self, tx: &Transaction) -> Result<bool, Stop> {
        let says = said(tx, sql::SHARD_SHARE, self.shard).await?;
        Ok(says.is_some_and(|says| says.is(Leaving, self.target.name, self.version)))
    }

    /// The same of the target.
    pub(super) async fn is_coming(&self, tx: &Transaction) -> Result<bool, Stop> {
        let says = said(tx, sql::SHARD_SHARE, self.shard).await?;
        Ok(says.is_some_and(|says| says.is(Coming, self.source.name, self.version)))
    }

    /// The source gives the shard away, if nothing stays there.
    pub(super) async fn end_at_source(&self) -> Result<bool, MoveError> {
        let ended = async { in_transaction!(self.source.link, tx => self.give_away(&tx)) };
        ended.await.map_err(|error| self.source.failed(error))
    }

    async fn give_away(&self, tx: &Transaction) -> Result<bool, Stop> {
        let says = said(tx, sql::SHARD_LOCK, self.shard).await?;
        if !says.is_some_and(|says| says.is(Leaving, self.target.name, self.version)) {
            // Another mover has done so.
            return Ok(true);
        }
        let (after, last) = ids(self.shard);
        if tx.row(sql::STAYING, params![after, last, 1_i64]).await?.is_some() {
            return Ok(false);
        }
        let row = params![i64::from(self.shard.0), self.target.name, rows::to_sql(self.version)?];
        Ok(tx.change(sql::SHARD_GONE, row).await? == 1)
    }

    /// The target has the shard, once every copy there is valid.
    pub(super) async fn end_at_target(&self) -> Result<(), MoveError> {
        self.settle_arriving().await?;
        let ended = async { in_transaction!(self.target.link, tx => self.welcome(&tx)) };
        ended.await.map_err(|error| self.target.failed(error))
    }

    async fn welcome(&self, tx: &Transaction) -> Result<(), Stop> {
        let says = said(tx, sql::SHARD_LOCK, self.shard).await?;
        if !says.is_some_and(|says| says.is(Coming, self.source.name, self.version)) {
            return Ok(());
        }
        let (after, last) = ids(self.shard);
        if tx.row(sql::ARRIVING, params![after, last, 1_i64]).await?.is_some() {
            // A mover of the same move was late; the next try looks at its copy.
            let what = format!("shard {} has a copy that is not valid", self.shard);
            return Err(StoreError::Unavailable(what).into());
        }
        let row = params![i64::from(self.shard.0), self.source.name, rows::to_sql(self.version)?];
        tx.change(sql::SHARD_HERE, row).await?;
        Ok(())
    }
}
