//! Makes and opens the files of a store, and sets every connection up the same way.
//!
//! ```text
//! directory (0700)
//!   global.db     nodes, components, kinds; meta: store id, number of shards
//!   shard-00.db   actors, heads, pages, commits, snapshots, pins; meta: store id
//!   shard-01.db   ...
//! each:           application_id "STKD", user_version = format, WAL; pages are stamped (`vfs`)
//! ```
//!
//! A file is made whole before it has a log: schema, format and store id are in the file itself.
//!
//! A store exists once `global.db` has the number of shards, which is written last. From then on a
//! missing shard is an error: nothing missing is ever taken for empty.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, TransactionBehavior, ffi};

use super::config::EmbeddedConfig;
use super::failure;
use super::mark::Which;
use super::marks;
use super::older;
use super::private;
use super::vfs::{self, Damage, Fault, Key, Place};
use crate::store::{limits, sql};

/// "STKD": tells `file` and other programs whose database this is.
pub(super) const APPLICATION_ID: i32 = 0x5354_4b44;
/// Page cache of a connection that writes, in KiB: inner pages of the key index stay in.
const WRITER_CACHE_KIB: i64 = 32 << 10;
/// Page cache of a connection that reads, in KiB.
const READER_CACHE_KIB: i64 = 8 << 10;
/// Prepared statements that a connection keeps: all of `sql`.
const STATEMENTS_KEPT: usize = 96;

/// Rows of `meta`: the store's id, its number of shards.
pub(super) const META_STORE: &str = "store";
pub(super) const META_SHARDS: &str = "shards";

/// The file that says what the others are.
pub(super) const GLOBAL: &str = "global.db";

/// Why a store did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenStoreError {
    /// The directory or a file could not be made or read.
    #[error("open store: {0}")]
    Io(#[from] io::Error),
    /// SQLite refused.
    #[error("open store: {0}")]
    Sqlite(#[source] rusqlite::Error),
    /// A page or a frame of a log is damaged.
    #[error("open store: {0}: restore the whole directory from a backup")]
    Damaged(Damage),
    /// The number of shards is not 1 to [`EmbeddedConfig::SHARDS_MAX`].
    #[error("a store has 1 to {max} shards, not {asked}", max = EmbeddedConfig::SHARDS_MAX)]
    Shards {
        /// What was asked for.
        asked: u8,
    },
    /// A file of the store is gone. It is not made again: it held data.
    #[error("{0} is missing: restore it from a backup, together with the whole directory")]
    Missing(PathBuf),
    /// A file belongs to another program, or to another store.
    #[error("{path} is not a file of this store: {why}")]
    Foreign {
        /// Which file.
        path: PathBuf,
        /// What was found.
        why: String,
    },
    /// A file has a higher mark in another file than in itself.
    #[error(
        "{path} is at epoch {has}, and {seen_by} has seen it at {seen}: an older copy was put \
         back, or its log is lost; restore all files from one backup, or go on with what is there: \
         --accept-loss"
    )]
    RolledBack {
        /// Which file.
        path: PathBuf,
        /// The mark that it has.
        has: u64,
        /// The mark that it had.
        seen: u64,
        /// The file that remembers.
        seen_by: PathBuf,
    },
    /// A write-ahead log is damaged, and groups that were durable lie behind.
    #[error(
        "{path} is damaged at frame {frame}: {commits_behind} commits at or behind it would be \
         lost; restore the store from a backup, or go on without them: --accept-loss"
    )]
    LogDamaged {
        /// Which log.
        path: PathBuf,
        /// The first bad frame, from 1; 0 is the header of the log.
        frame: u32,
        /// Commits at or behind it, as far as they can be counted: at least so many.
        commits_behind: u32,
    },
    /// A write-ahead log is shorter than it was, or gone.
    #[error(
        "{path} has {good} good frames and {durable} were durable: commits would be lost; restore \
         the store from a backup, or go on without them: --accept-loss"
    )]
    LogCut {
        /// Which log.
        path: PathBuf,
        /// Frames that are good.
        good: u32,
        /// Frames that its index names.
        durable: u32,
    },
    /// A file holds pages that are newer than the good part of its log, and is not whole without
    /// it. No loss can be accepted that leaves a sound file.
    #[error(
        "{path} is ahead of the good part of its log, and not whole without it: restore the store \
         from a backup"
    )]
    LogBehind {
        /// Which file.
        path: PathBuf,
    },
    /// There are as many copies of damaged logs as are kept.
    #[error(
        "{max} copies of {path} are there already, {path}.damaged-1 and so on: move them away",
        path = path.display(),
        max = limits::DAMAGED_LOGS_MAX
    )]
    Copies {
        /// Which log.
        path: PathBuf,
    },
    /// Others may write to the directory: they may have changed what is in it.
    #[error(
        "{path} may be written to by others (mode {mode:o}): check what is in it, then chmod 700"
    )]
    NotPrivate {
        /// The directory.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Another process is opening the store, for longer than is waited for.
    #[error(
        "another process{} has been opening {} for {} s: try again",
        numbered(.users), directory.display(), limits::OPENING_WAIT.as_secs()
    )]
    Opening {
        /// The store's directory.
        directory: PathBuf,
        /// The process, if the system tells.
        users: Vec<u32>,
    },
    /// A file was written by another version of this program.
    #[error(
        "{path} has format {found}, this program reads format {ours}{}",
        if sql::FORMATS_BEFORE.contains(found) {
            ": stop every process that serves the store and run `stockade store upgrade`"
        } else {
            ""
        },
        ours = sql::FORMAT
    )]
    Format {
        /// Which file.
        path: PathBuf,
        /// Its format.
        found: i32,
    },
}

