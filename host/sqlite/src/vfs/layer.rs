//! Layers: a VFS over another, whose files see what passes.
//!
//! - A file that a layer does not want is opened as by the VFS behind.
//! - A panic in a layer ends the process: what it leaves of the file below is not known.

mod methods;

use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr;

use rusqlite::ffi;

pub use methods::Below;
use methods::{FILE_BYTES, Methods, OpenFile, real};

use super::question::Question;
use crate::Code;

/// A VFS over another.
pub trait Layer: Send + Sync + 'static {
    /// What stands over a file.
    type File: LayerFile;

    /// The layer's file over the file of this path; `None`: none. SQLite may still fail to open the
    /// file afterwards.
    fn open(&self, path: &CStr, flags: c_int) -> Option<Self::File>;

    /// The file of this path is about to be deleted, and its directory synced if `durable`.
    fn deletes(&self, path: &CStr, durable: bool) {
        let _ = (path, durable);
    }
}

/// What stands over an open file. The answers are SQLite's codes.
pub trait LayerFile: 'static {
    /// Whether the file shares memory with others: a database, not a log. It never maps memory,
    /// past which bytes would go unseen. Asked once.
    fn shares_memory(&self) -> bool;

    /// Fills `into` from byte `at` on; what the file does not have is zeros and a short read.
    fn read(&mut self, into: &mut [u8], at: u64, below: &mut Below<'_>) -> Code {
        below.read(into, at)
    }

    /// Writes `bytes` at byte `at`.
    fn write(&mut self, bytes: &[u8], at: u64, below: &mut Below<'_>) -> Code {
        below.write(bytes, at)
    }

    /// Cuts the file off.
    fn truncate(&mut self, size: i64, below: &mut Below<'_>) -> Code {
        below.truncate(size)
    }

    /// Syncs the file.
    fn sync(&mut self, flags: c_int, below: &mut Below<'_>) -> Code {
        below.sync(flags)
    }

    /// Called before an operation that passes unchanged: sizes, locks, controls. Any code except
    /// "ok" is the answer.
    fn before_passing(&mut self, below: &mut Below<'_>) -> Code {
        let _ = below;
        ffi::SQLITE_OK
    }

    /// Answers a question, with `value` or a code. `None`: not one of its own.
    fn answer(
        &mut self,
        question: Question,
        value: &mut u64,
        below: &mut Below<'_>,
    ) -> Option<Code> {
        let _ = (question, value, below);
        None
    }

    /// What SQLite may rely on (`SQLITE_IOCAP_*`), of what it may below.
    fn characteristics(&self, below: c_int) -> c_int {
        below
    }
}

/// A registered layer.
#[repr(C)]
struct LayerVfs<L> {
    /// What SQLite has: first, so that its pointer is ours, too.
    vfs: ffi::sqlite3_vfs,
    behind: *mut ffi::sqlite3_vfs,
    layer: L,
}

/// Registers a layer as `name` over the VFS `behind`, or over the default one, for the life of the
/// process.
///
/// # Errors
/// SQLite's code if there is no such VFS.
pub fn register_over<L: Layer>(name: &str, behind: Option<&str>, layer: L) -> Result<(), Code> {
    let misuse = |_| ffi::SQLITE_MISUSE;
    let asked = behind.map(CString::new).transpose().map_err(misuse)?;
    let asked = asked.as_ref().map_or(ptr::null(), |name| name.as_ptr());
    // SAFETY: null asks for the default VFS; a name lives for the call.
    let behind = unsafe { ffi::sqlite3_vfs_find(asked) };
    if behind.is_null() {
        return Err(ffi::SQLITE_ERROR);
    }
    let name = CString::new(name).map_err(misuse)?;
    // SAFETY: it is a registered VFS. Of its methods only `xOpen` and `xDelete` may rely on being
    // given the very same one, and get it; the others find the fields that they look at copied.
    let mut vfs = unsafe { *behind };
    vfs.pNext = ptr::null_mut();
    vfs.zName = name.into_raw();
    vfs.szOsFile += FILE_BYTES;
    vfs.xOpen = Some(open::<L>);
    vfs.xDelete = Some(delete::<L>);
    let vfs = Box::into_raw(Box::new(LayerVfs { vfs, behind, layer }));
    // SAFETY: the VFS and its name are leaked: valid for the life of the process (V1).
    match unsafe { ffi::sqlite3_vfs_register(vfs.cast(), 0) } {
        ffi::SQLITE_OK => Ok(()),
        code => Err(code),
    }
}

unsafe extern "C" fn open<L: Layer>(
    vfs: *mut ffi::sqlite3_vfs,
    path: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite calls with the VFS that was registered, and with `szOsFile` bytes at `file`:
    // room for ours and the one behind. A VFS without `xOpen` would open nothing.
    unsafe {
        let LayerVfs { behind, layer, .. } = &*vfs.cast::<LayerVfs<L>>();
        let behind = *behind;
        let Some(open) = (*behind).xOpen else {
            return ffi::SQLITE_CANTOPEN;
        };
        (*file).pMethods = ptr::null();
        let ours = if path.is_null() { None } else { layer.open(CStr::from_ptr(path), flags) };
        let Some(ours) = ours else {
            return open(behind, path, file, flags, out_flags);
        };
        let code = open(behind, path, real::<L::File>(file), flags, out_flags);
        if !(*real::<L::File>(file)).pMethods.is_null() {
            let methods: &'static ffi::sqlite3_io_methods = if ours.shares_memory() {
                &Methods::<L::File>::DATABASE
            } else {
                &Methods::<L::File>::LOG
            };
            let ours = Box::into_raw(Box::new(ours));
            let base = ffi::sqlite3_file { pMethods: methods };
            file.cast::<OpenFile<L::File>>().write(OpenFile { base, ours });
        }
        code
    }
}

unsafe extern "C" fn delete<L: Layer>(
    vfs: *mut ffi::sqlite3_vfs,
    path: *const c_char,
    sync_directory: c_int,
) -> c_int {
    // SAFETY: as in `open`; the path is a C string.
    unsafe {
        let LayerVfs { behind, layer, .. } = &*vfs.cast::<LayerVfs<L>>();
        layer.deletes(CStr::from_ptr(path), sync_directory != 0);
        match (**behind).xDelete {
            Some(delete) => delete(*behind, path, sync_directory),
            None => ffi::SQLITE_IOERR_DELETE,
        }
    }
}
