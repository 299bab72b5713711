//! The C boundary: SQLite's callbacks, translated to [`OsFile`] and back. Decides nothing.
//!
//! - No panic crosses it: one is caught, kills the session and becomes an I/O error.
//! - One VFS is registered, for the life of the process. Nothing writes to it afterwards but SQLite.
//! - The methods of an open file stay those that it was opened with.
#![allow(unsafe_code, reason = "SQLite's file interface is C")]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::{ptr, slice};

use parking_lot::Mutex;
use rusqlite::ffi;

use crate::context::Context;
use crate::file::{FileError, Operation, OsFile};
use crate::heap::uncharged;
use crate::registry;
use crate::scratch::ScratchFile;
use crate::seat::SeatFile;

/// The name of the VFS.
const NAME: &CStr = c"stockade";
/// Longest file name that SQLite may ask about: our own with a suffix.
const PATH_BYTES_MAX: c_int = 128;

/// Registers the VFS unless it is registered already. Returns its name.
///
/// # Errors
/// SQLite's code.
pub(crate) fn register() -> Result<&'static CStr, c_int> {
    static IS_REGISTERED: Mutex<bool> = Mutex::new(false);
    let mut is_registered = IS_REGISTERED.lock();
    if *is_registered {
        return Ok(NAME);
    }
    // SAFETY: a null name asks for the default VFS.
    let host = unsafe { ffi::sqlite3_vfs_find(ptr::null()) };
    if host.is_null() {
        return Err(ffi::SQLITE_ERROR);
    }
    let vfs = Box::into_raw(Box::new(vfs_over(host)));
    // SAFETY: `vfs` comes from `Box::into_raw` and is never freed, as its name: valid for the life of
    // the process. The default VFS stays the default.
    match unsafe { ffi::sqlite3_vfs_register(vfs, 0) } {
        ffi::SQLITE_OK => {
            *is_registered = true;
            Ok(NAME)
        }
        code => Err(code),
    }
}

