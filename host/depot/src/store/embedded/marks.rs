//! High-water marks: each file knows how far the others have come, so that one that goes back is
//! noticed.
//!
//! ```text
//!            global.db      shard-00.db     shard-01.db
//! own            4               9               7
//! seen       9, 7            4, 7            4, 9        of the others
//!
//! shard-00.db put back from yesterday: own 5, and two files have seen it at 9
//! ```
//!
//! Invariants:
//! - a file's own mark is durable before another file records it, so after any crash no file has
//!   seen more than there is;
//! - marks grow by one in one transaction each, so several processes may raise them;
//! - a file that was not written since its last mark is not written for it.
//!
//! A write is followed by marks within milliseconds if there were none for a period, else with the
//! period. An orderly close raises them once more.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, Error, OptionalExtension, TransactionBehavior};

use super::config::EmbeddedConfig;
use super::look::Accepted;
use super::mark::{Mark, Which};
use super::open::{self, Layout, OpenStoreError};
use super::rows;
use crate::error::StoreError;
use crate::store::{limits, sql};

/// A file while its marks are compared.
struct Open<'a> {
    which: Which,
    path: &'a Path,
    conn: Connection,
    /// What it has of its own.
    mark: Option<Mark>,
    /// What it has of the others.
    seen: Vec<(u8, u64)>,
}

/// Checks that the files belong together, before anything is copied from a log into its file. A
/// process that is alone compares their marks, too, gives marks to files that have none yet, and
/// writes down what was accepted to be lost.
///
/// # Errors
/// `Foreign` for a file in the place of another, `RolledBack` for one that was further.
pub(super) fn settle(
    layout: &Layout,
    config: &EmbeddedConfig,
    alone: bool,
    accepted: Vec<Accepted>,
) -> Result<(), OpenStoreError> {
    let mut files = vec![Open::new(Which::GLOBAL, &layout.global, config)?];
    for (shard, path) in (0..).zip(&layout.shards) {
        files.push(Open::new(Which::shard(shard), path, config)?);
    }
    let strange =
        |why: &str| OpenStoreError::Foreign { path: layout.global.clone(), why: why.to_owned() };
    let store = open::store_id(&files[0].conn)?.ok_or_else(|| strange("it has no store id"))?;
    let store: [u8; 16] = store.try_into().map_err(|_| strange("its store id is damaged"))?;
    for file in &files {
        if let Some(why) = file.mark.and_then(|mark| mark.strange_to((file.which, Some(store)))) {
            return Err(OpenStoreError::Foreign { path: file.path.to_owned(), why });
        }
    }
    if !alone {
        return Ok(());
    }
    let mut losses = accepted.clone();
    for back in rolled_back(&files) {
        if !config.accept_loss {
            return Err(back.error(&files));
        }
        losses.push(back.loss(&files));
    }
    record(&mut files[0].conn, config, &losses)?;
    lower(&files)?;
    for file in &mut files {
        let was_damaged = accepted.iter().any(|loss| loss.which == file.which);
        file.finish(store, was_damaged)?;
    }
    Ok(())
}

impl<'a> Open<'a> {
    fn new(which: Which, path: &'a Path, config: &EmbeddedConfig) -> Result<Self, OpenStoreError> {
        let conn = open::writer(path, config)?;
        let damaged = |error| match error {
            Error::FromSqlConversionFailure(..) | Error::InvalidColumnType(..) => {
                let why = "its marks are damaged".to_owned();
                OpenStoreError::Foreign { path: path.to_owned(), why }
            }
            error => error.into(),
        };
        let mark = Mark::read(&conn).map_err(damaged)?;
        let seen = if mark.is_some() { seen(&conn).map_err(damaged)? } else { Vec::new() };
        Ok(Self { which, path, conn, mark, seen })
    }

    /// Before there were marks a file was nowhere.
    fn epoch(&self) -> u64 {
        self.mark.map_or(0, |mark| mark.epoch)
    }

    /// Gives it marks if it has none. What it has without its log tells whose it is from then on.
    fn finish(&mut self, store: [u8; 16], was_damaged: bool) -> Result<(), OpenStoreError> {
        if self.mark.is_none() {
            let step = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
            begin(&step, store, self.which)?;
            step.commit()?;
        }
        let checkpoint = |how| {
            let sql = format!("PRAGMA wal_checkpoint({how})");
            self.conn.query_row(&sql, [], |_| Ok(()))
        };
        if was_damaged {
            // Frames behind the good part of the log would look like damage once more.
            checkpoint("TRUNCATE")?;
        } else if self.epoch() == 0 {
            // A new file has its mark in its log only: without the log it is to be known, too.
            checkpoint("PASSIVE")?;
        }
        Ok(())
    }
}

/// Gives a file its first mark, inside a transaction of its own or of the file's making. A file
/// that is made a second time, since the first time was interrupted, gets another store's id.
pub(super) fn begin(conn: &Connection, store: [u8; 16], which: Which) -> rusqlite::Result<()> {
    conn.execute_batch(sql::OWN_SCHEMA)?;
    conn.execute(sql::OWN_CLEAR, [])?;
    let mark = Mark { store, which, epoch: 0 };
    conn.execute(sql::OWN_PUT, [&mark.to_bytes()[..]]).map(drop)
}