/// " 7, 8", for a message.
pub(super) fn numbered(users: &[u32]) -> String {
    let users: Vec<String> = users.iter().map(u32::to_string).collect();
    if users.is_empty() { String::new() } else { format!(" {}", users.join(", ")) }
}

impl OpenStoreError {
    /// Names the file that SQLite finds malformed.
    pub(super) fn of(self, path: &Path) -> Self {
        let malformed = [ErrorCode::DatabaseCorrupt, ErrorCode::NotADatabase];
        match &self {
            Self::Sqlite(error)
                if failure::code(error).is_some_and(|code| malformed.contains(&code)) =>
            {
                let file = path.display().to_string();
                Self::Damaged(Damage { file, place: Place::File, fault: Fault::Malformed })
            }
            _ => self,
        }
    }
}

impl From<rusqlite::Error> for OpenStoreError {
    fn from(error: rusqlite::Error) -> Self {
        vfs::damage_of(&error).map_or(Self::Sqlite(error), Self::Damaged)
    }
}

/// The files of an open store.
pub(super) struct Layout {
    pub(super) global: PathBuf,
    pub(super) shards: Vec<PathBuf>,
}

/// Opens the directory, and makes the store if there is none.
pub(super) fn layout(config: &EmbeddedConfig) -> Result<Layout, OpenStoreError> {
    if config.shards == 0 || config.shards > EmbeddedConfig::SHARDS_MAX {
        return Err(OpenStoreError::Shards { asked: config.shards });
    }
    let directory = &config.directory;
    private::directory(directory)?;
    let global = directory.join(GLOBAL);
    let laid_out = lay_out(&global, config).map_err(|error| error.of(&global));
    let shards = laid_out.map_err(|error| older::explain(error, config))?;
    fs::File::open(directory)?.sync_all()?;
    Ok(Layout { global, shards })
}

