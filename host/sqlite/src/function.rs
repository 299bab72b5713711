//! SQL functions of ours, as SQLite calls them.
//!
//! A panic of a function does not cross the C boundary: the function fails.

use std::borrow::Cow;
use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{self, NonNull};

use rusqlite::{Connection, ffi as sys};

use crate::Code;
use crate::raw::{UTF8, bytes, start_and_length};

/// The error of a pattern over its limit: an extended code of ours, where SQLite has none.
pub const PATTERN_TOO_LONG: Code = sys::SQLITE_TOOBIG | (1 << 8);

/// Whether work inside of SQLite may continue.
pub type Look = Box<dyn Fn() -> bool + Send>;

/// The name under which a connection keeps its [`Look`].
pub(crate) const LOOK: &CStr = c"stockade-look";
/// The name under which a connection keeps the number of rows changed before the call.
pub(crate) const COUNTED: &CStr = c"stockade-counted";

pub(crate) unsafe extern "C" fn drop_look(data: *mut c_void) {
    // SAFETY: comes from `set_look`, and SQLite calls this once.
    drop(unsafe { Box::from_raw(data.cast::<Look>()) });
}

/// A function of ours, which SQLite may call from any schema.
pub struct Function {
    /// Its name.
    pub name: &'static CStr,
    /// Number of arguments.
    pub arity: c_int,
    /// What it does.
    pub call: for<'a> fn(&Arguments<'a>) -> Answer<'a>,
}

impl Function {
    /// Registers the function under SQLite's own rules for overriding: same name and arity.
    pub fn register(&'static self, connection: &Connection) -> Result<(), Code> {
        self.register_as(connection, sys::SQLITE_DETERMINISTIC)
    }

    /// Registers a function that is not pure: SQLite calls it each time.
    pub fn register_volatile(&'static self, connection: &Connection) -> Result<(), Code> {
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

/// The result of a function.
pub enum Answer<'a> {
    /// NULL.
    Null,
    /// An integer.
    Integer(i64),
    /// A real.
    Real(f64),
    /// Bytes that are text.
    Text(Cow<'a, [u8]>),
    /// A blob.
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
pub enum Kind {
    /// NULL.
    Null,
    /// An integer.
    Integer,
    /// A real.
    Real,
    /// Text.
    Text,
    /// A blob.
    Blob,
}

/// The arguments of one call of a function.
pub struct Arguments<'a> {
    context: *mut sys::sqlite3_context,
    values: &'a [*mut sys::sqlite3_value],
}

impl<'a> Arguments<'a> {
    /// How many arguments there are.
    pub fn count(&self) -> usize {
        self.values.len()
    }

    /// The type of an argument.
    pub fn kind(&self, index: usize) -> Kind {
        // SAFETY: SQLite gives live values for the time of the call.
        kind(unsafe { sys::sqlite3_value_type(self.values[index]) })
    }

    /// The type of an argument after text that looks like a number is converted. The argument stays
    /// what it is.
    pub fn numeric_kind(&self, index: usize) -> Kind {
        let before = self.kind(index);
        if before != Kind::Text {
            return before;
        }
        // SAFETY: as above. The conversion would end what `bytes` has returned, so it is made in a
        // copy; there is none without memory.
        unsafe {
            let copy = sys::sqlite3_value_dup(self.values[index]);
            let after =
                if copy.is_null() { before } else { kind(sys::sqlite3_value_numeric_type(copy)) };
            sys::sqlite3_value_free(copy);
            after
        }
    }

    /// An argument as an integer.
    pub fn integer(&self, index: usize) -> i64 {
        // SAFETY: as above.
        unsafe { sys::sqlite3_value_int64(self.values[index]) }
    }

    /// An argument as a real.
    pub fn real(&self, index: usize) -> f64 {
        // SAFETY: as above.
        unsafe { sys::sqlite3_value_double(self.values[index]) }
    }

    /// The bytes of a blob, of text, or of a number as text; `None` for NULL.
    pub fn bytes(&self, index: usize) -> Option<&'a [u8]> {
        let value = self.values[index];
        // SAFETY: as above. The pointer stays valid for the call: each value is only ever asked for
        // one representation, and asking again for the same one converts nothing. (Of a blob, text
        // may be a copy with a zero at its end.)
        unsafe {
            let from = if self.kind(index) == Kind::Blob {
                // An empty one is nowhere.
                sys::sqlite3_value_blob(value).cast::<u8>()
            } else {
                NonNull::new(sys::sqlite3_value_text(value).cast_mut())?.as_ptr().cast_const()
            };
            Some(bytes(from, sys::sqlite3_value_bytes(value)))
        }
    }

    /// Whether the call may continue: long-running functions ask now and then.
    pub fn may_go_on(&self) -> bool {
        // SAFETY: the context is live and has an open connection; what it keeps under this name
        // comes from `set_look` and lives until the connection is closed.
        unsafe {
            let database = sys::sqlite3_context_db_handle(self.context);
            let look = sys::sqlite3_get_clientdata(database, LOOK.as_ptr()).cast::<Look>();
            look.as_ref().is_none_or(|look| look())
        }
    }

    /// Rows changed by the last statement of this call that changes rows, and by all of the call.
    pub fn changes(&self) -> (i64, i64) {
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
    pub fn pattern_bytes_max(&self) -> usize {
        self.limit(sys::SQLITE_LIMIT_LIKE_PATTERN_LENGTH)
    }

    /// The connection's bound on one value, in bytes.
    pub fn length_max(&self) -> usize {
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

fn kind(code: c_int) -> Kind {
    match code {
        sys::SQLITE_INTEGER => Kind::Integer,
        sys::SQLITE_FLOAT => Kind::Real,
        sys::SQLITE_TEXT => Kind::Text,
        sys::SQLITE_BLOB => Kind::Blob,
        _ => Kind::Null,
    }
}
