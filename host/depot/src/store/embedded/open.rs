//! Makes and opens the files of a store, and sets every connection up the same way.
//!
//! ```text
//! directory (0700)
//!   global.db     nodes, components, kinds; meta: store id, number of shards
//!   shard-00.db   actors, heads, pages, commits, snapshots, pins; meta: store id
//!   shard-01.db   ...
//! each:           application_id "STKD", user_version = schema version, WAL
//! ```
//!
//! A store exists once `global.db` has the number of shards, which is written last. From then on a
//! missing shard is an error: nothing missing is ever taken for empty.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, TransactionBehavior, ffi};

use super::combine;
use super::config::EmbeddedConfig;
use super::failure;
use super::marks;
use super::private;
use super::stamp::Which;
use crate::store::{limits, sql};

/// "STKD": tells `file` and other programs whose database this is.
const APPLICATION_ID: i32 = 0x5354_4b44;
/// Engine page size of a new store. A commit changes a leaf of the page index and one of the commit rows
/// for itself, and a trimmed row its own: small pages make them a small part of what is written. 1 KiB
/// writes less still, for more CPU a commit; 8 KiB read no faster.
const ENGINE_PAGE_BYTES: i64 = 2048;
/// Page cache of a connection that writes, in KiB: inner pages of the key index stay in.
const WRITER_CACHE_KIB: i64 = 32 << 10;
/// Page cache of a connection that reads, in KiB.
const READER_CACHE_KIB: i64 = 8 << 10;
/// Prepared statements that a connection keeps: all of `sql`.
const STATEMENTS_KEPT: usize = 96;

const META_STORE: &str = "store";
const META_SHARDS: &str = "shards";

/// Why a store did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenStoreError {
    /// The directory or a file could not be made or read.
    #[error("open store: {0}")]
    Io(#[from] io::Error),
    /// SQLite refused.
    #[error("open store: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The number of shards is not 1 to [`EmbeddedConfig::SHARDS_MAX`].
    #[error("a store has 1 to {max} shards, not {asked}", max = EmbeddedConfig::SHARDS_MAX)]
    Shards {
        /// What was asked for.
        asked: u8,
    },
    /// A file of the store is gone. It is not made anew: it held data.
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
    #[error("another process has been opening {directory} for {wait} s: try again",
        directory = directory.display(), wait = limits::OPENING_WAIT.as_secs())]
    Opening {
        /// The store's directory.
        directory: PathBuf,
    },
    /// A file was written by another version of this program.
    #[error("{path} has format {found}, this program reads format {ours}", ours = sql::FORMAT)]
    Format {
        /// Which file.
        path: PathBuf,
        /// Its format.
        found: i32,
    },
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
    let global = directory.join("global.db");
    let mut conn = connect(&global, config, true)?;
    prepare_file(&conn, &global, sql::GLOBAL_SCHEMA)?;
    // Of several processes that start at once, one makes the shards and the others wait here.
    let step = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let shards = match meta(&step, META_SHARDS)? {
        Some(stored) => existing(&step, &global, config, &stored)?,
        None => make(&step, config)?,
    };
    step.commit()?;
    fs::File::open(directory)?.sync_all()?;
    Ok(Layout { global, shards })
}

fn shard_path(directory: &Path, shard: u8) -> PathBuf {
    directory.join(Which::shard(shard).name())
}

/// Checks the shards of a store that was made before.
fn existing(
    global: &Connection,
    path: &Path,
    config: &EmbeddedConfig,
    stored: &[u8],
) -> Result<Vec<PathBuf>, OpenStoreError> {
    let foreign = |path: &Path, why: &str| OpenStoreError::Foreign {
        path: path.to_owned(),
        why: why.to_owned(),
    };
    let &[count] = stored else {
        return Err(foreign(path, "its number of shards is damaged"));
    };
    let store = meta(global, META_STORE)?.ok_or_else(|| foreign(path, "it has no store id"))?;
    let mut shards = Vec::new();
    for shard in 0..count {
        let path = shard_path(&config.directory, shard);
        if !path.exists() {
            return Err(OpenStoreError::Missing(path));
        }
        let conn = plain(&path, config, false)?;
        conn.busy_timeout(config.busy_wait)?;
        check_file(&conn, &path, sql::SHARD_SCHEMA)?;
        if meta(&conn, META_STORE)?.as_ref() != Some(&store) {
            return Err(foreign(&path, "it belongs to another store"));
        }
        shards.push(path);
    }
    Ok(shards)
}

/// Makes the shards of a new store, then says in `global` that they exist.
fn make(global: &Connection, config: &EmbeddedConfig) -> Result<Vec<PathBuf>, OpenStoreError> {
    let mut store = [0; 16];
    getrandom::fill(&mut store).map_err(io::Error::other)?;
    let mut shards = Vec::new();
    for shard in 0..config.shards {
        let path = shard_path(&config.directory, shard);
        let conn = connect(&path, config, true)?;
        prepare_file(&conn, &path, sql::SHARD_SCHEMA)?;
        let used: Option<i64> =
            conn.query_row("SELECT 1 FROM head LIMIT 1", [], |row| row.get(0)).optional()?;
        if used.is_some() || marks::was_used(&conn)? {
            return Err(OpenStoreError::Missing(config.directory.join("global.db")));
        }
        let step = conn.unchecked_transaction()?;
        step.execute("DELETE FROM meta", [])?;
        step.execute(sql::META_PUT, (META_STORE, &store[..]))?;
        marks::begin(&step, store, Which::shard(shard))?;
        step.commit()?;
        shards.push(path);
    }
    marks::begin(global, store, Which::GLOBAL)?;
    global.execute("DELETE FROM meta", [])?;
    global.execute(sql::META_PUT, (META_STORE, &store[..]))?;
    global.execute(sql::META_PUT, (META_SHARDS, &[config.shards][..]))?;
    Ok(shards)
}

