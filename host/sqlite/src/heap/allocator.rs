//! SQLite's allocator, over Rust's: each allocation knows its size and the account it is charged
//! to.
//!
//! ```text
//! | account: pointer or null | bytes | what SQLite sees ...
//! 0                          8       16
//! ```
//! - A1: an allocation holds one count of its account's `Arc`, so the account outlives it.
//! - A2: sizes come from SQLite as `int` and are at most `c_int::MAX`.
//! - A3: the layout of an allocation follows from its size alone. Sizes around a page share one, so
//!   that a thread may keep such blocks and hand them out again: a connection of the store that
//!   reads beside a writer drops its cache with every read, and the system's allocator is slow at
//!   blocks of that size.
//! - A4: below the floor of a thread's stack nothing is allocated, for any account. Stacks grow
//!   down.

use std::alloc::{Layout, alloc, dealloc, realloc};
use std::cell::{Cell, RefCell};
use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::{Arc, OnceLock};

use rusqlite::ffi;

use super::{Account, Refusal, STACK_BYTES_MAX};

/// The head before each allocation.
#[repr(C, align(16))]
struct Head {
    account: *const Account,
    bytes: usize,
}

/// Pages that SQLite allocates in one piece, and touches, when it opens a database. None: it would
/// be 20, 88 KiB of each awake actor, and most need three.
const PAGES_AT_OPEN: c_int = 0;
/// Bytes of the larger slots of a connection's store for small objects: SQLite's default.
const LOOKASIDE_SLOT_BYTES: c_int = 1200;
/// As many times that is put aside for them when a connection is made, and touched. 16 instead of
/// SQLite's 40: 19 KiB of each awake actor instead of 48, and enough to compile usual statements.
const LOOKASIDE_SLOTS: c_int = 16;

const HEAD_BYTES: usize = size_of::<Head>();

thread_local! {
    /// The account that allocations of this thread are charged to.
    static CURRENT: Cell<*const Account> = const { Cell::new(ptr::null()) };
    /// The address below which the stack is too deep for allocations; 0: no floor.
    static FLOOR: Cell<usize> = const { Cell::new(0) };
}

/// An address near the top of this thread's stack.
#[inline]
fn stack_address() -> usize {
    let here = 0_u8;
    (&raw const here).addr()
}

/// Whether the stack is too deep to continue (A4); noted with the account.
#[inline]
fn is_too_deep() -> bool {
    if stack_address() >= FLOOR.get() {
        return false;
    }
    let account = CURRENT.get();
    // SAFETY: as in `x_malloc`: the caller that set a floor has lent the account.
    if let Some(account) = unsafe { account.as_ref() } {
        account.note(Refusal::Depth);
    }
    true
}

/// Runs `work` while allocations of this thread are charged to `account`.
#[inline]
pub(super) fn charged_to<T>(account: Option<&Arc<Account>>, work: impl FnOnce() -> T) -> T {
    struct Restore(*const Account, usize);
    impl Drop for Restore {
        fn drop(&mut self) {
            CURRENT.set(self.0);
            FLOOR.set(self.1);
        }
    }
    // Nested work has the floor of the outer work. Work that is charged to no account has none.
    let floor = match (account, FLOOR.get()) {
        (None, _) => 0,
        (Some(_), 0) => stack_address().saturating_sub(STACK_BYTES_MAX),
        (Some(_), outer) => outer,
    };
    // The account is borrowed until `work` is over, so the pointer is valid while it is current.
    let current = CURRENT.replace(account.map_or(ptr::null(), Arc::as_ptr));
    let _restore = Restore(current, FLOOR.replace(floor));
    work()
}

pub(super) fn install() -> bool {
    static INSTALLED: OnceLock<bool> = OnceLock::new();
    *INSTALLED.get_or_init(|| {
        let methods = ffi::sqlite3_mem_methods {
            xMalloc: Some(x_malloc),
            xFree: Some(x_free),
            xRealloc: Some(x_realloc),
            xSize: Some(x_size),
            xRoundup: Some(x_roundup),
            xInit: Some(x_init),
            xShutdown: Some(x_shutdown),
            pAppData: ptr::null_mut(),
        };
        // SAFETY: SQLite copies the struct, and refuses if it is initialized already. The others
        // take the arguments that SQLite documents: where (null), how large, how many.
        let codes = unsafe {
            [
                ffi::sqlite3_config(ffi::SQLITE_CONFIG_MALLOC, &raw const methods),
                // SQLite's own count is one for the process, under a mutex that all threads share.
                ffi::sqlite3_config(ffi::SQLITE_CONFIG_MEMSTATUS, 0 as c_int),
                ffi::sqlite3_config(
                    ffi::SQLITE_CONFIG_PAGECACHE,
                    ptr::null_mut::<c_void>(),
                    0,
                    PAGES_AT_OPEN,
                ),
                ffi::sqlite3_config(
                    ffi::SQLITE_CONFIG_LOOKASIDE,
                    LOOKASIDE_SLOT_BYTES,
                    LOOKASIDE_SLOTS,
                ),
            ]
        };
        codes == [ffi::SQLITE_OK; 4]
    })
}

