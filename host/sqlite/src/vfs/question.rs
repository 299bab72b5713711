//! Questions to the file of a connection's main database, in numbers.

use std::ffi::c_int;
use std::ptr;

use rusqlite::{Connection, ffi};

use crate::Code;

/// File controls from here on are questions: "STK" and the question's number.
const FIRST: c_int = 0x5354_4b00;

/// A question that a [`super::LayerFile`] answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question(pub u8);

impl Question {
    fn control(self) -> c_int {
        FIRST + c_int::from(self.0)
    }

    pub(super) fn of_control(control: c_int) -> Option<Self> {
        u8::try_from(control.checked_sub(FIRST)?).ok().map(Self)
    }
}

/// Asks the file of a connection's main database; `value` carries what the question needs there, and
/// the answer back.
///
/// # Errors
/// The answer's code; SQLite's, if no file of ours stands there.
pub fn ask(connection: &Connection, question: Question, value: &mut u64) -> Result<(), Code> {
    control(connection, question.control(), value)
}

/// Asks SQLite to leave `bytes` at the end of each page, if the file has no pages yet.
///
/// # Errors
/// SQLite's code.
pub fn reserve_bytes(connection: &Connection, bytes: u8) -> Result<(), Code> {
    control(connection, ffi::SQLITE_FCNTL_RESERVE_BYTES, &mut c_int::from(bytes))
}

/// How many bytes SQLite leaves at the end of each page of the connection's file, once it has read
/// it.
///
/// # Errors
/// SQLite's code.
pub fn reserved_bytes(connection: &Connection) -> Result<c_int, Code> {
    let mut bytes = -1;
    control(connection, ffi::SQLITE_FCNTL_RESERVE_BYTES, &mut bytes)?;
    Ok(bytes)
}

/// `argument` has the type that the control's number stands for.
fn control<T>(connection: &Connection, control: c_int, argument: &mut T) -> Result<(), Code> {
    // SAFETY: the connection is open and the name a constant; the callers above give a `u64` with a
    // question, which `layer.rs` reads and writes as one, and an int with `RESERVE_BYTES`.
    let code = unsafe {
        let argument = ptr::from_mut(argument).cast();
        ffi::sqlite3_file_control(connection.handle(), c"main".as_ptr(), control, argument)
    };
    if code == ffi::SQLITE_OK { Ok(()) } else { Err(code) }
}
