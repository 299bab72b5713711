//! Converts a store of an older format, file by file.
//!
//! ```text
//! opening.lock  held from first to last, as is a lock of global.db for programs that know no other
//! shard-NN.db   locked, its log copied into it ─► rows ─► shard-NN.db.new ─► synced ─► renamed
//! global.db     the same, after all shards
//! ```
//!
//! Invariants:
//! - a file is replaced by a rename, when the new one is whole and synced; so it is the old or the
//!   new;
//! - an old file has no log when it is replaced, which the new one would take for its own;
//! - `global.db` comes last: as long as it is old, nobody opens the store, and the command, run
//!   again, goes on with what is left.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, params_from_iter};

use super::alone;
use super::config::EmbeddedConfig;
use super::failure;
use super::look;
use super::older::{self, Look};
use super::open::{self, APPLICATION_ID, META_SHARDS, META_STORE, New, OpenStoreError, beside};
use super::private;
use super::rows;
use super::stamp::Which;
use super::vfs::Key;
use crate::chain::Start;
use crate::id::ActorId;
use crate::store::sql;

/// Why a store was not converted. What was converted stays; the rest is as it was.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// A file is not what it should be, or could not be read or written.
    #[error(transparent)]
    Open(#[from] OpenStoreError),
    /// A process has the store open.
    #[error("upgrade store: {0} is in use: stop every process that serves the store")]
    InUse(PathBuf),
    /// What was written is not what was read.
    #[error("upgrade store: the copy of {path} is not whole: {why}; the file was left as it is")]
    Copy {
        /// Which file.
        path: PathBuf,
        /// What is wrong with its copy.
        why: String,
    },
}

impl From<rusqlite::Error> for UpgradeError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Open(error.into())
    }
}

impl From<io::Error> for UpgradeError {
    fn from(error: io::Error) -> Self {
        Self::Open(error.into())
    }
}

/// The format of each file of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Formats {
    /// Each file and its format.
    pub files: Vec<(PathBuf, i32)>,
    /// The format that this program reads.
    pub ours: i32,
}

impl Formats {
    /// Whether the store must be converted before it is opened.
    #[must_use]
    pub fn is_older(&self) -> bool {
        self.files.iter().any(|(_, format)| sql::FORMATS_BEFORE.contains(format))
    }
}

/// Looks at the formats of a store's files. Changes nothing.
///
/// # Errors
/// If a file is missing, damaged, or no file of a store.
pub fn formats(config: &EmbeddedConfig) -> Result<Formats, OpenStoreError> {
    let global = existing(config.directory.join(open::GLOBAL))?;
    let mut files = vec![(global.clone(), format_of(&global, config)?)];
    for (_, path) in shards(&open_as_it_is(&global, config)?, config)? {
        let format = format_of(&path, config)?;
        files.push((path, format));
    }
    Ok(Formats { files, ours: sql::FORMAT })
}

/// Converts what is of an older format; the files that were converted.
///
/// # Errors
/// `UpgradeError`. The command may be given again, and goes on.
pub fn upgrade(config: &EmbeddedConfig) -> Result<Vec<PathBuf>, UpgradeError> {
    let global = existing(config.directory.join(open::GLOBAL))?;
    // Nobody opens the store while this is held.
    let opening = alone::begin(&config.directory)?;
    if !opening.is_alone() {
        return Err(UpgradeError::InUse(config.directory.clone()));
    }
    look::look(config, &opening)?;
    let Some(old) = Old::lock(&global, config)? else {
        // It is the last one: all others are converted.
        formats(config)?;
        return Ok(Vec::new());
    };
    let store = open::meta(&old.conn, META_STORE)?
        .ok_or_else(|| open::foreign(&global, "it has no store id"))?;
    let mut converted = Vec::new();
    for (shard, path) in shards(&old.conn, config)? {
        let path = existing(path)?;
        let Some(old) = Old::lock(&path, config)? else {
            continue;
        };
        if open::meta(&old.conn, META_STORE)?.as_ref() != Some(&store) {
            return Err(open::foreign(&path, "it belongs to another store").into());
        }
        let (which, key) = (Which::shard(shard), Key::shard(&store, shard));
        old.convert(config, &New { schema: sql::SHARD_SCHEMA, store: &store, which, key })?;
        converted.push(path);
    }
    let (which, key) = (Which::GLOBAL, Key::global(&store));
    old.convert(config, &New { schema: sql::GLOBAL_SCHEMA, store: &store, which, key })?;
    converted.push(global);
    Ok(converted)
}

