//! The C boundary: a VFS of SQLite that is another one but for how logs are written. Decides nothing.
//!
//! Only a log gets methods of ours; every other file is opened as by the VFS behind. A registered VFS
//! is never freed, so SQLite may keep its pointer.
#![allow(unsafe_code, reason = "SQLite's file interface is C")]

use std::collections::HashMap;
use std::ffi::{CString, c_char, c_int, c_void};
use std::sync::LazyLock;
use std::{ptr, slice};

use parking_lot::Mutex;
use rusqlite::ffi;

use super::Combined;

/// A registered VFS.
#[repr(C)]
struct Vfs {
    /// What SQLite has: first, so that its pointer is ours, too.
    vfs: ffi::sqlite3_vfs,
    behind: *mut ffi::sqlite3_vfs,
}

/// An open log. Behind it, in the same allocation, the file as the VFS behind has it.
#[repr(C)]
struct Log {
    base: ffi::sqlite3_file,
    /// From `Box::into_raw`; freed when the file is closed.
    combined: *mut Combined,
}

/// Bytes of [`Log`], a multiple of the 8 that SQLite aligns files to.
const LOG_BYTES: c_int = 16;
const _: () = assert!(size_of::<Log>() == 16, "two pointers");

/// Names of registered VFSs by the names of those behind: one each, however many stores are opened.
static REGISTERED: LazyLock<Mutex<HashMap<Option<String>, String>>> = LazyLock::new(Mutex::default);

/// The VFS that combines the writes to logs over `behind`, or over the default one.
///
/// # Errors
/// SQLite's code if there is no such VFS.
pub(in super::super) fn over(behind: Option<&str>) -> Result<String, c_int> {
    let mut registered = REGISTERED.lock();
    let key = behind.map(str::to_owned);
    if let Some(name) = registered.get(&key) {
        return Ok(name.clone());
    }
    let name = register(behind)?;
    registered.insert(key, name.clone());
    Ok(name)
}

fn register(behind: Option<&str>) -> Result<String, c_int> {
    let misuse = |_| ffi::SQLITE_MISUSE;
    let asked = behind.map(CString::new).transpose().map_err(misuse)?;
    let asked = asked.as_ref().map_or(ptr::null(), |name| name.as_ptr());
    // SAFETY: null asks for the default VFS; a name lives for the call.
    let behind = unsafe { ffi::sqlite3_vfs_find(asked) };
    if behind.is_null() {
        return Err(ffi::SQLITE_ERROR);
    }
    let name = format!("stockade-log-{behind:p}");
    let c_name = CString::new(name.as_str()).map_err(misuse)?;
    // SAFETY: it is a registered VFS. Of its methods only `xOpen` may rely on being given the very
    // same one, and gets it; the others find the fields that they look at copied.
    let mut vfs = unsafe { *behind };
    vfs.pNext = ptr::null_mut();
    vfs.zName = c_name.into_raw();
    vfs.szOsFile += LOG_BYTES;
    vfs.xOpen = Some(open);
    let vfs = Box::into_raw(Box::new(Vfs { vfs, behind }));
    // SAFETY: the VFS and its name are leaked: valid for the life of the process.
    match unsafe { ffi::sqlite3_vfs_register(vfs.cast(), 0) } {
        ffi::SQLITE_OK => Ok(name),
        code => Err(code),
    }
}

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    path: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite calls with the VFS that was registered, and with `szOsFile` bytes at `file`:
    // room for ours and the one behind. A VFS without `xOpen` would open nothing.
    unsafe {
        let behind = (*vfs.cast::<Vfs>()).behind;
        let Some(open) = (*behind).xOpen else {
            return ffi::SQLITE_CANTOPEN;
        };
        if flags & ffi::SQLITE_OPEN_WAL == 0 {
            return open(behind, path, file, flags, out_flags);
        }
        (*file).pMethods = ptr::null();
        let code = open(behind, path, real(file), flags, out_flags);
        if !(*real(file)).pMethods.is_null() {
            (*file.cast::<Log>()).combined = Box::into_raw(Box::default());
            (*file).pMethods = &raw const METHODS;
        }
        code
    }
}

/// The file as the VFS behind has it.
unsafe fn real(file: *mut ffi::sqlite3_file) -> *mut ffi::sqlite3_file {
    // SAFETY: `szOsFile` has room for both, so the end of ours is inside the allocation.
    unsafe { file.cast::<Log>().add(1).cast() }
}

/// Calls a method of the file behind; one that it does not have is an error.
macro_rules! behind {
    ($file:ident . $method:ident ( $($argument:expr),* )) => {
        match (*(*real($file)).pMethods).$method {
            Some(method) => method(real($file) $(, $argument)*),
            None => ffi::SQLITE_IOERR,
        }
    };
}

