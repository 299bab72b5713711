//! Makes a damaged file again from its rows, where every one of them can still be read: its indexes
//! and its free pages are made, not copied.
//!
//! ```text
//! each file   locked, its log copied into it ─► integrity_check ─ sound: left
//!                └─ every row of every table ─► FILE.new ─► integrity_check ─► synced ─► renamed
//! ```
//! Invariants:
//! - no row is changed and none is left out: a table with a row that cannot be read keeps its file;
//! - a file is replaced by a rename, when the new one is whole, sound and synced;
//! - no other process has the store open: `global.db` is locked from first to last.

use std::fs;
use std::path::Path;

use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, params_from_iter};

use super::alone;
use super::config::EmbeddedConfig;
use super::failure;
use super::look;
use super::open::{self, META_STORE, beside};
use super::upgrade::{self, UpgradeError};
use super::vfs::Key;
use crate::store::Repair;
use crate::store::sql::check::SCHEMA;

/// Rebuilds the damaged files of a store that no process has open.
///
/// # Errors
/// If the store is in use, or its files cannot be opened at all. That a file cannot be made again
/// is no error: it is reported, and the file is as it was.
pub fn rebuild(config: &EmbeddedConfig) -> Result<Vec<Repair>, UpgradeError> {
    let path = upgrade::existing(config.directory.join(open::GLOBAL))?;
    let opening = alone::begin(&config.directory)?;
    if !opening.is_alone() {
        return Err(upgrade::in_use(&path, config));
    }
    // A log that has lost something is not copied into its file here.
    look::look(config, &opening)?;
    let global = locked(&path, config)?;
    let store = open::meta(&global, META_STORE)?
        .ok_or_else(|| open::foreign(&path, "it has no store id"))?;
    let mut repairs = Vec::new();
    for (shard, path) in upgrade::shards(&global, config)? {
        let conn = locked(&upgrade::existing(path.clone())?, config)?;
        repairs.extend(again(&path, conn, config, Key::shard(&store, shard)));
    }
    repairs.extend(again(&path, global, config, Key::global(&store)));
    Ok(repairs)
}

/// A connection that excludes any other, to a file that has everything in itself.
fn locked(path: &Path, config: &EmbeddedConfig) -> Result<Connection, UpgradeError> {
    let conn = open::plain(path, config, false)?;
    let locked = conn
        .execute_batch("PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = DELETE")
        .and_then(|()| conn.query_row("PRAGMA journal_mode", [], |row| row.get::<_, String>(0)))
        .and_then(|mode| conn.execute_batch("BEGIN EXCLUSIVE").map(|()| mode));
    match locked {
        Ok(mode) if mode != "wal" => Ok(conn),
        Ok(_) => Err(upgrade::in_use(path, config)),
        Err(error) if failure::code(&error) == Some(ErrorCode::DatabaseBusy) => {
            Err(upgrade::in_use(path, config))
        }
        Err(error) => Err(error.into()),
    }
}

/// `None`: the file is sound.
fn again(path: &Path, conn: Connection, config: &EmbeddedConfig, key: Key) -> Option<Repair> {
    if soundness(&conn).is_ok_and(|found| found == "ok") {
        return None;
    }
    let made = write(path, &conn, config, key).and_then(|()| {
        let copy = beside(path, ".new");
        fs::File::open(&copy)?.sync_all()?;
        // What the connection had is in the file; left, it would be taken for the new one's.
        drop(conn);
        for log in ["-wal", "-shm"] {
            upgrade::remove(&beside(path, log))?;
        }
        fs::rename(&copy, path)?;
        Ok(fs::File::open(&config.directory)?.sync_all()?)
    });
    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Some(Repair { file, failed: made.err().map(|error| error.to_string()) })
}

fn soundness(conn: &Connection) -> rusqlite::Result<String> {
    conn.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
}

fn write(
    path: &Path,
    old: &Connection,
    config: &EmbeddedConfig,
    key: Key,
) -> Result<(), UpgradeError> {
    let copy = beside(path, ".new");
    upgrade::remove(&copy)?;
    upgrade::remove(&beside(&copy, "-journal"))?;
    let new = open::plain(&copy, config, true)?;
    open::prepare(&new, key)?;
    // No connection reads it before it is whole; then it is synced as a whole.
    new.execute_batch(
        "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_spill = ON; \
         PRAGMA cache_size = -32768; BEGIN",
    )?;
    let (tables, indexes) = schema(old)?;
    for (table, sql) in tables {
        new.execute_batch(&sql)?;
        copy_rows(old, &new, &table)?;
    }
    for (_, sql) in indexes {
        new.execute_batch(&sql)?;
    }
    for name in ["application_id", "user_version"] {
        new.pragma_update(None, name, open::header(old, name)?)?;
    }
    new.execute_batch("COMMIT")?;
    let why = soundness(&new)?;
    if why == "ok" { Ok(()) } else { Err(UpgradeError::Copy { path: path.to_owned(), why }) }
}

/// Names and statements.
type Made = Vec<(String, String)>;

/// What a file has: its tables, then its indexes.
fn schema(conn: &Connection) -> rusqlite::Result<(Made, Made)> {
    let mut statement = conn.prepare(SCHEMA)?;
    let all = statement.query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))))?;
    let all: Vec<(String, (String, String))> = all.collect::<Result<_, _>>()?;
    let (tables, indexes): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|(what, _)| what == "table");
    let made = |list: Vec<(String, (String, String))>| list.into_iter().map(|(_, made)| made);
    Ok((made(tables).collect(), made(indexes).collect()))
}

/// Copies all rows of a table from where they are kept.
fn copy_rows(old: &Connection, new: &Connection, table: &str) -> Result<(), UpgradeError> {
    let mut select = old.prepare(&format!("SELECT * FROM \"{table}\" NOT INDEXED"))?;
    let columns = select.column_count();
    let places = (1..=columns).map(|n| format!("?{n}")).collect::<Vec<_>>().join(", ");
    let mut insert = new.prepare(&format!("INSERT INTO \"{table}\" VALUES ({places})"))?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let values: Vec<Value> =
            (0..columns).map(|column| row.get(column)).collect::<Result<_, _>>()?;
        insert.execute(params_from_iter(values))?;
    }
    Ok(())
}
