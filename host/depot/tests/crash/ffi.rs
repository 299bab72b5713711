//! A VFS of SQLite that does what the system's does and writes down what reaches the files: the C
//! boundary, which decides nothing.
//!
//! Shared memory (the WAL's index) and locks pass through unseen: no crash keeps them. A registered
//! VFS is never freed, so SQLite may keep its pointer.
#![allow(unsafe_code, reason = "SQLite's file interface is C")]

use std::ffi::{CStr, CString, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::{ptr, slice};

use rusqlite::ffi;

use crate::journal::{Journal, Op};

/// What a registered VFS needs, behind `pAppData`.
struct App {
    system: *mut ffi::sqlite3_vfs,
    journal: Arc<Journal>,
}

/// An open file: ours, and behind it in the same allocation the system's.
#[repr(C)]
struct File {
    base: ffi::sqlite3_file,
    app: *const App,
    /// Leaked with the VFS's few names; null for files without a name.
    name: *const String,
    /// Keeps the system's file aligned as SQLite aligns what it allocates.
    _align: u64,
}

/// Registers a VFS that writes down into `journal`; its name is to be given to `EmbeddedConfig`.
pub(crate) fn register(journal: Arc<Journal>) -> String {
    let name = format!("recording-{:p}", Arc::as_ptr(&journal));
    let c_name = CString::new(name.clone()).unwrap().into_raw();
    // SAFETY: a null name asks for the default VFS, which lives as long as the process.
    let system = unsafe { ffi::sqlite3_vfs_find(ptr::null()) };
    assert!(!system.is_null());
    let app = Box::into_raw(Box::new(App { system, journal }));
    // SAFETY: `system` is a valid VFS; its methods but `xOpen` do not look at the VFS they are
    // given except for `mxPathname`, which is copied with the rest.
    let mut vfs = unsafe { *system };
    vfs.pNext = ptr::null_mut();
    vfs.zName = c_name;
    vfs.pAppData = app.cast();
    vfs.szOsFile += c_int::try_from(size_of::<File>()).unwrap();
    vfs.xOpen = Some(open);
    vfs.xDelete = Some(delete);
    // SAFETY: the VFS, its name and its data are leaked: valid for the life of the process.
    let code = unsafe { ffi::sqlite3_vfs_register(Box::into_raw(Box::new(vfs)), 0) };
    assert_eq!(code, ffi::SQLITE_OK);
    name
}

/// The name of a file inside the store's directory.
fn file_name(path: *const c_char) -> Option<String> {
    if path.is_null() {
        return None;
    }
    // SAFETY: SQLite gives null or a C string that lives for the call.
    let bytes = unsafe { CStr::from_ptr(path) }.to_bytes();
    let name = Path::new(OsStr::from_bytes(bytes)).file_name()?;
    Some(name.to_string_lossy().into_owned())
}

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    path: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite calls with the VFS that was registered, and with `szOsFile` bytes at `file`:
    // room for ours and the system's. `xOpen` of the default VFS is never null.
    unsafe {
        let app: *const App = (*vfs).pAppData.cast();
        let ours: *mut File = file.cast();
        (*ours).base.pMethods = ptr::null();
        (*ours).app = app;
        (*ours).name = file_name(path).map_or(ptr::null(), |name| Box::into_raw(Box::new(name)));
        let system = (*app).system;
        let code = (*system).xOpen.unwrap()(system, path, real(file), flags, out_flags);
        if !(*real(file)).pMethods.is_null() {
            (*ours).base.pMethods = &raw const METHODS;
        }
        code
    }
}

unsafe extern "C" fn delete(
    vfs: *mut ffi::sqlite3_vfs,
    path: *const c_char,
    sync_dir: c_int,
) -> c_int {
    // SAFETY: as in `open`; `xDelete` of the default VFS is never null.
    unsafe {
        let app: *const App = (*vfs).pAppData.cast();
        if let Some(name) = file_name(path) {
            (*app).journal.push(Op::Delete { file: name, durable: sync_dir != 0 });
        }
        (*(*app).system).xDelete.unwrap()((*app).system, path, sync_dir)
    }
}

/// The system's file behind ours.
unsafe fn real(file: *mut ffi::sqlite3_file) -> *mut ffi::sqlite3_file {
    // SAFETY: `szOsFile` has room for both, so the end of ours is inside the allocation.
    unsafe { file.cast::<File>().add(1).cast() }
}

/// Writes an operation down, if the file has a name.
unsafe fn note(file: *mut ffi::sqlite3_file, op: impl FnOnce(String) -> Op) {
    // SAFETY: `open` has filled in `app` and `name`, which are leaked.
    unsafe {
        let ours: *const File = file.cast();
        if !(*ours).name.is_null() {
            (*(*ours).app).journal.push(op((*(*ours).name).clone()));
        }
    }
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    bytes: *const c_void,
    len: c_int,
    offset: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: SQLite gives `len` bytes at `bytes`; the system's file is open.
    unsafe {
        let copy = slice::from_raw_parts(bytes.cast::<u8>(), usize::try_from(len).unwrap_or(0));
        let at = usize::try_from(offset).unwrap_or(0);
        note(file, |file| Op::Write { file, at, bytes: copy.to_vec() });
        (*(*real(file)).pMethods).xWrite.unwrap()(real(file), bytes, len, offset)
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: ffi::sqlite3_int64) -> c_int {
    // SAFETY: the system's file is open.
    unsafe {
        let len = usize::try_from(size).unwrap_or(0);
        note(file, |file| Op::Truncate { file, len });
        (*(*real(file)).pMethods).xTruncate.unwrap()(real(file), size)
    }
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: the system's file is open.
    unsafe {
        let code = (*(*real(file)).pMethods).xSync.unwrap()(real(file), flags);
        note(file, |file| Op::Sync { file });
        code
    }
}

/// A method that only passes through.
macro_rules! pass {
    ($($name:ident: $method:ident($($argument:ident: $kind:ty),*) -> $result:ty;)*) => {$(
        unsafe extern "C" fn $name(
            file: *mut ffi::sqlite3_file $(, $argument: $kind)*
        ) -> $result {
            // SAFETY: the system's file is open and its method takes what SQLite gave ours.
            unsafe { (*(*real(file)).pMethods).$method.unwrap()(real(file) $(, $argument)*) }
        }
    )*};
}

pass! {
    close: xClose() -> c_int;
    read: xRead(bytes: *mut c_void, len: c_int, offset: ffi::sqlite3_int64) -> c_int;
    file_size: xFileSize(size: *mut ffi::sqlite3_int64) -> c_int;
    lock: xLock(level: c_int) -> c_int;
    unlock: xUnlock(level: c_int) -> c_int;
    check_reserved: xCheckReservedLock(out: *mut c_int) -> c_int;
    control: xFileControl(what: c_int, argument: *mut c_void) -> c_int;
    sector_size: xSectorSize() -> c_int;
    characteristics: xDeviceCharacteristics() -> c_int;
    shm_map: xShmMap(page: c_int, size: c_int, extend: c_int, out: *mut *mut c_void) -> c_int;
    shm_lock: xShmLock(offset: c_int, count: c_int, flags: c_int) -> c_int;
    shm_barrier: xShmBarrier() -> ();
    shm_unmap: xShmUnmap(delete: c_int) -> c_int;
}

/// Version 2: shared memory, but no memory map, past which writes would be invisible.
static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
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
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};