/// From this size on to this one: a page of 2 or of 4 KiB with what SQLite keeps beside it.
const PAGE_CLASSES: [(usize, usize); 2] = [(2048, 2560), (4096, 4608)];

/// Blocks of each class that a thread keeps. 32, at most 230 KiB: twice what one read of the store
/// takes and gives back.
const KEPT_MAX: usize = 32;

/// Which class a size is of.
#[inline]
fn class(bytes: usize) -> Option<usize> {
    PAGE_CLASSES.iter().position(|(from, to)| (*from..=*to).contains(&bytes))
}

/// The layout of an allocation with its head; `None` for a size that cannot be.
fn layout(bytes: usize) -> Option<Layout> {
    let bytes = class(bytes).map_or(bytes, |class| PAGE_CLASSES[class].1);
    Layout::from_size_align(bytes.checked_add(HEAD_BYTES)?, align_of::<Head>()).ok()
}

/// Blocks that a thread keeps, each with the layout of its class.
#[derive(Default)]
struct Kept([Vec<*mut u8>; PAGE_CLASSES.len()]);

impl Drop for Kept {
    fn drop(&mut self) {
        for (blocks, (_, bytes)) in self.0.iter().zip(PAGE_CLASSES) {
            let layout = layout(bytes).expect("BUG: blocks of this layout are kept");
            for block in blocks {
                // SAFETY: `keep` had it from `x_free`: allocated with the layout of its class, and
                // owned by no other code.
                unsafe { dealloc(*block, layout) };
            }
        }
    }
}

thread_local! {
    static KEPT: RefCell<Kept> = RefCell::default();
}

/// A block that this thread has kept, for a size.
fn kept(bytes: usize) -> Option<*mut u8> {
    let class = class(bytes)?;
    // A thread that ends keeps nothing any more.
    KEPT.try_with(|kept| kept.borrow_mut().0[class].pop()).ok().flatten()
}

/// Keeps a block of a size for this thread. False: it is not kept.
fn keep(block: *mut u8, bytes: usize) -> bool {
    let Some(class) = class(bytes) else { return false };
    let keep = |kept: &RefCell<Kept>| {
        let blocks = &mut kept.borrow_mut().0[class];
        let room = blocks.len() < KEPT_MAX;
        if room {
            blocks.push(block);
        }
        room
    };
    KEPT.try_with(keep).unwrap_or(false)
}

/// # Safety
/// `memory` comes from `x_malloc` or `x_realloc` and was not freed.
unsafe fn head(memory: *mut c_void) -> *mut Head {
    // SAFETY: a head stands before what they return.
    unsafe { memory.cast::<Head>().sub(1) }
}

unsafe extern "C" fn x_malloc(bytes: c_int) -> *mut c_void {
    let Ok(bytes) = usize::try_from(bytes) else { return ptr::null_mut() };
    let Some(layout) = layout(bytes) else { return ptr::null_mut() };
    if is_too_deep() {
        return ptr::null_mut();
    }
    let account = CURRENT.get();
    // SAFETY: the current account is borrowed by `charged_to`, further up this thread's stack; it
    // is the inside of an `Arc`, so a count may be added (A1). The layout is not empty, and its
    // memory, if there is any, is ours to write.
    unsafe {
        if !account.is_null() && !(*account).charge(bytes) {
            return ptr::null_mut();
        }
        let memory = kept(bytes).unwrap_or_else(|| alloc(layout)).cast::<Head>();
        if memory.is_null() {
            if !account.is_null() {
                (*account).release(bytes);
            }
            return ptr::null_mut();
        }
        if !account.is_null() {
            Arc::increment_strong_count(account);
        }
        memory.write(Head { account, bytes });
        memory.add(1).cast()
    }
}

