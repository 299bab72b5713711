//! The files of a store are for its owner only, whatever the process's mask is.
//!
//! ```text
//! directory   0700   one that others may write to is refused: they may have put files there
//! files       0600   .db made here before SQLite does; SQLite gives -wal and -shm the same mode
//! ```

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use super::open::OpenStoreError;

/// The mode of the directory.
const DIRECTORY_MODE: u32 = 0o700;
/// The mode of every file in it.
const FILE_MODE: u32 = 0o600;
/// Bits that let others in.
const OTHERS: u32 = 0o077;
/// Bits that let others write.
const OTHERS_WRITE: u32 = 0o022;

/// Makes the directory, or closes one that others can read.
///
/// # Errors
/// `NotPrivate` if others can write to it, or an I/O error, such as that it is another user's.
pub(super) fn directory(path: &Path) -> Result<(), OpenStoreError> {
    fs::DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(path)?;
    let mode = fs::metadata(path)?.permissions().mode() & 0o7777;
    if mode & OTHERS_WRITE != 0 {
        return Err(OpenStoreError::NotPrivate { path: path.to_owned(), mode });
    }
    if mode & OTHERS != 0 {
        fs::set_permissions(path, Permissions::from_mode(DIRECTORY_MODE))?;
    }
    Ok(())
}

/// Closes every file of the directory that others can read.
///
/// # Errors
/// If one of them is not ours, or an I/O error.
pub(super) fn files(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        // Of the entry itself: what a link points to is not a file of the store.
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_file() && metadata.permissions().mode() & OTHERS != 0 {
            match fs::set_permissions(entry.path(), Permissions::from_mode(FILE_MODE)) {
                // Logs of SQLite come and go.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                done => done?,
            }
        }
    }
    Ok(())
}

/// Opens a file for reading and writing, and makes it if there is none.
pub(super) fn file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(FILE_MODE).open(path)
}

/// Makes a file that is not there yet. One that is there is not touched: SQLite may have it open.
pub(super) fn make(path: &Path) -> io::Result<()> {
    match create_new(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        done => done.map(drop),
    }
}

/// Makes a file that must not be there yet.
pub(super) fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path)
}
