//! SQLite's C interface, wrapped thinly enough to be checked by eye. It decides nothing.
//!
//! Invariants:
//! - F1: a [`Statement`] or an open blob keeps its [`Database`] alive, so nothing outlives it.
//! - F2: bytes bound without a copy belong to the statement (`held`), and are let go only after the
//!   statement was reset and its bindings cleared.
//! - F3: all parts of one connection live in one [`Whole`] and move between threads together, so
//!   SQLite, opened without its own mutexes or with them, is entered by one thread at a time.
#![allow(unsafe_code, reason = "raw statements, values and function results of SQLite")]

use std::borrow::Cow;
use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{self, NonNull};
use std::rc::Rc;

use rusqlite::{Connection, ffi as sys};
use stockade_vfs::OpenDatabase;

/// SQLite's extended result code.
pub(super) type Code = c_int;

/// What a pattern over its limit fails with: an extended code of ours, where SQLite has none.
pub(super) const PATTERN_TOO_LONG: Code = sys::SQLITE_TOOBIG | (1 << 8);

/// The parts of one connection, moved between threads only as a whole.
pub(super) struct Whole<T>(T);

// SAFETY: what is inside is not `Send` because it shares an `Rc<Database>` and holds raw pointers
// into one SQLite connection. `Whole` is built around *all* owners of that `Rc` and pointers (F3);
// it hands out references only, never the inside by value, so they move together. SQLite has no
// thread affinity.
unsafe impl<T> Send for Whole<T> {}

impl<T> Whole<T> {
    /// `parts` must contain every owner of the `Rc<Database>` in it.
    pub(super) fn new(parts: T) -> Self {
        Self(parts)
    }

    pub(super) fn parts(&mut self) -> &mut T {
        &mut self.0
    }
}

/// An open database. Closed when the last statement is gone.
pub(super) struct Database {
    /// Keeps the connection open; SQLite is reached through `raw`.
    _open: OpenDatabase,
    raw: NonNull<sys::sqlite3>,
    /// Rows changed before the call in progress began. SQL functions read it: dropped after
    /// `_open`.
    counted: Box<Cell<u64>>,
}

/// What `prepare` made of the front of a text.
pub(super) struct Prepared {
    /// `None`: the text has only white space and comments.
    pub(super) statement: Option<Statement>,
    /// Where the next statement begins, in bytes.
    pub(super) tail: usize,
}

impl Database {
    pub(super) fn new(open: OpenDatabase) -> Rc<Self> {
        // SAFETY: the handle is used only while its owner is in `self`, and never closed here.
        let raw = unsafe { open.connection().handle() };
        let raw = NonNull::new(raw).expect("BUG: an open connection has a handle");
        Rc::new(Self { _open: open, raw, counted: Box::default() })
    }

    /// Lets the functions `changes()` and `total_changes()` count from the call's begin.
    pub(super) fn share_counts(&self) -> Result<(), Code> {
        let data = ptr::from_ref::<Cell<u64>>(&self.counted).cast_mut().cast::<c_void>();
        // SAFETY: the handle is open and the name ends in NUL; what is pointed to is in a box of
        // `self` and outlives the connection, so nothing is freed.
        let code =
            unsafe { sys::sqlite3_set_clientdata(self.raw.as_ptr(), COUNTED.as_ptr(), data, None) };
        if code == sys::SQLITE_OK { Ok(()) } else { Err(code) }
    }

    /// A call has ended: what it counted and the rowid of its last insert are not the next one's.
    pub(super) fn count_from_zero(&self) {
        self.counted.set(self.total_changes());
        if self.last_insert_rowid() != 0 {
            // SAFETY: the handle is open.
            unsafe { sys::sqlite3_set_last_insert_rowid(self.raw.as_ptr(), 0) };
        }
    }

    /// Compiles the first statement of `sql`, at most `i32::MAX` bytes.
    pub(super) fn prepare(self: &Rc<Self>, sql: &str, keep: bool) -> Result<Prepared, Code> {
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
        let statement = NonNull::new(raw).map(|raw| Statement {
            raw,
            held: Vec::new(),
            database: Rc::clone(self),
        });
        Ok(Prepared { statement, tail })
    }

