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
//! - `global.db` comes last: as long as it is old, no process opens the store, and the command, run
//!   again, continues with what is left.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, params_from_iter};

use super::alone;
use super::config::EmbeddedConfig;
use super::failure;
use super::holder;
use super::look;
use super::mark::Which;
use super::older::{self, Look};
use super::open::{self, APPLICATION_ID, META_SHARDS, META_STORE, New, OpenStoreError, beside};
use super::private;
use super::rows;
use super::vfs::Key;
use crate::chain::Start;
use crate::id::ActorId;
use crate::store::{NodeRow, sql};

/// Why a store was not converted. What was converted stays; the rest is as it was.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// A file is not what it should be, or could not be read or written.
    #[error(transparent)]
    Open(#[from] OpenStoreError),
    /// A process has the store open.
    #[error(
        "upgrade store: {path} is in use{}: stop every process that serves the store",
        by(.users)
    )]
    InUse {
        /// Which file or directory.
        path: PathBuf,
        /// The processes, as far as the system tells.
        users: Vec<u32>,
    },
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

/// " by process 7, 8", for a message.
fn by(users: &[u32]) -> String {
    if users.is_empty() { String::new() } else { format!(" by process{}", open::numbered(users)) }
}

/// The format of each file of a store, and the processes that use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Formats {
    /// Each file and its format.
    pub files: Vec<(PathBuf, i32)>,
    /// The format that this program reads.
    pub ours: i32,
    /// The processes of this machine that have the store open, this one included.
    pub users: Vec<u32>,
    /// The processes that are registered in a store that is in use. In one that is not, the rows of
    /// processes that were killed say nothing.
    pub nodes: Vec<NodeRow>,
}

impl Formats {
    /// Whether the store must be converted before it is opened.
    #[must_use]
    pub fn is_older(&self) -> bool {
        self.files.iter().any(|(_, format)| sql::FORMATS_BEFORE.contains(format))
    }

    /// Whether a later program has written it.
    #[must_use]
    pub fn is_newer(&self) -> bool {
        self.files.iter().any(|(_, format)| *format > self.ours)
    }
}

/// Looks at the formats of a store's files, and at its logs if no process uses it. Writes nothing
/// (but the index of a log that has the whole schema of a file of an older format), and takes no
/// lock that keeps a process from opening the store.
///
/// # Errors
/// If a file is missing, damaged, or no file of a store; if a log has lost something.
pub fn formats(config: &EmbeddedConfig) -> Result<Formats, OpenStoreError> {
    let global = existing(config.directory.join(open::GLOBAL))?;
    let looked = looked(&global, config).map_err(OpenStoreError::from);
    let shards =
        looked.and_then(|conn| shards(&conn, config)).map_err(|error| error.of(&global))?;
    let paths = [global.clone()].into_iter().chain(shards.into_iter().map(|(_, path)| path));
    let files: Result<Vec<_>, OpenStoreError> =
        paths.map(|path| format_of(&path, config).map(|format| (path, format))).collect();
    let files = files?;
    let users = users(config, files.iter().map(|(path, _)| path));
    let mut formats = Formats { files, ours: sql::FORMAT, users, nodes: Vec::new() };
    if !formats.users.is_empty() {
        formats.nodes = nodes(&open_as_it_is(&global, config)?)?;
    } else if !formats.is_older() && !formats.is_newer() {
        look::sound(config)?;
    }
    Ok(formats)
}

/// The processes that have a store open: each keeps `store.lock`; one of a program that knows no
/// such file has a lock on the index of each log.
fn users<'a>(config: &EmbeddedConfig, files: impl Iterator<Item = &'a PathBuf>) -> Vec<u32> {
    let mut locked: Vec<PathBuf> = files.map(|path| beside(path, "-shm")).collect();
    locked.push(config.directory.join(alone::STORE_LOCK));
    holder::users(&locked)
}

