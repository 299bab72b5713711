//! SQLite's list of VFSs, to see that it is as SQLite asks: for tests.

use std::ffi::CStr;
use std::{ptr, slice};

use rusqlite::ffi;

/// A registered VFS, as it stands in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// Its name.
    pub name: String,
    /// The bytes of its struct, with the link to the next one.
    pub bytes: Vec<u8>,
}

/// SQLite's mutex over its list, entered.
struct ListLock(*mut ffi::sqlite3_mutex);

impl ListLock {
    fn enter() -> Self {
        // SAFETY: a static mutex is never freed. It is null, and then entered and left without
        // effect, only if SQLite is built without threads.
        unsafe {
            let mutex = ffi::sqlite3_mutex_alloc(ffi::SQLITE_MUTEX_STATIC_MAIN);
            ffi::sqlite3_mutex_enter(mutex);
            Self(mutex)
        }
    }
}

impl Drop for ListLock {
    fn drop(&mut self) {
        // SAFETY: entered by this thread.
        unsafe { ffi::sqlite3_mutex_leave(self.0) }
    }
}

/// All registered VFSs, the default first.
#[must_use]
pub fn registered() -> Vec<Registered> {
    let mut list = Vec::new();
    // SAFETY: null asks for the default VFS, the first of the list; this initializes SQLite.
    let mut next = unsafe { ffi::sqlite3_vfs_find(ptr::null()) };
    let _lock = ListLock::enter();
    while !next.is_null() {
        // SAFETY: what stands in the list is valid, and the list does not change while its mutex is
        // held; the struct is pointers and an even number of ints, so it has no padding.
        unsafe {
            let bytes = slice::from_raw_parts(next.cast::<u8>(), size_of::<ffi::sqlite3_vfs>());
            let name = CStr::from_ptr((*next).zName).to_string_lossy().into_owned();
            list.push(Registered { name, bytes: bytes.to_vec() });
            next = (*next).pNext;
        }
    }
    list
}
