//! The C boundary: the VFS of SQLite that is registered, and its files. Decides nothing.
//!
//! Only files with pages and logs get methods of ours; every other file is opened as by the VFS
//! behind. A registered VFS is never freed, so SQLite may keep its pointer.
#![allow(unsafe_code, reason = "SQLite's file interface is C")]

use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::sync::LazyLock;
use std::{ptr, slice};

use parking_lot::Mutex;
use rusqlite::{Connection, ffi};

use super::Behind;
use super::combine::{Combined, ZEROS};
use super::damage::{self, Damage};
use super::frames::Frames;
use super::pages::Pages;
use super::stamp::Key;

/// A registered VFS.
#[repr(C)]
struct Vfs {
    /// What SQLite has: first, so that its pointer is ours, too.
    vfs: ffi::sqlite3_vfs,
    behind: *mut ffi::sqlite3_vfs,
}

/// An open file with methods of ours. Behind it, in the same allocation, the file as the VFS behind
/// has it.
#[repr(C)]
struct File<T> {
    base: ffi::sqlite3_file,
    /// From `Box::into_raw`; freed when the file is closed.
    ours: *mut T,
}

/// What a log needs.
struct Log {
    combined: Combined,
    frames: Frames,
}

/// Bytes of [`File`], a multiple of the 8 that SQLite aligns files to.
const FILE_BYTES: c_int = 16;
const _: () = assert!(size_of::<File<Log>>() == 16, "two pointers");
const _: () = assert!(size_of::<File<Pages>>() == 16, "two pointers");

/// Asks a file with pages for its key: a `u64`, 0 for none.
const KEY_GET: c_int = 0x5354_4b01;
/// Offers a key, a `u64`, to a file without pages.
const KEY_OFFER: c_int = 0x5354_4b02;
/// Proves the page whose number, a `u64`, is given.
const PAGE_CHECK: c_int = 0x5354_4b03;

/// Names of registered VFSs by the names of those behind: one each, however many stores are opened.
static REGISTERED: LazyLock<Mutex<HashMap<Option<String>, String>>> = LazyLock::new(Mutex::default);

/// The VFS over `behind`, or over the default one.
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
    let name = format!("stockade-{behind:p}");
    let c_name = CString::new(name.as_str()).map_err(misuse)?;
    // SAFETY: it is a registered VFS. Of its methods only `xOpen` may rely on being given the very
    // same one, and gets it; the others find the fields that they look at copied.
    let mut vfs = unsafe { *behind };
    vfs.pNext = ptr::null_mut();
    vfs.zName = c_name.into_raw();
    vfs.szOsFile += FILE_BYTES;
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
        let name = || CStr::from_ptr(path).to_string_lossy().into_owned();
        if path.is_null() || flags & (ffi::SQLITE_OPEN_WAL | ffi::SQLITE_OPEN_MAIN_DB) == 0 {
            return open(behind, path, file, flags, out_flags);
        }
        (*file).pMethods = ptr::null();
        let code = open(behind, path, real::<Log>(file), flags, out_flags);
        if (*real::<Log>(file)).pMethods.is_null() {
            return code;
        }
        if flags & ffi::SQLITE_OPEN_WAL == 0 {
            (*file.cast::<File<Pages>>()).ours = Box::into_raw(Box::new(Pages::new(name())));
            (*file).pMethods = &raw const PAGES;
        } else {
            let log = Log { combined: Combined::default(), frames: Frames::new(name()) };
            (*file.cast::<File<Log>>()).ours = Box::into_raw(Box::new(log));
            (*file).pMethods = &raw const LOG;
        }
        code
    }
}

/// The file as the VFS behind has it.
unsafe fn real<T>(file: *mut ffi::sqlite3_file) -> *mut ffi::sqlite3_file {
    // SAFETY: `szOsFile` has room for both, so the end of ours is inside the allocation.
    unsafe { file.cast::<File<T>>().add(1).cast() }
}

/// What is ours of an open file.
unsafe fn ours<'a, T>(file: *mut ffi::sqlite3_file) -> &'a mut T {
    // SAFETY: `open` has set it, for the methods that name this type; SQLite uses a file from one
    // thread at a time and never from within its methods, so the reference is the only one.
    unsafe { &mut *(*file.cast::<File<T>>()).ours }
}

