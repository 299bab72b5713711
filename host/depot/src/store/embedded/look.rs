//! Looks at the logs of a store before SQLite recovers them, which would take what it can read and
//! be silent about the rest.
//!
//! ```text
//! -wal ─► log    \
//! -shm ─► index   ─► judge ─► sound     SQLite continues
//! .db  ─► mark   /           foreign   refused
//!                             damaged   refused, or a copy is put aside and SQLite takes the rest
//! ```
//!
//! Invariants:
//! - only a process that is alone looks (see `alone`);
//! - a log is synced before SQLite recovers it: what a killed process has written and not synced is
//!   taken over by that, so it must be durable like everything that the log's index names;
//! - nothing is changed before all logs of the store were looked at.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::alone::{self, Opening};
use super::config::EmbeddedConfig;
use super::index::Index;
use super::judge::{Bare, Damage, Evidence, Verdict, judge};
use super::log::{self, Log};
use super::mark::{Mark, Which};
use super::open::{OpenStoreError, beside};
use super::overtaken;
use super::private;
use crate::store::limits::DAMAGED_LOGS_MAX;

/// Where the header of a file has its page size, and how many bytes of it are read.
const PAGE_SIZE_AT: usize = 16;
const HEADER_READ_BYTES: usize = 18;

/// A loss that is accepted: SQLite may continue with the file.
#[derive(Clone, Debug)]
pub(super) struct Accepted {
    pub(super) which: Which,
    pub(super) what: String,
}

/// Looks at all logs of a store.
///
/// # Errors
/// `LogDamaged`, `LogCut` if something is lost and that is not accepted; `LogBehind` if it cannot
/// be; `Foreign` for a log of another file.
pub(super) fn look(
    config: &EmbeddedConfig,
    opening: &Opening,
) -> Result<Vec<Accepted>, OpenStoreError> {
    let shards = (0..EmbeddedConfig::SHARDS_MAX).map(Which::shard);
    let mut damaged: Vec<(Which, PathBuf, Damage, Log)> = Vec::new();
    for which in [Which::GLOBAL].into_iter().chain(shards) {
        let path = config.directory.join(which.name());
        if let Some((damage, log)) = look_at(which, &path, opening.is_same_boot())? {
            damaged.push((which, path, damage, log));
        }
    }
    let mut accepted = Vec::new();
    for (which, path, mut damage, log) in damaged {
        let refusal = refusal(&path, damage);
        if !config.accept_loss {
            return Err(refusal);
        }
        if damage.file == Bare::Before && overtaken::is_beyond(&path, &log)? {
            damage.file = Bare::Beyond;
        }
        let copy = put_aside(&path, damage)?;
        let what = format!("{}; copy: {}", loss(damage), copy.as_deref().unwrap_or("none"));
        accepted.push(Accepted { which, what });
    }
    Ok(accepted)
}

/// Whether all logs of a store that no process uses are sound. Changes nothing.
///
/// # Errors
/// As [`look`].
pub(super) fn sound(config: &EmbeddedConfig) -> Result<(), OpenStoreError> {
    let same_boot = alone::was_opened_since_boot(&config.directory);
    for which in
        [Which::GLOBAL].into_iter().chain((0..EmbeddedConfig::SHARDS_MAX).map(Which::shard))
    {
        let path = config.directory.join(which.name());
        if let Some((damage, _)) = look_at(which, &path, same_boot)? {
            return Err(refusal(&path, damage));
        }
    }
    Ok(())
}

fn look_at(
    which: Which,
    path: &Path,
    same_boot: bool,
) -> Result<Option<(Damage, Log)>, OpenStoreError> {
    let (path_of_log, page_bytes) = (beside(path, "-wal"), page_bytes(path)?);
    let index = Index::read(&beside(path, "-shm"))?;
    let asked = index.map(|index| index.frames);
    let log = match File::open(&path_of_log) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            log::scan(io::empty(), None, asked)?
        }
        file => {
            let file = file?;
            file.sync_all()?;
            log::scan(&file, page_bytes, asked)?
        }
    };
    if page_bytes.is_none() && log.good > 0 {
        // SQLite would delete the log.
        return Err(OpenStoreError::Missing(path.to_owned()));
    }
    let bare = if log.header == log::Header::None { None } else { bare_mark(path) };
    if let Some(why) = bare.and_then(|bare| bare.strange_to((which, None))) {
        return Err(OpenStoreError::Foreign { path: path.to_owned(), why });
    }
    let index = index.as_ref();
    match judge(&Evidence { which, log: &log, index, same_boot, page_bytes, bare }) {
        Verdict::Sound => Ok(None),
        Verdict::Damaged(damage) => Ok(Some((damage, log))),
        Verdict::Foreign(why) => Err(OpenStoreError::Foreign { path: path_of_log, why }),
    }
}

