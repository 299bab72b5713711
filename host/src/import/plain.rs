//! Prepares a user's plain SQLite file for an import: on a private copy, by stock SQLite.
//!
//! ```text
//!  FILE, FILE-wal, FILE-journal ─► copy in a directory of its own; FILE is only read
//!  copy ─► journal_mode=DELETE    a WAL is carried over, a hot journal rolled back
//!       ─► UTF-8? page size 4096? (VACUUM INTO if not)   ─► integrity_check
//!       ─► nothing that no actor can have (schema.rs)    ─► pages, in order
//! ```
//! The directory is locked while it is in use and removed when it is dropped. A directory that a
//! killed process has left is found by [`sweep`]: its lock is free.
//!
//! The file is untrusted: a connection opens it with `trusted_schema` off and defensive, and with
//! an actor's functions, memory and stack, so that reading the schema takes bounded resources.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use stockade_depot::PAGE_SIZE;
use stockade_vfs::heap::Heap;

use crate::limits::{Limits, SQL_STACK_BYTES};
use crate::sqlite::{HEAP_BYTES_MAX, Unfit, check_schema, register_functions};

/// The first bytes of every SQLite file.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// The prefix of the directories of imports.
const PREFIX: &str = "import-";
/// Lines of `PRAGMA integrity_check` that an error quotes.
const FAULTS_TOLD: usize = 10;
/// How many times as large as a database its journal or WAL may be: both hold old and new versions
/// of a page. A larger one was not made by a database of that size.
const LOG_SHARE: u64 = 4;

/// Why a file cannot be imported.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlainError {
    /// The file cannot be read, or there is no room for a copy.
    #[error("cannot {verb} {}: {why}", path.display())]
    Unreadable {
        /// The operation that failed.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        why: String,
    },
    /// The file is no SQLite database.
    #[error("it is not a SQLite database (or it is encrypted): {0}")]
    NotSqlite(String),
    /// SQLite finds the file damaged.
    #[error("it is damaged: {0}; repair it with `sqlite3 FILE .recover | sqlite3 NEW`")]
    Damaged(String),
    /// The file is a database that actors cannot have.
    #[error("{0}")]
    Unsupported(String),
    /// The file was written while it was copied.
    #[error("{} changed while it was copied; stop what writes it", .0.display())]
    Busy(PathBuf),
    /// The file is larger than the kind allows.
    #[error("{bytes} bytes are over the limit of {max} (database_bytes_max)")]
    TooLarge {
        /// The file's bytes, as far as known.
        bytes: u64,
        /// The limit.
        max: u64,
    },
}

type Done<T> = Result<T, PlainError>;

fn unreadable(verb: &'static str, path: &Path, why: &impl ToString) -> PlainError {
    PlainError::Unreadable { verb, path: path.to_owned(), why: why.to_string() }
}

/// A private directory for one file, and then the file.
pub struct Intake {
    dir: PathBuf,
    _lock: File,
    path: PathBuf,
}

impl Intake {
    /// Creates an empty directory below `scratch`.
    ///
    /// # Errors
    /// `Unreadable`.
    pub fn new(scratch: &Path) -> Done<Self> {
        let mut name = [0; 16];
        getrandom::fill(&mut name).map_err(|error| unreadable("name", scratch, &error))?;
        let dir = scratch.join(format!("{PREFIX}{}", hex::encode(name)));
        let failed = |error: io::Error| unreadable("write", &dir, &error);
        DirBuilder::new().mode(0o700).create(&dir).map_err(failed)?;
        let lock = File::create_new(dir.join("lock")).map_err(failed)?;
        lock.lock().map_err(failed)?;
        Ok(Self { path: dir.join("database"), _lock: lock, dir })
    }

    /// Creates an empty file, to be filled by the caller.
    ///
    /// # Errors
    /// `Unreadable`.
    pub fn create(&self) -> Done<File> {
        private(&self.path).map_err(|error| unreadable("write", &self.path, &error))
    }