/// The path, if there is a file.
pub(super) fn existing(path: PathBuf) -> Result<PathBuf, OpenStoreError> {
    if path.exists() { Ok(path) } else { Err(OpenStoreError::Missing(path)) }
}

/// A connection that only looks, whatever the format.
fn open_as_it_is(path: &Path, config: &EmbeddedConfig) -> rusqlite::Result<Connection> {
    match older::look(path, config)? {
        Some(_) => older::unproved(path, config),
        None => open::plain(path, config, false),
    }
}

fn format_of(path: &Path, config: &EmbeddedConfig) -> Result<i32, OpenStoreError> {
    let conn = open_as_it_is(path, config)?;
    let application = open::header(&conn, "application_id")?;
    if application != APPLICATION_ID {
        return Err(open::foreign(path, &format!("application id {application:#x}")));
    }
    Ok(open::header(&conn, "user_version")?)
}

/// The shards that `global.db` counts, or that were made before it did.
pub(super) fn shards(
    global: &Connection,
    config: &EmbeddedConfig,
) -> Result<Vec<(u8, PathBuf)>, OpenStoreError> {
    let counted = open::meta(global, META_SHARDS)?.and_then(|stored| stored.first().copied());
    let paths = (0..counted.unwrap_or(EmbeddedConfig::SHARDS_MAX))
        .map(|shard| (shard, open::shard_path(&config.directory, shard)));
    let shards: Vec<(u8, PathBuf)> =
        paths.take_while(|(_, path)| counted.is_some() || path.exists()).collect();
    for (_, path) in &shards {
        if !path.exists() {
            return Err(OpenStoreError::Missing(path.clone()));
        }
    }
    Ok(shards)
}

/// A file of an older format that nobody else can open.
struct Old {
    path: PathBuf,
    conn: Connection,
}

impl Old {
    /// Locks a file and copies its log into it. `None`: it is of our format.
    fn lock(path: &Path, config: &EmbeddedConfig) -> Result<Option<Self>, UpgradeError> {
        let Some(Look { application, format }) = older::look(path, config)? else {
            return Ok(None);
        };
        if application != APPLICATION_ID {
            let why = format!("application id {application:#x}");
            return Err(open::foreign(path, &why).into());
        }
        if !sql::FORMATS_BEFORE.contains(&format) {
            let path = path.to_owned();
            return Err(OpenStoreError::Format { path, found: format }.into());
        }
        let conn = older::unproved(path, config)?;
        let run = |sql: &str| match conn.execute_batch(sql) {
            Err(error) if failure::code(&error) == Some(ErrorCode::DatabaseBusy) => {
                Err(UpgradeError::InUse(path.to_owned()))
            }
            done => Ok(done?),
        };
        run("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE; COMMIT")?;
        // The index of a log that is gone would tell that the log was lost. An exclusive connection
        // has its own, and there is no other.
        remove(&beside(path, "-shm"))?;
        run("PRAGMA journal_mode = DELETE; BEGIN EXCLUSIVE")?;
        let mode: String = conn.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
        if mode == "wal" {
            return Err(UpgradeError::InUse(path.to_owned()));
        }
        Ok(Some(Self { path: path.to_owned(), conn }))
    }

    /// Puts a file of our format in the place of this one.
    fn convert(&self, config: &EmbeddedConfig, new: &New<'_>) -> Result<(), UpgradeError> {
        let copy = beside(&self.path, ".new");
        remove(&copy)?;
        remove(&beside(&copy, "-journal"))?;
        drop(private::create_new(&copy)?);
        self.write(&copy, config, new)?;
        fs::File::open(&copy)?.sync_all()?;
        // Copied into the file when it was locked; left, it would be taken for the new one's.
        for log in ["-wal", "-shm"] {
            remove(&beside(&self.path, log))?;
        }
        fs::rename(&copy, &self.path)?;
        fs::File::open(&config.directory)?.sync_all()?;
        Ok(())
    }

