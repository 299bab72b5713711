//! A layer over the system's VFS that writes down what reaches the files.
//!
//! Shared memory (the WAL's index) and locks pass through unseen: no crash keeps them.

use std::ffi::{CStr, OsStr, c_int};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use rusqlite::ffi::SQLITE_OPEN_WAL;
use stockade_sqlite::Code;
use stockade_sqlite::vfs::{Below, Layer, LayerFile, register_over};

use crate::journal::{Journal, Op};

struct Recorder {
    journal: Arc<Journal>,
}

/// A file with a name inside the store's directory.
struct Recorded {
    journal: Arc<Journal>,
    name: String,
    is_log: bool,
}

/// Registers a VFS that writes down into `journal`; its name is to be given to `EmbeddedConfig`.
pub(crate) fn register(journal: Arc<Journal>) -> String {
    let name = format!("recording-{:p}", Arc::as_ptr(&journal));
    register_over(&name, None, Recorder { journal }).unwrap();
    name
}

/// The name of a file inside the store's directory.
fn file_name(path: &CStr) -> Option<String> {
    let name = Path::new(OsStr::from_bytes(path.to_bytes())).file_name()?;
    Some(name.to_string_lossy().into_owned())
}

impl Layer for Recorder {
    type File = Recorded;

    fn open(&self, path: &CStr, flags: c_int) -> Option<Recorded> {
        let (journal, name) = (Arc::clone(&self.journal), file_name(path)?);
        Some(Recorded { journal, name, is_log: flags & SQLITE_OPEN_WAL != 0 })
    }

    fn deletes(&self, path: &CStr, durable: bool) {
        if let Some(file) = file_name(path) {
            self.journal.push(Op::Delete { file, durable });
        }
    }
}

impl Recorded {
    fn file(&self) -> String {
        self.name.clone()
    }
}

impl LayerFile for Recorded {
    fn shares_memory(&self) -> bool {
        !self.is_log
    }

    fn write(&mut self, bytes: &[u8], at: u64, below: &mut Below<'_>) -> Code {
        let op_at = usize::try_from(at).unwrap();
        self.journal.push(Op::Write { file: self.file(), at: op_at, bytes: bytes.to_vec() });
        below.write(bytes, at)
    }

    fn truncate(&mut self, size: i64, below: &mut Below<'_>) -> Code {
        self.journal.push(Op::Truncate { file: self.file(), len: usize::try_from(size).unwrap() });
        below.truncate(size)
    }

    fn sync(&mut self, flags: c_int, below: &mut Below<'_>) -> Code {
        let code = below.sync(flags);
        self.journal.push(Op::Sync { file: self.file() });
        code
    }
}
