//! The program's allocator: mimalloc, but for huge blocks, which the system maps one by one.
//!
//! The values of one call may be a vector of 128 MiB. mimalloc copies such a block when the block
//! grows and keeps it once it is free: under an attack with bodies of megabytes a host kept 1.1 GiB of
//! free blocks. Of a block that the system has mapped, growing moves the pages, and freeing returns
//! them.
//!
//! Invariant: a block's size alone says which allocator the block belongs to.

use std::alloc::{GlobalAlloc, Layout, System};

use mimalloc::MiMalloc;

/// From this size on a block is the system's. 32 MiB: from there on glibc maps each block on its own,
/// whatever was freed before (`M_MMAP_THRESHOLD`, mallopt(3)).
const HUGE_BYTES: usize = 32 << 20;

/// See the module.
pub(crate) struct Allocator;

fn is_huge(bytes: usize) -> bool {
    bytes >= HUGE_BYTES
}

// SAFETY: each block is given by, and goes back to, one of two allocators that keep the contract. A
// block's layout says which, and its size changes only here.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract is the same.
        unsafe {
            if is_huge(layout.size()) { System.alloc(layout) } else { MiMalloc.alloc(layout) }
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract is the same.
        unsafe {
            if is_huge(layout.size()) {
                System.alloc_zeroed(layout)
            } else {
                MiMalloc.alloc_zeroed(layout)
            }
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the block was allocated with this layout, so by the allocator of this size.
        unsafe {
            if is_huge(layout.size()) {
                System.dealloc(block, layout);
            } else {
                MiMalloc.dealloc(block, layout);
            }
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the block was allocated with this layout, so by the allocator of its size. Where the
        // new size is the other one's, the block is copied: both are as large as the smaller size.
        unsafe {
            match (is_huge(layout.size()), is_huge(size)) {
                (true, true) => System.realloc(block, layout, size),
                (false, false) => MiMalloc.realloc(block, layout, size),
                _ => {
                    let moved = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
                    if !moved.is_null() {
                        block.copy_to_nonoverlapping(moved, layout.size().min(size));
                        self.dealloc(block, layout);
                    }
                    moved
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    /// The allocator is this program's own, tests included: blocks cross the size both ways.
    #[test]
    fn a_block_keeps_its_bytes_while_it_grows_and_shrinks() {
        let mut block: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
        let expected = block.clone();
        for megabytes in [31, 33, 200, 40, 32, 31, 1] {
            block.resize(megabytes << 20, 7);
            block.shrink_to_fit();
            assert_eq!(block[..1 << 20], expected[..], "{megabytes} MiB");
            assert!(block[1 << 20..].iter().all(|byte| *byte == 7), "{megabytes} MiB");
        }
        assert!(vec![0u8; 64 << 20].iter().all(|byte| *byte == 0));
    }
}
