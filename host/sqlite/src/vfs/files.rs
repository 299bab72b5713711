//! A VFS whose files are all ours, and exist only while SQLite has them open.
//!
//! - Nothing is deleted, none is found, and a name is no path.
//! - No panic crosses the C boundary: one is caught and becomes an I/O error.
//! - Clock, sleep and randomness are those of the default VFS. Guests load no code.

mod callbacks;
mod host;

use std::any::TypeId;
use std::ffi::{CStr, c_int};
use std::ptr;

use parking_lot::Mutex;
use rusqlite::ffi;

use crate::Code;

/// A VFS of ours.
pub trait Vfs: 'static {
    /// Its name.
    const NAME: &'static CStr;
    /// Longest file name that SQLite may ask about: a database's with a suffix.
    const NAME_BYTES_MAX: c_int;
    /// A file of it.
    type File: File;

    /// Opens the file of a name, or one without. `None`: there is no such file.
    fn open(name: Option<&CStr>, flags: c_int) -> Option<Self::File>;
}

/// A file of ours. One thread at a time calls it: the one that runs the connection. Errors are
/// SQLite's codes.
pub trait File: 'static {
    /// What SQLite may rely on (`SQLITE_IOCAP_*`).
    fn characteristics(&self) -> c_int;

    /// Fills `out` from `offset`.
    ///
    /// # Errors
    /// A short read, after which the rest of `out` is zeros; and the others.
    fn read(&mut self, out: &mut [u8], offset: u64) -> Result<(), Code>;

    /// Writes all of `data` at `offset`.
    ///
    /// # Errors
    /// As the file has them.
    fn write(&mut self, data: &[u8], offset: u64) -> Result<(), Code>;

    /// Sets the size in bytes.
    ///
    /// # Errors
    /// As the file has them.
    fn truncate(&mut self, size: u64) -> Result<(), Code>;

    /// The size in bytes.
    ///
    /// # Errors
    /// As the file has them.
    fn size(&mut self) -> Result<u64, Code>;

    /// The first half of a commit; also the last step of a rollback. Called before every sync, and
    /// also when `synchronous=OFF` skips the sync itself: nothing else relies on the sync.
    ///
    /// # Errors
    /// As the file has them.
    fn prepare(&mut self) -> Result<(), Code>;

    /// The second half of a commit.
    ///
    /// # Errors
    /// As the file has them.
    fn publish(&mut self) -> Result<(), Code>;

    /// A pragma is about to run. Name and value are guest-controlled.
    ///
    /// # Errors
    /// A sentence, which SQLite reports instead of running the pragma.
    fn pragma(&mut self, name: &str, value: Option<&str>) -> Result<(), String>;

    /// A method of the file has panicked. SQLite gets an I/O error of this operation.
    fn panicked(&mut self, during: Operation);
}

/// The operation that a file was asked for: SQLite has one I/O error code for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A read.
    Read,
    /// A write.
    Write,
    /// A truncation.
    Truncate,
    /// The size.
    Size,
    /// A half of a commit.
    Sync,
    /// Whether a pragma may run.
    Pragma,
}

impl Operation {
    /// SQLite's I/O error for the operation.
    #[must_use]
    pub fn io_error(self) -> Code {
        match self {
            Self::Read => ffi::SQLITE_IOERR_READ,
            Self::Write => ffi::SQLITE_IOERR_WRITE,
            Self::Truncate => ffi::SQLITE_IOERR_TRUNCATE,
            Self::Size => ffi::SQLITE_IOERR_FSTAT,
            Self::Sync => ffi::SQLITE_IOERR_FSYNC,
            Self::Pragma => ffi::SQLITE_IOERR,
        }
    }
}

/// Registers the VFS unless it is registered already. Returns its name.
///
/// # Errors
/// SQLite's code.
pub fn register<V: Vfs>() -> Result<&'static CStr, Code> {
    static REGISTERED: Mutex<Vec<TypeId>> = Mutex::new(Vec::new());
    let mut registered = REGISTERED.lock();
    if registered.contains(&TypeId::of::<V>()) {
        return Ok(V::NAME);
    }
    // SAFETY: a null name asks for the default VFS.
    let host = unsafe { ffi::sqlite3_vfs_find(ptr::null()) };
    if host.is_null() {
        return Err(ffi::SQLITE_ERROR);
    }
    let vfs = Box::into_raw(Box::new(callbacks::vfs_over::<V>(host)));
    // SAFETY: `vfs` comes from `Box::into_raw` and is never freed, as its name: valid for the life
    // of the process (V1). The default VFS stays the default.
    match unsafe { ffi::sqlite3_vfs_register(vfs, 0) } {
        ffi::SQLITE_OK => {
            registered.push(TypeId::of::<V>());
            Ok(V::NAME)
        }
        code => Err(code),
    }
}