fn seen(conn: &Connection) -> rusqlite::Result<Vec<(u8, u64)>> {
    let mut all = conn.prepare(sql::SEEN_ALL)?;
    all.query_map([], |row| {
        let epoch: i64 = row.get(1)?;
        Ok((row.get(0)?, u64::try_from(epoch).unwrap_or(0)))
    })?
    .collect()
}

/// A file that another one has seen further.
struct RolledBack {
    /// Places in the list of files.
    file: usize,
    by: usize,
    seen: u64,
}

fn rolled_back(files: &[Open<'_>]) -> Vec<RolledBack> {
    let of = |file: usize| {
        let seen = files.iter().enumerate().flat_map(|(by, other)| {
            let own = files[file].which.number();
            other.seen.iter().filter(move |(of, _)| *of == own).map(move |(_, epoch)| (*epoch, by))
        });
        let (seen, by) = seen.max()?;
        (seen > files[file].epoch()).then_some(RolledBack { file, by, seen })
    };
    (0..files.len()).filter_map(of).collect()
}

impl RolledBack {
    fn error(&self, files: &[Open<'_>]) -> OpenStoreError {
        OpenStoreError::RolledBack {
            path: files[self.file].path.to_owned(),
            has: files[self.file].epoch(),
            seen: self.seen,
            seen_by: PathBuf::from(files[self.by].which.name()),
        }
    }

    fn loss(&self, files: &[Open<'_>]) -> Accepted {
        let (has, seen) = (files[self.file].epoch(), self.seen);
        let what = format!("at epoch {has}, {} has seen {seen}", files[self.by].which.name());
        Accepted { which: files[self.file].which, what }
    }
}

/// Writes down what is lost, before anything that proves it is written over.
fn record(
    global: &mut Connection,
    config: &EmbeddedConfig,
    losses: &[Accepted],
) -> Result<(), OpenStoreError> {
    if losses.is_empty() {
        return Ok(());
    }
    let step = global.transaction_with_behavior(TransactionBehavior::Immediate)?;
    step.execute_batch(sql::LOSS_SCHEMA)?;
    let now_ms = i64::try_from(config.clock.now_ms()).unwrap_or(i64::MAX);
    for Accepted { which, what } in losses {
        let file = which.name();
        tracing::error!(file, what, "loss accepted");
        step.execute(sql::LOSS_PUT, (now_ms, file, what))?;
    }
    Ok(step.commit()?)
}

/// No file remembers more than there is.
fn lower(files: &[Open<'_>]) -> rusqlite::Result<()> {
    for back in rolled_back(files) {
        let (number, has) = (files[back.file].which.number(), files[back.file].epoch());
        for other in files.iter().filter(|other| !other.seen.is_empty()) {
            other
                .conn
                .execute(sql::SEEN_LOWER, (number, i64::try_from(has).unwrap_or(i64::MAX)))?;
        }
    }
    Ok(())
}

/// A loss that an operator has accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// When, by the store's clock: milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// Name of the file.
    pub file: String,
    /// What is known of it.
    pub what: String,
}

/// What was accepted to be lost, newest first.
pub(super) fn losses(global: &Connection) -> Result<Vec<Loss>, StoreError> {
    let there = global.query_row(sql::TABLE_EXISTS, ["loss"], |_| Ok(())).optional()?;
    if there.is_none() {
        return Ok(Vec::new());
    }
    let mut all = global.prepare(sql::LOSSES)?;
    let rows = all.query_map([limits::LOSSES_MAX], |row| {
        let time_ms: i64 = row.get(0)?;
        let time_ms = u64::try_from(time_ms).unwrap_or(0);
        Ok(Loss { time_ms, file: row.get(1)?, what: row.get(2)? })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Whether a file was written since it was made.
pub(super) fn was_used(conn: &Connection) -> rusqlite::Result<bool> {
    let Some(mark) = Mark::read(conn)? else { return Ok(false) };
    Ok(mark.epoch > 0 || !seen(conn)?.is_empty())
}

/// Raises a file's own mark: a step of its own, or one of a group. The mark that it has then.
pub(super) fn raise(conn: &Connection) -> Result<u64, StoreError> {
    let mark = Mark::read(conn)?
        .ok_or_else(|| StoreError::Corrupt("the file has no high-water mark".into()))?;
    let mark = Mark { epoch: mark.epoch + 1, ..mark };
    conn.prepare_cached(sql::OWN_SET)?.execute([&mark.to_bytes()[..]])?;
    Ok(mark.epoch)
}

/// Writes down what marks other files have.
pub(super) fn tell(conn: &Connection, marks: &[(Which, u64)]) -> Result<(), StoreError> {
    let mut put = conn.prepare_cached(sql::SEEN_RAISE)?;
    for (which, epoch) in marks {
        put.execute((which.number(), rows::to_sql(*epoch)?))?;
    }
    Ok(())
}
