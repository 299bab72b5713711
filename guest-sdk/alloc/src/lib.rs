//! The allocator of an actor: small blocks in lists by their size, everything else from `talc`.
//!
//! ```text
//! size   1..=8   9..=16   ...   121..=128   | more, or aligned to more than 8
//! list     0       1                15      | the allocator behind it
//!
//! alloc: the first of its list, else the next bytes of a chunk      free: first of its list
//! ```
//! A text of a row costs a few instructions instead of a search. A small block never goes back to
//! `talc`: an actor keeps the most that its small blocks of each size have ever needed.

#![allow(unsafe_code, reason = "an allocator is `unsafe`")]
#![cfg_attr(
    not(any(test, all(target_family = "wasm", not(target_feature = "atomics")))),
    allow(dead_code, reason = "only actors allocate with it")
)]

use core::alloc::{GlobalAlloc, Layout};
use core::cell::Cell;
use core::ptr;

/// Installs this allocator in an actor: one line in the actor's package. An actor that reads rows
/// into owned values spends much of its time in the allocator of the target's C library.
///
/// ```
/// stockade_alloc::install!();
/// # fn main() {}
/// ```
///
/// Compilation fails beside another `#[global_allocator]`. On targets other than wasm the macro
/// does nothing.
#[macro_export]
macro_rules! install {
    () => {
        #[cfg(all(target_family = "wasm", not(target_feature = "atomics")))]
        #[global_allocator]
        static ALLOCATOR: $crate::Allocator = $crate::allocator();
    };
}

/// The allocator that [`install!`] installs.
#[cfg(all(target_family = "wasm", not(target_feature = "atomics")))]
pub type Allocator = BySize<talc::wasm::WasmDynamicTalc>;

/// For [`install!`].
#[cfg(all(target_family = "wasm", not(target_feature = "atomics")))]
#[must_use]
pub const fn allocator() -> Allocator {
    BySize::over(talc::wasm::new_wasm_dynamic_allocator())
}

/// Sizes are rounded up to a multiple of this, which is also the largest alignment of a small
/// block. 8 bytes.
const GRAIN: usize = 8;
/// The number of lists: blocks up to 128 bytes are small.
const LISTS: usize = 16;
/// The size of a chunk, which is taken from the allocator behind. 1 KiB: an idle actor has at most
/// one chunk that is not used up.
const CHUNK: Layout = match Layout::from_size_align(1024, GRAIN) {
    Ok(layout) => layout,
    Err(_) => panic!("1024 is no multiple of a power of two"),
};

/// A free small block.
struct Free {
    next: *mut Free,
}

/// Small blocks by size, the rest from `A`. For one thread.
pub struct BySize<A> {
    behind: A,
    free: [Cell<*mut Free>; LISTS],
    /// The unused rest of the newest chunk.
    rest: Cell<*mut u8>,
    rest_bytes: Cell<usize>,
}

impl<A: GlobalAlloc> BySize<A> {
    /// Nothing is allocated yet.
    const fn over(behind: A) -> Self {
        Self {
            behind,
            free: [const { Cell::new(ptr::null_mut()) }; LISTS],
            rest: Cell::new(ptr::null_mut()),
            rest_bytes: Cell::new(0),
        }
    }

    /// Takes the next bytes of a chunk. Null: there is no memory.
    #[cold]
    fn carve(&self, list: usize) -> *mut u8 {
        let bytes = (list + 1) * GRAIN;
        if self.rest_bytes.get() < bytes {
            // SAFETY: the layout of a chunk is not empty.
            let chunk = unsafe { self.behind.alloc(CHUNK) };
            if chunk.is_null() {
                return chunk;
            }
            self.rest.set(chunk);
            self.rest_bytes.set(CHUNK.size());
        }
        let block = self.rest.get();
        self.rest.set(block.wrapping_add(bytes));
        self.rest_bytes.set(self.rest_bytes.get() - bytes);
        block
    }
}

/// The list for a layout; `None` if the block is not small.
#[inline]
fn list_of(layout: Layout) -> Option<usize> {
    let list = layout.size().wrapping_sub(1) / GRAIN;
    (list < LISTS && layout.align() <= GRAIN).then_some(list)
}