/// Calls a method of the file behind; one that it does not have is an error.
macro_rules! behind {
    ($file:ident . $method:ident ( $($argument:expr),* )) => {{
        let real = real::<Log>($file);
        match (*(*real).pMethods).$method {
            Some(method) => method(real $(, $argument)*),
            None => ffi::SQLITE_IOERR,
        }
    }};
}

/// The file behind an open file, for the safe part. Made within a method, for its time.
struct Real(*mut ffi::sqlite3_file);

impl Behind for Real {
    fn read(&mut self, at: u64, into: &mut [u8]) -> c_int {
        let (Ok(len), Ok(at), file) = (c_int::try_from(into.len()), i64::try_from(at), self.0)
        else {
            return ffi::SQLITE_MISUSE;
        };
        // SAFETY: the file is open for as long as the method runs that made this; the method behind
        // fills as many bytes as it is told.
        match unsafe { behind!(file.xRead(into.as_mut_ptr().cast(), len, at)) } {
            // SQLite would take a read that the system refuses for damage.
            ffi::SQLITE_IOERR_CORRUPTFS => ffi::SQLITE_IOERR_READ,
            code => code,
        }
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> c_int {
        let (Ok(len), Ok(at), file) = (c_int::try_from(bytes.len()), i64::try_from(at), self.0)
        else {
            return ffi::SQLITE_MISUSE;
        };
        // SAFETY: as in `read`; the method behind takes as many bytes as it is told.
        unsafe { behind!(file.xWrite(bytes.as_ptr().cast(), len, at)) }
    }
}

/// The bytes that SQLite names.
macro_rules! named {
    ($bytes:ident, $len:ident, $at:ident) => {
        match (usize::try_from($len), u64::try_from($at)) {
            (Ok(len), Ok(at)) => (len, at),
            _ => return ffi::SQLITE_MISUSE,
        }
    };
}

unsafe extern "C" fn close<T>(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: the file is open, and nobody uses it after this.
    unsafe {
        drop(Box::from_raw((*file.cast::<File<T>>()).ours));
        behind!(file.xClose())
    }
}

// --- logs ----------------------------------------------------------------------------------------

/// Writes what waits.
unsafe fn flush(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: the file is an open log.
    let log = unsafe { ours::<Log>(file) };
    let written = log.combined.flush(|at, bytes| match Real(file).write(at, bytes) {
        ffi::SQLITE_OK => Ok(()),
        code => Err(code),
    });
    written.err().unwrap_or(ffi::SQLITE_OK)
}

unsafe extern "C" fn log_write(
    file: *mut ffi::sqlite3_file,
    bytes: *const c_void,
    len: c_int,
    at: ffi::sqlite3_int64,
) -> c_int {
    let (len, at) = named!(bytes, len, at);
    // SAFETY: SQLite gives `len` bytes at `bytes`; the file is an open log.
    unsafe {
        let given = slice::from_raw_parts(bytes.cast::<u8>(), len);
        if !ours::<Log>(file).combined.push(at, given) {
            let code = flush(file);
            if code != ffi::SQLITE_OK {
                return code;
            }
            ours::<Log>(file).combined.push(at, given);
        }
        ffi::SQLITE_OK
    }
}

unsafe extern "C" fn log_read(
    file: *mut ffi::sqlite3_file,
    bytes: *mut c_void,
    len: c_int,
    at: ffi::sqlite3_int64,
) -> c_int {
    let (len, at) = named!(bytes, len, at);
    // SAFETY: SQLite gives room for `len` bytes at `bytes`; the file is an open log.
    unsafe {
        match flush(file) {
            ffi::SQLITE_OK => {
                let into = slice::from_raw_parts_mut(bytes.cast::<u8>(), len);
                ours::<Log>(file).frames.read(at, into, &mut Real(file))
            }
            code => code,
        }
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

flushed! {
    log_size: xFileSize(size: *mut ffi::sqlite3_int64);
    log_lock: xLock(level: c_int);
    log_unlock: xUnlock(level: c_int);
    log_check_reserved: xCheckReservedLock(out: *mut c_int);
    log_control: xFileControl(what: c_int, argument: *mut c_void);
}

unsafe extern "C" fn log_sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: the file is an open log.
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
        let growth = ours::<Log>(file).combined.growth(size);
        for at in growth.into_iter().flat_map(|growth| growth.step_by(ZEROS.len())) {
            // Without room the log is none the worse: what was written is there.
            let _ = Real(file).write(at, &ZEROS);
        }
        behind!(file.xSync(flags))
    }
}

unsafe extern "C" fn log_truncate(file: *mut ffi::sqlite3_file, size: ffi::sqlite3_int64) -> c_int {
    // SAFETY: the file is an open log.
    unsafe {
        let code = flush(file);
        ours::<Log>(file).combined.forget_size();
        if code == ffi::SQLITE_OK { behind!(file.xTruncate(size)) } else { code }
    }
}

// --- files with pages ----------------------------------------------------------------------------

unsafe extern "C" fn read(
    file: *mut ffi::sqlite3_file,
    bytes: *mut c_void,
    len: c_int,
    at: ffi::sqlite3_int64,
) -> c_int {
    let (len, at) = named!(bytes, len, at);
    // SAFETY: SQLite gives room for `len` bytes at `bytes`; the file is an open one with pages.
    unsafe {
        let into = slice::from_raw_parts_mut(bytes.cast::<u8>(), len);
        ours::<Pages>(file).read(at, into, &mut Real(file))
    }
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    bytes: *const c_void,
    len: c_int,
    at: ffi::sqlite3_int64,
) -> c_int {
    let (len, at) = named!(bytes, len, at);
    // SAFETY: SQLite gives `len` bytes at `bytes`; the file is an open one with pages.
    unsafe {
        let given = slice::from_raw_parts(bytes.cast::<u8>(), len);
        ours::<Pages>(file).write(at, given, &mut Real(file))
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: ffi::sqlite3_int64) -> c_int {
    // SAFETY: the file is an open one with pages.
    unsafe {
        ours::<Pages>(file).truncate(u64::try_from(size).unwrap_or(0));
        behind!(file.xTruncate(size))
    }
}

unsafe extern "C" fn control(
    file: *mut ffi::sqlite3_file,
    what: c_int,
    argument: *mut c_void,
) -> c_int {
    // SAFETY: the file is an open one with pages; with our own three numbers `ask` gives a `u64`.
    unsafe {
        let pages = ours::<Pages>(file);
        match what {
            KEY_GET => match pages.key(&mut Real(file)) {
                Ok(key) => {
                    *argument.cast::<u64>() = key.map_or(0, Key::number);
                    ffi::SQLITE_OK
                }
                Err(code) => code,
            },
            KEY_OFFER => {
                pages.offer(Key::from_bytes((*argument.cast::<u64>()).to_le_bytes()));
                ffi::SQLITE_OK
            }
            PAGE_CHECK => pages.check(*argument.cast::<u64>(), &mut Real(file)),
            _ => behind!(file.xFileControl(what, argument)),
        }
    }
}

/// Without reads of parts of pages, which would each be a read of the page to prove it: SQLite's
/// cache then has it for the next.
unsafe extern "C" fn page_characteristics(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: the file is open.
    unsafe { behind!(file.xDeviceCharacteristics()) & !ffi::SQLITE_IOCAP_SUBPAGE_READ }
}

/// A method that only passes through.
macro_rules! pass {
    ($($name:ident: $method:ident($($argument:ident: $kind:ty),*);)*) => {$(
        unsafe extern "C" fn $name(file: *mut ffi::sqlite3_file $(, $argument: $kind)*) -> c_int {
            // SAFETY: the file is open; the method behind takes what SQLite gave ours.
            unsafe { behind!(file.$method($($argument),*)) }
        }
    )*};
}

pass! {
    sync: xSync(flags: c_int);
    file_size: xFileSize(size: *mut ffi::sqlite3_int64);
    lock: xLock(level: c_int);
    unlock: xUnlock(level: c_int);
    check_reserved: xCheckReservedLock(out: *mut c_int);
    sector_size: xSectorSize();
    characteristics: xDeviceCharacteristics();
    shm_map: xShmMap(page: c_int, size: c_int, extend: c_int, out: *mut *mut c_void);
    shm_lock: xShmLock(offset: c_int, count: c_int, flags: c_int);
    shm_unmap: xShmUnmap(delete: c_int);
}

unsafe extern "C" fn shm_barrier(file: *mut ffi::sqlite3_file) {
    // SAFETY: the file is open.
    unsafe {
        let real = real::<Pages>(file);
        if let Some(barrier) = (*(*real).pMethods).xShmBarrier {
            barrier(real);
        }
    }
}

/// Version 1: a log has neither shared memory nor a memory map.
static LOG: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 1,
    xClose: Some(close::<Log>),
    xRead: Some(log_read),
    xWrite: Some(log_write),
    xTruncate: Some(log_truncate),
    xSync: Some(log_sync),
    xFileSize: Some(log_size),
    xLock: Some(log_lock),
    xUnlock: Some(log_unlock),
    xCheckReservedLock: Some(log_check_reserved),
    xFileControl: Some(log_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(characteristics),
    xShmMap: None,
    xShmLock: None,
    xShmBarrier: None,
    xShmUnmap: None,
    xFetch: None,
    xUnfetch: None,
};

/// Version 2: shared memory, but no memory map, past which pages would be read unproved.
static PAGES: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close::<Pages>),
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
    xDeviceCharacteristics: Some(page_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

// --- questions to the file of a connection -------------------------------------------------------

/// Asks the file of a connection's main database with a number of ours, or of SQLite's.
fn ask<T>(conn: &Connection, what: c_int, argument: &mut T) -> Result<(), c_int> {
    // SAFETY: the connection is open; the answer is written into `argument`, whose type each number
    // has in `control` or in SQLite's own interface; the name is a constant.
    let code = unsafe {
        let argument = ptr::from_mut(argument).cast();
        ffi::sqlite3_file_control(conn.handle(), c"main".as_ptr(), what, argument)
    };
    if code == ffi::SQLITE_OK { Ok(()) } else { Err(code) }
}

/// The error of an answer that is no answer.
fn refused(code: c_int) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)
}

