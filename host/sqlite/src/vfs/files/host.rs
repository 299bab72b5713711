//! Clock, sleep and randomness of a VFS of ours: those of the VFS that SQLite would use without it.

use std::ffi::{c_char, c_int};

use rusqlite::ffi;

/// The built-in VFS behind ours.
///
/// # Safety
/// `vfs` is one of ours.
unsafe fn host(vfs: *mut ffi::sqlite3_vfs) -> *mut ffi::sqlite3_vfs {
    // SAFETY: `pAppData` of our VFS is the built-in one.
    unsafe { (*vfs).pAppData.cast() }
}

pub(super) unsafe extern "C" fn x_randomness(
    vfs: *mut ffi::sqlite3_vfs,
    bytes: c_int,
    out: *mut c_char,
) -> c_int {
    // SAFETY: SQLite calls this with our VFS; the arguments are passed on as they are.
    unsafe {
        let host = host(vfs);
        (*host).xRandomness.map_or(0, |call| call(host, bytes, out))
    }
}

pub(super) unsafe extern "C" fn x_sleep(vfs: *mut ffi::sqlite3_vfs, microseconds: c_int) -> c_int {
    // SAFETY: as in `x_randomness`.
    unsafe {
        let host = host(vfs);
        (*host).xSleep.map_or(0, |call| call(host, microseconds))
    }
}

pub(super) unsafe extern "C" fn x_current_time(vfs: *mut ffi::sqlite3_vfs, out: *mut f64) -> c_int {
    // SAFETY: as in `x_randomness`.
    unsafe {
        let host = host(vfs);
        (*host).xCurrentTime.map_or(ffi::SQLITE_ERROR, |call| call(host, out))
    }
}

pub(super) unsafe extern "C" fn x_current_time_int64(
    vfs: *mut ffi::sqlite3_vfs,
    out: *mut ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: as in `x_randomness`. The built-in VFS has version 2 or later.
    unsafe {
        let host = host(vfs);
        match (*host).xCurrentTimeInt64 {
            Some(call) if (*host).iVersion >= 2 => call(host, out),
            Some(_) | None => ffi::SQLITE_ERROR,
        }
    }
}