// SAFETY: each block comes from the allocator behind, or is `(list + 1) * GRAIN` bytes of a chunk
// from it that no other block shares: chunks are cut up once, and a block is in its list only while
// it is free. Blocks begin at multiples of `GRAIN`, the largest alignment of a small block. The list
// is found from the layout, which is the same for `alloc` and `dealloc`.
unsafe impl<A: GlobalAlloc> GlobalAlloc for BySize<A> {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(list) = list_of(layout) else {
            // SAFETY: the caller's promise.
            return unsafe { self.behind.alloc(layout) };
        };
        let first = self.free[list].get();
        if first.is_null() {
            return self.carve(list);
        }
        // SAFETY: the block is in the list, so it is free, and `dealloc` has written its link.
        self.free[list].set(unsafe { (*first).next });
        first.cast()
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let Some(list) = list_of(layout) else {
            // SAFETY: the caller's promise; the block came from the allocator behind, by the same
            // layout.
            return unsafe { self.behind.dealloc(block, layout) };
        };
        #[allow(clippy::cast_ptr_alignment, reason = "small blocks begin at multiples of GRAIN")]
        let first = block.cast::<Free>();
        // SAFETY: the caller gives the block back, and it has room for a link: at least `GRAIN`
        // bytes.
        unsafe { first.write(Free { next: self.free[list].get() }) };
        self.free[list].set(first);
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if list_of(layout).is_none() {
            // SAFETY: the caller's promise.
            return unsafe { self.behind.alloc_zeroed(layout) };
        }
        // SAFETY: the caller's promise.
        let block = unsafe { self.alloc(layout) };
        if !block.is_null() {
            // SAFETY: the block is in use by the caller, and has at least this many bytes.
            unsafe { block.write_bytes(0, layout.size()) };
        }
        block
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // SAFETY: the caller's promise: the new size fits, and it is not 0.
        let wanted = unsafe { Layout::from_size_align_unchecked(bytes, layout.align()) };
        match (list_of(layout), list_of(wanted)) {
            // SAFETY: the caller's promise; the block came from the allocator behind.
            (None, None) => unsafe { self.behind.realloc(block, layout, bytes) },
            (from, to) if from == to => block,
            _ => {
                // SAFETY: the caller's promise. Both blocks have the bytes that are copied, and are
                // different ones; the old block is given back once.
                unsafe {
                    let moved = self.alloc(wanted);
                    if !moved.is_null() {
                        moved.copy_from_nonoverlapping(block, layout.size().min(bytes));
                        self.dealloc(block, layout);
                    }
                    moved
                }
            }
        }
    }
}

// SAFETY: one thread uses it: an actor's wasm has no others, and its build refuses threads.
unsafe impl<A> Sync for BySize<A> {}

#[cfg(test)]
mod tests {
    use std::alloc::System;

    use super::*;

    /// A block in use, filled with one byte.
    struct Used {
        block: *mut u8,
        layout: Layout,
        byte: u8,
    }

    impl Used {
        fn check(&self) {
            // SAFETY: the block is in use and was written whole.
            let bytes = unsafe { std::slice::from_raw_parts(self.block, self.layout.size()) };
            assert!(bytes.iter().all(|byte| *byte == self.byte), "{:?} was touched", self.layout);
            assert_eq!(self.block.align_offset(self.layout.align()), 0);
        }

        fn fill(&self) {
            // SAFETY: the block is in use and has this many bytes.
            unsafe { self.block.write_bytes(self.byte, self.layout.size()) };
        }
    }

    /// Thousands of steps from one seed: no block is handed out twice, and a moved block keeps its
    /// bytes.
    #[test]
    fn blocks_in_use_never_overlap() {
        let heap = BySize::over(System);
        let (mut dice, mut used) = (0x9e37_79b9_7f4a_7c15_u64, Vec::<Used>::new());
        let mut roll = |below: u64| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            usize::try_from((dice >> 33) % below).unwrap()
        };
        for step in 0..20_000_u32 {
            let byte = step.to_le_bytes()[0];
            let size = 1 + if roll(4) == 0 { roll(4096) } else { roll(150) };
            match roll(if used.len() > 200 { 4 } else { 8 }) {
                0 | 1 if !used.is_empty() => {
                    let gone = used.swap_remove(roll(used.len() as u64));
                    gone.check();
                    // SAFETY: the block came from this allocator by this layout.
                    unsafe { heap.dealloc(gone.block, gone.layout) };
                }
                2 if !used.is_empty() => {
                    let at = roll(used.len() as u64);
                    let one = &mut used[at];
                    one.check();
                    let kept = one.layout.size().min(size);
                    // SAFETY: the block came from this allocator by this layout, and `size` is not
                    // 0.
                    one.block = unsafe { heap.realloc(one.block, one.layout, size) };
                    let layout = Layout::from_size_align(size, one.layout.align()).unwrap();
                    let moved = Layout::from_size_align(kept, layout.align()).unwrap();
                    Used { block: one.block, layout: moved, byte: one.byte }.check();
                    (one.layout, one.byte) = (layout, byte);
                    one.fill();
                }
                choice => {
                    let layout = Layout::from_size_align(size, 1 << roll(6)).unwrap();
                    // SAFETY: the layout is not empty.
                    let block = unsafe {
                        if choice == 3 { heap.alloc_zeroed(layout) } else { heap.alloc(layout) }
                    };
                    assert!(!block.is_null());
                    let one = Used { block, layout, byte };
                    if choice == 3 {
                        Used { byte: 0, ..one }.check();
                    }
                    let one = Used { block, layout, byte };
                    one.fill();
                    used.push(one);
                }
            }
        }
        used.iter().for_each(Used::check);
        for gone in used {
            // SAFETY: the block came from this allocator by this layout.
            unsafe { heap.dealloc(gone.block, gone.layout) };
        }
    }

    #[test]
    fn a_freed_small_block_is_the_next_of_its_size() {
        let heap = BySize::over(System);
        let layout = |size| Layout::from_size_align(size, 1).unwrap();
        // SAFETY: no layout is empty, and each block is given back once, by a layout of its list.
        unsafe {
            let block = heap.alloc(layout(20));
            assert_eq!(heap.realloc(block, layout(20), 24), block);
            heap.dealloc(block, layout(24));
            assert_ne!(heap.alloc(layout(25)), block);
            assert_eq!(heap.alloc(layout(17)), block);
        }
    }
}
