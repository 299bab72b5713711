//! One value of a row, read and written in parts.

use std::ffi::{c_int, c_void};
use std::ptr::NonNull;

use rusqlite::ffi as sys;

use crate::Code;
use crate::database::Database;

/// An open value of a row. Closed on drop, or by [`Blob::close`] to learn the result of closing.
pub struct Blob<'a> {
    raw: NonNull<sys::sqlite3_blob>,
    _database: &'a Database,
}

impl<'a> Blob<'a> {
    pub(crate) fn new(raw: NonNull<sys::sqlite3_blob>, database: &'a Database) -> Self {
        Self { raw, _database: database }
    }

    /// The length of the value in bytes.
    pub fn bytes(&self) -> usize {
        // SAFETY: the blob is open.
        usize::try_from(unsafe { sys::sqlite3_blob_bytes(self.raw.as_ptr()) }).unwrap_or(0)
    }

    /// Fills `into` from `offset`; the range must lie within the blob or SQLite refuses.
    pub fn read(&self, offset: usize, into: &mut [u8]) -> Result<(), Code> {
        let (Ok(offset), Ok(length)) = (c_int::try_from(offset), c_int::try_from(into.len()))
        else {
            return Err(sys::SQLITE_ERROR);
        };
        // SAFETY: the blob is open, `into` has room for `length` bytes.
        match unsafe {
            let into = into.as_mut_ptr().cast::<c_void>();
            sys::sqlite3_blob_read(self.raw.as_ptr(), into, length, offset)
        } {
            sys::SQLITE_OK => Ok(()),
            code => Err(code),
        }
    }

    /// Writes `bytes` at `offset`; the range must lie within the blob or SQLite refuses.
    pub fn write(&self, offset: usize, bytes: &[u8]) -> Result<(), Code> {
        let (Ok(offset), Ok(length)) = (c_int::try_from(offset), c_int::try_from(bytes.len()))
        else {
            return Err(sys::SQLITE_ERROR);
        };
        // SAFETY: the blob is open, `bytes` is `length` bytes, copied by SQLite.
        match unsafe {
            let bytes = bytes.as_ptr().cast::<c_void>();
            sys::sqlite3_blob_write(self.raw.as_ptr(), bytes, length, offset)
        } {
            sys::SQLITE_OK => Ok(()),
            code => Err(code),
        }
    }

    /// Closes the blob, which commits a write outside a transaction.
    pub fn close(self) -> Result<(), Code> {
        let this = std::mem::ManuallyDrop::new(self);
        // SAFETY: closed once, since drop does not run.
        match unsafe { sys::sqlite3_blob_close(this.raw.as_ptr()) } {
            sys::SQLITE_OK => Ok(()),
            code => Err(code),
        }
    }
}

impl Drop for Blob<'_> {
    fn drop(&mut self) {
        // SAFETY: open until now; closing an aborted blob is allowed.
        unsafe { sys::sqlite3_blob_close(self.raw.as_ptr()) };
    }
}