/// Writes what waits.
unsafe fn flush(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: the file is open, so `combined` is valid and, since SQLite uses a file from one thread
    // at a time, ours alone. The method behind gets as many bytes as it is told.
    unsafe {
        let written = (*(*file.cast::<Log>()).combined).flush(|at, bytes| {
            let (Ok(len), Ok(at)) = (c_int::try_from(bytes.len()), i64::try_from(at)) else {
                return Err(ffi::SQLITE_MISUSE);
            };
            match behind!(file.xWrite(bytes.as_ptr().cast(), len, at)) {
                ffi::SQLITE_OK => Ok(()),
                code => Err(code),
            }
        });
        written.err().unwrap_or(ffi::SQLITE_OK)
    }
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    bytes: *const c_void,
    len: c_int,
    at: ffi::sqlite3_int64,
) -> c_int {
    let (Ok(count), Ok(start)) = (usize::try_from(len), u64::try_from(at)) else {
        return ffi::SQLITE_MISUSE;
    };
    // SAFETY: SQLite gives `len` bytes at `bytes`; the file is open, and `combined` as in `flush`.
    unsafe {
        let combined = (*file.cast::<Log>()).combined;
        let given = slice::from_raw_parts(bytes.cast::<u8>(), count);
        if !(*combined).push(start, given) {
            let code = flush(file);
            if code != ffi::SQLITE_OK {
                return code;
            }
            (*combined).push(start, given);
        }
        ffi::SQLITE_OK
    }
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: the file is open, and nobody uses it after this.
    unsafe {
        drop(Box::from_raw((*file.cast::<Log>()).combined));
        behind!(file.xClose())
    }
}

/// A method before which everything is written.
macro_rules! flushed {
    ($($name:ident: $method:ident($($argument:ident: $kind:ty),*);)*) => {$(
        unsafe extern "C" fn $name(file: *mut ffi::sqlite3_file $(, $argument: $kind)*) -> c_int {
            // SAFETY: the file is open; the method behind takes what SQLite gave ours.
            unsafe {
                match flush(file) {
                    ffi::SQLITE_OK => behind!(file.$method($($argument),*)),
                    code => code,
                }
            }
        }
    )*};
}

/// What SQLite would take for damage, a read that the system refuses, is told as what it is.
unsafe extern "C" fn read(
    file: *mut ffi::sqlite3_file,
    bytes: *mut c_void,
    len: c_int,
    at: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: the file is open; the method behind takes what SQLite gave ours.
    unsafe {
        match flush(file) {
            ffi::SQLITE_OK => match behind!(file.xRead(bytes, len, at)) {
                ffi::SQLITE_IOERR_CORRUPTFS => ffi::SQLITE_IOERR_READ,
                code => code,
            },
            code => code,
        }
    }
}

flushed! {
    file_size: xFileSize(size: *mut ffi::sqlite3_int64);
    lock: xLock(level: c_int);
    unlock: xUnlock(level: c_int);
    check_reserved: xCheckReservedLock(out: *mut c_int);
    control: xFileControl(what: c_int, argument: *mut c_void);
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: the file is open, and `combined` as in `flush`. The zeros live for ever.
    unsafe {
        let code = flush(file);
        if code != ffi::SQLITE_OK {
            return code;
        }
        let size = || {
            let mut size = 0;
            let code = behind!(file.xFileSize(&raw mut size));
            u64::try_from(size).ok().filter(|_| code == ffi::SQLITE_OK)
        };
        let growth = (*(*file.cast::<Log>()).combined).growth(size);
        for at in growth.into_iter().flat_map(|growth| growth.step_by(ZEROS.len())) {
            let (Ok(len), Ok(at)) = (c_int::try_from(ZEROS.len()), i64::try_from(at)) else {
                return ffi::SQLITE_MISUSE;
            };
            // Without room the log is none the worse: what was written is there.
            let _ = behind!(file.xWrite(ZEROS.as_ptr().cast(), len, at));
        }
        behind!(file.xSync(flags))
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: ffi::sqlite3_int64) -> c_int {
    // SAFETY: the file is open, and `combined` as in `flush`.
    unsafe {
        let code = flush(file);
        (*(*file.cast::<Log>()).combined).forget_size();
        if code == ffi::SQLITE_OK { behind!(file.xTruncate(size)) } else { code }
    }
}

unsafe extern "C" fn sector_size(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: the file is open.
    unsafe { behind!(file.xSectorSize()) }
}

unsafe extern "C" fn characteristics(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: the file is open.
    unsafe { behind!(file.xDeviceCharacteristics()) }
}

/// What a log grows by, a few times.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Version 1: a log has neither shared memory nor a memory map.
static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 1,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved),
    xFileControl: Some(control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(characteristics),
    xShmMap: None,
    xShmLock: None,
    xShmBarrier: None,
    xShmUnmap: None,
    xFetch: None,
    xUnfetch: None,
};
