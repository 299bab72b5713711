//! Certificates and keys in PEM files.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Why a file of certificates or a key cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    /// The file cannot be read, or is not PEM.
    #[error("read the {what} from {}: {error}", .path.display())]
    Unread {
        /// What is expected in the file.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        error: pem::Error,
    },
    /// There is no certificate in the file.
    #[error("{} has no certificate: expected PEM, `BEGIN CERTIFICATE`", .0.display())]
    NoCertificate(PathBuf),
}

/// The certificates of a file, at least one.
///
/// # Errors
/// `PemError` names the file.
pub(crate) fn certificates(
    what: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let found: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(|found| found.collect())
        .map_err(|error| PemError::Unread { what, path: path.to_owned(), error })?;
    if found.is_empty() { Err(PemError::NoCertificate(path.to_owned())) } else { Ok(found) }
}

/// The key of a file. A key that others can read is accepted, since mounted secrets often are
/// readable, but with a warning.
///
/// # Errors
/// `PemError` names the file.
pub(crate) fn key(what: &'static str, path: &Path) -> Result<PrivateKeyDer<'static>, PemError> {
    let key = PrivateKeyDer::from_pem_file(path).map_err(|error| PemError::Unread {
        what,
        path: path.to_owned(),
        error,
    })?;
    if let Some(mode) = open_to_others(path) {
        let (path, mode) = (path.display(), format!("{mode:o}"));
        tracing::warn!(%path, mode, "others can read the key: chmod 600");
    }
    Ok(key)
}

/// The mode of a file that others than its owner can use.
fn open_to_others(path: &Path) -> Option<u32> {
    let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o7777;
    (mode & 0o077 != 0).then_some(mode)
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;

    use super::*;

    #[test]
    fn a_file_without_a_certificate_is_named() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("empty.pem");
        std::fs::write(&path, "").expect("writes");
        let error = certificates("certificate", &path).expect_err("there is none");
        assert!(matches!(&error, PemError::NoCertificate(of) if *of == path), "{error}");
        let missing = dir.path().join("missing.pem");
        let error = certificates("certificate", &missing).expect_err("there is no file");
        assert!(matches!(&error, PemError::Unread { path, .. } if *path == missing), "{error}");
        assert!(key("key", &path).is_err());
    }

    #[test]
    fn a_key_that_others_can_read_is_noticed() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("key.pem");
        std::fs::write(&path, "").expect("writes");
        for (mode, found) in [(0o600, None), (0o640, Some(0o640)), (0o604, Some(0o604))] {
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).expect("sets");
            assert_eq!(open_to_others(&path), found);
        }
    }
}
