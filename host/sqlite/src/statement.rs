//! A compiled statement: its bindings, its run, its rows.
//!
//! - F2: bytes bound without a copy belong to the statement (`held`), and are let go only after the
//!   statement was reset and its bindings cleared.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ops::Range;
use std::ptr::NonNull;
use std::rc::Rc;

use rusqlite::ffi as sys;

use crate::Code;
use crate::database::Database;
use crate::raw::{UTF8, bytes, start_and_length, text};

/// The result of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A row is there.
    Row,
    /// The statement has ended.
    Done,
    /// The statement has failed.
    Failed(Code),
}

/// A column of the present row, borrowed until the next step.
pub enum Column<'a> {
    /// NULL.
    Null,
    /// An integer.
    Integer(i64),
    /// A real.
    Real(f64),
    /// Bytes that SQLite calls text; not checked.
    Text(&'a [u8]),
    /// A blob.
    Blob(&'a [u8]),
    /// SQLite had no memory to convert the value.
    NoMemory,
}

/// A compiled statement.
pub struct Statement {
    raw: NonNull<sys::sqlite3_stmt>,
    /// Bytes that bindings may point into (F2). Its buffer does not move while it is here.
    held: Vec<u8>,
    database: Rc<Database>,
}

impl Statement {
    pub(crate) fn new(raw: NonNull<sys::sqlite3_stmt>, database: Rc<Database>) -> Self {
        Self { raw, held: Vec::new(), database }
    }

    /// Steps to the next row, or to the end.
    pub fn step(&mut self) -> Step {
        // SAFETY: the statement is live.
        match unsafe { sys::sqlite3_step(self.raw.as_ptr()) } {
            sys::SQLITE_ROW => Step::Row,
            sys::SQLITE_DONE => Step::Done,
            code => Step::Failed(code),
        }
    }

    /// Whether a run has begun and not ended.
    pub fn is_running(&self) -> bool {
        // SAFETY: the statement is live.
        unsafe { sys::sqlite3_stmt_busy(self.raw.as_ptr()) != 0 }
    }

    /// Ends the run. The code repeats the failure of the last step, or is the result of ending.
    pub fn reset(&mut self) -> Code {
        // SAFETY: the statement is live.
        unsafe { sys::sqlite3_reset(self.raw.as_ptr()) }
    }

    /// Sets all parameters to NULL and lets held bytes go. Ends a run in progress.
    pub fn clear_bindings(&mut self) {
        if self.is_running() {
            self.reset();
        }
        // SAFETY: the statement is live; after this no binding points into `held`.
        unsafe { sys::sqlite3_clear_bindings(self.raw.as_ptr()) };
        self.held = Vec::new();
    }

    /// Takes bytes that [`Self::bind_held_text`] and [`Self::bind_held_blob`] may point into.
    /// Clears all bindings into bytes held before.
    pub fn hold(&mut self, bytes: Vec<u8>) {
        if !self.held.is_empty() {
            self.clear_bindings();
        }
        self.held = bytes;
    }

    /// The held bytes.
    pub fn held(&self) -> &[u8] {
        &self.held
    }

    /// Binds NULL.
    pub fn bind_null(&mut self, position: c_int) -> Code {
        // SAFETY: the statement is live; SQLite checks the position.
        unsafe { sys::sqlite3_bind_null(self.raw.as_ptr(), position) }
    }

    /// Binds an integer.
    pub fn bind_integer(&mut self, position: c_int, value: i64) -> Code {
        // SAFETY: as above.
        unsafe { sys::sqlite3_bind_int64(self.raw.as_ptr(), position, value) }
    }

    /// Binds a real.
    pub fn bind_real(&mut self, position: c_int, value: f64) -> Code {
        // SAFETY: as above.
        unsafe { sys::sqlite3_bind_double(self.raw.as_ptr(), position, value) }
    }

    /// Binds a copy.
    pub fn bind_text(&mut self, position: c_int, text: &str) -> Code {
        let (from, length) = start_and_length(text.as_bytes());
        // SAFETY: `from` is `length` readable bytes; SQLite copies them before it returns.
        unsafe {
            sys::sqlite3_bind_text64(
                self.raw.as_ptr(),
                position,
                from.cast::<c_char>(),
                length,
                sys::SQLITE_TRANSIENT(),
                UTF8,
            )
        }
    }

    /// Binds a copy.
    pub fn bind_blob(&mut self, position: c_int, bytes: &[u8]) -> Code {
        let (from, length) = start_and_length(bytes);
        // SAFETY: as for text.
        unsafe {
            sys::sqlite3_bind_blob64(
                self.raw.as_ptr(),
                position,
                from.cast::<c_void>(),
                length,
                sys::SQLITE_TRANSIENT(),
            )
        }
    }

    /// Binds a range of the held bytes without a copy. Panics if the range is not within them.
    pub fn bind_held_text(&mut self, position: c_int, range: Range<usize>) -> Code {
        let (from, length) = start_and_length(&self.held[range]);
        // SAFETY: `from` is `length` bytes of `held`, which outlives the binding (F2).
        unsafe {
            sys::sqlite3_bind_text64(
                self.raw.as_ptr(),
                position,
                from.cast::<c_char>(),
                length,
                sys::SQLITE_STATIC(),
                UTF8,
            )
        }
    }

    /// Binds a range of the held bytes without a copy. Panics if the range is not within them.
    pub fn bind_held_blob(&mut self, position: c_int, range: Range<usize>) -> Code {
        let (from, length) = start_and_length(&self.held[range]);
        // SAFETY: as for text.
        unsafe {
            sys::sqlite3_bind_blob64(
                self.raw.as_ptr(),
                position,
                from.cast::<c_void>(),
                length,
                sys::SQLITE_STATIC(),
            )
        }
    }

    /// How many parameters the statement has.
    pub fn parameter_count(&self) -> c_int {
        // SAFETY: the statement is live.
        unsafe { sys::sqlite3_bind_parameter_count(self.raw.as_ptr()) }
    }

    /// The name of a parameter with its prefix; `None` for a parameter without a name.
    pub fn parameter_name(&self, position: c_int) -> Option<String> {
        // SAFETY: the statement is live; the text is copied immediately.
        unsafe { text(sys::sqlite3_bind_parameter_name(self.raw.as_ptr(), position)) }
    }

    /// The position of a parameter.
    pub fn parameter_index(&self, name: &CStr) -> Option<c_int> {
        // SAFETY: the statement is live, the name ends in NUL.
        let index = unsafe { sys::sqlite3_bind_parameter_index(self.raw.as_ptr(), name.as_ptr()) };
        (index > 0).then_some(index)
    }

    /// How many columns its rows have.
    pub fn column_count(&self) -> c_int {
        // SAFETY: the statement is live.
        unsafe { sys::sqlite3_column_count(self.raw.as_ptr()) }
    }

    /// The name of a column.
    pub fn column_name(&self, index: c_int) -> String {
        // SAFETY: the statement is live; the text is copied immediately.
        unsafe { text(sys::sqlite3_column_name(self.raw.as_ptr(), index)) }.unwrap_or_default()
    }

    /// What the schema declares of a column.
    pub fn column_declared_type(&self, index: c_int) -> Option<String> {
        // SAFETY: as above.
        unsafe { text(sys::sqlite3_column_decltype(self.raw.as_ptr(), index)) }
    }

    /// A column of the present row; `Null` for an index outside of it.
    #[inline]
    pub fn column(&self, index: c_int) -> Column<'_> {
        let raw = self.raw.as_ptr();
        // SAFETY: the statement is live. Pointers stay valid until the next step, reset or
        // conversion of the same column; the first two need `&mut self`, and no conversion happens
        // after the pointer is taken, since text is asked for text and blob for blob only. What
        // makes the value of a column "unprotected" is only that other threads may use its
        // connection; here one thread does, and looking the column up once is half the cost.
        unsafe {
            let value = sys::sqlite3_column_value(raw, index);
            match sys::sqlite3_value_type(value) {
                sys::SQLITE_INTEGER => Column::Integer(sys::sqlite3_value_int64(value)),
                sys::SQLITE_FLOAT => Column::Real(sys::sqlite3_value_double(value)),
                sys::SQLITE_TEXT => {
                    let from = sys::sqlite3_value_text(value);
                    let length = sys::sqlite3_value_bytes(value);
                    if from.is_null() {
                        Column::NoMemory
                    } else {
                        Column::Text(bytes(from, length))
                    }
                }
                sys::SQLITE_BLOB => {
                    let from = sys::sqlite3_value_blob(value).cast::<u8>();
                    let length = sys::sqlite3_value_bytes(value);
                    Column::Blob(bytes(from, length))
                }
                _ => Column::Null,
            }
        }
    }

    /// Whether the statement writes nothing to the database file.
    pub fn is_readonly(&self) -> bool {
        // SAFETY: the statement is live.
        unsafe { sys::sqlite3_stmt_readonly(self.raw.as_ptr()) != 0 }
    }

    /// Steps of the virtual machine since the last call of this method.
    pub fn take_steps(&mut self) -> u64 {
        self.status(sys::SQLITE_STMTSTATUS_VM_STEP, true)
    }

    /// Bytes of memory that the statement uses, about.
    pub fn memory_bytes(&mut self) -> u64 {
        self.status(sys::SQLITE_STMTSTATUS_MEMUSED, false)
    }

    /// How often SQLite has recompiled the statement.
    pub fn recompiled(&mut self) -> u64 {
        self.status(sys::SQLITE_STMTSTATUS_REPREPARE, false)
    }

    fn status(&mut self, which: c_int, reset: bool) -> u64 {
        // SAFETY: the statement is live. SQLite counts in 32 bits without a sign.
        let count =
            unsafe { sys::sqlite3_stmt_status(self.raw.as_ptr(), which, c_int::from(reset)) };
        u64::from(count.cast_unsigned())
    }
}

impl Drop for Statement {
    fn drop(&mut self) {
        debug_assert!(Rc::strong_count(&self.database) > 0);
        // SAFETY: live until now; afterwards nothing points into `held`, which drops next.
        unsafe { sys::sqlite3_finalize(self.raw.as_ptr()) };
    }
}
