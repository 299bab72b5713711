//! Bytes and texts on their way to SQLite and back.

use std::ffi::{CStr, c_char, c_int};

/// `SQLITE_UTF8` in the width of the 64-bit calls.
pub(crate) const UTF8: u8 = 1;

/// Start and length for SQLite. The start is never null, not even for no bytes: null means NULL.
pub(crate) fn start_and_length(bytes: &[u8]) -> (*const u8, u64) {
    (bytes.as_ptr(), bytes.len() as u64)
}

/// # Safety
/// `from` is null or points to `length` bytes that stay valid for `'a`.
#[inline]
pub(crate) unsafe fn bytes<'a>(from: *const u8, length: c_int) -> &'a [u8] {
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
pub(crate) unsafe fn text(from: *const c_char) -> Option<String> {
    if from.is_null() {
        return None;
    }
    // SAFETY: as promised by the caller.
    Some(unsafe { CStr::from_ptr(from) }.to_string_lossy().into_owned())
}