/// The shards of the store, made if need be.
fn lay_out(global: &Path, config: &EmbeddedConfig) -> Result<Vec<PathBuf>, OpenStoreError> {
    let mut store = [0; 16];
    getrandom::fill(&mut store).map_err(io::Error::other)?;
    let (which, key) = (Which::GLOBAL, Key::global(&store));
    let new = New { schema: sql::GLOBAL_SCHEMA, store: &store, which, key };
    make_file(global, config, &new)?;
    let mut conn = connect(global, config)?;
    check_file(&conn, global)?;
    // Of several processes that start at the same time, one makes the shards and the others wait
    // here.
    let step = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let store = meta(&step, META_STORE)?.ok_or_else(|| foreign(global, "it has no store id"))?;
    check_key(&step, global, &store, Which::GLOBAL)?;
    for (column, add) in sql::NODE_COLUMNS {
        if !has_column(&step, "node", column)? {
            step.execute_batch(add)?;
        }
    }
    let shards = match meta(&step, META_SHARDS)? {
        Some(stored) => existing(&store, global, config, &stored)?,
        None => make(&step, &store, config)?,
    };
    step.commit()?;
    Ok(shards)
}

/// Where a shard is.
pub(super) fn shard_path(directory: &Path, shard: u8) -> PathBuf {
    directory.join(Which::shard(shard).name())
}

/// The file whose name continues after that of `path`, such as its log.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// A file that is not of this store.
pub(super) fn foreign(path: &Path, why: &str) -> OpenStoreError {
    OpenStoreError::Foreign { path: path.to_owned(), why: why.to_owned() }
}

/// Checks the shards of a store that was made before.
fn existing(
    store: &[u8],
    global: &Path,
    config: &EmbeddedConfig,
    stored: &[u8],
) -> Result<Vec<PathBuf>, OpenStoreError> {
    let &[count] = stored else {
        return Err(foreign(global, "its number of shards is damaged"));
    };
    let mut shards = Vec::new();
    for shard in 0..count {
        let path = shard_path(&config.directory, shard);
        if !path.exists() {
            return Err(OpenStoreError::Missing(path));
        }
        check_shard(&path, config, store, shard).map_err(|error| error.of(&path))?;
        shards.push(path);
    }
    Ok(shards)
}

fn check_shard(
    path: &Path,
    config: &EmbeddedConfig,
    store: &[u8],
    shard: u8,
) -> Result<(), OpenStoreError> {
    let conn = plain(path, config, false)?;
    conn.busy_timeout(config.busy_wait)?;
    check_file(&conn, path)?;
    if meta(&conn, META_STORE)?.as_deref() != Some(store) {
        return Err(foreign(path, "it belongs to another store"));
    }
    check_key(&conn, path, store, Which::shard(shard))
}

/// Makes the shards of a new store, then says in `global` that they exist.
fn make(
    global: &Connection,
    store: &[u8],
    config: &EmbeddedConfig,
) -> Result<Vec<PathBuf>, OpenStoreError> {
    let mut shards = Vec::new();
    for shard in 0..config.shards {
        let path = shard_path(&config.directory, shard);
        let (which, key) = (Which::shard(shard), Key::shard(store, shard));
        let new = New { schema: sql::SHARD_SCHEMA, store, which, key };
        make_file(&path, config, &new)?;
        let conn = connect(&path, config)?;
        check_file(&conn, &path)?;
        let used: Option<i64> =
            conn.query_row("SELECT 1 FROM head LIMIT 1", [], |row| row.get(0)).optional()?;
        if used.is_some() || marks::was_used(&conn)? {
            return Err(OpenStoreError::Missing(config.directory.join(GLOBAL)));
        }
        if meta(&conn, META_STORE)?.as_deref() != Some(store) {
            return Err(foreign(&path, "it belongs to another store"));
        }
        shards.push(path);
    }
    global.execute(sql::META_PUT, (META_SHARDS, &[config.shards][..]))?;
    Ok(shards)
}

/// The id of a store, which every file of it has.
pub(super) fn store_id(conn: &Connection) -> rusqlite::Result<Option<Vec<u8>>> {
    meta(conn, META_STORE)
}

/// A row of `meta`.
pub(super) fn meta(conn: &Connection, name: &str) -> rusqlite::Result<Option<Vec<u8>>> {
    conn.query_row(sql::META_GET, [name], |row| row.get(0)).optional()
}