    /// Sets the bound on columns; returns the one before. SQLite's own is the most.
    pub(super) fn set_columns_max(&self, columns: c_int) -> c_int {
        // SAFETY: the handle is open.
        unsafe { sys::sqlite3_limit(self.raw.as_ptr(), sys::SQLITE_LIMIT_COLUMN, columns) }
    }

    /// A limit of the connection, by SQLite's number for it.
    #[cfg(test)]
    pub(super) fn limit(&self, which: c_int) -> c_int {
        // SAFETY: the handle is open.
        unsafe { sys::sqlite3_limit(self.raw.as_ptr(), which, -1) }
    }

    pub(super) fn is_autocommit(&self) -> bool {
        // SAFETY: the handle is open.
        unsafe { sys::sqlite3_get_autocommit(self.raw.as_ptr()) != 0 }
    }

    /// Whether a transaction has read or written anything.
    pub(super) fn is_in_use(&self) -> bool {
        // SAFETY: the handle is open; null asks for all schemas.
        let state = unsafe { sys::sqlite3_txn_state(self.raw.as_ptr(), ptr::null()) };
        state != sys::SQLITE_TXN_NONE
    }

    /// Rows changed by the last statement of this call that changes rows.
    pub(super) fn changes(&self) -> u64 {
        if self.total_changes() == self.counted.get() {
            return 0;
        }
        // SAFETY: the handle is open.
        unsafe { sys::sqlite3_changes64(self.raw.as_ptr()) }.cast_unsigned()
    }

    /// Rows changed since the connection was opened.
    pub(super) fn total_changes(&self) -> u64 {
        // SAFETY: the handle is open.
        unsafe { sys::sqlite3_total_changes64(self.raw.as_ptr()) }.cast_unsigned()
    }

    pub(super) fn last_insert_rowid(&self) -> i64 {
        // SAFETY: the handle is open.
        unsafe { sys::sqlite3_last_insert_rowid(self.raw.as_ptr()) }
    }

    /// A number that every change of the temporary database moves; `None` while there is none. No
    /// statement is run.
    pub(super) fn temp_version(&self) -> Option<u32> {
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
    pub(super) fn interrupt(&self) {
        // SAFETY: the handle is open.
        unsafe { sys::sqlite3_interrupt(self.raw.as_ptr()) };
    }

    /// SQLite's words for the last failure.
    pub(super) fn message(&self) -> String {
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
    pub(super) fn error_offset(&self) -> Option<u32> {
        // SAFETY: the handle is open.
        u32::try_from(unsafe { sys::sqlite3_error_offset(self.raw.as_ptr()) }).ok()
    }

    /// Pages handed over for commit since this was asked last.
    pub(super) fn take_pages_written(&self) -> u64 {
        let which = sys::SQLITE_DBSTATUS_CACHE_WRITE;
        let (mut now, mut high) = (0, 0);
        // SAFETY: the handle is open, the outputs are ours.
        let code = unsafe {
            sys::sqlite3_db_status(self.raw.as_ptr(), which, &raw mut now, &raw mut high, 1)
        };
        if code == sys::SQLITE_OK { u64::try_from(now).unwrap_or(0) } else { 0 }
    }

    /// Opens one value of a row of `main`.
    pub(super) fn open_blob(
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
            Some(raw) if code == sys::SQLITE_OK => Ok(Blob { raw, _database: self }),
            _ => Err(if code == sys::SQLITE_OK { sys::SQLITE_NOMEM } else { code }),
        }
    }

    /// What functions of ours ask while they work long: whether to go on.
    pub(super) fn set_look(&self, look: Look) -> Result<(), Code> {
        let data = Box::into_raw(Box::new(look)).cast::<c_void>();
        // SAFETY: the handle is open and the name ends in NUL; `drop_look` frees the box once, when
        // the connection is closed, and at once if this fails.
        let code = unsafe {
            sys::sqlite3_set_clientdata(self.raw.as_ptr(), LOOK.as_ptr(), data, Some(drop_look))
        };
        if code == sys::SQLITE_OK { Ok(()) } else { Err(code) }
    }
}

/// One value of a row, open. Closed on drop, or by [`Blob::close`] to learn what closing says.
pub(super) struct Blob<'a> {
    raw: NonNull<sys::sqlite3_blob>,
    _database: &'a Database,
}