    /// Copies a user's file with its journals.
    ///
    /// # Errors
    /// `Unreadable`, `NotSqlite`, `TooLarge`, and `Busy` if the file changes during the copy.
    pub fn copy(&self, source: &Path, bytes_max: u64) -> Done<()> {
        // SQLite looks for journals beside the target of a link.
        let source = source.canonicalize().map_err(|error| unreadable("read", source, &error))?;
        check_magic(&source)?;
        let files = ["", "-wal", "-journal"].map(|suffix| with_suffix(&source, suffix));
        let before = files.each_ref().map(|file| Seen::of(file));
        let size = before[0].as_ref().map_or(0, |seen| seen.bytes);
        if size > bytes_max {
            return Err(PlainError::TooLarge { bytes: size, max: bytes_max });
        }
        for (file, suffix) in files.iter().zip(["", "-wal", "-journal"]) {
            let Some(seen) = Seen::of(file) else { continue };
            let most = bytes_max.saturating_mul(LOG_SHARE);
            if seen.bytes > most {
                return Err(PlainError::TooLarge { bytes: seen.bytes, max: most });
            }
            let opened = File::open(file).map_err(|error| unreadable("read", file, &error))?;
            let to = with_suffix(&self.path, suffix);
            let copied = private(&to).and_then(|mut to| io::copy(&mut opened.take(most), &mut to));
            copied.map_err(|error| unreadable("copy", file, &error))?;
        }
        if files.each_ref().map(|file| Seen::of(file)) != before {
            return Err(PlainError::Busy(source));
        }
        Ok(())
    }

    /// Lets SQLite carry over the WAL or roll back the hot journal, so that all data is in the
    /// file. Returns the file's path.
    ///
    /// # Errors
    /// `NotSqlite`, `Damaged`.
    pub fn recover(&self) -> Done<&Path> {
        self.open().map(|_| self.path.as_path())
    }

    /// Turns the file into the database of an actor with such limits, and checks it. Blocks.
    ///
    /// # Errors
    /// `NotSqlite`, `Damaged`, `Unsupported`, `TooLarge`.
    pub fn check(self, limits: &Limits) -> Done<Plain> {
        let heap = Heap::new(HEAP_BYTES_MAX);
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("import".to_owned());
            let checked = thread
                .stack_size(SQL_STACK_BYTES)
                .spawn_scoped(scope, || heap.within(|| self.check_within(limits)))
                .map_err(|error| unreadable("check", Path::new("the copy"), &error))?;
            checked.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn check_within(self, limits: &Limits) -> Done<Plain> {
        let bytes_max = limits.database_bytes_max;
        let mut plain = self;
        let conn = plain.open()?;
        let encoding: String = pragma(&conn, "encoding")?;
        if encoding != "UTF-8" {
            return Err(PlainError::Unsupported(format!(
                "its text is {encoding} and an actor's is UTF-8, which is what limits count; \
                 make a copy with `sqlite3 FILE .dump | sqlite3 NEW`"
            )));
        }
        let page_bytes = i64::try_from(PAGE_SIZE).unwrap_or(i64::MAX);
        let stored: i64 = pragma(&conn, "page_size")?;
        let pages: i64 = pragma(&conn, "page_count")?;
        let (conn, pages) = if stored == page_bytes || pages == 0 {
            (conn, pages)
        } else {
            let converted = plain.dir.join("converted");
            conn.pragma_update(None, "page_size", page_bytes).map_err(told)?;
            let target = converted.to_string_lossy();
            conn.execute("VACUUM INTO ?1", [target.as_ref()]).map_err(told)?;
            drop(conn);
            plain.path = converted;
            let conn = plain.open()?;
            let pages = pragma(&conn, "page_count")?;
            (conn, pages)
        };
        let bytes = u64::try_from(pages.saturating_mul(page_bytes)).unwrap_or(u64::MAX);
        let page_count = u32::try_from(pages).ok().filter(|_| bytes <= bytes_max);
        let page_count = page_count.ok_or(PlainError::TooLarge { bytes, max: bytes_max })?;
        let faults = integrity(&conn).map_err(told)?;
        if faults != ["ok"] {
            return Err(PlainError::Damaged(faults.join("; ")));
        }
        check_schema(&conn, limits).map_err(|unfit| match unfit {
            Unfit::Unsupported(words) => PlainError::Unsupported(words),
            Unfit::Sqlite(error) => told(error),
        })?;
        drop(conn);
        let file = File::open(&plain.path);
        let file = file.map_err(|error| unreadable("read", &plain.path, &error))?;
        Ok(Plain { file, page_count, _intake: plain })
    }

    /// Opens the file with stock SQLite, with no journals beside it.
    fn open(&self) -> Done<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(&self.path, flags).map_err(told)?;
        register_functions(&conn).map_err(|code| {
            told(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None))
        })?;
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true).map_err(told)?;
        conn.pragma_update(None, "trusted_schema", false).map_err(told)?;
        conn.pragma_update(None, "cell_size_check", true).map_err(told)?;
        let mode: String =
            conn.query_row("PRAGMA journal_mode = DELETE", [], |row| row.get(0)).map_err(told)?;
        if mode != "delete" {
            return Err(PlainError::Damaged(format!("its journal mode stays {mode}")));
        }
        Ok(conn)
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.dir) {
            tracing::warn!(dir = %self.dir.display(), %error, "cannot remove an import's copy");
        }
    }
}