/// Whether a table has a column.
pub(super) fn has_column(conn: &Connection, table: &str, column: &str) -> rusqlite::Result<bool> {
    let found = conn.query_row(sql::COLUMN_EXISTS, [table, column], |_| Ok(())).optional()?;
    Ok(found.is_some())
}

/// What a new file is made of.
pub(super) struct New<'a> {
    pub(super) schema: &'a str,
    pub(super) store: &'a [u8],
    pub(super) which: Which,
    pub(super) key: Key,
}

/// Makes a file, if there is nothing in it yet: whole, and without a log.
fn make_file(path: &Path, config: &EmbeddedConfig, new: &New<'_>) -> Result<(), OpenStoreError> {
    let mut conn = plain(path, config, true)?;
    conn.busy_timeout(config.busy_wait)?;
    let is_empty = |conn: &Connection| {
        conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
            .map(|tables: i64| tables == 0)
    };
    prepare(&conn, new.key)?;
    if !is_empty(&conn)? {
        return Ok(());
    }
    let step = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if is_empty(&step)? {
        write_schema(&step, new)?;
    }
    Ok(step.commit()?)
}

/// Says how the pages of a file without any will be.
pub(super) fn prepare(conn: &Connection, key: Key) -> rusqlite::Result<()> {
    vfs::offer_key(conn, key)?;
    conn.pragma_update(None, "page_size", i64::try_from(vfs::PAGE_BYTES).unwrap_or(0))?;
    vfs::reserve(conn, vfs::STAMP_BYTES)
}

/// Writes what every file has, inside a transaction.
pub(super) fn write_schema(conn: &Connection, new: &New<'_>) -> rusqlite::Result<()> {
    conn.execute_batch(&format!(
        "{} {} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {};",
        new.schema,
        sql::META_SCHEMA,
        sql::FORMAT
    ))?;
    conn.execute(sql::META_PUT, (META_STORE, new.store))?;
    // An id of another length is refused when the store opens.
    match new.store.try_into() {
        Ok(store) => marks::begin(conn, store, new.which),
        Err(_) => Ok(()),
    }
}

/// A number in the header of a connection's file.
pub(super) fn header(conn: &Connection, name: &str) -> rusqlite::Result<i32> {
    conn.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0))
}

/// Refuses what is not ours.
fn check_file(conn: &Connection, path: &Path) -> Result<(), OpenStoreError> {
    let application = header(conn, "application_id")?;
    if application != APPLICATION_ID {
        return Err(foreign(path, &format!("application id {application:#x}")));
    }
    let found = header(conn, "user_version")?;
    if found != sql::FORMAT {
        return Err(OpenStoreError::Format { path: path.to_owned(), found });
    }
    Ok(())
}

/// Refuses a file whose pages are stamped for another place or store.
fn check_key(
    conn: &Connection,
    path: &Path,
    store: &[u8],
    which: Which,
) -> Result<(), OpenStoreError> {
    let files = || {
        let shard = |shard| (Which::shard(shard), Key::shard(store, shard));
        let shards = (0..EmbeddedConfig::SHARDS_MAX).map(shard);
        [(Which::GLOBAL, Key::global(store))].into_iter().chain(shards)
    };
    let key = vfs::page_key(conn)?;
    let whose = files().find(|(_, of_file)| key == Some(*of_file)).map(|(whose, _)| whose);
    if whose == Some(which) {
        return Ok(());
    }
    // Its rows say that it is ours: then page 1 is damaged, or the file stands in another's place.
    Err(match vfs::check_page(conn, 1)? {
        Some(damage) => OpenStoreError::Damaged(damage),
        None => match whose {
            Some(whose) => foreign(path, &format!("it is {} of this store", whose.name())),
            None => foreign(path, "its pages are those of another store"),
        },
    })
}