fn nodes(global: &Connection) -> Result<Vec<NodeRow>, OpenStoreError> {
    let mut known = Vec::new();
    for (column, _) in sql::NODE_COLUMNS {
        if open::has_column(global, "node", column)? {
            known.push(column);
        }
    }
    let mut nodes = Vec::new();
    let mut select = global.prepare(&sql::nodes_with(|column| known.contains(&column)))?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        // One that does not read says nothing about the store's format.
        nodes.extend(rows::node(row).ok());
    }
    Ok(nodes)
}

/// Converts the files of an older format; returns the files that were converted.
///
/// # Errors
/// `UpgradeError`. The command may be given again, and continues.
pub fn upgrade(config: &EmbeddedConfig) -> Result<Vec<PathBuf>, UpgradeError> {
    let global = existing(config.directory.join(open::GLOBAL))?;
    // No process opens the store while this is held.
    let opening = alone::begin(&config.directory)?;
    if !opening.is_alone() {
        return Err(in_use(&config.directory, config));
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

/// The error for a store that another process has open.
pub(super) fn in_use(path: &Path, config: &EmbeddedConfig) -> UpgradeError {
    let (path, global) = (path.to_owned(), config.directory.join(open::GLOBAL));
    let own = std::process::id();
    let others = users(config, [&global].into_iter()).into_iter().filter(|pid| *pid != own);
    UpgradeError::InUse { path, users: others.collect() }
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

/// A file as it is without its log. One of an older format may have its schema in the log alone:
/// then with it, for which SQLite makes the log's index.
fn looked(path: &Path, config: &EmbeddedConfig) -> rusqlite::Result<Connection> {
    let bare = look::bare(path)?;
    if open::header(&bare, "application_id")? != 0 {
        return Ok(bare);
    }
    open_as_it_is(path, config)
}

fn format_of(path: &Path, config: &EmbeddedConfig) -> Result<i32, OpenStoreError> {
    let header = || {
        let conn = looked(path, config)?;
        Ok((open::header(&conn, "application_id")?, open::header(&conn, "user_version")?))
    };
    let (application, format) =
        header().map_err(|error: rusqlite::Error| OpenStoreError::from(error).of(path))?;
    if application != APPLICATION_ID {
        return Err(open::foreign(path, &format!("application id {application:#x}")));
    }
    Ok(format)
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

/// A file of an older format that no other process can open.
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
                Err(in_use(path, config))
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
            return Err(in_use(path, config));
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
        // No connection reads it before it is whole; then it is synced as a whole.
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
    // A column that came later is null where it may be.
    let column = |table: &str, name: &str| match known.iter().any(|known| known == name) {
        true => format!("{table}.\"{name}\""),
        false => "NULL".to_owned(),
    };
    let select = if is_head {
        // The name is the last column.
        let of_head: Vec<String> = from.iter().map(|name| column("h", name)).collect();
        format!(
            "SELECT {}, a.kind, a.key FROM head h LEFT JOIN actor a ON a.db = h.db",
            of_head.join(", ")
        )
    } else {
        let of_table: Vec<String> = from.iter().map(|name| column("t", name)).collect();
        format!("SELECT {} FROM \"{table}\" t", of_table.join(", "))
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

/// Binds a head to its name. Its chain starts from zeros, as it was made; a format that no program
/// has written stays what it is, and is refused.
fn bind(head: &mut Vec<Value>, columns: &[&str], kind: Option<String>, key: Option<String>) {
    for (value, column) in head.iter_mut().zip(columns) {
        if *column == "format" && matches!(value, Value::Integer(1 | 2)) {
            *value = Value::Integer(rows::start_to_sql(Start::Zeros));
        }
    }
    let actor = kind.zip(key).and_then(|(kind, key)| ActorId::existing(&kind, &key).ok());
    // A head that no actor has is bound to zeros: no name has this hash.
    head.push(Value::Blob(actor.map_or([0; 16], |actor| actor.name_hash().0).to_vec()));
}