/// A checked file, read page by page.
pub struct Plain {
    file: File,
    page_count: u32,
    _intake: Intake,
}

impl Plain {
    /// The number of pages.
    #[must_use]
    pub fn page_count(&self) -> u32 {
        self.page_count
    }

    /// The next `count` pages.
    ///
    /// # Errors
    /// The system's error; a file that became shorter is `UnexpectedEof`.
    pub fn read(&mut self, count: usize) -> io::Result<Vec<bytes::Bytes>> {
        let mut all = vec![0; count * PAGE_SIZE];
        self.file.read_exact(&mut all)?;
        let all = bytes::Bytes::from(all);
        Ok((0..count).map(|n| all.slice(n * PAGE_SIZE..(n + 1) * PAGE_SIZE)).collect())
    }
}

/// Removes the directories that killed processes have left below `scratch`.
///
/// # Errors
/// The directory cannot be read.
pub fn sweep(scratch: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(scratch)?.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let dir = entry.path();
        let free = File::open(dir.join("lock")).is_ok_and(|lock| lock.try_lock().is_ok());
        if free {
            std::fs::remove_dir_all(&dir)?;
        }
    }
    Ok(())
}

/// A new file that only this user may read.
fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// An empty file is an empty database; anything else begins with the magic bytes.
fn check_magic(path: &Path) -> Done<()> {
    let failed = |error: io::Error| unreadable("read", path, &error);
    let file = File::open(path).map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(unreadable("read", path, &"it is not a file"));
    }
    let mut head = Vec::new();
    file.take(16).read_to_end(&mut head).map_err(failed)?;
    if head.is_empty() || head == MAGIC {
        return Ok(());
    }
    Err(PlainError::NotSqlite("its first bytes are not those of one".to_owned()))
}

/// Size and times of a file, compared to detect a write.
#[derive(PartialEq, Eq)]
struct Seen {
    bytes: u64,
    modified: Option<SystemTime>,
}

impl Seen {
    /// `None`: there is no such file.
    fn of(path: &Path) -> Option<Self> {
        let meta = std::fs::metadata(path).ok()?;
        Some(Self { bytes: meta.len(), modified: meta.modified().ok() })
    }
}

fn pragma<T: rusqlite::types::FromSql>(conn: &Connection, name: &str) -> Done<T> {
    conn.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0)).map_err(told)
}

/// The answer of `PRAGMA integrity_check`: `ok` alone, or the problems.
fn integrity(conn: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = conn.prepare(&format!("PRAGMA integrity_check({FAULTS_TOLD})"))?;
    let lines = statement.query_map([], |row| row.get(0))?;
    lines.collect()
}

