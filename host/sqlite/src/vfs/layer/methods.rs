//! What SQLite calls of a file with a layer over it, and the file below.

use std::ffi::{c_int, c_void};
use std::marker::PhantomData;
use std::slice;

use rusqlite::ffi;

use super::super::question::Question;
use super::LayerFile;
use crate::Code;

/// An open file with methods of ours. Behind it, in the same allocation, the file as the VFS behind
/// has it.
#[repr(C)]
pub(super) struct OpenFile<F> {
    pub(super) base: ffi::sqlite3_file,
    /// From `Box::into_raw`; freed when the file is closed.
    pub(super) ours: *mut F,
}

/// Bytes of [`OpenFile`], a multiple of the 8 that SQLite aligns files to.
pub(super) const FILE_BYTES: c_int = 16;
const _: () = assert!(size_of::<OpenFile<[u8; 64]>>() == 16, "two pointers, whatever the file");

/// The file below, as the VFS behind has it. Made within a method, for its time.
pub struct Below<'a> {
    file: *mut ffi::sqlite3_file,
    _method: PhantomData<&'a mut ()>,
}

/// The file as the VFS behind has it.
///
/// # Safety
/// `file` is one of ours.
pub(super) unsafe fn real<F>(file: *mut ffi::sqlite3_file) -> *mut ffi::sqlite3_file {
    // SAFETY: `szOsFile` has room for both, so the end of ours is inside the allocation.
    unsafe { file.cast::<OpenFile<F>>().add(1).cast() }
}

/// What is ours of an open file, and the one below.
///
/// # Safety
/// `file` was opened with methods of `F` and not closed since.
unsafe fn parts<'a, F>(file: *mut ffi::sqlite3_file) -> (&'a mut F, Below<'a>) {
    // SAFETY: `open` has set it, for the methods that name this type; the reference is the only one
    // (V3).
    unsafe {
        let ours = &mut *(*file.cast::<OpenFile<F>>()).ours;
        (ours, Below { file: real::<F>(file), _method: PhantomData })
    }
}

/// Calls a method of the file below; one that it does not have is an error.
macro_rules! below {
    ($file:expr, $method:ident ( $($argument:expr),* )) => {{
        let file = $file;
        match (*(*file).pMethods).$method {
            Some(method) => method(file $(, $argument)*),
            None => ffi::SQLITE_IOERR,
        }
    }};
}

impl Below<'_> {
    /// Reads from it.
    pub fn read(&mut self, into: &mut [u8], at: u64) -> Code {
        let (Ok(len), Ok(at)) = (c_int::try_from(into.len()), i64::try_from(at)) else {
            return ffi::SQLITE_MISUSE;
        };
        // SAFETY: the file is open for as long as the method runs that made this; the method below
        // fills as many bytes as the length says.
        unsafe { below!(self.file, xRead(into.as_mut_ptr().cast(), len, at)) }
    }

    /// Writes to it.
    pub fn write(&mut self, bytes: &[u8], at: u64) -> Code {
        let (Ok(len), Ok(at)) = (c_int::try_from(bytes.len()), i64::try_from(at)) else {
            return ffi::SQLITE_MISUSE;
        };
        // SAFETY: as in `read`; the method below takes as many bytes as the length says.
        unsafe { below!(self.file, xWrite(bytes.as_ptr().cast(), len, at)) }
    }

    /// Cuts it off.
    pub fn truncate(&mut self, size: i64) -> Code {
        // SAFETY: as in `read`.
        unsafe { below!(self.file, xTruncate(size)) }
    }

    /// Syncs it.
    pub fn sync(&mut self, flags: c_int) -> Code {
        // SAFETY: as in `read`.
        unsafe { below!(self.file, xSync(flags)) }
    }

    /// Its size in bytes.
    ///
    /// # Errors
    /// SQLite's code.
    pub fn size(&mut self) -> Result<u64, Code> {
        let mut size = 0;
        // SAFETY: as in `read`; the output is ours.
        match unsafe { below!(self.file, xFileSize(&raw mut size)) } {
            ffi::SQLITE_OK => u64::try_from(size).map_err(|_| ffi::SQLITE_IOERR_FSTAT),
            code => Err(code),
        }
    }
}

/// The bytes that SQLite names.
macro_rules! named {
    ($len:ident, $at:ident) => {
        match (usize::try_from($len), u64::try_from($at)) {
            (Ok(len), Ok(at)) => (len, at),
            _ => return ffi::SQLITE_MISUSE,
        }
    };
}

unsafe extern "C" fn close<F>(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: the file is open, and no code uses it after this.
    unsafe {
        drop(Box::from_raw((*file.cast::<OpenFile<F>>()).ours));
        below!(real::<F>(file), xClose())
    }
}

unsafe extern "C" fn read<F: LayerFile>(
    file: *mut ffi::sqlite3_file,
    bytes: *mut c_void,
    len: c_int,
    at: ffi::sqlite3_int64,
) -> c_int {
    let (len, at) = named!(len, at);
    // SAFETY: SQLite gives room for `len` bytes at `bytes`; the file is an open one of ours.
    unsafe {
        let into = slice::from_raw_parts_mut(bytes.cast::<u8>(), len);
        let (ours, mut below) = parts::<F>(file);
        ours.read(into, at, &mut below)
    }
}

