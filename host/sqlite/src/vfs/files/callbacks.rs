//! What SQLite calls of a VFS of ours and of its files.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::{ptr, slice};

use rusqlite::ffi;

use super::host::{x_current_time, x_current_time_int64, x_randomness, x_sleep};
use super::{File, Operation, Vfs};
use crate::Code;

/// Journal headers fill one sector: a small one keeps small commits small.
const SECTOR_BYTES: c_int = 512;

/// The VFS as SQLite has it. Its `pAppData` is `host`, the one that SQLite would use without us.
pub(super) fn vfs_over<V: Vfs>(host: *mut ffi::sqlite3_vfs) -> ffi::sqlite3_vfs {
    ffi::sqlite3_vfs {
        iVersion: 2,
        szOsFile: FILE_BYTES,
        mxPathname: V::NAME_BYTES_MAX,
        pNext: ptr::null_mut(),
        zName: V::NAME.as_ptr(),
        pAppData: host.cast(),
        xOpen: Some(x_open::<V>),
        xDelete: Some(x_delete),
        xAccess: Some(x_access),
        xFullPathname: Some(x_full_pathname),
        xDlOpen: Some(x_dl_open),
        xDlError: Some(x_dl_error),
        xDlSym: None,
        xDlClose: None,
        xRandomness: Some(x_randomness),
        xSleep: Some(x_sleep),
        xCurrentTime: Some(x_current_time),
        xGetLastError: Some(x_get_last_error),
        xCurrentTimeInt64: Some(x_current_time_int64),
        xSetSystemCall: None,
        xGetSystemCall: None,
        xNextSystemCall: None,
    }
}

/// The memory that SQLite gives us per file: its own head, then a box of ours.
#[repr(C)]
struct OpenFile<F> {
    base: ffi::sqlite3_file,
    body: *mut F,
}

const FILE_BYTES: c_int = 16;
const _: () = assert!(size_of::<OpenFile<[u8; 64]>>() == 16, "two pointers, whatever the file");

/// The methods of a file.
struct Methods<F>(F);

impl<F: File> Methods<F> {
    const ALL: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
        iVersion: 1,
        xClose: Some(x_close::<F>),
        xRead: Some(x_read::<F>),
        xWrite: Some(x_write::<F>),
        xTruncate: Some(x_truncate::<F>),
        xSync: Some(x_sync),
        xFileSize: Some(x_file_size::<F>),
        xLock: Some(x_lock),
        xUnlock: Some(x_lock),
        xCheckReservedLock: Some(x_check_reserved_lock),
        xFileControl: Some(x_file_control::<F>),
        xSectorSize: Some(x_sector_size),
        xDeviceCharacteristics: Some(x_device_characteristics::<F>),
        xShmMap: None,
        xShmLock: None,
        xShmBarrier: None,
        xShmUnmap: None,
        xFetch: None,
        xUnfetch: None,
    };
}

/// Runs a method of a file: no panic gets out.
#[inline]
fn run<F: File, T>(
    file: &mut F,
    during: Operation,
    method: impl FnOnce(&mut F) -> Result<T, Code>,
) -> Result<T, Code> {
    match catch_unwind(AssertUnwindSafe(|| method(file))) {
        Ok(outcome) => outcome,
        Err(_) => {
            file.panicked(during);
            Err(during.io_error())
        }
    }
}

fn code(outcome: Result<(), Code>) -> c_int {
    outcome.err().unwrap_or(ffi::SQLITE_OK)
}

/// The body of an open file.
///
/// # Safety
/// `file` is a file that `x_open` opened with the methods of `F` and that was not closed since.
unsafe fn body<'a, F>(file: *mut ffi::sqlite3_file) -> &'a mut F {
    // SAFETY: `x_open` put an `OpenFile<F>` there, whose `body` is a live box; the reference is the
    // only one (V3).
    unsafe { &mut *(*file.cast::<OpenFile<F>>()).body }
}