/// Translates SQLite's error about a file.
fn told(error: rusqlite::Error) -> PlainError {
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => PlainError::NotSqlite(error.to_string()),
        Some(ErrorCode::OutOfMemory) => PlainError::Unsupported(
            "its schema takes more memory or stack than an actor has (memory, depth)".to_owned(),
        ),
        Some(ErrorCode::DiskFull | ErrorCode::CannotOpen | ErrorCode::SystemIoFailure) => {
            unreadable("copy", Path::new("the database"), &error)
        }
        _ => PlainError::Damaged(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: u64 = 1 << 30;

    fn check(source: &Path, max: u64) -> Done<Plain> {
        let scratch = source.parent().expect("a directory").join("scratch");
        std::fs::create_dir_all(&scratch).expect("scratch");
        let intake = Intake::new(&scratch)?;
        intake.copy(source, max)?;
        let limits = Limits { database_bytes_max: max, ..Limits::default() };
        let checked = intake.check(&limits);
        if checked.is_err() {
            assert_eq!(std::fs::read_dir(&scratch).expect("scratch").count(), 0, "left behind");
        }
        checked
    }

    fn database(dir: &Path, first: &str) -> (PathBuf, Connection) {
        stockade_vfs::heap::install();
        let path = dir.join("user.sqlite");
        let conn = Connection::open(&path).expect("open");
        conn.execute_batch(first).expect("pragmas");
        conn.execute_batch(
            "CREATE TABLE t (a, b); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 \
             FROM n WHERE i < 500) INSERT INTO t SELECT i, hex(randomblob(20)) FROM n;",
        )
        .expect("fill");
        (path, conn)
    }

    /// Rows of `t` in the file that would be imported.
    fn rows(mut plain: Plain) -> i64 {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("out");
        let count = usize::try_from(plain.page_count()).expect("fits");
        let bytes = plain.read(count).expect("pages").concat();
        assert_eq!(&bytes[16..20], [0x10, 0, 1, 1], "page size, no WAL");
        std::fs::write(&path, bytes).expect("write");
        let conn = Connection::open(&path).expect("open");
        assert_eq!(integrity(&conn).expect("a database"), ["ok"]);
        conn.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).expect("rows")
    }

    #[test]
    fn any_page_size_becomes_ours_and_the_file_is_not_touched() {
        for page_size in [512, 1024, 4096, 8192, 65_536] {
            let dir = tempfile::tempdir().expect("directory");
            let (path, conn) = database(dir.path(), &format!("PRAGMA page_size = {page_size}"));
            drop(conn);
            let before = std::fs::read(&path).expect("read");
            assert_eq!(rows(check(&path, MAX).expect("sound")), 500, "{page_size}");
            assert_eq!(std::fs::read(&path).expect("read"), before);
            assert_eq!(std::fs::read_dir(dir.path()).expect("list").count(), 2, "file, scratch");
        }
    }

    #[test]
    fn a_wal_is_carried_over() {
        let dir = tempfile::tempdir().expect("directory");
        let (path, conn) =
            database(dir.path(), "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0");
        conn.execute("DELETE FROM t WHERE a > 100", []).expect("delete");
        // The connection stays open: what was written is in the WAL alone.
        let (size, wal) = (|| Seen::of(&path), with_suffix(&path, "-wal"));
        let before = (size(), std::fs::read(&wal).expect("a WAL"));
        assert_eq!(rows(check(&path, MAX).expect("sound")), 100);
        assert!((size(), std::fs::read(&wal).expect("a WAL")) == before);
    }

    #[test]
    fn a_hot_journal_is_rolled_back() {
        let dir = tempfile::tempdir().expect("directory");
        let (path, conn) = database(dir.path(), "PRAGMA cache_size = 5");
        // A transaction that spilled into the file, and whose process died, as it was copied.
        conn.execute_batch("BEGIN; UPDATE t SET b = b || b || b; DELETE FROM t WHERE a > 3")
            .expect("spill");
        let copy = dir.path().join("crashed.sqlite");
        for suffix in ["", "-journal"] {
            std::fs::copy(with_suffix(&path, suffix), with_suffix(&copy, suffix)).expect("copy");
        }
        conn.execute_batch("ROLLBACK").expect("rollback");
        let spilled = std::fs::read(&copy).expect("read") != std::fs::read(&path).expect("read");
        assert!(spilled, "nothing to roll back");
        assert_eq!(rows(check(&copy, MAX).expect("sound")), 500);
    }

    #[test]
    fn what_cannot_be_imported_says_why_and_leaves_nothing() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("other");
        std::fs::write(&path, "just a text, long enough for a header").expect("write");
        let refused = |path: &Path, max: u64| check(path, max).map(|_| ()).expect_err("refused");
        assert!(matches!(refused(&path, MAX), PlainError::NotSqlite(_)));
        assert!(matches!(refused(&dir.path().join("none"), MAX), PlainError::Unreadable { .. }));
        assert!(matches!(refused(dir.path(), MAX), PlainError::Unreadable { .. }));
        let (path, conn) = database(dir.path(), "PRAGMA encoding = 'UTF-16'");
        drop(conn);
        assert!(matches!(refused(&path, MAX), PlainError::Unsupported(_)));
        assert!(matches!(refused(&path, 4096), PlainError::TooLarge { max: 4096, .. }));
        std::fs::remove_file(&path).expect("remove");
        let (path, conn) = database(dir.path(), "");
        drop(conn);
        let mut bytes = std::fs::read(&path).expect("read");
        for byte in &mut bytes[5000..9000] {
            *byte ^= 0x5a;
        }
        std::fs::write(&path, &bytes).expect("write");
        assert!(matches!(refused(&path, MAX), PlainError::Damaged(_)));
        std::fs::write(&path, &bytes[..6000]).expect("write");
        assert!(matches!(refused(&path, MAX), PlainError::Damaged(_)));
    }

    #[test]
    fn an_empty_file_is_an_empty_database() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("empty");
        std::fs::write(&path, "").expect("write");
        assert_eq!(check(&path, MAX).expect("sound").page_count(), 0);
    }

    #[test]
    fn what_a_killed_process_left_is_swept_and_what_is_in_use_is_not() {
        let scratch = tempfile::tempdir().expect("directory");
        let used = Intake::new(scratch.path()).expect("made");
        let left = scratch.path().join(format!("{PREFIX}left"));
        std::fs::create_dir(&left).expect("made");
        std::fs::write(left.join("lock"), "").expect("made");
        std::fs::write(left.join("database"), "half").expect("made");
        sweep(scratch.path()).expect("swept");
        assert!(!left.exists());
        assert!(used.dir.exists());
    }
}
