//! What stands where a file of this format was expected: files of the formats before it.
//!
//! They have no stamps, so our VFS finds them damaged. Before that is reported, the file is looked
//! at as it is: no stamp was ever due where the header leaves no room for one.

use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::config::EmbeddedConfig;
use super::open::{self, APPLICATION_ID, OpenStoreError};
use super::vfs::{self, Place};
use crate::store::sql;

/// Tells a file of an older format from a damaged one.
pub(super) fn explain(error: OpenStoreError, config: &EmbeddedConfig) -> OpenStoreError {
    let OpenStoreError::Damaged(damage) = &error else {
        return error;
    };
    let path = Path::new(&damage.file).to_owned();
    match damage.place {
        Place::Page(_) => match look(&path, config) {
            Ok(Some(Look { application, .. })) if application != APPLICATION_ID => {
                let why = format!("application id {application:#x}");
                OpenStoreError::Foreign { path, why }
            }
            Ok(Some(Look { format: found, .. })) if found != sql::FORMAT => {
                OpenStoreError::Format { path, found }
            }
            Ok(_) | Err(_) => error,
        },
        Place::Frame(_) | Place::File => error,
    }
}

/// The header of a file without stamps.
pub(super) struct Look {
    pub(super) application: i32,
    pub(super) format: i32,
}

/// Looks at a file without proving it. `None`: its pages have room for a stamp.
///
/// # Errors
/// SQLite's, if it is no database.
pub(super) fn look(path: &Path, config: &EmbeddedConfig) -> rusqlite::Result<Option<Look>> {
    let conn = unproved(path, config)?;
    let (application, format) =
        (open::header(&conn, "application_id")?, open::header(&conn, "user_version")?);
    let is_stamped = vfs::reserved(&conn)? != 0;
    Ok((!is_stamped).then_some(Look { application, format }))
}

/// A connection to a file as SQLite has it, past our VFS.
pub(super) fn unproved(path: &Path, config: &EmbeddedConfig) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = match &config.vfs {
        Some(behind) => Connection::open_with_flags_and_vfs(path, flags, behind.as_str())?,
        None => Connection::open_with_flags(path, flags)?,
    };
    conn.busy_timeout(config.busy_wait)?;
    // It must not write into a file whose pages are stamped, not even when it closes.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(conn)
}