/// Page size of a file that has pages.
fn page_bytes(path: &Path) -> io::Result<Option<u32>> {
    let mut header = Vec::with_capacity(HEADER_READ_BYTES);
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?.take(HEADER_READ_BYTES as u64).read_to_end(&mut header)?,
    };
    let Some(&[high, low]) = header.get(PAGE_SIZE_AT..HEADER_READ_BYTES) else { return Ok(None) };
    Ok(Some(match u16::from_be_bytes([high, low]) {
        1 => 65_536,
        bytes => u32::from(bytes),
    }))
}

/// Opens a file as it is without its log, and takes no lock on it.
pub(super) fn bare(path: &Path) -> rusqlite::Result<Connection> {
    let mut uri = "file:".to_owned();
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                uri.push(char::from(*byte));
            }
            _ => uri.push_str(&format!("%{byte:02x}")),
        }
    }
    uri.push_str("?immutable=1");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)
}

/// The mark that a file has without its log. `None`: none yet, or a checkpoint was interrupted.
fn bare_mark(path: &Path) -> Option<Mark> {
    Mark::read(&bare(path).ok()?).ok().flatten()
}

/// Whether SQLite finds a file in order without its log.
fn is_whole(path: &Path) -> rusqlite::Result<bool> {
    let said: String = bare(path)?.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    Ok(said == "ok")
}

fn refusal(path: &Path, damage: Damage) -> OpenStoreError {
    let path = beside(path, "-wal");
    let Damage { frame, commits, cut, .. } = damage;
    match cut {
        Some(durable) => OpenStoreError::LogCut { path, good: frame.saturating_sub(1), durable },
        None => OpenStoreError::LogDamaged { path, frame, commits_behind: commits },
    }
}

fn loss(damage: Damage) -> String {
    let Damage { frame, commits, cut, file } = damage;
    match (file, cut) {
        (Bare::Whole, _) => format!("log damaged at frame {frame}; all of it was in the file"),
        (_, Some(durable)) => format!("log ends before frame {frame}; {durable} were durable"),
        (_, None) => format!("log damaged at frame {frame}; {commits} commits behind it are lost"),
    }
}

/// Copies a damaged log, and empties it if its file must continue without it. Returns the name of
/// the copy, if there was a log.
fn put_aside(path: &Path, damage: Damage) -> Result<Option<String>, OpenStoreError> {
    let goes_alone = match damage.file {
        Bare::Before => false,
        Bare::Whole => true,
        Bare::Beyond if is_whole(path).unwrap_or(false) => true,
        Bare::Beyond => return Err(OpenStoreError::LogBehind { path: path.to_owned() }),
    };
    let log = beside(path, "-wal");
    if !log.exists() {
        return Ok(None);
    }
    let copy = copy(&log)?;
    if goes_alone {
        let log = fs::OpenOptions::new().write(true).open(&log)?;
        log.set_len(0)?;
        log.sync_all()?;
    }
    Ok(Some(copy.file_name().unwrap_or_default().to_string_lossy().into_owned()))
}

fn copy(log: &Path) -> Result<PathBuf, OpenStoreError> {
    for number in 1..=DAMAGED_LOGS_MAX {
        let path = beside(log, &format!(".damaged-{number}"));
        match private::create_new(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => {
                let mut made = made?;
                io::copy(&mut File::open(log)?, &mut made)?;
                made.sync_all()?;
                return Ok(path);
            }
        }
    }
    Err(OpenStoreError::Copies { path: log.to_owned() })
}