    fn write(&self, to: &Path, config: &EmbeddedConfig, new: &New<'_>) -> Result<(), UpgradeError> {
        let conn = open::plain(to, config, true)?;
        open::prepare(&conn, new.key)?;
        // Nobody reads it before it is whole; then it is synced as a whole.
        conn.execute_batch(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_spill = ON; \
             PRAGMA cache_size = -32768; BEGIN",
        )?;
        open::write_schema(&conn, new)?;
        for table in tables(&conn)? {
            let count = copy_table(&self.conn, &conn, &table)?;
            let sql = format!("SELECT count(*) FROM \"{table}\"");
            let there: i64 = conn.query_row(&sql, [], |row| row.get(0))?;
            if count != there {
                let why = format!("table {table} has {there} rows of {count}");
                return Err(UpgradeError::Copy { path: self.path.clone(), why });
            }
        }
        conn.execute_batch("COMMIT")?;
        let found: String = conn.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
        if found != "ok" {
            return Err(UpgradeError::Copy { path: self.path.clone(), why: found });
        }
        Ok(())
    }
}

/// Removes a file that may not be there.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The tables that are copied: marks begin with the new file.
fn tables(conn: &Connection) -> rusqlite::Result<Vec<String>> {
    let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' \
               AND name NOT IN ('own', 'seen') ORDER BY name";
    conn.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
}

fn columns(conn: &Connection, table: &str) -> rusqlite::Result<Vec<String>> {
    let sql = "SELECT name FROM pragma_table_info(?1) ORDER BY cid";
    conn.prepare(sql)?.query_map([table], |row| row.get(0))?.collect()
}

/// Copies the rows of a table; how many there are. A table that came later has none.
fn copy_table(old: &Connection, new: &Connection, table: &str) -> Result<i64, UpgradeError> {
    let known = columns(old, table)?;
    if known.is_empty() {
        return Ok(0);
    }
    let (to, is_head) = (columns(new, table)?, table == "head");
    // What `meta` has was written with the schema, but for the number of shards.
    let insert = format!(
        "INSERT {} INTO \"{table}\" ({}) VALUES ({})",
        if table == "meta" { "OR REPLACE" } else { "" },
        to.join(", "),
        (1..=to.len()).map(|n| format!("?{n}")).collect::<Vec<_>>().join(", "),
    );
    let from: Vec<&str> =
        to.iter().map(String::as_str).filter(|name| !is_head || *name != "name").collect();
    let select = if is_head {
        // The name is the last column.
        let of_head: Vec<String> = from.iter().map(|name| format!("h.{name}")).collect();
        format!(
            "SELECT {}, a.kind, a.key FROM head h LEFT JOIN actor a ON a.db = h.db",
            of_head.join(", ")
        )
    } else {
        format!("SELECT {} FROM \"{table}\"", from.join(", "))
    };
    let (mut select, mut insert) = (old.prepare(&select)?, new.prepare(&insert)?);
    let mut rows = select.query([])?;
    let mut count = 0;
    while let Some(row) = rows.next()? {
        let mut values: Vec<Value> =
            (0..from.len()).map(|column| row.get(column)).collect::<Result<_, _>>()?;
        if is_head {
            bind(&mut values, &from, row.get(from.len())?, row.get(from.len() + 1)?);
        }
        insert.execute(params_from_iter(values))?;
        count += 1;
    }
    Ok(count)
}

/// Binds a head to its name. Its chain starts from zeros, as it was made; a format that nobody has
/// written stays what it is, and is refused.
fn bind(head: &mut Vec<Value>, columns: &[&str], kind: Option<String>, key: Option<String>) {
    for (value, column) in head.iter_mut().zip(columns) {
        if *column == "format" && matches!(value, Value::Integer(1 | 2)) {
            *value = Value::Integer(rows::start_to_sql(Start::Zeros));
        }
    }
    let actor = kind.zip(key).and_then(|(kind, key)| ActorId::existing(&kind, &key).ok());
    // A head that no actor has is nobody's: no name has this hash.
    head.push(Value::Blob(actor.map_or([0; 16], |actor| actor.name_hash().0).to_vec()));
}