/// The key of the connection's file. `None`: the file has no pages yet.
///
/// # Errors
/// SQLite's, if the file cannot be read or is not opened by this VFS.
pub(in super::super) fn page_key(conn: &Connection) -> rusqlite::Result<Option<Key>> {
    let mut key = 0_u64;
    ask(conn, KEY_GET, &mut key).map_err(refused)?;
    Ok(Key::from_bytes(key.to_le_bytes()))
}

/// Offers a key to a file that has no pages yet.
///
/// # Errors
/// SQLite's, if the file is not opened by this VFS.
pub(in super::super) fn offer_key(conn: &Connection, key: Key) -> rusqlite::Result<()> {
    ask(conn, KEY_OFFER, &mut key.number()).map_err(refused)
}

/// Asks SQLite to leave `bytes` at the end of each page, if the file has no pages yet.
///
/// # Errors
/// SQLite's.
pub(in super::super) fn reserve(conn: &Connection, bytes: u8) -> rusqlite::Result<()> {
    ask(conn, ffi::SQLITE_FCNTL_RESERVE_BYTES, &mut c_int::from(bytes)).map_err(refused)
}

/// How many bytes SQLite leaves at the end of each page of the connection's file, once it has read
/// it.
///
/// # Errors
/// SQLite's.
pub(in super::super) fn reserved(conn: &Connection) -> rusqlite::Result<c_int> {
    let mut bytes = -1;
    ask(conn, ffi::SQLITE_FCNTL_RESERVE_BYTES, &mut bytes).map_err(refused)?;
    Ok(bytes)
}

/// Proves one page of the connection's file, as the file has it: a newer one may be in the log.
/// `Ok(Some)`: it is damaged.
///
/// # Errors
/// SQLite's, if the file cannot be read.
pub(in super::super) fn check_page(
    conn: &Connection,
    mut pgno: u64,
) -> rusqlite::Result<Option<Damage>> {
    match ask(conn, PAGE_CHECK, &mut pgno).map_err(refused) {
        Ok(()) => Ok(None),
        Err(error) => damage::find(&error).map(Some).ok_or(error),
    }
}
