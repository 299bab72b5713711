//! SQLite's list of VFSs, as it stands in memory.
#![allow(unsafe_code, reason = "the list is SQLite's")]

use std::ffi::CStr;
use std::{ptr, slice};

use rusqlite::ffi;

/// A registered VFS: its name, and the bytes of its struct.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Registered {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

/// All of them, the default first. Nobody registers one meanwhile.
pub(crate) fn registered() -> Vec<Registered> {
    let mut list = Vec::new();
    // SAFETY: null asks for the default VFS, the first of the list.
    let mut next = unsafe { ffi::sqlite3_vfs_find(ptr::null()) };
    while !next.is_null() {
        // SAFETY: a registered VFS and its name are valid while it is registered, and nobody changes
        // the list; the struct has no padding that would not be initialised.
        unsafe {
            let bytes = slice::from_raw_parts(next.cast::<u8>(), size_of::<ffi::sqlite3_vfs>());
            let name = CStr::from_ptr((*next).zName).to_string_lossy().into_owned();
            list.push(Registered { name, bytes: bytes.to_vec() });
            next = (*next).pNext;
        }
    }
    list
}
