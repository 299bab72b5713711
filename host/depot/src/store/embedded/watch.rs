//! Whether the paths of an open file still name what is open.
//!
//! SQLite continues with a file that was removed or replaced, and every commit goes where no
//! process finds it. So the names are compared with what was opened, now and then.
//!
//! Invariant: nothing is opened here. To close a file drops all locks of the process on it, those
//! of SQLite included.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::open::beside;
use crate::error::FailureCause;

/// What a path named when the file was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

/// The paths of one open file: its directory, itself, the log and the log's index.
#[derive(Debug)]
pub(super) struct Watched {
    paths: Vec<(PathBuf, Option<Identity>)>,
    log: PathBuf,
}

impl Watched {
    /// What the paths of `file` name now, after it was opened and before anything else has
    /// happened. One that names nothing yet is watched once it does.
    pub(super) fn new(file: &Path) -> Self {
        let log = beside(file, "-wal");
        let directory = file.parent().map(Path::to_owned);
        let files = [file.to_owned(), beside(file, "-shm"), log.clone()];
        let paths = directory.into_iter().chain(files);
        let paths = paths.map(|path| (path.clone(), identity(&path).ok().flatten())).collect();
        Self { paths, log }
    }

    /// The log.
    pub(super) fn log(&self) -> &Path {
        &self.log
    }

    /// The first path that does not name what it did. A path that cannot be looked at says nothing.
    pub(super) fn look(&mut self) -> Option<FailureCause> {
        for (path, known) in &mut self.paths {
            let Ok(found) = identity(path) else { continue };
            match (&known, found) {
                (None, found) => *known = found,
                (Some(_), None) => return Some(FailureCause::Removed(path.clone())),
                (Some(was), Some(is)) if *was != is => {
                    return Some(FailureCause::Replaced(path.clone()));
                }
                (Some(_), Some(_)) => {}
            }
        }
        None
    }
}

/// What a path names; `None`: nothing.
fn identity(path: &Path) -> std::io::Result<Option<Identity>> {
    match fs::metadata(path) {
        Ok(found) => Ok(Some(Identity { device: found.dev(), inode: found.ino() })),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_removed_or_replaced_is_named() {
        for (path, suffix) in [("a.db", ""), ("a.db-wal", "-wal"), ("a.db-shm", "-shm")] {
            let directory = tempfile::tempdir().unwrap();
            let file = directory.path().join("a.db");
            for suffix in ["", "-wal", "-shm"] {
                fs::write(beside(&file, suffix), b"x").unwrap();
            }
            let (mut watched, path) = (Watched::new(&file), directory.path().join(path));
            assert_eq!(watched.look(), None);
            let copy = directory.path().join("copy");
            fs::copy(&path, &copy).unwrap();
            fs::remove_file(&path).unwrap();
            assert_eq!(watched.look(), Some(FailureCause::Removed(path.clone())), "{suffix}");
            fs::rename(&copy, &path).unwrap();
            assert_eq!(watched.look(), Some(FailureCause::Replaced(path)), "{suffix}");
        }
    }

    #[test]
    fn a_directory_that_was_moved_is_named() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("store");
        fs::create_dir(&directory).unwrap();
        let file = directory.join("a.db");
        fs::write(&file, b"x").unwrap();
        let mut watched = Watched::new(&file);
        fs::rename(&directory, parent.path().join("moved")).unwrap();
        assert_eq!(watched.look(), Some(FailureCause::Removed(directory.clone())));
        fs::create_dir(&directory).unwrap();
        assert_eq!(watched.look(), Some(FailureCause::Replaced(directory)));
    }

    #[test]
    fn a_log_that_comes_later_is_watched_from_then_on() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a.db");
        fs::write(&file, b"x").unwrap();
        let mut watched = Watched::new(&file);
        let log = watched.log().to_owned();
        fs::write(&log, b"x").unwrap();
        assert_eq!(watched.look(), None);
        fs::remove_file(&log).unwrap();
        assert_eq!(watched.look(), Some(FailureCause::Removed(log)));
    }
}
