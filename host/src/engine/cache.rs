//! Compiled code on disk, so that a component is compiled once and not at every start.
//!
//! One file per component digest and engine setting, named `<digest>-<setting>.code`:
//!
//! ```text
//!  0        8                          40
//!  +--------+--------------------------+----------------------------+
//!  |STKCODE1| SHA-256 of name and code | code, as the engine made it |
//!  +--------+--------------------------+----------------------------+
//! ```
//!
//! The engine runs what is in such a file as machine code, and accepts flipped bytes. Hence:
//! - K1: the directory belongs to this user, and no other user can write to it, or the host does
//!   not start;
//! - K2: code is used only if its hash fits, and the hash covers the file's name, so that one
//!   component's code is never taken for another's;
//! - K3: a file appears whole (written aside, then renamed) or not at all. It is not synced: a file
//!   that a power cut damaged does not pass K2, and is compiled and written again.
//!
//! The cache may be deleted at any time; several processes may share it.

use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, MetadataExt, OpenOptions, Permissions, PermissionsExt};
use sha2::{Digest as _, Sha256};
use stockade_depot::Digest;

use crate::engine::error::EngineError;

const MAGIC: &[u8; 8] = b"STKCODE1";
const HASH_BYTES: usize = 32;

/// Bytes of one file of compiled code. 2 GiB: thirty times the largest component.
const FILE_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;

/// The cache directory, for one setting of the engine.
#[derive(Debug)]
pub(super) struct CodeCache {
    dir: Dir,
    /// The engine's version and settings.
    setting: String,
    /// Makes names of unfinished files unique in this process.
    unfinished: AtomicU64,
}

/// Machine code that passed K1 and K2.
pub(super) struct VerifiedCode(Vec<u8>);

impl VerifiedCode {
    /// The code.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl CodeCache {
    /// Opens the directory, creating it if it is missing, and removes other users' rights.
    pub(super) fn open(path: &Path, engine: &wasmtime::Engine) -> Result<Self, EngineError> {
        let failed = |source| EngineError::Cache { path: path.to_owned(), source };
        make_private(path).map_err(failed)?;
        let dir = Dir::open_ambient_dir(path, ambient_authority()).map_err(failed)?;
        let cache = Self { dir, setting: setting(engine), unfinished: AtomicU64::new(0) };
        cache.check_private(path)?;
        Ok(cache)
    }

    /// The code of a component, if it is in the cache and whole.
    pub(super) fn read(&self, digest: Digest) -> Option<VerifiedCode> {
        let name = self.name(digest);
        match self.read_file(&name) {
            Ok(Some(code)) => Some(code),
            Ok(None) => {
                tracing::warn!(%digest, "cached code is damaged; it will be compiled anew");
                None
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(%digest, %error, "cached code cannot be read");
                None
            }
        }
    }

    /// Keeps the code of a component. A failure costs the next start a compilation, no more.
    pub(super) fn write(&self, digest: Digest, code: &[u8]) {
        let name = self.name(digest);
        let number = self.unfinished.fetch_add(1, Ordering::Relaxed);
        let aside = format!("{name}.{}-{number}.new", std::process::id());
        let written = self
            .write_file(&aside, &name, code)
            .and_then(|()| self.dir.rename(&aside, &self.dir, &name));
        if let Err(error) = written {
            tracing::warn!(%digest, %error, "compiled code is not cached");
            // Only tidies up: an unfinished file is never read.
            let _ = self.dir.remove_file(&aside);
        }
    }

    fn name(&self, digest: Digest) -> String {
        format!("{digest}-{}.code", self.setting)
    }

    fn read_file(&self, name: &str) -> io::Result<Option<VerifiedCode>> {
        let file = self.dir.open(name)?;
        let bytes = file.metadata()?.len();
        let head = MAGIC.len() + HASH_BYTES;
        let smallest = u64::try_from(head).unwrap_or(u64::MAX);
        if !(smallest..=FILE_BYTES_MAX).contains(&bytes) {
            return Ok(None);
        }
        let mut content = Vec::with_capacity(usize::try_from(bytes).unwrap_or(head));
        file.take(FILE_BYTES_MAX).read_to_end(&mut content)?;
        let Some((stored, code)) = content.split_at_checked(head) else {
            return Ok(None);
        };
        if stored[..MAGIC.len()] != *MAGIC || stored[MAGIC.len()..] != hash(name, code) {
            return Ok(None);
        }
        content.drain(..head);
        Ok(Some(VerifiedCode(content)))
    }

    fn write_file(&self, aside: &str, name: &str, code: &[u8]) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        let mut file = self.dir.open_with(aside, &options)?;
        file.write_all(MAGIC)?;
        file.write_all(&hash(name, code))?;
        file.write_all(code)
    }

    /// K1. A directory that others could write to may already hold their code: it is refused. One
    /// that others could only read is closed to them.
    fn check_private(&self, path: &Path) -> Result<(), EngineError> {
        let failed = |source| EngineError::Cache { path: path.to_owned(), source };
        let metadata = self.dir.dir_metadata().map_err(failed)?;
        let mode = metadata.mode() & 0o7777;
        if mode & 0o022 != 0 {
            return Err(EngineError::CacheNotPrivate { path: path.to_owned(), mode });
        }
        if metadata.uid() != self.our_uid().map_err(failed)? {
            return Err(EngineError::CacheNotOurs { path: path.to_owned() });
        }
        if mode & 0o077 != 0 {
            self.dir.set_permissions(".", Permissions::from_mode(0o700)).map_err(failed)?;
        }
        Ok(())
    }

    /// The user that this process runs as: the owner of a file it makes.
    fn our_uid(&self) -> io::Result<u32> {
        let name = format!("owner.{}.new", std::process::id());
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        let uid = self.dir.open_with(&name, &options)?.metadata()?.uid();
        self.dir.remove_file(&name)?;
        Ok(uid)
    }
}

/// Creates the directory with rights for its owner only; leaves an existing one as it is.
fn make_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn hash(name: &str, code: &[u8]) -> [u8; HASH_BYTES] {
    let mut hash = Sha256::new();
    hash.update(name.as_bytes());
    hash.update([0]);
    hash.update(code);
    hash.finalize().into()
}

/// A name for the engine's version, settings and target: the code of one is useless for another.
fn setting(engine: &wasmtime::Engine) -> String {
    struct Sha(Sha256);
    impl Hasher for Sha {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
        fn finish(&self) -> u64 {
            0 // Unused: the whole hash is taken below.
        }
    }
    let mut sha = Sha(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut sha);
    hex::encode(&sha.0.finalize()[..8])
}