impl Blob<'_> {
    pub(super) fn bytes(&self) -> usize {
        // SAFETY: the blob is open.
        usize::try_from(unsafe { sys::sqlite3_blob_bytes(self.raw.as_ptr()) }).unwrap_or(0)
    }

    /// Fills `into` from `offset`; the range must lie within the blob or SQLite refuses.
    pub(super) fn read(&self, offset: usize, into: &mut [u8]) -> Result<(), Code> {
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
    pub(super) fn write(&self, offset: usize, bytes: &[u8]) -> Result<(), Code> {
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

    /// Closes it, which commits a write outside a transaction.
    pub(super) fn close(self) -> Result<(), Code> {
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

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Row,
    Done,
    Failed(Code),
}

/// A column of the present row, borrowed until the next step.
pub(super) enum Column<'a> {
    Null,
    Integer(i64),
    Real(f64),
    /// Bytes that SQLite calls text; not checked.
    Text(&'a [u8]),
    Blob(&'a [u8]),
    /// SQLite had no memory to convert it.
    NoMemory,
}

/// A compiled statement.
pub(super) struct Statement {
    raw: NonNull<sys::sqlite3_stmt>,
    /// Bytes that bindings may point into (F2). Its buffer does not move while it is here.
    held: Vec<u8>,
    database: Rc<Database>,
}

impl Statement {
    pub(super) fn step(&mut self) -> Step {
        // SAFETY: the statement is live.
        match unsafe { sys::sqlite3_step(self.raw.as_ptr()) } {
            sys::SQLITE_ROW => Step::Row,
            sys::SQLITE_DONE => Step::Done,
            code => Step::Failed(code),
        }
    }

    /// Whether it has begun a run that has not ended.
    pub(super) fn is_running(&self) -> bool {
        // SAFETY: the statement is live.
        unsafe { sys::sqlite3_stmt_busy(self.raw.as_ptr()) != 0 }
    }

    /// Ends the run. The code repeats what the last step failed with, or what ending it came to.
    pub(super) fn reset(&mut self) -> Code {
        // SAFETY: the statement is live.
        unsafe { sys::sqlite3_reset(self.raw.as_ptr()) }
    }

    /// Sets all parameters to NULL and lets held bytes go. Ends a run in progress.
    pub(super) fn clear_bindings(&mut self) {
        if self.is_running() {
            self.reset();
        }
        // SAFETY: the statement is live; after this no binding points into `held`.
        unsafe { sys::sqlite3_clear_bindings(self.raw.as_ptr()) };
        self.held = Vec::new();
    }

    /// Takes bytes that [`Self::bind_held_text`] and [`Self::bind_held_blob`] may point into.
    /// Clears all bindings that may point into others.
    pub(super) fn hold(&mut self, bytes: Vec<u8>) {
        if !self.held.is_empty() {
            self.clear_bindings();
        }
        self.held = bytes;
    }

    pub(super) fn held(&self) -> &[u8] {
        &self.held
    }

    pub(super) fn bind_null(&mut self, position: c_int) -> Code {
        // SAFETY: the statement is live; SQLite checks the position.
        unsafe { sys::sqlite3_bind_null(self.raw.as_ptr(), position) }
    }

    pub(super) fn bind_integer(&mut self, position: c_int, value: i64) -> Code {
        // SAFETY: as above.
        unsafe { sys::sqlite3_bind_int64(self.raw.as_ptr(), position, value) }
    }

    pub(super) fn bind_real(&mut self, position: c_int, value: f64) -> Code {
        // SAFETY: as above.
        unsafe { sys::sqlite3_bind_double(self.raw.as_ptr(), position, value) }
    }

    /// Binds a copy.
    pub(super) fn bind_text(&mut self, position: c_int, text: &str) -> Code {
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
    pub(super) fn bind_blob(&mut self, position: c_int, bytes: &[u8]) -> Code {
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
    pub(super) fn bind_held_text(&mut self, position: c_int, range: Range<usize>) -> Code {
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
    pub(super) fn bind_held_blob(&mut self, position: c_int, range: Range<usize>) -> Code {
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

    pub(super) fn parameter_count(&self) -> c_int {
        // SAFETY: the statement is live.
        unsafe { sys::sqlite3_bind_parameter_count(self.raw.as_ptr()) }
    }

    /// With its prefix; `None` for a parameter without a name.
    pub(super) fn parameter_name(&self, position: c_int) -> Option<String> {
        // SAFETY: the statement is live; the text is copied at once.
        unsafe { text(sys::sqlite3_bind_parameter_name(self.raw.as_ptr(), position)) }
    }

    pub(super) fn parameter_index(&self, name: &CStr) -> Option<c_int> {
        // SAFETY: the statement is live, the name ends in NUL.
        let index = unsafe { sys::sqlite3_bind_parameter_index(self.raw.as_ptr(), name.as_ptr()) };
        (index > 0).then_some(index)
    }

    pub(super) fn column_count(&self) -> c_int {
        // SAFETY: the statement is live.
        unsafe { sys::sqlite3_column_count(self.raw.as_ptr()) }
    }

    pub(super) fn column_name(&self, index: c_int) -> String {
        // SAFETY: the statement is live; the text is copied at once.
        unsafe { text(sys::sqlite3_column_name(self.raw.as_ptr(), index)) }.unwrap_or_default()
    }

    pub(super) fn column_declared_type(&self, index: c_int) -> Option<String> {
        // SAFETY: as above.
        unsafe { text(sys::sqlite3_column_decltype(self.raw.as_ptr(), index)) }
    }

    /// A column of the present row; `Null` for an index outside of it.
    #[inline]
    pub(super) fn column(&self, index: c_int) -> Column<'_> {
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

    /// Whether it writes nothing to the database file.
    pub(super) fn is_readonly(&self) -> bool {
        // SAFETY: the statement is live.
        unsafe { sys::sqlite3_stmt_readonly(self.raw.as_ptr()) != 0 }
    }

    /// Steps of the virtual machine since this was asked last.
    pub(super) fn take_steps(&mut self) -> u64 {
        self.status(sys::SQLITE_STMTSTATUS_VM_STEP, true)
    }

    /// Bytes of memory that it uses, about.
    pub(super) fn memory_bytes(&mut self) -> u64 {
        self.status(sys::SQLITE_STMTSTATUS_MEMUSED, false)
    }

    /// How often SQLite has compiled it again.
    #[cfg(test)]
    pub(super) fn recompiled(&mut self) -> u64 {
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

/// Whether work inside of SQLite may go on.
pub(super) type Look = Box<dyn Fn() -> bool + Send>;

/// The name under which a connection keeps its [`Look`].
const LOOK: &CStr = c"stockade-look";
/// The name under which it keeps how many rows were changed before the call.
const COUNTED: &CStr = c"stockade-counted";

unsafe extern "C" fn drop_look(data: *mut c_void) {
    // SAFETY: comes from `set_look`, and SQLite calls this once.
    drop(unsafe { Box::from_raw(data.cast::<Look>()) });
}

/// A function of ours, which SQLite may call from any schema.
pub(super) struct Function {
    pub(super) name: &'static CStr,
    /// Number of arguments.
    pub(super) arity: c_int,
    pub(super) call: for<'a> fn(&Arguments<'a>) -> Answer<'a>,
}

impl Function {
    /// Registers it under SQLite's own rules for overriding: same name and arity.
    pub(super) fn register(&'static self, connection: &Connection) -> Result<(), Code> {
        self.register_as(connection, sys::SQLITE_DETERMINISTIC)
    }

    /// As `register`, of one that is not pure: SQLite asks it each time.
    pub(super) fn register_volatile(&'static self, connection: &Connection) -> Result<(), Code> {
        self.register_as(connection, 0)
    }

    fn register_as(&'static self, connection: &Connection, purity: c_int) -> Result<(), Code> {
        let flags = sys::SQLITE_UTF8 | sys::SQLITE_INNOCUOUS | purity;
        // SAFETY: the handle is open and the name ends in NUL; the user data is a 'static
        // `Function`, which `trampoline` reads back as such.
        let code = unsafe {
            sys::sqlite3_create_function_v2(
                connection.handle(),
                self.name.as_ptr(),
                self.arity,
                flags,
                ptr::from_ref(self).cast_mut().cast::<c_void>(),
                Some(trampoline),
                None,
                None,
                None,
            )
        };
        if code == sys::SQLITE_OK { Ok(()) } else { Err(code) }
    }
}

/// What a function answers.
pub(super) enum Answer<'a> {
    Null,
    Integer(i64),
    Real(f64),
    Text(Cow<'a, [u8]>),
    Blob(Vec<u8>),
    /// Over the length limit.
    TooBig,
    /// The pattern of LIKE or GLOB is over its limit.
    PatternTooLong,
    /// The call is over: see [`Arguments::may_go_on`].
    Stopped,
    /// An error in words.
    Wrong(&'static str),
}

/// The type of an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    Integer,
    Real,
    Text,
    Blob,
}

/// The arguments of one call of a function.
pub(super) struct Arguments<'a> {
    context: *mut sys::sqlite3_context,
    values: &'a [*mut sys::sqlite3_value],
}

impl<'a> Arguments<'a> {
    pub(super) fn count(&self) -> usize {
        self.values.len()
    }

    pub(super) fn kind(&self, index: usize) -> Kind {
        // SAFETY: SQLite gives live values for the time of the call.
        kind(unsafe { sys::sqlite3_value_type(self.values[index]) })
    }

    /// The type after text that looks like a number has become one.
    pub(super) fn numeric_kind(&self, index: usize) -> Kind {
        // SAFETY: as above.
        kind(unsafe { sys::sqlite3_value_numeric_type(self.values[index]) })
    }

    pub(super) fn integer(&self, index: usize) -> i64 {
        // SAFETY: as above.
        unsafe { sys::sqlite3_value_int64(self.values[index]) }
    }

    pub(super) fn real(&self, index: usize) -> f64 {
        // SAFETY: as above.
        unsafe { sys::sqlite3_value_double(self.values[index]) }
    }

    /// As text, converted if it is a number; `None` for NULL.
    pub(super) fn text(&self, index: usize) -> Option<&'a [u8]> {
        // SAFETY: as above. The pointer stays valid for the call: asking again for the same
        // representation converts nothing.
        unsafe {
            let from = sys::sqlite3_value_text(self.values[index]);
            let length = sys::sqlite3_value_bytes(self.values[index]);
            (!from.is_null()).then(|| bytes(from, length))
        }
    }

    /// The bytes of a blob, or of text, without changing its type.
    pub(super) fn blob(&self, index: usize) -> &'a [u8] {
        // SAFETY: as above.
        unsafe {
            let from = sys::sqlite3_value_blob(self.values[index]).cast::<u8>();
            let length = sys::sqlite3_value_bytes(self.values[index]);
            bytes(from, length)
        }
    }

    /// Whether the call may go on: to be asked now and then by what may take long.
    pub(super) fn may_go_on(&self) -> bool {
        // SAFETY: the context is live and has an open connection; what it keeps under this name
        // comes from `set_look` and lives until the connection is closed.
        unsafe {
            let database = sys::sqlite3_context_db_handle(self.context);
            let look = sys::sqlite3_get_clientdata(database, LOOK.as_ptr()).cast::<Look>();
            look.as_ref().is_none_or(|look| look())
        }
    }

    /// Rows changed by the last statement of this call that changes rows, and by all of the call.
    pub(super) fn changes(&self) -> (i64, i64) {
        // SAFETY: the context is live and has an open connection; what it keeps under this name
        // comes from `share_counts` and outlives it.
        unsafe {
            let database = sys::sqlite3_context_db_handle(self.context);
            let counted = sys::sqlite3_get_clientdata(database, COUNTED.as_ptr());
            let before = counted.cast::<Cell<u64>>().as_ref().map_or(0, Cell::get);
            let total = sys::sqlite3_total_changes64(database) - before.cast_signed();
            (if total == 0 { 0 } else { sys::sqlite3_changes64(database) }, total)
        }
    }

    /// The connection's bound on the pattern of LIKE and GLOB, in bytes.
    pub(super) fn pattern_bytes_max(&self) -> usize {
        self.limit(sys::SQLITE_LIMIT_LIKE_PATTERN_LENGTH)
    }

    /// The connection's bound on one value, in bytes.
    pub(super) fn length_max(&self) -> usize {
        self.limit(sys::SQLITE_LIMIT_LENGTH)
    }

    fn limit(&self, which: c_int) -> usize {
        // SAFETY: the context is live for the call and has an open connection.
        let limit = unsafe {
            let database = sys::sqlite3_context_db_handle(self.context);
            sys::sqlite3_limit(database, which, -1)
        };
        usize::try_from(limit).unwrap_or(0)
    }
}

unsafe extern "C" fn trampoline(
    context: *mut sys::sqlite3_context,
    count: c_int,
    values: *mut *mut sys::sqlite3_value,
) {
    // SAFETY: `register` passed a 'static `Function`; SQLite passes `count` live values.
    let (function, values) = unsafe {
        let function = &*sys::sqlite3_user_data(context).cast::<Function>();
        let count = usize::try_from(count).unwrap_or(0);
        let values: &[*mut sys::sqlite3_value] =
            if count == 0 { &[] } else { std::slice::from_raw_parts(values, count) };
        (function, values)
    };
    let arguments = Arguments { context, values };
    // A panic must not cross the C boundary.
    let answer = catch_unwind(AssertUnwindSafe(|| (function.call)(&arguments)))
        .unwrap_or(Answer::Wrong("a function of the host failed"));
    // SAFETY: the context is live; SQLite copies the bytes before it returns.
    unsafe {
        match answer {
            Answer::Null => sys::sqlite3_result_null(context),
            Answer::Integer(value) => sys::sqlite3_result_int64(context, value),
            Answer::Real(value) => sys::sqlite3_result_double(context, value),
            Answer::TooBig => sys::sqlite3_result_error_toobig(context),
            Answer::PatternTooLong => {
                sys::sqlite3_result_error_code(context, PATTERN_TOO_LONG);
            }
            Answer::Stopped => sys::sqlite3_result_error_code(context, sys::SQLITE_INTERRUPT),
            Answer::Text(text) => {
                let (from, length) = start_and_length(&text);
                let from = from.cast::<c_char>();
                let copy = sys::SQLITE_TRANSIENT();
                sys::sqlite3_result_text64(context, from, length, copy, UTF8);
            }
            Answer::Blob(blob) => {
                let (from, length) = start_and_length(&blob);
                let from = from.cast::<c_void>();
                sys::sqlite3_result_blob64(context, from, length, sys::SQLITE_TRANSIENT());
            }
            Answer::Wrong(words) => {
                let length = c_int::try_from(words.len()).unwrap_or(0);
                sys::sqlite3_result_error(context, words.as_ptr().cast::<c_char>(), length);
            }
        }
    }
}

/// A limit of any connection, by SQLite's number for it; `None`: there is no such limit.
#[cfg(test)]
pub(super) fn limit_of(connection: &Connection, which: c_int) -> Option<c_int> {
    // SAFETY: the handle is open as long as the connection is borrowed.
    let limit = unsafe { sys::sqlite3_limit(connection.handle(), which, -1) };
    (limit >= 0).then_some(limit)
}

/// `SQLITE_UTF8` in the width of the 64-bit calls.
const UTF8: u8 = 1;

fn kind(code: c_int) -> Kind {
    match code {
        sys::SQLITE_INTEGER => Kind::Integer,
        sys::SQLITE_FLOAT => Kind::Real,
        sys::SQLITE_TEXT => Kind::Text,
        sys::SQLITE_BLOB => Kind::Blob,
        _ => Kind::Null,
    }
}

/// Start and length for SQLite. The start is never null, not even for no bytes: null means NULL.
fn start_and_length(bytes: &[u8]) -> (*const u8, u64) {
    (bytes.as_ptr(), bytes.len() as u64)
}

/// # Safety
/// `from` is null or points to `length` bytes that stay valid for `'a`.
#[inline]
unsafe fn bytes<'a>(from: *const u8, length: c_int) -> &'a [u8] {
    match usize::try_from(length) {
        // SAFETY: as promised by the caller.
        Ok(length) if length > 0 && !from.is_null() => unsafe {
            std::slice::from_raw_parts(from, length)
        },
        _ => &[],
    }
}

/// # Safety
/// `from` is null or ends in NUL.
unsafe fn text(from: *const c_char) -> Option<String> {
    if from.is_null() {
        return None;
    }
    // SAFETY: as promised by the caller.
    Some(unsafe { CStr::from_ptr(from) }.to_string_lossy().into_owned())
}