unsafe extern "C" fn x_open<V: Vfs>(
    _vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite gives room for `szOsFile` bytes; no methods means: not open, do not close.
    unsafe { (*file).pMethods = ptr::null() };
    let name = if name.is_null() {
        None
    } else {
        // SAFETY: SQLite's file names end with a zero byte and outlive the call.
        Some(unsafe { CStr::from_ptr(name) })
    };
    if !out_flags.is_null() {
        // SAFETY: not null, so SQLite wants to know.
        unsafe { *out_flags = flags };
    }
    match catch_unwind(|| V::open(name, flags)) {
        Ok(Some(opened)) => {
            let methods: &'static ffi::sqlite3_io_methods = &Methods::<V::File>::ALL;
            let base = ffi::sqlite3_file { pMethods: methods };
            let body = Box::into_raw(Box::new(opened));
            // SAFETY: `file` has room for an `OpenFile<_>` and holds no open file; SQLite aligns to
            // 8.
            unsafe { file.cast::<OpenFile<V::File>>().write(OpenFile { base, body }) };
            ffi::SQLITE_OK
        }
        Ok(None) | Err(_) => ffi::SQLITE_CANTOPEN,
    }
}

unsafe extern "C" fn x_close<F>(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: an open file of ours; SQLite does not use it again.
    let body = unsafe { Box::from_raw((*file.cast::<OpenFile<F>>()).body) };
    match catch_unwind(AssertUnwindSafe(|| drop(body))) {
        Ok(()) => ffi::SQLITE_OK,
        Err(_) => ffi::SQLITE_IOERR_CLOSE,
    }
}

unsafe extern "C" fn x_read<F: File>(
    file: *mut ffi::sqlite3_file,
    out: *mut c_void,
    amount: c_int,
    offset: ffi::sqlite3_int64,
) -> c_int {
    let (Ok(amount), Ok(offset)) = (usize::try_from(amount), u64::try_from(offset)) else {
        return ffi::SQLITE_IOERR_READ;
    };
    // SAFETY: `out` has room for `amount` bytes, which SQLite initialised or does not read if we
    // fail; plain bytes may be overwritten whatever they hold.
    let out = unsafe { slice::from_raw_parts_mut(out.cast::<u8>(), amount) };
    // SAFETY: an open file with these methods.
    let file = unsafe { body::<F>(file) };
    code(run(file, Operation::Read, |file| file.read(out, offset)))
}

unsafe extern "C" fn x_write<F: File>(
    file: *mut ffi::sqlite3_file,
    data: *const c_void,
    amount: c_int,
    offset: ffi::sqlite3_int64,
) -> c_int {
    let (Ok(amount), Ok(offset)) = (usize::try_from(amount), u64::try_from(offset)) else {
        return ffi::SQLITE_IOERR_WRITE;
    };
    // SAFETY: `data` holds `amount` bytes.
    let data = unsafe { slice::from_raw_parts(data.cast::<u8>(), amount) };
    // SAFETY: an open file with these methods.
    let file = unsafe { body::<F>(file) };
    code(run(file, Operation::Write, |file| file.write(data, offset)))
}

unsafe extern "C" fn x_truncate<F: File>(
    file: *mut ffi::sqlite3_file,
    size: ffi::sqlite3_int64,
) -> c_int {
    let Ok(size) = u64::try_from(size) else {
        return ffi::SQLITE_IOERR_TRUNCATE;
    };
    // SAFETY: an open file with these methods.
    let file = unsafe { body::<F>(file) };
    code(run(file, Operation::Truncate, |file| file.truncate(size)))
}

/// Never relied on: see [`File::prepare`].
unsafe extern "C" fn x_sync(_file: *mut ffi::sqlite3_file, _flags: c_int) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn x_file_size<F: File>(
    file: *mut ffi::sqlite3_file,
    out: *mut ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: an open file with these methods.
    let file = unsafe { body::<F>(file) };
    match run(file, Operation::Size, F::size).map(i64::try_from) {
        Ok(Ok(size)) => {
            // SAFETY: SQLite wants the size there.
            unsafe { *out = size };
            ffi::SQLITE_OK
        }
        Ok(Err(_)) => Operation::Size.io_error(),
        Err(code) => code,
    }
}