unsafe extern "C" fn x_free(memory: *mut c_void) {
    if memory.is_null() {
        return;
    }
    // SAFETY: SQLite frees what it got from us, once; the head was written with it. The account
    // lives as long as this allocation's count of it, which is given back last (A1).
    unsafe {
        let head = head(memory);
        let Head { account, bytes } = head.read();
        let layout = layout(bytes).expect("BUG: it was allocated with this layout");
        if !keep(head.cast(), bytes) {
            dealloc(head.cast(), layout);
        }
        if !account.is_null() {
            (*account).release(bytes);
            Arc::decrement_strong_count(account);
        }
    }
}

/// Stays with the account that was charged first.
unsafe extern "C" fn x_realloc(memory: *mut c_void, bytes: c_int) -> *mut c_void {
    let Ok(bytes) = usize::try_from(bytes) else { return ptr::null_mut() };
    let Some(new) = layout(bytes) else { return ptr::null_mut() };
    if is_too_deep() {
        return ptr::null_mut();
    }
    // SAFETY: as in `x_free`; SQLite passes no null here. If there is no memory the old allocation
    // stays as it is.
    unsafe {
        let old_head = head(memory);
        let Head { account, bytes: old_bytes } = old_head.read();
        let old = layout(old_bytes).expect("BUG: it was allocated with this layout");
        let more = bytes.saturating_sub(old_bytes);
        if !account.is_null() && !(*account).charge(more) {
            return ptr::null_mut();
        }
        let moved = realloc(old_head.cast(), old, new.size()).cast::<Head>();
        if moved.is_null() {
            if !account.is_null() {
                (*account).release(more);
            }
            return ptr::null_mut();
        }
        if !account.is_null() {
            (*account).release(old_bytes.saturating_sub(bytes));
        }
        (*moved).bytes = bytes;
        moved.add(1).cast()
    }
}

unsafe extern "C" fn x_size(memory: *mut c_void) -> c_int {
    if memory.is_null() {
        return 0;
    }
    // SAFETY: as in `x_free`.
    let bytes = unsafe { (*head(memory)).bytes };
    c_int::try_from(bytes).unwrap_or(c_int::MAX)
}

unsafe extern "C" fn x_roundup(bytes: c_int) -> c_int {
    bytes.saturating_add(7) & !7
}

unsafe extern "C" fn x_init(_data: *mut c_void) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn x_shutdown(_data: *mut c_void) {}

#[cfg(test)]
mod tests {
    use std::slice;

    use super::super::Heap;
    use super::*;

    /// Runs without SQLite, so in an interpreter of Rust as well.
    #[test]
    fn memory_is_aligned_keeps_its_bytes_and_is_given_back() {
        let heap = Heap::new(1 << 20);
        // Around the classes that a thread keeps, twice: fresh, and kept.
        for _ in 0..2 {
            for bytes in [1, 8, 2047, 2048, 2560, 2561, 4096, 4608, 70_000] {
                // SAFETY: memory of the allocator is used within its size, and freed once.
                unsafe {
                    let memory = heap.within(|| x_malloc(bytes));
                    assert!(!memory.is_null() && memory.addr().is_multiple_of(16));
                    assert_eq!(x_size(memory), bytes);
                    let len = usize::try_from(bytes).expect("a size");
                    memory.cast::<u8>().write_bytes(7, len);
                    let memory = x_realloc(memory, bytes + 2000);
                    assert_eq!(heap.used(), len + 2000);
                    let kept = slice::from_raw_parts(memory.cast::<u8>(), len);
                    assert!(kept.iter().all(|byte| *byte == 7));
                    x_free(memory);
                }
                assert_eq!(heap.used(), 0);
            }
        }
    }

    #[test]
    fn an_account_outlives_what_is_charged_to_it() {
        let heap = Heap::new(100);
        let memory = heap.within(|| {
            // SAFETY: any size may be asked for.
            unsafe { (x_malloc(100), x_malloc(1)) }
        });
        assert!(!memory.0.is_null() && memory.1.is_null(), "over the bound");
        drop(heap);
        // SAFETY: freed once; what is too large is refused and changes nothing.
        unsafe {
            assert!(x_realloc(memory.0, 200).is_null());
            x_free(memory.0);
            x_free(ptr::null_mut());
        }
    }
}