unsafe extern "C" fn write<F: LayerFile>(
    file: *mut ffi::sqlite3_file,
    bytes: *const c_void,
    len: c_int,
    at: ffi::sqlite3_int64,
) -> c_int {
    let (len, at) = named!(len, at);
    // SAFETY: SQLite gives `len` bytes at `bytes`; the file is an open one of ours.
    unsafe {
        let bytes = slice::from_raw_parts(bytes.cast::<u8>(), len);
        let (ours, mut below) = parts::<F>(file);
        ours.write(bytes, at, &mut below)
    }
}

unsafe extern "C" fn truncate<F: LayerFile>(
    file: *mut ffi::sqlite3_file,
    size: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: the file is an open one of ours.
    let (ours, mut below) = unsafe { parts::<F>(file) };
    ours.truncate(size, &mut below)
}

unsafe extern "C" fn sync<F: LayerFile>(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: the file is an open one of ours.
    let (ours, mut below) = unsafe { parts::<F>(file) };
    ours.sync(flags, &mut below)
}

unsafe extern "C" fn control<F: LayerFile>(
    file: *mut ffi::sqlite3_file,
    what: c_int,
    argument: *mut c_void,
) -> c_int {
    // SAFETY: the file is an open one of ours; with a question comes a `u64` (`question.rs`).
    unsafe {
        let (ours, mut below) = parts::<F>(file);
        if let Some(question) = Question::of_control(what)
            && let Some(code) = ours.answer(question, &mut *argument.cast::<u64>(), &mut below)
        {
            return code;
        }
        match ours.before_passing(&mut below) {
            ffi::SQLITE_OK => below!(below.file, xFileControl(what, argument)),
            code => code,
        }
    }
}

unsafe extern "C" fn characteristics<F: LayerFile>(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: the file is an open one of ours.
    unsafe {
        let (ours, below) = parts::<F>(file);
        ours.characteristics(below!(below.file, xDeviceCharacteristics()))
    }
}

/// A method that passes, before which the file is asked.
macro_rules! asked {
    ($($name:ident: $method:ident($($argument:ident: $kind:ty),*);)*) => {$(
        unsafe extern "C" fn $name<F: LayerFile>(
            file: *mut ffi::sqlite3_file $(, $argument: $kind)*
        ) -> c_int {
            // SAFETY: the file is an open one of ours; the method below takes what SQLite gave.
            unsafe {
                let (ours, mut below) = parts::<F>(file);
                match ours.before_passing(&mut below) {
                    ffi::SQLITE_OK => below!(below.file, $method($($argument),*)),
                    code => code,
                }
            }
        }
    )*};
}

asked! {
    file_size: xFileSize(size: *mut ffi::sqlite3_int64);
    lock: xLock(level: c_int);
    unlock: xUnlock(level: c_int);
    check_reserved: xCheckReservedLock(out: *mut c_int);
}

/// A method that passes.
macro_rules! pass {
    ($($name:ident: $method:ident($($argument:ident: $kind:ty),*);)*) => {$(
        unsafe extern "C" fn $name<F>(file: *mut ffi::sqlite3_file $(, $argument: $kind)*) -> c_int {
            // SAFETY: the file is an open one of ours; the method below takes what SQLite gave.
            unsafe { below!(real::<F>(file), $method($($argument),*)) }
        }
    )*};
}

pass! {
    sector_size: xSectorSize();
    shm_map: xShmMap(page: c_int, size: c_int, extend: c_int, out: *mut *mut c_void);
    shm_lock: xShmLock(offset: c_int, count: c_int, flags: c_int);
    shm_unmap: xShmUnmap(delete: c_int);
}

unsafe extern "C" fn shm_barrier<F>(file: *mut ffi::sqlite3_file) {
    // SAFETY: the file is an open one of ours.
    unsafe {
        let real = real::<F>(file);
        if let Some(barrier) = (*(*real).pMethods).xShmBarrier {
            barrier(real);
        }
    }
}

/// The methods of a kind of file.
pub(super) struct Methods<F>(PhantomData<F>);

impl<F: LayerFile> Methods<F> {
    /// Version 1: neither shared memory nor a memory map.
    pub(super) const LOG: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
        iVersion: 1,
        xClose: Some(close::<F>),
        xRead: Some(read::<F>),
        xWrite: Some(write::<F>),
        xTruncate: Some(truncate::<F>),
        xSync: Some(sync::<F>),
        xFileSize: Some(file_size::<F>),
        xLock: Some(lock::<F>),
        xUnlock: Some(unlock::<F>),
        xCheckReservedLock: Some(check_reserved::<F>),
        xFileControl: Some(control::<F>),
        xSectorSize: Some(sector_size::<F>),
        xDeviceCharacteristics: Some(characteristics::<F>),
        xShmMap: None,
        xShmLock: None,
        xShmBarrier: None,
        xShmUnmap: None,
        xFetch: None,
        xUnfetch: None,
    };

    /// Version 2: shared memory, but no memory map.
    pub(super) const DATABASE: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
        iVersion: 2,
        xShmMap: Some(shm_map::<F>),
        xShmLock: Some(shm_lock::<F>),
        xShmBarrier: Some(shm_barrier::<F>),
        xShmUnmap: Some(shm_unmap::<F>),
        ..Self::LOG
    };
}