/// No other connection has the file.
unsafe extern "C" fn x_lock(_file: *mut ffi::sqlite3_file, _level: c_int) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn x_check_reserved_lock(
    _file: *mut ffi::sqlite3_file,
    out: *mut c_int,
) -> c_int {
    // SAFETY: SQLite wants the answer there.
    unsafe { *out = 0 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn x_file_control<F: File>(
    file: *mut ffi::sqlite3_file,
    operation: c_int,
    argument: *mut c_void,
) -> c_int {
    // SAFETY: an open file with these methods.
    let file = unsafe { body::<F>(file) };
    match operation {
        ffi::SQLITE_FCNTL_SYNC => code(run(file, Operation::Sync, F::prepare)),
        ffi::SQLITE_FCNTL_COMMIT_PHASETWO => code(run(file, Operation::Sync, F::publish)),
        // SAFETY: for this operation SQLite passes the pragma as an array of strings.
        ffi::SQLITE_FCNTL_PRAGMA => unsafe { pragma(file, argument.cast()) },
        _ => ffi::SQLITE_NOTFOUND,
    }
}

/// # Safety
/// `arguments` is SQLite's array: room for an error, the pragma's name, its value or null.
unsafe fn pragma<F: File>(file: &mut F, arguments: *mut *mut c_char) -> c_int {
    // SAFETY: the second entry is the name, a C string.
    let name = unsafe { CStr::from_ptr(*arguments.add(1)) }.to_string_lossy();
    // SAFETY: the third entry is the value, a C string or null.
    let value = unsafe { (*arguments.add(2)).as_ref() }
        // SAFETY: as above.
        .map(|start| unsafe { CStr::from_ptr(start) }.to_string_lossy());
    let asked = run(file, Operation::Pragma, |file| Ok(file.pragma(&name, value.as_deref())));
    match asked {
        Ok(Ok(())) => ffi::SQLITE_NOTFOUND,
        Ok(Err(sentence)) => {
            // SAFETY: the first entry is where SQLite looks for an error, in its own memory.
            unsafe { *arguments = sqlite_string(&sentence) };
            ffi::SQLITE_ERROR
        }
        Err(code) => code,
    }
}

/// A copy in memory that SQLite frees; null if there is none, which SQLite takes for no message.
fn sqlite_string(text: &str) -> *mut c_char {
    let Ok(size) = u64::try_from(text.len() + 1) else {
        return ptr::null_mut();
    };
    // SAFETY: any size may be asked for.
    let copy = unsafe { ffi::sqlite3_malloc64(size) }.cast::<u8>();
    if !copy.is_null() {
        // SAFETY: `copy` has room for the text and its end mark.
        unsafe {
            copy.copy_from_nonoverlapping(text.as_ptr(), text.len());
            copy.add(text.len()).write(0);
        }
    }
    copy.cast()
}

unsafe extern "C" fn x_sector_size(_file: *mut ffi::sqlite3_file) -> c_int {
    SECTOR_BYTES
}

unsafe extern "C" fn x_device_characteristics<F: File>(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: an open file with these methods.
    let file = unsafe { body::<F>(file) };
    catch_unwind(AssertUnwindSafe(|| file.characteristics())).unwrap_or(0)
}

unsafe extern "C" fn x_delete(
    _vfs: *mut ffi::sqlite3_vfs,
    _name: *const c_char,
    _sync_directory: c_int,
) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn x_access(
    _vfs: *mut ffi::sqlite3_vfs,
    _name: *const c_char,
    _flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: SQLite wants the answer there.
    unsafe { *out = 0 };
    ffi::SQLITE_OK
}

/// Each name is already full.
unsafe extern "C" fn x_full_pathname(
    _vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    out_bytes: c_int,
    out: *mut c_char,
) -> c_int {
    // SAFETY: SQLite's names end with a zero byte.
    let name = unsafe { CStr::from_ptr(name) }.to_bytes_with_nul();
    match usize::try_from(out_bytes) {
        Ok(room) if name.len() <= room => {
            // SAFETY: `out` has `room` bytes, and the two do not overlap.
            unsafe { out.cast::<u8>().copy_from_nonoverlapping(name.as_ptr(), name.len()) };
            ffi::SQLITE_OK
        }
        Ok(_) | Err(_) => ffi::SQLITE_CANTOPEN,
    }
}

unsafe extern "C" fn x_dl_open(_vfs: *mut ffi::sqlite3_vfs, _name: *const c_char) -> *mut c_void {
    ptr::null_mut()
}

unsafe extern "C" fn x_dl_error(_vfs: *mut ffi::sqlite3_vfs, bytes: c_int, out: *mut c_char) {
    let text = c"extensions cannot be loaded here".to_bytes_with_nul();
    if usize::try_from(bytes).is_ok_and(|room| text.len() <= room) {
        // SAFETY: `out` has `bytes` bytes, enough for the text.
        unsafe { out.cast::<u8>().copy_from_nonoverlapping(text.as_ptr(), text.len()) };
    }
}

unsafe extern "C" fn x_get_last_error(
    _vfs: *mut ffi::sqlite3_vfs,
    _bytes: c_int,
    _out: *mut c_char,
) -> c_int {
    0
}