/// A connection for the committer or the checkpointer.
pub(super) fn writer(path: &Path, config: &EmbeddedConfig) -> Result<Connection, OpenStoreError> {
    let conn = connect(path, config)?;
    conn.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
    // A savepoint keeps what it may have to undo in memory: a group is bounded, and its members
    // change the same pages. On disk that was a tenth of all that is written.
    conn.pragma_update(None, "temp_store", "memory")?;
    if let Some(bytes) = config.file_bytes_max {
        let pages = i64::try_from(bytes / page_bytes(&conn)?.max(1)).unwrap_or(i64::MAX);
        conn.query_row(&format!("PRAGMA max_page_count = {}", pages.max(1)), [], |_| Ok(()))?;
    }
    Ok(conn)
}

/// A connection that only reads.
pub(super) fn reader(path: &Path, config: &EmbeddedConfig) -> Result<Connection, OpenStoreError> {
    let conn = connect(path, config)?;
    conn.pragma_update(None, "cache_size", -READER_CACHE_KIB)?;
    conn.pragma_update(None, "query_only", true)?;
    Ok(conn)
}

/// A database in memory with its schema.
pub(super) fn memory(schema: &str) -> Result<Connection, OpenStoreError> {
    let conn = Connection::open_in_memory()?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    keep_plans(&conn)?;
    conn.execute_batch(schema)?;
    Ok(conn)
}

/// The engine's page size.
pub(super) fn page_bytes(conn: &Connection) -> rusqlite::Result<u64> {
    let bytes: i64 = conn.query_row("PRAGMA page_size", [], |row| row.get(0))?;
    Ok(u64::try_from(bytes).unwrap_or(0))
}

/// A connection as every part uses it.
fn connect(path: &Path, config: &EmbeddedConfig) -> Result<Connection, OpenStoreError> {
    let conn = plain(path, config, false)?;
    conn.busy_timeout(config.busy_wait)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    keep_plans(&conn)?;
    let mode = to_wal(&conn, config.busy_wait)?;
    if mode != "wal" {
        let why = format!("its file system does not carry WAL (journal mode {mode})");
        return Err(foreign(path, &why));
    }
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.query_row("PRAGMA wal_autocheckpoint = 0", [], |_| Ok(()))?;
    conn.pragma_update(None, "foreign_keys", false)?;
    conn.pragma_update(None, "trusted_schema", false)?;
    conn.pragma_update(None, "cell_size_check", true)?;
    Ok(conn)
}

/// Switches to WAL; the mode that the file has then. Of several processes that switch a new file at
/// the same moment SQLite refuses all but one, whatever their busy timeout: they wait for the lock
/// in the ordinary way, and look again.
fn to_wal(conn: &Connection, wait: Duration) -> rusqlite::Result<String> {
    let begun = Instant::now();
    loop {
        match conn.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)) {
            Err(error) if is_busy(&error) && begun.elapsed() < wait => {
                // Whether it got the lock or not: what counts is that it waited.
                let _ = conn.execute_batch("BEGIN IMMEDIATE; ROLLBACK");
            }
            done => return done,
        }
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    failure::code(error) == Some(ErrorCode::DatabaseBusy)
}

/// Plans do not look at bound values. Otherwise SQLite, built with STAT4, recompiles some
/// statements whenever a value changes: that made the read of one page six times as slow.
fn keep_plans(conn: &Connection) -> rusqlite::Result<()> {
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop)
}

/// A connection through our VFS, as the file is.
pub(super) fn plain(
    path: &Path,
    config: &EmbeddedConfig,
    create: bool,
) -> rusqlite::Result<Connection> {
    let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    if create {
        // SQLite would make it with the mode that the process's mask leaves.
        let _ = private::make(path);
        flags |= OpenFlags::SQLITE_OPEN_CREATE;
    }
    let vfs = vfs::over(config.vfs.as_deref())
        .map_err(|code| rusqlite::Error::SqliteFailure(ffi::Error::new(code), None))?;
    let conn = Connection::open_with_flags_and_vfs(path, flags, vfs.as_str())?;
    // After a failed sync the file must not be written again, not even when it closes.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    // What the VFS holds back of a log must belong to a commit. How much a group writes is bounded.
    conn.pragma_update(None, "cache_spill", false)?;
    Ok(conn)
}