/// Our VFS. Its `pAppData` is `host`, the one that SQLite would use without us: for the clock, sleep
/// and randomness.
fn vfs_over(host: *mut ffi::sqlite3_vfs) -> ffi::sqlite3_vfs {
    ffi::sqlite3_vfs {
        iVersion: 2,
        szOsFile: c_int::try_from(size_of::<File<SeatFile>>()).expect("BUG: a file is two words"),
        mxPathname: PATH_BYTES_MAX,
        pNext: ptr::null_mut(),
        zName: NAME.as_ptr(),
        pAppData: host.cast(),
        xOpen: Some(x_open),
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
struct File<F> {
    base: ffi::sqlite3_file,
    body: *mut F,
}

const fn methods<F: OsFile>() -> ffi::sqlite3_io_methods {
    ffi::sqlite3_io_methods {
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
    }
}

static MAIN_METHODS: ffi::sqlite3_io_methods = methods::<SeatFile>();
static SCRATCH_METHODS: ffi::sqlite3_io_methods = methods::<ScratchFile>();

/// Runs a file operation: no panic gets out, and its fault is kept for the statement's caller.
fn run<F: OsFile>(
    file: &mut F,
    during: Operation,
    body: impl FnOnce(&mut F) -> Result<(), FileError>,
) -> c_int {
    let outcome = catch_unwind(AssertUnwindSafe(|| uncharged(|| body(file))));
    let error = match outcome {
        Ok(Ok(())) => return ffi::SQLITE_OK,
        Ok(Err(error)) => error,
        Err(_) => match file.context() {
            Some(context) => context.kill("a panic in a file operation").into(),
            None => FileError::OutOfRange,
        },
    };
    let code = error.code(during);
    if let (FileError::Fault(fault), Some(context)) = (error, file.context()) {
        context.faults.record(fault);
    }
    code
}

/// The body of an open file.
///
/// # Safety
/// `file` is a file that `x_open` opened with the methods of `F` and that was not closed since;
/// SQLite calls one method of a file at a time.
unsafe fn body<'a, F>(file: *mut ffi::sqlite3_file) -> &'a mut F {
    // SAFETY: `x_open` put a `File<F>` there, whose `body` is a live box.
    unsafe { &mut *(*file.cast::<File<F>>()).body }
}

unsafe extern "C" fn x_open(
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
    match catch_unwind(|| open_body(name, flags)) {
        Ok(Some(Opened::Main(body))) => {
            // SAFETY: `file` has room for a `File<_>` and is not in use.
            unsafe { install(file, body, &MAIN_METHODS) };
            ffi::SQLITE_OK
        }
        Ok(Some(Opened::Scratch(body))) => {
            // SAFETY: as above.
            unsafe { install(file, body, &SCRATCH_METHODS) };
            ffi::SQLITE_OK
        }
        Ok(None) | Err(_) => ffi::SQLITE_CANTOPEN,
    }
}

/// A file that SQLite may have.
enum Opened {
    Main(SeatFile),
    Scratch(ScratchFile),
}

/// The file of a name, or one without a name. `None`: not ours, as an attached file, a write-ahead
/// log, the journal over several databases.
fn open_body(name: Option<&CStr>, flags: c_int) -> Option<Opened> {
    let Some(name) = name else {
        return registry::open_nameless().map(Opened::Scratch);
    };
    let name = name.to_str().ok()?;
    if flags & ffi::SQLITE_OPEN_MAIN_DB != 0 {
        registry::open_main(name).map(Opened::Main)
    } else if flags & ffi::SQLITE_OPEN_MAIN_JOURNAL != 0 {
        registry::open_journal(name).map(Opened::Scratch)
    } else {
        None
    }
}

/// # Safety
/// `file` points at `szOsFile` writable bytes that hold no open file.
unsafe fn install<F: OsFile>(
    file: *mut ffi::sqlite3_file,
    body: F,
    methods: &'static ffi::sqlite3_io_methods,
) {
    let body = Box::into_raw(Box::new(body));
    // SAFETY: `szOsFile` is the size of `File<_>`, the same for every F; SQLite aligns to 8.
    unsafe {
        file.cast::<File<F>>().write(File { base: ffi::sqlite3_file { pMethods: methods }, body });
    }
}

unsafe extern "C" fn x_close<F: OsFile>(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: an open file of ours; SQLite does not use it again.
    let body = unsafe { Box::from_raw((*file.cast::<File<F>>()).body) };
    // SAFETY: as above.
    unsafe { (*file).pMethods = ptr::null() };
    match catch_unwind(AssertUnwindSafe(|| drop(body))) {
        Ok(()) => ffi::SQLITE_OK,
        Err(_) => ffi::SQLITE_IOERR_CLOSE,
    }
}

unsafe extern "C" fn x_read<F: OsFile>(
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
    run(unsafe { body::<F>(file) }, Operation::Read, |body| body.read(out, offset))
}

unsafe extern "C" fn x_write<F: OsFile>(
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
    run(unsafe { body::<F>(file) }, Operation::Write, |body| body.write(data, offset))
}

unsafe extern "C" fn x_truncate<F: OsFile>(
    file: *mut ffi::sqlite3_file,
    size: ffi::sqlite3_int64,
) -> c_int {
    let Ok(size) = u64::try_from(size) else {
        return ffi::SQLITE_IOERR_TRUNCATE;
    };
    // SAFETY: an open file with these methods.
    run(unsafe { body::<F>(file) }, Operation::Truncate, |body| body.truncate(size))
}

/// Never relied on: `FCNTL_SYNC` comes before it, and also when `synchronous=OFF` skips it.
unsafe extern "C" fn x_sync(_file: *mut ffi::sqlite3_file, _flags: c_int) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn x_file_size<F: OsFile>(
    file: *mut ffi::sqlite3_file,
    out: *mut ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: an open file with these methods.
    run(unsafe { body::<F>(file) }, Operation::Size, |body| {
        let size = i64::try_from(body.size()?).map_err(|_| FileError::OutOfRange)?;
        // SAFETY: SQLite wants the size there.
        unsafe { *out = size };
        Ok(())
    })
}

/// The fence excludes others; within the process the main file opens once.
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

unsafe extern "C" fn x_file_control<F: OsFile>(
    file: *mut ffi::sqlite3_file,
    operation: c_int,
    argument: *mut c_void,
) -> c_int {
    // SAFETY: an open file with these methods.
    let body = unsafe { body::<F>(file) };
    match operation {
        ffi::SQLITE_FCNTL_SYNC => run(body, Operation::Sync, F::prepare),
        ffi::SQLITE_FCNTL_COMMIT_PHASETWO => run(body, Operation::Sync, F::publish),
        ffi::SQLITE_FCNTL_PRAGMA => body.context().map_or(ffi::SQLITE_NOTFOUND, |context| {
            // SAFETY: for this operation SQLite passes the pragma as an array of strings.
            unsafe { pragma(context, argument.cast()) }
        }),
        _ => ffi::SQLITE_NOTFOUND,
    }
}

/// # Safety
/// `arguments` is SQLite's array: room for an error, the pragma's name, its value or null.
unsafe fn pragma(context: &Context, arguments: *mut *mut c_char) -> c_int {
    // SAFETY: the second entry is the name, a C string.
    let name = unsafe { CStr::from_ptr(*arguments.add(1)) }.to_string_lossy();
    // SAFETY: the third entry is the value, a C string or null.
    let value = unsafe { (*arguments.add(2)).as_ref() }
        // SAFETY: as above.
        .map(|start| unsafe { CStr::from_ptr(start) }.to_string_lossy());
    let check = || context.settings.check(&name, value.as_deref());
    match catch_unwind(AssertUnwindSafe(check)) {
        Ok(Ok(())) => ffi::SQLITE_NOTFOUND,
        Ok(Err(sentence)) => {
            // SAFETY: the first entry is where SQLite looks for an error, in its own memory.
            unsafe { *arguments = sqlite_string(&sentence) };
            ffi::SQLITE_ERROR
        }
        Err(_) => {
            context.faults.record(context.kill("a panic in a pragma"));
            ffi::SQLITE_IOERR
        }
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

/// Journal headers fill one sector: a small one keeps small commits small.
unsafe extern "C" fn x_sector_size(_file: *mut ffi::sqlite3_file) -> c_int {
    512
}

unsafe extern "C" fn x_device_characteristics<F: OsFile>(_file: *mut ffi::sqlite3_file) -> c_int {
    F::CHARACTERISTICS
}

/// Journals and temporary files go when they are closed: there is nothing to delete.
unsafe extern "C" fn x_delete(
    _vfs: *mut ffi::sqlite3_vfs,
    _name: *const c_char,
    _sync_directory: c_int,
) -> c_int {
    ffi::SQLITE_OK
}

/// No journal and no log is ever found: the depot holds committed states only.
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

/// Names are not paths: each is already full.
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

/// Guests load no code.
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

/// The built-in VFS behind ours.
///
/// # Safety
/// `vfs` is one of ours.
unsafe fn host(vfs: *mut ffi::sqlite3_vfs) -> *mut ffi::sqlite3_vfs {
    // SAFETY: `pAppData` of our VFS is the built-in one.
    unsafe { (*vfs).pAppData.cast() }
}

unsafe extern "C" fn x_randomness(
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

unsafe extern "C" fn x_sleep(vfs: *mut ffi::sqlite3_vfs, microseconds: c_int) -> c_int {
    // SAFETY: as in `x_randomness`.
    unsafe {
        let host = host(vfs);
        (*host).xSleep.map_or(0, |call| call(host, microseconds))
    }
}

unsafe extern "C" fn x_current_time(vfs: *mut ffi::sqlite3_vfs, out: *mut f64) -> c_int {
    // SAFETY: as in `x_randomness`.
    unsafe {
        let host = host(vfs);
        (*host).xCurrentTime.map_or(ffi::SQLITE_ERROR, |call| call(host, out))
    }
}

unsafe extern "C" fn x_current_time_int64(
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
