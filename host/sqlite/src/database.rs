//! An open database: the connection that its statements and blobs share.
//!
//! - F1: a [`Statement`] or an open blob keeps its [`Database`] alive, so nothing outlives it.
//! - A database is not `Send`, nor is a statement or a blob: all of one connection move together,
//!   in a [`crate::Whole`].

use std::any::Any;
use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::{self, NonNull};
use std::rc::Rc;

use rusqlite::{Connection, ffi as sys};

use crate::Code;
use crate::blob::Blob;
use crate::function::{COUNTED, LOOK, Look, drop_look};
use crate::statement::Statement;

/// An open database. The connection closes when the last statement or blob is dropped.
pub struct Database {
    /// SQLite is reached through `raw`.
    _connection: Connection,
    raw: NonNull<sys::sqlite3>,
    /// Rows changed before the call in progress began. SQL functions read the counts, so they are
    /// dropped after the connection.
    counted: Box<Cell<u64>>,
    /// Values that must outlive the connection.
    _kept: Box<dyn Any>,
}

/// The result of compiling the first statement of a text.
pub struct Prepared {
    /// `None`: the text has only white space and comments.
    pub statement: Option<Statement>,
    /// Where the next statement begins, in bytes.
    pub tail: usize,
}

impl Database {
    /// Takes over a connection; `kept` is dropped after the connection is closed.
    #[must_use]
    pub fn new(connection: Connection, kept: impl Any) -> Rc<Self> {
        // SAFETY: the handle is used only while its owner is in `self`, and never closed here.
        let raw = unsafe { connection.handle() };
        let raw = NonNull::new(raw).expect("BUG: an open connection has a handle");
        Rc::new(Self {
            _connection: connection,
            raw,
            counted: Box::default(),
            _kept: Box::new(kept),
        })
    }

    /// Makes the SQL functions `changes()` and `total_changes()` count from the start of the call.
    pub fn share_counts(&self) -> Result<(), Code> {
        let data = ptr::from_ref::<Cell<u64>>(&self.counted).cast_mut().cast::<c_void>();
        // SAFETY: the handle is open and the name ends in NUL; what is pointed to is in a box of
        // `self` and outlives the connection, so nothing is freed.
        let code =
            unsafe { sys::sqlite3_set_clientdata(self.raw.as_ptr(), COUNTED.as_ptr(), data, None) };
        if code == sys::SQLITE_OK { Ok(()) } else { Err(code) }
    }

    /// Ends a call: its row counts and the rowid of its last insert do not reach the next call.
    pub fn count_from_zero(&self) {
        self.counted.set(self.total_changes());
        if self.last_insert_rowid() != 0 {
            // SAFETY: the handle is open.
            unsafe { sys::sqlite3_set_last_insert_rowid(self.raw.as_ptr(), 0) };
        }
    }

    /// Compiles the first statement of `sql`, at most `i32::MAX` bytes.
    pub fn prepare(self: &Rc<Self>, sql: &str, keep: bool) -> Result<Prepared, Code> {
        let Ok(length) = c_int::try_from(sql.len()) else { return Err(sys::SQLITE_TOOBIG) };
        let flags = if keep { sys::SQLITE_PREPARE_PERSISTENT } else { 0 };
        let mut raw = ptr::null_mut();
        let mut tail = ptr::null();
        // SAFETY: `sql` is `length` bytes; SQLite stops there or at a NUL. Outputs are ours.
        let code = unsafe {
            sys::sqlite3_prepare_v3(
                self.raw.as_ptr(),
                sql.as_ptr().cast::<c_char>(),
                length,
                flags,
                &raw mut raw,
                &raw mut tail,
            )
        };
        if code != sys::SQLITE_OK {
            return Err(code);
        }
        let tail = if tail.is_null() {
            sql.len()
        } else {
            (tail as usize).wrapping_sub(sql.as_ptr() as usize).min(sql.len())
        };
        let statement = NonNull::new(raw).map(|raw| Statement::new(raw, Rc::clone(self)));
        Ok(Prepared { statement, tail })
    }

    /// Sets the bound on columns; returns the previous bound. SQLite's own bound is the most.
    pub fn set_columns_max(&self, columns: c_int) -> c_int {
        // SAFETY: the handle is open.
        unsafe { sys::sqlite3_limit(self.raw.as_ptr(), sys::SQLITE_LIMIT_COLUMN, columns) }
    }

    /// A limit of the connection, by SQLite's number for it.
    pub fn limit(&self, which: c_int) -> c_int {
        // SAFETY: the handle is open.
        unsafe { sys::sqlite3_limit(self.raw.as_ptr(), which, -1) }
    }

    /// Whether no transaction is open.
    #[must_use]
    pub fn is_autocommit(&self) -> bool {
        // SAFETY: the handle is open.
        unsafe { sys::sqlite3_get_autocommit(self.raw.as_ptr()) != 0 }
    }

