//! The operators' token of a data directory: made once, readable by those who may read the
//! directory.
//!
//! Invariants:
//! - The file is complete or absent, and never replaced: when two processes start first on one
//!   directory, both read the token that one of them made.
//! - Only the owner can read the file. A file that others can read is refused, since another user
//!   may know the token.

use std::fs::DirBuilder;
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::gateway::auth::{InvalidToken, TOKEN_BYTES_MAX, Token};

/// The file's name in the data directory.
pub const TOKEN_FILE: &str = "admin-token";

/// Why the operators' token cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenFileError {
    /// The file cannot be read or made.
    #[error("the operators' token {}: {error}", .path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// The cause.
        error: io::Error,
    },
    /// Other users can read the file.
    #[error(
        "others can read the operators' token {} (mode {mode:o}): remove the file and start again \
         for a new one, or chmod 600 it if nobody has read it",
        .path.display()
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// The file's permissions.
        mode: u32,
    },
    /// The file holds something else.
    #[error("{} has no token: {error}; remove the file and start again for a new one", .path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What a token has to be.
        error: InvalidToken,
    },
}

/// The token of a data directory; the first start makes it.
///
/// # Errors
/// `TokenFileError` names the file and what to do.
pub fn token_of(data_dir: &Path) -> Result<(Token, PathBuf), TokenFileError> {
    let path = std::path::absolute(data_dir).unwrap_or_else(|_| data_dir.to_owned());
    let path = path.join(TOKEN_FILE);
    let failed = |error| TokenFileError::Unusable { path: path.clone(), error };
    if let Err(error) = path.symlink_metadata() {
        if error.kind() != io::ErrorKind::NotFound {
            return Err(failed(error));
        }
        make(data_dir, &path).map_err(failed)?;
    }
    let text = read_private(&path)?;
    let token = Token::new(&text);
    let token = token.map_err(|error| TokenFileError::Invalid { path: path.clone(), error })?;
    Ok((token, path))
}

/// The text of a token file that only its owner can read.
///
/// # Errors
/// As `token_of`.
pub fn read_private(path: &Path) -> Result<String, TokenFileError> {
    let failed = |error| TokenFileError::Unusable { path: path.to_owned(), error };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(TokenFileError::Open { path: path.to_owned(), mode });
    }
    let mut text = String::new();
    let bytes_max = u64::try_from(TOKEN_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(2);
    file.take(bytes_max).read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

/// Writes a new token under a temporary name, and renames it unless another process was faster.
fn make(data_dir: &Path, path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(data_dir)?;
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(io::Error::other)?;
    // Readable by the owner alone from the first moment on.
    let mut file = tempfile::Builder::new().prefix(".admin-token.").tempfile_in(data_dir)?;
    writeln!(file, "{}", hex::encode(secret))?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Ok(_) => {
            tracing::info!(path = %path.display(), "made the operators' token");
            Ok(())
        }
        Err(lost) if lost.error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(failed) => Err(failed.error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;

    fn open(path: &Path, mode: u32) {
        std::fs::set_permissions(path, Permissions::from_mode(mode)).expect("chmod");
    }

    #[test]
    fn the_first_start_makes_it_and_the_others_read_it() {
        let dir = tempfile::tempdir().expect("directory");
        let data = dir.path().join("data");
        let made: Vec<_> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..8).map(|_| scope.spawn(|| token_of(&data))).collect();
            starts.into_iter().map(|start| start.join().expect("no panic")).collect()
        });
        let (first, path) = made[0].as_ref().expect("made");
        assert!(made.iter().all(|other| other.as_ref().is_ok_and(|(token, _)| token == first)));
        let mode = path.metadata().expect("there").permissions().mode() & 0o7777;
        assert_eq!(mode, 0o600);
        let text = read_private(path).expect("reads");
        assert_eq!(text.trim().len(), 64, "256 bits");
        assert!(first.matches(text.trim().as_bytes()));
        let left = std::fs::read_dir(&data).expect("there").count();
        assert_eq!(left, 1, "nothing else is left");
        let other = token_of(&dir.path().join("other")).expect("made").0;
        assert!(other != *first, "each directory has its own");
    }

    #[test]
    fn what_is_no_secret_is_refused() {
        let dir = tempfile::tempdir().expect("directory");
        let (_, path) = token_of(dir.path()).expect("made");
        open(&path, 0o640);
        assert!(matches!(token_of(dir.path()), Err(TokenFileError::Open { mode: 0o640, .. })));
        open(&path, 0o600);
        std::fs::write(&path, "short\n").expect("written");
        assert!(matches!(token_of(dir.path()), Err(TokenFileError::Invalid { .. })));
        std::fs::remove_file(&path).expect("removed");
        std::fs::create_dir(&path).expect("made");
        open(&path, 0o700);
        assert!(matches!(token_of(dir.path()), Err(TokenFileError::Unusable { .. })));
    }
}