/// The id of a store, which every file of it has.
pub(super) fn store_id(conn: &Connection) -> rusqlite::Result<Option<Vec<u8>>> {
    meta(conn, META_STORE)
}

fn meta(conn: &Connection, name: &str) -> rusqlite::Result<Option<Vec<u8>>> {
    conn.query_row(sql::META_GET, [name], |row| row.get(0)).optional()
}

/// Writes header and schema of a new file; checks those of an old one.
fn prepare_file(conn: &Connection, path: &Path, schema: &str) -> Result<(), OpenStoreError> {
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables > 0 {
        return check_file(conn, path, schema);
    }
    conn.execute_batch(&format!(
        "BEGIN IMMEDIATE; {schema} {} PRAGMA application_id = {APPLICATION_ID}; \
         PRAGMA user_version = {}; COMMIT",
        sql::META_SCHEMA,
        sql::FORMAT
    ))?;
    Ok(())
}

/// Refuses what is not ours. A file of the format before this one gets what it lacks: tables and
/// indexes only, so programs of either format may have it open.
fn check_file(conn: &Connection, path: &Path, schema: &str) -> Result<(), OpenStoreError> {
    let pragma = |name: &str| -> rusqlite::Result<i32> {
        conn.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0))
    };
    let application = pragma("application_id")?;
    if application != APPLICATION_ID {
        let why = format!("application id {application:#x}");
        return Err(OpenStoreError::Foreign { path: path.to_owned(), why });
    }
    let found = pragma("user_version")?;
    if found == sql::FORMAT_WITHOUT_STAGES {
        return Ok(conn.execute_batch(&format!(
            "BEGIN IMMEDIATE; {schema} PRAGMA user_version = {}; COMMIT",
            sql::FORMAT
        ))?);
    }
    if found != sql::FORMAT {
        return Err(OpenStoreError::Format { path: path.to_owned(), found });
    }
    Ok(())
}

/// A connection for the committer or the checkpointer.
pub(super) fn writer(path: &Path, config: &EmbeddedConfig) -> Result<Connection, OpenStoreError> {
    let conn = connect(path, config, false)?;
    conn.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
    // A savepoint keeps what it may have to undo in memory: a group is bounded, and its members change
    // the same pages. On disk that was a tenth of all that is written.
    conn.pragma_update(None, "temp_store", "memory")?;
    if let Some(bytes) = config.file_bytes_max {
        let pages = i64::try_from(bytes / page_bytes(&conn)?.max(1)).unwrap_or(i64::MAX);
        conn.query_row(&format!("PRAGMA max_page_count = {}", pages.max(1)), [], |_| Ok(()))?;
    }
    Ok(conn)
}

/// A connection that only reads.
pub(super) fn reader(path: &Path, config: &EmbeddedConfig) -> Result<Connection, OpenStoreError> {
    let conn = connect(path, config, false)?;
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
fn connect(
    path: &Path,
    config: &EmbeddedConfig,
    create: bool,
) -> Result<Connection, OpenStoreError> {
    let conn = plain(path, config, create)?;
    conn.busy_timeout(config.busy_wait)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    // After a failed sync the file must not be written again, not even when it closes.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    keep_plans(&conn)?;
    conn.pragma_update(None, "page_size", ENGINE_PAGE_BYTES)?;
    let mode = to_wal(&conn, config.busy_wait)?;
    if mode != "wal" {
        let why = format!("its file system does not carry WAL (journal mode {mode})");
        return Err(OpenStoreError::Foreign { path: path.to_owned(), why });
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

/// Plans do not look at bound values. Otherwise SQLite, built with STAT4, compiles some statements
/// anew whenever a value changes: that made the read of one page six times as slow.
fn keep_plans(conn: &Connection) -> rusqlite::Result<()> {
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop)
}

fn plain(path: &Path, config: &EmbeddedConfig, create: bool) -> rusqlite::Result<Connection> {
    let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    if create {
        // SQLite would make it with the mode that the process's mask leaves.
        let _ = private::make(path);
        flags |= OpenFlags::SQLITE_OPEN_CREATE;
    }
    let vfs = combine::over(config.vfs.as_deref())
        .map_err(|code| rusqlite::Error::SqliteFailure(ffi::Error::new(code), None))?;
    let conn = Connection::open_with_flags_and_vfs(path, flags, vfs.as_str())?;
    // What `combine` holds back must belong to a commit. How much a group writes is bounded.
    conn.pragma_update(None, "cache_spill", false)?;
    Ok(conn)
}