    /// Whether a transaction has read or written anything.
    pub fn is_in_use(&self) -> bool {
        // SAFETY: the handle is open; null asks for all schemas.
        let state = unsafe { sys::sqlite3_txn_state(self.raw.as_ptr(), ptr::null()) };
        state != sys::SQLITE_TXN_NONE
    }

    /// Rows changed by the last statement of this call that changes rows.
    pub fn changes(&self) -> u64 {
        if self.total_changes() == self.counted.get() {
            return 0;
        }
        // SAFETY: the handle is open.
        unsafe { sys::sqlite3_changes64(self.raw.as_ptr()) }.cast_unsigned()
    }

    /// Rows changed since the connection was opened.
    pub fn total_changes(&self) -> u64 {
        // SAFETY: the handle is open.
        unsafe { sys::sqlite3_total_changes64(self.raw.as_ptr()) }.cast_unsigned()
    }

    /// Rowid of the last insert.
    #[must_use]
    pub fn last_insert_rowid(&self) -> i64 {
        // SAFETY: the handle is open.
        unsafe { sys::sqlite3_last_insert_rowid(self.raw.as_ptr()) }
    }

    /// A number that every change of the temporary database moves; `None` while there is none. No
    /// statement is run.
    pub fn temp_version(&self) -> Option<u32> {
        let mut version = 0_u32;
        // SAFETY: the handle is open, the name ends in NUL, and for this operation SQLite writes an
        // unsigned int.
        let code = unsafe {
            sys::sqlite3_file_control(
                self.raw.as_ptr(),
                c"temp".as_ptr(),
                sys::SQLITE_FCNTL_DATA_VERSION,
                (&raw mut version).cast::<c_void>(),
            )
        };
        (code == sys::SQLITE_OK).then_some(version)
    }

    /// Makes every statement in progress fail at its next step.
    pub fn interrupt(&self) {
        // SAFETY: the handle is open.
        unsafe { sys::sqlite3_interrupt(self.raw.as_ptr()) };
    }

    /// SQLite's message for the last failure.
    pub fn message(&self) -> String {
        // SAFETY: the handle is open; the text is copied before anything else is called.
        unsafe {
            let text = sys::sqlite3_errmsg(self.raw.as_ptr());
            if text.is_null() {
                return String::new();
            }
            CStr::from_ptr(text).to_string_lossy().into_owned()
        }
    }

    /// Where in the statement's text the last failure is.
    pub fn error_offset(&self) -> Option<u32> {
        // SAFETY: the handle is open.
        u32::try_from(unsafe { sys::sqlite3_error_offset(self.raw.as_ptr()) }).ok()
    }

    /// Pages handed over for commit since the last call of this method.
    pub fn take_pages_written(&self) -> u64 {
        let which = sys::SQLITE_DBSTATUS_CACHE_WRITE;
        let (mut now, mut high) = (0, 0);
        // SAFETY: the handle is open, the outputs are ours.
        let code = unsafe {
            sys::sqlite3_db_status(self.raw.as_ptr(), which, &raw mut now, &raw mut high, 1)
        };
        if code == sys::SQLITE_OK { u64::try_from(now).unwrap_or(0) } else { 0 }
    }

    /// Opens one value of a row of `main`.
    pub fn open_blob(
        &self,
        table: &CStr,
        column: &CStr,
        rowid: i64,
        writable: bool,
    ) -> Result<Blob<'_>, Code> {
        let mut raw = ptr::null_mut();
        // SAFETY: the handle is open, the texts end in NUL, the output is ours.
        let code = unsafe {
            sys::sqlite3_blob_open(
                self.raw.as_ptr(),
                c"main".as_ptr(),
                table.as_ptr(),
                column.as_ptr(),
                rowid,
                c_int::from(writable),
                &raw mut raw,
            )
        };
        match NonNull::new(raw) {
            Some(raw) if code == sys::SQLITE_OK => Ok(Blob::new(raw, self)),
            _ => Err(if code == sys::SQLITE_OK { sys::SQLITE_NOMEM } else { code }),
        }
    }

    /// Sets the check that long-running SQL functions of ours make: whether to continue.
    pub fn set_look(&self, look: Look) -> Result<(), Code> {
        let data = Box::into_raw(Box::new(look)).cast::<c_void>();
        // SAFETY: the handle is open and the name ends in NUL; `drop_look` frees the box once, when
        // the connection is closed, or immediately if this call fails.
        let code = unsafe {
            sys::sqlite3_set_clientdata(self.raw.as_ptr(), LOOK.as_ptr(), data, Some(drop_look))
        };
        if code == sys::SQLITE_OK { Ok(()) } else { Err(code) }
    }
}

/// A limit of any connection, by SQLite's number for it; `None`: there is no such limit.
pub fn limit_of(connection: &Connection, which: c_int) -> Option<c_int> {
    // SAFETY: the handle is open as long as the connection is borrowed.
    let limit = unsafe { sys::sqlite3_limit(connection.handle(), which, -1) };
    (limit >= 0).then_some(limit)
}
